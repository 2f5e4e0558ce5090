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

Incarnation Router::self() const {
  const std::lock_guard guard(self_lock_);
  return self_;
}

Result<Envelope> Router::envelope_of(Ask&& ask, MessageClass kind) {
  if (ask.entity.kind.empty() || ask.entity.kind.find('/') != std::string::npos ||
      ask.message.empty()) {
    return Error{Code::malformed, "an entity needs a kind without '/', a message needs a name"};
  }
  if (ask.payload.size() > options_.limits.payload_max) {
    return Error{Code::malformed, ask.message + " to " + text_of(ask.entity) + " has " +
                                      std::to_string(ask.payload.size()) + " bytes, at most " +
                                      std::to_string(options_.limits.payload_max) +
                                      " are allowed (ask.payload_max)"};
  }
  if (ask.entity.key.size() > 1024 || ask.message.size() > 256) {
    return Error{Code::malformed, "a key has at most 1024 bytes, a message name at most 256"};
  }
  if (ask.path.size() > 16) {
    return Error{Code::failed, "more than 16 entities wait for each other: " +
                                   text_of(ask.path.front()) + " → … → " + text_of(ask.entity)};
  }
  if (closed_) return Error{Code::unavailable, "this process is closing"};
  Envelope envelope;
  envelope.kind = kind;
  envelope.entity = std::move(ask.entity);
  envelope.message = std::move(ask.message);
  envelope.payload = std::move(ask.payload);
  envelope.path = std::move(ask.path);
  const std::chrono::milliseconds timeout =
      ask.timeout.count() > 0 ? ask.timeout : options_.limits.timeout;
  envelope.deadline_ms = boot_ms() + timeout.count();
  if (kind != MessageClass::query) {
    envelope.operation = ask.operation ? ask.operation : new_operation_id();
    // An id from outside without its time keeps 0: its owner looks it up whatever it remembers.
    envelope.operation_ms = ask.operation ? ask.operation_ms : standing_.cluster_now();
  }
  return envelope;
}

void Router::ask(Ask ask, Answered answered) {
  const bool outside = static_cast<bool>(ask.operation);
  const bool query = ask.query;
  Result<Envelope> envelope =
      envelope_of(std::move(ask), query ? MessageClass::query : MessageClass::ask);
  if (!envelope.ok()) return answered(std::move(envelope).error());
  if (pending_count_.fetch_add(1) >= options_.limits.pending) {
    pending_count_.fetch_sub(1);
    // Of an id from outside an earlier call may have been applied: nothing is refused for certain.
    return answered(Error{outside ? Code::unknown : Code::overloaded,
                          std::to_string(options_.limits.pending) +
                              " asks of this process wait already (ask.pending)",
                          std::chrono::milliseconds(100)});
  }
  const std::uint64_t correlation = next_.fetch_add(1);
  auto pending = std::make_shared<Pending>();
  pending->envelope = std::move(*envelope);
  pending->envelope.reply_to = options_.process;
  pending->envelope.correlation = correlation;
  pending->shard =
      shard_of(pending->envelope.entity.kind, pending->envelope.entity.key, options_.shards);
  pending->caller.deadline = pending->envelope.deadline_ms;
  pending->caller.outside_id = outside;
  pending->answered = std::move(answered);
  Table& table = table_of(correlation);
  {
    const std::lock_guard guard(table.lock);
    if (!closed_)
      table.asks.emplace(correlation,
                         std::move(pending));  // close() empties the tables after it says so
  }
  if (pending) {
    pending_count_.fetch_sub(1);
    return pending->answered(Error{Code::unavailable, "this process is closing"});
  }
  decide(correlation, [this, correlation](Caller& caller) {
    return caller::start(caller, options_.times, boot_ms(), cheap_random(correlation));
  });
}

Status Router::tell(Ask ask) {
  Envelope envelope = CATGA_TRY(envelope_of(std::move(ask), MessageClass::tell));
  const ShardId shard = shard_of(envelope.entity.kind, envelope.entity.key, options_.shards);
  const Routes::Hop hop = routes_.look_up(shard);
  if (!hop.to) return Error{Code::unavailable, "no node is up"};
  envelope.route_epoch = hop.epoch;
  if (local_ && hop.to == self()) {
    local_(shard, std::move(envelope));
    return Done{};
  }
  if (carrier_ == nullptr) return Error{Code::unavailable, "no node is up"};
  const std::string body = wire::encode(envelope, boot_ms());
  return carrier_->push(hop.to, wire::Message{body});
}

