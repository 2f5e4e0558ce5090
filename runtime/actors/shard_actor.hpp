// One shard of this node: carries out what its state machine says, holds its queue while it moves, starts its entities,
// delivers what their commits promised. Supervised by the node_actor, supervises the entities.
#pragma once
#include "catga/runtime/actors/entity_actor.hpp"
#include "catga/runtime/actors/messages.hpp"
#include "catga/runtime/actors/shard_sagas.hpp"
#include "catga/runtime/actors/standstill.hpp"
#include "catga/runtime/actors/surroundings.hpp"
#include "catga/runtime/timer_table.hpp"
#include "catga/sharding/handover.hpp"
#include "catga/sharding/routing.hpp"

#include <caf/event_based_actor.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

namespace catga::actors {

class ShardActor final : public caf::event_based_actor {
 public:
  ShardActor(caf::actor_config& config, Host& host, ShardId id);
  ~ShardActor() override;
  caf::behavior make_behavior() override;
  void on_exit() override;
  const char* name() const override { return "shard"; }

 private:
  struct Held {
    Envelope envelope;
    std::int64_t since_ms = 0;
  };
  using Active = Doorway::Active;

  // the state machine
  void apply(const ShardEvent& event);
  void carry_out(ShardActions actions);
  void act(const AskCas& action);
  void act(const AskRecord& action);
  void act(const AskView& action);
  void act(const Hydrate& action);
  void act(const Serve& action);
  void act(const Retoken& action);
  void act(const Pause& action);
  void tenants_leave();
  void act(const Drain& action);
  void act(const DropMemory& action);
  void act(const Reroute& action);
  void act(const SendOffer& action);
  void act(const SendReady& action);
  void act(const SendRefuse& action);
  void act(const SendAbort& action);
  void act(const SendHandover& action);
  void act(const SendWant& action);
  void act(const LearnRoute& action);
  void act(const MoveEnded& action);
  Surroundings around() const;
  void settle();
  void open_door();
  void count_state();

  // messages
  void dispatch(Envelope envelope, bool fresh, std::int64_t since_ms = 0, ViewVersion seen = {});
  void run(Envelope envelope);
  bool lacks_time(const Envelope& envelope) const;
  void give_time(Envelope envelope);
  void time_given(const TimeGiven& message);
  static bool ends_a_knot(const Envelope& envelope);
  void hold(Envelope envelope, std::int64_t since_ms);
  void look_up(Envelope envelope);
  void looked_up(std::uint64_t number, bool answered);
  void forward(Envelope envelope, Incarnation to, Epoch epoch);
  void redispatch(bool fresh);
  bool reads_only(const Envelope& envelope) const;
  void prove(Envelope envelope);
  void read_proof();
  void look_at_primary();
  void proof_read(const Result<OwnerRecord>& record);
  void refuse_stale();
  void refuse(const Envelope& envelope, Code code, std::string text,
              std::chrono::milliseconds retry_after = {});
  void overloaded(const Envelope& envelope, Limit limit, std::string text,
                  std::chrono::milliseconds retry_after);
  void count_load();

  // entities
  const Doorway::Entities& entities() const { return door_.entities(); }
  Active& activate(const EntityId& entity, const Kind& kind);
  void passivate_idle();
  Active* find(const EntityId& entity, std::uint64_t serial);
  void forget(const EntityId& entity);
  void entity_broke(const EntityBroke& message);
  void emptied(Emptied& message);
  void may_leave(const MayLeave& message);
  void adopt(const Adopt& message);
  void drained_if_empty();

  // sagas
  void sagas_drained(const SagasDrained& message);
  void saga_supervisor_died(const caf::down_msg& down);

  // hand-over
  void send_handover();
  void handover_due();
  void handover_arrived(HandoverArrived& message);
  void moved_away(Incarnation owner, Epoch epoch);
  void free_slot(std::int64_t gap_ms = 0);
  void tell_claim();
  void tell_move(EventName event, const std::string& text, Incarnation from, Incarnation to,
                 std::string_view mode, std::initializer_list<LogField> more);

