#include "catga/runtime/test/world.hpp"

#include "catga/entities/saga/calls.hpp"
#include "catga/persistence/saga_store.hpp"
#include "catga/runtime/actors/saga_asks.hpp"
#include "catga/runtime/outbox_entry.hpp"
#include "catga/sharding/bytes.hpp"
#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <cassert>

namespace catga::test {

namespace {

constexpr std::int64_t start_of_time = 1'700'000'000'000;
constexpr std::int64_t say_again = 1000, timer_again_most = 300'000;
constexpr std::size_t happenings_most = 2'000'000;
const ShardId shard{0};
const ActivationLimits activation_limits;

/// The operation of a timer's turn.
OperationId operation_of_timer(const std::string& member, std::int64_t due_ms) {
  std::string name = member;
  ByteWriter(name).i64(due_ms);
  return hash128(48, name);
}

/// Writes down what each command of an entity did.
class WatchedInstance final : public Instance {
 public:
  using Note = std::function<void(std::size_t, const TurnScope&, const HandlerEnd&)>;
  WatchedInstance(std::unique_ptr<Instance> inside, Note note)
      : inside_(std::move(inside)), note_(std::move(note)) {}
  Status restore(std::string_view state) override { return inside_->restore(state); }
  std::string encode() const override { return inside_->encode(); }
  HandlerEnd run(std::size_t message, std::string_view payload, TurnScope& scope) override {
    scope.finished = [this, message, &scope, finished = std::move(scope.finished)](HandlerEnd end) {
      note_(message, scope, end);
      finished(std::move(end));
    };
    HandlerEnd end = inside_->run(message, payload, scope);
    if (end.kind != HandlerEnd::Kind::suspended) note_(message, scope, end);
    return end;
  }
  void abandon() override { inside_->abandon(); }

