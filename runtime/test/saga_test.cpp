// One saga in a world of its own, run to its end.
#include "catga/runtime/test/saga_test.hpp"

#include "catga/entities/saga/calls.hpp"
#include "catga/entities/saga/journal.hpp"
#include "catga/persistence/saga_store.hpp"
#include "catga/runtime/test/pure.hpp"
#include "catga/runtime/test/world.hpp"

#include <optional>

namespace catga::test {

namespace {

constexpr std::int64_t epilogue = 3'600'000;  // after the end: children, participants that forget

}  // namespace

struct SagaTest::Private {
  struct Given {
    EntityId entity;
    std::string message, payload;
  };
  struct Signal {
    std::int64_t after = 0;
    std::string name, payload;
  };
  Plan plan;
  std::string start;  ///< payload of the start
  std::vector<Given> given;
  std::vector<Signal> signals;
  std::optional<std::size_t> cancel;
  std::int64_t patience = 30LL * 24 * 3'600'000;
  std::string trouble;  ///< of the start's payload; empty: none
  std::shared_ptr<Impurity> impurity = std::make_shared<Impurity>();

  SagaRun run();
  bool over(World& world) const;
  SagaRun report(World& world, std::int64_t began, std::int64_t ended) const;
};

SagaRun SagaTest::Private::run() {
  World world(plan);
  for (const Given& one : given) world.say_until_heard(0, one.entity, one.message, one.payload);
  world.spin(world.now() + 1000, [](std::int64_t) { return false; });
  const std::int64_t began = world.now();
  world.count_commits([&](std::size_t number) {
    if (!cancel || *cancel != number) return;
    world.say_until_heard(0, plan.root, std::string(saga_call::cancel),
                          encode(CancelSaga{"cancelled by the test", "test"}));
  });
  world.say_until_heard(0, plan.root, std::string(saga_call::start), start);
  std::size_t number = 0;
  for (const Signal& signal : signals) {
    const SignalSaga said{signal.name, "signal-" + std::to_string(++number), signal.payload,
                          "test"};
    world.say_until_heard(signal.after, plan.root, std::string(saga_call::signal), encode(said));
  }
  std::optional<std::int64_t> ended;
  world.spin(began + patience, [&](std::int64_t next_ms) {
    if (!ended && over(world)) ended = world.now();
    return ended && next_ms > *ended + epilogue;
  });
  return report(world, began, ended.value_or(world.now()));
}

bool SagaTest::Private::over(World& world) const {
  const SagaMachine* machine = world.machine_in_memory(plan.root);
  if (machine == nullptr) {  // the owner after a crash does not load what has ended
    const Result<SagaLoaded> stored = world.stored_saga(plan.root);
    if (!stored || stored->outcome != SagaLoaded::Outcome::ok) return false;
    const std::string_view status = find_field(stored->fields, saga_field::status);
    return status == name_of(SagaStatus::completed) || status == name_of(SagaStatus::compensated) ||
           status == name_of(SagaStatus::aborted);
  }
  const std::optional<SagaStanding> standing = machine->standing();
  return standing && has_ended(standing->status) && !machine->writing();
}

SagaRun SagaTest::Private::report(World& world, std::int64_t began, std::int64_t ended) const {
  SagaRun run;
  run.commits = world.commits();
  run.took_effect = world.took_effect();
  run.events = world.events();
  run.lasted = std::chrono::milliseconds(ended - began);
  const Result<SagaLoaded> stored = world.stored_saga(plan.root);
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
  question.entity = plan.root;
  question.message = saga_call::look;
  question.payload = encode(LookAtSaga{false, true, false});
  question.query = true;
  world.ask(std::move(question), [&look](Result<std::string> answer) { look = std::move(answer); });
  world.spin(world.now() + 1000, [&look](std::int64_t) { return look.ok(); });
  if (look) {
    if (const Result<SagaLook> found = decode<SagaLook>(*look)) {
      run.state_bytes = found->state;
      run.text = found->text;
    }
  }
  if (!impurity->what.empty()) {
    run.status = "impure";
    run.text = impurity->what;
  }
  return run;
}

SagaTest::SagaTest(std::shared_ptr<const SagaDefinition> saga, std::string input, std::string id)
    : private_(std::make_unique<Private>()) {
  Plan& plan = private_->plan;
  plan.root = EntityId{saga->type, std::move(id)};
  Result<std::string> start = start_bytes(*saga, std::move(input), "test");
  if (start) {
    private_->start = std::move(*start);
  } else {
    private_->trouble = start.error().text;
  }
  add(std::move(saga));
}

SagaTest::~SagaTest() = default;

SagaTest& SagaTest::add(Kind kind) {
  std::string name = kind.name;
  private_->plan.kinds.insert_or_assign(std::move(name), std::move(kind));
  return *this;
}
SagaTest& SagaTest::add(std::shared_ptr<const SagaDefinition> saga) {
  private_->plan.sagas.push_back(run_twice(*saga, private_->impurity));
  return *this;
}
SagaTest& SagaTest::add_given(EntityId entity, std::string message, std::string payload) {
  private_->given.push_back({std::move(entity), std::move(message), std::move(payload)});
  return *this;
}
SagaTest& SagaTest::add_signal(std::chrono::milliseconds after, std::string name,
                               std::string payload) {
  private_->signals.push_back({after.count(), std::move(name), std::move(payload)});
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
  private_->cancel = n;
  return *this;
}
SagaTest& SagaTest::patience(std::chrono::milliseconds how_long) {
  private_->patience = how_long.count();
  return *this;
}

SagaRun SagaTest::run() {
  if (!private_->trouble.empty()) {
    SagaRun run;
    run.status = "never started";
    run.text = private_->trouble;
    return run;
  }
  private_->impurity->what.clear();
  SagaRun run = private_->run();
  private_->plan.crash.reset();
  private_->cancel.reset();
  return run;
}

}  // namespace catga::test
