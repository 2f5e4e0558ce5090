// Random sagas in a world that loses, doubles and delays messages, and whose owners die at any
// commit. After every entry somebody who has only the journal must decide the same. SAGA_SEED and
// SAGA_SEEDS in the environment choose the first seed and how many.
#include <catga/entities/codec.hpp>
#include <catga/entities/saga/answer.hpp>
#include <catga/entities/saga/builder.hpp>
#include <catga/entities/saga/decision.hpp>
#include <catga/entities/saga/requests.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

using namespace catga;
using namespace std::chrono_literals;

namespace {

/// What the saga remembers: the reply of each step.
struct Memory {
  std::map<std::string, std::string> got;
  CATGA_FIELDS(got);
};

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : bits_(seed) {}
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(bits_() % limit); }
  bool percent(std::size_t chance) { return below(100) < chance; }
  double fraction() { return static_cast<double>(bits_() % 1000) / 1000.0; }

 private:
  std::mt19937_64 bits_;
};

std::string told(const Memory& memory) {
  std::string all;
  for (const auto& [step, reply] : memory.got) all += step + '=' + reply + ' ';
  return all;
}

/// Steps whose lambda throws at present: an operator has to deploy a fix.
using Broken = std::set<std::string>;

StepDefinition random_step(Dice& dice, const std::string& name, bool before_pivot, Broken* broken) {
  StepDefinition step;
  step.name = name;
  const std::size_t sort = dice.below(100);
  step.sort = sort < 55   ? StepSort::call
              : sort < 70 ? StepSort::each
              : sort < 80 ? StepSort::sleep
              : sort < 90 ? StepSort::signal
                          : StepSort::child;
  step.timeout = std::chrono::milliseconds(step.waits_only() ? 1000 * (1 + dice.below(600)) : 5000);
  step.retries.attempts = static_cast<std::uint32_t>(1 + dice.below(4));
  if (step.sort == StepSort::each) {
    const std::size_t count = dice.below(5);
    step.count = [count](const SagaState&) { return count; };
  }
  if (dice.percent(20)) {
    const bool yes = dice.percent(50);
    step.when = [yes](const SagaState& state) {
      return yes || detail::in_type<Memory>(state).got.size() % 2 == 1;
    };
  }
  if (step.waits_only()) return step;
  step.call = [name, broken](const SagaState& state, std::size_t element) {
    if (broken->contains(name)) throw std::runtime_error("not fixed yet");
    return StepCall{EntityId{"thing", name}, "Do",
                    std::to_string(element) + ' ' + told(detail::in_type<Memory>(state))};
  };
  step.fold = [name](SagaState& state, std::size_t element, std::string_view reply) -> Status {
    detail::in_type<Memory>(state).got[name + '/' + std::to_string(element)] = reply;
    return Done{};
  };
  if (!before_pivot || dice.percent(30)) return step;
  step.undo_target = "thing";
  step.undo_message = "Undo";
  step.undo = [name](const SagaState& state, std::size_t element) {
    const std::string own = name + '/' + std::to_string(element);
    // Throws unless its own reply is there: an undo sees the state as its step left it.
    return StepCall{
        EntityId{"thing", name}, "Undo",
        detail::in_type<Memory>(state).got.at(own) + ' ' + told(detail::in_type<Memory>(state))};
  };
  return step;
}

SagaDefinition random_definition(Dice& dice, Broken* broken) {
  SagaDefinition definition;
  definition.type = "model";
  definition.version = 1;
  definition.decode_state = &detail::decode_typed<Memory>;
  const std::size_t stages = 1 + dice.below(7);
  const std::size_t pivot = dice.percent(50) ? dice.below(stages) : stages;
  for (std::size_t i = 0; i < stages; ++i) {
    SagaStage stage;
    const std::size_t width = i == pivot || dice.percent(60) ? 1 : 2 + dice.below(2);
    for (std::size_t k = 0; k < width; ++k) {
      const std::string name = "s" + std::to_string(i) + static_cast<char>('a' + k);
      stage.push_back(random_step(dice, name, i <= pivot, broken));
    }
    if (i == pivot && stage[0].sort != StepSort::each) {
      stage[0].pivot = true;
      stage[0].when = nullptr;
    }
    definition.stages.push_back(std::move(stage));
  }
  if (dice.percent(20)) definition.deadline = std::chrono::minutes(1 + dice.below(30));
  return definition;
}

