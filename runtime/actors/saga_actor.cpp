#include "catga/runtime/actors/saga_actor.hpp"

#include "catga/entities/operation.hpp"
#include "catga/runtime/actors/saga_asks.hpp"
#include "catga/runtime/outbox_entry.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <limits>
#include <random>

namespace catga::actors {

namespace {

constexpr std::int64_t session_retry = 20;  // how soon to look again whether it may act
constexpr std::int64_t linger_ended = 1000;

double chance() {
  thread_local std::minstd_rand source{static_cast<std::uint32_t>(new_operation_id().low)};
  return std::uniform_real_distribution<double>(0, 1)(source);
}

std::string seconds(std::int64_t ms) { return std::to_string(ms) + " ms"; }

}  // namespace

SagaActor::SagaActor(caf::actor_config& config, Host& host, SagaStart start)
    : caf::event_based_actor(config),
      host_(host),
      times_(host.metrics.saga(start.seat.saga.kind)),
      serial_(start.serial),
      supervisor_(std::move(start.supervisor)),
      shard_(std::move(start.shard)),
      gate_(std::move(start.gate)),
      gauge_(std::move(start.gauge)),
      shard_id_(start.seat.shard),
      token_(start.seat.token),
      slot_(std::move(start.slot)),
      machine_(host.sagas, host.saga_limits, start.seat, start.origin),
      saga_(start.seat.saga) {
  if (host_.tracer != nullptr) spans_ = std::make_unique<SagaSpans>(*host_.tracer, saga_);
  host_.sagas_in_memory.fetch_add(1, std::memory_order_relaxed);
  // Of this class's code: user code is guarded. Its supervisor hears of the end, the log of the why.
  set_exception_handler([this](std::exception_ptr& thrown) -> caf::error {
    host_.log.write(Severity::error, "saga", "",
                    "the actor of saga " + text_of(saga_) + " threw: " + words_of(thrown),
                    {{"catga.saga.type", saga_.kind}, {"catga.saga.id", saga_.key}});
    return caf::exit_reason::unhandled_exception;
  });
}

void SagaActor::on_exit() {
  host_.sagas_in_memory.fetch_sub(1, std::memory_order_relaxed);
  settle_hold();
  slot_.reset();
  supervisor_ = {};
  shard_ = {};
  backlog_.clear();
}

caf::behavior SagaActor::make_behavior() {
  return {
      [this](const SagaRecover&) {
        happens([this](const SagaMoment& now) { return machine_.recover(now); });
      },
      [this](SagaArrived& message) {
        received_ += 1;
        happens([this, envelope = message.envelope](const SagaMoment& now) {
          gauge_->handled.fetch_add(1, std::memory_order_release);
          if (spans_ && envelope->message == saga_call::start)
            machine_.start_in(spans_->starts(envelope->trace));
          return machine_.arrived(std::move(*envelope), now);
        });
      },
      [this](const SagaTimerDue& message) {
        received_ += 1;
        happens([this, name = message.timer.name](const SagaMoment& now) {
          gauge_->handled.fetch_add(1, std::memory_order_release);
          return machine_.fired(name, now);
        });
      },
      [this](const SagaCreateAnswered& message) {
        happens([this, answer = message.answer](const SagaMoment& now) {
          return machine_.created(std::move(*answer), now);
        });
      },
      [this](const SagaLoadAnswered& message) {
        happens([this, answer = message.answer](const SagaMoment& now) {
          return machine_.loaded(std::move(*answer), now);
        });
      },
      [this](const SagaWriteAnswered& message) {
        happens([this, answer = message.answer](const SagaMoment& now) {
          return machine_.committed(std::move(*answer), now);
        });
      },
      [this](const SagaStepAnswered& message) {
        if (spans_) spans_->attempt_ended(message.task, message.attempt, *message.reply);
        const Result<StepReply>& reply = *message.reply;
        times_.stepped(message.task.step, reply.ok() ? nullptr : &reply.error(), message.took_ns);
        happens([this, message](const SagaMoment& now) {
          return machine_.answered(message.task, message.attempt, *message.reply, now);
        });
      },
      [this](const SagaForgot& message) {
        happens([this, done = message.done](const SagaMoment&) { return machine_.forgot(done); });
      },
      [this](const SagasRetoken& message) {
        token_ = message.token;
        happens([this, token = message.token](const SagaMoment& now) {
          return machine_.retoken(token, now);
        });
      },
      [this](const SagasServe&) {
        catch_up();
        after_each();
      },
      [this](const SagasDrain&) {
        draining_ = true;
        machine_.drain();
        after_each();
      },
      [this](const SagasDrop&) {
        backlog_.clear();  // who asked repeats it
        carry_out(machine_.drop());
        quit();
      },
      [this](const SagaTick& alarm) {
        if (alarm.at_ms != armed_at_) return;  // overtaken by an earlier alarm
        armed_at_ = 0;
        happens([this](const SagaMoment& now) { return machine_.woken(now); });
      },
      [this](const SagaLeave&) { quit(); },
  };
}

// ---- what happens ------------------------------------------------------------------------------------------------

bool SagaActor::may_act() const {
  return gate_->open.load(std::memory_order_acquire) &&
         host_.standing.session_ok(gate_->life.load(std::memory_order_relaxed));
}

SagaMoment SagaActor::moment() {
  const std::int64_t now = boot_ms();
  const std::int64_t offset = host_.standing.cluster_offset_ms.load(std::memory_order_relaxed);
  return {now + offset, now, chance()};
}

/// Nothing happens to it while this node may not act: neither user code nor anything sent.
void SagaActor::happens(Happening happening) {
  backlog_.push_back(std::move(happening));
  catch_up();
  after_each();
}

void SagaActor::catch_up() {
  while (!backlog_.empty() && may_act()) {
    const Happening next = std::move(backlog_.front());
    backlog_.pop_front();
    run(next);
  }
}

void SagaActor::run(const Happening& happening) {
  static const std::string what = "saga";
  struct Watched {
    Watched(TurnWatch& watch, const void* who, const EntityId& saga) : watch_(watch), who_(who) {
      watch_.begins(who_, saga, what, boot_ms());
    }
    ~Watched() { watch_.ends(who_); }
    TurnWatch& watch_;
    const void* who_;
  };
  SagaActions actions;
  {
    const Watched watched(host_.watch, this, saga_);
    actions = happening(moment());
  }
  carry_out(std::move(actions));
}

void SagaActor::carry_out(SagaActions actions) {
  for (SagaAction& action : actions) {
    std::visit([this](auto& what) { act(what); }, action);
  }
}

void SagaActor::after_each() {
  settle_hold();
  const std::optional<SagaStanding> stands = machine_.standing();
  if (machine_.settled() && (!stood_ || stands != stands_)) {
    stood_ = true;
    stands_ = stands;
    send(supervisor_, SagaStands{saga_, serial_, stands});
  }
  if (machine_.settled()) slot_.reset();
  if (draining_ && backlog_.empty() && machine_.drained()) return leave();
  if (!backlog_.empty() || !machine_.idle()) {
    idle_since_ = 0;
  } else if (idle_since_ == 0) {
    idle_since_ = boot_ms();
  }
  arm();
}

/// Gives back what has not been handled, and ends.
void SagaActor::leave() {
  auto rest = std::make_shared<std::vector<Envelope>>(machine_.take_requests());
  send(supervisor_, SagaEmptied{saga_, serial_, std::move(rest)});
  quit();
}

void SagaActor::arm() {
  const std::int64_t now = boot_ms();
  const std::int64_t offset = host_.standing.cluster_offset_ms.load(std::memory_order_relaxed);
  std::int64_t at = std::numeric_limits<std::int64_t>::max();
  if (!backlog_.empty()) at = now + session_retry;
  if (const auto wake = machine_.wake_ms()) at = std::min(at, *wake - offset);
  if (idle_since_ != 0) {
    const bool over = !stands_ || has_ended(stands_->status) || host_.too_many_sagas();
    const std::int64_t patience = host_.config.entity.idle_timeout.count();
    const std::int64_t linger = over || patience == 0 ? linger_ended : patience;
    if (now - idle_since_ >= linger) {
      if (over || patience != 0) send(supervisor_, SagaMayLeave{saga_, serial_, received_});
      idle_since_ = now;
    }
    if (over || patience != 0) at = std::min(at, idle_since_ + linger);
  }
  if (at == std::numeric_limits<std::int64_t>::max()) return;
  at = std::max(at, now + 1);
  if (armed_at_ != 0 && armed_at_ <= at) return;
  armed_at_ = at;
  delayed_send(this, std::chrono::milliseconds(at - now), SagaTick{at});
}

// ---- what it does ------------------------------------------------------------------------------------------------

void SagaActor::act(saga_action::Create& action) {
  host_.stores.sagas().create(
      std::move(action.create), [self = self_handle()](Result<SagaCreated> answer) {
        caf::anon_send(
            self, SagaCreateAnswered{std::make_shared<Result<SagaCreated>>(std::move(answer))});
      });
}

void SagaActor::act(saga_action::Load& action) {
  host_.stores.sagas().load(action.load, [self = self_handle()](Result<SagaLoaded> answer) {
    caf::anon_send(self, SagaLoadAnswered{std::make_shared<Result<SagaLoaded>>(std::move(answer))});
  });
}

void SagaActor::act(saga_action::Write& action) {
  if (!action.commit.outbox.empty() && outbox_hold_ == 0) {
    const std::lock_guard guard(gate_->relay_lock);
    outbox_hold_ = gate_->relay.hold();
  }
  host_.stores.sagas().commit(
      std::move(action.commit), [self = self_handle()](Result<SagaCommitted> answer) {
        caf::anon_send(
            self, SagaWriteAnswered{std::make_shared<Result<SagaCommitted>>(std::move(answer))});
      });
}

void SagaActor::act(saga_action::Send& action) {
  count_retry(action.task, action.attempt);
  Ask ask = step_ask(action.task, action.call, shard_id_, token_.epoch);
  std::optional<catga::detail::TraceScope> inside;
  if (spans_) inside.emplace(spans_->attempt_begins(machine_.trace(), action.task, action.attempt));
  host_.router.ask(
      std::move(ask), [self = self_handle(), task = action.task, attempt = action.attempt,
                       began = boot_ns()](Result<std::string> answer) {
        auto reply = std::make_shared<Result<StepReply>>(step_reply(task, std::move(answer)));
        caf::anon_send(self, SagaStepAnswered{task, attempt, std::move(reply), boot_ns() - began});
      });
}

void SagaActor::act(saga_action::CallChild& action) {
  count_retry(action.task, action.attempt);
  Ask ask;
  ask.entity = std::move(action.child);
  ask.message = std::move(action.message);
  ask.payload = std::move(action.payload);
  ask.timeout = action.task.timeout;
  std::optional<catga::detail::TraceScope> inside;
  if (spans_) inside.emplace(spans_->attempt_begins(machine_.trace(), action.task, action.attempt));
  host_.router.ask(
      std::move(ask), [self = self_handle(), task = action.task, attempt = action.attempt,
                       began = boot_ns()](Result<std::string> answer) {
        auto reply = std::make_shared<Result<StepReply>>(
            answer ? Result<StepReply>(StepReply{}) : Result<StepReply>(std::move(answer).error()));
        caf::anon_send(self, SagaStepAnswered{task, attempt, std::move(reply), boot_ns() - began});
      });
}

void SagaActor::act(saga_action::Forget& action) {
  std::optional<catga::detail::TraceScope> inside;
  if (spans_) inside.emplace(Tracer::unsampled());  // its trace is over
  host_.router.ask(forget_ask(action, shard_id_, token_.epoch),
                   [self = self_handle()](const Result<std::string>& answer) {
                     caf::anon_send(self, SagaForgot{answer.ok()});
                   });
}

void SagaActor::act(saga_action::Answer& action) {
  host_.router.answer(action.to, std::move(action.answer), token_.epoch);
}

void SagaActor::act(saga_action::Timers& action) {
  send(shard_,
       TimersWritten{gate_, std::make_shared<std::vector<TimerWrite>>(std::move(action.timers))});
}

void SagaActor::act(saga_action::Tidy& action) {
  SagaTidy tidy;
  tidy.what = SagaTidy::What::timer;
  tidy.shard = shard_id_;
  tidy.token = token_;
  tidy.member = action.member;
  // Not done: the timer fires again after the next take-over, and is tidied then.
  host_.stores.sagas().tidy(tidy, [](const Result<bool>&) {});
  auto gone = std::make_shared<std::vector<TimerWrite>>();
  gone->push_back(TimerWrite{std::move(action.member), {}, {}});
  send(shard_, TimersWritten{gate_, std::move(gone)});
}

void SagaActor::act(saga_action::Outbox& action) {
  const bool known = !action.ids.empty();
  {
    const std::lock_guard guard(gate_->relay_lock);
    for (std::size_t i = 0; i < action.entries.size() && i < action.ids.size(); ++i) {
      Result<RelayEntry> entry = relay_entry(std::move(action.ids[i]), action.entries[i], true);
      if (entry.ok()) gate_->relay.add(std::move(*entry));  // our own bytes: they can be read
    }
    if (known) gate_->relay.release(outbox_hold_);
  }
  // An earlier copy of the commit wrote them: the shard reads the stream, and only then ends the hold.
  send(shard_, OutboxGrew{gate_, !known, known ? 0 : outbox_hold_});
  outbox_hold_ = 0;
}

/// A commit with an outbox was given up: whether it is in the stream only reading it tells.
void SagaActor::settle_hold() {
  if (outbox_hold_ == 0 || machine_.writing()) return;
  if (shard_) send(shard_, OutboxGrew{gate_, true, outbox_hold_});
  outbox_hold_ = 0;
}

void SagaActor::act(saga_action::Fenced& action) {
  send(shard_, Happened{std::make_shared<ShardEvent>(WasFenced{action.used})});
}

// ---- what it tells -----------------------------------------------------------------------------------------------

void SagaActor::count_retry(const SagaTask& task, std::uint32_t attempt) {
  if (attempt < 2) return;
  times_.retried(task.step);
  host_.saga_counters.change(saga_.kind,
                             [](SagaTypeFigures& figures) { figures.step_retries += 1; });
}

void SagaActor::act(saga_action::Tell& action) {
  const SagaNews& news = action.news;
  const auto say = [&](Severity severity, EventName event, const std::string& words) {
    std::vector<LogField> fields{
        {"catga.saga.type", saga_.kind},
        {"catga.saga.id", saga_.key},
        {"catga.saga.step", news.step},
        {"cause", news.standing.cause},
        {news.what == SagaNews::What::resumed ? "verb" : "error", news.text}};
    if (news.what == SagaNews::What::stuck)
      fields.push_back({"attempts", static_cast<std::int64_t>(news.attempts)});
    host_.log.write(severity, "saga", event, "saga " + text_of(saga_) + ' ' + words, fields);
  };
  switch (news.what) {
    case SagaNews::What::started:
      host_.saga_counters.change(saga_.kind,
                                 [](SagaTypeFigures& figures) { figures.started += 1; });
      return say(Severity::debug, "catga.saga.started", "started");
    case SagaNews::What::ended:
      return ended(news);
    case SagaNews::What::stuck:
      return say(Severity::error, "catga.saga.stuck",
                 "is stuck (" + news.standing.cause + ")" +
                     (news.step.empty() ? "" : " at step " + news.step) + ": " + news.text);
    case SagaNews::What::resumed:
      return say(Severity::info, "catga.saga.resumed", "goes on, said " + news.text);
    case SagaNews::What::overdue:
      return say(Severity::warn, "", "is behind its pivot and past its deadline; it goes on");
    case SagaNews::What::half_full:
      return say(Severity::warn, "", "has used half of what a journal may hold");
  }
}

void SagaActor::ended(const SagaNews& news) {
  const std::string outcome = news.failed ? "failed" : std::string(name_of(news.standing.status));
  host_.saga_counters.change(saga_.kind, [&](SagaTypeFigures& figures) {
    figures.finished[outcome] += 1;
    figures.duration_ms += static_cast<std::uint64_t>(std::max<std::int64_t>(news.lasted_ms, 0));
  });
  if (spans_) {
    const std::int64_t now = host_.standing.cluster_now();
    spans_->ended(machine_.trace(), news, outcome, now - machine_.created_ms());
  }
  times_.ended(outcome, news.lasted_ms, news.entries);
  const bool well = news.standing.status == SagaStatus::completed;
  const std::string status(name_of(news.standing.status));
  const EventName event = well ? EventName("catga.saga.completed")
                          : news.standing.status == SagaStatus::aborted
                              ? EventName("catga.saga.aborted")
                              : EventName("catga.saga.compensated");
  host_.log.write(well ? Severity::debug : Severity::info, "saga", event,
                  "saga " + text_of(saga_) + " was " + status + " after " +
                      seconds(news.lasted_ms) + (news.text.empty() ? "" : ": " + news.text),
                  {{"catga.saga.type", saga_.kind},
                   {"catga.saga.id", saga_.key},
                   {"outcome", outcome},
                   {"duration_ms", news.lasted_ms}});
}

}  // namespace catga::actors
