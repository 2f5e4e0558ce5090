// Machines of sagas over real entities and a store in memory, with crashes at every commit: the test kit that users
// have, used on the sagas of the tests.
#include <catga/runtime/saga_machine.hpp>
#include <catga/runtime/test/saga_test.hpp>

#include "../cluster/sagas.hpp"
#include "../entities/saga_shop.hpp"
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <stdexcept>

using namespace std::chrono_literals;
using catga::test::Crash;
using catga::test::SagaRun;
using catga::test::SagaTest;
namespace cluster = catga::testing;

namespace {

std::string words(const SagaRun& run) {
  std::string all = run.status + " (" + run.cause + ", " + run.text + "):";
  for (const std::string& entry : run.journal) all += ' ' + entry + ',';
  return all;
}

bool says(const SagaRun& run, const std::string& entry) {
  return std::ranges::find(run.journal, entry) != run.journal.end();
}

void at_every_commit(SagaTest& test, const std::function<void(const SagaRun&)>& check) {
  const SagaRun first = test.run();
  check(first);
  for (std::size_t n = 0; n < first.commits; ++n) {
    for (const Crash crash : {Crash::before_commit, Crash::after_commit}) {
      const SagaRun run = test.crash_at(n, crash).run();
      INFO(std::string(crash == Crash::before_commit ? "before" : "after")
           << " commit " << n << ": " << words(run));
      check(run);
    }
  }
  MESSAGE(first.commits << " commits");
}

void at_every_cancel(SagaTest& test, const std::function<void(const SagaRun&)>& check) {
  const std::size_t commits = test.run().commits;
  for (std::size_t n = 0; n < commits; ++n) {
    const SagaRun run = test.cancel_at(n).run();
    INFO("cancel at commit " << n << ": " << words(run));
    check(run);
  }
}

/// The order of the documents.
struct Shop {
  explicit Shop(const shop::Order& order = shop::an_order())
      : test(shop::order_saga(), order, "17") {
    test.host<shop::Stock>().host<shop::Account>().host<shop::Shipping>().host<shop::Mailer>();
    test.host(shop::invoice_saga());
    test.signal_at(1h, "approval", shop::Approved{"bob"});
  }
  SagaTest test;
};

cluster::TestOrder an_order() {
  cluster::TestOrder order;
  order.id = "o";
  order.shelves = {"tea", "cup"};
  order.purse = "purse";
  order.price = 5;
  return order;
}

/// The order of the cluster tests.
struct Shelves {
  explicit Shelves(const cluster::TestOrder& order) : test(cluster::order_saga(), order, "o") {
    test.host<cluster::Shelf>().host(cluster::invoice_saga());
    for (const char* shelf : {"tea", "cup", "purse", "paper", "mails", "counts"}) {
      test.given<cluster::Shelf>(shelf, cluster::Stock{10});
    }
  }
  SagaTest test;
};

}  // namespace

TEST_CASE("the order of the documents completes whatever commit its owner dies at") {
  Shop shop;
  at_every_commit(shop.test, [](const SagaRun& run) {
    CHECK(run.status == "completed");
    CHECK(run.applied<shop::Reserve>("tea") == 1);
    CHECK(run.applied<shop::Reserve>("cup") == 1);
    CHECK(run.applied<shop::Charge>("alice") == 1);
    CHECK(run.applied<shop::Ship>("17") == 1);
    CHECK(run.applied<shop::Notify>("alice") == 1);
    CHECK(run.applied<shop::Notify>("shop") == 2);  // the invoice, and the count
    CHECK(run.applied<shop::Refund>("alice") == 0);
    CHECK(run.state<shop::Order>().approver == "bob");
    CHECK(run.lasted >= 1h + 10min);
    CHECK(run.lasted < 1h + 12min);
  });
}

TEST_CASE("an order that is not approved goes back whatever commit its owner dies at") {
  SagaTest test(shop::order_saga(), shop::an_order(), "17");
  test.host<shop::Stock>().host<shop::Account>();
  at_every_commit(test, [](const SagaRun& run) {
    CHECK(run.status == "compensated");
    CHECK(run.applied<shop::Charge>("alice") == 1);
    CHECK(run.applied<shop::Refund>("alice") == 1);
    CHECK(run.applied<shop::Release>("tea") == 1);
    CHECK(run.applied<shop::Release>("cup") == 1);
    CHECK(run.lasted >= 48h);
  });
}

