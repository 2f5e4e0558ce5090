// The timers of a shard that are due soon: never early, none lost, and when a shot is tried again.
#include <catga/runtime/timer_table.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

using namespace catga;

namespace {

TimerEntry entry(std::string member, std::int64_t due_ms) {
  return {std::move(member), due_ms, "ring"};
}
TimerWrite set(std::string member, std::int64_t due_ms, std::string message = "ring") {
  return {std::move(member), due_ms, std::move(message)};
}
TimerWrite cancel(std::string member) { return {std::move(member), std::nullopt, {}}; }

using Names = std::vector<std::string>;
Names fired(TimerTable& table, std::int64_t now) {
  Names names;
  for (const TimerEntry& one : table.due(now)) names.push_back(one.member);
  return names;
}

}  // namespace

TEST_CASE("timers fire when due, in due order, not a millisecond early, and once") {
  TimerTable table;
  table.load({entry("late", 300), entry("early", 100), entry("middle", 200)}, 1000);
  CHECK(table.size() == 3);
  CHECK(table.next_due() == 100);
  CHECK(fired(table, 99).empty());
  CHECK(fired(table, 100) == Names{"early"});
  CHECK(fired(table, 100).empty());
  CHECK(fired(table, 500) == Names{"middle", "late"});
  CHECK_FALSE(table.next_due());
  CHECK(table.size() == 3);  // under way: their turns have not removed them yet
}

TEST_CASE("a timer fires with its message and the due time of the store") {
  TimerTable table;
  table.load({}, 1000);
  table.written(set("one", 100, "words"));
  const auto due = table.due(150);
  REQUIRE(due.size() == 1);
  CHECK(due[0].member == "one");
  CHECK(due[0].due_ms == 100);
  CHECK(due[0].message == "words");
}

TEST_CASE("a timer that is overdue when it is read fires at once") {
  TimerTable table;
  table.load({entry("old", -5), entry("older", -10)}, 1000);
  CHECK(fired(table, 0) == Names{"older", "old"});
}

TEST_CASE("a commit sets, moves and cancels timers within the horizon") {
  TimerTable table;
  table.load({}, 1000);
  CHECK(table.horizon() == 1000);
  table.written(set("a", 100));
  table.written(set("b", 200));
  table.written(set("c", 1000));
  table.written(set("a", 300));
  table.written(cancel("b"));
  table.written(cancel("never known"));
  CHECK(fired(table, 299).empty());
  CHECK(fired(table, 300) == Names{"a"});
  CHECK(fired(table, 1000) == Names{"c"});
}

TEST_CASE("a timer beyond the horizon is left to the store until it is read") {
  TimerTable table;
  table.load({}, 1000);
  table.written(set("far", 1001));
  CHECK(table.size() == 0);
  CHECK(fired(table, 5000).empty());
  table.load({entry("far", 1001)}, 2000);
  CHECK(fired(table, 1001) == Names{"far"});
}

TEST_CASE("a timer that moves beyond the horizon no longer fires at its old time") {
  TimerTable table;
  table.load({entry("a", 100)}, 1000);
  table.written(set("a", 1500));
  CHECK(fired(table, 1400).empty());
  CHECK(table.size() == 0);
  table.load({entry("a", 1500)}, 2000);
  CHECK(fired(table, 1500) == Names{"a"});
}

TEST_CASE("reading on does not fire again what is under way, nor undo what a commit said") {
  TimerTable table;
  table.load({entry("under way", 100), entry("moved", 150)}, 1000);
  CHECK(fired(table, 100) == Names{"under way"});
  table.written(set("moved", 900));
  table.load({entry("under way", 100), entry("moved", 150), entry("new", 1200)}, 2000);
  CHECK(fired(table, 899).empty());
  CHECK(fired(table, 2000) == Names{"moved", "new"});
}

