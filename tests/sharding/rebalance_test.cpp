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

namespace {
constexpr Incarnation ann{0, 1}, bob{0, 2};
constexpr Intake::Offer offer_of(std::uint32_t shard, Incarnation from, std::uint64_t move,
                                 std::int64_t since = 0) {
  return {ShardId{shard}, from, move, since};
}
std::vector<std::uint32_t> shards_of(const std::vector<Intake::Offer>& offers) {
  std::vector<std::uint32_t> shards;
  for (const Intake::Offer& offer : offers) shards.push_back(offer.shard.value);
  return shards;
}
}  // namespace

TEST_CASE(
    "a node takes up so many offers at once, and the others in the order in which they came") {
  Intake intake(2, 500);
  CHECK(intake.offered(offer_of(1, ann, 1)));
  CHECK(intake.offered(offer_of(9, bob, 1)));
  CHECK_FALSE(intake.offered(offer_of(7, ann, 2)));
  CHECK_FALSE(intake.offered(offer_of(5, bob, 2)));
  CHECK(intake.offered(offer_of(1, ann, 3)));  // repeated: it has its place
  CHECK(shards_of(intake.over(ShardId{9}, 10)) == std::vector<std::uint32_t>{7});
  CHECK(intake.over(ShardId{9}, 10).empty());  // said twice: no second place is free
  CHECK(shards_of(intake.over(ShardId{1}, 10)) == std::vector<std::uint32_t>{5});
  CHECK(intake.over(ShardId{5}, 10).empty());
  CHECK(intake.over(ShardId{7}, 10).empty());
  CHECK(intake.arriving() == 0);
}

TEST_CASE(
    "an offer that waits is forgotten when its owner takes it back, ends, or has waited enough") {
  Intake intake(1, 500);
  CHECK(intake.offered(offer_of(1, ann, 1)));
  CHECK_FALSE(intake.offered(offer_of(2, ann, 2, 0)));
  SUBCASE("taken back") { intake.withdrawn(ShardId{2}); }
  SUBCASE("its owner has ended") { intake.ended(ann); }
  SUBCASE("it has waited for too long") {
    CHECK_FALSE(intake.offered(offer_of(3, bob, 1, 100)));
    CHECK(shards_of(intake.over(ShardId{1}, 500)) == std::vector<std::uint32_t>{3});
    return;
  }
  CHECK_FALSE(intake.offered(offer_of(3, bob, 1, 100)));
  CHECK(shards_of(intake.over(ShardId{1}, 200)) == std::vector<std::uint32_t>{3});
  CHECK(intake.waiting() == 0);
}

TEST_CASE("of two offers of one shard that wait only the newer one counts") {
  Intake intake(1, 500);
  CHECK(intake.offered(offer_of(1, ann, 1)));
  CHECK_FALSE(intake.offered(offer_of(2, ann, 2)));
  CHECK_FALSE(intake.offered(offer_of(2, bob, 7)));
  const std::vector<Intake::Offer> next = intake.over(ShardId{1}, 1);
  REQUIRE(next.size() == 1);
  CHECK(next.front().from == bob);
  CHECK(next.front().move == 7);
  CHECK(intake.over(ShardId{2}, 1).empty());
}

namespace {
Member member(Incarnation incarnation, MemberState state) {
  Member one;
  one.incarnation = incarnation;
  one.state = state;
  one.name = text_of(incarnation);
  return one;
}
}  // namespace

TEST_CASE("shards may hear a little later of joins of others, and of nothing else") {
  const Incarnation self{0, 7};
  const MembershipView before{ViewVersion{5},
                              {member(ann, MemberState::warm), member(self, MemberState::up)}};
  MembershipView after = before;
  after.version = ViewVersion{6};
  SUBCASE("one that waited to become UP, and a new one") {
    after.members[0].state = MemberState::up;
    after.members.push_back(member({0, 9}, MemberState::warm));
    CHECK(only_joins(before, after, self));
    after.version = ViewVersion{4};  // a table that Redis has set back
    CHECK_FALSE(only_joins(before, after, self));
    return;
  }
  SUBCASE("the node itself becomes UP") {
    MembershipView warm = before;
    warm.members[1].state = MemberState::warm;
    CHECK_FALSE(only_joins(warm, after, self));
    return;
  }
  SUBCASE("somebody leaves") { after.members[0].state = MemberState::leaving; }
  SUBCASE("somebody has ended") { after.members.erase(after.members.begin()); }
  SUBCASE("the node itself has ended") { after.members.pop_back(); }
  CHECK_FALSE(only_joins(before, after, self));
}
