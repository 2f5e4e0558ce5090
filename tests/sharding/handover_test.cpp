// The queue of a moving shard: chunks repeated until acknowledged, put together once and in order.
#include <catga/sharding/handover.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

using namespace catga;

namespace {

using Out = HandoverOut<std::string>;
using In = HandoverIn<int>;
const Incarnation giver{1, 1}, taker{2, 2};

}  // namespace

TEST_CASE("all chunks are open until each is acknowledged, under its own epoch") {
  Out out(taker, Epoch{9}, {"a", "b", "c"}, 1000, {});
  CHECK(out.to() == taker);
  CHECK(out.epoch() == Epoch{9});
  CHECK(out.open().size() == 3);
  CHECK_FALSE(out.is_last(1));
  CHECK(out.is_last(2));
  out.acknowledged(Epoch{8}, 0);
  CHECK(out.open().size() == 3);
  out.acknowledged(Epoch{9}, 7);
  CHECK(out.open().size() == 3);
  out.acknowledged(Epoch{9}, 1);
  out.acknowledged(Epoch{9}, 1);
  CHECK(out.open().count(1) == 0);
  CHECK_FALSE(out.done());
  CHECK(out.is_last(2));  // whatever is open, the last chunk stays the last
  out.acknowledged(Epoch{9}, 0);
  out.acknowledged(Epoch{9}, 2);
  CHECK(out.done());
}

TEST_CASE("chunks are sent every 200 ms, five times in all, then given up") {
  Out out(taker, Epoch{9}, {"a"}, 1000, {});
  CHECK(out.next_at() == 1200);
  int sent = 1;
  while (out.again(out.next_at())) {
    sent += 1;
    CHECK(out.next_at() == 1000 + 200 * sent);
    REQUIRE(sent < 100);
  }
  CHECK(sent == 5);
  CHECK_FALSE(out.done());
}

TEST_CASE("a hand-over of one chunk is complete at once, and only once") {
  In in;
  const auto all = in.arrived(giver, Epoch{9}, 0, true, 7);
  REQUIRE(all);
  CHECK(*all == std::vector<int>{7});
  CHECK_FALSE(in.arrived(giver, Epoch{9}, 0, true, 7));
}

TEST_CASE("the last chunk alone is not the hand-over") {
  In in;
  CHECK_FALSE(in.arrived(giver, Epoch{9}, 1, true, 1));
  CHECK_FALSE(in.arrived(giver, Epoch{9}, 1, true, 1));
  const auto all = in.arrived(giver, Epoch{9}, 0, false, 0);
  REQUIRE(all);
  CHECK(*all == std::vector<int>{0, 1});
}

TEST_CASE("a newer transfer replaces one that was not completed, and an older is ignored") {
  In in;
  CHECK_FALSE(in.arrived(giver, Epoch{9}, 0, false, 10));
  CHECK_FALSE(in.arrived(taker, Epoch{12}, 1, true, 21));
  CHECK_FALSE(in.arrived(giver, Epoch{9}, 1, true, 11));
  const auto all = in.arrived(taker, Epoch{12}, 0, false, 20);
  REQUIRE(all);
  CHECK(*all == std::vector<int>{20, 21});
  CHECK_FALSE(in.arrived(giver, Epoch{9}, 0, false, 10));
  CHECK_FALSE(in.arrived(taker, Epoch{12}, 0, false, 20));
}

TEST_CASE("chunks in any order, any number of times, give the queue once and in order") {
  const std::uint64_t first = 1;
  for (std::uint64_t seed = first; seed < first + 2000; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const auto count = static_cast<std::uint32_t>(1 + random() % 8);
    std::vector<std::uint32_t> order;
    for (std::uint32_t chunk = 0; chunk < count; ++chunk) {
      for (std::uint64_t copy = 0; copy <= random() % 3; ++copy) order.push_back(chunk);
    }
    std::shuffle(order.begin(), order.end(), random);
    In in;
    std::set<std::uint32_t> seen;
    int complete = 0;
    for (const std::uint32_t chunk : order) {
      const bool had_all = seen.size() == count;
      seen.insert(chunk);
      const auto all =
          in.arrived(giver, Epoch{9}, chunk, chunk + 1 == count, static_cast<int>(chunk));
      REQUIRE(all.has_value() == (!had_all && seen.size() == count));
      if (!all) continue;
      complete += 1;
      std::vector<int> expected(count);
      std::iota(expected.begin(), expected.end(), 0);
      REQUIRE(*all == expected);
    }
    REQUIRE(complete == 1);
  }
}

TEST_CASE("over a bus that loses, the taker has all or the giver knows what to answer unknown") {
  for (std::uint64_t seed = 1; seed < 2000; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const std::uint64_t loss = random() % 90;
    const auto arrives = [&] { return random() % 100 >= loss; };
    const std::vector<std::string> queue(1 + random() % 6, "x");
    Out out(taker, Epoch{9}, queue, 0, {});
    HandoverIn<std::string> in;
    bool complete = false;
    do {
      const auto open = out.open();
      for (const auto& [number, chunk] : open) {
        if (!arrives()) continue;
        complete |= in.arrived(giver, Epoch{9}, number, out.is_last(number), chunk).has_value();
        if (arrives()) out.acknowledged(Epoch{9}, number);
      }
    } while (!out.done() && out.again(out.next_at()));
    if (out.done()) REQUIRE(complete);  // nothing is left over that nobody answers for
    if (!complete) REQUIRE_FALSE(out.open().empty());
  }
}
