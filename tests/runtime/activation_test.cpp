// The rules of one entity in memory, one by one: what leaves when, what is remembered, what happens
// when the store does not say OK. The order of every load, commit and answer is in the hand of the
// test (scene.hpp).
#include <catga/runtime/activation.hpp>

#include "../support/scene.hpp"
#include <doctest/doctest.h>

#include <algorithm>

using namespace catga;
using namespace catga::testing;

namespace {

std::string member(const std::string& name) { return "e|account/alice|" + name; }

std::vector<std::int64_t> cents_told(const Scene& scene) {
  std::vector<std::int64_t> cents;
  for (const PendingTell& tell : scene.outbox)
    cents.push_back(decode<Give>(tell.payload).value().cents);
  return cents;
}

}  // namespace

// ---- the gate ---------------------------------------------------------------------------------

TEST_CASE("Nothing leaves a turn before its commit: no reply, rejection, failure, query or tell") {
  Scene scene;
  scene.warm();
  const auto deposit = scene.ask(Deposit{5});
  const auto query = scene.ask(Get{});
  const auto rejected = scene.ask(Withdraw{100});
  const auto failed = scene.ask(Act{"throw", 0, ""});
  REQUIRE(scene.commits.size() == 1);
  scene.run();
  for (const auto n : {deposit, query, rejected, failed}) CHECK(scene.told(n) == "");
  CHECK(scene.outbox.empty());
  scene.deliver();
  CHECK(scene.told(deposit) == "5");
  CHECK(scene.told(query) == "5");
  CHECK(cents_told(scene) == std::vector<std::int64_t>{5});
  CHECK(scene.ids_known);
  CHECK(scene.told(rejected) == "");  // it waits for the commit that records it
  CHECK(scene.told(failed) == "");    // it stands behind the rejection
  scene.commit();
  CHECK(scene.told(rejected) == "rejected");
  CHECK(scene.told(failed) == "failed");
  CHECK(scene.records() == 2);
  CHECK(scene.turns_open == 0);
}

TEST_CASE("A query leaves at once when nothing is uncommitted, and records nothing") {
  Scene scene;
  scene.warm();
  const auto query = scene.ask(Get{});
  CHECK(scene.told(query) == "0");
  CHECK(scene.commits.empty());
}

TEST_CASE(
    "Turns that wait together are one commit: the last state, all records, all outputs in order") {
  Scene scene;
  scene.warm();
  const auto first = scene.ask(Deposit{1});
  const auto second = scene.ask(Deposit{10});
  const auto timer = scene.ask(Act{"timer", 1000, "t"});
  const auto moved = scene.ask(Act{"timer", 2000, "t"});
  const auto other = scene.ask(Act{"timer", 3000, "u"});
  const auto none = scene.ask(Act{"cancel", 0, "u"});
  const auto third = scene.ask(Deposit{100});
  CHECK(scene.commits.size() == 1);
  CHECK(scene.commits[0].commit.operations.size() == 1);
  scene.commit();
  CHECK(scene.told(first) == "1");
  CHECK(scene.told(second) == "");
  REQUIRE(scene.commits.size() == 2);
  const Commit& both = scene.commits[1].commit;
  CHECK(both.expected == scene.commits[0].commit.next);
  CHECK(both.next != both.expected);
  CHECK(both.operations.size() == 6);
  CHECK(both.outbox.size() == 2);
  REQUIRE(both.timers.size() == 2);  // the last word on a name wins
  CHECK(both.timers[0].member == member("t"));
  CHECK(both.timers[0].due_ms == scene.cluster() + 2000);
  CHECK(both.timers[1].member == member("u"));
  CHECK_FALSE(both.timers[1].due_ms);
  scene.commit();
  CHECK(scene.commits.size() == 2);
  for (const auto n : {timer, moved, other, none}) CHECK(scene.told(n) == "done");
  CHECK(scene.told(third) == "111");
  CHECK(cents_told(scene) == std::vector<std::int64_t>{1, 10, 100});
  CHECK(scene.order ==
        std::vector<std::size_t>{0, first, second, timer, moved, other, none, third});
  scene.activate();
  const auto query = scene.ask(Get{});
  scene.run_load();
  CHECK(scene.told(query) == "111");
}

TEST_CASE("A state with unchanged bytes is not written again; its record always is") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{5});
  CHECK(scene.commits.back().commit.state);
  scene.commit();
  scene.ask(Deposit{0});
  CHECK_FALSE(scene.commits.back().commit.state);
  CHECK(scene.commits.back().commit.operations.size() == 1);
  scene.commit();
  CHECK(scene.records() == 2);
}

TEST_CASE("A rejected turn changes and sends nothing, and its rejection is recorded") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{5});
  scene.commit();
  const OperationId id = scene.new_id();
  const auto rejected = scene.ask(Withdraw{6}, {.operation = id});
  scene.ask(Deposit{10});
  scene.settle();
  CHECK(scene.told(rejected) == "rejected");
  CHECK(scene.words(rejected) == "insufficient funds");
  CHECK(cents_told(scene) == std::vector<std::int64_t>{5, 10});
  const auto again = scene.ask(Withdraw{6}, {.operation = id});  // 15 would be enough now
  CHECK(scene.told(again) == "rejected");
  CHECK(scene.words(again) == "insufficient funds");
  CHECK(scene.told(scene.ask(Get{})) == "15");
}

TEST_CASE("A handler that throws changes nothing, and a repeat with the same id runs again") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  const auto failed = scene.ask(Act{"throw", 0, ""}, {.operation = id});
  CHECK(scene.told(failed) == "failed");
  CHECK(scene.words(failed).find("broken on purpose") != std::string::npos);
  CHECK(scene.commits.empty());
  CHECK(scene.told(scene.ask(Get{})) == "0");
  CHECK(scene.told(scene.ask(Act{"throw", 0, ""}, {.operation = id})) == "failed");
  CHECK(scene.records() == 0);
  scene.ask(Act{"alarm", 0, ""}, {.operation = id});  // not recorded, so not even another request
  scene.settle();
  CHECK(scene.told(scene.ask(Get{})) == "1");
}

