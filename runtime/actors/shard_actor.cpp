#include "catga/runtime/actors/shard_actor.hpp"

#include "catga/entities/operation.hpp"
#include "catga/runtime/dead_letter.hpp"
#include "catga/runtime/outbox_entry.hpp"
#include "catga/runtime/retention.hpp"
#include "catga/runtime/telemetry/entity_keys.hpp"
#include "catga/sharding/bytes.hpp"
#include "catga/sharding/hash.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <optional>

namespace catga::actors {

namespace {

constexpr std::int64_t hold_ownerless_ms =
    2000;  // nobody claims the shard: then the message is refused
// Each trim is a script of its own: with many shards, one after every answer would outnumber the commits.
constexpr std::int64_t trim_every_ms = 1000, trim_idle_ms = 5000;
constexpr std::int64_t slot_held_ms = 1000;  // should the new owner's word be lost
constexpr std::size_t outbox_page = 1000, timers_page = 10'000;  // what the stores give at most
constexpr std::int64_t late_copy_ms =
    5000;  // a request without an answer has run by then, or never will
constexpr unsigned timer_attempts_many = 10;
constexpr std::int64_t timer_horizon_ms = 300'000, timer_refill_ms = 60'000;
constexpr std::size_t handover_chunk_bytes = 512 * 1024;
constexpr unsigned failed_tells_max = 10;
constexpr std::uint64_t tell_letters_bytes = 4 << 20;  // of one shard
constexpr std::int64_t park_again_ms = 1000, full_again_ms = 30'000;
constexpr long long publish_again_most_ms = 3000;

LogField shard_field(ShardId shard) {
  return {"catga.shard.id", static_cast<std::int64_t>(shard.value)};
}

/// Of its shot, the same at each attempt.
OperationId operation_of(const TimerEntry& timer) {
  std::string name = timer.member;
  ByteWriter(name).i64(timer.due_ms);
  return hash128(48, name);
}

bool elsewhere(const Shard& shard) {
  return shard.state == ShardState::none || shard.state == ShardState::forwarding;
}

/// Of the turn that told it. Nobody looked at that one: nobody looks at what it leads to.
TraceContext trace_of(const RelayEntry& tell) {
  TraceContext trace = parse_traceparent(tell.trace).value_or(TraceContext{});
  if (!trace) trace = Tracer::unsampled();
  trace.flags |= trace_of_tell;
  return trace;
}

}  // namespace

ShardActor::ShardActor(caf::actor_config& config, Host& host, ShardId id)
    : caf::event_based_actor(config),
      host_(host),
      door_(*host.doors[id.value]),
      situation_(std::make_shared<Situation>()),
      gate_(std::make_shared<ShardGate>()),
      sagas_(*this, host, id) {
  set_down_handler([this](const caf::down_msg& down) { saga_supervisor_died(down); });
  shard_.id = id;
  shard_.times = host.times;
  shard_.seed = new_operation_id().low;  // random bits are random bits
  primary_changes_ = host.primary_changes.load(std::memory_order_acquire);
}

ShardActor::~ShardActor() {
  gate_->open = false;
  if (counted_held_) host_.held.fetch_sub(1);
  if (counted_serving_) host_.serving.fetch_sub(1);
  if (counted_incoming_) host_.incoming.fetch_sub(1);
  host_.buffered_bytes.fetch_sub(held_bytes_);
  host_.metrics.shard_state(counted_state_, ShardState::none);
  host_.metrics.load(shard_.id, counted_load_, {});
}

void ShardActor::on_exit() {
  gate_->open = false;
  tenants_leave();
  sagas_.drop();
  door_.close();
  for (const auto& [entity, active] : entities()) active.actor->post(End{});
  const auto guard = door_.lock();
  door_.entities().clear();
}

caf::actor ShardActor::self_handle() { return caf::actor_cast<caf::actor>(this); }

std::string ShardActor::node_name(Incarnation node) const {
  return node == situation_->self ? host_.node_id : host_.names.of(node);
}

caf::behavior ShardActor::make_behavior() {
  return {
      [this](Deliver& message) {
        for (Envelope& envelope : *message.envelopes) {
          dispatch(std::move(envelope), false, 0, message.seen);
        }
        door_.handled();
        arm();
      },
      [this](DeliverOne& message) {
        dispatch(std::move(message.envelope), false);
        door_.handled();
        arm();
      },
      [this](Happened& message) {
        if (const auto* heard = std::get_if<RouteHeard>(message.event.get()))
          moved_away(heard->owner, heard->epoch);
        const auto* read = std::get_if<RecordRead>(message.event.get());
        const std::uint64_t number = read != nullptr ? read->number : 0;
        const bool answered = read != nullptr && read->record.ok();
        apply(*message.event);
        if (number != 0) looked_up(number, answered);
        const bool refused =
            std::holds_alternative<Offered>(*message.event) && shard_.state != ShardState::incoming;
        if (refused) host_.has_arrived(shard_.id);
      },
      [this](Adopt& message) { adopt(message); },
      [this](HandoverArrived& message) { handover_arrived(message); },
      [this](const HandoverHeard& message) {
        if (!giving_) return;
        giving_->acknowledged(message.epoch, message.chunk);
        if (giving_->done()) giving_.reset();
      },
      [this](OutboxRead& message) { outbox_read(message); },
      [this](TimersRead& message) { timers_read(message); },
      [this](const SourcesRead& message) { sources_read(message); },
      [this](const TimeGiven& message) {
        time_given(message);
        arm();
      },
      [this](const LookAtPrimary&) {
        look_at_primary();
        arm();
      },
      [this](const ProofRead& message) { proof_read(*message.record); },
      [this](const Trimmed& message) {
        trimming_ = false;
        if (message.answered && !message.fenced) {
          const std::lock_guard guard(gate_->relay_lock);
          gate_->relay.trimmed(message.through);
        }
        if (message.answered && message.fenced) apply(WasFenced{message.token});
        arm();
      },
      [this](TellAnswered& message) { tell_answered(message); },
      [this](const TellParked& message) { tell_parked(message); },
      [this](const EventStored& message) { event_stored(message); },
      [this](TimersWritten& message) {
        if (message.gate != gate_) return;
        for (TimerWrite& write : *message.timers) timers_.written(std::move(write));
        fire_timers();
        arm();
      },
      [this](const TimerFailed& message) {
        if (message.gate == gate_) timer_failed(message);
        arm();
      },
      [this](const TimerParked& message) { timer_parked(message); },
      [this](const TimersUnsure& message) {
        if (message.gate != gate_) return;
        for (const std::string& member : *message.members) timers_.forget(member);
        timers_again_at_ = boot_ms() + late_copy_ms;
        if (!hydrating_) read_timers();
        arm();
      },
      [this](const OutboxGrew& message) {
        if (message.gate != gate_) return;  // of a life of this shard that is over
        if (message.hold != 0) holds_.push_back(message.hold);
        if (message.unknown && !reading_more_ && !hydrating_) {
          reading_more_ = true;
          ++reading_;
          read_outbox("");
        }
        deliver_tells();
        arm();
      },
      [this](const MayLeave& message) { may_leave(message); },
      [this](Emptied& message) { emptied(message); },
      [this](const EntityBroke& message) { entity_broke(message); },
      [this](const EntityAlarm& alarm) {
        if (Active* const active = find(alarm.entity, alarm.serial))
          active->actor->post(EntityTick{alarm.at_ms});
      },
      [this](const SagasDrained& message) { sagas_drained(message); },
      [this](const SagasAgain& message) { sagas_.replace(message); },
      [this](const ShardTick& alarm) {
        if (alarm.at_ms == armed_at_) tick();  // else overtaken by an earlier alarm
      },
  };
}

// ---- the state machine -------------------------------------------------------------------------------------------

Surroundings ShardActor::around() const {
  Surroundings around;
  around.self = situation_->self;
  around.session_ok =
      host_.standing.session_ok(situation_->self.low) && static_cast<bool>(situation_->self);
  around.may_own = situation_->up && around.session_ok;
  around.leaving = situation_->leaving;
  around.view = situation_->standing ? situation_->standing->view.get() : nullptr;
  around.target = target_;
  around.rank = rank_;
  around.claims_allowed = situation_->claims_allowed;
  around.only_former = situation_->only_former;
  around.former = &situation_->former;
  around.target_impaired = std::find(situation_->impaired.begin(), situation_->impaired.end(),
                                     target_) != situation_->impaired.end();
  return around;
}

void ShardActor::adopt(const Adopt& message) {
  situation_ = message.situation;
  adopted_at_ = boot_ms();
  target_ =
      situation_->standing ? situation_->standing->placement.target(shard_.id) : Incarnation{};
  rank_ = target_ == situation_->self || !situation_->standing
              ? 0
              : situation_->standing->placement.rank(shard_.id, situation_->self);
  asked_to_move_ = false;
  routes_changed_ = true;
  apply(ViewAdopted{});
}

void ShardActor::apply(const ShardEvent& event) {
  events_.push_back(event);
  if (stepping_) return;
  stepping_ = true;
  while (!events_.empty()) {
    const ShardEvent next = std::move(events_.front());
    events_.pop_front();
    ShardActions actions = step(shard_, next, around(), boot_ms());
    if (shard_.state != ShardState::owned) door_.close();
    carry_out(std::move(actions));
  }
  stepping_ = false;
  settle();
}

void ShardActor::carry_out(ShardActions actions) {
  for (const ShardAction& action : actions) {
    std::visit([this](const auto& what) { act(what); }, action);
  }
}

void ShardActor::settle() {
  if (routes_changed_ && elsewhere(shard_)) {
    routes_changed_ = false;
    redispatch(true);
  }
  count_state();
  if (elsewhere(shard_) && !moving_to_) pause_.ends();  // a claim was lost: another node counts it
  if (shard_.wants_to_move(around(), boot_ms()) && !asked_to_move_) {
    asked_to_move_ = true;
    free_slot();  // of an earlier move
    send(host_.node, WantsToMove{shard_.id});
  }
  open_door();
  arm();
}

/// Nothing waits here that a message could overtake, and the next one would only be passed on.
void ShardActor::open_door() {
  const bool serves =
      shard_.state == ShardState::owned && !shard_.hydrating && gate_->open && !draining_;
  const bool nothing_waits = held_.empty() && returned_.empty() && looking_.empty() &&
                             looking_next_.empty() && proving_.empty() && proving_next_.empty();
  if (serves && nothing_waits) door_.open(primary_changes_, gate_->life);
}

void ShardActor::count_state() {
  const auto count = [](bool now, bool& counted, std::atomic<std::uint32_t>& counter) {
    if (now == counted) return;
    counted = now;
    if (now)
      counter.fetch_add(1);
    else
      counter.fetch_sub(1);
  };
  if (shard_.state != counted_state_) {
    host_.metrics.shard_state(counted_state_, shard_.state);
    counted_state_ = shard_.state;
  }
  count(shard_.holds(), counted_held_, host_.held);
  count(shard_.state == ShardState::owned, counted_serving_, host_.serving);
  const bool arriving = counted_incoming_;
  count(shard_.state == ShardState::incoming, counted_incoming_, host_.incoming);
  if (arriving && !counted_incoming_) host_.has_arrived(shard_.id);
  door_.stands(shard_.state, shard_.holds() ? shard_.token.epoch : Epoch{}, held_.size());
}

void ShardActor::act(const AskCas& action) {
  Exchange exchange{shard_.id, action.expected, action.owner, action.nonce, {}, {}};
  if (situation_->standing) exchange.view = situation_->standing->view->version;
  if (shard_.state == ShardState::claiming || shard_.purpose == CasPurpose::claim) {
    mode_ = "takeover";
    came_from_ = action.expected ? action.expected->incarnation : Incarnation{};
    moving_to_ = {};  // the word of whom it was given to never came
    pause_.claimed(adopted_at_);
    tell_claim();
  } else if (shard_.purpose == CasPurpose::readopt) {
    mode_ = "readopt";
    came_from_ = shard_.token.incarnation;
    tell_claim();
  } else if (shard_.purpose == CasPurpose::transfer) {
    // Tells that were delivered need no second owner: without them its outbox is often empty.
    const std::lock_guard guard(gate_->relay_lock);
    exchange.trim_through = gate_->relay.trim_through();
  }
  host_.stores.owners().exchange(
      exchange, [self = self_handle(), nonce = action.nonce](Result<Exchanged> answer) {
        CasAnswered event{nonce, answer.ok(), false, {}, false};
        if (answer.ok()) {
          event.done = answer->done;
          event.record = answer->record;
          event.quiet = answer->quiet;
        }
        caf::anon_send(self, Happened{std::make_shared<ShardEvent>(std::move(event))});
      });
}

void ShardActor::tell_claim() {
  if (!came_from_ || came_from_ == situation_->self || claiming_for_ == situation_->rebalance + 1)
    return;
  claiming_for_ = situation_->rebalance + 1;  // 0: nothing told
  tell_move(
      "catga.shard.handoff.started",
      "shard " + std::to_string(shard_.id.value) + " of " + node_name(came_from_) + " is claimed",
      came_from_, situation_->self, mode_, {});
}

void ShardActor::act(const AskRecord& action) {
  host_.stores.owners().read(
      shard_.id, [self = self_handle(), number = action.number](Result<OwnerRecord> record) {
        caf::anon_send(
            self, Happened{std::make_shared<ShardEvent>(RecordRead{number, std::move(record)})});
      });
}

void ShardActor::act(const AskView& action) {
  if (host_.newer_view) host_.newer_view(action.at_least);
}

void ShardActor::act(const Hydrate& action) {
  hydrating_ = true;
  outbox_done_ = timers_done_ = sources_done_ = false;
  ++reading_;
  ++generation_;
  parking_.clear();
  parking_timers_.clear();
  trimming_ = reading_more_ = false;
  timers_.clear();
  {
    const std::lock_guard guard(gate_->relay_lock);
    gate_->relay.clear();
    holds_ = {gate_->relay.hold()};
  }
  shard_.token = action.token;
  sagas_.taken(action.quiet);
  if (action.quiet) return nothing_to_read();
  read_outbox("");
  read_timers();
  read_sources();
}

void ShardActor::act(const Serve& action) {
  draining_ = false;
  gate_->life = action.token.incarnation.low;
  gate_->open = true;
  const std::int64_t now = boot_ms();
  if (action.fresh) {
    host_.audit.served(shard_.id);
    if (host_.carrier != nullptr)
      host_.carrier->announce({shard_.id, action.token.epoch, action.token.incarnation});
    const std::int64_t gap = pause_.lasted(now);
    const bool from_another = came_from_ && came_from_ != situation_->self;
    const bool planned = mode_ == "planned";  // told by the old owner, on whose clock the gap is
    if (from_another) host_.metrics.came(NodeMetrics::mode_of(mode_), gap);
    const std::string text = "shard " + std::to_string(shard_.id.value) + " is served here after " +
                             std::to_string(gap) + " ms";
    if (from_another && !planned) {
      send(host_.node, TakenOver{shard_.id, gap});
      tell_move("catga.shard.handoff.completed", text, came_from_, situation_->self, mode_,
                {{"catga.shard.epoch", std::to_string(action.token.epoch.value)},
                 {"unavailable_ms", gap}});
    } else if (from_another) {  // the old owner tells it to all
      tell_move(
          EventName("catga.shard.handoff.completed").in_log_only(), text, came_from_,
          situation_->self, mode_,
          {{"catga.shard.epoch", std::to_string(action.token.epoch.value)}, {"acquire_ms", gap}});
    } else {
      host_.log.write(Severity::debug, "handoff", "", text, {shard_field(shard_.id)});
    }
    if (!planned && came_from_ != situation_->self) {
      host_.history.moved({shard_.id.value, from_another ? node_name(came_from_) : "-",
                           host_.node_id, from_another ? std::string(mode_) : "claim",
                           action.token.epoch, host_.standing.cluster_now(), gap, 0});
    }
  }
  if (host_.tracer != nullptr && action.fresh && came_from_ && came_from_ != situation_->self) {
    for (Envelope& envelope : returned_) envelope.delayed_by = situation_->rebalance;
    for (Held& one : held_) one.envelope.delayed_by = situation_->rebalance;
  }
  const bool given_away = !came_from_ || came_from_ == situation_->self || mode_ == "planned";
  sagas_.serve(action.token, gate_, action.fresh && !given_away);
  pause_.ends();
  mode_ = "takeover";
  came_from_ = {};
  if (host_.tenants != nullptr) host_.tenants->serves(shard_.id, action.token);
  for (const auto& [entity, active] : entities()) {
    if (!active.leaving) active.actor->post(Resume{});
  }
  std::vector<Envelope> before = std::exchange(returned_, {});
  for (Envelope& envelope : before) dispatch(std::move(envelope), false);
  redispatch(false);
  deliver_tells();
  fire_timers();
}

void ShardActor::act(const Retoken& action) {
  if (host_.tenants != nullptr && gate_->open) host_.tenants->serves(shard_.id, action.token);
  for (const auto& [entity, active] : entities()) active.actor->post(NewToken{action.token});
  sagas_.retoken(action.token);
  if (reading_more_) {  // what is under way was asked under the old token, and is refused
    ++reading_;
    read_outbox("");
  }
}

void ShardActor::act(const Pause&) {
  gate_->open = false;
  tenants_leave();
}

void ShardActor::tenants_leave() {
  if (host_.tenants != nullptr) host_.tenants->leaves(shard_.id);
}

void ShardActor::act(const Drain&) {
  draining_ = true;
  tenants_leave();
  pause_.begins(boot_ms());
  entities_before_ = entities().size();
  {
    const auto guard = door_.lock();
    for (auto& [entity, active] : door_.entities()) {
      active.leaving = true;
      active.actor->post(DrainNow{});
    }
  }
  sagas_.drain();
  drained_if_empty();
}

void ShardActor::drained_if_empty() {
  if (draining_ && entities().empty() && sagas_.drained()) {
    draining_ = false;
    drained_at_ = boot_ms();
    apply(DrainEnded{});
  }
}

void ShardActor::act(const DropMemory& action) {
  if (action.cause == LossCause::audit) host_.audit.dropped(shard_.id);
  gate_->open = false;
  door_.close();
  draining_ = false;
  tenants_leave();
  if (action.cause != LossCause::released)
    host_.metrics.lost(action.cause == LossCause::fenced ? NodeMetrics::Loss::fenced
                                                         : NodeMetrics::Loss::rollback);
  if (action.cause != LossCause::released && !entities().empty()) {
    host_.log.write(
        Severity::warn, "handoff", "catga.shard.ownership.lost",
        "shard " + std::to_string(shard_.id.value) +
            " is no longer ours: " + std::to_string(entities().size()) + " entities leave memory",
        {shard_field(shard_.id),
         {"catga.shard.epoch", std::to_string(shard_.token.epoch.value)},
         {"cause", std::string(action.cause == LossCause::fenced ? "fenced" : "rollback")},
         {"held", static_cast<std::int64_t>(held_.size())}});
  }
  {
    const auto guard = door_.lock();
    for (auto& [entity, active] : door_.entities()) {
      active.actor->post(DropNow{});
      for (Envelope& envelope : active.backlog) returned_.push_back(std::move(envelope));
    }
    door_.entities().clear();
  }
  sagas_.drop();
  gate_ = std::make_shared<ShardGate>();  // the old entities keep theirs, closed
  timers_.clear();
  timers_again_at_ = 0;
  ++generation_;
  ++reading_;
  parking_.clear();
  parking_timers_.clear();
  hydrating_ = reading_more_ = trimming_ = false;
  timers_reading_ = 0;
  holds_.clear();
}

void ShardActor::act(const Reroute&) { routes_changed_ = true; }

void ShardActor::act(const SendOffer& action) {
  if (std::exchange(offered_, action.move) != action.move) {
    offered_at_ = boot_ms();
    offered_to_ = action.to;
    tell_move("catga.shard.handoff.started",
              "shard " + std::to_string(shard_.id.value) + " is offered to " + node_name(action.to),
              situation_->self, action.to, "planned", {});
  }
  if (host_.carrier != nullptr)
    (void)host_.carrier->push(action.to, wire::Offer{shard_.id, action.move, action.epoch});
}
void ShardActor::act(const SendReady& action) {
  if (host_.carrier != nullptr)
    (void)host_.carrier->push(action.to, wire::Ready{shard_.id, action.move});
}
void ShardActor::act(const SendRefuse& action) {
  if (host_.carrier != nullptr)
    (void)host_.carrier->push(action.to, wire::Refuse{shard_.id, action.move, action.reason});
}
void ShardActor::act(const SendAbort& action) {
  if (host_.carrier != nullptr)
    (void)host_.carrier->push(action.to, wire::Abort{shard_.id, action.move});
}
void ShardActor::act(const SendWant& action) {
  if (host_.carrier != nullptr) (void)host_.carrier->push(action.to, wire::Want{shard_.id});
}

void ShardActor::act(const LearnRoute& action) {
  host_.router.routes().learn(shard_.id, action.owner, action.epoch, action.from_redis);
  routes_changed_ = true;
}

void ShardActor::act(const MoveEnded& action) {
  asked_to_move_ = false;
  if (action.moved) {  // the new owner has work before it serves: the place is free when it says so
    slot_held_since_ = boot_ms();
  } else {
    host_.metrics.stayed(pause_.lasted(boot_ms()));
    send(host_.node, MoveOver{shard_.id, false});
    if (offered_ != 0)
      tell_move("catga.shard.handoff.failed",
                "the move of shard " + std::to_string(shard_.id.value) + " to " +
                    node_name(offered_to_) + " is given up for now",
                situation_->self, offered_to_, "planned",
                {{"step", std::string(pause_.since() != 0 ? "drain" : "offer")},
                 {"error", std::string("given up")},
                 {"retry_in_ms", action.again_in}});
  }
  offered_ = 0;
}

void ShardActor::free_slot(std::int64_t gap_ms) {
  if (slot_held_since_ == 0) return;
  slot_held_since_ = 0;
  send(host_.node, MoveOver{shard_.id, true, gap_ms});
}

/// One hand-off in the log, at debug: a rebalance has hundreds. The stream has them all.
void ShardActor::tell_move(EventName event, const std::string& text, Incarnation from,
                           Incarnation to, std::string_view mode,
                           std::initializer_list<LogField> more) {
  std::vector<LogField> fields{{"catga.rebalance.id", std::to_string(situation_->rebalance)},
                               shard_field(shard_.id),
                               {"catga.node.from", from ? node_name(from) : "-"},
                               {"catga.node.to", node_name(to)},
                               {"mode", std::string(mode)}};
  fields.insert(fields.end(), more);
  host_.log.write(event.streamed() ? Severity::debug : Severity::trace, "handoff", event, text,
                  fields);
}

// ---- messages ----------------------------------------------------------------------------------------------------

void ShardActor::refuse(const Envelope& envelope, Code code, std::string text,
                        std::chrono::milliseconds retry_after) {
  if (envelope.kind == MessageClass::timer)
    return timers_.lost(envelope.timer, host_.standing.cluster_now());
  if (envelope.kind != MessageClass::tell)
    host_.metrics.refused(envelope.entity.kind, envelope.message, code);
  host_.router.answer(envelope, Error{code, std::move(text), retry_after}, Epoch{});
}

void ShardActor::overloaded(const Envelope& envelope, Limit limit, std::string text,
                            std::chrono::milliseconds retry_after) {
  host_.metrics.refused(limit);
  refuse(envelope, Code::overloaded, std::move(text), retry_after);
}

void ShardActor::dispatch(Envelope envelope, bool fresh, std::int64_t since_ms, ViewVersion seen) {
  look_at_primary();
  const bool behind = situation_->standing && seen > situation_->standing->view->version;
  const Surroundings surroundings = around();
  const Route where = route(shard_, surroundings, envelope.route_epoch, envelope.hops, fresh,
                            surroundings.session_ok, behind);
  if (envelope.kind == MessageClass::timer && elsewhere(shard_))
    return;  // its next owner reads it from the store
  switch (where.verdict) {
    case Verdict::run:
      if (!host_.standing.may_read(situation_->self.low) && reads_only(envelope))
        return prove(std::move(envelope));
      return run(std::move(envelope));
    case Verdict::hold:
      if (draining_ && ends_a_knot(envelope) && entities().contains(envelope.entity)) {
        return run(std::move(envelope));
      }
      return hold(std::move(envelope), since_ms);
    case Verdict::forward:
      return forward(std::move(envelope), where.to, where.epoch);
    case Verdict::look_up:
      return look_up(std::move(envelope));
    case Verdict::refuse:
      return refuse(envelope, Code::unavailable,
                    "the message was sent on " + std::to_string(envelope.hops) +
                        " times and found no owner of shard " + std::to_string(shard_.id.value));
  }
}

bool ShardActor::reads_only(const Envelope& envelope) const {
  if (envelope.kind != MessageClass::ask) return envelope.kind == MessageClass::query;
  const auto kind = host_.kinds.find(envelope.entity.kind);  // a JSON caller does not know
  if (kind == host_.kinds.end()) return false;
  const std::size_t message = kind->second.index_of(envelope.message);
  return message < kind->second.messages.size() && kind->second.messages[message].query;
}

/// Memory may be ahead of what Redis has now, and must not answer any more.
void ShardActor::look_at_primary() {
  const std::uint64_t changes = host_.primary_changes.load(std::memory_order_acquire);
  if (std::exchange(primary_changes_, changes) != changes) apply(PrimaryChanged{});
}

/// Without the reading right this node may have been evicted without knowing, and memory may be old. One read of the
/// record that begins after the question came shows that the shard is ours, for all that wait.
void ShardActor::prove(Envelope envelope) {
  if (proving_.size() + proving_next_.size() >= host_.config.buffer.shard_messages) {
    return overloaded(envelope, Limit::shard_buffer,
                      "too many queries wait for Redis to say whether shard " +
                          std::to_string(shard_.id.value) + " is still here",
                      std::chrono::milliseconds(100));
  }
  (proof_open_ ? proving_next_ : proving_).push_back(std::move(envelope));
  if (!proof_open_) read_proof();
}

void ShardActor::read_proof() {
  proof_open_ = true;
  host_.stores.owners().read(shard_.id, [self = self_handle()](Result<OwnerRecord> record) {
    caf::anon_send(self, ProofRead{std::make_shared<Result<OwnerRecord>>(std::move(record))});
  });
}

void ShardActor::proof_read(const Result<OwnerRecord>& record) {
  proof_open_ = false;
  look_at_primary();
  std::vector<Envelope> proven = std::exchange(proving_, std::exchange(proving_next_, {}));
  if (!proving_.empty()) read_proof();
  const bool ours = record.ok() && record->token == shard_.token;
  if (record.ok() && !ours) apply(WasFenced{shard_.token});
  for (Envelope& envelope : proven) {
    if (!record.ok()) {
      refuse(envelope, Code::unavailable,
             "the owner of the shard could not be confirmed: " + record.error().text);
    } else if (ours && shard_.state == ShardState::owned && around().session_ok) {
      run(std::move(envelope));
    } else {
      dispatch(std::move(envelope), false);
    }
  }
  arm();
}

void ShardActor::run(Envelope envelope) {
  if (sagas_.take(envelope)) return;
  const auto kind = host_.kinds.find(envelope.entity.kind);
  if (kind == host_.kinds.end()) {
    return refuse(envelope, Code::not_found,
                  "node " + host_.node_id + " hosts no kind " + envelope.entity.kind);
  }
  if (envelope.kind != MessageClass::timer && envelope.deadline_ms <= boot_ms()) {
    host_.metrics.expired(NodeMetrics::Place::shard);
    return refuse(envelope, Code::timeout, "the deadline passed on the way");
  }
  if (lacks_time(envelope)) return give_time(std::move(envelope));
  std::uint64_t waiting = 0;
  {
    const auto guard = door_.lock();
    Active& active = activate(envelope.entity, kind->second);
    waiting = Doorway::waiting(active) + active.backlog.size();
    if (waiting < host_.config.entity.mailbox) {
      if (active.leaving && !ends_a_knot(envelope)) {
        active.backlog.push_back(std::move(envelope));
        return;
      }
      door_.count(active);
      active.actor->post(std::move(envelope));
      return;
    }
  }
  overloaded(envelope, Limit::mailbox,
             text_of(envelope.entity) + " has " + std::to_string(waiting) +
                 " messages waiting (entity.mailbox)",
             std::chrono::milliseconds(50));
}

/// The id was made of a key of a client's, who does not know when it was first used.
bool ShardActor::lacks_time(const Envelope& envelope) const {
  return envelope.operation_ms == 0 && envelope.operation && !envelope.saga &&
         envelope.kind != MessageClass::timer && !reads_only(envelope);
}

/// All copies of it share the time of the first, so that it is known or `expired` like any other.
void ShardActor::give_time(Envelope envelope) {
  FirstSeen wanted;
  wanted.shard = shard_.id;
  wanted.token = shard_.token;
  wanted.id = envelope.operation;
  wanted.now_ms = host_.standing.cluster_now();
  wanted.retention = std::chrono::milliseconds(host_.limits.retention);
  host_.stores.state().first_seen(wanted, [self = self_handle(), token = shard_.token,
                                           held = std::make_shared<Envelope>(std::move(envelope))](
                                              Result<Seen> seen) {
    caf::anon_send(self, TimeGiven{held, token, std::make_shared<Result<Seen>>(std::move(seen))});
  });
}

void ShardActor::time_given(const TimeGiven& message) {
  const Result<Seen>& seen = *message.seen;
  Envelope envelope = std::move(*message.envelope);
  if (!seen.ok()) {
    const bool overloaded = seen.error().code == Code::overloaded;
    return refuse(envelope, overloaded ? Code::overloaded : Code::unavailable,
                  "the time of operation " + text_of(envelope.operation) +
                      " could not be looked up: " + seen.error().text,
                  std::chrono::milliseconds(100));
  }
  if (seen->outcome == Seen::Outcome::full) {
    return overloaded(envelope, Limit::client_keys,
                      "shard " + std::to_string(shard_.id.value) +
                          " has seen as many keys of clients today as it may",
                      std::chrono::seconds(1));
  }
  if (seen->outcome == Seen::Outcome::fenced) {
    if (message.token == shard_.token) apply(WasFenced{message.token});
  } else {
    envelope.operation_ms = seen->at_ms;
  }
  dispatch(std::move(envelope), false);
}

/// An ask from a suspended turn. A draining entity may itself be suspended in a turn that waits for this very ask: only
/// the entity can see that. Should it end before it looks, the ask is repeated by its caller; a tell would be lost.
bool ShardActor::ends_a_knot(const Envelope& envelope) {
  return !envelope.path.empty() && envelope.kind == MessageClass::ask;
}

void ShardActor::hold(Envelope envelope, std::int64_t since_ms) {
  const std::size_t bytes = envelope.bytes();
  const bool timer = envelope.kind == MessageClass::timer;
  if (!timer && (held_.size() >= host_.config.buffer.shard_messages ||
                 host_.buffered_bytes.load(std::memory_order_relaxed) + bytes >
                     host_.config.buffer.node_bytes)) {
    return overloaded(envelope, Limit::shard_buffer,
                      "shard " + std::to_string(shard_.id.value) +
                          " is moving and its buffer is full (buffer.shard_messages)",
                      std::chrono::milliseconds(100));
  }
  door_.close();  // what comes now must not overtake it
  held_bytes_ += bytes;
  host_.buffered_bytes.fetch_add(bytes, std::memory_order_relaxed);
  held_.push_back({std::move(envelope), since_ms != 0 ? since_ms : boot_ms()});
}

void ShardActor::forward(Envelope envelope, Incarnation to, Epoch epoch) {
  envelope.hops = static_cast<std::uint8_t>(envelope.hops + 1);
  envelope.route_epoch = epoch;
  host_.forwarded.fetch_add(1, std::memory_order_relaxed);
  host_.metrics.forwarded(shard_.state == ShardState::forwarding);
  if (!host_.router.send(to, envelope)) {
    return overloaded(envelope, Limit::lane, "too much waits for node " + node_name(to),
                      std::chrono::milliseconds(50));
  }
  if (envelope.reply_to && host_.carrier != nullptr)
    (void)host_.carrier->push(envelope.reply_to, wire::Owns{shard_.id, epoch, to});
}

void ShardActor::look_up(Envelope envelope) {
  std::vector<Envelope>& waiting = looking_read_ == 0 ? looking_ : looking_next_;
  if (looking_.size() + looking_next_.size() >= host_.config.buffer.shard_messages) {
    return overloaded(
        envelope, Limit::shard_buffer,
        "too many messages look for the owner of shard " + std::to_string(shard_.id.value),
        std::chrono::milliseconds(100));
  }
  waiting.push_back(std::move(envelope));
  if (looking_read_ != 0) return;
  looking_read_ = shard_.read_number + 1;
  apply(LookUpWanted{});
}

void ShardActor::looked_up(std::uint64_t number, bool answered) {
  if (looking_read_ == 0 || number < looking_read_) return;
  if (number != shard_.read_number)
    return;                                 // the state machine has asked again: that answer counts
  if (!answered && shard_.reading) return;  // it asks again by the clock
  looking_read_ = 0;
  std::vector<Envelope> found = std::exchange(looking_, std::exchange(looking_next_, {}));
  for (Envelope& envelope : found) dispatch(std::move(envelope), answered);
  if (!looking_.empty()) {
    looking_read_ = shard_.read_number + 1;
    apply(LookUpWanted{});
  }
  arm();
}

void ShardActor::redispatch(bool fresh) {
  for (Envelope& envelope : std::exchange(returned_, {})) dispatch(std::move(envelope), fresh);
  std::deque<Held> held = std::exchange(held_, {});
  host_.buffered_bytes.fetch_sub(std::exchange(held_bytes_, 0), std::memory_order_relaxed);
  for (Held& one : held) dispatch(std::move(one.envelope), fresh, one.since_ms);
}

/// Nobody claimed the shard in time, or the caller's deadline is over.
void ShardActor::refuse_stale() {
  const std::int64_t now = boot_ms();
  const auto stale = [&](const Envelope& envelope, std::int64_t since) {
    if (envelope.kind == MessageClass::timer) return false;
    return envelope.deadline_ms <= now || (elsewhere(shard_) && now - since >= hold_ownerless_ms);
  };
  std::deque<Held> keep;
  for (Held& one : held_) {
    if (!stale(one.envelope, one.since_ms)) {
      keep.push_back(std::move(one));
      continue;
    }
    const std::size_t bytes = one.envelope.bytes();
    held_bytes_ -= bytes;
    host_.buffered_bytes.fetch_sub(bytes, std::memory_order_relaxed);
    if (one.envelope.deadline_ms <= now) host_.metrics.expired(NodeMetrics::Place::shard_buffer);
    refuse(one.envelope, Code::unavailable,
           "shard " + std::to_string(shard_.id.value) + " has no owner that could run it now");
  }
  held_ = std::move(keep);
  for (std::vector<Envelope>* list : {&looking_, &looking_next_}) {
    std::erase_if(*list, [&](const Envelope& envelope) {
      if (envelope.deadline_ms > now) return false;
      host_.metrics.expired(NodeMetrics::Place::shard_buffer);
      refuse(envelope, Code::unavailable,
             "the owner of the shard could not be looked up: Redis does not answer");
      return true;
    });
  }
}

// ---- entities ----------------------------------------------------------------------------------------------------

/// Under the door's lock.
ShardActor::Active& ShardActor::activate(const EntityId& entity, const Kind& kind) {
  Active& active = door_.entities()[entity];
  if (active.actor) return active;
  active.serial = next_serial_++;
  active.actor = caf::make_counted<EntityActor>(
      host_, kind,
      EntityStart{shard_.id, entity, shard_.token, active.serial, self_handle(), gate_});
  return active;
}

/// Null if another activation of it, or none, is in memory.
ShardActor::Active* ShardActor::find(const EntityId& entity, std::uint64_t serial) {
  Active* const active = door_.entities().find(entity);
  return active != nullptr && active->serial == serial ? active : nullptr;
}

void ShardActor::forget(const EntityId& entity) {
  const auto guard = door_.lock();
  door_.entities().erase(entity);
}

void ShardActor::may_leave(const MayLeave& message) {
  Active* const active = find(message.entity, message.serial);
  if (active == nullptr) return;
  const auto guard = door_.lock();
  if (active->sent != message.seen || active->leaving) return;
  active->actor->post(DropNow{});  // idle, and nothing on its way: there is nothing to drop
  door_.entities().erase(message.entity);
}

void ShardActor::emptied(Emptied& message) {
  std::vector<Envelope>& rest = *message.rest;
  if (Active* const active = find(message.entity, message.serial)) {
    for (Envelope& envelope : active->backlog) rest.push_back(std::move(envelope));
    forget(message.entity);
  }
  if (draining_) {
    for (Envelope& envelope : rest) returned_.push_back(std::move(envelope));
    return drained_if_empty();
  }
  for (Envelope& envelope : rest) dispatch(std::move(envelope), false);
  arm();
}

/// Its commit may be under way, its timers too. Taking the shard anew under another token settles both: the late commit is
/// fenced, the timers are read again.
void ShardActor::entity_broke(const EntityBroke& message) {
  Active* const active = find(message.entity, message.serial);
  if (active == nullptr) return;
  host_.log.write(Severity::error, "entity", "",
                  "the actor of " + entity_shown(host_.config, message.entity) +
                      " ended: the shard is taken anew",
                  {shard_field(shard_.id), {"error", message.why}});
  // What was in its mailbox is lost: asks are repeated by their callers, timers are read again.
  for (Envelope& envelope : active->backlog) returned_.push_back(std::move(envelope));
  forget(message.entity);
  apply(WasFenced{shard_.token});
}

void ShardActor::passivate_idle() {
  const std::int64_t now = boot_ms();
  const std::int64_t timeout = host_.config.entity.idle_timeout.count();
  const std::uint32_t in_memory = host_.active.load(std::memory_order_relaxed);
  const bool crowded = in_memory > host_.config.entity.max_active;
  const std::int64_t calmly = crowded ? 1000 : 30'000;
  sweep_at_ = now + (timeout > 0 ? std::clamp<std::int64_t>(timeout / 4, 50, calmly) : calmly);
  std::vector<std::pair<std::int64_t, const Active*>> idle;
  {
    const auto guard = door_.lock();
    for (const auto& [entity, active] : entities()) {
      if (active.leaving || Doorway::waiting(active) != 0) continue;
      const std::int64_t used = active.actor->gauge().last_used_ms.load(std::memory_order_relaxed);
      if (timeout > 0 && now - used >= timeout)
        active.actor->post(LeaveIfIdle{false});
      else if (crowded)
        idle.emplace_back(used, &active);
    }
  }
  if (!crowded) return;
  // Of those idle since the same moment any may leave, but the same ones in each run of a simulation.
  std::stable_sort(idle.begin(), idle.end(),
                   [](const auto& one, const auto& other) { return one.first < other.first; });
  const std::size_t surplus =
      idle.size() * (in_memory - host_.config.entity.max_active) / in_memory + 1;
  for (std::size_t i = 0; i < std::min(surplus, idle.size()); ++i)
    idle[i].second->actor->post(LeaveIfIdle{true});
}

// ---- sagas -------------------------------------------------------------------------------------------------------

void ShardActor::sagas_drained(const SagasDrained& message) {
  std::vector<Envelope>* const rest = sagas_.drained(message);
  if (rest == nullptr) return;
  for (Envelope& envelope : *rest) {
    if (draining_) {
      returned_.push_back(std::move(envelope));
    } else {
      dispatch(std::move(envelope), false);
    }
  }
  drained_if_empty();
}

/// Three times in a minute: the shard is taken anew, under another token.
void ShardActor::saga_supervisor_died(const caf::down_msg& down) {
  if (sagas_.died(down) == ShardSagas::Death::too_often) {
    apply(WasFenced{shard_.token});
  } else {
    drained_if_empty();
  }
}

// ---- hand-over ---------------------------------------------------------------------------------------------------

void ShardActor::act(const SendHandover& action) {
  std::vector<std::vector<Envelope>> chunks(1);
  std::size_t bytes = 0;
  const auto add = [&](Envelope& envelope) {
    if (envelope.kind == MessageClass::timer) return;  // the new owner reads them from the store
    bytes += envelope.bytes();
    if (bytes > handover_chunk_bytes && !chunks.back().empty()) {
      chunks.emplace_back();
      bytes = envelope.bytes();
    }
    chunks.back().push_back(std::move(envelope));
  };
  queued_before_ = returned_.size() + held_.size();
  for (Envelope& envelope : std::exchange(returned_, {})) add(envelope);
  for (Held& one : std::exchange(held_, {})) add(one.envelope);
  host_.buffered_bytes.fetch_sub(std::exchange(held_bytes_, 0), std::memory_order_relaxed);
  gate_->open = false;
  timers_.clear();
  timers_again_at_ = 0;
  ++generation_;
  ++reading_;
  timers_reading_ = 0;
  giving_ = std::make_unique<HandoverOut<std::vector<Envelope>>>(
      action.to, action.epoch, std::move(chunks), boot_ms(), HandoverTimes{});
  moving_to_ = action.to;
  moving_epoch_ = action.epoch;
  giving_quiet_ = action.quiet;
  transferred_at_ = boot_ms();
  send_handover();
}

void ShardActor::send_handover() {
  if (!giving_ || host_.carrier == nullptr) return;
  for (const auto& [number, envelopes] : giving_->open()) {
    std::vector<std::string> bodies;
    bodies.reserve(envelopes.size());
    for (const Envelope& envelope : envelopes) bodies.push_back(wire::encode(envelope, boot_ms()));
    wire::Handover record{shard_.id,     giving_->epoch(),
                          number,        giving_->is_last(number),
                          giving_quiet_, {bodies.begin(), bodies.end()}};
    (void)host_.carrier->push(giving_->to(), record);
  }
}

void ShardActor::handover_due() {
  if (!giving_ || boot_ms() < giving_->next_at()) return;
  if (giving_->again(boot_ms()) && host_.router.routes().is_member(giving_->to()))
    return send_handover();
  for (const auto& [number, envelopes] : giving_->open()) {
    for (const Envelope& envelope : envelopes) {
      refuse(envelope, Code::unknown,
             "the shard moved and the new owner did not say that it has this message; ask again "
             "with the same operation id");
    }
  }
  giving_.reset();
}

void ShardActor::handover_arrived(HandoverArrived& message) {
  if (host_.carrier != nullptr)
    (void)host_.carrier->push(message.from,
                              wire::HandoverAck{shard_.id, message.epoch, message.chunk});
  auto complete = taking_.arrived(message.from, message.epoch, message.chunk, message.last,
                                  std::move(*message.envelopes));
  if (!complete) return;
  std::vector<Envelope> queue;
  for (std::vector<Envelope>& chunk : *complete) {
    for (Envelope& envelope : chunk) queue.push_back(std::move(envelope));
  }
  if (shard_.state == ShardState::incoming && !shard_.hydrating && shard_.peer == message.from) {
    mode_ = "planned";
    came_from_ = message.from;
    pause_.begins(boot_ms());
    for (Envelope& envelope : queue)
      returned_.push_back(std::move(envelope));  // runs before what came here directly
    apply(HandoverComplete{message.from, message.epoch, message.quiet});
    return;
  }
  for (Envelope& envelope : queue)
    dispatch(std::move(envelope), false);  // late: to the end, or routed on
  arm();
}

/// The new owner says that it serves the shard: the move is over, on our clock.
void ShardActor::moved_away(Incarnation owner, Epoch epoch) {
  if (!moving_to_ || owner != moving_to_ || epoch != moving_epoch_) return;
  const std::int64_t gap = pause_.lasted(boot_ms());
  host_.metrics.went(gap);
  free_slot(gap);
  tell_move("catga.shard.handoff.completed",
            "shard " + std::to_string(shard_.id.value) + " moved " + host_.node_id + " -> " +
                node_name(owner) + " in " + std::to_string(gap) + " ms",
            situation_->self, owner, "planned",
            {{"catga.shard.epoch", std::to_string(epoch.value)},
             {"entities", static_cast<std::int64_t>(entities_before_)},
             {"queued", static_cast<std::int64_t>(queued_before_)},
             {"duration_ms", offered_at_ == 0 ? gap : boot_ms() - offered_at_},
             {"drain_ms", drained_at_ - pause_.since()},
             {"transfer_ms", transferred_at_ - drained_at_},
             {"unavailable_ms", gap}});
  host_.history.moved({shard_.id.value, host_.node_id, node_name(owner), "planned", epoch,
                       host_.standing.cluster_now(), gap,
                       static_cast<std::int64_t>(entities_before_)});
  moving_to_ = {};
  pause_.ends();
}

// ---- outbox and timers -------------------------------------------------------------------------------------------

void ShardActor::read_outbox(const std::string& after) {
  host_.stores.state().read_outbox(
      shard_.id, shard_.token, after, outbox_page,
      [self = self_handle(), reading = reading_, token = shard_.token](Result<OutboxPage> page) {
        caf::anon_send(self, OutboxRead{reading, token,
                                        std::make_shared<Result<OutboxPage>>(std::move(page))});
      });
}

void ShardActor::read_timers() {
  const std::int64_t until = host_.standing.cluster_now() + timer_horizon_ms;
  timers_.reading();
  timers_reading_ = ++timers_number_;
  host_.stores.state().read_timers(
      shard_.id, shard_.token, until, timers_page,
      [self = self_handle(), reading = timers_number_, until](Result<TimerPage> page) {
        caf::anon_send(
            self, TimersRead{reading, until, std::make_shared<Result<TimerPage>>(std::move(page))});
      });
}

void ShardActor::outbox_read(OutboxRead& message) {
  if (message.reading != reading_) return;
  const Result<OutboxPage>& page = *message.page;
  if (!page.ok() || page->fenced) {
    if (hydrating_) {
      hydrating_ = false;
      return apply(Hydrated{page.ok(), page.ok() && page->fenced});
    }
    if (page.ok()) return apply(WasFenced{message.token});  // under an older token: see Retoken
    return read_outbox("");  // while serving: the store waits for Redis before it answers again
  }
  for (const OutboxEntry& entry : page->entries) {
    Result<RelayEntry> output = relay_entry(entry.id, entry.bytes, false);
    if (!output.ok()) {
      host_.log.write(
          Severity::error, "store", "",
          "an entry of the outbox cannot be read and is left out: " + output.error().text,
          {shard_field(shard_.id), {"entry", entry.id}});
      continue;
    }
    const std::lock_guard guard(gate_->relay_lock);
    if (!gate_->relay.known(entry.id)) gate_->relay.add(std::move(*output));
  }
  if (page->entries.size() >= outbox_page) return read_outbox(page->entries.back().id);
  {
    const std::lock_guard guard(gate_->relay_lock);
    for (const std::uint64_t hold : std::exchange(holds_, {})) gate_->relay.release(hold);
  }
  outbox_done_ = true;
  reading_more_ = false;
  hydrated_if_read();
  deliver_tells();
  arm();
}

void ShardActor::timers_read(TimersRead& message) {
  if (message.reading != timers_reading_) return;
  timers_reading_ = 0;
  Result<TimerPage>& page = *message.page;
  if (!page.ok() || page->fenced) {
    if (hydrating_) {
      hydrating_ = false;
      return apply(Hydrated{page.ok(), page.ok() && page->fenced});
    }
    if (timers_again_at_ == 0) timers_again_at_ = boot_ms() + 1000;
    return;  // the horizon stays
  }
  std::int64_t horizon = message.until_ms;
  timers_full_ = page->timers.size() >= timers_page;  // there are more before `until`
  if (timers_full_) horizon = page->timers.back().due_ms - 1;
  timers_.load(std::move(page->timers), horizon);
  timers_done_ = true;
  hydrated_if_read();
  fire_timers();
  arm();
}

/// Time to read on: what is in memory, of a page that had no room for all, is half gone; or the horizon comes near.
bool ShardActor::timers_run_low(std::int64_t cluster_ms) const {
  if (timers_full_) return timers_.size() < timers_page / 2;
  return cluster_ms > timers_.horizon() - timer_refill_ms;
}

/// Which owners of sagas are too old to be heard.
void ShardActor::read_sources() {
  host_.stores.sagas().overview(
      shard_.id, shard_.token,
      [self = self_handle(), reading = reading_](Result<SagaOverview> overview) {
        caf::anon_send(
            self,
            SourcesRead{reading, std::make_shared<Result<SagaOverview>>(std::move(overview))});
      });
}

void ShardActor::sources_read(const SourcesRead& message) {
  if (message.reading != reading_ || !hydrating_) return;
  const Result<SagaOverview>& overview = *message.overview;
  if (!overview.ok() || overview->fenced) {
    hydrating_ = false;
    return apply(Hydrated{overview.ok(), overview.ok() && overview->fenced});
  }
  {
    const std::lock_guard guard(gate_->sources_lock);
    for (const auto& [shard, epoch] : overview->sources) {
      Epoch& known = gate_->sources[shard];
      known = std::max(known, epoch);
    }
  }
  sources_done_ = true;
  hydrated_if_read();
}

void ShardActor::nothing_to_read() {
  {
    const std::lock_guard guard(gate_->relay_lock);
    for (const std::uint64_t hold : std::exchange(holds_, {})) gate_->relay.release(hold);
  }
  timers_full_ = false;
  timers_.load({}, host_.standing.cluster_now() + timer_horizon_ms);
  outbox_done_ = timers_done_ = sources_done_ = true;
  hydrated_if_read();
}

void ShardActor::hydrated_if_read() {
  if (!hydrating_ || !outbox_done_ || !timers_done_ || !sources_done_) return;
  hydrating_ = false;
  apply(Hydrated{true, false});
}

void ShardActor::deliver_tells() {
  if (shard_.state != ShardState::owned || !gate_->open) return;
  std::vector<RelayEntry> due;
  {
    const std::lock_guard guard(gate_->relay_lock);
    for (const RelayEntry* entry : gate_->relay.due(boot_ms())) due.push_back(*entry);
  }
  for (RelayEntry& entry : due) {
    if (entry.event) {
      publish(std::move(entry));
      continue;
    }
    if (parking_.contains(entry.stream_id)) {
      park_tell(std::move(entry));
      continue;
    }
    Ask ask;
    ask.entity = std::move(entry.target);
    ask.message = std::move(entry.message);
    ask.payload = std::move(entry.payload);
    ask.operation = entry.operation;
    ask.operation_ms = entry.first_delivery ? host_.standing.cluster_now() : entry.time_ms;
    std::optional<catga::detail::TraceScope> inside;
    if (host_.tracer != nullptr) inside.emplace(trace_of(entry));
    host_.router.carry(std::move(ask), Pattern::tell,
                       [self = self_handle(), id = entry.stream_id,
                        generation = generation_](Result<std::string> answer) {
                         auto shared = std::make_shared<Result<std::string>>(std::move(answer));
                         caf::anon_send(self, TellAnswered{id, generation, std::move(shared)});
                       });
  }
}

void ShardActor::publish(RelayEntry event) {
  const auto stored = [self = self_handle(), id = event.stream_id, generation = generation_,
                       counts = &host_.metrics.of(event.source.kind), name = event.message,
                       there_is = host_.publisher != nullptr](Status status) {
    if (there_is && status.ok()) counts->published(name);
    caf::anon_send(self, EventStored{id, generation, std::make_shared<Status>(std::move(status))});
  };
  if (host_.publisher == nullptr) return stored(Done{});  // embedded, simulated: no stream
  host_.publisher->publish(shard_.id, std::move(event), stored);
}

/// What JetStream does not have yet is published again, for ever: no event is lost, and none of its source overtakes it.
void ShardActor::event_stored(const EventStored& message) {
  if (message.generation != generation_) return;
  {
    const std::lock_guard guard(gate_->relay_lock);
    Relay& relay = gate_->relay;
    if (message.stored->ok()) {
      relay.answered(message.stream_id, Relay::Verdict::delivered, 0);
    } else {
      const unsigned attempts = relay.attempts(message.stream_id);
      const std::int64_t wait = std::min(100LL << std::min(attempts, 6U), publish_again_most_ms);
      relay.answered(message.stream_id, Relay::Verdict::again, boot_ms() + wait);
    }
  }
  deliver_tells();
  trim_outbox();
  arm();
}

/// Without a store for letters (simulated), or without a way for operators to get at them (embedded), a tell that is given
/// up is gone.
bool ShardActor::keeps_letters() const {
  return host_.carrier != nullptr && host_.stores.letters() != nullptr;
}

void ShardActor::tell_answered(TellAnswered& message) {
  if (message.generation != generation_) return;
  const Result<std::string>& answer = *message.answer;
  Relay::Verdict verdict = Relay::Verdict::delivered;
  std::int64_t wait = 0;
  if (!answer.ok() && answer.error().code != Code::rejected) {
    const Code code = answer.error().code;
    const bool hopeless = code == Code::expired || code == Code::malformed;
    RelayEntry entry;
    {
      const std::lock_guard guard(gate_->relay_lock);
      if (const RelayEntry* open = gate_->relay.open(message.stream_id)) entry = *open;
    }
    const bool broken =
        (code == Code::failed || code == Code::not_found) && entry.attempts >= failed_tells_max;
    const bool old = keeps_letters() && host_.standing.cluster_now() - entry.time_ms >=
                                            std::chrono::milliseconds(tell_window).count();
    verdict = hopeless || broken || old ? Relay::Verdict::dead : Relay::Verdict::again;
    wait = std::min<std::int64_t>(100LL << std::min(entry.attempts, 8U), 10'000);
    if (verdict == Relay::Verdict::dead) {
      const std::string why = std::string(name_of(code)) + ": " + answer.error().text;
      if (keeps_letters() && entry.attempts != 0) {
        parking_.insert_or_assign(entry.stream_id, why);
        return park_tell(std::move(entry));
      }
      host_.log.write(
          Severity::error, "entity", "",
          "a tell is given up after " + std::to_string(entry.attempts) + " attempts: " + why,
          {shard_field(shard_.id), {"entry", message.stream_id}});
    }
  }
  {
    const std::lock_guard guard(gate_->relay_lock);
    gate_->relay.answered(message.stream_id, verdict, boot_ms() + wait);
  }
  deliver_tells();
  trim_outbox();
  arm();
}

/// It counts as under way until the store has moved it; what is trimmed is not affected.
void ShardActor::park_tell(RelayEntry entry) {
  DeadLetter letter;
  letter.event.id = entry.operation;
  letter.event.source = std::move(entry.source);
  letter.event.at_ms = letter.first_ms = entry.time_ms;
  letter.event.name = std::move(entry.message);
  letter.event.payload = std::move(entry.payload);
  letter.target = std::move(entry.target);
  letter.parked_ms = host_.standing.cluster_now();
  letter.attempts = entry.attempts;
  letter.why = parking_.at(entry.stream_id);
  TellLetter tell;
  tell.box = {shard_.id, shard_.token, letter_box(std::string(tells_box), letter.event.source),
              true};
  tell.stream_id = entry.stream_id;
  tell.now_ms = letter.parked_ms;
  tell.cap = host_.config.events.parked_max;
  tell.cap_bytes = tell_letters_bytes;
  tell.letter = bytes_of(letter);
  host_.stores.letters()->park_tell(
      std::move(tell), [self = self_handle(), id = std::move(entry.stream_id),
                        generation = generation_, token = shard_.token](Result<LetterAnswer> said) {
        caf::anon_send(self, TellParked{id, generation, token,
                                        std::make_shared<Result<LetterAnswer>>(std::move(said))});
      });
}

/// Whether it was parked is asked until it is known: only then may the trim pass it, and only then is it not sent again.
void ShardActor::tell_parked(const TellParked& message) {
  using Outcome = LetterAnswer::Outcome;
  if (message.generation != generation_) return;
  const Result<LetterAnswer>& answer = *message.answer;
  Relay::Verdict verdict = Relay::Verdict::dead;
  std::int64_t wait = park_again_ms;
  std::string target = "somebody";
  {
    const std::lock_guard guard(gate_->relay_lock);
    if (const RelayEntry* open = gate_->relay.open(message.stream_id))
      target = entity_shown(host_.config, open->target);
  }
  if (!answer.ok() || answer->outcome == Outcome::fenced) {
    verdict = Relay::Verdict::again;
  } else if (answer->outcome == Outcome::full) {
    verdict = Relay::Verdict::again;
    wait = full_again_ms;
    host_.log.write(Severity::warn, "entity", "",
                    "there is no room for more dead letters in the shard: a tell to " + target +
                        " stays in the outbox, and is tried again, until some are retried or "
                        "discarded",
                    {shard_field(shard_.id), {"entry", message.stream_id}});
    parking_.erase(message.stream_id);  // it is sent again first: its target may have been mended
  } else {
    if (answer->outcome == Outcome::ok)
      host_.log.write(Severity::error, "entity", "",
                      "a tell to " + target + " is given up, " + parking_[message.stream_id] +
                          ". It is a dead letter now: retry or discard it",
                      {shard_field(shard_.id), {"entry", message.stream_id}});
    parking_.erase(message.stream_id);
  }
  {
    const std::lock_guard guard(gate_->relay_lock);
    gate_->relay.answered(message.stream_id, verdict, boot_ms() + wait);
  }
  if (answer.ok() && answer->outcome == Outcome::fenced) apply(WasFenced{message.token});
  deliver_tells();
  trim_outbox();
  arm();
}

/// What has failed ten times is a dead letter. A reminder stays in the table, for its next tick would say the same; so do
/// timers of a node that keeps no letters, and those that find no room.
void ShardActor::timer_failed(const TimerFailed& message) {
  const std::int64_t now = host_.standing.cluster_now();
  if (!message.ours) return timers_.lost(message.member, now);
  const unsigned attempts = timers_.failed(message.member, now);
  if (attempts < timer_attempts_many) return;
  const std::optional<TimerEntry> timer = timers_.find(message.member);
  const Result<TimerMessage> said = parse_timer_message(timer ? timer->message : "");
  if (keeps_letters() && said.ok() && !said->repeat) {
    parking_timers_.insert_or_assign(message.member, GivenUp{timer->due_ms, attempts, message.why});
    return park_timer(*timer);
  }
  if (attempts > timer_attempts_many) return;
  host_.log.write(Severity::error, "entity", "",
                  "a timer has failed " + std::to_string(timer_attempts_many) +
                      " times and is tried again every 5 minutes: mend its handler, or "
                      "take it back with turn.cancel",
                  {shard_field(shard_.id), {"timer", message.member}});
}

/// It was read before: it can be read. What an operator sends again is a command of the entity to itself.
void ShardActor::park_timer(const TimerEntry& timer) {
  const GivenUp& given_up = parking_timers_.at(timer.member);
  TimerMessage said = parse_timer_message(timer.message).value();
  DeadLetter letter;
  letter.target = letter.event.source = entity_of_timer(timer.member).value();
  letter.event.id = operation_of(timer);
  letter.event.at_ms = letter.first_ms = timer.due_ms;
  letter.event.name = std::move(said.message);
  letter.event.payload = std::move(said.payload);
  letter.parked_ms = host_.standing.cluster_now();
  letter.attempts = given_up.attempts;
  letter.why = "timer " + timer.member.substr(timer.member.rfind('|') + 1) + ": " + given_up.why;
  TimerLetter parked;
  parked.box = {shard_.id, shard_.token, letter_box(std::string(tells_box), letter.target), true};
  parked.member = timer.member;
  parked.due_ms = timer.due_ms;
  parked.now_ms = letter.parked_ms;
  parked.cap = host_.config.events.parked_max;
  parked.cap_bytes = tell_letters_bytes;
  parked.letter = bytes_of(letter);
  host_.stores.letters()->park_timer(
      std::move(parked),
      [self = self_handle(), member = timer.member, due = timer.due_ms, generation = generation_,
       token = shard_.token](Result<LetterAnswer> answer) {
        caf::anon_send(self,
                       TimerParked{member, due, generation, token,
                                   std::make_shared<Result<LetterAnswer>>(std::move(answer))});
      });
}

/// Until it is known whether it was parked it does not fire: when it would, that is asked again.
void ShardActor::timer_parked(const TimerParked& message) {
  using Outcome = LetterAnswer::Outcome;
  if (message.generation != generation_) return;
  const std::optional<TimerEntry> timer = timers_.find(message.member);
  const bool same = timer && timer->due_ms == message.due_ms;              // not set anew meanwhile
  if (same) timers_.failed(message.member, host_.standing.cluster_now());  // asked, not fired
  const Result<LetterAnswer>& answer = *message.answer;
  const auto given_up = parking_timers_.find(message.member);
  const bool ours = given_up != parking_timers_.end() && given_up->second.due_ms == message.due_ms;
  if (!answer.ok() || !ours) return arm();
  const LogField shard = shard_field(shard_.id), name{"timer", message.member};
  switch (answer->outcome) {
    case Outcome::fenced:
      apply(WasFenced{message.token});
      return arm();
    case Outcome::full:
      host_.log.write(Severity::warn, "entity", "",
                      "there is no room for more dead letters in the shard: a timer that fails is "
                      "tried again every 5 minutes, until some are retried or discarded",
                      {shard, name});
      break;
    case Outcome::ok:
      host_.log.write(Severity::error, "entity", "",
                      "a timer is given up after " + std::to_string(given_up->second.attempts) +
                          " attempts, " + given_up->second.why +
                          ". It is a dead letter now: retry or discard it",
                      {shard, name});
      if (same) timers_.written({message.member, std::nullopt, {}});
      break;
    default:  // an earlier copy of the call did it, or a turn has taken the timer back
      if (same) read_timers_again(message.member);
  }
  parking_timers_.erase(message.member);
  arm();
}

void ShardActor::read_timers_again(const std::string& unsure) {
  timers_.forget(unsure);
  timers_again_at_ = boot_ms() + late_copy_ms;
  if (!hydrating_) read_timers();
}

void ShardActor::trim_outbox() {
  if (trimming_ || shard_.state != ShardState::owned || boot_ms() - trimmed_at_ < trim_every_ms)
    return;
  std::string through;
  {
    const std::lock_guard guard(gate_->relay_lock);
    through = gate_->relay.trim_through();
  }
  if (through.empty()) return;
  trimming_ = true;
  trimmed_at_ = boot_ms();
  host_.stores.state().trim_outbox(
      shard_.id, shard_.token, through,
      [self = self_handle(), through, token = shard_.token](Result<bool> trimmed) {
        caf::anon_send(self, Trimmed{through, token, trimmed.ok(), trimmed.ok() && !*trimmed});
      });
}

void ShardActor::fire_timers() {
  if (shard_.state != ShardState::owned || !gate_->open) return;
  const std::int64_t now = host_.standing.cluster_now();
  for (TimerEntry& timer : timers_.due(now)) {
    host_.metrics.timer_fired(now - timer.due_ms);
    if (sagas_.fire(timer)) continue;
    if (const auto given_up = parking_timers_.find(timer.member);
        given_up != parking_timers_.end() && given_up->second.due_ms == timer.due_ms) {
      park_timer(timer);
      continue;
    }
    Result<EntityId> entity = entity_of_timer(timer.member);
    Result<TimerMessage> message = parse_timer_message(timer.message);
    if (!entity.ok() || !message.ok()) {
      host_.log.write(Severity::error, "store", "", "a timer cannot be read and is left alone",
                      {shard_field(shard_.id), {"timer", timer.member}});
      continue;
    }
    Envelope envelope;
    envelope.kind = MessageClass::timer;
    envelope.entity = std::move(*entity);
    envelope.message = std::move(message->message);
    envelope.payload = std::move(message->payload);
    envelope.repeat = message->repeat;
    envelope.trace = message->trace;
    envelope.operation = operation_of(timer);
    envelope.operation_ms = timer.due_ms;
    envelope.timer = std::move(timer.member);
    host_.metrics.of(envelope.entity.kind).timer_sent();
    dispatch(std::move(envelope), false);
  }
}

// ---- time --------------------------------------------------------------------------------------------------------

void ShardActor::tick() {
  armed_at_ = 0;
  const std::int64_t now = boot_ms();
  if (now >= next_wake(shard_, around())) apply(Woken{});
  if (shard_.state == ShardState::owned && gate_->open && !held_.empty() &&
      host_.standing.session_ok(gate_->life)) {
    redispatch(false);  // the session lapsed for a moment, and nobody saw it
  }
  if (!held_.empty() || !looking_.empty() || !looking_next_.empty()) refuse_stale();
  handover_due();
  if (slot_held_since_ != 0 && now - slot_held_since_ >= slot_held_ms) free_slot();
  deliver_tells();
  trim_outbox();
  fire_timers();
  if (!entities().empty() && now >= sweep_at_) passivate_idle();
  const bool refill = shard_.state == ShardState::owned && !hydrating_ && timers_reading_ == 0 &&
                      timers_.horizon() != 0 && timers_run_low(host_.standing.cluster_now());
  const bool again = timers_again_at_ != 0 && now >= timers_again_at_;
  if (again && shard_.state == ShardState::owned && !hydrating_) {
    timers_again_at_ = 0;
    read_timers();
  } else if (refill) {
    read_timers();
  }
  settle();
}

/// What waits here, for metrics. The age of the outbox is looked at once a second: that walks over it.
void ShardActor::count_load() {
  NodeMetrics::Load load;
  load.held = static_cast<std::int64_t>(held_.size());
  load.timers = static_cast<std::int64_t>(timers_.size());
  load.oldest_ms = counted_load_.oldest_ms;
  {
    const std::lock_guard guard(gate_->relay_lock);
    load.outbox = static_cast<std::int64_t>(gate_->relay.pending());
    const std::int64_t now = boot_ms();
    if (load.outbox == 0) {
      load.oldest_ms = 0;
    } else if (now - oldest_looked_at_ >= 1000) {
      oldest_looked_at_ = now;
      load.oldest_ms = gate_->relay.oldest_ms().value_or(0);
    }
  }
  host_.metrics.load(shard_.id, counted_load_, load);
}

/// One alarm: the earliest thing any of the parts waits for.
void ShardActor::arm() {
  count_load();
  const std::int64_t now = boot_ms();
  std::int64_t at = next_wake(shard_, around());
  const auto by = [&at](std::int64_t due) { at = std::min(at, due); };
  if (!held_.empty() || !looking_.empty() || !looking_next_.empty()) by(now + 200);
  if (giving_) by(giving_->next_at());
  if (slot_held_since_ != 0) by(slot_held_since_ + slot_held_ms);
  if (!entities().empty()) by(std::max(sweep_at_, now + 50));
  if (shard_.state == ShardState::owned) {
    {
      const std::lock_guard guard(gate_->relay_lock);
      if (const auto retry = gate_->relay.next_retry_ms()) by(*retry);
      if (!trimming_ && !gate_->relay.trim_through().empty())
        by(std::max(trimmed_at_, now) + trim_idle_ms);
    }
    const std::int64_t offset = host_.standing.cluster_offset_ms.load(std::memory_order_relaxed);
    if (const auto due = timers_.next_due()) by(*due - offset);
    if (timers_again_at_ != 0) by(timers_again_at_);
    if (timers_full_ && timers_run_low(now + offset))
      by(now + 1);
    else if (timers_.horizon() != 0 && !timers_full_)
      by(std::max(timers_.horizon() - timer_refill_ms - offset, now + 1000));
  }
  if (at == std::numeric_limits<std::int64_t>::max()) return;
  at = std::max(at, now + 1);
  if (armed_at_ != 0 && armed_at_ <= at) return;
  armed_at_ = at;
  delayed_send(this, std::chrono::milliseconds(at - now), ShardTick{at});
}

}  // namespace catga::actors