TEST_CASE("whenever an order is cancelled, all that was done is undone, or nothing of it") {
  Shop shop;
  at_every_cancel(shop.test, [](const SagaRun& run) {
    const bool done = run.status == "completed";
    CHECK((done || run.status == "compensated"));
    CHECK(run.applied<shop::Refund>("alice") == (done ? 0 : run.applied<shop::Charge>("alice")));
    CHECK(run.applied<shop::Release>("tea") == (done ? 0 : run.applied<shop::Reserve>("tea")));
    CHECK(run.applied<shop::Release>("cup") == (done ? 0 : run.applied<shop::Reserve>("cup")));
    CHECK(run.applied<shop::Ship>("17") == (done ? 1 : 0));  // the pivot
  });
}

TEST_CASE("a refused last step takes a child and steps side by side back, whatever dies when") {
  cluster::TestOrder order = an_order();
  order.with_child = true;
  order.nap_ms = 1;
  order.last = "nothing";
  Shelves shelves(order);
  at_every_commit(shelves.test, [](const SagaRun& run) {
    CHECK(run.status == "compensated");
    for (const char* shelf : {"tea", "cup", "purse", "paper", "mails", "counts"}) {
      INFO(shelf);
      CHECK(run.applied<cluster::Take>(shelf) == 1);
      CHECK(run.applied<cluster::PutBack>(shelf) == 1);
    }
  });
}

TEST_CASE("whenever a saga with a child is cancelled, what was taken is put back") {
  cluster::TestOrder order = an_order();
  order.with_child = true;
  order.nap_ms = 1;
  Shelves shelves(order);
  at_every_cancel(shelves.test, [](const SagaRun& run) {
    const bool done = run.status == "completed";
    CHECK((done || run.status == "compensated"));
    for (const char* shelf : {"tea", "cup", "purse", "paper", "mails", "counts"}) {
      INFO(shelf);
      const std::size_t taken = run.applied<cluster::Take>(shelf);
      CHECK(run.applied<cluster::PutBack>(shelf) == (done ? 0 : taken));
      CHECK(taken <= 1);
    }
  });
}

namespace {

struct Swept {
  std::int64_t times = 0;
  CATGA_MESSAGE(Swept, times);
};
struct Sweep {
  using Reply = std::int64_t;
  std::int64_t times = 0;
  CATGA_MESSAGE(Sweep, times);
};
class Floor {
 public:
  static constexpr std::string_view kind = "floor";
  using Handles = catga::Messages<Sweep>;
  struct State {
    std::int64_t times = 0;
    CATGA_FIELDS(times);
  } state;
  std::int64_t on(catga::Turn& turn, const Sweep& sweep) {
    state.times += sweep.times;
    turn.publish(Swept{state.times});
    return state.times;
  }
};
struct Sweeping {
  std::int64_t times = 0;
  CATGA_FIELDS(times);
};

}  // namespace

TEST_CASE("entities that take part in a rehearsed saga may publish events") {
  const auto saga =
      catga::saga<Sweeping>("sweeping", 1)
          .step("sweep", [](const Sweeping& s) { return catga::to<Floor>("hall", Sweep{s.times}); })
          .build();
  SagaTest test(saga, Sweeping{2}, "1");
  test.host<Floor>();
  at_every_commit(test, [](const SagaRun& run) {
    CHECK(run.status == "completed");
    CHECK(run.applied<Sweep>("hall") == 1);
  });
}

namespace {

struct SweepingDone {
  std::int64_t times = 0;
  CATGA_MESSAGE(SweepingDone, times);
};
struct SweepingGivenUp {
  std::string why;
  CATGA_MESSAGE(SweepingGivenUp, why);
};
struct Rung {
  std::uint64_t number = 0;
  std::int64_t times = 0;
  CATGA_MESSAGE(Rung, number, times);
};

catga::Saga<Sweeping> publishing_saga() {
  return catga::saga<Sweeping>("sweeping", 1)
      .step("sweep", [](const Sweeping& s) { return catga::to<Floor>("hall", Sweep{s.times}); })
      .on_reply([](Sweeping& s, const std::int64_t& all) { s.times = 10 * all; })
      .publish([](const Sweeping& s) { return Swept{s.times}; })
      .each(
          "stair", [](const Sweeping&) { return std::size_t{2}; },
          [](const Sweeping&, std::size_t) { return catga::to<Floor>("stair", Sweep{1}); })
      .publish([](const Sweeping& s, std::size_t i) {
        return Rung{i, s.times};
      })
      .sleep("dry", 10min)
      .step("wax", [](const Sweeping&) { return catga::to<Floor>("wax", Sweep{1}); })
      .publish_completed([](const Sweeping& s) { return SweepingDone{s.times}; })
      .publish_compensated(
          [](const Sweeping&, const std::string& why) { return SweepingGivenUp{why}; })
      .build();
}

/// Events of the saga itself, as "name number".
std::vector<std::string> events_of_saga(const SagaRun& run) {
  std::vector<std::string> events;
  for (const catga::test::Published& event : run.events) {
    if (event.source == catga::EntityId{"sweeping", "1"})
      events.push_back(event.event + ' ' + std::to_string(event.number));
  }
  return events;
}

}  // namespace

