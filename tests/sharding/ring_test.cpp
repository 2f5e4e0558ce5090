// The ring: exact tables, the figures of balance and movement, and placement by a view.
#include <catga/sharding/hash.hpp>
#include <catga/sharding/ring.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

using namespace catga;

namespace {

using Table = std::vector<std::uint32_t>;
using Nodes = std::vector<RingNode>;

Nodes numbered_nodes(std::uint32_t count) {
  Nodes nodes;
  for (std::uint32_t i = 0; i < count; ++i) nodes.push_back({"node-" + std::to_string(i), 1});
  return nodes;
}

std::vector<std::uint32_t> loads(const Table& table, std::size_t nodes) {
  std::vector<std::uint32_t> counts(nodes);
  for (const std::uint32_t node : table) ++counts[node];
  return counts;
}

std::uint32_t fullest(const Table& table, std::size_t nodes) {
  return std::ranges::max(loads(table, nodes));
}

/// One byte per shard, the index of its node in the given list.
std::uint64_t digest(const Table& table) {
  std::string bytes;
  for (const std::uint32_t node : table) bytes += static_cast<char>(node);
  return hash64(0, bytes);
}

std::uint32_t cap_of(std::size_t nodes, std::uint32_t shards) {
  const auto four = static_cast<std::uint32_t>(4 * nodes);
  return (5 * shards + four - 1) / four;
}

Member member(std::uint64_t incarnation, std::string name, MemberState state = MemberState::up) {
  return {.incarnation = {0, incarnation},
          .state = state,
          .name = std::move(name),
          .weight = 1,
          .app_version = "1.0",
          .host = "here",
          .joined_ms = 1};
}

}  // namespace

TEST_CASE("without nodes no shard has a target") { CHECK(assign({}, 1024).empty()); }

TEST_CASE("a single node should own every shard") {
  CHECK(assign(numbered_nodes(1), 64) == Table(64, 0));
}

TEST_CASE("the placement of three nodes never changes") {
  const Table table = assign(numbered_nodes(3), 1024);
  CHECK(loads(table, 3) == Table{307, 378, 339});
  CHECK(digest(table) == 0xccb8a733a154f631);
  CHECK(Table(table.begin(), table.begin() + 8) == Table{0, 2, 1, 2, 1, 1, 1, 1});
}

TEST_CASE("the placement of five nodes never changes") {
  const Table table = assign(numbered_nodes(5), 1024);
  CHECK(loads(table, 5) == Table{187, 251, 190, 217, 179});
  CHECK(digest(table) == 0xfc8c341aa3367b0e);
}

TEST_CASE("the placement of nodes with weights never changes") {
  Nodes nodes = numbered_nodes(4);
  nodes[2].weight = 2;
  nodes[3].weight = 4;
  const Table table = assign(nodes, 1024);
  CHECK(loads(table, 4) == Table{106, 145, 270, 503});
  CHECK(digest(table) == 0x7f653b7b3804775c);
}

TEST_CASE("the placement of twenty and of a hundred nodes never changes, with cap and without") {
  const Nodes twenty = numbered_nodes(20);
  const Table free20 = assign(twenty, 1024, false);
  CHECK(fullest(free20, 20) == 80);
  CHECK(digest(free20) == 0xcfd48ab0e5727e18);
  const Table capped20 = assign(twenty, 1024);
  CHECK(fullest(capped20, 20) == 64);
  CHECK(digest(capped20) == 0x5a2808f4f999f49c);

  const Nodes hundred = numbered_nodes(100);
  const Table free100 = assign(hundred, 1024, false);
  CHECK(fullest(free100, 100) == 19);
  CHECK(digest(free100) == 0x035e08391ae7a1db);
  const Table capped100 = assign(hundred, 1024);
  CHECK(fullest(capped100, 100) == 13);
  CHECK(digest(capped100) == 0x8710351e945b7449);
}

TEST_CASE("placement does not depend on the order of the nodes") {
  const Nodes nodes = numbered_nodes(7);
  Nodes turned(nodes.rbegin(), nodes.rend());
  const Table one = assign(nodes, 1024);
  const Table other = assign(turned, 1024);
  for (std::size_t shard = 0; shard < one.size(); ++shard) {
    REQUIRE(nodes[one[shard]].name == turned[other[shard]].name);
  }
}

