// All sagas of one shard: recovers them at a take-over, starts the actors of those that something happens to, starts
// them again when they die, keeps the register of those that have not ended.
//
// It lives from the moment the shard is served until it is drained or lost, and is told of it by the shard. One that
// dies is replaced by the shard; the new one recovers everything from the journals.
#pragma once
#include "catga/runtime/actors/saga_actor.hpp"
#include "catga/runtime/actors/saga_messages.hpp"
#include "catga/runtime/actors/surroundings.hpp"

#include <caf/event_based_actor.hpp>

#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace catga::actors {

struct SagaSupervisorStart {
  ShardId shard;
  OwnerToken token;
  caf::actor shard_actor;
  std::shared_ptr<ShardGate> gate;
  std::uint64_t life = 0;    ///< tells two supervisors of one shard apart
  bool after_crash = false;  ///< the owner before, or the supervisor before, died
  bool none = false;         ///< it is known that there are none to recover
};

class SagaSupervisor final : public caf::event_based_actor {
 public:
  SagaSupervisor(caf::actor_config& config, Host& host, SagaSupervisorStart start);
  caf::behavior make_behavior() override;
  void on_exit() override;
  const char* name() const override { return "saga_supervisor"; }

 private:
  struct Active {
    caf::actor actor;  ///< empty: died, and waits for its next start
    std::shared_ptr<Gauge> gauge;
    std::uint64_t serial = 0;
    std::uint64_t sent = 0;
    bool leaving = false;
    std::vector<Envelope> backlog;    ///< came while it was leaving, or dead
    std::deque<std::int64_t> deaths;  ///< boot_ms(); of the last minute
    std::uint32_t restarts = 0;       ///< without anything going well in between
  };

  void arrived(Envelope envelope);
  void timer_due(const SagaTimer& timer);
  void list(Envelope asked);
  void listed(const Envelope& asked, const Result<SagaPage>& page);
  Active& activate(const EntityId& saga, SagaMachine::Origin origin, std::shared_ptr<void> slot);
  void spawn_actor(const EntityId& saga, Active& active, SagaMachine::Origin origin,
                   std::shared_ptr<void> slot);
  Active* find(const EntityId& saga, std::uint64_t serial);
  void died(const caf::down_msg& down);
  void restart(const SagaRestart& message);
  void may_leave(const SagaMayLeave& message);
  void emptied(SagaEmptied& message);
  void stands(const SagaStands& message);
  void enter(const EntityId& saga, const std::optional<SagaStanding>& standing);

  void read_page();
  void page_read(const SagaPageRead& message);
  void found(const SagaRow& row);
  void recover_more();
  void let_idle_leave();

  void drain();
  void drained_if_empty();
  template <class Message>
  void tell_all(Message message);
  caf::actor self_handle() { return caf::actor_cast<caf::actor>(this); }

  Host& host_;
  const ShardId shard_;
  OwnerToken token_;
  caf::actor shard_actor_;
  const std::shared_ptr<ShardGate> gate_;
  const std::uint64_t life_;
  const bool after_crash_;
  const std::int64_t began_ms_;  // cluster time: what changed later is in our hands already

  std::unordered_map<EntityId, Active> active_;
  std::unordered_map<caf::actor_addr, EntityId> names_;  // of actors that are watched
  std::unordered_map<EntityId, SagaStanding> register_;  // all that have not ended
  std::uint64_t next_serial_ = 1;
  bool draining_ = false;
  std::vector<Envelope> rest_;

  std::deque<EntityId> to_recover_;
  std::string page_after_;
  bool reading_ = false;
  bool all_read_ = false;
  std::int64_t looked_for_idle_ms_ = 0;
  bool waits_for_room_ = false;  ///< of saga.max_active; SagaReadAgain is on its way
};

}  // namespace catga::actors