TEST_CASE("whatever commit its owner dies at, a saga publishes each event once and in order") {
  SagaTest test(publishing_saga(), Sweeping{2}, "1");
  test.host<Floor>();
  at_every_commit(test, [](const SagaRun& run) {
    CHECK(run.status == "completed");
    CHECK(events_of_saga(run) ==
          std::vector<std::string>{"Swept 1", "Rung 2", "Rung 3", "SweepingDone 4"});
    const auto done = run.published<SweepingDone>();
    REQUIRE(done.size() == 1);
    CHECK(done[0].times == 20);
  });
}

TEST_CASE("a saga that goes back says so with an event of its own, and why") {
  SagaTest test(publishing_saga(), Sweeping{2}, "1");
  test.host<Floor>().reject("wax", "no wax left");
  at_every_commit(test, [](const SagaRun& run) {
    CHECK(run.status == "compensated");
    CHECK(run.published<SweepingDone>().empty());
    const auto given_up = run.published<SweepingGivenUp>();
    REQUIRE(given_up.size() == 1);
    CHECK(given_up[0].why.find("no wax left") != std::string::npos);
    CHECK(events_of_saga(run).back() == "SweepingGivenUp 4");
  });
}

TEST_CASE("a saga whose event cannot be made parks as poison, and nothing of the step is written") {
  const auto saga =
      catga::saga<Sweeping>("sweeping", 1)
          .step("sweep", [](const Sweeping& s) { return catga::to<Floor>("hall", Sweep{s.times}); })
          .publish([](const Sweeping&) -> Swept { throw std::runtime_error("no ink"); })
          .build();
  SagaTest test(saga, Sweeping{2}, "1");
  test.host<Floor>().patience(1min);
  const SagaRun run = test.run();
  INFO(words(run));
  CHECK(run.status == "parked");
  CHECK(run.cause == "poison");
  CHECK(run.text == "publish() of step 'sweep' threw: no ink");
  CHECK_FALSE(says(run, "done sweep"));
  CHECK(events_of_saga(run).empty());
}

namespace {
int calls = 0;  // what a lambda must not touch
}  // namespace

TEST_CASE("a rehearsal calls each lambda twice and names the one that is not pure") {
  const auto saga =
      catga::saga<Sweeping>("sweeping", 1)
          .step("sweep", [](const Sweeping&) { return catga::to<Floor>("hall", Sweep{++calls}); })
          .build();
  SagaTest test(saga, Sweeping{2}, "1");
  test.host<Floor>();
  const SagaRun run = test.run();
  CHECK(run.status == "impure");
  CHECK(run.text.find("what is sent of step 'sweep' of saga 'sweeping'") != std::string::npos);
}

TEST_CASE("a lost answer, a doubled and a late message change nothing") {
  Shelves shelves(an_order());
  shelves.test.lose_reply("pay", 3).twice("mail").delay("count", 1s).fail("line#0", 4);
  at_every_commit(shelves.test, [](const SagaRun& run) {
    CHECK(run.status == "completed");
    for (const char* shelf : {"tea", "cup", "purse", "mails", "counts"}) {
      INFO(shelf);
      CHECK(run.applied<cluster::Take>(shelf) == 1);
    }
  });
}

TEST_CASE("a step whose outcome nobody knows is settled before anything is undone") {
  Shelves lost(an_order());
  lost.test.lose_reply("pay", 1000);
  at_every_commit(lost.test, [](const SagaRun& run) {
    CHECK(run.status == "compensated");
    CHECK(says(run, "gave_up pay"));
    CHECK(says(run, "done pay"));
    CHECK(run.applied<cluster::Take>("purse") == 1);
    CHECK(run.applied<cluster::PutBack>("purse") == 1);
    CHECK(run.applied<cluster::PutBack>("tea") == 1);
  });
  Shelves unreached(an_order());
  unreached.test.fail("pay", 1000);
  const SagaRun run = unreached.test.run();
  INFO(words(run));
  CHECK(run.status == "compensated");
  CHECK(says(run, "absent pay"));
  CHECK(run.applied<cluster::Take>("purse") == 0);
  CHECK(run.applied<cluster::PutBack>("purse") == 0);
  CHECK(run.applied<cluster::PutBack>("tea") == 1);
}