/// Entities, children, and what happened to them.
struct World {
  enum class Kind { reply, rejected, tombstone };
  struct Record {
    Kind kind;
    std::string reply;
  };
  struct Child {
    std::string step;
    bool cancelled = false;
    std::string ended;
  };
  std::map<OperationId, Record> records;
  std::map<OperationId, std::string> payloads;
  std::map<std::string, Child> children;
  std::map<std::string, int> applied;
  std::map<std::string, int> undone;
  std::map<std::string, std::string> replies;
};

struct Copy {
  SagaTask task;
  StepCall call;
};

class Model {
 public:
  explicit Model(std::uint64_t seed)
      : dice_(seed), definition_(random_definition(dice_, &broken_)) {
    limits_.side_by_side = 2;
    limits_.compensation.attempts = static_cast<std::uint32_t>(2 + dice_.below(5));
    if (dice_.percent(50)) limits_.forward_stuck_after = 5s;
    if (dice_.percent(20)) limits_.retention = 2h;
    lost_ = std::array<std::size_t, 3>{10, 40, 75}[dice_.below(3)];
    refused_ = std::array<std::size_t, 3>{0, 3, 20}[dice_.below(3)];
    REQUIRE(check(definition_).ok());
  }

  void run() {
    saga_ = std::make_unique<SagaProgress>(definition_, "17");
    advance({*input_entry(encode(Memory{}), "test", now_)});
    for (int turn = 0; !has_ended(current_.status); ++turn) {
      REQUIRE(turn < 20'000);
      calm_ = turn > 400;  // at some time the world heals: then the saga has to end
      act();
    }
    check_end();
  }

 private:
  // One thing that happens.

  void act() {
    if (dice_.percent(5) && !calm_) return take_over();
    if (dice_.percent(10) && !copies_.empty()) return deliver_old_copy();
    if (dice_.percent(1) && !calm_) return cancel();
    if (dice_.percent(10)) return send_signal();
    if (dice_.percent(20) && end_a_child()) return;
    if (dice_.percent(4) && !calm_) return break_something();
    if (current_.status == SagaStatus::parked && dice_.percent(calm_ ? 40 : 10))
      return operate_it();
    for (const SagaTask& task : current_.tasks) {
      if (dice_.percent(40) || again_ms_[key_of(task)] > now_) continue;
      return send(task);
    }
    pass_time();
  }

  void take_over() {
    saga_ = std::make_unique<SagaProgress>(definition_, "17", journal_);
    again_ms_.clear();
    attempts_.clear();
    advance({});
  }

  void pass_time() {
    std::int64_t until = current_.wake_ms.value_or(now_ + 60'000);
    for (const SagaTask& task : current_.tasks) {
      const std::int64_t again = again_ms_[key_of(task)];
      until = std::min(until, std::max(again, now_ + 100));
    }
    if (!calm_ && dice_.percent(1)) until = current_.wake_ms.value_or(until);  // a long outage
    now_ = std::max(now_, until);
    advance({});
  }

  void cancel() {
    const Result<SagaEntries> entries = request_cancel(*saga_, "changed my mind", "caller", now_);
    CHECK(entries.ok() == !saga_->past_pivot());
    if (entries) advance(*entries);
  }

  void send_signal() {
    for (const SagaStage& stage : definition_.stages) {
      for (const StepDefinition& step : stage) {
        if (step.sort != StepSort::signal || !dice_.percent(60)) continue;
        return signal(step.name, "signal-" + std::to_string(dice_.below(3)), "yes");
      }
    }
  }

  void signal(const std::string& name, const std::string& id, std::string payload) {
    const bool known = saga_->signals().has(name, id);
    const Result<SagaEntries> entries =
        receive_signal(*saga_, {name, id, std::move(payload), "test"}, now_, limits_);
    REQUIRE(entries.ok());
    CHECK(entries->empty() == known);
    advance(*entries);
  }

  bool end_a_child() {
    for (auto& [id, child] : world_.children) {
      if (!child.ended.empty() && !dice_.percent(10)) continue;  // now and then it is told again
      if (child.ended.empty()) {
        const bool fails = child.cancelled ? dice_.percent(70) : !calm_ && dice_.percent(15);
        child.ended = fails ? "compensated" : "completed";
        if (!fails) ++world_.applied[child.step];
      }
      const std::string end = encode(ChildEnd{child.ended, "state of " + id, "why"});
      const std::string step = child.step, child_id = id;
      signal(step, child_id, end);
      return true;
    }
    return false;
  }

  void break_something() {
    const SagaStage& stage = definition_.stages[dice_.below(definition_.stages.size())];
    broken_.insert(stage[dice_.below(stage.size())].name);
  }

  void send(const SagaTask& task) {
    const Result<StepCall> call = call_of(*saga_, task);
    if (!call) return advance({poisoned(task, call.error(), now_)});
    if (task.verb == TaskVerb::run || task.verb == TaskVerb::undo) {
      // A participant compares requests: whatever was sent under an id is sent again.
      const auto [sent, first] = world_.payloads.emplace(task.operation, call->payload);
      CHECK(sent->second == call->payload);
    }
    if (task.verb == TaskVerb::undo) check_order_of_undos(task.step);
    Result<StepReply> reply = Error{Code::timeout, "no answer"};
    const std::size_t fate = calm_ ? 100 : dice_.below(100);
    if (fate < lost_) {
      copies_.push_back({task, *call});  // arrives later, or never
    } else {
      Result<StepReply> answer = execute({task, *call});
      if (fate >= lost_ + 10) reply = std::move(answer);  // else the answer is lost
      if (fate < lost_ + 20) copies_.push_back({task, *call});
    }
    const StepAttempt attempt{++attempts_[key_of(task)], now_, dice_.fraction()};
    const SagaAnswer answer = answered(*saga_, task, reply, attempt, limits_);
    again_ms_[key_of(task)] = answer.again_ms.value_or(now_ + 3'600'000);
    if (answer.again_ms) CHECK(*answer.again_ms >= now_);
    if (!answer.entries.empty()) advance(answer.entries);
  }

  void deliver_old_copy() {
    const std::size_t which = dice_.below(copies_.size());
    const Copy copy = copies_[which];
    if (dice_.percent(50)) copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(which));
    const Result<StepReply> reply = execute(copy);
    // Its answer reaches whoever owns the saga now.
    const SagaAnswer answer = answered(*saga_, copy.task, reply, {1, now_, 0.5}, limits_);
    if (!answer.entries.empty()) advance(answer.entries);
  }

  // The participants.

  Result<StepReply> execute(const Copy& copy) {
    const SagaTask& task = copy.task;
    const bool settles = task.verb == TaskVerb::settle || task.verb == TaskVerb::settle_undo;
    const bool is_child = task.sort == StepSort::child && task.verb != TaskVerb::undo &&
                          task.verb != TaskVerb::settle_undo;
    if (is_child) return execute_child(copy, settles);
    const auto found = world_.records.find(task.operation);
    if (found == world_.records.end()) return settles ? forbid(task) : carry_out(task);
    const World::Record& record = found->second;
    if (record.kind == World::Kind::reply) return StepReply{record.reply, false, false};
    if (settles) return StepReply{"", false, true};
    return Error{Code::rejected, record.kind == World::Kind::rejected ? "no" : "forbidden"};
  }

  Result<StepReply> execute_child(const Copy& copy, bool settles) {
    World::Child& child = world_.children[copy.call.entity.key];
    child.step = copy.task.step;
    if (settles && child.ended.empty()) child.cancelled = true;
    return StepReply{};
  }

  Result<StepReply> forbid(const SagaTask& task) {
    world_.records[task.operation] = {World::Kind::tombstone, ""};
    return StepReply{"", false, true};
  }

  Result<StepReply> carry_out(const SagaTask& task) {
    const bool undo = task.verb == TaskVerb::undo;
    if (!calm_ && dice_.percent(15)) return Error{Code::failed, "try again"};
    if (!calm_ && dice_.percent(refused_)) {
      world_.records[task.operation] = {World::Kind::rejected, ""};
      return Error{Code::rejected, "no"};
    }
    const std::string reply = "r" + std::to_string(world_.records.size());
    world_.records[task.operation] = {World::Kind::reply, reply};
    ++(undo ? world_.undone : world_.applied)[task.step];
    if (!undo) world_.replies[task.step] = reply;
    CHECK(world_.applied[task.step] <= 1);
    CHECK(world_.undone[task.step] <= 1);
    CHECK(world_.undone[task.step] <= world_.applied[task.step]);
    return StepReply{reply, false, false};
  }

  // The operator, who tells the truth.

  void operate_it() {
    const SagaParked parked = *saga_->parked();
    broken_.clear();
    OperatorRequest request{OperatorVerb::retry, "it stood there", "ops", parked.step, ""};
    const bool happened = (parked.note.undo ? world_.undone : world_.applied)[parked.step] > 0;
    const std::size_t wish = dice_.below(calm_ ? 6 : 5);
    if (wish == 1 && happened) {
      request.verb = OperatorVerb::force_complete;
      request.payload = world_.replies[parked.step];
    } else if (wish == 2) {
      request.verb = OperatorVerb::replace;
      request.payload = "another message";
    } else if (wish == 3) {
      request.verb = OperatorVerb::skip;
    } else if (wish == 5 && parked.cause == ParkCause::poison && dice_.percent(5)) {
      request.verb = OperatorVerb::abort;
    }
    const Result<SagaEntries> entries = operate(*saga_, request, now_);
    if (!entries) {
      CHECK(entries.error().code == Code::rejected);
      return;
    }
    if (request.verb == OperatorVerb::skip) skipped_.insert(parked.step);
    advance(*entries);
  }

  // The owner.

  static std::string key_of(const SagaTask& task) {
    return std::string(name_of(task.verb)) + text_of(task.operation);
  }

  SagaDecision decide_anew(const std::vector<JournalEntry>& journal) const {
    return next(definition_, "17", journal, now_, limits_);
  }

  /// What led here and what is decided go into one commit; the owner may die on either side of it.
  void advance(const std::vector<JournalEntry>& led) {
    for (const JournalEntry& entry : led) saga_->apply(entry);
    const SagaDecision decision = next(*saga_, now_, limits_);
    const bool nothing = led.empty() && decision.entries.empty();
    if (!nothing && !journal_.empty() && !calm_ && dice_.percent(5)) {
      saga_ = std::make_unique<SagaProgress>(definition_, "17", journal_);  // not committed
      again_ms_.clear();
      attempts_.clear();
      return advance({});
    }
    journal_.insert(journal_.end(), led.begin(), led.end());
    for (std::size_t i = 0; i <= decision.entries.size(); ++i) {
      // Whoever reads the journal up to here decides what is left.
      const SagaDecision again = decide_anew(journal_);
      const std::vector<JournalEntry> rest(
          decision.entries.begin() + static_cast<std::ptrdiff_t>(i), decision.entries.end());
      CHECK(again.entries == rest);
      CHECK(again.tasks == decision.tasks);
      CHECK(again.wake_ms == decision.wake_ms);
      CHECK(again.status == decision.status);
      if (i < decision.entries.size()) journal_.push_back(decision.entries[i]);
    }
    for (const JournalEntry& entry : journal_)
      REQUIRE(decode_entry(encode_entry(entry)).value() == entry);
    check_waits_for_something(decision);
    current_ = decision;
  }

  void check_waits_for_something(const SagaDecision& decision) const {
    if (has_ended(decision.status)) {
      CHECK(decision.tasks.empty());
      CHECK_FALSE(decision.wake_ms);
    } else if (decision.status != SagaStatus::parked) {
      CHECK((!decision.tasks.empty() || decision.wake_ms));
    }
    if (decision.wake_ms) CHECK(*decision.wake_ms > now_);
  }

  // What must hold.

  void check_order_of_undos(const std::string& step) {
    const std::size_t stage = saga_->locate(step)->stage;
    for (std::size_t i = stage + 1; i < saga_->stages().size(); ++i) {
      for_each_step(i, [this](const StepDefinition& later, const std::string& name, StepPhase) {
        if (!later.undo || skipped_.contains(name)) return;
        CHECK(world_.applied[name] == world_.undone[name]);
      });
    }
  }

  template <class See>
  void for_each_step(std::size_t stage, See see) {
    for (const SlotProgress& slot : saga_->stages()[stage]) {
      for (std::size_t i = 0; i < slot.elements.size(); ++i) {
        see(*slot.step, element_name(*slot.step, i), slot.elements[i].phase);
      }
    }
  }

  void check_end() {
    check_effects();
    calm_ = true;  // copies that come after the end find a record or a tombstone
    for (const Copy& copy : copies_) {
      if (current_.status != SagaStatus::aborted && !skipped_.contains(copy.task.step)) {
        (void)execute(copy);
      }
    }
    check_effects();
  }

  void check_effects() {
    for (std::size_t i = 0; i < saga_->stages().size(); ++i) {
      for_each_step(i,
                    [this](const StepDefinition& step, const std::string& name, StepPhase phase) {
                      if (step.waits_only()) return;
                      const int applied = world_.applied[name], undone = world_.undone[name];
                      CHECK(applied <= 1);
                      CHECK(undone <= applied);
                      if (current_.status == SagaStatus::completed) {
                        CHECK(applied == (phase == StepPhase::skipped ? 0 : 1));
                        CHECK(undone == 0);
                      }
                      if (current_.status == SagaStatus::compensated) {
                        if (step.pivot && !skipped_.contains(name)) CHECK(applied == 0);
                        if (step.undo && !skipped_.contains(name)) CHECK(undone == applied);
                      }
                    });
    }
  }

  Dice dice_;
  Broken broken_;
  SagaDefinition definition_;
  SagaLimits limits_;
  World world_;
  std::vector<Copy> copies_;
  std::vector<JournalEntry> journal_;
  std::unique_ptr<SagaProgress> saga_;
  SagaDecision current_;
  std::map<std::string, std::int64_t> again_ms_;
  std::map<std::string, std::uint32_t> attempts_;
  std::set<std::string> skipped_;
  std::int64_t now_ = 1'700'000'000'000;
  bool calm_ = false;
  std::size_t lost_ = 0;     ///< of 100 messages
  std::size_t refused_ = 0;  ///< of 100 operations

 public:
  SagaStatus status() const { return current_.status; }
  /// Which kinds of entries, and which causes of parking, came up.
  void tally(std::map<std::string, int>& seen) const {
    for (const JournalEntry& entry : journal_) {
      ++seen[std::string(name_of(entry.kind))];
      if (entry.kind != EntryKind::parked) continue;
      const ParkNote note = decode<ParkNote>(entry.data).value();
      ++seen[note.cause + (note.undo ? " undo" : "") + (note.refused ? " refused" : "")];
    }
  }
};

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe): one thread
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

