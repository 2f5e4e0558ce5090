#include "catga/runtime/messaging/router.hpp"

#include "catga/entities/operation.hpp"
#include "catga/sharding/hash.hpp"

#include <algorithm>

namespace catga {

namespace {

std::int64_t cheap_random(std::uint64_t seed) {  // for jitter only
  seed += 0x9e3779b97f4a7c15ULL;
  seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9ULL;
  return static_cast<std::int64_t>((seed ^ (seed >> 27)) >> 1);
}

/// The span is that of sending a tell.
void say_sent(Span& span, const Envelope& tell, ShardId shard) {
  span.kind = SpanKind::producer;
  span.name = "send " + tell.entity.kind + '/' + tell.message;
  span.attributes = {{"messaging.system", std::string("catga")},
                     {"messaging.operation.name", std::string("send")},
                     {"messaging.operation.type", std::string("send")},
                     {"messaging.destination.template", tell.entity.kind},
                     {"messaging.destination.partition.id", std::to_string(shard.value)},
                     {"messaging.message.id", text_of(tell.operation)}};
}

}  // namespace

Router::Router(RouterOptions options, NodeStanding& standing, OwnerStore& owners, Carrier* carrier)
    : options_(std::move(options)),
      standing_(standing),
      owners_(owners),
      carrier_(carrier),
      routes_(options_.shards),
      alive_(std::make_shared<Router*>(this)),
      alive_lock_(std::make_shared<std::mutex>()) {}

Router::~Router() {
  close();
  const std::lock_guard guard(*alive_lock_);
  *alive_ = nullptr;
}

namespace {

/// Whether it may be sent at all.
Status check(const Ask& ask, const Config::Ask& limits) {
  if (ask.entity.kind.empty() || ask.entity.kind.find('/') != std::string::npos ||
      ask.message.empty()) {
    return Error{Code::malformed, "an entity needs a kind without '/', a message needs a name"};
  }
  if (ask.payload.size() > limits.payload_max) {
    return Error{Code::malformed, ask.message + " to " + text_of(ask.entity) + " has " +
                                      std::to_string(ask.payload.size()) + " bytes, at most " +
                                      std::to_string(limits.payload_max) +
                                      " are allowed (ask.payload_max)"};
  }
  if (ask.entity.key.size() > 1024 || ask.message.size() > 256) {
    return Error{Code::malformed, "a key has at most 1024 bytes, a message name at most 256"};
  }
  if (ask.path.size() > 16) {
    return Error{Code::failed, "more than 16 entities wait for each other: " +
                                   text_of(ask.path.front()) + " → … → " + text_of(ask.entity)};
  }
  return Done{};
}

/// Into an envelope as it was made, where it stays: one is large to move.
void fill(Envelope& envelope, Ask&& ask, MessageClass kind, const Config::Ask& limits,
          const NodeStanding& standing) {
  envelope.kind = kind;
  envelope.entity = std::move(ask.entity);
  envelope.message = std::move(ask.message);
  envelope.payload = std::move(ask.payload);
  envelope.path = std::move(ask.path);
  envelope.saga = ask.saga;
  const std::chrono::milliseconds timeout = ask.timeout.count() > 0 ? ask.timeout : limits.timeout;
  envelope.arrived_ns = boot_ns();  // if it stays on this node: see attempt()
  envelope.deadline_ms = envelope.arrived_ns / 1'000'000 + timeout.count();
  if (kind != MessageClass::query) {
    envelope.operation = ask.operation ? ask.operation : new_operation_id();
    // An id from outside without its time keeps 0: its owner looks it up whatever it remembers.
    envelope.operation_ms = ask.operation ? ask.operation_ms : standing.cluster_now();
  }
}

}  // namespace

Result<Envelope> Router::envelope_of(Ask&& ask, MessageClass kind) {
  CATGA_TRY(check(ask, options_.limits));
  if (closed_) return Error{Code::unavailable, "this process is closing"};
  Envelope envelope;
  fill(envelope, std::move(ask), kind, options_.limits, standing_);
  return envelope;
}

void Router::carry(Ask ask, Pattern pattern, Answered answered) {
  const bool outside = static_cast<bool>(ask.operation);
  const bool query = ask.query;
  if (Status sound = check(ask, options_.limits); !sound.ok())
    return answered(std::move(sound).error());
  if (closed_) return answered(Error{Code::unavailable, "this process is closing"});
  if (pending_count_.fetch_add(1) >= options_.limits.pending) {
    pending_count_.fetch_sub(1);
    // Of an id from outside an earlier call may have been applied: nothing is refused for certain.
    return answered(Error{outside ? Code::unknown : Code::overloaded,
                          std::to_string(options_.limits.pending) +
                              " asks of this process wait already (ask.pending)",
                          std::chrono::milliseconds(100)});
  }
  const std::uint64_t correlation = next_.fetch_add(1);
  Pending pending;
  fill(pending.envelope, std::move(ask), query ? MessageClass::query : MessageClass::ask,
       options_.limits, standing_);
  pending.envelope.reply_to = options_.process;
  pending.envelope.correlation = correlation;
  pending.shard =
      shard_of(pending.envelope.entity.kind, pending.envelope.entity.key, options_.shards);
  pending.caller.deadline = pending.envelope.deadline_ms;
  pending.caller.outside_id = outside;
  pending.answered = std::move(answered);
  if (counts_ != nullptr) {
    pending.counted = counts_->place_of(pending.envelope.entity.kind, pending.envelope.message);
    pending.pattern = pattern;
    if (pattern == Pattern::ask) pending.asked_ns = pending.envelope.arrived_ns;
  }
  if (tracer_ != nullptr) {
    const TraceContext parent = current_trace();
    pending.envelope.trace = tracer_->child(parent);
    pending.envelope.trace.flags |= parent.flags & trace_of_tell;
    pending.parent_span = parent.span;
    if (pending.envelope.trace.sampled()) pending.began_ns = Tracer::now_ns();
  }
  CallerAction action =
      caller::start(pending.caller, options_.times, boot_ms(), cheap_random(correlation));
  if (action.kind == CallerAction::Kind::finish) {
    pending_count_.fetch_sub(1);
    return pending.answered(std::move(action.error));
  }
  Table& table = table_of(correlation);
  Attempt first;
  {
    const std::lock_guard guard(table.lock);
    if (!closed_) {  // close() empties the tables after it says so
      table.due = std::min(table.due, pending.caller.next_at);
      due_at(table.due);
      const auto at = table.asks.emplace(correlation, std::move(pending)).first;
      // With the table locked: adopt() finds the ask here, or this finds the new view.
      first = attempt(correlation, at->second);
    }
  }
  if (first.correlation == 0) {
    pending_count_.fetch_sub(1);
    return pending.answered(Error{Code::unavailable, "this process is closing"});
  }
  leave(std::move(first));
}

Status Router::tell(Ask ask) {
  Envelope envelope = CATGA_TRY(envelope_of(std::move(ask), MessageClass::tell));
  if (tracer_ != nullptr) send_span(envelope);
  const ShardId shard = shard_of(envelope.entity.kind, envelope.entity.key, options_.shards);
  const Routes::Hop hop = routes_.look_up(shard);
  if (!hop.to) return Error{Code::unavailable, "no node is up"};
  envelope.route_epoch = hop.epoch;
  const bool here = local_ && hop.to == self();
  if (!here && carrier_ == nullptr) return Error{Code::unavailable, "no node is up"};
  if (counts_ != nullptr)
    counts_->sent(counts_->place_of(envelope.entity.kind, envelope.message), Pattern::tell, here);
  if (here) {
    local_(shard, std::move(envelope));
    return Done{};
  }
  const std::string body = wire::encode(envelope, boot_ms());
  return carrier_->push(hop.to, wire::Message{body});
}

/// A tell is over for its sender when it is sent.
void Router::send_span(Envelope& envelope) {
  const TraceContext parent = current_trace();
  envelope.trace = tracer_->child(parent);
  if (!envelope.trace.sampled()) return;
  Span span;
  span.context = envelope.trace;
  span.parent = parent.span;
  span.start_ns = span.end_ns = Tracer::now_ns();
  say_sent(span, envelope, shard_of(envelope.entity.kind, envelope.entity.key, options_.shards));
  tracer_->ended(std::move(span));
}

/// Asks the caller's state machine under the lock of its table, then does what it says without it.
template <class Decide>
void Router::decide(std::uint64_t correlation, Decide decide) {
  Table& table = table_of(correlation);
  CallerAction action;
  {
    const std::lock_guard guard(table.lock);
    const auto at = table.asks.find(correlation);
    if (at == table.asks.end()) return;
    action = decide(at->second.caller);
    table.due = std::min(table.due, at->second.caller.next_at);
    due_at(table.due);
  }
  act(correlation, std::move(action));
}

void Router::due_at(std::int64_t time) {
  std::int64_t before = soonest_.load(std::memory_order_relaxed);
  while (time < before && !soonest_.compare_exchange_weak(before, time)) {
  }
}

void Router::act(std::uint64_t correlation, CallerAction action) {
  switch (action.kind) {
    case CallerAction::Kind::wait:
      return;
    case CallerAction::Kind::send:
      return transmit(correlation);
    case CallerAction::Kind::look_up:
      return look_up(correlation);
    case CallerAction::Kind::finish:
      return finish(correlation, std::move(action.error));
  }
}

void Router::transmit(std::uint64_t correlation) {
  Table& table = table_of(correlation);
  Attempt next;
  {
    const std::lock_guard guard(table.lock);
    const auto at = table.asks.find(correlation);
    if (at == table.asks.end()) return;
    next = attempt(correlation, at->second);
  }
  leave(std::move(next));
}

Router::Attempt Router::attempt(std::uint64_t correlation, Pending& pending) {
  const Routes::Hop hop = routes_.look_up(pending.shard);
  Attempt attempt;
  attempt.correlation = correlation;
  attempt.shard = pending.shard;
  attempt.to = hop.to;
  if (!hop.to) return attempt;
  pending.sent_to = hop.to;
  pending.envelope.route_epoch = hop.epoch;
  attempt.here = local_ && hop.to == self();
  if (counts_ != nullptr) {
    counts_->sent(pending.counted, pending.pattern, attempt.here);
    if (pending.envelope.arrived_ns == 0) counts_->repeated(pending.counted);
  }
  if (attempt.here)
    attempt.envelope = pending.envelope;
  else if (carrier_ != nullptr)
    attempt.body = wire::encode(pending.envelope, boot_ms());
  pending.envelope.arrived_ns = 0;  // the next attempt arrives when it does
  return attempt;
}

void Router::leave(Attempt&& attempt) {
  if (attempt.here) return local_(attempt.shard, std::move(attempt.envelope));
  Status sent = Error{Code::unavailable, "no node is up"};
  if (attempt.to && carrier_ != nullptr)
    sent = carrier_->push(attempt.to, wire::Message{attempt.body}, attempt.correlation);
  if (sent.ok()) return;
  decide(attempt.correlation, [this, &sent](Caller& caller) {
    return caller::not_sent(caller, sent.error(), options_.times, boot_ms());
  });
}

/// Nobody listens where the ask went: who owns the shard now? The same owner, still a member: its subscription may not
/// have spread yet, so a moment later. Ended: the caller's next try, or the view's change, finds the next one.
void Router::look_up(std::uint64_t correlation) {
  Incarnation before;
  ShardId shard;
  {
    Table& table = table_of(correlation);
    const std::lock_guard guard(table.lock);
    const auto at = table.asks.find(correlation);
    if (at == table.asks.end()) return;
    before = at->second.sent_to;
    shard = at->second.shard;
  }
  owners_.read(shard, [alive = alive_, lock = alive_lock_, correlation, shard,
                       before](Result<OwnerRecord> record) {
    const std::lock_guard guard(*lock);
    Router* router = *alive;
    if (router == nullptr || !record.ok()) return;
    if (!record->owner()) return;
    router->routes_.learn(shard, record->owner(), record->epoch, true);
    if (record->owner() == before || !router->routes_.is_member(record->owner())) return;
    router->decide(correlation, [router, correlation](Caller& caller) {
      return caller::owner_left(caller, router->options_.times, boot_ms(),
                                cheap_random(correlation));
    });
  });
}

void Router::finish(std::uint64_t correlation, Result<std::string> answer, std::int64_t now_ns) {
  Table& table = table_of(correlation);
  std::unordered_map<std::uint64_t, Pending>::node_type ended;
  {
    const std::lock_guard guard(table.lock);
    ended = table.asks.extract(correlation);
  }
  if (ended.empty()) return;
  pending_count_.fetch_sub(1);
  const Pending& pending = ended.mapped();
  if (pending.began_ns != 0) span_of(pending, answer);
  if (pending.asked_ns != 0)
    counts_->answered(pending.counted, answer.ok() ? nullptr : &answer.error(),
                      (now_ns != 0 ? now_ns : boot_ns()) - pending.asked_ns);
  pending.answered(std::move(answer));
}

/// One span for an ask with all its repeats.
void Router::span_of(const Pending& pending, const Result<std::string>& answer) {
  const Envelope& envelope = pending.envelope;
  Span span;
  span.context = envelope.trace;
  span.parent = pending.parent_span;
  span.start_ns = pending.began_ns;
  span.end_ns = Tracer::now_ns();
  if (of_tell(envelope.trace)) {
    say_sent(span, envelope, pending.shard);
  } else {
    span.kind = SpanKind::client;
    span.name = envelope.entity.kind + '/' + envelope.message;
    span.attributes = {
        {"rpc.system.name", std::string("catga")},
        {"rpc.method", span.name},
        {"rpc.status_code", std::string(answer.ok() ? "ok" : name_of(answer.error().code))}};
  }
  span.attributes.push_back(
      {"catga.ask.attempts", static_cast<std::int64_t>(pending.caller.attempts)});
  if (!answer.ok() && answer.error().code != Code::rejected) {
    span.status = SpanStatus::error;
    span.status_text = answer.error().text;
    span.attributes.push_back({"error.type", std::string(name_of(answer.error().code))});
  }
  tracer_->ended(std::move(span));
}

void Router::replied(const wire::Reply& reply, std::int64_t now_ns) {
  if (reply.owner) routes_.learn(reply.shard, reply.owner, reply.epoch, false);
  if (reply.ok) return finish(reply.correlation, std::string(reply.bytes), now_ns);
  Error error{reply.code, std::string(reply.bytes),
              std::chrono::milliseconds(reply.retry_after_ms)};
  if (caller::is_final(reply.code)) return finish(reply.correlation, std::move(error), now_ns);
  decide(reply.correlation, [this, &error, &reply](Caller& caller) {
    return caller::refused(caller, error, options_.times, boot_ms(),
                           cheap_random(reply.correlation));
  });
}

void Router::undelivered(const std::vector<std::uint64_t>& asks) {
  for (const std::uint64_t correlation : asks) {
    decide(correlation, [this](Caller& caller) {
      return caller::nobody_there(caller, options_.times, boot_ms());
    });
  }
}

void Router::unsent(const std::vector<std::uint64_t>& asks) {
  const Error error{Code::unavailable, "NATS is not connected"};
  for (const std::uint64_t correlation : asks) {
    decide(correlation, [this, &error](Caller& caller) {
      return caller::not_sent(caller, error, options_.times, boot_ms());
    });
  }
}

void Router::adopt(std::shared_ptr<const Standing> standing, Incarnation self) {
  if (self != this->self()) {
    const std::lock_guard guard(lives_lock_);
    lives_.push_front(self);
    self_.store(&lives_.front(), std::memory_order_release);
  }
  routes_.adopt(standing);
  std::vector<std::uint64_t> orphans;
  for (Table& table : tables_) {
    const std::lock_guard guard(table.lock);
    for (const auto& [correlation, pending] : table.asks) {
      const bool gone = pending.sent_to && standing->view->find(pending.sent_to) == nullptr;
      const bool waits_for_anybody = !pending.sent_to && !standing->view->members.empty();
      if (gone || waits_for_anybody) orphans.push_back(correlation);
    }
  }
  for (const std::uint64_t correlation : orphans) {
    decide(correlation, [this, correlation](Caller& caller) {
      return caller::owner_left(caller, options_.times, boot_ms(), cheap_random(correlation));
    });
  }
}

void Router::tick() {
  if (pending() == 0) return;
  const std::int64_t now = boot_ms();
  if (soonest_.load() > now) return;
  soonest_.store(no_time);  // before the tables: who adds to one meanwhile says so after this
  std::vector<std::uint64_t> due;
  for (Table& table : tables_) {
    const std::lock_guard guard(table.lock);
    if (table.due > now) {
      due_at(table.due);
      continue;
    }
    table.due = no_time;
    for (const auto& [correlation, pending] : table.asks) {
      if (pending.caller.next_at <= now)
        due.push_back(correlation);
      else
        table.due = std::min(table.due, pending.caller.next_at);
    }
    due_at(table.due);
  }
  for (const std::uint64_t correlation : due) {
    decide(correlation, [this, now, correlation](Caller& caller) {
      return caller::tick(caller, options_.times, now,
                          cheap_random(correlation + static_cast<std::uint64_t>(now)));
    });
  }
}

void Router::close() {
  if (closed_.exchange(true)) return;
  for (Table& table : tables_) {
    std::unordered_map<std::uint64_t, Pending> asks;
    {
      const std::lock_guard guard(table.lock);
      asks.swap(table.asks);
    }
    pending_count_.fetch_sub(asks.size());
    for (auto& [correlation, pending] : asks) {
      const bool untouched =
          pending.caller.attempts == pending.caller.refusals && !pending.caller.outside_id;
      pending.answered(
          Error{untouched ? Code::unavailable : Code::unknown,
                "this process closed before the answer came" +
                    std::string(untouched ? "" : "; ask again with the same operation id")});
    }
  }
}

void Router::answer(const Envelope& envelope, Result<std::string> answer, Epoch epoch,
                    std::int64_t now_ns) {
  if (!envelope.reply_to) return;
  if (answer.ok() && is_own(envelope))
    return finish(envelope.correlation, std::move(answer), now_ns);
  wire::Reply reply;
  reply.correlation = envelope.correlation;
  reply.ok = answer.ok();
  if (answer.ok()) {
    reply.bytes = *answer;
  } else {
    reply.code = answer.error().code;
    reply.retry_after_ms = static_cast<std::uint32_t>(
        std::clamp<std::int64_t>(answer.error().retry_after.count(), 0, 60000));
    reply.bytes = answer.error().text;
  }
  reply.shard = shard_of(envelope.entity.kind, envelope.entity.key, options_.shards);
  if (epoch.value != 0) {
    reply.epoch = epoch;
    reply.owner = self();
  }
  if (envelope.reply_to == options_.process) return replied(reply, now_ns);
  if (carrier_ != nullptr)
    (void)carrier_->push(envelope.reply_to, reply);  // full: the caller repeats
}

bool Router::send(Incarnation to, const Envelope& envelope) {
  if (carrier_ == nullptr) return false;
  const std::string body = wire::encode(envelope, boot_ms());
  return carrier_->push(to, wire::Message{body}).ok();
}

}  // namespace catga