TEST_CASE("an undo that is refused parks its saga and is tried again every half hour") {
  cluster::TestOrder order = an_order();
  order.last = "nothing";
  Shelves shelves(order);
  shelves.test.reject("undo pay", "the bank is closed").patience(110min);
  const SagaRun run = shelves.test.run();
  INFO(words(run));
  CHECK(run.status == "parked");
  CHECK(run.cause == "compensation_stuck");
  CHECK(std::ranges::count(run.journal, "parked pay") == 4);
  CHECK(run.applied<cluster::PutBack>("tea") == 0);  // strictly in order: older ones wait
  CHECK(run.applied<cluster::PutBack>("mails") == 1);
}

// ---- one machine, its store in the hand of the test -------------------------------------------------------------

namespace {

using catga::SagaActions;
using catga::SagaCommitted;
using catga::SagaLoaded;
using catga::SagaMachine;
namespace action = catga::saga_action;

template <class Action>
std::vector<Action> of(const SagaActions& actions) {
  std::vector<Action> found;
  for (const catga::SagaAction& one : actions) {
    if (const auto* action = std::get_if<Action>(&one)) found.push_back(*action);
  }
  return found;
}

struct OneSaga {
  explicit OneSaga(SagaMachine::Origin origin = {})
      : machine(definitions, {}, {catga::ShardId{3}, token, {"order", "17"}}, origin) {}

  catga::SagaMoment at() const { return {now, now, 0.5}; }

  /// As the store has it after the start.
  static SagaLoaded stored(const std::vector<catga::JournalEntry>& journal,
                           const std::string& recoveries = "0") {
    SagaLoaded loaded;
    loaded.fields = {{"st", "running"}, {"ih", "1"}, {"ra", recoveries}, {"dv", "1"}};
    const auto definition = shop::order_saga();
    loaded.fields.emplace_back("fp", std::to_string(catga::fingerprint(definition.definition())));
    for (const catga::JournalEntry& entry : journal) {
      loaded.journal.push_back(catga::encode_entry(entry));
    }
    loaded.length = journal.size();
    return loaded;
  }
  SagaActions loaded(SagaLoaded answer) {
    machine.recover(at());
    return machine.loaded(std::move(answer), at());
  }
  static SagaCommitted written(const action::Write& write) {
    SagaCommitted answer;
    answer.length = write.commit.expected.value_or(0) + write.commit.entries.size();
    return answer;
  }
  catga::Envelope says(std::string_view message, std::string payload) const {
    catga::Envelope envelope;
    envelope.entity = {"order", "17"};
    envelope.message = message;
    envelope.payload = std::move(payload);
    envelope.deadline_ms = now + 5000;
    envelope.reply_to = catga::Incarnation{1, 1};
    return envelope;
  }
  catga::Envelope signal(const std::string& id) const {
    return says(catga::saga_call::signal,
                catga::encode(catga::SignalSaga{"approval", id,
                                                catga::encode(shop::Approved{"bob"}), "test"}));
  }

  const catga::SagaDefinitions definitions{shop::order_saga().shared(),
                                           shop::invoice_saga().shared()};
  const catga::OwnerToken token{catga::Epoch{7}, catga::Incarnation{1, 1}};
  std::int64_t now = shop::Told::start_ms + 1000;
  SagaMachine machine;
};

}  // namespace

TEST_CASE("nothing is sent before the entries that lead to it are written") {
  OneSaga saga;
  const SagaActions first = saga.loaded(OneSaga::stored(shop::Told().entries()));
  CHECK(of<action::Send>(first).empty());
  const auto writes = of<action::Write>(first);
  REQUIRE(writes.size() == 1);  // how many lines there are
  CHECK(writes[0].commit.expected == 1);
  const SagaActions then = saga.machine.committed(OneSaga::written(writes[0]), saga.at());
  CHECK(of<action::Send>(then).size() == 2);
  CHECK(of<action::Write>(then).empty());
}

