// One active entity: carries out what its Activation decides. Supervised by its shard's actor.
#pragma once
#include "catga/runtime/actors/messages.hpp"
#include "catga/runtime/actors/surroundings.hpp"

#include <caf/event_based_actor.hpp>

#include <memory>

namespace catga::actors {

struct EntityStart {
  ShardId shard;
  EntityId entity;
  OwnerToken token;
  std::uint64_t serial = 0;  ///< tells two activations of one entity apart
  caf::actor shard_actor;
  std::shared_ptr<ShardGate> gate;
  std::shared_ptr<Gauge> gauge;
};

class EntityActor final : public caf::event_based_actor, private ActivationHost {
 public:
  EntityActor(caf::actor_config& config, Host& host, const Kind& kind, EntityStart start);
  ~EntityActor() override;
  caf::behavior make_behavior() override;
  void on_exit() override;
  const char* name() const override { return "entity"; }

 private:
  // ActivationHost
  std::int64_t now_ms() override { return boot_ms(); }
  std::int64_t cluster_ms() override { return host_.standing.cluster_now(); }
  std::uint32_t random() override;
  bool may_run() override;
  void load(Load load) override;
  void commit(Commit commit) override;
  void answer(const Envelope& to, Result<std::string> answer) override;
  void outbox_written(std::vector<std::string> entries, std::vector<std::string> ids) override;
  void timers_written(std::vector<TimerWrite> timers) override;
  void timer_failed(const Envelope& timer, const Error& error) override;
  void timers_unsure(std::vector<std::string> members) override;
  void ask(Ask ask, std::uint64_t number) override;
  void fenced(OwnerToken used) override;
  void wake_at(std::int64_t at_ms) override;
  void troubled(const Error& error) override;
  void turn_begins(const std::string& message) override;
  void turn_ends(const std::string& message) override;

  void after_each();
  void empty_out();
  void settle_hold();
  void store_refused(const Error& error);
  void leave_count();
  caf::actor self_handle();

  Host& host_;
  EntityStart start_;
  Activation activation_;
  OwnerToken token_;
  std::uint64_t received_ = 0;
  std::uint64_t outbox_hold_ = 0;
  std::int64_t wake_at_ = 0;
  bool draining_ = false;
  bool counted_ = true;  ///< in Host::active
  bool left_ = false;
  bool retry_armed_ = false;
};

}  // namespace catga::actors