 private:
  std::unique_ptr<Instance> inside_;
  Note note_;
};

Handled handled_by(const Kind& kind, std::size_t message, const TurnScope& scope,
                   const HandlerEnd& end) {
  Handled turn;
  turn.entity = scope.entity;
  turn.message = kind.messages[message].name;
  turn.rejected = end.kind == HandlerEnd::Kind::rejected;
  if (turn.rejected) {  // nothing it asked for happens
    turn.why = end.bytes;
    return turn;
  }
  for (const OutgoingTell& tell : scope.tells) {
    turn.tells.push_back({tell.entity, tell.message, tell.payload});
  }
  for (const OutgoingEvent& event : scope.events) {
    turn.events.push_back({scope.entity, event.name, event.payload, 0});
  }
  for (const TimerChange& timer : scope.timers) {
    const std::chrono::milliseconds after(timer.cancel ? 0 : timer.due_ms - scope.now_ms);
    turn.timers.push_back({timer.name, timer.cancel, after,
                           std::chrono::milliseconds(timer.period_ms), timer.message,
                           timer.payload});
  }
  turn.passivates = scope.passivate;
  turn.erases = scope.erase;
  return turn;
}

}  // namespace

World::World(const Plan& plan)
    : plan_(plan),
      kinds_(plan.kinds),
      scripts_(plan.scripts),
      now_(start_of_time),
      store_([this] { return now_; }),
      crash_(plan.crash) {
  for (auto& [name, kind] : kinds_) {
    kind.make = [this, &hosted = plan.kinds.at(name)] {
      return std::make_unique<WatchedInstance>(hosted.make(), [this, &hosted](
                                                                  std::size_t message,
                                                                  const TurnScope& scope,
                                                                  const HandlerEnd& end) {
        const bool goes =
            end.kind == HandlerEnd::Kind::reply || end.kind == HandlerEnd::Kind::rejected;
        if (!goes || hosted.messages[message].query) return;
        ran_[scope.entity].push_back({scope.operation, handled_by(hosted, message, scope, end)});
      });
    };
  }
  own();
}

// ---- from outside --------------------------------------------------------------------------------------------------

void World::say_until_heard(std::int64_t in_ms, const EntityId& to, const std::string& message,
                            const std::string& payload, const Answered& heard) {
  const OperationId operation = hash128(1, std::to_string(++said_));
  say(in_ms,
      std::make_shared<const Said>(Said{to, message, payload, operation, now_ + in_ms, heard}));
}

void World::say(std::int64_t in_ms, const std::shared_ptr<const Said>& said) {
  add(in_ms, [this, said] {
    Ask ask;
    ask.entity = said->to;
    ask.message = said->message;
    ask.payload = said->payload;
    ask.operation = said->operation;
    ask.operation_ms = said->since;
    auto heard = std::make_shared<bool>(false);
    this->ask(std::move(ask), [this, heard, said](Result<std::string> answer) {
      *heard = true;
      const bool again =
          !answer.ok() &&
          (answer.error().code == Code::timeout || answer.error().code == Code::unavailable ||
           answer.error().code == Code::unknown || answer.error().code == Code::overloaded);
      if (again) return say(say_again, said);
      if (said->heard) said->heard(std::move(answer));
    });
    repeat_after_crash(life_, heard, [this, said] { say(0, said); });
  });
}

/// Who waits for an answer of an owner that died asks the next one.
void World::repeat_after_crash(std::uint64_t life, const std::shared_ptr<bool>& heard,
                               const std::function<void()>& again) {
  add(say_again, [this, life, heard, again] {
    if (*heard) return;
    if (life != life_) return again();
    repeat_after_crash(life, heard, again);
  });
}

void World::add(std::int64_t in_ms, std::function<void()> what) {
  agenda_.emplace(Time{now_ + std::max<std::int64_t>(in_ms, 0), ++added_}, std::move(what));
}

void World::spin(std::int64_t until, const std::function<bool(std::int64_t)>& enough) {
  for (std::size_t i = 0; i < happenings_most && !agenda_.empty(); ++i) {
    const auto next = agenda_.begin();
    if (next->first.first > until) break;
    if (enough(next->first.first)) return;
    now_ = std::max(now_, next->first.first);
    const std::function<void()> what = std::move(next->second);
    agenda_.erase(next);
    what();
    if (crashed_) die();
  }
  now_ = std::max(now_, std::min(until, now_ + 1));
}

void World::pass(std::int64_t ms) {
  const std::int64_t until = now_ + ms;
  spin(until, [](std::int64_t) { return false; });
  now_ = std::max(now_, until);
}

void World::die() {
  ++life_;
  entities_.clear();
  machines_.clear();
  waiting_.clear();
  timers_.clear();
  timer_failures_.clear();
  ran_.clear();
  crashed_ = false;
  own();
  recover();
}

void World::own() {
  const std::optional<OwnerToken> before =
      token_.incarnation ? std::optional(token_) : std::nullopt;
  const Incarnation next{1, ++owners_};
  store_.owners().exchange(
      Exchange{shard, before, next, std::to_string(owners_), ViewVersion{1}, {}},
      [this](Result<Exchanged> answer) {
        assert(answer.ok() && answer->done);
        token_ = *answer->record.token;
      });
}

void World::recover() {
  store_.state().read_outbox(shard, token_, "", 100'000, [this](Result<OutboxPage> page) {
    for (const OutboxEntry& entry : page->entries) outbox({entry.bytes});
  });
  const std::int64_t all = std::numeric_limits<std::int64_t>::max() / 2;
  store_.state().read_timers(shard, token_, all, 100'000, [this](Result<TimerPage> page) {
    for (TimerEntry& timer : page->timers) {
      timers({TimerWrite{timer.member, timer.due_ms, timer.message}});
    }
  });
  SagaQuery query;
  query.shard = shard;
  query.token = token_;
  store_.sagas().list(query, [this](Result<SagaPage> page) {
    for (const SagaRow& row : page->rows) {
      later(0, [this, saga = row.saga] {
        Machine& machine = machine_of(saga, true);
        drive(saga, machine.machine->recover(moment()));
      });
    }
  });
}