TEST_CASE(
    "a write of a saga without an answer is sent again as it is, and nothing happens before") {
  OneSaga saga;
  const auto first = of<action::Write>(saga.loaded(OneSaga::stored(shop::Told().entries())));
  REQUIRE(first.size() == 1);
  CHECK(saga.machine.committed(catga::Error{catga::Code::unknown, "silence"}, saga.at()).empty());
  CHECK(saga.machine.arrived(saga.signal("s"), saga.at()).empty());
  REQUIRE(saga.machine.wake_ms());
  CHECK(*saga.machine.wake_ms() > saga.now);
  saga.now = *saga.machine.wake_ms();
  const auto again = of<action::Write>(saga.machine.woken(saga.at()));
  REQUIRE(again.size() == 1);
  CHECK(again[0].commit.entries == first[0].commit.entries);
  SagaCommitted already = OneSaga::written(again[0]);
  already.outcome = SagaCommitted::Outcome::already;
  const auto next = of<action::Write>(saga.machine.committed(already, saga.at()));
  REQUIRE(next.size() == 1);  // the signal
  CHECK(next[0].commit.expected == 2);
}

TEST_CASE("a fenced saga does nothing until its shard has another token, then goes on under that") {
  OneSaga saga;
  const auto first = of<action::Write>(saga.loaded(OneSaga::stored(shop::Told().entries())));
  SagaCommitted fenced;
  fenced.outcome = SagaCommitted::Outcome::fenced;
  const auto said = saga.machine.committed(fenced, saga.at());
  REQUIRE(said.size() == 1);
  CHECK(of<action::Fenced>(said).at(0).used == saga.token);
  saga.now += 60'000;
  CHECK(saga.machine.woken(saga.at()).empty());
  const catga::OwnerToken newer{catga::Epoch{8}, catga::Incarnation{1, 1}};
  const auto again = of<action::Write>(saga.machine.retoken(newer, saga.at()));
  REQUIRE(again.size() == 1);
  CHECK(again[0].commit.token == newer);
  CHECK(again[0].commit.entries == first[0].commit.entries);
}

TEST_CASE(
    "a write that finds another journal is dropped, the journal read again, and who asked is "
    "answered then") {
  OneSaga saga;
  const auto first = of<action::Write>(saga.loaded(OneSaga::stored(shop::Told().entries())));
  saga.machine.committed(OneSaga::written(first.at(0)), saga.at());
  const auto signal = of<action::Write>(saga.machine.arrived(saga.signal("s"), saga.at()));
  REQUIRE(signal.size() == 1);
  SagaCommitted conflict;
  conflict.outcome = SagaCommitted::Outcome::conflict;
  const SagaActions lost = saga.machine.committed(conflict, saga.at());
  CHECK(of<action::Answer>(lost).empty());
  CHECK(of<action::Load>(lost).size() == 1);
  const SagaActions read =
      saga.machine.loaded(OneSaga::stored(shop::Told().choice("line", "2").entries()), saga.at());
  const auto again = of<action::Write>(read);
  REQUIRE(again.size() == 1);
  const SagaActions done = saga.machine.committed(OneSaga::written(again[0]), saga.at());
  REQUIRE(of<action::Answer>(done).size() == 1);
  CHECK(of<action::Answer>(done)[0].answer.ok());
}

TEST_CASE("a saga that was recovered more than ten times in a row parks before user code runs") {
  OneSaga saga;
  const SagaActions actions = saga.loaded(OneSaga::stored(shop::Told().entries(), "11"));
  const auto writes = of<action::Write>(actions);
  REQUIRE(writes.size() == 1);
  CHECK(writes[0].commit.place == catga::SagaPlace::parked);
  CHECK(catga::find_field(writes[0].commit.fields, "why") == "crash_loop");
  CHECK(catga::find_field(writes[0].commit.fields, "ra") == "0");
  const SagaActions then = saga.machine.committed(OneSaga::written(writes[0]), saga.at());
  CHECK(of<action::Send>(then).empty());
  CHECK(of<action::Tell>(then).size() == 1);
  CHECK(saga.machine.idle());
}

TEST_CASE("that a saga is stuck is told with the attempts of the step that parked it") {
  OneSaga saga;
  SagaActions actions = saga.loaded(OneSaga::stored(shop::Told().entries()));
  actions = saga.machine.committed(OneSaga::written(of<action::Write>(actions).at(0)), saga.at());
  const catga::SagaTask task = of<action::Send>(actions).at(0).task;
  saga.machine.answered(task, 1, catga::Error{catga::Code::unavailable, "away"}, saga.at());
  saga.now = saga.machine.wake_ms().value();
  actions = saga.machine.woken(saga.at());
  REQUIRE(of<action::Send>(actions).at(0).attempt == 2);
  actions = saga.machine.answered(task, 2, catga::Error{catga::Code::malformed, "no such message"},
                                  saga.at());
  actions = saga.machine.committed(OneSaga::written(of<action::Write>(actions).at(0)), saga.at());
  const auto told = of<action::Tell>(actions);
  REQUIRE(told.size() == 1);
  CHECK(told[0].news.what == catga::SagaNews::What::stuck);
  CHECK(told[0].news.attempts == 2);
}

