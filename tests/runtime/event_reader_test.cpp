// One part of an ordered subscription: order, retries, parking and the place reached, by example and at random.
#include <catga/runtime/event_reader.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

using namespace catga;
using Verdict = EventReader::Verdict;

namespace {

EntityId source(const std::string& key) { return {"account", key}; }

std::vector<std::uint64_t> sequences(const std::vector<EventReader::Step>& steps) {
  std::vector<std::uint64_t> all;
  for (const EventReader::Step& step : steps) all.push_back(step.sequence);
  return all;
}
using Sequences = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("events of one source are handled one after another, those of others side by side") {
  EventReader reader(0, 10);
  CHECK(reader.arrived(3, source("a")));
  CHECK(reader.arrived(5, source("a")));
  CHECK(reader.arrived(6, source("b")));
  CHECK(sequences(reader.due(0)) == Sequences{3, 6});
  CHECK(reader.due(0).empty());
  reader.finished(3, Verdict::done, 0);
  CHECK(sequences(reader.due(0)) == Sequences{5});
}

TEST_CASE("the place reached is behind the oldest event that is not over") {
  EventReader reader(1, 10);
  CHECK(reader.position() == 1);
  reader.arrived(3, source("a"));
  reader.arrived(5, source("b"));
  reader.due(0);
  reader.finished(5, Verdict::done, 0);
  CHECK(reader.position() == 2);
  reader.finished(3, Verdict::done, 0);
  CHECK(reader.position() == 5);
  reader.arrived(9, source("a"));
  CHECK(reader.position() == 5);
}

TEST_CASE("what is delivered twice is taken once, in hand or over") {
  EventReader reader(2, 10);
  CHECK_FALSE(reader.arrived(2, source("a")));
  CHECK(reader.arrived(3, source("a")));
  CHECK_FALSE(reader.arrived(3, source("a")));
  reader.due(0);
  reader.finished(3, Verdict::done, 0);
  CHECK_FALSE(reader.arrived(3, source("a")));
  CHECK(reader.due(1000).empty());
}

TEST_CASE("an event that failed holds back its source, and only that, until its time") {
  EventReader reader(0, 10);
  reader.arrived(1, source("a"));
  reader.arrived(2, source("a"));
  reader.arrived(3, source("b"));
  reader.due(0);
  reader.finished(1, Verdict::again, 100);
  reader.finished(3, Verdict::done, 0);
  CHECK(reader.next_retry_ms() == 100);
  CHECK(reader.due(99).empty());
  const auto again = reader.due(100);
  REQUIRE(again.size() == 1);
  CHECK(again[0].sequence == 1);
  CHECK(again[0].attempt == 2);
  CHECK_FALSE(reader.next_retry_ms().has_value());
}

TEST_CASE("a parked source's events are parked, in order, until it is opened again") {
  EventReader reader(0, 10);
  for (const std::uint64_t i : {1, 2, 3}) reader.arrived(i, source("a"));
  reader.arrived(4, source("b"));
  reader.due(0);
  reader.park(source("a"));
  reader.finished(1, Verdict::again, 0);
  auto steps = reader.due(0);
  REQUIRE(steps.size() == 1);
  CHECK(steps[0].sequence == 1);
  CHECK(steps[0].park);
  reader.finished(1, Verdict::done, 0);
  steps = reader.due(0);
  REQUIRE(steps.size() == 1);
  CHECK(steps[0].sequence == 2);
  CHECK(steps[0].park);
  reader.finished(2, Verdict::done, 0);
  reader.reopen(source("a"));
  steps = reader.due(0);
  REQUIRE(steps.size() == 1);
  CHECK_FALSE(steps[0].park);
}

TEST_CASE("no more may be asked for than there is room") {
  EventReader reader(0, 2);
  CHECK(reader.room() == 2);
  for (const std::uint64_t i : {1, 2, 3}) reader.arrived(i, source("a"));  // more than asked for
  CHECK(reader.room() == 0);
  reader.due(0);
  reader.finished(1, Verdict::done, 0);
  CHECK(reader.in_hand() == 2);
  CHECK(reader.room() == 0);
}

TEST_CASE("at random, with crashes, repeats and failures, order is kept and nothing is lost") {
  constexpr std::uint32_t first_seed = 777;
  MESSAGE("seeds from " << first_seed);
  int crashes = 0, repeats = 0;
  for (std::uint32_t seed = first_seed; seed < first_seed + 100; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&random](unsigned limit) {
      return static_cast<unsigned>(random() % limit);
    };
    std::vector<std::pair<std::uint64_t, std::string>> stream;  // sequence, source; with holes
    std::uint64_t sequence = 0;
    for (int i = 0; i < 120; ++i) {
      sequence += 1 + below(3);
      stream.emplace_back(sequence, std::string(1, static_cast<char>('a' + below(5))));
    }
    std::map<std::uint64_t, std::string> source_of(stream.begin(), stream.end());
    std::map<std::string, std::vector<std::uint64_t>> handled;  // first time each
    std::set<std::uint64_t> effects;
    std::uint64_t stored = 0;  // the place that survives a crash
    EventReader reader(0, 8);
    std::size_t at = 0;  // next delivery
    std::vector<std::uint64_t> in_work;
    std::int64_t now = 0;
    while (reader.position() < sequence) {
      now += below(5);
      switch (below(6)) {
        case 0:
        case 1:
          for (std::size_t room = reader.room(); room > 0 && at < stream.size(); --room, ++at)
            reader.arrived(stream[at].first, source(stream[at].second));
          break;
        case 2:  // the consumer was made anew from the place reached: what is in hand comes again
          if (below(4) != 0) break;
          for (const auto& [number, key] : stream) {
            if (number > reader.newest()) break;
            if (number <= reader.position()) continue;
            REQUIRE_FALSE(reader.arrived(number, source(key)));
            ++repeats;
          }
          break;
        case 3:
          for (const EventReader::Step& step : reader.due(now)) {
            for (const std::uint64_t other : in_work)
              REQUIRE(source_of[other] != source_of[step.sequence]);
            in_work.push_back(step.sequence);
          }
          break;
        case 4: {
          if (in_work.empty()) break;
          const std::size_t which = below(static_cast<unsigned>(in_work.size()));
          const std::uint64_t one = in_work[which];
          in_work.erase(in_work.begin() + static_cast<std::ptrdiff_t>(which));
          if (below(4) == 0) {
            reader.finished(one, Verdict::again, now + below(20));
          } else {
            if (effects.insert(one).second) handled[source_of[one]].push_back(one);
            reader.finished(one, Verdict::done, 0);
          }
          if (below(2) == 0) stored = reader.position();
          break;
        }
        default:
          if (below(20) != 0) break;
          ++crashes;
          in_work.clear();
          reader = EventReader(stored, 8);
          at = static_cast<std::size_t>(
              std::ranges::count_if(stream, [&](const auto& one) { return one.first <= stored; }));
      }
      REQUIRE(reader.in_hand() <= 8);
    }
    REQUIRE(effects.size() == stream.size());
    for (const auto& [key, order] : handled) REQUIRE(std::ranges::is_sorted(order));
  }
  CHECK(crashes > 20);
  CHECK(repeats > 50);
}