TEST_CASE("a cap is rounded up, so few shards find room on many nodes") {
  const Table table = assign(numbered_nodes(50), 10);
  CHECK(table.size() == 10);
  CHECK(fullest(table, 50) == 1);
}

// ---- the figures of protocol.md, chapter 2
// -------------------------------------------------------

namespace {

/// Averages over rounds, without cap and with it. Join and leave are relative to the least
/// possible.
struct Figures {
  double balance = 0;
  double join = 0;
  double leave = 0;
};

struct Row {
  std::uint32_t nodes;
  Figures free;
  Figures capped;
};

constexpr std::uint32_t shards = 1024;
constexpr int rounds = 24;

/// `after` has the nodes of `before` and one more, at the end. Counts shards that moved, and checks
/// that each of them went to the joiner or was moved by a full node.
std::uint32_t moved_by_join(const Table& before, const Table& after, std::uint32_t joiner,
                            bool cap) {
  const auto old_loads = loads(before, joiner + 1);
  const auto new_loads = loads(after, joiner + 1);
  std::uint32_t moved = 0;
  std::uint32_t astray = 0;
  for (std::size_t shard = 0; shard < before.size(); ++shard) {
    const std::uint32_t from = before[shard];
    const std::uint32_t to = after[shard];
    if (from == to) continue;
    ++moved;
    if (to == joiner) continue;
    // Between two that stayed: either `to` had no room before, or `from` has none any more.
    const bool by_cap = cap && (old_loads[to] == cap_of(joiner, shards) ||
                                new_loads[from] == cap_of(joiner + 1, shards));
    if (!by_cap) ++astray;
  }
  CHECK(astray == 0);
  return moved;
}

Figures one_round(const Nodes& larger, bool cap) {
  const auto count = static_cast<std::uint32_t>(larger.size() - 1);
  const std::span<const RingNode> nodes(larger.data(), count);
  const Table table = assign(nodes, shards, cap);
  const Table joined = assign(larger, shards, cap);
  const Table left = assign(nodes.first(count - 1), shards, cap);
  if (cap) {
    CHECK(fullest(table, count) <= cap_of(count, shards));
    CHECK(fullest(joined, count + 1) <= cap_of(count + 1, shards));
  }
  // A leave is a join seen backwards, the fourth of four being the one that goes.
  const double join = moved_by_join(table, joined, count, cap);
  const double leave = moved_by_join(left, table, count - 1, cap);
  return {.balance = fullest(table, count) * static_cast<double>(count) / shards,
          .join = join * (count + 1) / shards,
          .leave = leave * count / shards};
}

void check_figures(const Figures& sum, const Figures& expected) {
  CHECK(sum.balance / rounds == doctest::Approx(expected.balance).epsilon(0.1));
  CHECK(sum.join / rounds == doctest::Approx(expected.join).epsilon(0.1));
  CHECK(sum.leave / rounds == doctest::Approx(expected.leave).epsilon(0.1));
}

}  // namespace

TEST_CASE(
    "random names give the documented balance, and a join or leave moves little more than its "
    "share") {
  constexpr std::uint32_t seed = 20251121;
  MESSAGE("seed " << seed);
  std::mt19937_64 random(seed);
  const std::vector<Row> rows{{3, {1.09, 1.00, 1.00}, {1.09, 1.00, 1.00}},
                              {5, {1.13, 0.99, 1.00}, {1.13, 1.00, 1.00}},
                              {10, {1.21, 1.00, 1.00}, {1.20, 1.01, 1.01}},
                              {20, {1.32, 0.99, 1.00}, {1.24, 1.04, 1.04}}};
  for (const Row& row : rows) {
    CAPTURE(row.nodes);
    Figures free;
    Figures capped;
    for (int round = 0; round < rounds; ++round) {
      Nodes nodes;
      for (std::uint32_t i = 0; i <= row.nodes; ++i) nodes.push_back({std::to_string(random()), 1});
      for (const bool cap : {false, true}) {
        const Figures one = one_round(nodes, cap);
        Figures& sum = cap ? capped : free;
        sum.balance += one.balance;
        sum.join += one.join;
        sum.leave += one.leave;
      }
    }
    INFO("without cap");
    check_figures(free, row.free);
    INFO("with cap");
    check_figures(capped, row.capped);
  }
}