TEST_CASE("a journal that cannot be read parks its saga as poison, and can be aborted") {
  OneSaga saga;
  SagaLoaded broken = OneSaga::stored(shop::Told().entries());
  broken.journal.push_back("no journal entry");
  broken.length = 2;
  const auto writes = of<action::Write>(saga.loaded(broken));
  REQUIRE(writes.size() == 1);
  CHECK(writes[0].commit.expected == 2);
  CHECK(catga::find_field(writes[0].commit.fields, "why") == "poison");
  saga.machine.committed(OneSaga::written(writes[0]), saga.at());
  const auto abort = of<action::Write>(saga.machine.arrived(
      saga.says(catga::saga_call::operate,
                catga::encode(catga::OperateSaga{"abort", "hopeless", "ann", "", ""})),
      saga.at()));
  REQUIRE(abort.size() == 1);
  CHECK(abort[0].commit.place == catga::SagaPlace::ended);
}

TEST_CASE("a saga whose journal cannot be loaded is shown by its header, and can be aborted") {
  OneSaga saga;
  const catga::Error trouble{catga::Code::unavailable, "the journal is too long"};
  saga.machine.arrived(
      saga.says(catga::saga_call::look, catga::encode(catga::LookAtSaga{false, false, true})),
      saga.at());
  SagaActions last = saga.machine.loaded(trouble, saga.at());
  for (int i = 0; i < 2; ++i) {
    CHECK(of<action::Load>(last).empty());
    saga.now = saga.machine.wake_ms().value();
    const auto loads = of<action::Load>(saga.machine.woken(saga.at()));
    REQUIRE(loads.size() == 1);
    CHECK(loads[0].load.journal);
    last = saga.machine.loaded(trouble, saga.at());
  }
  REQUIRE(of<action::Load>(last).size() == 1);
  CHECK_FALSE(of<action::Load>(last)[0].load.journal);
  SagaLoaded header = OneSaga::stored(shop::Told().entries());
  header.journal.clear();
  header.length = 9000;
  const auto shown = of<action::Answer>(saga.machine.loaded(header, saga.at()));
  REQUIRE(shown.size() == 1);
  REQUIRE(shown[0].answer.ok());
  const auto look = catga::decode<catga::SagaLook>(*shown[0].answer);
  REQUIRE(look.ok());
  CHECK(look->status == "running");
  CHECK(look->entries == 9000);
  CHECK(look->text == "its journal cannot be loaded: the journal is too long");

  const auto abort =
      saga.says(catga::saga_call::operate,
                catga::encode(catga::OperateSaga{"abort", "hopeless", "ann", "", ""}));
  saga.machine.arrived(abort, saga.at());
  saga.now = saga.machine.wake_ms().value();
  saga.machine.woken(saga.at());
  REQUIRE(of<action::Load>(saga.machine.loaded(trouble, saga.at())).size() == 1);
  const SagaActions aborting = saga.machine.loaded(header, saga.at());
  CHECK(of<action::Answer>(aborting).empty());
  const auto writes = of<action::Write>(aborting);
  REQUIRE(writes.size() == 1);
  CHECK_FALSE(writes[0].commit.expected);  // whatever the journal holds
  CHECK(writes[0].commit.place == catga::SagaPlace::ended);
  const SagaActions aborted = saga.machine.committed(OneSaga::written(writes[0]), saga.at());
  REQUIRE(of<action::Answer>(aborted).size() == 1);
  CHECK(of<action::Answer>(aborted)[0].answer.ok());
  REQUIRE(of<action::Tell>(aborted).size() == 1);
  CHECK(of<action::Tell>(aborted)[0].news.failed);
  CHECK(saga.machine.standing()->status == catga::SagaStatus::aborted);
  CHECK(of<action::Answer>(saga.machine.arrived(abort, saga.at())).at(0).answer.ok());  // again
  CHECK(saga.machine.idle());
}