void World::deliver(const Envelope& envelope) {
  if (is_saga_call(envelope.message)) {
    Machine& machine = machine_of(envelope.entity, false);
    return drive(envelope.entity, machine.machine->arrived(envelope, moment()));
  }
  const auto kind = kinds_.find(envelope.entity.kind);
  if (kind == kinds_.end()) {
    return answer(envelope,
                  Error{Code::not_found, "the test hosts no kind " + envelope.entity.kind});
  }
  messages_[{envelope.entity, envelope.operation}] = envelope.message;
  std::unique_ptr<Participant>& entity = entities_[envelope.entity];
  if (!entity) entity = std::make_unique<Participant>(*this, kind->second, envelope.entity);
  entity->activation.arrived(Envelope(envelope));
}

void World::finish(std::uint64_t number, Result<std::string> answer) {
  const auto waiting = waiting_.find(number);
  if (waiting == waiting_.end()) return;
  const Answered answered = std::move(waiting->second);
  waiting_.erase(waiting);
  answered(std::move(answer));
}

void World::relay(const PendingTell& tell) {
  Ask ask;
  ask.entity = tell.target;
  ask.message = tell.message;
  ask.payload = tell.payload;
  ask.operation = tell.operation;
  ask.operation_ms = tell.at_ms;
  this->ask(std::move(ask), [this, tell](const Result<std::string>& answer) {
    const bool again = !answer.ok() && answer.error().code != Code::rejected &&
                       answer.error().code != Code::not_found &&
                       answer.error().code != Code::malformed;
    if (again) later(say_again, [this, tell] { relay(tell); });
  });
}

void World::fire(const std::string& member, std::int64_t due) {
  const auto timer = timers_.find(member);
  if (timer == timers_.end() || timer->second.due_ms != due) return;
  if (const std::optional<SagaTimer> of_saga = parse_saga_timer(member)) {
    Machine& machine = machine_of(of_saga->saga, false);
    return drive(of_saga->saga, machine.machine->fired(of_saga->name, moment()));
  }
  const Result<EntityId> entity = entity_of_timer(member);
  const Result<TimerMessage> message = parse_timer_message(timer->second.message);
  if (!entity || !message) return;
  Envelope envelope;
  envelope.kind = MessageClass::timer;
  envelope.entity = *entity;
  envelope.message = message->message;
  envelope.payload = message->payload;
  envelope.repeat = message->repeat;
  envelope.trace = message->trace;
  envelope.operation = operation_of_timer(member, due);
  envelope.operation_ms = due;
  envelope.timer = member;
  deliver(envelope);
}

// ---- for participants ---------------------------------------------------------------------------------------------

void World::later(std::int64_t in_ms, std::function<void()> what) {
  add(in_ms, [this, life = life_, what = std::move(what)] {
    if (life == life_ && !crashed_) what();
  });
}

template <class Value>
void World::commit(const std::function<void(Then<Value>)>& run, Then<Value> then) {
  if (crashed_) return;
  if (!counting_) return run(std::move(then));
  const std::size_t number = commits_++;
  if (before_commit_) before_commit_(number);
  const bool crashes = crash_ && crash_->first == number;
  if (!crashes) return run(std::move(then));
  if (crash_->second == Crash::after_commit) run([](const Result<Value>&) {});
  crashed_ = true;
}

void World::count_commits(std::function<void(std::size_t)> before_commit) {
  counting_ = true;
  before_commit_ = std::move(before_commit);
}

void World::ask(Ask ask, Answered answered) {
  const std::uint64_t number = ++asks_made_;
  Envelope envelope;
  envelope.kind = ask.query ? MessageClass::query : MessageClass::ask;
  envelope.entity = std::move(ask.entity);
  envelope.message = std::move(ask.message);
  envelope.payload = std::move(ask.payload);
  envelope.path = std::move(ask.path);
  envelope.operation = ask.operation ? ask.operation : hash128(0, std::to_string(number));
  envelope.operation_ms = ask.operation ? ask.operation_ms : now_;
  const std::int64_t timeout = ask.timeout.count() > 0 ? ask.timeout.count() : 5000;
  envelope.deadline_ms = now_ + timeout;
  envelope.reply_to = Incarnation{1, 1};
  envelope.correlation = number;
  envelope.saga = ask.saga;
  waiting_[number] = std::move(answered);
  later(0, [this, envelope] { deliver(envelope); });
  later(timeout, [this, number] {
    finish(number, Error{Code::timeout, "no answer came in time"});
  });
}