std::shared_ptr<Router::Pending> Router::find(std::uint64_t correlation) {
  Table& table = table_of(correlation);
  const std::lock_guard guard(table.lock);
  const auto at = table.asks.find(correlation);
  return at == table.asks.end() ? nullptr : at->second;
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
    action = decide(at->second->caller);
    table.due = std::min(table.due, at->second->caller.next_at);
  }
  act(correlation, std::move(action));
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
  const std::shared_ptr<Pending> pending = find(correlation);
  if (!pending) return;
  const Routes::Hop hop = routes_.look_up(pending->shard);
  Status sent = Done{};
  if (!hop.to) {
    sent = Error{Code::unavailable, "no node is up"};
  } else {
    {
      const std::lock_guard guard(table_of(correlation).lock);
      pending->sent_to = hop.to;
    }
    if (local_ && hop.to == self()) {
      Envelope copy = pending->envelope;
      copy.route_epoch = hop.epoch;
      return local_(pending->shard, std::move(copy));
    }
    if (carrier_ == nullptr) {
      sent = Error{Code::unavailable, "no node is up"};
    } else {
      Envelope copy = pending->envelope;
      copy.route_epoch = hop.epoch;
      const std::string body = wire::encode(copy, boot_ms());
      sent = carrier_->push(hop.to, wire::Message{body}, correlation);
    }
  }
  if (sent.ok()) return;
  decide(correlation, [this, &sent](Caller& caller) {
    return caller::not_sent(caller, sent.error(), options_.times, boot_ms());
  });
}

/// Nobody listens where the ask went: who owns the shard now? The same owner, still a member: its subscription may not
/// have spread yet, so a moment later. Ended: the caller's next try, or the view's change, finds the next one.
void Router::look_up(std::uint64_t correlation) {
  const std::shared_ptr<Pending> pending = find(correlation);
  if (!pending) return;
  const Incarnation before = pending->sent_to;
  const ShardId shard = pending->shard;
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

void Router::finish(std::uint64_t correlation, Result<std::string> answer) {
  Table& table = table_of(correlation);
  std::shared_ptr<Pending> pending;
  {
    const std::lock_guard guard(table.lock);
    auto node = table.asks.extract(correlation);
    if (node.empty()) return;
    pending = std::move(node.mapped());
  }
  pending_count_.fetch_sub(1);
  pending->answered(std::move(answer));
}

void Router::replied(const wire::Reply& reply) {
  if (reply.owner) routes_.learn(reply.shard, reply.owner, reply.epoch, false);
  if (reply.ok) return finish(reply.correlation, std::string(reply.bytes));
  Error error{reply.code, std::string(reply.bytes),
              std::chrono::milliseconds(reply.retry_after_ms)};
  if (caller::is_final(reply.code)) return finish(reply.correlation, std::move(error));
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
  {
    const std::lock_guard guard(self_lock_);
    self_ = self;
  }
  routes_.adopt(standing);
  std::vector<std::uint64_t> orphans;
  for (Table& table : tables_) {
    const std::lock_guard guard(table.lock);
    for (const auto& [correlation, pending] : table.asks) {
      const bool gone = pending->sent_to && standing->view->find(pending->sent_to) == nullptr;
      const bool waits_for_anybody = !pending->sent_to && !standing->view->members.empty();
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
  std::vector<std::uint64_t> due;
  for (Table& table : tables_) {
    const std::lock_guard guard(table.lock);
    if (table.due > now) continue;
    table.due = no_time;
    for (const auto& [correlation, pending] : table.asks) {
      if (pending->caller.next_at <= now)
        due.push_back(correlation);
      else
        table.due = std::min(table.due, pending->caller.next_at);
    }
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
  std::vector<std::shared_ptr<Pending>> all;
  for (Table& table : tables_) {
    const std::lock_guard guard(table.lock);
    for (auto& [correlation, pending] : table.asks) all.push_back(std::move(pending));
    table.asks.clear();
  }
  for (const std::shared_ptr<Pending>& pending : all) {
    pending_count_.fetch_sub(1);
    const bool untouched =
        pending->caller.attempts == pending->caller.refusals && !pending->caller.outside_id;
    pending->answered(
        Error{untouched ? Code::unavailable : Code::unknown,
              "this process closed before the answer came" +
                  std::string(untouched ? "" : "; ask again with the same operation id")});
  }
}

void Router::answer(const Envelope& envelope, Result<std::string> answer, Epoch epoch) {
  if (!envelope.reply_to) return;
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
  if (envelope.reply_to == options_.process) return replied(reply);
  if (carrier_ != nullptr)
    (void)carrier_->push(envelope.reply_to, reply);  // full: the caller repeats
}

bool Router::send(Incarnation to, const Envelope& envelope) {
  if (carrier_ == nullptr) return false;
  const std::string body = wire::encode(envelope, boot_ms());
  return carrier_->push(to, wire::Message{body}).ok();
}

}  // namespace catga