TEST_CASE("a saga whose definition is not here is shown with its journal, and can be aborted") {
  OneSaga saga;
  const catga::SagaDefinitions none;
  SagaMachine stranger(none, {}, {catga::ShardId{3}, saga.token, {"order", "17"}}, {});
  stranger.recover(saga.at());
  const SagaActions parking =
      stranger.loaded(OneSaga::stored(shop::Told().choice("line", "2").entries()), saga.at());
  const auto parks = of<action::Write>(parking);
  REQUIRE(parks.size() == 1);
  CHECK(catga::find_field(parks[0].commit.fields, "why") == "no_definition");
  stranger.committed(OneSaga::written(parks[0]), saga.at());
  const auto shown = of<action::Answer>(stranger.arrived(
      saga.says(catga::saga_call::look, catga::encode(catga::LookAtSaga{false, false, true})),
      saga.at()));
  REQUIRE(shown.size() == 1);
  CHECK(catga::decode<catga::SagaLook>(*shown[0].answer)->journal.size() == 3);
  const auto abort = of<action::Write>(stranger.arrived(
      saga.says(catga::saga_call::operate,
                catga::encode(catga::OperateSaga{"abort", "its program is gone", "ann", "", ""})),
      saga.at()));
  REQUIRE(abort.size() == 1);
  CHECK(abort[0].commit.place == catga::SagaPlace::ended);
  const auto answers =
      of<action::Answer>(stranger.committed(OneSaga::written(abort[0]), saga.at()));
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].answer.ok());
}

TEST_CASE("participants are asked to forget until all of them have, the timer stays as long") {
  OneSaga saga;
  catga::JournalEntry done{
      catga::EntryKind::done, "charge", saga.now,
      catga::encode(catga::DoneNote{catga::encode(shop::Charged{"p"}), true, ""}), "saga"};
  catga::JournalEntry end{catga::EntryKind::end, "", saga.now,
                          catga::encode(catga::EndNote{"aborted", "a test"}), "ann"};
  auto journal = shop::Told().choice("line", "no").entries();
  journal.push_back(done);
  journal.push_back(end);
  SagaLoaded ended = OneSaga::stored(journal);
  ended.fields[0].second = "aborted";
  saga.loaded(ended);
  saga.now += 10 * 60'000;
  const auto fire = [&saga] { return saga.machine.fired("forget", saga.at()); };
  const SagaActions first = fire();
  const auto asked = of<action::Forget>(first);
  REQUIRE(asked.size() == 1);
  CHECK(asked[0].participant == catga::EntityId{"account", "alice"});
  CHECK(asked[0].operations.size() == 1);
  CHECK(of<action::Tidy>(first).empty());
  REQUIRE(of<action::Timers>(first).size() == 1);
  CHECK(*of<action::Timers>(first)[0].timers[0].due_ms > saga.now);
  CHECK_FALSE(saga.machine.idle());  // it waits for what they say
  CHECK(saga.machine.forgot(false).empty());
  CHECK(saga.machine.idle());
  REQUIRE(of<action::Forget>(fire()).size() == 1);
  const SagaActions over = saga.machine.forgot(true);
  REQUIRE(of<action::Tidy>(over).size() == 1);
  CHECK(of<action::Tidy>(over)[0].member == "s|order/17|forget");
}

TEST_CASE("256 signals may wait for a saga; the next is refused as overloaded") {
  OneSaga saga;
  const auto first = of<action::Write>(saga.loaded(OneSaga::stored(shop::Told().entries())));
  saga.machine.committed(OneSaga::written(first.at(0)), saga.at());
  for (int i = 0; i < 256; ++i) {
    const auto write =
        of<action::Write>(saga.machine.arrived(saga.signal(std::to_string(i)), saga.at()));
    REQUIRE(write.size() == 1);
    saga.machine.committed(OneSaga::written(write[0]), saga.at());
  }
  const SagaActions full = saga.machine.arrived(saga.signal("one more"), saga.at());
  const auto answers = of<action::Answer>(full);
  REQUIRE(answers.size() == 1);
  REQUIRE_FALSE(answers[0].answer.ok());
  CHECK(answers[0].answer.error().code == catga::Code::overloaded);
  const SagaActions known = saga.machine.arrived(saga.signal("7"), saga.at());
  CHECK(of<action::Answer>(known).at(0).answer.ok());  // it is there already
}

TEST_CASE(
    "a draining saga starts nothing, ends its open write, and gives back what it has not handled") {
  OneSaga saga;
  const auto first = of<action::Write>(saga.loaded(OneSaga::stored(shop::Told().entries())));
  saga.machine.drain();
  CHECK_FALSE(saga.machine.drained());
  CHECK(saga.machine.arrived(saga.signal("s"), saga.at()).empty());
  const SagaActions then = saga.machine.committed(OneSaga::written(first.at(0)), saga.at());
  CHECK(of<action::Send>(then).empty());
  CHECK(saga.machine.drained());
  CHECK(saga.machine.take_requests().size() == 1);
}

