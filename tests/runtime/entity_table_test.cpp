// The table of what is in memory, beside a plain map.
#include <catga/runtime/actors/entity_table.hpp>

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <string>

using namespace catga;
using actors::EntityTable;

TEST_CASE("a value stays where it is while others come and go, and is found until it is erased") {
  EntityTable<int> table;
  CHECK(table.find({"account", "alice"}) == nullptr);
  int& alice = table[{"account", "alice"}];
  alice = 7;
  for (int i = 0; i < 1000; ++i) table[{"account", std::to_string(i)}] = i;
  CHECK(table.find({"account", "alice"}) == &alice);
  CHECK(&table[{"account", "alice"}] == &alice);
  CHECK(table.find({"order", "alice"}) == nullptr);
  for (int i = 0; i < 1000; ++i) table.erase({"account", std::to_string(i)});
  CHECK(table.size() == 1);
  CHECK(table.find({"account", "alice"}) == &alice);
  table.erase({"account", "alice"});
  table.erase({"account", "alice"});
  CHECK(table.empty());
  CHECK_FALSE(table.contains({"account", "alice"}));
}

TEST_CASE("whatever is put in and taken out, the table holds what a plain map holds") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 dice(seed);
  // From few names, of which nearly all come and go, to more than any line has places for.
  for (const unsigned names : {3U, 40U, 4000U}) {
    EntityTable<unsigned> table;
    std::map<EntityId, unsigned> plain;
    for (unsigned step = 0; step < 20'000; ++step) {
      const EntityId entity{dice() % 2 == 0 ? "a" : "b", std::to_string(dice() % names)};
      if (dice() % 3 != 0) {
        table[entity] = plain[entity] = step;
      } else {
        table.erase(entity);
        plain.erase(entity);
      }
      if (dice() % 5000 == 0) {
        table.clear();
        plain.clear();
      }
      const EntityId asked{dice() % 2 == 0 ? "a" : "b", std::to_string(dice() % names)};
      const unsigned* const found = table.find(asked);
      const auto at = plain.find(asked);
      REQUIRE((found != nullptr) == (at != plain.end()));
      if (found != nullptr) REQUIRE(*found == at->second);
      REQUIRE(table.size() == plain.size());
    }
    std::map<EntityId, unsigned> seen;
    for (const auto& [entity, value] : table) seen[entity] = value;
    CHECK(seen == plain);
  }
}