TEST_CASE("whatever is lost and whoever dies, a saga is done once or undone in reverse order") {
  const std::uint64_t first = number_from("SAGA_SEED", std::random_device{}());
  const std::uint64_t count = number_from("SAGA_SEEDS", 200);
  MESSAGE("SAGA_SEED=", first, " SAGA_SEEDS=", count);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    CAPTURE(seed);
    Model(seed).run();
  }
}

TEST_CASE("the random sagas meet everything that can happen to one") {
  std::map<std::string, int> seen;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    Model model(seed);
    model.run();
    ++seen[std::string(name_of(model.status()))];
    model.tally(seen);
  }
  // A model in which nothing fails, or everything, would prove little.
  for (const std::string kind : {"completed",
                                 "compensated",
                                 "choice",
                                 "done",
                                 "rejected",
                                 "gave_up",
                                 "absent",
                                 "undone",
                                 "undo_skipped",
                                 "signal",
                                 "cancel",
                                 "parked",
                                 "resumed",
                                 "poison",
                                 "poison undo",
                                 "compensation_stuck",
                                 "compensation_stuck undo",
                                 "compensation_stuck undo refused",
                                 "forward_stuck",
                                 "forward_stuck refused"}) {
    CAPTURE(kind);
    CHECK(seen[kind] > 0);
  }
}