TEST_CASE("Events leave with their commit, numbered without gaps over crashes and lost commits") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  scene.ask(Act{"publish", 2, "x"}, {.operation = id});
  CHECK(scene.events.empty());
  scene.fail(Code::unavailable);  // refused; given up in the end
  scene.advance(10'000);
  while (scene.committing()) {
    scene.fail(Code::unavailable);
    scene.advance(10'000);
  }
  scene.ask(Act{"publish", 2, "x"}, {.operation = id});
  scene.settle();
  CHECK(scene.told(scene.ask(Act{"publish and reject", 1, ""})) == "");
  scene.ask(Act{"publish", 1, "y"});
  scene.settle();
  scene.activate();  // the owner crashes
  scene.ask(Act{"publish", 1, "z"});
  scene.settle();
  REQUIRE(scene.events.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const PendingEvent& event = scene.events[i];
    CHECK(event.number == i + 1);
    CHECK(event.source == scene.entity);
    CHECK(event.name == "Noted");
    CHECK(event.epoch == scene.token.epoch);
    for (std::size_t j = 0; j < i; ++j) CHECK(event.id != scene.events[j].id);
  }
  CHECK(decode<Noted>(scene.events[1].payload).value().number == 1);
}

TEST_CASE("A command that runs again publishes under the same message ids") {
  std::vector<std::vector<PendingEvent>> runs;
  for (int run = 0; run < 2; ++run) {
    Scene scene;
    scene.warm();
    scene.ask(Act{"publish", 2, ""}, {.operation = OperationId{5, 5}});
    scene.settle();
    runs.push_back(scene.events);
  }
  REQUIRE(runs[0].size() == 2);
  CHECK(runs[0][0].id == runs[1][0].id);
  CHECK(runs[0][1].id == runs[1][1].id);
}

TEST_CASE(
    "What a turn sends carries its trace if somebody looks at that, and else not a byte for it") {
  for (const std::uint8_t flags : {std::uint8_t{0}, std::uint8_t{1}}) {
    Scene scene;
    scene.warm();
    const TraceContext own{1, 2, 3, flags};
    const TraceContext kept = flags == 1 ? own : TraceContext{};
    for (const char* what : {"tell", "timer"}) {
      Envelope envelope;
      envelope.entity = scene.entity;
      envelope.message = "Act";
      envelope.payload = encode(Act{what, 1, "x"});
      envelope.operation = scene.new_id();
      envelope.operation_ms = scene.cluster();
      envelope.deadline_ms = scene.now + 5000;
      envelope.trace = own;
      scene.arrive(envelope);
      scene.settle();
    }
    REQUIRE(scene.outbox.size() == 1);
    CHECK(scene.outbox[0].trace == kept);
    REQUIRE(scene.timers.size() == 1);
    CHECK(parse_timer_message(scene.timers[0].message).value().trace == kept);
  }
}

// ---- at the door ------------------------------------------------------------------------------

TEST_CASE(
    "A command is refused when its clock is ahead, its time is over or nobody knows its name") {
  Scene scene;
  scene.warm();
  CHECK(scene.told(scene.ask(Deposit{1}, {.time = scene.cluster() + 2001})) == "unavailable");
  CHECK(scene.told(scene.ask(Deposit{1}, {.deadline = 0})) == "timeout");
  CHECK(scene.told(scene.ask(Get{}, {.deadline = 0})) == "timeout");
  Envelope strange;
  strange.message = "Nonsense";
  strange.operation = scene.new_id();
  strange.operation_ms = scene.cluster();
  strange.deadline_ms = scene.now + 100;
  CHECK(scene.told(scene.arrive(strange)) == "not_found");
  strange.message = "Deposit";
  strange.payload = "\xc1";
  CHECK(scene.told(scene.arrive(strange)) == "malformed");
  CHECK(scene.commits.empty());
  scene.ask(Deposit{1}, {.time = scene.cluster() + 2000});
  scene.settle();
  CHECK(scene.told(scene.ask(Get{})) == "1");
}

TEST_CASE("A clock that was behind costs a command a repeat, and a timer another shot") {
  Scene scene;
  scene.warm();
  scene.fire("early", {"", 0, ""}, scene.cluster() + 3000);
  REQUIRE(scene.failed_timers.size() == 1);
  CHECK(scene.failed_timers[0].second == Code::unavailable);  // fired again by the shard
  const How ahead{.operation = scene.new_id(), .time = scene.cluster() + 3000};
  CHECK(scene.told(scene.ask(Deposit{1}, ahead)) == "unavailable");
  scene.advance(1000);
  const auto again = scene.ask(Deposit{1}, ahead);
  scene.settle();
  CHECK(scene.told(again) == "1");
}

// ---- remembering ------------------------------------------------------------------------------

TEST_CASE(
    "A repeat gets the one answer whether its first copy is queued, uncommitted, committed or of "
    "another life") {
  Scene scene;
  const OperationId id = scene.new_id();
  const How same{.operation = id, .time = scene.cluster()};
  const auto queued = scene.ask(Deposit{5}, same);
  const auto beside = scene.ask(Deposit{5}, same);
  scene.run_load();
  const auto uncommitted = scene.ask(Deposit{5}, same);
  CHECK(scene.commits.size() == 1);
  for (const auto n : {queued, beside, uncommitted}) CHECK(scene.told(n) == "");
  scene.commit();
  const auto committed = scene.ask(Deposit{5}, same);
  for (const auto n : {queued, beside, uncommitted, committed}) CHECK(scene.told(n) == "5");
  CHECK(scene.commits.size() == 1);
  scene.activate();
  const auto later = scene.ask(Deposit{5}, same);
  scene.run_load();
  CHECK(scene.told(later) == "5");
  CHECK(scene.commits.size() == 1);
}

TEST_CASE("A recorded answer waits for the commits it stands behind") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  scene.ask(Deposit{5}, {.operation = id});
  scene.commit();
  scene.ask(Deposit{7});
  const auto again = scene.ask(Deposit{5}, {.operation = id});
  CHECK(scene.told(again) == "");
  scene.commit();
  CHECK(scene.told(again) == "5");
}

TEST_CASE("Another request under a known id is malformed, however far the first one is") {
  Scene scene;
  scene.warm();
  const OperationId id = scene.new_id();
  scene.ask(Deposit{5}, {.operation = id});
  const auto early = scene.ask(Deposit{6}, {.operation = id});
  const auto other = scene.ask(Withdraw{5}, {.operation = id});
  scene.settle();
  CHECK(scene.told(early) == "malformed");
  CHECK(scene.told(other) == "malformed");
  CHECK(scene.told(scene.ask(Deposit{6}, {.operation = id})) == "malformed");
  scene.activate();
  const auto late = scene.ask(Deposit{6}, {.operation = id});
  scene.run_load();
  CHECK(scene.told(late) == "malformed");
  CHECK(scene.told(scene.ask(Get{})) == "5");
}