void World::answer(const Envelope& to, Result<std::string> answer) {
  if (crashed_) return;
  later(0, [this, number = to.correlation, answer = std::move(answer)]() mutable {
    finish(number, std::move(answer));
  });
}

void World::outbox(const std::vector<std::string>& entries) {
  for (const std::string& bytes : entries) {
    if (is_event(bytes)) {
      Result<PendingEvent> event = parse_event(bytes);
      assert(event.ok());
      if (!event_ids_.insert(event->id).second) continue;  // as the stream does
      events_.push_back({std::move(event->source), std::move(event->name),
                         std::move(event->payload), event->number});
      continue;
    }
    const Result<PendingTell> tell = parse_tell(bytes);
    assert(tell.ok());
    later(0, [this, tell = *tell] { relay(tell); });
  }
}

void World::timers(const std::vector<TimerWrite>& writes) {
  for (const TimerWrite& write : writes) {
    timer_failures_.erase(write.member);
    if (!write.due_ms) {
      timers_.erase(write.member);
      continue;
    }
    timers_[write.member] = TimerEntry{write.member, *write.due_ms, write.message};
    later(std::max<std::int64_t>(*write.due_ms - now_, 0),
          [this, member = write.member, due = *write.due_ms] { fire(member, due); });
  }
}

void World::timer_failed(const std::string& member) {
  const auto timer = timers_.find(member);
  if (timer == timers_.end()) return;
  const unsigned failures = std::min(timer_failures_[member]++, 10U);
  const std::int64_t wait = std::min(say_again << failures, timer_again_most);
  later(wait, [this, member, due = timer->second.due_ms] { fire(member, due); });
}

std::vector<Handled> World::take_turns(const Commit& commit) {
  std::set<OperationId> in_it;
  for (const auto& [operation, record] : commit.operations) in_it.insert(operation);
  for (const auto& [operation, record] : commit.saga_operations) in_it.insert(operation);
  for (const auto& [member, due] : commit.fired) in_it.insert(operation_of_timer(member, due));
  std::vector<Handled> turns;
  for (auto& [operation, turn] : std::exchange(ran_[commit.entity], {})) {
    if (in_it.contains(operation)) turns.push_back(std::move(turn));
  }
  return turns;
}

void World::written(const std::vector<Handled>& turns) {
  turns_.insert(turns_.end(), turns.begin(), turns.end());
}

void World::effective(const EntityId& entity,
                      const std::vector<std::pair<OperationId, OperationRecord>>& operations) {
  if (!counting_) return;
  for (const auto& [operation, record] : operations) {
    if (record.type != OperationRecord::Type::reply) continue;
    const auto message = messages_.find({entity, operation});
    if (message != messages_.end()) took_effect_[{message->second, entity.key}] += 1;
  }
}

std::string World::state_of(const EntityId& entity) {
  Load load;
  load.shard = shard;
  load.token = token_;
  load.entity = entity;
  std::string state;
  store_.state().load(load, [&state](Result<Loaded> answer) {
    if (answer.ok()) state = std::move(answer->state);
  });
  return state;
}

// ---- sagas ---------------------------------------------------------------------------------------------------------

World::Machine& World::machine_of(const EntityId& saga, bool after_crash) {
  Machine& machine = machines_[saga];
  if (!machine.machine) {
    machine.machine = std::make_unique<SagaMachine>(plan_.sagas, SagaMachineLimits{},
                                                    SagaSeat{shard, token_, saga},
                                                    SagaMachine::Origin{after_crash, false});
  }
  return machine;
}

void World::drive(const EntityId& saga, SagaActions actions) {
  for (SagaAction& action : actions) {
    std::visit([&](auto& what) { act(saga, what); }, action);
  }
  arm(saga);
}

