// What is hot: an unfair share, at a rate that matters, for long enough.
#include <catga/runtime/telemetry/heat.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace catga;

namespace {

/// Looks once a second at keys that each take so many messages a second.
struct Watched {
  Heat<std::string> heat;
  std::map<std::string, std::uint64_t> counts;
  std::int64_t now = 1000;
  std::size_t told = 0;

  void second(const std::map<std::string, std::uint64_t>& rates, int seconds = 1) {
    for (; seconds > 0; --seconds) {
      double all = 0;
      Heat<std::string>::Counts have;
      for (const auto& [key, rate] : rates) {
        counts[key] += rate;
        all += static_cast<double>(rate);
        have.emplace_back(key, counts[key]);
      }
      now += 1000;
      told += heat.look(now, have, all).size();
    }
  }
};

}  // namespace

TEST_CASE("what takes most of a busy node for the window is hot, and told once") {
  Watched node;
  node.second({{"a", 9000}, {"b", 1000}}, 10);  // the first look has no rate
  CHECK(node.told == 0);
  CHECK(node.heat.above() == std::vector<std::string>{"a"});
  node.second({{"a", 9000}, {"b", 1000}});
  CHECK(node.told == 1);
  REQUIRE(node.heat.hot().size() == 1);
  CHECK(node.heat.hot()[0].key == "a");
  CHECK(node.heat.hot()[0].share == doctest::Approx(0.9));
  CHECK(node.heat.hot()[0].rate == doctest::Approx(9000));
  node.second({{"a", 9000}, {"b", 1000}}, 59);
  CHECK(node.told == 1);
  node.second({{"a", 9000}, {"b", 1000}});
  CHECK(node.told == 2);  // another minute
}

TEST_CASE("a burst is not hot, and neither is the only thing on a quiet node") {
  Watched node;
  node.second({{"a", 9000}}, 10);
  node.second({{"a", 10}}, 1);
  node.second({{"a", 9000}}, 9);
  CHECK(node.told == 0);
  Watched quiet;
  quiet.second({{"a", 900}}, 30);
  CHECK(quiet.told == 0);
  CHECK(quiet.heat.hot().empty());
}

TEST_CASE("five that share the work evenly are not hot") {
  Watched node;
  node.second({{"a", 5000}, {"b", 5000}, {"c", 5000}, {"d", 5000}, {"e", 5000}}, 30);
  CHECK(node.told == 0);
}

TEST_CASE("what cools is not hot any more, and is told again after a minute at the soonest") {
  Watched node;
  node.second({{"a", 9000}}, 11);
  CHECK(node.told == 1);
  node.second({{"a", 0}});
  CHECK(node.heat.hot().empty());
  node.second({{"a", 9000}}, 12);
  CHECK(node.heat.hot().size() == 1);
  CHECK(node.told == 1);
}

TEST_CASE("a count that began anew, and a key that was away, are cold") {
  Watched node;
  node.second({{"a", 9000}}, 11);
  node.counts["a"] = 0;  // left memory, and is back
  node.second({{"a", 9000}});
  CHECK(node.heat.hot().empty());
  node.second({{"b", 9000}});
  node.second({{"a", 9000}});
  CHECK(node.heat.hot().empty());
}

TEST_CASE("the wait for what is hot is told by what waits and how fast it goes") {
  CHECK(wait_ms(0, 500, 2000, 1000) == 0);
  CHECK(wait_ms(500, 500, 2000, 1000) == 250);
  CHECK(wait_ms(500, 500, 2000, 500) == 250);    // however often one looks
  CHECK(wait_ms(1000, 0, 3000, 1000) == 500);    // a queue that grows: 2000 of 3000 went
  CHECK(wait_ms(500, 1000, 1500, 1000) == 250);  // one that shrinks: 2000 went
  CHECK(wait_ms(700, 0, 700, 1000) == 1000);     // nothing went: as long as that has been so
}
