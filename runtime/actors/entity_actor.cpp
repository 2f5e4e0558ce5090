#include "catga/runtime/actors/entity_actor.hpp"

#include "catga/entities/operation.hpp"
#include "catga/runtime/late_wake.hpp"
#include "catga/runtime/telemetry/entity_keys.hpp"

#include <caf/abstract_actor.hpp>
#include <caf/make_counted.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>
#include <caf/send.hpp>

#include <iterator>
#include <optional>
#include <random>

namespace catga::actors {

namespace {
constexpr std::uint16_t no_handler = Envelope{}.handler;
constexpr std::chrono::milliseconds session_retry{
    20};  // how soon to look again whether turns may start

std::string_view outcome_of(const Result<Committed>& answer) {
  using Outcome = Committed::Outcome;
  if (!answer.ok()) return "unknown";
  if (answer->outcome == Outcome::ok || answer->outcome == Outcome::already) return "ok";
  return answer->outcome == Outcome::fenced ? "fenced" : "conflict";
}

/// Somebody waits for an answer.
bool asks(const Envelope& envelope) {
  return envelope.kind == MessageClass::ask || envelope.kind == MessageClass::query;
}

NodeMetrics::CommitEnd end_of(const Result<Committed>& answer) {
  if (!answer.ok()) return NodeMetrics::CommitEnd::unknown;
  switch (answer->outcome) {
    case Committed::Outcome::ok:
    case Committed::Outcome::already:
      return NodeMetrics::CommitEnd::ok;
    case Committed::Outcome::fenced:
      return NodeMetrics::CommitEnd::fenced;
    case Committed::Outcome::conflict:
    case Committed::Outcome::duplicate:
    case Committed::Outcome::timer_gone:
      return NodeMetrics::CommitEnd::conflict;
  }
  return NodeMetrics::CommitEnd::unknown;
}
}  // namespace

EntityActor::EntityActor(Host& host, const Kind& kind, EntityStart start)
    : host_(host),
      shard_(start.shard),
      serial_(start.serial),
      shard_actor_(std::move(start.shard_actor)),
      gate_(std::move(start.gate)),
      counts_(host.metrics.of(kind.name)),
      token_(start.token),
      since_ns_(boot_ns()),
      activation_(*this, kind, host.router, host.limits, start.shard, std::move(start.entity),
                  start.token) {
  host_.active.fetch_add(1, std::memory_order_relaxed);
  if (host_.tracer != nullptr) {
    spans_ = std::make_unique<TurnSpans>(
        *host_.tracer, TurnPlace{host_.config.cluster.name, host_.node_id, shard_});
  }
  counts_.begins();
  gauge_.last_used_ms.store(since_ns_ / 1'000'000, std::memory_order_relaxed);
}

EntityActor::~EntityActor() = default;

// ---- being run -----------------------------------------------------------------------------------------------------

void EntityActor::wake() {
  ref();  // of the worker that will run it
  host_.scheduler.enqueue(this);
}

caf::resumable::resume_result EntityActor::resume(caf::execution_unit* unit, std::size_t most) {
  unit_ = unit;
  for (std::size_t i = 0; i < most; ++i) {
    auto mail = mailbox_.take();
    if (!mail) {
      unit_ = nullptr;
      if (mailbox_.sleep()) return awaiting_message;
      unit_ = unit;
      continue;
    }
    read_clock();
    try {
      std::visit([this](auto& message) { take(message); }, *mail);
    } catch (const std::exception& trouble) {
      break_off(trouble.what());
    } catch (...) {
      break_off("an exception that is no std::exception");
    }
    if (left_) {
      mailbox_.close([this](const EntityMail& dropped) {
        if (std::holds_alternative<Envelope>(dropped)) counts_.handled(1);
      });
      mail.reset();
      end();
      return done;
    }
  }
  unit_ = nullptr;
  return resume_later;
}

void EntityActor::break_off(const char* why) {
  why_leaving_ = Passivation::failure;
  tell_shard(EntityBroke{entity(), serial_, why});
  left_ = true;
}

/// The last thing it does: from now on the node may close its stores.
void EntityActor::end() {
  shard_actor_ = {};
  counts_.ends();
  counts_.handled(received_ - gauge_.handled.load(std::memory_order_relaxed));
  counts_.remembers(0 - remembered_);
  counts_.given_back(open_asks_);
  counts_.passivated(why_leaving_);
  host_.active.fetch_sub(1, std::memory_order_release);
}

template <class Message>
void EntityActor::tell_shard(Message message) {
  caf::actor_cast<caf::abstract_actor*>(shard_actor_)
      ->eq_impl(caf::make_message_id(), nullptr, unit_, std::move(message));
}

/// By way of the shard: an ended entity is then not kept by an alarm that was set.
void EntityActor::alarm(std::int64_t in_ms, std::int64_t at_ms) {
  caf::delayed_anon_send(shard_actor_, std::chrono::milliseconds(in_ms),
                         EntityAlarm{entity(), serial_, at_ms});
}

// ---- what it is told -------------------------------------------------------------------------------------------------

void EntityActor::take(Envelope& envelope) {
  received_ += 1;
  if (spans_) spans_->arrived(envelope);
  if (envelope.arrived_ns == 0) envelope.arrived_ns = now_ns_;
  const bool ask = asks(envelope);
  open_asks_ += ask ? 1 : 0;
  counts_.received(ask, envelope.kind == MessageClass::timer);
  activation_.arrived(std::move(envelope));
  gauge_.last_used_ms.store(now_, std::memory_order_relaxed);
  after_each();
}
void EntityActor::take(LoadAnswered& message) {
  if (!message.answer.ok()) store_refused(message.answer.error());
  if (spans_) spans_->activation_ended(entity().kind, message.answer, token_.epoch);
  if (!loaded_) counts_.activated(message.answer.ok(), now_ns_ - since_ns_);
  loaded_ |= message.answer.ok();
  activation_.loaded(std::move(message.answer));
  after_each();
}
void EntityActor::take(CommitAnswered& message) {
  if (!message.answer.ok()) store_refused(message.answer.error());
  if (spans_) spans_->commit_ended(outcome_of(message.answer));
  host_.metrics.committed(end_of(message.answer), now_ns_ - since_ns_);
  activation_.committed(message.version, message.token, std::move(message.answer));
  after_each();
}
void EntityActor::take(AskAnswered& message) {
  activation_.asked(message.number, std::move(message.answer));
  after_each();
}
void EntityActor::take(NewToken& message) {
  token_ = message.token;
  activation_.retoken(message.token);
  after_each();
}
void EntityActor::take(Resume&) {
  draining_ = false;
  activation_.resume();
  after_each();
}
void EntityActor::take(DrainNow&) {
  draining_ = true;
  activation_.drain();
  after_each();
}
void EntityActor::take(DropNow&) {
  activation_.drop();
  empty_out();
}
void EntityActor::take(LeaveIfIdle& message) {
  why_leaving_ = message.crowded ? Passivation::capacity : Passivation::idle;
  if (activation_.idle()) tell_shard(MayLeave{entity(), serial_, received_});
}
void EntityActor::take(EntityTick& tick) {
  if (tick.at_ms == 0)
    retry_armed_ = false;
  else if (tick.at_ms != wake_at_)
    return;  // overtaken by an earlier alarm
  else
    wake_at_ = 0;
  activation_.woken();
  after_each();
}
void EntityActor::take(End&) {
  why_leaving_ = Passivation::handoff;  // the node closes
  left_ = true;
}

void EntityActor::after_each() {
  if (left_) return;
  settle_hold();
  count_load();
  if (draining_ && activation_.drained()) {
    why_leaving_ = Passivation::handoff;
    return empty_out();
  }
  if (activation_.wants_to_leave()) {
    why_leaving_ = loaded_ ? Passivation::asked : Passivation::failure;
    tell_shard(MayLeave{entity(), serial_, received_});
  }
  if (activation_.queued() != 0 && !may_run() &&
      !retry_armed_) {  // the session may come back without a word
    retry_armed_ = true;
    alarm(session_retry.count(), 0);
  }
}

/// What waits for it and what it remembers, as of now.
void EntityActor::count_load() {
  const std::uint64_t handled = received_ - activation_.queued();
  const std::uint64_t before = gauge_.handled.load(std::memory_order_relaxed);
  if (handled != before) {
    counts_.handled(handled - before);
    gauge_.handled.store(handled, std::memory_order_release);
  }
  const std::uint64_t remembers = activation_.remembered_bytes();
  if (remembers != remembered_)
    counts_.remembers(remembers - std::exchange(remembered_, remembers));
}

/// A commit with outbox entries was given up: whether they are in the stream only reading it tells.
void EntityActor::settle_hold() {
  if (outbox_hold_ == 0 || activation_.committing()) return;
  tell_shard(OutboxGrew{gate_, true, outbox_hold_});
  outbox_hold_ = 0;
}

/// Gives back what has not run and ends.
void EntityActor::empty_out() {
  if (left_) return;
  left_ = true;
  settle_hold();
  Waitlist<Envelope> queue = activation_.take_queue();
  if (spans_)
    for (Envelope& envelope : queue) spans_->given_back(envelope);
  auto rest = std::make_shared<std::vector<Envelope>>(std::make_move_iterator(queue.begin()),
                                                      std::make_move_iterator(queue.end()));
  tell_shard(Emptied{entity(), serial_, std::move(rest)});
}

std::uint32_t EntityActor::random() {
  thread_local std::minstd_rand source{static_cast<std::uint32_t>(new_operation_id().low)};
  return static_cast<std::uint32_t>(source()) ^ static_cast<std::uint32_t>(source() << 16);
}

bool EntityActor::may_run() {
  const NodeStanding& standing = host_.standing;
  return gate_->open.load(std::memory_order_acquire) &&
         now_ < standing.session_deadline_ms.load(std::memory_order_acquire) &&
         standing.life.load(std::memory_order_relaxed) ==
             gate_->life.load(std::memory_order_relaxed);
}

/// A full disk, full memory: what Redis says is for the operator. One line a second from the whole node.
void EntityActor::store_refused(const Error& error) {
  if (error.code != Code::unavailable && error.code != Code::overloaded) return;
  const std::int64_t now = now_;
  std::int64_t said = host_.store_refused_said_ms.load(std::memory_order_relaxed);
  if (said != 0 && now - said < 1000) return;
  if (!host_.store_refused_said_ms.compare_exchange_strong(said, now)) return;
  host_.log.write(Severity::warn, "store", "",
                  "Redis refused a request of " + entity_shown(host_.config, entity()) + ": " +
                      text_shown(host_.config, entity(), error.text),
                  {{"catga.shard.id", static_cast<std::int64_t>(shard_.value)}});
}

void EntityActor::load(Load load) {
  if (spans_ && !loaded_) spans_->activation_begins();
  host_.stores.state().load(load, [self = self_handle()](Result<Loaded> answer) {
    self->post(LoadAnswered{std::move(answer)});
  });
}

void EntityActor::commit(Commit commit) {
  if (!commit.outbox.empty() &&
      outbox_hold_ == 0) {  // until it is answered, the outbox is not trimmed past it
    const std::lock_guard guard(gate_->relay_lock);
    outbox_hold_ = gate_->relay.hold();
  }
  if (spans_) spans_->commit_begins(commit.operations.size());
  since_ns_ = now_ns_;
  host_.metrics.commit_sent(commit.operations.size() + commit.saga_operations.size() +
                            commit.fired.size());
  const std::string version = commit.next;
  const OwnerToken token = commit.token;
  host_.stores.state().commit(std::move(commit),
                              [self = self_handle(), version, token](Result<Committed> answer) {
                                self->post(CommitAnswered{version, token, std::move(answer)});
                              });
}

void EntityActor::answer(const Envelope& to, Result<std::string> answer) {
  if (spans_) spans_->answered(to, answer, token_.epoch);
  const bool late = !answer.ok() && answer.error().code == Code::timeout;
  if (late && to.handler == no_handler) host_.metrics.expired(NodeMetrics::Place::mailbox);
  if (asks(to)) {
    open_asks_ -= 1;
    counts_.answered(to.handler,
                     answer.ok() ? std::nullopt : std::optional<Code>(answer.error().code),
                     now_ns_ - to.arrived_ns);
  }
  if (answers_ && answer.ok() && host_.router.is_own(to))
    return answers_->add(to.correlation, std::move(*answer));
  host_.router.answer(to, std::move(answer), token_.epoch, now_ns_);
}

void EntityActor::answers_begin(std::size_t count) {
  if (count >= Answers::least) answers_ = caf::make_counted<Answers>(host_, count, now_ns_);
}

void EntityActor::answers_end() {
  if (!answers_) return;
  answers_->leave();
  answers_ = nullptr;
}

void EntityActor::outbox_written(std::vector<std::string> entries, std::vector<std::string> ids) {
  {
    const std::lock_guard guard(gate_->relay_lock);
    for (std::size_t i = 0; i < entries.size() && i < ids.size(); ++i) {
      Result<RelayEntry> entry = relay_entry(std::move(ids[i]), entries[i], true);
      if (entry.ok()) gate_->relay.add(std::move(*entry));  // our own bytes: they can be read
    }
    if (!ids.empty()) gate_->relay.release(outbox_hold_);
  }
  // An earlier copy of the commit wrote them: the shard reads the stream, and only then ends the hold.
  tell_shard(OutboxGrew{gate_, ids.empty(), ids.empty() ? outbox_hold_ : 0});
  outbox_hold_ = 0;
}

void EntityActor::timers_written(std::vector<TimerWrite> timers) {
  tell_shard(TimersWritten{gate_, std::make_shared<std::vector<TimerWrite>>(std::move(timers))});
}

void EntityActor::timer_failed(const Envelope& timer, const Error& error) {
  if (spans_) spans_->answered(timer, error, token_.epoch);
  if (error.code == Code::failed || error.code == Code::not_found ||
      error.code == Code::malformed) {
    host_.log.write(
        Severity::warn, "entity", "",
        "a timer of " + entity_shown(host_.config, timer.entity) +
            " failed: " + text_shown(host_.config, timer.entity, error.text),
        {{"catga.shard.id", static_cast<std::int64_t>(shard_.value)}, {"timer", timer.timer}});
  }
  tell_shard(TimerFailed{
      gate_, timer.timer,
      error.code == Code::failed || error.code == Code::not_found || error.code == Code::malformed,
      std::string(name_of(error.code)) + ": " + error.text});
}

void EntityActor::timers_unsure(std::vector<std::string> members) {
  tell_shard(TimersUnsure{gate_, std::make_shared<std::vector<std::string>>(std::move(members))});
}

void EntityActor::ask(Ask ask, std::uint64_t number) {
  std::optional<catga::detail::TraceScope> inside;
  if (spans_) inside.emplace(spans_->running());
  host_.router.ask(std::move(ask), [self = self_handle(), number](Result<std::string> answer) {
    self->post(AskAnswered{number, std::move(answer)});
  });
}

void EntityActor::fenced(OwnerToken used) {
  tell_shard(Happened{std::make_shared<ShardEvent>(WasFenced{used})});
}

void EntityActor::wake_at(std::int64_t at_ms) {
  at_ms = std::max(at_ms, now_ + 1);
  if (wake_at_ != 0 && wake_at_ <= at_ms) return;
  wake_at_ = at_ms;
  alarm(at_ms - now_, at_ms);
}

Epoch EntityActor::source_epoch(ShardId saga_shard) {
  const std::lock_guard guard(gate_->sources_lock);
  const auto known = gate_->sources.find(saga_shard);
  return known == gate_->sources.end() ? Epoch{} : known->second;
}

void EntityActor::raise_source(ShardId saga_shard, Epoch epoch) {
  const std::lock_guard guard(gate_->sources_lock);
  Epoch& known = gate_->sources[saga_shard];
  known = std::max(known, epoch);
}

void EntityActor::troubled(const Error& error) {
  const bool unreadable = error.code == Code::failed || error.code == Code::malformed;
  const std::string text = text_shown(host_.config, entity(), error.text);
  host_.log.write(Severity::error, unreadable ? "entity" : "store",
                  unreadable ? EventName("catga.entity.activation_failed") : EventName(""), text,
                  {{"catga.entity.kind", entity().kind},
                   {"catga.entity.key", key_shown(host_.config, entity())},
                   {"catga.shard.id", static_cast<std::int64_t>(shard_.value)},
                   {"error", std::string(name_of(error.code))}});
}

void EntityActor::turn_of(const Envelope& envelope) {
  if (spans_) spans_->turn_begins(envelope);
}

void EntityActor::timer_answered(const Envelope& timer, const Result<std::string>& answer) {
  if (spans_) spans_->answered(timer, answer, token_.epoch);
}

void EntityActor::turn_begins(const std::string& message) {
  if (LateWake::due())
    LateWake::between_jobs(false);  // answers of earlier turns do not wait for this one
  const Activation::Begun& begun = activation_.begun();
  if (begun.arrived_ns != 0) counts_.waited(now_ns_ - begun.arrived_ns);
  host_.watch.begins(this, entity(), message, now_);
}

void EntityActor::turn_ends(const std::string&) {
  if (spans_) spans_->turn_ends();
  host_.watch.ends(this);
  const std::int64_t began = now_ns_;
  read_clock();  // a handler may take its time
  counts_.ran(activation_.begun().handler, now_ns_ - began);
  if (now_ns_ - began > host_.config.entity.turn_warn.count() * 1'000'000) counts_.ran_long();
}

}  // namespace catga::actors