void World::arm(const EntityId& saga) {
  Machine& machine = machines_.at(saga);
  const std::optional<std::int64_t> wake = machine.machine->wake_ms();
  if (!wake || *wake >= machine.armed_at) return;
  machine.armed_at = *wake;
  later(*wake - now_, [this, saga, at = *wake] {
    Machine& known = machines_.at(saga);
    if (known.armed_at != at) return;
    known.armed_at = std::numeric_limits<std::int64_t>::max();
    drive(saga, known.machine->woken(moment()));
  });
}

template <class Value, class Tell>
Then<Value> World::to_machine(const EntityId& saga, Tell tell) {
  return [this, saga, tell](Result<Value> answer) {
    later(0, [this, saga, tell, answer = std::move(answer)]() mutable {
      drive(saga, tell(*machines_.at(saga).machine, std::move(answer)));
    });
  };
}

void World::act(const EntityId& saga, saga_action::Create& action) {
  commit<SagaCreated>(
      [&](Then<SagaCreated> then) { store_.sagas().create(action.create, std::move(then)); },
      to_machine<SagaCreated>(saga, [this](SagaMachine& machine, Result<SagaCreated> answer) {
        return machine.created(std::move(answer), moment());
      }));
}

void World::act(const EntityId& saga, saga_action::Load& action) {
  store_.sagas().load(action.load, to_machine<SagaLoaded>(saga, [this](SagaMachine& machine,
                                                                       Result<SagaLoaded> answer) {
                        return machine.loaded(std::move(answer), moment());
                      }));
}

void World::act(const EntityId& saga, saga_action::Write& action) {
  commit<SagaCommitted>(
      [&](Then<SagaCommitted> then) { store_.sagas().commit(action.commit, std::move(then)); },
      to_machine<SagaCommitted>(saga, [this](SagaMachine& machine, Result<SagaCommitted> answer) {
        return machine.committed(std::move(answer), moment());
      }));
}

void World::act(const EntityId& saga, saga_action::Send& action) {
  const bool back = action.task.verb == TaskVerb::undo || action.task.verb == TaskVerb::settle_undo;
  const bool settles =
      action.task.verb == TaskVerb::settle || action.task.verb == TaskVerb::settle_undo;
  Script none;
  const auto known = scripts_.find((back ? "undo " : "") + action.task.step);
  const bool scripted = saga == plan_.root && known != scripts_.end() && !settles;
  Script& script = scripted ? known->second : none;
  const auto told = [this, saga, task = action.task,
                     attempt = action.attempt](Result<StepReply> reply) {
    drive(saga, machines_.at(saga).machine->answered(task, attempt, reply, moment()));
  };
  if (script.reject) {
    return later(0, [told, why = *script.reject] { told(Error{Code::rejected, why}); });
  }
  if (script.fail > 0) {
    script.fail -= 1;
    return later(0, [told] { told(Error{Code::unavailable, "the test says so"}); });
  }
  const bool lost = script.lose > 0;
  if (lost) script.lose -= 1;
  const Ask ask = actors::step_ask(action.task, action.call, shard, token_.epoch);
  const auto answered = [this, told, lost, task = action.task](Result<std::string> answer) {
    if (lost) {
      return later(task.timeout.count(), [told] {
        told(Error{Code::timeout, "the test lost it"});
      });
    }
    told(actors::step_reply(task, std::move(answer)));
  };
  later(script.delay, [this, ask, answered] { this->ask(ask, answered); });
  if (script.twice) {
    later(script.delay, [this, ask] { this->ask(ask, [](const Result<std::string>&) {}); });
  }
}

void World::act(const EntityId& saga, saga_action::CallChild& action) {
  Ask ask;
  ask.entity = action.child;
  ask.message = action.message;
  ask.payload = action.payload;
  ask.timeout = action.task.timeout;
  this->ask(std::move(ask), [this, saga, task = action.task,
                             attempt = action.attempt](const Result<std::string>& answer) {
    const Result<StepReply> reply =
        answer ? Result<StepReply>(StepReply{}) : Result<StepReply>(answer.error());
    drive(saga, machines_.at(saga).machine->answered(task, attempt, reply, moment()));
  });
}

