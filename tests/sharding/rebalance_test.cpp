#include <catga/sharding/rebalance.hpp>

#include <doctest/doctest.h>

using namespace catga;

namespace {
constexpr RebalanceTimes times{.settle = 1000, .settle_most = 5000, .in_flight = 2};
}

TEST_CASE("shards move only after the view has settled, and a leaving node does not wait") {
  Rebalance rebalance(times);
  rebalance.adopted(true, false, 0);
  rebalance.wants(ShardId{1});
  CHECK(rebalance.grant(999).empty());
  CHECK(rebalance.grant(1000) == std::vector<ShardId>{ShardId{1}});

  Rebalance leaving(times);
  leaving.adopted(true, true, 0);
  leaving.wants(ShardId{1});
  CHECK(leaving.grant(0).size() == 1);
}

TEST_CASE("every join restarts the wait, but five times the wait is the most") {
  Rebalance rebalance(times);
  rebalance.wants(ShardId{1});
  for (std::int64_t now = 0; now < 5000; now += 900) {
    CHECK(rebalance.grant(now).empty() == (now != 0));  // nothing to wait for before the first join
    rebalance.over(ShardId{1});
    rebalance.wants(ShardId{1});
    rebalance.adopted(true, false, now);
  }
  CHECK(rebalance.grant(4999).empty());
  CHECK(rebalance.grant(5000).size() == 1);
}

TEST_CASE("no more shards move at once than the limit, and each that ends lets the next one go") {
  Rebalance rebalance(times);
  for (std::uint32_t shard = 0; shard < 5; ++shard) rebalance.wants(ShardId{shard});
  CHECK(rebalance.grant(0).size() == 2);
  CHECK(rebalance.grant(0).empty());
  rebalance.over(ShardId{0});
  CHECK(rebalance.grant(0) == std::vector<ShardId>{ShardId{2}});
  CHECK(rebalance.pending() == 4);
}

TEST_CASE("a shard that is moving is not counted twice when it asks again") {
  Rebalance rebalance(times);
  rebalance.wants(ShardId{1});
  CHECK(rebalance.grant(0).size() == 1);
  rebalance.wants(ShardId{1});
  CHECK(rebalance.pending() == 1);
  rebalance.over(ShardId{1});
  CHECK(rebalance.pending() == 0);
}