  // outbox and timers
  void read_outbox(const std::string& after);
  void read_timers();
  bool timers_run_low(std::int64_t cluster_ms) const;
  void read_sources();
  void sources_read(const SourcesRead& message);
  void outbox_read(OutboxRead& message);
  void timers_read(TimersRead& message);
  void nothing_to_read();
  void hydrated_if_read();
  void deliver_tells();
  void tell_answered(TellAnswered& message);
  bool keeps_letters() const;
  void park_tell(RelayEntry entry);
  void tell_parked(const TellParked& message);
  void timer_failed(const TimerFailed& message);
  void park_timer(const TimerEntry& timer);
  void timer_parked(const TimerParked& message);
  void read_timers_again(const std::string& unsure);
  void publish(RelayEntry event);
  void event_stored(const EventStored& message);
  void trim_outbox();
  void fire_timers();
  void tick();
  void arm();

  caf::actor self_handle();
  std::string node_name(Incarnation node) const;

  Host& host_;
  Doorway& door_;  ///< has the entities in memory
  Shard shard_;
  std::deque<ShardEvent> events_;  // of steps that happen while a step is carried out
  bool stepping_ = false;
  bool routes_changed_ = false;
  Incarnation target_;
  std::uint32_t rank_ = 0;
  std::int64_t adopted_at_ = 0;
  std::shared_ptr<const Situation> situation_;
  std::deque<Held> held_;
  std::uint64_t held_bytes_ = 0;
  std::vector<Envelope>
      looking_;  // wait for the read of the record under way, which began after they came
  std::vector<Envelope> looking_next_;  // came after it began
  std::uint64_t looking_read_ = 0;      // its number; 0: none

  std::vector<Envelope> proving_;       // queries: wait for a read of the token that began later
  std::vector<Envelope> proving_next_;  // came after it began
  bool proof_open_ = false;
  std::uint64_t primary_changes_ = 0;  // as of Host::primary_changes when we last looked

  std::shared_ptr<ShardGate> gate_;
  ShardSagas sagas_;
  std::uint64_t next_serial_ = 1;
  bool draining_ = false;
  std::vector<Envelope> returned_;  // of drained entities, older than what is held

  std::unique_ptr<HandoverOut<std::vector<Envelope>>> giving_;
  bool giving_quiet_ = false;
  HandoverIn<std::vector<Envelope>> taking_;

  std::uint64_t reading_ = 0;  // number of the reading of outbox and timers under way
  bool outbox_done_ = true, timers_done_ = true, sources_done_ = true;
  bool hydrating_ = false;
  bool reading_more_ = false;  // of the outbox, while serving
  std::vector<std::uint64_t> holds_;
  std::uint64_t generation_ = 0;  // of the relay: answers to older sendings are dropped
  std::unordered_map<std::string, std::string> parking_;  ///< tells given up, by stream id: why
  struct GivenUp {
    std::int64_t due_ms = 0;  ///< set anew, it is another timer
    unsigned attempts = 0;
    std::string why;
  };
  std::unordered_map<std::string, GivenUp> parking_timers_;
  bool trimming_ = false;
  std::uint64_t timers_number_ = 0, timers_reading_ = 0;  // the reading under way; 0: none
  std::int64_t trimmed_at_ = 0;
  TimerTable timers_;
  bool timers_full_ = false;          // the last page had no room for all
  std::int64_t timers_again_at_ = 0;  // a late copy of a commit may have set some; 0: none

  std::int64_t armed_at_ = 0;
  std::int64_t sweep_at_ = 0;
  ShardState counted_state_ = ShardState::none;
  NodeMetrics::Load counted_load_;
  std::int64_t oldest_looked_at_ = 0;
  bool counted_held_ = false, counted_serving_ = false, counted_incoming_ = false;
  bool asked_to_move_ = false;

  // for the log: when and how this shard became unavailable or changed hands
  Standstill pause_;
  std::int64_t drained_at_ = 0, transferred_at_ = 0;
  std::uint64_t offered_ = 0;  // the move told as started; 0: none
  Incarnation offered_to_;
  std::int64_t offered_at_ = 0;
  std::uint64_t claiming_for_ = 0;  // the rebalance whose claim was told, plus 1
  Incarnation moving_to_;
  Epoch moving_epoch_;
  std::int64_t slot_held_since_ = 0;  // our place among the moves under way
  std::string_view mode_ = "takeover";
  Incarnation came_from_;
  std::size_t entities_before_ = 0, queued_before_ = 0;
};

}  // namespace catga::actors