TEST_CASE("An id older than the retention is expired, but a record that is still there wins") {
  Scene scene;
  scene.limits.retention = 60'000;
  scene.warm();
  const How old{.operation = scene.new_id(), .time = scene.cluster()};
  scene.ask(Deposit{5}, old);
  scene.commit();
  scene.advance(60'001);
  CHECK(scene.told(scene.ask(Deposit{5}, old)) == "5");
  CHECK(scene.told(scene.ask(Deposit{5}, {.time = scene.cluster() - 60'001})) == "expired");
  scene.ask(Deposit{7}, {.time = scene.cluster() - 60'000});
  scene.settle();
  CHECK(scene.told(scene.ask(Get{})) == "12");
}

TEST_CASE("A command that may have been recorded before is looked up, once, before it runs") {
  Scene scene;
  scene.prepare(65, scene.cluster() - 10'000);  // more than the store returns whole
  scene.warm();
  CHECK(scene.loads.size() == 1);
  const How same{.operation = scene.new_id(),
                 .time = scene.cluster() + 1000};  // the slack for other clocks
  const auto first = scene.ask(Deposit{5}, same);
  const auto query = scene.ask(Get{});  // behind it, in order
  REQUIRE(scene.loads.size() == 2);
  CHECK(scene.loads[1].load.wanted == std::vector<OperationId>{same.operation});
  CHECK(scene.commits.empty());
  scene.run_load();
  REQUIRE(scene.commits.size() == 1);
  CHECK(scene.told(query) == "");
  scene.commit();
  CHECK(scene.told(first) == "5");
  CHECK(scene.told(query) == "5");
  scene.ask(Deposit{5}, same);
  CHECK(scene.loads.size() == 2);
  scene.ask(Deposit{1}, {.time = scene.cluster() + 1001});  // it cannot have been seen before
  CHECK(scene.loads.size() == 2);
  CHECK(scene.commits.size() == 2);
}

TEST_CASE("The load that activates looks up the ids that wait") {
  Scene scene;
  scene.prepare(65, scene.cluster() - 10'000);
  const auto known =
      scene.ask(Deposit{5}, {.operation = OperationId{3, 9}, .time = scene.cluster() - 10'000});
  scene.ask(Deposit{1});
  scene.fail_load(Code::unknown);
  scene.advance(10);
  CHECK(scene.loads.back().load.wanted.size() == 2);
  scene.run_load();
  CHECK(scene.told(known) == "malformed");  // found: recorded for another request
  scene.settle();
  CHECK(scene.told(scene.ask(Get{})) == "1");
}

TEST_CASE("What falls out of memory is looked up in the store") {
  Scene scene;
  scene.limits.ids_in_memory = 2;
  scene.warm();
  const How first{.operation = scene.new_id(), .time = scene.cluster()};
  scene.ask(Deposit{5}, first);
  scene.settle();
  for (int i = 0; i < 3; ++i) {
    scene.advance(10);
    scene.ask(Deposit{1});
    scene.settle();
  }
  CHECK(scene.loads.size() == 1);
  const auto again = scene.ask(Deposit{5}, first);
  CHECK(scene.loads.size() == 2);
  scene.settle();
  CHECK(scene.told(again) == "5");
  CHECK(scene.told(scene.ask(Get{})) == "8");
}

TEST_CASE("An id from outside, without a time, is looked up and runs once") {
  Scene scene;
  scene.limits.ids_in_memory = 1;
  scene.warm();
  const How same{.operation = scene.new_id(), .time = 0};
  const auto first = scene.ask(Deposit{5}, same);
  scene.settle();
  CHECK(scene.told(first) == "5");
  const std::int64_t recorded_ms = scene.commits[0].commit.operations[0].second.time_ms;
  CHECK(recorded_ms == scene.cluster());  // never 0: the floor would be above it
  CHECK(scene.told(scene.ask(Deposit{5}, same)) == "5");
  scene.ask(Deposit{1});
  scene.settle();
  const auto again = scene.ask(Deposit{5}, same);  // no longer in memory
  scene.settle();
  CHECK(scene.told(again) == "5");
  scene.activate();
  const auto later = scene.ask(Deposit{5}, same);
  scene.settle();
  CHECK(scene.told(later) == "5");
  CHECK(scene.told(scene.ask(Get{})) == "6");
}

TEST_CASE("A look-up that fails is made again, and at the deadline its command is unavailable") {
  Scene scene;
  scene.prepare(65, scene.cluster() - 10'000);
  scene.warm();
  const auto lost = scene.ask(Deposit{5}, {.deadline = 100});
  scene.fail_load(Code::unknown);
  scene.advance(50);
  CHECK(scene.loading());
  CHECK(scene.told(lost) == "");
  scene.advance(100);
  scene.fail_load(Code::unknown);
  CHECK(scene.told(lost) == "unavailable");
  const auto next = scene.ask(Deposit{1});
  scene.advance(1000);
  scene.settle();
  CHECK(scene.told(next) == "1");
}

TEST_CASE("What the store dropped before its time is expired, also behind a commit under way") {
  Scene scene;
  scene.limits.ids_in_memory = 1;
  scene.warm();
  const How first{.operation = scene.new_id(), .time = scene.cluster()};
  scene.ask(Deposit{1}, first);
  scene.settle();
  scene.advance(10);
  scene.ask(Deposit{1});
  scene.settle();  // the first is not in memory any more
  scene.store_leap = 2 * scene.limits.retention + 60'000;
  scene.advance(10);
  scene.ask(Deposit{1});  // its commit is under way
  const auto again = scene.ask(Deposit{1}, first);
  scene.run_load();
  scene.settle();
  CHECK(scene.told(again) == "expired");
  CHECK(scene.told(scene.ask(Get{})) == "3");
}

// ---- generations ------------------------------------------------------------------------------

TEST_CASE("Generations of ids rotate by size, and what was dropped is expired") {
  Scene scene;
  scene.limits.id_bytes_per_entity = 800;  // four records of 101 bytes fill half of it
  scene.limits.ids_in_memory = 1;
  scene.warm();
  std::vector<How> all;
  std::vector<bool> rotated, gave_ttl;
  for (int i = 0; i < 12; ++i) {
    scene.advance(10);
    all.push_back({.operation = scene.new_id(), .time = scene.cluster()});
    scene.ask(Deposit{1}, all.back());
    rotated.push_back(scene.commits.back().commit.rotate);
    gave_ttl.push_back(scene.commits.back().commit.operations_ttl.has_value());
    scene.settle();
  }
  const std::vector<bool> expected{false, false, false, false, true,  false,
                                   false, false, true,  false, false, false};
  CHECK(rotated == expected);
  std::vector<bool> first_of_generation = expected;
  first_of_generation[0] = true;
  CHECK(gave_ttl == first_of_generation);  // once per generation
  CHECK(scene.records() == 8);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto again = scene.ask(Deposit{1}, all[i]);
    scene.settle();
    CHECK_MESSAGE(scene.told(again) == (i < 4 ? "expired" : std::to_string(i + 1)), "operation ",
                  i);
  }
  scene.activate();  // the floor is stored with the state
  const auto again = scene.ask(Deposit{1}, all[3]);
  scene.settle();
  CHECK(scene.told(again) == "expired");
  CHECK(scene.told(scene.ask(Get{})) == "12");
}

TEST_CASE("Generations rotate by number, not sooner than after ten minutes") {
  Scene scene;
  scene.limits.ids_per_entity = 4;
  scene.warm();
  for (int i = 0; i < 5; ++i) {
    scene.ask(Deposit{1});
    CHECK_FALSE(scene.commits.back().commit.rotate);
    scene.settle();
  }
  scene.advance(600'000);
  scene.ask(Deposit{1});
  CHECK_FALSE(scene.commits.back().commit.rotate);
  scene.settle();
  scene.advance(1);
  scene.ask(Deposit{1});
  CHECK(scene.commits.back().commit.rotate);
  scene.settle();
  CHECK(scene.records() == 7);  // the older generation was empty
}

TEST_CASE("A generation older than the retention rotates, so that an idle entity cleans up") {
  Scene scene;
  scene.limits.retention = 100'000;
  scene.warm();
  scene.ask(Deposit{1});
  scene.settle();
  scene.advance(100'001);
  scene.ask(Deposit{1});
  CHECK(scene.commits.back().commit.rotate);
  scene.settle();
  CHECK(scene.records() == 2);
  scene.advance(100'001);
  scene.ask(Deposit{1});
  CHECK(scene.commits.back().commit.rotate);
  scene.settle();
  CHECK(scene.records() == 2);
}

TEST_CASE(
    "An id whose time was ahead is remembered until the retention has passed by its own time") {
  Scene scene;
  scene.limits.retention = 100'000;
  scene.limits.ids_in_memory = 1;
  scene.warm();
  scene.ask(Deposit{1});
  scene.settle();
  scene.advance(100'000);
  const How ahead{.operation = scene.new_id(), .time = scene.cluster() + 2000};
  scene.ask(Deposit{10}, ahead);
  scene.settle();
  scene.advance(101'000);
  scene.activate();
  const auto again = scene.ask(Deposit{10}, ahead);
  scene.settle();
  CHECK(scene.told(again) == "11");
  CHECK(scene.told(scene.ask(Get{})) == "11");
}

// ---- when the store does not say OK -----------------------------------------------------------

TEST_CASE(
    "A commit without an answer is sent again as it is until the store says what became of it") {
  Scene scene;
  scene.warm();
  const auto deposit = scene.ask(Deposit{5});
  scene.run();  // it was carried out, but who knows
  scene.fail(Code::unknown);
  CHECK(scene.told(deposit) == "");
  const auto waiting = scene.ask(Deposit{1});
  CHECK(scene.commits.size() == 1);
  scene.advance(10);
  REQUIRE(scene.commits.size() == 2);
  CHECK(scene.commits[1].commit.next == scene.commits[0].commit.next);
  CHECK(scene.commits[1].commit.operations == scene.commits[0].commit.operations);
  CHECK(scene.commits[1].commit.state == scene.commits[0].commit.state);
  scene.fail(Code::unknown);
  scene.advance(60'000);
  CHECK(scene.committing());
  scene.run();
  CHECK(scene.commits.back().result->value().outcome == Committed::Outcome::already);
  scene.deliver();
  CHECK(scene.told(deposit) == "5");
  CHECK(cents_told(scene) == std::vector<std::int64_t>{5});
  CHECK_FALSE(scene.ids_known);  // the relay must read the stream
  scene.settle();
  CHECK(scene.told(waiting) == "timeout");  // its deadline passed before its turn could start
  scene.ask(Deposit{1});
  scene.ask(Deposit{1});
  CHECK(scene.activation->queued() == 0);  // and the next commit is not under suspicion
}

TEST_CASE("While the fate of a commit is open no turn starts") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{5});
  scene.fail(Code::unknown);
  const auto next = scene.ask(Deposit{1});
  CHECK(scene.activation->queued() == 1);
  scene.advance(10);
  scene.commit();
  CHECK(scene.activation->queued() == 0);
  scene.settle();
  CHECK(scene.told(next) == "6");
}

TEST_CASE(
    "A refused commit is repeated; refused for too long, what it holds is unavailable and the "
    "state loaded again") {
  for (const bool lost_once : {false, true}) {
    CAPTURE(lost_once);
    Scene scene;
    scene.warm();
    const auto deposit = scene.ask(Deposit{5});
    const auto query = scene.ask(Get{});
    const auto formed = scene.ask(Deposit{7});
    const std::string version = scene.commits[0].commit.next;
    if (lost_once) {
      scene.fail(Code::unknown);
      scene.advance(10);
    }
    const std::int64_t begun = scene.now;
    while (scene.told(deposit) == "") {
      REQUIRE(scene.now - begun <= 3000);
      scene.fail(Code::unavailable);
      scene.advance(500);
      if (scene.committing()) CHECK(scene.commits.back().commit.next == version);
    }
    CHECK(scene.now - begun >= scene.limits.refused_for);
    CHECK(scene.told(deposit) == (lost_once ? "unknown" : "unavailable"));
    CHECK(scene.told(query) == "unavailable");
    CHECK(scene.told(formed) == (lost_once ? "unknown" : "unavailable"));
    const auto after = scene.ask(Get{});
    scene.settle();
    CHECK(scene.told(after) == "0");
    CHECK(scene.records() == 0);
  }
}

TEST_CASE("After a conflict everything held is unknown and the state is loaded again") {
  Scene scene;
  scene.warm();
  const How same{.operation = scene.new_id(), .time = scene.cluster()};
  const auto deposit = scene.ask(Deposit{5}, same);
  const auto copy = scene.ask(Deposit{5}, same);
  const auto query = scene.ask(Get{});
  const auto formed = scene.ask(Deposit{7});
  scene.prepare(1, scene.cluster());  // another history
  scene.commit();
  CHECK(scene.told(deposit) == "unknown");
  CHECK(scene.told(copy) == "unknown");
  CHECK(scene.told(query) == "unavailable");
  CHECK(scene.told(formed) == "unknown");
  CHECK(scene.troubles.size() == 1);
  CHECK(scene.outbox.empty());
  const auto again = scene.ask(Deposit{5}, same);
  scene.settle();
  CHECK(scene.told(again) == "5");
  CHECK(scene.commits.back().commit.expected == "1.4000000000");
}

TEST_CASE(
    "A conflict while the answer of a look-up is on its way: that answer is not taken for the new "
    "load") {
  Scene scene;
  scene.prepare(65, scene.cluster() - 10'000);
  scene.warm();
  scene.ask(Deposit{5}, {.time = scene.cluster() + 1500});
  const auto looked_up = scene.ask(Deposit{1});
  REQUIRE(scene.loading());
  scene.hold_load();
  Commit other = scene.commits[0].commit;  // a late copy of another life
  other.next = "2.99";
  other.state = encode(Account::State{70, ""});
  scene.stores.state().commit(other, [](Result<Committed> done) { REQUIRE(done.ok()); });
  scene.commit();
  const auto query = scene.ask(Get{});
  scene.deliver_load(1);
  CHECK(scene.told(query) == "");
  scene.settle();
  CHECK(scene.told(query) == "71");  // behind the deposit
  CHECK(scene.told(looked_up) == "71");
}

TEST_CASE("A write half done drops the memory: unknown, and the trouble is reported") {
  Scene scene;
  scene.warm();
  const auto deposit = scene.ask(Deposit{5});
  scene.fail(Code::failed);
  CHECK(scene.told(deposit) == "unknown");
  CHECK(scene.troubles.size() == 1);
}

TEST_CASE(
    "When the store knows an operation that we do not, all that was held runs again in order") {
  Scene scene;
  scene.warm();
  const How known{.operation = OperationId{3, 1}, .time = scene.cluster() + 1500};
  scene.ask(Deposit{3});
  scene.commit();
  const auto repeated = scene.ask(Deposit{5}, known);
  const auto copy = scene.ask(Deposit{5}, known);
  const auto fresh = scene.ask(Deposit{7});
  const auto query = scene.ask(Get{});
  const auto rejected = scene.ask(Withdraw{1000});
  const Committed duplicate{Committed::Outcome::duplicate,
                            "",
                            std::nullopt,
                            {{known.operation,
                              {OperationRecord::Type::reply,
                               scene.commits.back().commit.operations[0].second.request_hash,
                               scene.cluster(), encode(std::int64_t{105})}}},
                            {}};
  scene.commits.back().result = duplicate;
  scene.deliver();
  CHECK(scene.told(repeated) == "");
  scene.settle();
  CHECK(scene.told(repeated) == "105");
  CHECK(scene.told(copy) == "105");
  CHECK(scene.told(fresh) == "10");
  CHECK(scene.told(query) == "10");
  CHECK(scene.told(rejected) == "rejected");
}

TEST_CASE("Fenced under our token: the shard is asked, and nothing leaves before its word") {
  Scene scene;
  scene.warm();
  const auto deposit = scene.ask(Deposit{5});
  const OwnerToken old = scene.token;
  const OwnerToken bumped = scene.claim(old.incarnation);
  scene.commit();
  CHECK(scene.fences == std::vector<OwnerToken>{old});
  CHECK(scene.told(deposit) == "");
  const auto next = scene.ask(Deposit{1});
  CHECK(scene.commits.size() == 1);
  SUBCASE("it is ours under another token: the same commit goes on") {
    scene.activation->retoken(bumped);
    REQUIRE(scene.commits.size() == 2);
    CHECK(scene.commits[1].commit.token == bumped);
    CHECK(scene.commits[1].commit.next == scene.commits[0].commit.next);
    scene.settle();
    CHECK(scene.told(deposit) == "5");
    CHECK(scene.told(next) == "6");
  }
  SUBCASE("it is lost: what is held is unknown, what has not run can be taken along") {
    scene.activation->drop();
    CHECK(scene.told(deposit) == "unknown");
    CHECK(scene.told(next) == "");
    CHECK(scene.activation->take_queue().size() == 1);
  }
}

TEST_CASE(
    "Fenced under an older token of ours is no news: the same commit goes out under the new one") {
  Scene scene;
  scene.warm();
  const auto deposit = scene.ask(Deposit{5});
  const OwnerToken bumped = scene.claim(scene.token.incarnation);
  scene.run();
  scene.activation->retoken(bumped);
  scene.deliver();
  CHECK(scene.fences.empty());
  REQUIRE(scene.commits.size() == 2);
  CHECK(scene.commits[1].commit.token == bumped);
  CHECK(scene.commits[1].commit.next == scene.commits[0].commit.next);
  scene.settle();
  CHECK(scene.told(deposit) == "5");
}

TEST_CASE(
    "A load or look-up that was fenced under an older token is made again under the new one") {
  for (const bool look_up : {false, true}) {
    CAPTURE(look_up);
    Scene scene;
    if (look_up) {
      scene.prepare(65, scene.cluster());
      scene.warm();
    }
    const auto deposit = scene.ask(Deposit{5});
    REQUIRE(scene.loading());
    const OwnerToken old = scene.token;
    const OwnerToken bumped = scene.claim(old.incarnation);
    scene.hold_load();
    SUBCASE("the new token is known first") {
      scene.activation->retoken(bumped);
      scene.deliver_load();
      CHECK(scene.fences.empty());
    }
    SUBCASE("the answer comes first") {
      scene.deliver_load();
      CHECK(scene.fences == std::vector<OwnerToken>{old});
      scene.activation->retoken(bumped);
    }
    REQUIRE(scene.loading());
    CHECK(scene.loads.back().load.token == bumped);
    scene.settle();
    CHECK(scene.told(deposit) == "5");
  }
}

TEST_CASE("Fenced with a look-up on its way: one load at a time, also after the new token") {
  Scene scene;
  scene.prepare(65, scene.cluster());
  scene.warm();
  const auto deposit = scene.ask(Deposit{5}, {.time = scene.cluster() + 1500});
  const auto looked_up = scene.ask(Deposit{1});
  REQUIRE(scene.loading());
  const OwnerToken bumped = scene.claim(scene.token.incarnation);
  scene.commit();
  CHECK(scene.fences.size() == 1);
  scene.activation->retoken(bumped);  // the scene checks that no second load is sent
  scene.settle();
  CHECK(scene.told(deposit) == "5");
  CHECK(scene.told(looked_up) == "6");
}

TEST_CASE("A late answer of an older commit is not taken for that of a younger one") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{5});
  scene.commit();
  const auto second = scene.ask(Deposit{1});
  scene.activation->committed(scene.commits[0].commit.next, scene.token, Committed{});
  scene.activation->committed(scene.commits[0].commit.next, scene.token,
                              Error{Code::failed, "late"});
  CHECK(scene.told(second) == "");
  CHECK(scene.activation->committing());
  scene.commit();
  CHECK(scene.told(second) == "6");
}

TEST_CASE("An activation that crashed leaves a commit on its way: its successor notices") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{5});
  scene.activate();
  const auto deposit = scene.ask(Deposit{5});
  scene.run_load();
  scene.run(0);  // the late copy
  scene.commit(1);
  CHECK(scene.told(deposit) == "unknown");
  const auto query = scene.ask(Get{});
  scene.settle();
  CHECK(scene.told(query) == "5");
}

TEST_CASE(
    "A look-up that shows a newer version than ours loads again: no query shows less than the "
    "record it found") {
  Scene scene;
  scene.prepare(65, scene.cluster() - 10'000);
  scene.warm();
  const How same{.operation = scene.new_id(), .time = scene.cluster()};
  scene.ask(Deposit{5}, same);
  scene.run_load();
  REQUIRE(scene.committing());
  scene.activate();  // it crashed; its commit is still on its way
  scene.warm();
  scene.run(0);
  const auto again = scene.ask(Deposit{5}, same);
  scene.settle();
  CHECK(scene.told(again) == "5");
  CHECK(scene.told(scene.ask(Get{})) == "5");
}

// ---- loading ----------------------------------------------------------------------------------

TEST_CASE(
    "A load is tried again until the deadlines have passed; then those who wait are unavailable") {
  Scene scene;
  const auto hasty = scene.ask(Deposit{5}, {.deadline = 40});
  const auto patient = scene.ask(Deposit{5}, {.deadline = 5000});
  scene.fail_load(Code::unavailable);
  CHECK(scene.told(hasty) == "");
  scene.advance(50);
  scene.fail_load(Code::unknown);
  CHECK(scene.told(hasty) == "unavailable");
  CHECK(scene.told(patient) == "");
  CHECK_FALSE(scene.activation->idle());
  scene.advance(500);
  scene.settle();
  CHECK(scene.told(patient) == "5");
}

TEST_CASE("A state that cannot be read is reported, its callers told, and the memory of no use") {
  Scene scene;
  Commit past;
  past.shard = scene.shard;
  past.token = scene.token;
  past.entity = scene.entity;
  past.next = "1.1";
  past.state = "\xc1";
  scene.stores.state().commit(past, [](Result<Committed> answer) { REQUIRE(answer.ok()); });
  const auto deposit = scene.ask(Deposit{5});
  scene.run_load();
  CHECK(scene.told(deposit) == "failed");
  CHECK(scene.troubles.size() == 1);
  CHECK(scene.activation->idle());
  CHECK(scene.activation->wants_to_leave());
}

TEST_CASE("A memory of operation ids that cannot be read is reported, and the entity goes on") {
  Scene scene;
  Commit past;
  past.shard = scene.shard;
  past.token = scene.token;
  past.entity = scene.entity;
  past.next = "1.1";
  past.bookkeeping = "\x02 of a later version";
  scene.stores.state().commit(past, [](Result<Committed> answer) { REQUIRE(answer.ok()); });
  const auto deposit = scene.ask(Deposit{5});
  scene.settle();
  CHECK(scene.told(deposit) == "5");
  CHECK(scene.troubles.size() == 1);
}

TEST_CASE("A load that no repeat will mend fails its callers") {
  Scene scene;
  const auto deposit = scene.ask(Deposit{5});
  scene.fail_load(Code::failed);
  CHECK(scene.told(deposit) == "failed");
  CHECK(scene.activation->wants_to_leave());
}

// ---- bounds -----------------------------------------------------------------------------------

TEST_CASE("A turn beyond its bounds fails and is undone") {
  ActivationLimits limits;
  limits.state_max = 100;
  limits.reply_max = 100;
  limits.outputs_max = 3;
  limits.output_bytes_max = 1000;
  limits.event_max = 500;
  Scene scene(limits);
  scene.warm();
  scene.ask(Deposit{5});
  scene.settle();
  const std::size_t commits = scene.commits.size();
  for (const Act& act :
       {Act{"fill", 101, ""}, Act{"reply", 101, ""}, Act{"tell", 4, ""}, Act{"tell much", 1001, ""},
        Act{"publish", 4, ""}, Act{"publish much", 501, ""}}) {
    CHECK_MESSAGE(scene.told(scene.ask(act)) == "failed", act.what);
  }
  CHECK(scene.commits.size() == commits);
  CHECK(scene.told(scene.ask(Get{})) == "5");
  scene.ask(Act{"reply", 50, ""});
  scene.ask(Act{"tell", 3, ""});
  scene.settle();
  CHECK(scene.outbox.size() == 4);
  CHECK(scene.told(scene.ask(Get{})) == "6");
}

TEST_CASE("No further turn starts beyond the bound of uncommitted turns") {
  ActivationLimits limits;
  limits.turns_uncommitted = 4;
  Scene scene(limits);
  scene.warm();
  std::vector<std::size_t> all;
  for (int i = 0; i < 7; ++i) all.push_back(scene.ask(Deposit{1}));
  CHECK(scene.activation->queued() == 3);
  scene.commit();
  CHECK(scene.activation->queued() == 2);
  CHECK(scene.commits.back().commit.operations.size() == 3);  // those that had run; one more may
  scene.settle();
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(scene.told(all[i]) == std::to_string(i + 1));
}

TEST_CASE("The next commit is on its way before the answers of the one before it leave") {
  Scene scene;
  scene.warm();
  scene.commits_at_answer.clear();
  const std::size_t first = scene.ask(Deposit{1});
  scene.ask(Deposit{1});
  REQUIRE(scene.commits.back().commit.operations.size() == 1);
  const std::size_t sent = scene.commits.size();
  scene.commit();
  CHECK(scene.told(first) == "1");
  CHECK(scene.commits_at_answer == std::vector<std::size_t>{sent + 1});
  scene.settle();
}

TEST_CASE("No further turn starts beyond the bound of held bytes") {
  ActivationLimits limits;
  limits.bytes_held = 3000;
  Scene scene(limits);
  scene.warm();
  scene.ask(Act{"reply", 1500, ""});
  scene.ask(Act{"reply", 1500, ""});
  scene.ask(Get{});
  CHECK(scene.activation->queued() == 1);
  scene.settle();
  CHECK(scene.activation->queued() == 0);
}

// ---- coming and going -------------------------------------------------------------------------

TEST_CASE("Draining starts nothing new, and is done when no write is unanswered") {
  Scene scene;
  scene.warm();
  const auto first = scene.ask(Deposit{1});
  const auto second = scene.ask(Deposit{2});
  scene.activation->drain();
  const auto third = scene.ask(Deposit{4});
  CHECK_FALSE(scene.activation->drained());
  scene.commit();
  CHECK(scene.told(first) == "1");
  CHECK_FALSE(scene.activation->drained());
  scene.commit();
  CHECK(scene.told(second) == "3");
  CHECK(scene.activation->drained());
  CHECK(scene.told(third) == "");
  SUBCASE("the queue goes to the next owner") {
    const auto rest = scene.activation->take_queue();
    REQUIRE(rest.size() == 1);
    CHECK(rest.front().correlation == third);
  }
  SUBCASE("the move was called off") {
    scene.activation->resume();
    CHECK_FALSE(scene.activation->drained());
    scene.settle();
    CHECK(scene.told(third) == "7");
  }
}

TEST_CASE("Without the session no turn starts; with it they go on") {
  Scene scene;
  scene.warm();
  scene.session = false;
  const auto query = scene.ask(Get{});
  const auto deposit = scene.ask(Deposit{1});
  CHECK(scene.told(query) == "");
  CHECK(scene.commits.empty());
  scene.session = true;
  scene.activation->resume();
  CHECK(scene.told(query) == "0");
  scene.settle();
  CHECK(scene.told(deposit) == "1");
}

TEST_CASE("A dropped activation has answered what it held, and ignores what comes later") {
  Scene scene;
  scene.warm();
  const How same{.operation = scene.new_id(), .time = scene.cluster()};
  const auto deposit = scene.ask(Deposit{1}, same);
  const auto copy = scene.ask(Deposit{1}, same);
  const auto query = scene.ask(Get{});
  const auto failed = scene.ask(Act{"throw", 0, ""});
  const auto formed = scene.ask(Deposit{2});
  scene.activation->drop();
  CHECK(scene.told(deposit) == "unknown");
  CHECK(scene.told(copy) == "unknown");
  CHECK(scene.told(query) == "unavailable");
  CHECK(scene.told(failed) == "unavailable");
  CHECK(scene.told(formed) == "unknown");
  const auto late = scene.ask(Deposit{4});
  scene.commit();
  scene.activation->woken();
  CHECK(scene.told(late) == "");
  CHECK(scene.activation->take_queue().size() == 1);
  CHECK(scene.commits.size() == 1);
}

TEST_CASE("An entity is idle when nothing is queued, held, suspended or unanswered") {
  Scene scene;
  CHECK(scene.activation->idle());
  scene.ask(Get{});
  CHECK_FALSE(scene.activation->idle());
  scene.run_load();
  CHECK(scene.activation->idle());
  scene.ask(Deposit{1});
  CHECK_FALSE(scene.activation->idle());
  scene.commit();
  CHECK(scene.activation->idle());
  scene.ask(Collect{"bob", 1, ""});
  CHECK_FALSE(scene.activation->idle());
  scene.reply_to_ask(0, encode(std::int64_t{1}));
  scene.commit();
  CHECK(scene.activation->idle());
  CHECK_FALSE(scene.activation->wants_to_leave());
  scene.ask(Act{"passivate", 0, ""});
  CHECK_FALSE(scene.activation->wants_to_leave());
  scene.commit();
  CHECK(scene.activation->wants_to_leave());
}

TEST_CASE("After a conflict with nobody waiting the empty memory is idle") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{1});
  scene.prepare(1, scene.cluster());
  scene.commit();
  CHECK(scene.activation->idle());
}

TEST_CASE(
    "Erasing leaves an empty state for the retention, with version and records; a later command "
    "keeps it for good") {
  Scene scene;
  scene.limits.retention = 100'000;
  scene.warm();
  const How same{.operation = scene.new_id(), .time = scene.cluster()};
  scene.ask(Deposit{5}, same);
  scene.settle();
  const auto erased = scene.ask(Act{"erase", 0, ""});
  CHECK(scene.commits.back().commit.expire_in == std::chrono::milliseconds(100'000));
  CHECK(scene.commits.back().commit.state == "");
  scene.settle();
  CHECK(scene.told(erased) == "done");
  CHECK(scene.told(scene.ask(Get{})) == "0");
  CHECK(scene.told(scene.ask(Deposit{5}, same)) == "5");  // a late copy does not bring it back
  CHECK(scene.stored().version == scene.commits.back().commit.next);
  SUBCASE("nothing comes: it goes away") {
    scene.advance(100'001);
    CHECK(scene.stored().version.empty());
  }
  SUBCASE("a later command clears the time to live, also after a restart") {
    scene.activate();
    scene.ask(Deposit{1});
    scene.run_load();
    CHECK(scene.commits.back().commit.expire_in == std::chrono::milliseconds(0));
    scene.settle();
    scene.ask(Deposit{1});
    CHECK_FALSE(scene.commits.back().commit.expire_in);
    scene.settle();
    scene.advance(200'000);
    CHECK(scene.stored().state == encode(Account::State{2, ""}));
  }
  SUBCASE("in one commit the last turn decides") {
    scene.ask(Deposit{1});
    scene.ask(Act{"erase", 0, ""});
    scene.ask(Deposit{1});
    scene.settle();
    scene.advance(200'000);
    CHECK(scene.stored().state == encode(Account::State{1, ""}));
  }
}

// ---- timers -----------------------------------------------------------------------------------

TEST_CASE("The turn of a timer removes it in its commit and records no operation") {
  Scene scene;
  scene.ask(Act{"timer", 1000, "t"});
  scene.settle();
  REQUIRE(scene.timers.size() == 1);
  const std::int64_t due = *scene.timers[0].due_ms;
  CHECK(due == scene.cluster() + 1000);
  CHECK(parse_timer_message(scene.timers[0].message).value().message == "Act");
  scene.advance(1000);
  scene.fire("t", Act{"alarm", 0, ""}, due);
  REQUIRE(scene.committing());
  CHECK(scene.commits.back().commit.operations.empty());
  REQUIRE(scene.commits.back().commit.timers.size() == 1);
  CHECK(scene.commits.back().commit.timers[0].member == member("t"));
  CHECK_FALSE(scene.commits.back().commit.timers[0].due_ms);
  scene.settle();
  CHECK(scene.timers.size() == 2);
  CHECK(scene.failed_timers.empty());
  CHECK(scene.told(scene.ask(Get{})) == "1");
}

TEST_CASE("A timer that sets itself anew is moved, not removed") {
  Scene scene;
  scene.warm();
  scene.fire("r", Act{"again", 500, "r"}, scene.cluster());
  REQUIRE(scene.commits.back().commit.timers.size() == 1);
  CHECK(scene.commits.back().commit.timers[0].due_ms == scene.cluster() + 500);
}

TEST_CASE("A timer that was fired by a clock ahead of the handler's is not early for its handler") {
  Scene scene;
  scene.warm();
  scene.fire("r", Act{"again", 500, "r"}, scene.cluster() + 3);
  REQUIRE(scene.commits.back().commit.timers.size() == 1);
  CHECK(scene.commits.back().commit.timers[0].due_ms == scene.cluster() + 503);
}

TEST_CASE("A rejected shot ends with its commit; a failed one is reported and keeps its timer") {
  Scene scene;
  scene.warm();
  scene.plant_timer("t", scene.cluster());
  scene.fire("t", Act{"reject", 0, ""}, scene.cluster());
  REQUIRE(scene.committing());
  CHECK_FALSE(scene.commits.back().commit.timers.at(0).due_ms);
  scene.settle();
  CHECK(scene.failed_timers.empty());
  CHECK(scene.timers.size() == 1);
  const std::size_t commits = scene.commits.size();
  scene.fire("u", Act{"throw", 0, ""}, scene.cluster());
  CHECK(scene.commits.size() == commits);
  REQUIRE(scene.failed_timers.size() == 1);
  CHECK(scene.failed_timers[0] == std::pair{member("u"), Code::failed});
}

TEST_CASE(
    "Timers of a commit that is lost are to be read again: the store knows whether they fire") {
  Scene scene;
  scene.warm();
  scene.fire("t", Act{"again", 500, "u"}, scene.cluster());
  scene.prepare(1, scene.cluster());
  scene.commit();
  CHECK(scene.failed_timers.empty());
  CHECK(scene.unsure_timers == std::vector<std::string>{member("t"), member("u")});
}

TEST_CASE("A shot that was refused for certain is reported, so that it fires again") {
  Scene scene;
  scene.warm();
  scene.fire("t", Act{"alarm", 0, ""}, scene.cluster());
  while (scene.failed_timers.empty() && scene.now < 2'000'000) {
    if (scene.committing()) scene.fail(Code::unavailable);
    scene.advance(100);
  }
  REQUIRE(scene.failed_timers.size() == 1);
  CHECK(scene.unsure_timers.empty());
}

TEST_CASE("A shot that comes twice for one commit fires once, however little is remembered") {
  ActivationLimits little;
  little.ids_in_memory = 1;
  Scene scene{little};
  scene.warm();
  const std::int64_t due = scene.cluster();
  for (const char* name : {"s", "t", "u"}) scene.plant_timer(name, due);
  scene.fire("s", Act{"alarm", 0, ""}, due);
  REQUIRE(scene.committing());  // what follows shares the next commit
  for (const char* name : {"t", "u", "t"}) scene.fire(name, Act{"alarm", 0, ""}, due);
  scene.settle();
  CHECK(scene.told(scene.ask(Get{})) == "3");
  REQUIRE(scene.failed_timers.size() == 1);
  CHECK(scene.failed_timers[0] == std::pair{member("t"), Code::unavailable});
}

TEST_CASE("A shot given up without an answer that has run after all does not fire twice") {
  Scene scene;
  scene.warm();
  const std::int64_t due = scene.cluster();
  scene.plant_timer("t", due);
  scene.fire("t", Act{"alarm", 0, ""}, due);
  scene.run();  // and its answer is lost
  const std::size_t first = scene.commits.size() - 1;
  scene.fail(Code::unknown, first);
  while (scene.unsure_timers.empty() && scene.now < 2'000'000) {
    if (scene.committing()) scene.fail(Code::unavailable);
    scene.advance(100);
  }
  REQUIRE(scene.unsure_timers.size() == 1);
  // A node that knows only its own memory would fire it again: the store refuses the turn.
  scene.unsure_timers.clear();
  scene.fire("t", Act{"alarm", 0, ""}, due);
  const auto beside = scene.ask(Deposit{5});
  scene.settle();
  CHECK(scene.told(beside) == "6");  // the shot's 1 once, and the deposit that shared the commit
  CHECK(scene.unsure_timers == std::vector<std::string>{member("t")});
}

TEST_CASE("A shot that waits while its timer is set anew, cancelled or done does not fire") {
  Scene scene;
  scene.warm();
  const std::int64_t due = scene.cluster();
  scene.session = false;  // turns wait
  std::size_t turn = 0;
  std::optional<std::int64_t> left;
  SUBCASE("set anew") {
    turn = scene.ask(Act{"timer", 5000, "t"});
    left = due + 5000;
  }
  SUBCASE("cancelled") { turn = scene.ask(Act{"cancel", 0, "t"}); }
  scene.fire("t", Act{"alarm", 0, ""}, due);
  scene.session = true;
  scene.activation->resume();
  scene.settle();
  CHECK(scene.told(turn) == "done");
  CHECK(scene.told(scene.ask(Get{})) == "0");
  REQUIRE(scene.timers.size() == 1);
  CHECK(scene.timers[0].due_ms == left);
  REQUIRE(scene.failed_timers.size() == 1);
  CHECK(scene.failed_timers[0].second == Code::unavailable);
}

TEST_CASE(
    "Two copies of one shot have one effect, and a timer set anew fires again when it is due") {
  Scene scene;
  scene.warm();
  const std::int64_t due = scene.cluster();
  scene.plant_timer("t", due);
  scene.fire("t", Act{"again", 500, "t"}, due);
  scene.fire("t", Act{"alarm", 0, ""}, due);
  scene.settle();
  scene.fire("t", Act{"alarm", 0, ""}, due);
  scene.settle();
  CHECK(scene.told(scene.ask(Get{})) == "0");
  scene.advance(500);
  scene.fire("t", Act{"alarm", 0, ""}, due + 500);
  scene.settle();
  CHECK(scene.told(scene.ask(Get{})) == "1");
}

TEST_CASE("Unnamed timers have names of their own, and a name with a bar is refused") {
  Scene scene;
  scene.warm();
  scene.ask(Act{"timer", 10, ""});
  scene.ask(Act{"timer", 10, ""});
  scene.settle();
  REQUIRE(scene.timers.size() == 2);
  CHECK(scene.timers[0].member != scene.timers[1].member);
  CHECK(scene.told(scene.ask(Act{"timer", 10, "a|b"})) == "failed");
}

// ---- coroutine turns --------------------------------------------------------------------------

TEST_CASE("An ask of a turn leaves before its own commit, but not before those of earlier turns") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{1});
  scene.ask(Deposit{2});
  const auto collect = scene.ask(Collect{"bob", 2, ""}, {.path = {{"peer", "root"}}});
  CHECK(scene.asks.empty());
  scene.commit();
  CHECK(scene.asks.empty());
  scene.commit();
  REQUIRE(scene.asks.size() == 1);
  const Ask first = scene.asks[0].first;
  CHECK(first.entity == EntityId{"peer", "bob"});
  CHECK(first.message == "Give");
  CHECK(first.path == std::vector<EntityId>{{"peer", "root"}, scene.entity});
  CHECK(first.operation_ms == scene.cluster());
  CHECK(first.timeout.count() > 0);
  CHECK(first.timeout.count() <= 5000);
  scene.reply_to_ask(0, encode(std::int64_t{10}));
  REQUIRE(scene.asks.size() == 2);
  CHECK(scene.asks[1].first.operation != first.operation);
  CHECK(scene.told(collect) == "");
  scene.reply_to_ask(1, encode(std::int64_t{20}));
  CHECK(scene.told(collect) == "");
  scene.commit();
  CHECK(scene.told(collect) == "33");
}

TEST_CASE("A repeated turn asks under the same ids and times, in another life too") {
  Scene scene;
  scene.warm();
  const How same{.operation = scene.new_id(), .time = scene.cluster()};
  scene.ask(Collect{"bob", 1, ""}, same);
  scene.advance(5);
  scene.activate();
  scene.ask(Collect{"bob", 1, ""}, same);
  scene.run_load();
  REQUIRE(scene.asks.size() == 2);
  CHECK(scene.asks[0].first.operation == scene.asks[1].first.operation);
  CHECK(scene.asks[0].first.operation_ms == scene.asks[1].first.operation_ms);
  scene.activation->asked(scene.asks[1].second, encode(std::int64_t{1}));
  scene.settle();
}

TEST_CASE(
    "While a turn is suspended commands wait, copies join, and queries never see half a turn") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{5});
  scene.settle();
  const How same{.operation = scene.new_id(), .time = scene.cluster()};
  const auto collect = scene.ask(Collect{"bob", 1, ""}, same);
  const auto copy = scene.ask(Collect{"bob", 1, ""}, same);
  const auto other = scene.ask(Collect{"eve", 1, ""}, same);
  const auto next = scene.ask(Deposit{100});
  const auto query = scene.ask(Get{});
  CHECK(scene.told(query) == "5");
  CHECK(scene.told(other) == "malformed");
  CHECK(scene.told(next) == "");
  CHECK(scene.asks.size() == 1);
  scene.reply_to_ask(0, encode(std::int64_t{1}));
  scene.settle();
  CHECK(scene.told(collect) == "6");
  CHECK(scene.told(copy) == "6");
  CHECK(scene.told(next) == "106");
  CHECK(scene.told(scene.ask(Get{})) == "106");
}

TEST_CASE("A query beside a suspended turn waits for the earlier turns it has seen") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{5});
  scene.ask(Collect{"bob", 1, ""});
  const auto query = scene.ask(Get{});
  CHECK(scene.told(query) == "");
  scene.commit();
  CHECK(scene.told(query) == "5");
}

TEST_CASE("What already waits when a turn is suspended is treated like what comes later") {
  Scene scene;
  const How same{.operation = scene.new_id(), .time = scene.cluster()};
  const auto collect = scene.ask(Collect{"bob", 1, ""}, same);
  const auto copy = scene.ask(Collect{"bob", 1, ""}, same);
  const auto next = scene.ask(Deposit{100});
  const auto query = scene.ask(Get{});
  scene.run_load();
  CHECK(scene.told(query) == "0");
  CHECK(scene.told(next) == "");
  CHECK(scene.activation->queued() == 1);
  scene.advance(5000);
  CHECK(scene.told(collect) == "timeout");
  CHECK(scene.told(copy) == "timeout");  // one answer for all copies
}

TEST_CASE("Queries that waited for the session run beside a suspended turn") {
  Scene scene;
  scene.warm();
  scene.ask(Collect{"bob", 1, ""});
  scene.session = false;
  const auto query = scene.ask(Get{});
  CHECK(scene.told(query) == "");
  scene.session = true;
  scene.activation->resume();
  CHECK(scene.told(query) == "0");
}

TEST_CASE("At its deadline a suspended turn is undone where it stands, and the next goes on") {
  Scene scene;
  scene.warm();
  const auto collect = scene.ask(Collect{"bob", 1, ""}, {.deadline = 300});
  const auto next = scene.ask(Deposit{100});
  scene.advance(299);
  CHECK(scene.told(collect) == "");
  scene.advance(1);
  CHECK(scene.told(collect) == "timeout");
  scene.settle();
  CHECK(scene.told(next) == "100");
  scene.reply_to_ask(0, encode(std::int64_t{1}));  // too late
  CHECK(scene.told(scene.ask(Get{})) == "100");
  CHECK(scene.records() == 1);
}

TEST_CASE("The deadline holds although the store made us wait for something sooner") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{1});
  scene.fail(Code::unavailable);  // an alarm in 10 ms
  const auto collect = scene.ask(Collect{"bob", 1, ""}, {.deadline = 300});
  scene.advance(10);
  scene.commit();
  CHECK(scene.asks.size() == 1);
  scene.advance(300);
  CHECK(scene.told(collect) == "timeout");
}

TEST_CASE("However patient the caller, a turn is suspended for thirty seconds at most") {
  Scene scene;
  scene.warm();
  const auto collect = scene.ask(Collect{"bob", 1, ""}, {.deadline = 1'000'000});
  scene.advance(29'999);
  CHECK(scene.told(collect) == "");
  scene.advance(1);
  CHECK(scene.told(collect) == "timeout");
}

TEST_CASE("A turn that rejects or throws after an ask is undone") {
  Scene scene;
  scene.warm();
  const auto rejected = scene.ask(Collect{"bob", 1, "reject"});
  scene.reply_to_ask(0, encode(std::int64_t{1}));
  scene.settle();
  CHECK(scene.told(rejected) == "rejected");
  CHECK(scene.records() == 1);
  const auto thrown = scene.ask(Collect{"bob", 1, "throw"});
  scene.reply_to_ask(1, encode(std::int64_t{1}));
  CHECK(scene.told(thrown) == "failed");
  const auto refused = scene.ask(Collect{"bob", 1, ""});
  scene.reply_to_ask(2, Error{Code::unavailable, "bob is away"});
  CHECK(scene.told(refused) == "failed");
  CHECK(scene.told(scene.ask(Get{})) == "0");
  CHECK(scene.records() == 1);
}

TEST_CASE("Dropped in the middle of a turn: its outcome is unknown, later answers find nothing") {
  Scene scene;
  scene.warm();
  const How same{.operation = scene.new_id(), .time = scene.cluster()};
  const auto collect = scene.ask(Collect{"bob", 1, ""}, same);
  const auto copy = scene.ask(Collect{"bob", 1, ""}, same);
  const auto next = scene.ask(Deposit{1});
  scene.activation->drop();
  CHECK(scene.told(collect) == "unknown");
  CHECK(scene.told(copy) == "unknown");
  CHECK(scene.told(next) == "");
  scene.reply_to_ask(0, encode(std::int64_t{1}));
  CHECK(scene.activation->take_queue().size() == 1);
  CHECK(scene.commits.empty());
}

TEST_CASE("An ask held back by a commit that fails never leaves") {
  Scene scene;
  scene.warm();
  scene.ask(Deposit{1});
  const auto collect = scene.ask(Collect{"bob", 1, ""});
  scene.prepare(1, scene.cluster());
  scene.commit();
  CHECK(scene.told(collect) == "unknown");
  const auto next = scene.ask(Collect{"eve", 1, ""});
  scene.run_load();
  REQUIRE(scene.asks.size() == 1);
  CHECK(scene.asks[0].first.entity.key == "eve");
  scene.reply_to_ask(0, encode(std::int64_t{7}));
  scene.settle();
  CHECK(scene.told(next) == "7");
}

TEST_CASE("Draining waits for a suspended turn") {
  Scene scene;
  scene.warm();
  const auto collect = scene.ask(Collect{"bob", 1, ""});
  scene.activation->drain();
  CHECK_FALSE(scene.activation->drained());
  scene.reply_to_ask(0, encode(std::int64_t{1}));
  CHECK_FALSE(scene.activation->drained());
  scene.commit();
  CHECK(scene.told(collect) == "1");
  CHECK(scene.activation->drained());
}

TEST_CASE("Destroying an activation destroys its suspended turn") {
  Scene scene;
  scene.warm();
  scene.ask(Collect{"bob", 1, ""});
  scene.activation.reset();  // the address sanitizer has the last word
  CHECK(scene.asks.size() == 1);
}

// ---- cycles -----------------------------------------------------------------------------------

TEST_CASE("An ask that reaches an entity on its own path is answered at once, with the path") {
  Scene scene;
  const How round{.path = {scene.entity, {"peer", "bob"}}};
  const auto loading = scene.ask(Deposit{1}, round);
  CHECK(scene.told(loading) == "failed");
  scene.warm();
  scene.ask(Collect{"bob", 1, ""});
  const auto suspended = scene.ask(Deposit{1}, round);
  CHECK(scene.told(suspended) == "failed");
  CHECK(scene.words(suspended).find("account/alice → peer/bob → account/alice") !=
        std::string::npos);
  const auto query = scene.ask(Get{}, round);
  CHECK(scene.told(query) == "0");  // queries never count
  CHECK(scene.commits.empty());
}

TEST_CASE("Of two paths that meet head-on the younger operation is refused") {
  Scene scene;
  scene.warm();
  const std::int64_t time = scene.cluster();
  const auto collect =
      scene.ask(Collect{"bob", 1, ""}, {.operation = OperationId{5, 5}, .time = time});
  const std::vector<EntityId> path{{"peer", "bob"}};
  const auto later =
      scene.ask(Deposit{1}, {.operation = OperationId{4, 4}, .time = time + 1, .path = path});
  const auto larger =
      scene.ask(Deposit{1}, {.operation = OperationId{5, 6}, .time = time, .path = path});
  const auto older =
      scene.ask(Deposit{2}, {.operation = OperationId{6, 6}, .time = time - 1, .path = path});
  const auto stranger = scene.ask(Deposit{4}, {.time = time + 1, .path = {{"peer", "eve"}}});
  CHECK(scene.told(later) == "failed");
  CHECK(scene.told(larger) == "failed");
  CHECK(scene.told(older) == "");  // bob's end refuses ours
  CHECK(scene.told(stranger) == "");
  scene.reply_to_ask(0, Error{Code::failed, "a cycle of asks"});
  scene.settle();
  CHECK(scene.told(collect) == "failed");
  CHECK(scene.told(older) == "2");
  CHECK(scene.told(stranger) == "6");
}

TEST_CASE("A path that came head-on before the turn began to wait is refused as well") {
  Scene scene;
  const std::int64_t time = scene.cluster();
  scene.ask(Collect{"bob", 1, ""}, {.operation = OperationId{5, 5}, .time = time});
  const auto younger = scene.ask(
      Deposit{1}, {.operation = OperationId{5, 6}, .time = time, .path = {{"peer", "bob"}}});
  scene.run_load();
  CHECK(scene.told(younger) == "failed");
}
