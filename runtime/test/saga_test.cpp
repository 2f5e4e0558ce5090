// The world of one run: a store in memory, a clock, and everything that is to happen, in the order of its time.
//
// A crash throws away every machine and every thing that was to happen inside, but not what people outside do: they
// repeat themselves until they are answered, as callers do.
#include "catga/runtime/test/saga_test.hpp"

#include "catga/entities/saga/calls.hpp"
#include "catga/entities/saga/journal.hpp"
#include "catga/persistence/memory/memory_stores.hpp"
#include "catga/persistence/saga_store.hpp"
#include "catga/runtime/activation.hpp"
#include "catga/runtime/actors/saga_asks.hpp"
#include "catga/runtime/outbox_entry.hpp"
#include "catga/runtime/saga_machine.hpp"
#include "catga/sharding/bytes.hpp"
#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <cassert>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>

namespace catga::test {

namespace {

constexpr std::int64_t start_of_time = 1'700'000'000'000;
constexpr std::int64_t say_again = 1000;
constexpr std::int64_t epilogue = 3'600'000;  // after the end: children, participants that forget
constexpr std::size_t happenings_most = 2'000'000;
const ShardId shard{0};

struct Script {
  std::optional<std::string> reject;
  std::size_t lose = 0, fail = 0;
  std::int64_t delay = 0;
  bool twice = false;
};

struct Plan {
  SagaDefinitions sagas;
  std::map<std::string, Kind, std::less<>> kinds;
  EntityId root;
  std::string start;  ///< payload of the start
  struct Given {
    EntityId entity;
    std::string message, payload;
  };
  std::vector<Given> given;
  struct Signal {
    std::int64_t after = 0;
    std::string name, payload;
  };
  std::vector<Signal> signals;
  std::map<std::string, Script> scripts;
  std::optional<std::pair<std::size_t, Crash>> crash;
  std::optional<std::size_t> cancel;
  std::int64_t patience = 30LL * 24 * 3'600'000;
};

class World;

/// One entity in memory.
class Participant final : private ActivationHost {
 public:
  Participant(World& world, const Kind& kind, const EntityId& entity);
  Activation activation;

 private:
  std::int64_t now_ms() override;
  std::int64_t cluster_ms() override { return now_ms(); }
  std::uint32_t random() override { return ++random_; }
  bool may_run() override { return true; }
  void load(Load load) override;
  void commit(Commit commit) override;
  void answer(const Envelope& to, Result<std::string> answer) override;
  void outbox_written(std::vector<std::string> entries, std::vector<std::string> ids) override;
  void timers_written(std::vector<TimerWrite> timers) override;
  void timer_failed(const Envelope& timer, const Error& error) override;
  void timers_unsure(std::vector<std::string>) override {}
  void ask(Ask ask, std::uint64_t number) override;
  void fenced(OwnerToken) override {}
  void wake_at(std::int64_t at_ms) override;
  Epoch source_epoch(ShardId saga_shard) override;
  void raise_source(ShardId saga_shard, Epoch epoch) override;
  void troubled(const Error&) override {}
  void turn_begins(const std::string&) override {}
  void turn_ends(const std::string&) override {}

  World& world_;
  const EntityId entity_;
  std::uint32_t random_ = 0;
};

class World final : public Messenger {
 public:
  explicit World(const Plan& plan) : plan_(plan), store_([this] { return now_; }) {
    scripts_ = plan.scripts;
    own();
  }

  SagaRun run() {
    for (const Plan::Given& given : plan_.given) {
      say_until_heard(0, given.entity, given.message, given.payload);
    }
    spin(now_ + 1000, [](std::int64_t) { return false; });
    began_ = now_;
    counting_ = true;
    say_until_heard(0, plan_.root, std::string(saga_call::start), plan_.start);
    std::size_t number = 0;
    for (const Plan::Signal& signal : plan_.signals) {
      const SignalSaga said{signal.name, "signal-" + std::to_string(++number), signal.payload,
                            "test"};
      say_until_heard(signal.after, plan_.root, std::string(saga_call::signal), encode(said));
    }
    std::optional<std::int64_t> ended;
    spin(began_ + plan_.patience, [&](std::int64_t next_ms) {
      if (!ended && over()) ended = now_;
      return ended && next_ms > *ended + epilogue;
    });
    return report(ended.value_or(now_));
  }

  // ---- for participants and machines ----