TEST_CASE("the turn's commit ends a timer, or sets its next time") {
  TimerTable table;
  table.load({entry("once", 100), entry("every", 100)}, 1000);
  CHECK(fired(table, 100).size() == 2);
  table.written(cancel("once"));
  table.written(set("every", 200));
  CHECK(table.size() == 1);
  CHECK(fired(table, 199).empty());
  CHECK(fired(table, 200) == Names{"every"});
}

TEST_CASE("a failed turn is tried again after 1 s, doubling to 5 min, and counts") {
  TimerTable table;
  table.load({entry("one", 100)}, 1000);
  std::int64_t now = 100, wait = 1000;
  for (unsigned attempt = 1; attempt <= 15; ++attempt) {
    const auto due = table.due(now);
    REQUIRE(due.size() == 1);
    CHECK(due[0].due_ms == 100);  // what the store has; its lateness does not change it
    CHECK(table.failed("one", now) == attempt);
    CHECK(table.next_due() == now + wait);
    CHECK(fired(table, now + wait - 1).empty());
    now += wait;
    wait = std::min<std::int64_t>(wait * 2, 300'000);
  }
  CHECK(wait == 300'000);
}

TEST_CASE("a timer that is set anew forgets its failures") {
  TimerTable table;
  table.load({entry("one", 100)}, 100'000);
  (void)table.due(100);
  (void)table.failed("one", 100);
  (void)table.due(1100);
  table.written(set("one", 2000));
  CHECK(fired(table, 2000) == Names{"one"});
  CHECK(table.failed("one", 2000) == 1);
  CHECK(table.next_due() == 3000);
}

TEST_CASE("the failure of an unknown timer is no news") {
  TimerTable table;
  table.load({}, 1000);
  CHECK(table.failed("nobody", 100) == 0);
  table.lost("nobody", 100);
  CHECK_FALSE(table.next_due());
}

TEST_CASE(
    "a timer set anew while its shot was under way does not fire early when that shot fails") {
  for (const bool fails : {false, true}) {
    TimerTable table;
    table.load({entry("one", 100)}, 100'000);
    CHECK(fired(table, 100) == Names{"one"});
    table.written(set("one", 50'000));
    if (fails)
      CHECK(table.failed("one", 150) == 0);
    else
      table.lost("one", 150);
    CHECK(table.next_due() == 50'000);
    CHECK(fired(table, 49'999).empty());
    CHECK(fired(table, 50'000) == Names{"one"});
  }
}

TEST_CASE("a shot that was lost is fired again right away and is no failed attempt") {
  TimerTable table;
  table.load({entry("one", 100)}, 1000);
  for (int round = 0; round < 20; ++round) {
    const std::int64_t now = 100 + round * 200;
    CHECK(fired(table, now) == Names{"one"});
    table.lost("one", now);
    REQUIRE(table.next_due());
    CHECK(*table.next_due() <= now + 100);
    table.lost("one", now);  // twice is as once
  }
  CHECK(fired(table, 10'000) == Names{"one"});
  CHECK(table.failed("one", 10'000) == 1);
  CHECK(table.next_due() == 11'000);
}

TEST_CASE("a timer that is not under way is not hurried by a lost shot") {
  TimerTable table;
  table.load({entry("one", 900)}, 1000);
  table.lost("one", 100);
  CHECK(table.next_due() == 900);
}

TEST_CASE("a timer whose fate is not known waits until the store shows it") {
  TimerTable table;
  table.load({{"t", 100, "m"}, {"u", 100, "m"}}, 1000);
  REQUIRE(table.due(100).size() == 2);
  table.forget("t");
  table.lost("t", 100);
  CHECK(table.due(5000).empty());
  table.reading();
  table.load({{"t", 100, "m"}, {"u", 100, "m"}}, 1000);  // u is under way: not again
  const std::vector<TimerEntry> fired = table.due(5000);
  REQUIRE(fired.size() == 1);
  CHECK(fired[0].member == "t");
  table.forget("nobody");
}

TEST_CASE("a timer is shown as the store has it, however often it has failed") {
  TimerTable table;
  table.load({{"t", 100, "m"}}, 1000);
  REQUIRE(table.due(100).size() == 1);
  table.failed("t", 100);
  const auto shown = table.find("t");
  REQUIRE(shown);
  CHECK(shown->due_ms == 100);
  CHECK(shown->message == "m");
  CHECK_FALSE(table.find("u"));
}

TEST_CASE("a cleared table knows nothing") {
  TimerTable table;
  table.load({entry("one", 100)}, 1000);
  table.clear();
  CHECK(table.size() == 0);
  CHECK(table.horizon() == 0);
  CHECK_FALSE(table.next_due());
  CHECK(fired(table, 5000).empty());
}

// The store's view: every timer is in a map; the table may know less, but must fire the same.
TEST_CASE("beside a store, every timer fires in time, none early, none after it was cancelled") {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&random](std::uint64_t limit) {
      return static_cast<std::int64_t>(random() % limit);
    };
    const auto wrong = [seed](const std::string& what) { FAIL("seed " << seed << ": " << what); };
    std::map<std::string, std::int64_t> store;
    std::map<std::string, std::int64_t>
        retry;  // under way or failed: not before this; max: under way
    TimerTable table;
    std::int64_t now = 0;
    const auto read = [&] {
      std::vector<TimerEntry> page;
      for (const auto& [member, due] : store)
        if (due <= now + 1000) page.push_back(entry(member, due));
      table.load(std::move(page), now + 1000);
    };
    read();
    for (int step = 0; step < 150; ++step) {
      now += below(120);
      if (table.horizon() - now < 300) read();
      const std::string member(1, static_cast<char>('a' + below(6)));
      switch (random() % 5) {
        case 0:
        case 1: {
          const std::int64_t due = now + below(2500) - 100;
          store[member] = due;
          retry.erase(member);
          table.written(set(member, due));
          break;
        }
        case 2:
          store.erase(member);
          retry.erase(member);
          table.written(cancel(member));
          break;
        case 3:
          if (retry.count(member) != 0 &&
              retry[member] == std::numeric_limits<std::int64_t>::max()) {
            const unsigned attempts = table.failed(member, now);
            if (attempts == 0) wrong("a failed shot is not known");
            retry[member] =
                now + std::min<std::int64_t>(1000LL << std::min(attempts - 1, 20U), 300'000);
          }
          break;
        default:
          if (retry.count(member) != 0 &&
              retry[member] == std::numeric_limits<std::int64_t>::max()) {
            table.lost(member, now);
            retry[member] = now + 100;
          }
          break;
      }
      std::vector<std::string> expected;
      for (const auto& [name, due] : store) {
        const auto waits = retry.find(name);
        if (due <= now && (waits == retry.end() || waits->second <= now)) expected.push_back(name);
      }
      const auto next = table.next_due();
      if (!expected.empty() && (!next || *next > now)) wrong("it would sleep past a timer");
      Names names = fired(table, now);
      std::sort(names.begin(), names.end());
      if (names != expected) wrong("other timers fired than were due");
      for (const std::string& name : names) retry[name] = std::numeric_limits<std::int64_t>::max();
    }
  }
}

TEST_CASE(
    "a timer that was cancelled while the store was read does not come back with the answer") {
  TimerTable timers;
  timers.load({}, 1000);
  timers.reading();
  timers.written({"e|a/b|x", std::nullopt, ""});
  timers.load({{"e|a/b|x", 1500, "m"}}, 2000);
  CHECK(timers.due(5000).empty());
}

TEST_CASE("a timer set beyond the old horizon while the store was read is not missed") {
  TimerTable timers;
  timers.load({}, 1000);
  timers.reading();
  timers.written({"e|a/b|x", 1500, "m"});
  timers.load({}, 2000);
  CHECK(timers.due(1499).empty());
  CHECK(timers.due(1500).size() == 1);
}
