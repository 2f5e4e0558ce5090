#include "catga/runtime/activation.hpp"

#include "catga/runtime/outbox_entry.hpp"
#include "catga/sharding/bytes.hpp"
#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <cassert>
#include <limits>
#include <utility>

namespace catga {

/// The turn being run, suspended or not.
struct Activation::Running {
  Envelope envelope;
  TurnScope scope;
  std::uint64_t asks = 0;  ///< made so far: part of their operation ids
  std::optional<EntityId> waits_for;
  bool suspended = false;
  std::int64_t deadline_ms = 0;
};

namespace {

constexpr std::int64_t retry_first = 10, retry_most = 500;
constexpr std::int64_t everything_known = std::numeric_limits<std::int64_t>::min();

std::uint64_t request_hash(const Envelope& envelope) {
  std::string bytes = envelope.message;
  bytes.push_back('\0');
  bytes += envelope.payload;
  return hash64(32, bytes);
}

OperationId derived_id(std::string_view purpose, const EntityId& entity, OperationId operation,
                       std::uint64_t number) {
  std::string bytes{purpose};
  ByteWriter write(bytes);
  write.entity(entity);
  write.id(operation);
  write.u64(number);
  return hash128(48, bytes);
}

Result<std::string> answer_of(const OperationRecord& record) {
  switch (record.type) {
    case OperationRecord::Type::reply:
      return record.reply;
    case OperationRecord::Type::rejection:
      return Error{Code::rejected, record.reply};
    case OperationRecord::Type::tombstone:
      break;
  }
  return Error{Code::expired, "this operation was called off before it arrived"};
}

/// What is written beside a tell or timer of this turn: nothing unless somebody looks at it.
TraceContext kept_trace(const Envelope& turn) {
  return turn.trace.sampled() ? turn.trace : TraceContext{};
}

/// What becomes of a timer whose shot was handled.
TimerWrite after_shot(const Envelope& shot, std::int64_t now_ms) {
  if (!shot.repeat) return {shot.timer, std::nullopt, {}};
  return {shot.timer, next_due(shot.operation_ms, shot.repeat, now_ms),
          bytes_of(TimerMessage{shot.message, shot.payload, shot.repeat, kept_trace(shot)})};
}

std::string path_text(const std::vector<EntityId>& path, const EntityId& end) {
  std::string out;
  for (const EntityId& entity : path) out += text_of(entity) + " → ";
  return out + text_of(end);
}

}  // namespace

Activation::Activation(ActivationHost& host, const Kind& kind, Messenger& messenger,
                       const ActivationLimits& limits, ShardId shard, EntityId entity,
                       OwnerToken token)
    : host_(host),
      kind_(kind),
      messenger_(messenger),
      limits_(limits),
      shard_(shard),
      entity_(std::move(entity)),
      token_(token) {}

Activation::~Activation() {
  if (instance_ && running_) instance_->abandon();
}

bool Activation::settled() const {
  return !running_ && !commit_ && forming_.turns == 0 && forming_.waiting.empty() && !looking_up_;
}

// ---- arriving --------------------------------------------------------------------------------------------------

void Activation::arrived(Envelope&& envelope) {
  if (passes(envelope)) return;
  if (queue_.empty() && may_start())
    process(std::move(envelope));
  else
    queue_.push_back(std::move(envelope));
  pump();
}

/// Whether the message need not queue: it closes a cycle and is refused, or a turn is suspended and it goes beside it, as
/// queries and copies of that turn do.
bool Activation::passes(Envelope& envelope) {
  if (envelope.kind != MessageClass::query && cycle(envelope)) return true;
  if (!running_ || !running_->suspended || dropped_) return false;
  const std::size_t message = kind_.index_of(envelope.message);
  if (message < kind_.messages.size() && kind_.messages[message].query) {
    if (draining_ || unsure() || !host_.may_run()) return false;
    if (std::optional<Error> error = refuse(envelope))
      host_.answer(envelope, std::move(*error));
    else
      run_query(std::move(envelope), message);
    return true;
  }
  // A copy of what runs must not wait for itself.
  return envelope.kind != MessageClass::timer && pending_.contains(envelope.operation) &&
         remembered(envelope);
}

/// A turn was suspended, or may have company again: what queued before is treated like what comes from now on.
void Activation::let_pass() {
  if (!running_ || !running_->suspended) return;
  Waitlist<Envelope> rest;
  for (Envelope& envelope : std::exchange(queue_, {})) {
    if (!passes(envelope)) rest.push_back(std::move(envelope));
  }
  queue_ = std::move(rest);
}

/// Answers an ask that would wait for itself. Of two that meet head-on the younger operation is refused. Both ends must
/// refuse the same one, so they compare only what both know: the operations' times, then the entities' names.
bool Activation::cycle(const Envelope& envelope) {
  const auto on_path = [&envelope](const EntityId& entity) {
    return std::find(envelope.path.begin(), envelope.path.end(), entity) != envelope.path.end();
  };
  const bool own = on_path(entity_);
  bool head_on = false;
  if (!own && running_ && running_->waits_for && on_path(*running_->waits_for)) {
    const std::int64_t own_ms = running_->scope.operation_ms;
    head_on = envelope.operation_ms != own_ms ? envelope.operation_ms > own_ms
                                              : *running_->waits_for > entity_;
  }
  if (!own && !head_on) return false;
  host_.answer(envelope,
               Error{Code::failed, "a cycle of asks: " + path_text(envelope.path, entity_) +
                                       "; nobody in it can go on"});
  return true;
}

bool Activation::may_start() const {
  if (loading_ || dropped_ || draining_ || looking_up_ || running_ || fenced_ || unsure() ||
      !instance_)
    return false;
  // Without a commit nothing is under way, and that part of the memory need not be looked at.
  const std::size_t turns = forming_.turns + (commit_ ? under_way_.turns : 0);
  const std::size_t bytes = forming_.bytes + (commit_ ? under_way_.bytes : 0);
  return turns < limits_.turns_uncommitted && bytes < limits_.bytes_held && host_.may_run();
}

void Activation::pump() {
  while (!queue_.empty() && may_start()) {
    Envelope envelope = std::move(queue_.front());
    queue_.pop_front();
    process(std::move(envelope));
  }
  if (dropped_) return;
  if (!commit_ && forming_.turns != 0 && !loading_) send_commit();
  if (loading_ && !load_sent_ && load_again_at_ == 0 && !fenced_ && !queue_.empty() && !draining_)
    begin_load();
}

std::optional<Error> Activation::refuse(const Envelope& envelope) {
  if (envelope.kind != MessageClass::timer && envelope.deadline_ms <= host_.now_ms()) {
    return Error{Code::timeout, "the deadline passed before the turn could start"};
  }
  const std::int64_t ahead = envelope.operation_ms - host_.cluster_ms();
  if (ahead > limits_.ahead_max) {
    return Error{Code::unavailable,
                 "the operation's time is " + std::to_string(ahead) +
                     " ms ahead of the cluster's: the clock of its caller, or of this node, is "
                     "wrong"};
  }
  return std::nullopt;
}

void Activation::process(Envelope&& envelope) {
  if (std::optional<Error> error = refuse(envelope)) {
    if (envelope.kind == MessageClass::timer) return host_.timer_failed(envelope, *error);
    return host_.answer(envelope, std::move(*error));
  }
  if (envelope.saga && saga_done(envelope)) return;
  const std::size_t message = kind_.index_of(envelope.message);
  if (message >= kind_.messages.size()) {
    Error error{Code::not_found, "kind " + kind_.name + " has no message " + envelope.message};
    if (envelope.kind == MessageClass::timer) return host_.timer_failed(envelope, error);
    return host_.answer(envelope, std::move(error));
  }
  if (kind_.messages[message].query) return run_query(std::move(envelope), message);
  if (envelope.kind == MessageClass::query) {
    return host_.answer(
        envelope, Error{Code::malformed, envelope.message + " is a command of kind " + kind_.name +
                                             ", not a query: caller and node do not agree on it"});
  }
  if (envelope.kind == MessageClass::timer && superseded(envelope)) {
    return host_.timer_failed(
        envelope,
        Error{Code::unavailable, "the timer was set anew or ended while this shot waited"});
  }
  if (envelope.kind != MessageClass::timer && remembered(envelope)) return;
  if (envelope.saga && generations_.saga_bytes >= limits_.saga_bytes_per_entity) {
    return host_.answer(
        envelope,
        Error{Code::overloaded, text_of(entity_) + " remembers as many steps of sagas as it may",
              std::chrono::seconds(1)});
  }
  run_command(std::move(envelope), message);
}

/// Whether a turn of ours said something newer about the timer than that it is due now.
bool Activation::superseded(const Envelope& timer) const {
  const auto word = timers_said_.find(timer.timer);
  if (word != timers_said_.end()) return word->second != timer.operation_ms;
  // Forgotten already. What is committed the store checks, what is to be in the same commit it cannot.
  const auto unsent =
      std::find_if(forming_.timers.begin(), forming_.timers.end(),
                   [&timer](const TimerWrite& write) { return write.member == timer.timer; });
  return unsent != forming_.timers.end() && unsent->due_ms != timer.operation_ms;
}

void Activation::say(const TimerWrite& write) {
  if (timers_said_.insert_or_assign(write.member, write.due_ms).second)
    timers_order_.push_back(write.member);
  if (timers_order_.size() <= limits_.ids_in_memory) return;
  timers_said_.erase(timers_order_.front());
  timers_order_.pop_front();
}

// ---- remembering -------------------------------------------------------------------------------------------------

/// Whether this copy of an operation needs no run (now): it was answered, joined an earlier copy, or waits for a look-up.
bool Activation::remembered(Envelope& envelope) {
  const OperationId id = envelope.operation;
  const bool any_request = envelope.saga.verb == SagaStep::Verb::settle;
  const auto other_request = [&] {
    Error error{Code::malformed, "operation " + text_of(id) + " was used for another request to " +
                                     text_of(entity_) + ": use a new id"};
    hold({std::move(envelope), std::move(error),
          true});  // it tells of a turn that may be uncommitted
    return true;
  };
  if (const auto pending = pending_.find(id); pending != pending_.end()) {
    const std::uint64_t hash = pending->second.request_hash;
    if (!any_request && hash != 0 && hash != request_hash(envelope)) return other_request();
    pending->second.joined.push_back(std::move(envelope));
    return true;
  }
  if (const auto record = records_.find(id); record != records_.end()) {
    const bool forbidden = record->second.type == OperationRecord::Type::tombstone;
    if (!any_request && !forbidden && record->second.request_hash != request_hash(envelope))
      return other_request();
    host_.repeated();
    hold({std::move(envelope), answer_of(record->second), false});
    return true;
  }
  if (envelope.operation_ms <= known_since_ && looked_up_ != id) {
    looking_up_ = id;
    queue_.push_front(std::move(envelope));
    begin_load();
    return true;
  }
  looked_up_.reset();
  if (envelope.operation_ms == 0)
    return false;  // an id from outside without its time: it was looked up, and is new
  const bool too_old = host_.cluster_ms() - envelope.operation_ms > limits_.retention;
  const bool below_floor = !envelope.saga && envelope.operation_ms <= generations_.floor;
  if (below_floor || too_old) {
    host_.answer(envelope,
                 Error{Code::expired,
                       "operation " + text_of(id) + " is older than what " + text_of(entity_) +
                           " remembers: it may have been applied; look with a query"});
    return true;
  }
  return false;
}

void Activation::remember(OperationId id, OperationRecord record) {
  if (const auto known = records_.find(id); known != records_.end()) {
    records_bytes_ -= std::min(records_bytes_, known->second.reply.size());
  }
  records_bytes_ += record.reply.size();
  if (records_.insert_or_assign(id, std::move(record)).second) records_order_.push_back(id);
  while (records_order_.size() > limits_.ids_in_memory ||
         (records_bytes_ > limits_.bytes_held && records_order_.size() > 1)) {
    const auto oldest = records_.find(records_order_.front());
    records_order_.pop_front();
    if (oldest == records_.end()) continue;
    known_since_ = std::max(known_since_, oldest->second.time_ms);
    records_bytes_ -= std::min(records_bytes_, oldest->second.reply.size());
    records_.erase(oldest);
  }
  count_remembered();
}

// ---- running -----------------------------------------------------------------------------------------------------

void Activation::run_query(Envelope&& envelope, std::size_t message) {
  envelope.handler = static_cast<std::uint16_t>(message);
  Instance* instance = instance_.get();
  if (running_) {  // nobody sees half a turn
    if (!shadow_) {
      shadow_ = kind_.make();
      if (const Status restored = shadow_->restore(state_bytes_); !restored.ok()) {
        shadow_.reset();
        return host_.answer(envelope, restored.error());
      }
    }
    instance = shadow_.get();
  }
  TurnScope scope;
  scope.entity = entity_;
  scope.now_ms = host_.cluster_ms();
  scope.messenger = &messenger_;
  host_.turn_of(envelope);
  begun_ = {message, envelope.arrived_ns};
  host_.turn_begins(envelope.message);
  HandlerEnd end = instance->run(message, envelope.payload, scope);
  host_.turn_ends(envelope.message);
  Result<std::string> answer = Error{};
  switch (end.kind) {
    case HandlerEnd::Kind::reply:
      answer = std::move(end.bytes);
      break;
    case HandlerEnd::Kind::rejected:
      answer = Error{Code::rejected, std::move(end.bytes)};
      break;
    case HandlerEnd::Kind::malformed:
      answer = Error{Code::malformed, std::move(end.bytes)};
      break;
    case HandlerEnd::Kind::failed:
    case HandlerEnd::Kind::suspended:
      answer = Error{Code::failed, std::move(end.bytes)};
      break;
  }
  if (!uncommitted()) return host_.answer(envelope, std::move(answer));
  hold({std::move(envelope), std::move(answer), true});
}

void Activation::run_command(Envelope&& envelope, std::size_t message) {
  running_ = std::make_unique<Running>();
  Running& running = *running_;
  running.envelope = std::move(envelope);
  running.envelope.handler = static_cast<std::uint16_t>(message);
  running.deadline_ms =
      std::min(running.envelope.deadline_ms, host_.now_ms() + limits_.coroutine_max);
  if (running.envelope.kind == MessageClass::timer)
    running.deadline_ms = host_.now_ms() + limits_.coroutine_max;
  if (running.envelope.kind != MessageClass::timer) {
    pending_.emplace(running.envelope.operation, Pending{request_hash(running.envelope), {}});
  }
  TurnScope& scope = running.scope;
  scope.entity = entity_;
  scope.operation = running.envelope.operation;
  scope.operation_ms = running.envelope.operation_ms;
  if (scope.operation_ms == 0)
    scope.operation_ms =
        host_.cluster_ms();  // the envelope keeps its 0: run again, it is looked up again
  scope.now_ms = host_.cluster_ms();
  // Who fires and who handles may read clocks a few ms apart; no handler shall see its timer early.
  if (running.envelope.kind == MessageClass::timer)
    scope.now_ms = std::max(scope.now_ms, running.envelope.operation_ms);
  scope.path = running.envelope.path;
  scope.messenger = &messenger_;
  scope.ask = [this](EntityId entity, std::string name, std::string payload, bool query,
                     Answered answered) {
    Running& turn = *running_;
    turn.waits_for = entity;
    Ask ask;
    ask.entity = std::move(entity);
    ask.message = std::move(name);
    ask.payload = std::move(payload);
    ask.query = query;
    ask.operation = derived_id("ask", entity_, turn.scope.operation, turn.asks++);
    ask.operation_ms = turn.scope.operation_ms;
    ask.timeout =
        std::chrono::milliseconds(std::max<std::int64_t>(1, turn.deadline_ms - host_.now_ms()));
    ask.path = turn.scope.path;
    ask.path.push_back(entity_);
    const std::uint64_t number = next_ask_++;
    asks_open_.emplace(number, std::move(answered));
    asks_held_.emplace_back(std::move(ask), number);  // leaves when all earlier turns are committed
  };
  scope.finished = [this](HandlerEnd end) { finish(std::move(end)); };
  const std::string name = running.envelope.message;  // `running` may be gone when run() returns
  host_.turn_of(running.envelope);
  begun_ = {message, running.envelope.arrived_ns};
  host_.turn_begins(name);
  HandlerEnd end = instance_->run(message, running.envelope.payload, scope);
  host_.turn_ends(name);
  if (end.kind != HandlerEnd::Kind::suspended) return finish(std::move(end));
  if (!running_) return;
  running_->suspended = true;
  host_.wake_at(running_->deadline_ms);
  let_pass();
  send_asks();
}

void Activation::send_asks() {
  if (uncommitted() || !running_) return;
  std::vector<std::pair<Ask, std::uint64_t>> asks = std::exchange(asks_held_, {});
  for (auto& [ask, number] : asks) host_.ask(std::move(ask), number);
}

void Activation::asked(std::uint64_t number, Result<std::string> answer) {
  const auto open = asks_open_.find(number);
  if (open == asks_open_.end() || !running_) return;
  Answered answered = std::move(open->second);
  asks_open_.erase(open);
  running_->waits_for.reset();
  const std::string name = running_->envelope.message;
  host_.turn_of(running_->envelope);
  begun_ = {running_->envelope.handler, 0};
  host_.turn_begins(name);
  answered(std::move(answer));  // the coroutine goes on; it may end and call finish()
  host_.turn_ends(name);
  let_pass();  // it may wait for somebody else now
  send_asks();
  pump();
}

void Activation::roll_back() {
  if (!instance_) return;
  const Status restored = instance_->restore(state_bytes_);
  if (!restored.ok()) {
    host_.troubled(restored.error());
    give_up(false);
    reload();
  }
}

std::optional<Error> Activation::too_much(const HandlerEnd& end, const TurnScope& scope,
                                          const std::string& state) const {
  const auto more = [this](std::string_view what, std::size_t is, std::size_t most) {
    return Error{Code::failed, text_of(entity_) + ": " + std::string(what) + " of " +
                                   std::to_string(is) + ", at most " + std::to_string(most) +
                                   " is allowed; the turn was undone"};
  };
  if (state.size() > limits_.state_max)
    return more("a state in bytes (entity.state_max)", state.size(), limits_.state_max);
  if (end.bytes.size() > limits_.reply_max)
    return more("a reply in bytes", end.bytes.size(), limits_.reply_max);
  const std::size_t outputs = scope.tells.size() + scope.events.size() + scope.timers.size();
  if (outputs > limits_.outputs_max)
    return more("a number of tells, events and timers", outputs, limits_.outputs_max);
  std::size_t bytes = 0;
  for (const OutgoingTell& tell : scope.tells) bytes += tell.payload.size();
  for (const TimerChange& timer : scope.timers) bytes += timer.payload.size();
  for (const OutgoingEvent& event : scope.events) {
    if (event.payload.size() > limits_.event_max)
      return more("an event in bytes", event.payload.size(), limits_.event_max);
    bytes += event.payload.size();
  }
  if (bytes > limits_.output_bytes_max)
    return more("tells, events and timers in bytes", bytes, limits_.output_bytes_max);
  return std::nullopt;
}

/// Tells, events and timers of a turn join the commit; a timer that fired leaves the table with it.
std::optional<Error> Activation::add_outputs(const Envelope& envelope, TurnScope& scope,
                                             Batch& to) {
  std::vector<TimerWrite> timers;
  if (envelope.kind == MessageClass::timer) {
    timers.push_back(after_shot(envelope, host_.cluster_ms()));
    to.fired.emplace_back(envelope.timer, envelope.operation_ms);
  }
  std::uint64_t number = 0;
  for (TimerChange& change : scope.timers) {
    std::string name = std::move(change.name);
    if (name.empty()) name = "#" + text_of(derived_id("timer", entity_, scope.operation, number++));
    if (name.find('|') != name.npos)
      return Error{Code::failed, "a timer's name must not contain '|': " + name};
    const std::size_t message = kind_.index_of(change.message);
    if (!change.cancel && (message >= kind_.messages.size() || kind_.messages[message].query)) {
      return Error{Code::failed, "a timer sends " + change.message +
                                     ", which is no command of kind " + kind_.name};
    }
    TimerWrite write{timer_member(entity_, name), std::nullopt, {}};
    if (!change.cancel) {
      write.due_ms = change.due_ms;
      write.message = bytes_of(TimerMessage{std::move(change.message),
                                            std::move(change.payload),
                                            {change.period_ms, change.missed},
                                            kept_trace(envelope)});
    }
    timers.push_back(std::move(write));
  }
  for (TimerWrite& write : timers) {  // the last word on a name wins
    say(write);
    const auto same =
        std::find_if(to.timers.begin(), to.timers.end(),
                     [&write](const TimerWrite& other) { return other.member == write.member; });
    if (same != to.timers.end())
      *same = std::move(write);
    else
      to.timers.push_back(std::move(write));
  }
  number = 0;
  for (OutgoingTell& tell : scope.tells) {
    PendingTell entry{entity_,
                      std::move(tell.entity),
                      derived_id("tell", entity_, scope.operation, number++),
                      scope.now_ms,
                      std::move(tell.message),
                      std::move(tell.payload),
                      kept_trace(envelope)};
    to.outbox.push_back(bytes_of(entry));
    to.bytes += to.outbox.back().size();
  }
  number = 0;
  for (OutgoingEvent& event : scope.events) {
    PendingEvent entry{
        entity_,
        derived_id("event", entity_, scope.operation, number++),
        ++generations_.events,  // a turn that is not committed takes it back: reload()
        token_.epoch,
        scope.now_ms,
        std::move(event.name),
        std::move(event.payload),
        envelope.trace ? envelope.trace.traceparent() : std::string{}};
    to.outbox.push_back(bytes_of(entry));
    to.bytes += to.outbox.back().size();
  }
  return std::nullopt;
}

/// The handler ended: its turn joins the forming commit, or is undone.
void Activation::finish(HandlerEnd end) {
  assert(running_);
  const std::unique_ptr<Running> running = std::move(running_);
  asks_open_.clear();
  asks_held_.clear();
  shadow_.reset();
  Envelope& envelope = running->envelope;
  const bool timer = envelope.kind == MessageClass::timer;
  switch (end.kind) {
    case HandlerEnd::Kind::suspended:
    case HandlerEnd::Kind::failed:
      roll_back();
      return fail_turn(std::move(envelope), Error{Code::failed, std::move(end.bytes)});
    case HandlerEnd::Kind::malformed:
      return fail_turn(std::move(envelope), Error{Code::malformed, std::move(end.bytes)});
    case HandlerEnd::Kind::rejected:
      roll_back();
      if (!instance_)
        return fail_turn(std::move(envelope), Error{Code::failed, "the state was lost"});
      running->scope.tells.clear();
      running->scope.events.clear();
      running->scope.timers.clear();
      running->scope.erase = false;
      break;
    case HandlerEnd::Kind::reply: {
      std::string state = running->scope.erase ? std::string{} : instance_->encode();
      std::optional<Error> error = too_much(end, running->scope, state);
      if (error) {
        roll_back();
        return fail_turn(std::move(envelope), std::move(*error));
      }
      if (running->scope.erase) {
        if (Status fresh = instance_->restore({}); !fresh.ok()) host_.troubled(fresh.error());
      }
      Batch checked;
      std::swap(checked.timers, forming_.timers);
      error = add_outputs(envelope, running->scope, checked);
      if (error) {
        std::swap(checked.timers, forming_.timers);
        roll_back();
        return fail_turn(std::move(envelope), std::move(*error));
      }
      forming_.timers = std::move(checked.timers);
      for (auto& shot : checked.fired) forming_.fired.push_back(std::move(shot));
      forming_.bytes += checked.bytes;
      for (std::string& entry : checked.outbox) forming_.outbox.push_back(std::move(entry));
      if (state != state_bytes_ || version_.empty()) forming_.state_changed = true;
      if (running->scope.erase != forming_.erased) forming_.state_changed = true;
      forming_.erased = running->scope.erase;
      state_bytes_ = std::move(state);
      break;
    }
  }
  if (running->scope.passivate) passivate_ = true;
  if (timer && end.kind == HandlerEnd::Kind::rejected) {  // the shot is over
    Batch gone;
    TurnScope nothing;
    std::swap(gone.timers, forming_.timers);
    (void)add_outputs(envelope, nothing, gone);
    forming_.timers = std::move(gone.timers);
    for (auto& shot : gone.fired) forming_.fired.push_back(std::move(shot));
  }
  if (!timer) {
    const bool reply = end.kind == HandlerEnd::Kind::reply;
    (envelope.saga ? forming_.saga.operations : forming_.operations)
        .emplace_back(envelope.operation, OperationRecord{reply ? OperationRecord::Type::reply
                                                                : OperationRecord::Type::rejection,
                                                          pending_[envelope.operation].request_hash,
                                                          running->scope.operation_ms, end.bytes});
  }
  forming_.turns += 1;
  forming_.bytes += envelope.bytes() + end.bytes.size();
  Result<std::string> answer = std::move(end.bytes);
  if (end.kind == HandlerEnd::Kind::rejected)
    answer = Error{Code::rejected, std::move(answer).value()};
  forming_.waiting.push_back({std::move(envelope), std::move(answer), false});
}

/// This attempt changed nothing and nothing of it is recorded; a repeat with the same id runs again.
void Activation::fail_turn(Envelope envelope, Error error) {
  if (envelope.kind == MessageClass::timer) return host_.timer_failed(envelope, error);
  if (auto pending = pending_.extract(envelope.operation)) {
    for (Envelope& copy : pending.mapped().joined) hold({std::move(copy), error, true});
  }
  hold({std::move(envelope), std::move(error), true});
}

// ---- the gate ----------------------------------------------------------------------------------------------------

/// An answer that may have seen uncommitted turns waits for the newest of them.
void Activation::hold(Waiting waiting) {
  if (forming_.turns != 0) {
    forming_.bytes += waiting.envelope.bytes();
    forming_.waiting.push_back(std::move(waiting));
  } else if (commit_) {
    under_way_.bytes += waiting.envelope.bytes();
    under_way_.waiting.push_back(std::move(waiting));
  } else {
    reply(waiting.envelope, std::move(waiting.answer));
  }
}

void Activation::send_commit() {
  under_way_ = std::exchange(forming_, {});
  Commit commit;
  commit.shard = shard_;
  commit.entity = entity_;
  commit.expected = version_;
  commit.next = std::to_string(count_ + 1) + '.' + std::to_string(host_.random());
  if (under_way_.state_changed) commit.state = state_bytes_;
  Generations& g = generations_;
  if (!under_way_.operations.empty()) {
    const std::int64_t now = host_.cluster_ms();
    const bool full = g.newer_bytes >= limits_.id_bytes_per_entity / 2;
    const bool many = g.newer_count > limits_.ids_per_entity / 2 && now - g.newer_created > 600'000;
    const bool old = g.newer_count != 0 && now - g.newer_created > limits_.retention;
    if (full || many || old) {
      commit.rotate = true;
      g.floor = std::max(g.floor, g.older_newest);
      g.older_newest = g.newer_newest;
      g.newer_count = g.newer_bytes = 0;
      g.newer_newest = 0;
    }
    if (g.newer_count == 0) {
      g.newer_created = now;
      commit.operations_ttl =
          std::chrono::milliseconds(2 * limits_.retention + limits_.ahead_max);  // some are ahead
    }
    for (const auto& [id, record] : under_way_.operations) {
      g.newer_count += 1;
      g.newer_bytes += 100 + record.reply.size();
      g.newer_newest = std::max(g.newer_newest, record.time_ms);
    }
  }
  if (under_way_.erased)
    commit.expire_in = std::chrono::milliseconds(limits_.retention);
  else if (g.erased)
    commit.expire_in = std::chrono::milliseconds(0);
  g.erased = under_way_.erased;
  write_steps(under_way_.saga, std::chrono::milliseconds(limits_.retention + limits_.ahead_max), g,
              commit);
  commit.bookkeeping = bytes_of(g);
  commit.operations = under_way_.operations;
  commit.timers = under_way_.timers;
  commit.outbox = under_way_.outbox;
  commit.fired = under_way_.fired;
  commit_ = std::make_unique<Commit>(std::move(commit));
  maybe_written_ = false;
  refused_since_ = commit_again_at_ = 0;
  refusal_.clear();
  commit_wait_ = retry_first;
  repeat_commit();
}

void Activation::repeat_commit() {
  commit_again_at_ = 0;
  commit_->token = token_;
  host_.commit(*commit_);
}

void Activation::committed(const std::string& version, OwnerToken token, Result<Committed> answer) {
  if (!commit_ || commit_->next != version || dropped_)
    return;  // of an older commit, or of a copy already answered
  if (answer.ok()) {
    switch (answer->outcome) {
      case Committed::Outcome::ok:
      case Committed::Outcome::already:
        return written(std::move(*answer));
      case Committed::Outcome::fenced:
        if (token != token_) return repeat_commit();  // under an older token of ours: not news
        fenced_ = commit_fenced_ = true;
        return host_.fenced(token);
      case Committed::Outcome::duplicate:
      case Committed::Outcome::timer_gone:
        return run_again(std::move(*answer));
      case Committed::Outcome::conflict:
        host_.troubled(
            Error{Code::unknown,
                  "the store holds version " + answer->version + " of " + text_of(entity_) +
                      ", not " + commit_->expected +
                      ": Redis lost acknowledged writes, or a late copy of an older commit ran"});
        give_up(false);
        return reload();
    }
  }
  const Code code = answer.error().code;
  if (code == Code::failed || code == Code::malformed) {
    host_.troubled(answer.error());
    give_up(false);
    return reload();
  }
  const std::int64_t now = host_.now_ms();
  if (code == Code::unknown) {
    maybe_written_ = true;
    refused_since_ = 0;
  } else if (refused_since_ == 0) {
    refusal_ = answer.error().text;
    refused_since_ = now;
  } else if (now - refused_since_ >= limits_.refused_for) {
    give_up(!maybe_written_);  // a copy without an answer may run yet
    return reload();
  }
  commit_again_at_ = now + commit_wait_;
  commit_wait_ = std::min(commit_wait_ * 2, retry_most);
  host_.wake_at(commit_again_at_);
}

void Activation::written(Committed answer) {
  version_ = commit_->next;
  count_ += 1;
  commit_.reset();
  Batch batch = std::exchange(under_way_, {});
  for (auto* recorded : {&batch.operations, &batch.saga.operations}) {
    for (auto& [id, record] : *recorded) {
      if (auto pending = pending_.extract(id)) {
        for (Envelope& copy : pending.mapped().joined)
          batch.waiting.push_back({std::move(copy), answer_of(record), false});
      }
      remember(id, std::move(record));
    }
  }
  drop_forgotten(batch.saga.forgotten);
  if (!batch.outbox.empty())
    host_.outbox_written(std::move(batch.outbox), std::move(answer.outbox));
  if (!batch.timers.empty()) host_.timers_written(std::move(batch.timers));
  // Before the answers: they take longer than the trip, and the store would have nothing to do meanwhile.
  if (forming_.turns != 0 && !loading_) {
    send_commit();
    forming_.waiting.reserve(batch.waiting.size());
  }
  host_.answers_begin(batch.waiting.size());
  for (Waiting& waiting : batch.waiting) answer_now(std::move(waiting));
  host_.answers_end();
  let_pass();  // queries that waited while the commit's fate was open
  pump();
  send_asks();
}

void Activation::answer_now(Waiting waiting) {
  if (waiting.envelope.kind == MessageClass::timer)
    host_.timer_answered(waiting.envelope, waiting.answer);
  else
    reply(waiting.envelope, std::move(waiting.answer));
}

/// An operation of the commit was recorded before, and our look-up missed it (a clock is off). Nothing was written: load
/// again and run what is held once more, in order; the recorded ones answer from their records. Or a timer of it has fired
/// before: an earlier copy of its turn, given up without an answer, has run after all. Then all but that shot run again.
void Activation::run_again(Committed answer) {
  std::vector<Waiting> held = std::move(under_way_.waiting);
  for (Waiting& waiting : forming_.waiting) held.push_back(std::move(waiting));
  under_way_ = {};
  forming_ = {};
  commit_.reset();
  Waitlist<Envelope> again;
  std::vector<std::string> unsure;
  if (answer.outcome == Committed::Outcome::timer_gone) unsure.push_back(answer.timer);
  for (Waiting& waiting : held) {
    if (waiting.envelope.kind == MessageClass::timer && !unsure.empty() &&
        waiting.envelope.timer == answer.timer) {
      continue;
    }
    auto pending = pending_.extract(waiting.envelope.operation);
    again.push_back(std::move(waiting.envelope));
    if (!pending) continue;
    for (Envelope& copy : pending.mapped().joined) again.push_back(std::move(copy));
  }
  for (Envelope& waiting : queue_) again.push_back(std::move(waiting));
  queue_ = std::move(again);
  if (!unsure.empty()) host_.timers_unsure(std::move(unsure));
  reload();
  for (auto& [id, record] : answer.recorded) remember(id, std::move(record));
}

void Activation::answer_lost(Batch batch, bool certainly_not_written) {
  for (auto* recorded : {&batch.operations, &batch.saga.operations}) {
    for (auto& [id, record] : *recorded) {
      if (auto pending = pending_.extract(id)) {
        for (Envelope& copy : pending.mapped().joined)
          batch.waiting.push_back({std::move(copy), Error{}, false});
      }
    }
  }
  for (Waiting& waiting : batch.waiting) {
    const bool untouched = waiting.reads_only || certainly_not_written;
    Error error{untouched ? Code::unavailable : Code::unknown,
                untouched ? text_of(entity_) +
                                ": the write could not be made, nothing was changed; ask again" +
                                (refusal_.empty() ? "" : " (" + refusal_ + ")")
                          : text_of(entity_) +
                                ": the write may or may not have been made; ask again with the "
                                "same operation id"};
    if (waiting.envelope.kind != MessageClass::timer)
      host_.answer(waiting.envelope, std::move(error));
    else if (certainly_not_written)
      host_.timer_failed(waiting.envelope, error);
  }
  if (certainly_not_written || batch.timers.empty()) return;
  std::vector<std::string> unsure;  // its shots too: a turn takes its timer out
  for (const TimerWrite& write : batch.timers) unsure.push_back(write.member);
  host_.timers_unsure(std::move(unsure));
}

void Activation::give_up(bool certainly_not_written) {
  commit_.reset();
  commit_fenced_ = false;
  answer_lost(std::exchange(under_way_, {}), certainly_not_written);
  answer_lost(std::exchange(forming_, {}), certainly_not_written);
}

/// Takes a suspended turn off the stage: its coroutine is destroyed, its asks are forgotten.
std::unique_ptr<Activation::Running> Activation::abandon_turn() {
  if (running_ && instance_) instance_->abandon();
  asks_open_.clear();
  asks_held_.clear();
  shadow_.reset();
  return std::move(running_);
}

void Activation::drop() {
  const std::unique_ptr<Running> running = abandon_turn();
  give_up(false);
  if (running) {
    fail_turn(std::move(running->envelope), Error{Code::unknown,
                                                  "the shard moved away in the middle of the turn; "
                                                  "ask again with the same operation id"});
  }
  dropped_ = true;
  instance_.reset();
}

void Activation::retoken(OwnerToken token) {
  token_ = token;
  const bool waited = std::exchange(fenced_, false);
  if (std::exchange(commit_fenced_, false) && commit_) repeat_commit();
  if (waited && looking_up_ && !load_sent_) begin_load();
  pump();
}

void Activation::resume() {
  draining_ = false;
  let_pass();
  pump();
}

void Activation::drain() { draining_ = true; }

void Activation::woken() {
  const std::int64_t now = host_.now_ms();
  if (commit_ && commit_again_at_ != 0 && now >= commit_again_at_) repeat_commit();
  if (load_again_at_ != 0 && now >= load_again_at_ && !load_sent_) begin_load();
  if (running_ && running_->suspended && now >= running_->deadline_ms) {
    const std::unique_ptr<Running> running = abandon_turn();
    roll_back();
    fail_turn(
        std::move(running->envelope),
        Error{Code::timeout, "the turn waited for an answer past its deadline and was undone"});
  }
  let_pass();
  pump();
  arm();
}

/// The host may keep one alarm only, the earliest: the later ones are set again after each.
void Activation::arm() {
  std::int64_t next = std::numeric_limits<std::int64_t>::max();
  if (commit_ && commit_again_at_ != 0) next = std::min(next, commit_again_at_);
  if (load_again_at_ != 0) next = std::min(next, load_again_at_);
  if (running_ && running_->suspended) next = std::min(next, running_->deadline_ms);
  if (next != std::numeric_limits<std::int64_t>::max()) host_.wake_at(next);
}

// ---- loading -----------------------------------------------------------------------------------------------------

void Activation::reload() {
  if (const std::unique_ptr<Running> running = abandon_turn()) {
    fail_turn(std::move(running->envelope),
              Error{Code::unknown, "the entity was loaded again in the middle of the turn"});
  }
  instance_.reset();
  timers_said_.clear();
  timers_order_.clear();
  records_.clear();
  records_order_.clear();
  records_bytes_ = remembered_bytes_ = 0;
  looking_up_.reset();
  looked_up_.reset();
  loading_ = true;
  load_stale_ = load_sent_;
  pump();
}

void Activation::begin_load() {
  Load load;
  load.shard = shard_;
  load.token = token_;
  load.entity = entity_;
  if (looking_up_) {
    load.wanted.push_back(*looking_up_);
    load.whole_up_to = 0;
  } else {
    for (const Envelope& envelope : queue_) {
      if (load.wanted.size() == 64) break;
      if (envelope.kind != MessageClass::timer && envelope.operation)
        load.wanted.push_back(envelope.operation);
    }
  }
  load_sent_ = true;
  load_token_ = token_;
  load_again_at_ = 0;
  host_.load(std::move(load));
}

void Activation::loaded(Result<Loaded> answer) {
  if (!load_sent_ || dropped_) return;
  load_sent_ = false;
  if (std::exchange(load_stale_, false))
    return pump();  // it was asked before the memory was dropped
  if (!answer.ok()) return load_failed(answer.error());
  load_wait_ = load_failing_since_ = 0;
  if (answer->fenced) {
    if (load_token_ != token_) return begin_load();  // under an older token of ours: not news
    fenced_ = true;
    return host_.fenced(token_);
  }
  if (looking_up_)
    looked_up(std::move(*answer));
  else if (loading_)
    restore(std::move(*answer));
  pump();
}

void Activation::looked_up(Loaded answer) {
  // Somebody wrote since we loaded (a late commit of an earlier life): what was found may be newer than our state, and a
  // query after it would show less. With a commit under way the gate sees to it.
  if (!commit_ && answer.version != version_) return reload();
  // Of the commit under way nobody knows whether its ids are stored yet; all others must be.
  const std::size_t under_way = commit_ ? under_way_.operations.size() : 0;
  if (!commit_ || answer.stored + under_way < generations_.newer_count)
    notice_expired(answer.stored);
  looked_up_ = std::exchange(looking_up_, std::nullopt);
  for (auto& [id, record] : answer.found) {
    remember(id, std::move(record));
  }
}

/// Redis drops the tables of ids when their time is over, and its clock may leap before ours has heard of it. What is not
/// remembered any more must not run again: fewer ids stored than we know were recorded raise the floor.
void Activation::notice_expired(std::size_t stored) {
  Generations& g = generations_;
  if (stored < g.newer_count) {
    g.floor = std::max({g.floor, g.newer_newest, g.older_newest});
    g.newer_count = g.newer_bytes = 0;
    g.newer_newest = g.older_newest = 0;
  } else if (stored == g.newer_count) {  // the older table is empty, or gone
    g.floor = std::max(g.floor, g.older_newest);
  }
}

void Activation::restore(Loaded answer) {
  instance_ = kind_.make();
  if (Status restored = instance_->restore(answer.state); !restored.ok()) {
    instance_.reset();
    Error error{Code::failed, "the stored state of " + text_of(entity_) +
                                  " cannot be read: " + restored.error().text};
    host_.troubled(error);
    return refuse_queue(error);
  }
  loading_ = false;
  state_bytes_ = std::move(answer.state);
  version_ = std::move(answer.version);
  const Result<std::uint64_t> count =
      parse_number(std::string_view(version_).substr(0, version_.find('.')));
  count_ = count.ok() ? *count : 0;
  Result<Generations> generations = parse_generations(answer.bookkeeping);
  if (!generations.ok())
    host_.troubled(Error{Code::malformed, text_of(entity_) + ": " + generations.error().text});
  generations_ = generations.ok() ? *generations : Generations{};
  notice_expired(answer.stored);
  correct_steps(generations_, answer.saga_stored);
  known_since_ = answer.whole ? everything_known : host_.cluster_ms() + 1000;
  if (!answer.whole && !queue_.empty()) {  // the first that waits was looked up with this very load
    const OperationId first =
        queue_.front().operation;  // memory may be too small for all that was found: ask `found`
    const bool stored = std::any_of(answer.found.begin(), answer.found.end(),
                                    [first](const auto& one) { return one.first == first; });
    if (first && !stored) looked_up_ = first;
  }
  for (auto* table : {&answer.older, &answer.newer, &answer.saga, &answer.found}) {
    for (auto& [id, record] : *table) remember(id, std::move(record));
  }
}

void Activation::load_failed(const Error& error) {
  if (error.code == Code::failed || error.code == Code::malformed) {
    host_.troubled(error);
    return refuse_queue(Error{Code::failed, text_of(entity_) + " cannot be loaded: " + error.text});
  }
  const std::int64_t now = host_.now_ms();
  if (load_failing_since_ == 0) load_failing_since_ = now;
  // Nothing of these has run, and the caller is better off with a reason now than with a deadline later.
  const bool hopeless = now - load_failing_since_ >= limits_.load_refused_for;
  Waitlist<Envelope> live;
  for (Envelope& envelope : queue_) {
    if (envelope.kind == MessageClass::timer || (envelope.deadline_ms > now && !hopeless))
      live.push_back(std::move(envelope));
    else
      host_.answer(envelope, Error{Code::unavailable,
                                   text_of(entity_) +
                                       " could not be loaded, nothing was changed: " + error.text});
  }
  queue_ = std::move(live);
  if (queue_.empty() && looking_up_) looking_up_.reset();
  if (queue_.empty()) return;
  load_wait_ = load_wait_ == 0 ? retry_first : std::min(load_wait_ * 2, retry_most);
  load_again_at_ = now + load_wait_;
  host_.wake_at(load_again_at_);
}

void Activation::refuse_queue(const Error& error) {
  passivate_ = true;
  looking_up_.reset();
  for (Envelope& envelope : std::exchange(queue_, {})) {
    if (envelope.kind == MessageClass::timer)
      host_.timer_failed(envelope, error);
    else
      host_.answer(envelope, error);
  }
}

}  // namespace catga
