// The membership view: rows as they stand in Redis, look-up, and what changed.
#include <catga/sharding/view.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace catga;

namespace {

Member member(std::uint64_t number, MemberState state) {
  return {.incarnation = {0, number},
          .state = state,
          .name = "node-" + std::to_string(number),
          .weight = 1,
          .app_version = "1.0",
          .host = "here",
          .joined_ms = 1};
}

std::vector<std::string> names(const std::vector<Member>& members) {
  std::vector<std::string> names;
  for (const Member& one : members) names.push_back(one.name);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a row is state, name, weight, app version, host and time of joining") {
  const Member bank{.incarnation = {1, 2},
                    .state = MemberState::up,
                    .name = "bank-0",
                    .weight = 4,
                    .app_version = "1.2.3+g0ab",
                    .host = "10.0.0.7",
                    .joined_ms = 1764000000123};
  CHECK(row_of(bank) == "UP bank-0 4 1.2.3+g0ab 10.0.0.7 1764000000123");
  CHECK(row_rest_of(bank) == "4 1.2.3+g0ab 10.0.0.7 1764000000123");
  CHECK(*parse_row(bank.incarnation, row_of(bank)) == bank);
}

TEST_CASE("a row tells all four states apart") {
  for (const MemberState state :
       {MemberState::warm, MemberState::shadow, MemberState::up, MemberState::leaving}) {
    const Member one = member(3, state);
    CHECK(row_of(one).starts_with(std::string(name_of(state)) + " node-3 "));
    CHECK(parse_row(one.incarnation, row_of(one))->state == state);
  }
  CHECK(name_of(MemberState::warm) == "WARM");
  CHECK(name_of(MemberState::shadow) == "SHADOW");
  CHECK(name_of(MemberState::up) == "UP");
  CHECK(name_of(MemberState::leaving) == "LEAVING");
}

TEST_CASE("an unknown app version or host is written as a dash, so that no word is missing") {
  Member one = member(1, MemberState::warm);
  one.app_version.clear();
  one.host.clear();
  CHECK(row_of(one) == "WARM node-1 1 - - 1");
  CHECK(parse_row(one.incarnation, row_of(one)).ok());
}

TEST_CASE(
    "a row with a word too few, too many or wrong is malformed, and the error names the member") {
  for (const std::string row :
       {"", "UP", "UP a 1 v h", "UP a 1 v h 5 x", "UP  a 1 v h 5", "UP a 1 v h 5 ", " UP a 1 v h 5",
        "up a 1 v h 5", "GONE a 1 v h 5", "UP a 0 v h 5", "UP a 17 v h 5", "UP a -1 v h 5",
        "UP a x v h 5", "UP a 1 v h x", "UP a 1 v h -5", "UP a 1 v h 9223372036854775808"}) {
    CAPTURE(row);
    const auto read = parse_row(Incarnation{0, 10}, row);
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().code == Code::malformed);
    CHECK(read.error().text.find("0000000000000000000000000000000a") != std::string::npos);
  }
  CHECK(parse_row({}, "UP a 16 v h 9223372036854775807").ok());
}

TEST_CASE("a view finds its members by incarnation and nobody else") {
  const MembershipView view{
      ViewVersion{5},
      {member(1, MemberState::up), member(4, MemberState::warm), member(9, MemberState::leaving)}};
  for (const Member& one : view.members) CHECK(view.find(one.incarnation) == &one);
  for (const std::uint64_t number : {0, 2, 5, 10}) {
    CHECK(view.find(Incarnation{0, number}) == nullptr);
  }
  CHECK(MembershipView{}.find(Incarnation{0, 1}) == nullptr);
}

TEST_CASE("between two views members come up, start to leave and end") {
  const MembershipView before{
      ViewVersion{1},
      {member(1, MemberState::up), member(2, MemberState::up), member(3, MemberState::warm),
       member(4, MemberState::up), member(5, MemberState::leaving)}};
  const MembershipView after{
      ViewVersion{2},
      {member(1, MemberState::up), member(2, MemberState::leaving), member(3, MemberState::up),
       member(6, MemberState::up), member(7, MemberState::warm)}};
  const ViewChange change = changes(before, after);
  CHECK(names(change.joined) == Names{"node-3", "node-6"});
  CHECK(names(change.leaving) == Names{"node-2"});
  CHECK(names(change.ended) == Names{"node-4", "node-5"});
}

TEST_CASE("a member that returns from LEAVING to UP has joined again") {
  const MembershipView before{ViewVersion{1}, {member(1, MemberState::leaving)}};
  const MembershipView after{ViewVersion{2}, {member(1, MemberState::up)}};
  CHECK(names(changes(before, after).joined) == Names{"node-1"});
  CHECK(changes(before, after).ended.empty());
}

TEST_CASE("between equal views nothing changed") {
  const MembershipView view{ViewVersion{1},
                            {member(1, MemberState::up), member(2, MemberState::leaving)}};
  const ViewChange change = changes(view, view);
  CHECK(change.joined.empty());
  CHECK(change.leaving.empty());
  CHECK(change.ended.empty());
}
