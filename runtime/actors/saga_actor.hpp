// One saga in memory: carries out what its machine says. Supervised by the saga supervisor of its shard.
#pragma once
#include "catga/runtime/actors/messages.hpp"
#include "catga/runtime/actors/saga_messages.hpp"
#include "catga/runtime/actors/saga_slots.hpp"
#include "catga/runtime/actors/saga_spans.hpp"
#include "catga/runtime/actors/surroundings.hpp"

#include <caf/event_based_actor.hpp>

#include <deque>
#include <functional>
#include <memory>

namespace catga::actors {

struct SagaStart {
  SagaSeat seat;
  std::uint64_t serial = 0;  ///< tells two actors of one saga apart
  caf::actor supervisor;
  caf::actor shard;
  std::shared_ptr<ShardGate> gate;
  std::shared_ptr<Gauge> gauge;
  SagaMachine::Origin origin;
  std::shared_ptr<void> slot;  ///< of those that recover
};

class SagaActor final : public caf::event_based_actor {
 public:
  SagaActor(caf::actor_config& config, Host& host, SagaStart start);
  caf::behavior make_behavior() override;
  void on_exit() override;
  const char* name() const override { return "saga"; }

 private:
  using Happening = std::function<SagaActions(const SagaMoment&)>;
  void happens(Happening happening);
  void catch_up();
  void run(const Happening& happening);
  bool may_act() const;
  SagaMoment moment();
  void carry_out(SagaActions actions);
  void act(saga_action::Create& action);
  void act(saga_action::Load& action);
  void act(saga_action::Write& action);
  void act(saga_action::Send& action);
  void act(saga_action::CallChild& action);
  void act(saga_action::Forget& action);
  void act(saga_action::Answer& action);
  void act(saga_action::Timers& action);
  void act(saga_action::Tidy& action);
  void act(saga_action::Outbox& action);
  void act(saga_action::Tell& action);
  void act(saga_action::Fenced& action);
  void ended(const SagaNews& news);
  void count_retry(const SagaTask& task, std::uint32_t attempt);
  void after_each();
  void settle_hold();
  void leave();
  void arm();
  caf::actor self_handle() { return caf::actor_cast<caf::actor>(this); }

  Host& host_;
  SagaMetrics& times_;
  const std::uint64_t serial_;
  caf::actor supervisor_, shard_;
  const std::shared_ptr<ShardGate> gate_;
  const std::shared_ptr<Gauge> gauge_;
  const ShardId shard_id_;
  OwnerToken token_;
  std::shared_ptr<void> slot_;
  SagaMachine machine_;
  const EntityId saga_;
  std::unique_ptr<SagaSpans> spans_;  ///< null while nobody traces

  std::deque<Happening> backlog_;  // the session is over, or the shard rests
  std::uint64_t received_ = 0;
  std::uint64_t outbox_hold_ = 0;
  std::int64_t armed_at_ = 0;
  std::int64_t idle_since_ = 0;
  bool draining_ = false;
  bool stood_ = false;
  std::optional<SagaStanding> stands_;
};

}  // namespace catga::actors
