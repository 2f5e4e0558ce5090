#include <catga/runtime/actors/turn_watch.hpp>

#include <doctest/doctest.h>

using namespace catga;
using actors::TurnWatch;

TEST_CASE("a turn that runs too long is named once, and again when its time has grown tenfold") {
  TurnWatch watch;
  const EntityId alice{"account", "alice"};
  const std::string message = "Deposit";
  int activation = 0;
  watch.begins(&activation, alice, message, 1000);
  CHECK(watch.slow(1099, 100).empty());
  const auto slow = watch.slow(1100, 100);
  REQUIRE(slow.size() == 1);
  CHECK(slow[0].entity == alice);
  CHECK(slow[0].message == "Deposit");
  CHECK(slow[0].running_ms == 100);
  CHECK(watch.slow(1500, 100).empty());
  CHECK(watch.slow(2000, 100).size() == 1);
}

TEST_CASE("a turn that has ended is not watched any more") {
  TurnWatch watch;
  const EntityId alice{"account", "alice"};
  const std::string message = "Deposit";
  int activation = 0;
  watch.begins(&activation, alice, message, 0);
  watch.ends(&activation);
  CHECK(watch.slow(100'000, 100).empty());
}
