// Who watches whom.
#include <catga/sharding/watchers.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>

using namespace catga;

namespace {

MembershipView view_of(std::size_t members, std::uint64_t seed) {
  std::mt19937_64 chance(seed);
  MembershipView view;
  view.version = ViewVersion{1};
  for (std::size_t i = 0; i < members; ++i) {
    Member member;
    member.incarnation = Incarnation{chance(), chance()};
    member.name = "n" + std::to_string(i);
    view.members.push_back(member);
  }
  std::sort(view.members.begin(), view.members.end(), [](const Member& one, const Member& other) {
    return one.incarnation < other.incarnation;
  });
  return view;
}

}  // namespace

TEST_CASE("up to eight members all watch all others") {
  for (std::size_t n = 0; n <= 8; ++n) {
    const MembershipView view = view_of(n, n);
    const auto table = watch_table(view, 5);
    REQUIRE(table.size() == n);
    for (std::size_t i = 0; i < n; ++i) {
      CHECK(table[i].size() == n - 1);
      CHECK(std::count(table[i].begin(), table[i].end(), view.members[i].incarnation) == 0);
    }
  }
}

TEST_CASE("above, each member watches five others and is watched by at least two") {
  const std::uint64_t seed = std::random_device{}();
  MESSAGE("seed " << seed);
  for (const std::size_t n : {9U, 10U, 20U, 50U, 120U}) {
    const MembershipView view = view_of(n, seed + n);
    const auto table = watch_table(view, 5);
    for (std::size_t i = 0; i < n; ++i) {
      const std::set<Incarnation> distinct(table[i].begin(), table[i].end());
      CHECK(distinct.size() == 5);
      CHECK(distinct.count(view.members[i].incarnation) == 0);
    }
    for (const Member& member : view.members) {
      const WatchDuty duty = watch_duty(view, member.incarnation, 5);
      CHECK(duty.targets.size() == 5);
      CHECK(duty.watchers.size() >= 2);
    }
  }
}

TEST_CASE("both ends of a watch agree on it") {
  const MembershipView view = view_of(30, 7);
  for (const Member& member : view.members) {
    for (const Incarnation target : watch_duty(view, member.incarnation, 5).targets) {
      const auto watchers = watch_duty(view, target, 5).watchers;
      CHECK(std::count(watchers.begin(), watchers.end(), member.incarnation) == 1);
    }
  }
}

TEST_CASE("the first ring alone is the order of the members' hashes") {
  const MembershipView view = view_of(9, 3);
  const auto table = watch_table(view, 1);
  std::set<Incarnation> watched;
  for (const auto& targets : table) {
    REQUIRE(targets.size() == 1);
    watched.insert(targets.front());
  }
  CHECK(watched.size() == 9);
}

TEST_CASE("who is not in the view watches nobody") {
  const WatchDuty duty = watch_duty(view_of(3, 1), Incarnation{1, 1}, 5);
  CHECK(duty.targets.empty());
  CHECK(duty.watchers.empty());
}