TEST_CASE(
    "timers of a saga are written with the commit that makes them needed, and cancelled with the "
    "next") {
  OneSaga saga;
  shop::Told told;
  told.reserved();
  SagaLoaded stored = OneSaga::stored(told.done("charge", shop::Charged{"p"}).entries());
  saga.now = told.now_ms();
  const SagaActions actions = saga.loaded(stored);
  CHECK(of<action::Write>(actions).empty());  // it waits for its approval, as the journal says
  const auto signal = of<action::Write>(saga.machine.arrived(saga.signal("s"), saga.at()));
  REQUIRE(signal.size() == 1);
  const auto& timers = signal[0].commit.timers;
  REQUIRE(timers.size() == 1);
  CHECK(timers[0].member == "s|order/17|step.approval");
  CHECK_FALSE(timers[0].due_ms);
}

TEST_CASE("a saga keeps its place in its trace in the header, and whoever loads it goes on there") {
  const catga::SagaDefinitions definitions{cluster::order_saga().shared()};
  const catga::SagaSeat seat{
      catga::ShardId{3}, {catga::Epoch{1}, catga::Incarnation{1, 1}}, {"order", "o"}};
  const catga::SagaMoment now{1000, 1000, 0.5};
  for (const bool traced : {true, false}) {
    const catga::SagaTrace place =
        traced ? catga::SagaTrace{{1, 2, 3, 1}, {1, 2, 4, 1}} : catga::SagaTrace{};
    catga::SagaMachine machine(definitions, {}, seat, {});
    catga::StartSaga start;
    start.input = catga::encode(an_order());
    catga::Envelope envelope;
    envelope.entity = seat.saga;
    envelope.message = catga::saga_call::start;
    envelope.payload = catga::encode(start);
    envelope.operation = {7, 7};
    envelope.deadline_ms = 5000;
    machine.start_in(place);
    const catga::SagaActions made = machine.arrived(envelope, now);
    REQUIRE(made.size() == 1);
    const catga::SagaCreate create = std::get<catga::saga_action::Create>(made[0]).create;
    CHECK(catga::find_field(create.fields, "tr") == place.text());
    CHECK(machine.trace() == catga::SagaTrace{});  // nothing is there yet
    (void)machine.created(catga::SagaCreated{}, now);
    CHECK(machine.trace() == place);
    CHECK(machine.created_ms() == 1000);

    catga::SagaMachine successor(definitions, {}, seat, {.after_crash = true});
    (void)successor.recover(now);
    catga::SagaLoaded loaded;
    loaded.fields = create.fields;
    loaded.fields.emplace_back("st", "running");
    loaded.journal = {create.input};
    loaded.length = 1;
    (void)successor.loaded(std::move(loaded), now);
    CHECK(successor.trace() == place);
  }
}

TEST_CASE("what a saga publishes carries the trace of the saga") {
  const catga::SagaDefinitions definitions{publishing_saga().shared()};
  const catga::SagaSeat seat{
      catga::ShardId{3}, {catga::Epoch{1}, catga::Incarnation{1, 1}}, {"sweeping", "1"}};
  const catga::SagaMoment now{1000, 1000, 0.5};
  const catga::SagaTrace place{{1, 2, 3, 1}, {}};
  catga::SagaMachine machine(definitions, {}, seat, {});
  catga::StartSaga start;
  start.input = catga::encode(Sweeping{2});
  catga::Envelope envelope;
  envelope.entity = seat.saga;
  envelope.message = catga::saga_call::start;
  envelope.payload = catga::encode(start);
  envelope.deadline_ms = 5000;
  machine.start_in(place);
  (void)machine.arrived(envelope, now);
  catga::SagaActions actions = machine.created(catga::SagaCreated{}, now);
  std::vector<std::string> outbox;
  for (int round = 0; outbox.empty() && round < 10; ++round) {
    catga::SagaActions next;
    for (const catga::SagaAction& action : actions) {
      if (const auto* send = std::get_if<catga::saga_action::Send>(&action))
        next = machine.answered(send->task, send->attempt,
                                catga::StepReply{.bytes = catga::encode(std::int64_t{2})}, now);
      if (const auto* write = std::get_if<catga::saga_action::Write>(&action)) {
        outbox = write->commit.outbox;
        next = machine.committed(catga::SagaCommitted{}, now);
      }
    }
    actions = std::move(next);
  }
  REQUIRE_FALSE(outbox.empty());
  CHECK(catga::parse_event(outbox[0]).value().trace == place.own.traceparent());
}
