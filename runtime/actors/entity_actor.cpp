#include "catga/runtime/actors/entity_actor.hpp"

#include "catga/entities/operation.hpp"
#include "catga/runtime/outbox_entry.hpp"

#include <caf/send.hpp>

#include <random>

namespace catga::actors {

namespace {
constexpr std::chrono::milliseconds session_retry{
    20};  // how soon to look again whether turns may start
}

EntityActor::EntityActor(caf::actor_config& config, Host& host, const Kind& kind, EntityStart start)
    : caf::event_based_actor(config),
      host_(host),
      start_(std::move(start)),
      activation_(*this, kind, host.router, host.limits, start_.shard, start_.entity, start_.token),
      token_(start_.token) {
  host_.active.fetch_add(1, std::memory_order_relaxed);
  start_.gauge->last_used_ms.store(boot_ms(), std::memory_order_relaxed);
}

EntityActor::~EntityActor() { leave_count(); }

/// An ended actor may live on for seconds: as the target of alarms that CAF's clock holds. It is not in memory for that.
void EntityActor::on_exit() {
  leave_count();
  start_.shard_actor = {};  // they hold each other
}

void EntityActor::leave_count() {
  if (std::exchange(counted_, false)) host_.active.fetch_sub(1, std::memory_order_relaxed);
}

caf::actor EntityActor::self_handle() { return caf::actor_cast<caf::actor>(this); }

caf::behavior EntityActor::make_behavior() {
  return {
      [this](Deliver& message) {
        for (Envelope& envelope : *message.envelopes) {
          received_ += 1;
          activation_.arrived(std::move(envelope));
        }
        start_.gauge->last_used_ms.store(boot_ms(), std::memory_order_relaxed);
        after_each();
      },
      [this](LoadAnswered& message) {
        if (!message.answer->ok()) store_refused(message.answer->error());
        activation_.loaded(std::move(*message.answer));
        after_each();
      },
      [this](CommitAnswered& message) {
        if (!message.answer->ok()) store_refused(message.answer->error());
        activation_.committed(message.version, message.token, std::move(*message.answer));
        after_each();
      },
      [this](AskAnswered& message) {
        activation_.asked(message.number, std::move(*message.answer));
        after_each();
      },
      [this](const NewToken& message) {
        token_ = message.token;
        activation_.retoken(message.token);
        after_each();
      },
      [this](const Resume&) {
        draining_ = false;
        activation_.resume();
        after_each();
      },
      [this](const DrainNow&) {
        draining_ = true;
        activation_.drain();
        after_each();
      },
      [this](const DropNow&) {
        activation_.drop();
        empty_out();
      },
      [this](const LeaveIfIdle&) {
        if (activation_.idle())
          send(start_.shard_actor, MayLeave{start_.entity, start_.serial, received_});
      },
      [this](const EntityTick& tick) {
        if (tick.at_ms == 0)
          retry_armed_ = false;
        else if (tick.at_ms != wake_at_)
          return;  // overtaken by an earlier alarm
        else
          wake_at_ = 0;
        activation_.woken();
        after_each();
      },
  };
}

void EntityActor::after_each() {
  if (left_) return;
  settle_hold();
  start_.gauge->handled.store(received_ - activation_.queued(), std::memory_order_release);
  if (draining_ && activation_.drained()) return empty_out();
  if (activation_.wants_to_leave())
    send(start_.shard_actor, MayLeave{start_.entity, start_.serial, received_});
  if (activation_.queued() != 0 && !may_run() &&
      !retry_armed_) {  // the session may come back without a word
    retry_armed_ = true;
    delayed_send(this, session_retry, EntityTick{});
  }
}

/// A commit with outbox entries was given up: whether they are in the stream only reading it tells.
void EntityActor::settle_hold() {
  if (outbox_hold_ == 0 || activation_.committing()) return;
  send(start_.shard_actor, OutboxGrew{start_.gate, true, outbox_hold_});
  outbox_hold_ = 0;
}

/// Gives back what has not run and ends.
void EntityActor::empty_out() {
  if (left_) return;
  left_ = true;
  settle_hold();
  auto rest = std::make_shared<std::deque<Envelope>>(activation_.take_queue());
  send(start_.shard_actor, Emptied{start_.entity, start_.serial, std::move(rest)});
  quit();
}

std::uint32_t EntityActor::random() {
  thread_local std::minstd_rand source{static_cast<std::uint32_t>(new_operation_id().low)};
  return static_cast<std::uint32_t>(source()) ^ static_cast<std::uint32_t>(source() << 16);
}

bool EntityActor::may_run() {
  return start_.gate->open.load(std::memory_order_acquire) && host_.standing.session_ok();
}

/// A full disk, full memory: what Redis says is for the operator. One line a second from the whole node.
void EntityActor::store_refused(const Error& error) {
  if (error.code != Code::unavailable && error.code != Code::overloaded) return;
  const std::int64_t now = boot_ms();
  std::int64_t said = host_.store_refused_said_ms.load(std::memory_order_relaxed);
  if (said != 0 && now - said < 1000) return;
  if (!host_.store_refused_said_ms.compare_exchange_strong(said, now)) return;
  host_.log.write(Severity::warn, "store", "",
                  "Redis refused a request of " + text_of(start_.entity) + ": " + error.text,
                  {{"catga.shard.id", static_cast<std::int64_t>(start_.shard.value)}});
}

void EntityActor::load(Load load) {
  host_.stores.state().load(load, [self = self_handle()](Result<Loaded> answer) {
    caf::anon_send(self, LoadAnswered{std::make_shared<Result<Loaded>>(std::move(answer))});
  });
}

void EntityActor::commit(Commit commit) {
  if (!commit.outbox.empty() &&
      outbox_hold_ == 0) {  // until it is answered, the outbox is not trimmed past it
    const std::lock_guard guard(start_.gate->relay_lock);
    outbox_hold_ = start_.gate->relay.hold();
  }
  const std::string version = commit.next;
  const OwnerToken token = commit.token;
  host_.stores.state().commit(std::move(commit), [self = self_handle(), version,
                                                  token](Result<Committed> answer) {
    caf::anon_send(self, CommitAnswered{version, token,
                                        std::make_shared<Result<Committed>>(std::move(answer))});
  });
}

void EntityActor::answer(const Envelope& to, Result<std::string> answer) {
  host_.router.answer(to, std::move(answer), token_.epoch);
}

void EntityActor::outbox_written(std::vector<std::string> entries, std::vector<std::string> ids) {
  {
    const std::lock_guard guard(start_.gate->relay_lock);
    for (std::size_t i = 0; i < entries.size() && i < ids.size(); ++i) {
      Result<PendingTell> tell = parse_tell(entries[i]);
      if (!tell.ok()) continue;  // our own bytes: cannot be
      start_.gate->relay.add({std::move(ids[i]), std::move(tell->source), std::move(tell->target),
                              tell->operation, tell->at_ms, std::move(tell->message),
                              std::move(tell->payload), 0, true});
    }
    if (!ids.empty()) start_.gate->relay.release(outbox_hold_);
  }
  // An earlier copy of the commit wrote them: the shard reads the stream, and only then ends the hold.
  send(start_.shard_actor, OutboxGrew{start_.gate, ids.empty(), ids.empty() ? outbox_hold_ : 0});
  outbox_hold_ = 0;
}

void EntityActor::timers_written(std::vector<TimerWrite> timers) {
  send(start_.shard_actor,
       TimersWritten{start_.gate, std::make_shared<std::vector<TimerWrite>>(std::move(timers))});
}

void EntityActor::timer_failed(const Envelope& timer, const Error& error) {
  if (error.code == Code::failed || error.code == Code::not_found ||
      error.code == Code::malformed) {
    host_.log.write(Severity::warn, "entity", "",
                    "a timer of " + text_of(timer.entity) + " failed: " + error.text,
                    {{"catga.shard.id", static_cast<std::int64_t>(start_.shard.value)},
                     {"timer", timer.timer}});
  }
  send(start_.shard_actor,
       TimerFailed{start_.gate, timer.timer,
                   error.code == Code::failed || error.code == Code::not_found ||
                       error.code == Code::malformed});
}

void EntityActor::timers_unsure(std::vector<std::string> members) {
  send(start_.shard_actor,
       TimersUnsure{start_.gate, std::make_shared<std::vector<std::string>>(std::move(members))});
}

void EntityActor::ask(Ask ask, std::uint64_t number) {
  host_.router.ask(std::move(ask), [self = self_handle(), number](Result<std::string> answer) {
    caf::anon_send(self,
                   AskAnswered{number, std::make_shared<Result<std::string>>(std::move(answer))});
  });
}

void EntityActor::fenced(OwnerToken used) {
  send(start_.shard_actor, Happened{std::make_shared<ShardEvent>(WasFenced{used})});
}

void EntityActor::wake_at(std::int64_t at_ms) {
  at_ms = std::max(at_ms, boot_ms() + 1);
  if (wake_at_ != 0 && wake_at_ <= at_ms) return;
  wake_at_ = at_ms;
  delayed_send(this, std::chrono::milliseconds(at_ms - boot_ms()), EntityTick{at_ms});
}

void EntityActor::troubled(const Error& error) {
  const bool unreadable = error.code == Code::failed || error.code == Code::malformed;
  host_.log.write(Severity::error, unreadable ? "entity" : "store",
                  unreadable ? "catga.entity.activation_failed" : "", error.text,
                  {{"catga.entity.kind", start_.entity.kind},
                   {"catga.shard.id", static_cast<std::int64_t>(start_.shard.value)}});
}

void EntityActor::turn_begins(const std::string& message) {
  host_.watch.begins(this, start_.entity, message, boot_ms());
}

void EntityActor::turn_ends(const std::string&) { host_.watch.ends(this); }

}  // namespace catga::actors