  std::int64_t now() const { return now_; }
  MemoryStores& store() { return store_; }
  const OwnerToken& token() const { return token_; }
  Messenger& messenger() { return *this; }

  /// Inside: gone with the owner.
  void later(std::int64_t in_ms, std::function<void()> what) {
    add(in_ms, [this, life = life_, what = std::move(what)] {
      if (life == life_ && !crashed_) what();
    });
  }

  /// Counts a commit and crashes at the chosen one. `run` writes; what it gives to `then` is not heard after a crash.
  template <class Value>
  void commit(const std::function<void(Then<Value>)>& run, Then<Value> then) {
    if (crashed_) return;
    if (!counting_) return run(std::move(then));
    const std::size_t number = commits_++;
    if (plan_.cancel && *plan_.cancel == number) {
      say_until_heard(0, plan_.root, std::string(saga_call::cancel),
                      encode(CancelSaga{"cancelled by the test", "test"}));
    }
    const bool crashes = plan_.crash && plan_.crash->first == number;
    if (!crashes) return run(std::move(then));
    if (plan_.crash->second == Crash::after_commit) run([](const Result<Value>&) {});
    crashed_ = true;
  }

  void ask(Ask ask, Answered answered) override {
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
  Status tell(Ask) override { return Error{Code::failed, "nobody tells here"}; }

  void answer(const Envelope& to, Result<std::string> answer) {
    if (crashed_) return;
    later(0, [this, number = to.correlation, answer = std::move(answer)]() mutable {
      finish(number, std::move(answer));
    });
  }

  void outbox(const std::vector<std::string>& entries) {
    for (const std::string& bytes : entries) {
      if (is_event(bytes)) continue;  // nobody hears events here
      const Result<PendingTell> tell = parse_tell(bytes);
      assert(tell.ok());
      later(0, [this, tell = *tell] { relay(tell); });
    }
  }

  void timers(const std::vector<TimerWrite>& writes) {
    for (const TimerWrite& write : writes) {
      if (!write.due_ms) {
        timers_.erase(write.member);
        continue;
      }
      timers_[write.member] = TimerEntry{write.member, *write.due_ms, write.message};
      later(std::max<std::int64_t>(*write.due_ms - now_, 0),
            [this, member = write.member, due = *write.due_ms] { fire(member, due); });
    }
  }

  void fire_again(const std::string& member) {
    const auto timer = timers_.find(member);
    if (timer == timers_.end()) return;
    later(say_again, [this, member, due = timer->second.due_ms] { fire(member, due); });
  }

  Epoch& source(ShardId saga_shard) { return sources_[saga_shard.value]; }
  void remember(const Envelope& envelope) {
    messages_[{envelope.entity, envelope.operation}] = envelope.message;
  }
  void effective(const EntityId& entity,
                 const std::vector<std::pair<OperationId, OperationRecord>>& operations) {
    if (!counting_) return;
    for (const auto& [operation, record] : operations) {
      if (record.type != OperationRecord::Type::reply) continue;
      const auto message = messages_.find({entity, operation});
      if (message != messages_.end()) took_effect_[{message->second, entity.key}] += 1;
    }
  }

 private:
  struct Machine {
    std::unique_ptr<SagaMachine> machine;
    std::int64_t armed_at = std::numeric_limits<std::int64_t>::max();
  };
  using Time = std::pair<std::int64_t, std::uint64_t>;

  // ---- what happens ----

  void add(std::int64_t in_ms, std::function<void()> what) {
    agenda_.emplace(Time{now_ + std::max<std::int64_t>(in_ms, 0), ++added_}, std::move(what));
  }

  void spin(std::int64_t until, const std::function<bool(std::int64_t)>& enough) {
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

  /// The owner is gone with all it knew; the next one reads what there is.
  void die() {
    ++life_;
    entities_.clear();
    machines_.clear();
    waiting_.clear();
    timers_.clear();
    crashed_ = false;
    own();
    recover();
  }

  void own() {
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

  void recover() {
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

  void deliver(const Envelope& envelope) {
    if (is_saga_call(envelope.message)) {
      Machine& machine = machine_of(envelope.entity, false);
      return drive(envelope.entity, machine.machine->arrived(envelope, moment()));
    }
    const auto kind = plan_.kinds.find(envelope.entity.kind);
    if (kind == plan_.kinds.end()) {
      return answer(envelope,
                    Error{Code::not_found, "the test hosts no kind " + envelope.entity.kind});
    }
    remember(envelope);
    std::unique_ptr<Participant>& entity = entities_[envelope.entity];
    if (!entity) entity = std::make_unique<Participant>(*this, kind->second, envelope.entity);
    entity->activation.arrived(Envelope(envelope));
  }

  void finish(std::uint64_t number, Result<std::string> answer) {
    const auto waiting = waiting_.find(number);
    if (waiting == waiting_.end()) return;
    const Answered answered = std::move(waiting->second);
    waiting_.erase(waiting);
    answered(std::move(answer));
  }

  void relay(const PendingTell& tell) {
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

  void fire(const std::string& member, std::int64_t due) {
    const auto timer = timers_.find(member);
    if (timer == timers_.end() || timer->second.due_ms != due) return;
    if (const std::optional<SagaTimer> of_saga = parse_saga_timer(member)) {
      Machine& machine = machine_of(of_saga->saga, false);
      return drive(of_saga->saga, machine.machine->fired(of_saga->name, moment()));
    }
    const Result<EntityId> entity = entity_of_timer(member);
    const Result<TimerMessage> message = parse_timer_message(timer->second.message);
    if (!entity || !message) return;
    std::string name = member;
    ByteWriter(name).i64(due);
    Envelope envelope;
    envelope.kind = MessageClass::timer;
    envelope.entity = *entity;
    envelope.message = message->message;
    envelope.payload = message->payload;
    envelope.operation = hash128(48, name);
    envelope.operation_ms = due;
    envelope.timer = member;
    deliver(envelope);
  }

  /// From outside: repeated until it is answered for good.
  void say_until_heard(std::int64_t in_ms, const EntityId& to, const std::string& message,
                       const std::string& payload) {
    const OperationId operation = hash128(1, std::to_string(++said_));
    say(in_ms, to, message, payload, operation, now_ + in_ms);
  }
  void say(std::int64_t in_ms, const EntityId& to, const std::string& message,
           const std::string& payload, OperationId operation, std::int64_t since) {
    add(in_ms, [this, to, message, payload, operation, since] {
      Ask ask;
      ask.entity = to;
      ask.message = message;
      ask.payload = payload;
      ask.operation = operation;
      ask.operation_ms = since;
      auto heard = std::make_shared<bool>(false);
      this->ask(std::move(ask), [this, heard, to, message, payload, operation,
                                 since](const Result<std::string>& answer) {
        *heard = true;
        const bool again =
            !answer.ok() &&
            (answer.error().code == Code::timeout || answer.error().code == Code::unavailable ||
             answer.error().code == Code::unknown || answer.error().code == Code::overloaded);
        if (again) say(say_again, to, message, payload, operation, since);
      });
      repeat_after_crash(life_, heard, [this, to, message, payload, operation, since] {
        say(0, to, message, payload, operation, since);
      });
    });
  }
  /// Who waits for an answer of an owner that died asks the next one.
  void repeat_after_crash(std::uint64_t life, const std::shared_ptr<bool>& heard,
                          const std::function<void()>& again) {
    add(say_again, [this, life, heard, again] {
      if (*heard) return;
      if (life != life_) return again();
      repeat_after_crash(life, heard, again);
    });
  }

  // ---- sagas ----

  SagaMoment moment() const { return {now_, now_, 0.5}; }

  Machine& machine_of(const EntityId& saga, bool after_crash) {
    Machine& machine = machines_[saga];
    if (!machine.machine) {
      machine.machine = std::make_unique<SagaMachine>(plan_.sagas, SagaMachineLimits{},
                                                      SagaSeat{shard, token_, saga},
                                                      SagaMachine::Origin{after_crash, false});
    }
    return machine;
  }

  void drive(const EntityId& saga, SagaActions actions) {
    for (SagaAction& action : actions) {
      std::visit([&](auto& what) { act(saga, what); }, action);
    }
    arm(saga);
  }

  void arm(const EntityId& saga) {
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

  /// The store's answer, as a thing that happens later.
  template <class Value, class Tell>
  Then<Value> to_machine(const EntityId& saga, Tell tell) {
    return [this, saga, tell](Result<Value> answer) {
      later(0, [this, saga, tell, answer = std::move(answer)]() mutable {
        drive(saga, tell(*machines_.at(saga).machine, std::move(answer)));
      });
    };
  }

  void act(const EntityId& saga, saga_action::Create& action) {
    commit<SagaCreated>(
        [&](Then<SagaCreated> then) { store_.sagas().create(action.create, std::move(then)); },
        to_machine<SagaCreated>(saga, [this](SagaMachine& machine, Result<SagaCreated> answer) {
          return machine.created(std::move(answer), moment());
        }));
  }
  void act(const EntityId& saga, saga_action::Load& action) {
    store_.sagas().load(
        action.load,
        to_machine<SagaLoaded>(saga, [this](SagaMachine& machine, Result<SagaLoaded> answer) {
          return machine.loaded(std::move(answer), moment());
        }));
  }
  void act(const EntityId& saga, saga_action::Write& action) {
    commit<SagaCommitted>(
        [&](Then<SagaCommitted> then) { store_.sagas().commit(action.commit, std::move(then)); },
        to_machine<SagaCommitted>(saga, [this](SagaMachine& machine, Result<SagaCommitted> answer) {
          return machine.committed(std::move(answer), moment());
        }));
  }

  void act(const EntityId& saga, saga_action::Send& action) {
    const bool back =
        action.task.verb == TaskVerb::undo || action.task.verb == TaskVerb::settle_undo;
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
  void act(const EntityId& saga, saga_action::CallChild& action) {
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
  void act(const EntityId&, saga_action::Forget& action) {
    for (Ask& ask : actors::forget_asks(action, shard, token_.epoch)) {
      this->ask(std::move(ask), [](const Result<std::string>&) {});
    }
  }
  void act(const EntityId&, saga_action::Answer& action) {
    answer(action.to, std::move(action.answer));
  }
  void act(const EntityId&, saga_action::Timers& action) { timers(action.timers); }
  void act(const EntityId&, saga_action::Tidy& action) {
    timers_.erase(action.member);
    SagaTidy tidy;
    tidy.shard = shard;
    tidy.token = token_;
    tidy.member = action.member;
    store_.sagas().tidy(tidy, [](const Result<bool>&) {});
  }
  void act(const EntityId&, saga_action::Outbox& action) { outbox(action.entries); }
  void act(const EntityId&, saga_action::Tell&) {}
  void act(const EntityId&, saga_action::Fenced&) { assert(false); }

  // ---- the end ----

  Result<SagaLoaded> root() {
    SagaLoad load;
    load.shard = shard;
    load.token = token_;
    load.saga = plan_.root;
    Result<SagaLoaded> found = Error{};
    store_.sagas().load(load, [&found](Result<SagaLoaded> answer) { found = std::move(answer); });
    return found;
  }

  bool over() {
    const auto machine = machines_.find(plan_.root);
    if (machine == machines_.end()) {  // the owner after a crash does not load what has ended
      const Result<SagaLoaded> stored = root();
      if (!stored || stored->outcome != SagaLoaded::Outcome::ok) return false;
      const std::string_view status = find_field(stored->fields, saga_field::status);
      return status == name_of(SagaStatus::completed) ||
             status == name_of(SagaStatus::compensated) || status == name_of(SagaStatus::aborted);
    }
    const std::optional<SagaStanding> standing = machine->second.machine->standing();
    return standing && has_ended(standing->status) && !machine->second.machine->writing();
  }

  SagaRun report(std::int64_t ended) {
    SagaRun run;
    run.commits = commits_;
    run.took_effect = took_effect_;
    run.lasted = std::chrono::milliseconds(ended - began_);
    const Result<SagaLoaded> stored = root();
    if (!stored || stored->outcome != SagaLoaded::Outcome::ok) {
      run.status = "never started";
      return run;
    }
    run.status = find_field(stored->fields, saga_field::status);
    run.cause = find_field(stored->fields, "why");
    const Result<std::vector<JournalEntry>> journal = decode_journal(stored->journal);
    if (!journal) return run;
    for (const JournalEntry& entry : *journal) {
      run.journal.push_back(std::string(name_of(entry.kind)) +
                            (entry.step.empty() ? "" : ' ' + entry.step));
    }
    Result<std::string> look = Error{};
    Ask question;
    question.entity = plan_.root;
    question.message = saga_call::look;
    question.payload = encode(LookAtSaga{false, true, false});
    question.query = true;
    ask(std::move(question), [&look](Result<std::string> answer) { look = std::move(answer); });
    spin(now_ + 1000, [&look](std::int64_t) { return look.ok(); });
    if (!look) return run;
    if (const Result<SagaLook> found = decode<SagaLook>(*look)) {
      run.state_bytes = found->state;
      run.text = found->text;
    }
    return run;
  }

  const Plan& plan_;
  std::map<std::string, Script> scripts_;
  std::int64_t now_ = start_of_time;
  MemoryStores store_;
  OwnerToken token_;
  std::uint64_t owners_ = 0, life_ = 0, added_ = 0, asks_made_ = 0, said_ = 0;
  bool crashed_ = false, counting_ = false;
  std::int64_t began_ = 0;
  std::size_t commits_ = 0;
  std::map<Time, std::function<void()>> agenda_;
  std::map<EntityId, std::unique_ptr<Participant>> entities_;
  std::map<EntityId, Machine> machines_;
  std::map<std::uint64_t, Answered> waiting_;
  std::map<std::string, TimerEntry> timers_;
  std::map<std::uint32_t, Epoch> sources_;
  std::map<std::pair<EntityId, OperationId>, std::string> messages_;
  std::map<std::pair<std::string, std::string>, std::size_t> took_effect_;
};

const ActivationLimits activation_limits;

Participant::Participant(World& world, const Kind& kind, const EntityId& entity)
    : activation(*this, kind, world.messenger(), activation_limits, shard, entity, world.token()),
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
  world_.commit<Committed>(
      [this, wanted](Then<Committed> then) {
        world_.store().state().commit(*wanted, [this, wanted, then](Result<Committed> answer) {
          if (answer.ok() && answer->outcome == Committed::Outcome::ok) {
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
  world_.fire_again(timer.timer);
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

}  // namespace

struct SagaTest::Private {
  Plan plan;
  std::string trouble;  ///< of the start's payload; empty: none
};

SagaTest::SagaTest(std::shared_ptr<const SagaDefinition> saga, std::string input, std::string id)
    : private_(std::make_unique<Private>()) {
  Plan& plan = private_->plan;
  plan.root = EntityId{saga->type, std::move(id)};
  Result<std::string> start = start_bytes(*saga, std::move(input), "test");
  if (start) {
    plan.start = std::move(*start);
  } else {
    private_->trouble = start.error().text;
  }
  plan.sagas.push_back(std::move(saga));
}

SagaTest::~SagaTest() = default;

SagaTest& SagaTest::add(Kind kind) {
  std::string name = kind.name;
  private_->plan.kinds.insert_or_assign(std::move(name), std::move(kind));
  return *this;
}
SagaTest& SagaTest::add(std::shared_ptr<const SagaDefinition> saga) {
  private_->plan.sagas.push_back(std::move(saga));
  return *this;
}
SagaTest& SagaTest::add_given(EntityId entity, std::string message, std::string payload) {
  private_->plan.given.push_back({std::move(entity), std::move(message), std::move(payload)});
  return *this;
}
SagaTest& SagaTest::add_signal(std::chrono::milliseconds after, std::string name,
                               std::string payload) {
  private_->plan.signals.push_back({after.count(), std::move(name), std::move(payload)});
  return *this;
}
SagaTest& SagaTest::reject(std::string step, std::string why) {
  private_->plan.scripts[std::move(step)].reject = std::move(why);
  return *this;
}
SagaTest& SagaTest::lose_reply(std::string step, std::size_t times) {
  private_->plan.scripts[std::move(step)].lose = times;
  return *this;
}
SagaTest& SagaTest::fail(std::string step, std::size_t times) {
  private_->plan.scripts[std::move(step)].fail = times;
  return *this;
}
SagaTest& SagaTest::delay(std::string step, std::chrono::milliseconds by) {
  private_->plan.scripts[std::move(step)].delay = by.count();
  return *this;
}
SagaTest& SagaTest::twice(std::string step) {
  private_->plan.scripts[std::move(step)].twice = true;
  return *this;
}
SagaTest& SagaTest::crash_at(std::size_t n, Crash when) {
  private_->plan.crash.emplace(n, when);
  return *this;
}
SagaTest& SagaTest::cancel_at(std::size_t n) {
  private_->plan.cancel = n;
  return *this;
}
SagaTest& SagaTest::patience(std::chrono::milliseconds how_long) {
  private_->plan.patience = how_long.count();
  return *this;
}

SagaRun SagaTest::run() {
  if (!private_->trouble.empty()) {
    SagaRun run;
    run.status = "never started";
    run.text = private_->trouble;
    return run;
  }
  SagaRun run = World(private_->plan).run();
  private_->plan.crash.reset();
  private_->plan.cancel.reset();
  return run;
}

}  // namespace catga::test