// ---- placement by a view
// -------------------------------------------------------------------------

namespace {

/// Five nodes whose incarnations sort the other way round than their names.
MembershipView five_up() {
  MembershipView view{ViewVersion{7}, {}};
  for (std::uint64_t i = 1; i <= 5; ++i) {
    view.members.push_back(member(i, "node-" + std::to_string(5 - i)));
  }
  return view;
}

Incarnation life_of(std::uint64_t node) { return {0, 5 - node}; }

}  // namespace

TEST_CASE("a placement without members has no targets") {
  const Placement none;
  CHECK_FALSE(static_cast<bool>(none.target(ShardId{3})));
  const Placement empty(MembershipView{ViewVersion{2}, {}}, 1024);
  CHECK(empty.version() == ViewVersion{2});
  CHECK(empty.shards() == 1024);
  CHECK_FALSE(static_cast<bool>(empty.target(ShardId{3})));
  CHECK(empty.preference(ShardId{3}).empty());
  CHECK(empty.rank(ShardId{3}, Incarnation{0, 1}) == 0);
}

TEST_CASE("a placement gives each shard to the incarnation of the node the ring names") {
  const Placement placement(five_up(), 1024);
  const Table table = assign(numbered_nodes(5), 1024);
  for (std::uint32_t shard = 0; shard < 1024; ++shard) {
    REQUIRE(placement.target(ShardId{shard}) == life_of(table[shard]));
  }
}

TEST_CASE("only members that are UP are in the ring") {
  MembershipView view = five_up();
  view.members.push_back(member(6, "node-5", MemberState::warm));
  view.members.push_back(member(7, "node-0", MemberState::shadow));
  view.members.push_back(member(8, "node-6", MemberState::leaving));
  const Placement with(view, 1024);
  const Placement without(five_up(), 1024);
  for (std::uint32_t shard = 0; shard < 1024; ++shard) {
    REQUIRE(with.target(ShardId{shard}) == without.target(ShardId{shard}));
  }
  CHECK(with.rank(ShardId{0}, Incarnation{0, 8}) == 5);
}

TEST_CASE("a node that starts again under its name gets the same shards back") {
  MembershipView again = five_up();
  again.version = ViewVersion{8};
  again.members[0].incarnation = Incarnation{0, 99};
  std::ranges::sort(again.members, {}, &Member::incarnation);
  const Placement before(five_up(), 1024);
  const Placement after(again, 1024);
  for (std::uint32_t shard = 0; shard < 1024; ++shard) {
    const Incarnation owner = before.target(ShardId{shard});
    const Incarnation expected = owner == Incarnation{0, 1} ? Incarnation{0, 99} : owner;
    REQUIRE(after.target(ShardId{shard}) == expected);
  }
}

TEST_CASE("the preference of shard 214 among five nodes never changes") {
  const Placement placement(five_up(), 1024);
  CHECK(placement.preference(ShardId{214}) ==
        std::vector<Incarnation>{life_of(4), life_of(1), life_of(3), life_of(0), life_of(2)});
}

TEST_CASE(
    "a preference names every member once, the target first, and rank is the position in it") {
  MembershipView view{ViewVersion{1}, {}};
  for (std::uint64_t i = 0; i < 20; ++i) {
    view.members.push_back(member(100 + i, "node-" + std::to_string(i)));
  }
  const Placement placement(view, 1024);
  std::uint32_t moved_to_front = 0;
  const Table walked = assign(numbered_nodes(20), 1024, false);
  for (std::uint32_t shard = 0; shard < 1024; ++shard) {
    const auto order = placement.preference(ShardId{shard});
    REQUIRE(order.size() == 20);
    REQUIRE(order.front() == placement.target(ShardId{shard}));
    for (std::uint32_t i = 0; i < 20; ++i) REQUIRE(placement.rank(ShardId{shard}, order[i]) == i);
    const Incarnation first_on_walk{0, 100 + walked[shard]};
    if (first_on_walk == order.front()) continue;
    ++moved_to_front;  // the cap moved this shard on; whom the walk met first comes second
    REQUIRE(order[1] == first_on_walk);
  }
  CHECK(moved_to_front > 0);
  CHECK(placement.rank(ShardId{0}, Incarnation{0, 1}) == 20);
}