void World::act(const EntityId& saga, saga_action::Forget& action) {
  ask(actors::forget_ask(action, shard, token_.epoch),
      [this, saga](const Result<std::string>& answer) {
        drive(saga, machines_.at(saga).machine->forgot(answer.ok()));
      });
}

void World::act(const EntityId&, saga_action::Answer& action) {
  answer(action.to, std::move(action.answer));
}

void World::act(const EntityId&, saga_action::Tidy& action) {
  timers_.erase(action.member);
  SagaTidy tidy;
  tidy.shard = shard;
  tidy.token = token_;
  tidy.member = action.member;
  store_.sagas().tidy(tidy, [](const Result<bool>&) {});
}

void World::act(const EntityId&, saga_action::Timers& action) { timers(action.timers); }
void World::act(const EntityId&, saga_action::Outbox& action) { outbox(action.entries); }
void World::act(const EntityId&, saga_action::Fenced&) { assert(false); }

Result<SagaLoaded> World::stored_saga(const EntityId& saga) {
  SagaLoad load;
  load.shard = shard;
  load.token = token_;
  load.saga = saga;
  Result<SagaLoaded> found = Error{};
  store_.sagas().load(load, [&found](Result<SagaLoaded> answer) { found = std::move(answer); });
  return found;
}

const SagaMachine* World::machine_in_memory(const EntityId& saga) const {
  const auto machine = machines_.find(saga);
  return machine == machines_.end() ? nullptr : machine->second.machine.get();
}

// ---- participants --------------------------------------------------------------------------------------------------

Participant::Participant(World& world, const Kind& kind, const EntityId& entity)
    : activation(*this, kind, world, activation_limits, shard, entity, world.token()),
      world_(world),
      entity_(entity) {}

std::int64_t Participant::now_ms() { return world_.now(); }

void Participant::load(Load load) {
  world_.store().state().load(load, [this](Result<Loaded> answer) {
    world_.later(
        0, [this, answer = std::move(answer)]() mutable { activation.loaded(std::move(answer)); });
  });
}

void Participant::commit(Commit commit) {
  const std::string version = commit.next;
  const OwnerToken token = commit.token;
  auto wanted = std::make_shared<Commit>(std::move(commit));
  auto turns = std::make_shared<std::vector<Handled>>(world_.take_turns(*wanted));
  world_.commit<Committed>(
      [this, wanted, turns](Then<Committed> then) {
        world_.store().state().commit(
            *wanted, [this, wanted, turns, then](Result<Committed> answer) {
              if (answer.ok() && answer->outcome == Committed::Outcome::ok) {
                world_.written(*turns);
                world_.effective(entity_, wanted->operations);
                world_.effective(entity_, wanted->saga_operations);
              }
              then(std::move(answer));
            });
      },
      [this, version, token](Result<Committed> answer) {
        world_.later(0, [this, version, token, answer = std::move(answer)]() mutable {
          activation.committed(version, token, std::move(answer));
        });
      });
}

void Participant::answer(const Envelope& to, Result<std::string> answer) {
  world_.answer(to, std::move(answer));
}

void Participant::outbox_written(std::vector<std::string> entries, std::vector<std::string>) {
  world_.outbox(entries);
}

void Participant::timers_written(std::vector<TimerWrite> timers) { world_.timers(timers); }

void Participant::timer_failed(const Envelope& timer, const Error&) {
  world_.timer_failed(timer.timer);
}

void Participant::ask(Ask ask, std::uint64_t number) {
  world_.ask(std::move(ask), [this, number](Result<std::string> answer) {
    activation.asked(number, std::move(answer));
  });
}

Epoch Participant::source_epoch(ShardId saga_shard) { return world_.source(saga_shard); }
void Participant::raise_source(ShardId saga_shard, Epoch epoch) {
  world_.source(saga_shard) = std::max(world_.source(saga_shard), epoch);
}

void Participant::wake_at(std::int64_t at_ms) {
  world_.later(at_ms - world_.now(), [this] { activation.woken(); });
}

}  // namespace catga::test
