// Which definition a saga goes on with.
#include <catga/entities/saga/versions.hpp>

#include "saga_shop.hpp"
#include <doctest/doctest.h>

using namespace catga;
using namespace shop;

namespace {

auto notify = [](const Order& o) { return to<Mailer>("shop", Notify{o.id}); };

Saga<Order> first() { return saga<Order>("o", 1).step("a", notify).step("b", notify).build(); }
Saga<Order> second() {
  return saga<Order>("o", 2)
      .accepts(1)
      .step("a", notify)
      .step("b", notify)
      .step("c", notify)
      .build();
}

StoredSaga stored(const Saga<Order>& by, const Told& told) {
  return {"o", by.definition().version, fingerprint(by.definition()), told.entries()};
}

struct Choosing {
  explicit Choosing(std::vector<Saga<Order>> registered) : sagas(std::move(registered)) {
    for (const Saga<Order>& saga : sagas) known.push_back(&saga.definition());
  }
  DefinitionChoice choose(const StoredSaga& saga) const {
    return choose_definition(known, saga, 5);
  }
  std::vector<Saga<Order>> sagas;
  std::vector<const SagaDefinition*> known;
};

std::string cause_of(const DefinitionChoice& choice) {
  if (choice.entries.empty()) return "";
  return decode<ParkNote>(choice.entries[0].data)->cause;
}

}  // namespace

TEST_CASE("a saga goes on with the definition it began with, though newer ones are there") {
  const Choosing both({second(), first()});
  const DefinitionChoice choice = both.choose(stored(first(), Told{}));
  REQUIRE(choice.definition);
  CHECK(choice.definition->version == 1);
  CHECK(choice.entries.empty());
  CHECK(both.choose(stored(second(), Told{})).definition->version == 2);
}

TEST_CASE("the same version with other steps parks as drift, once, and tells what it found") {
  const Choosing changed({saga<Order>("o", 1).step("a", notify).step("new", notify).build()});
  Told told;
  told.done("a", Done{}).done("b", Done{});
  const DefinitionChoice choice = changed.choose(stored(first(), told));
  CHECK_FALSE(choice.definition);
  CHECK(cause_of(choice) == "definition_drift");
  CHECK(choice.text.find("expected fingerprint " +
                         std::to_string(fingerprint(first().definition()))) != std::string::npos);
  CHECK(choice.text.find("has no step 'b'") != std::string::npos);
  told.parked(ParkCause::definition_drift, "", {.text = choice.text});
  for (int recovery = 0; recovery < 1000; ++recovery) {
    CHECK(changed.choose(stored(first(), told)).entries.empty());
  }
}

TEST_CASE("a newer definition that accepts the old one and has its steps takes over") {
  Told told;
  told.done("a", Done{});
  const Choosing newer({second()});
  const DefinitionChoice choice = newer.choose(stored(first(), told));
  REQUIRE(choice.definition);
  CHECK(choice.definition->version == 2);
  REQUIRE(words_of(choice.entries) == "upgraded");
  CHECK(decode<UpgradeNote>(choice.entries[0].data)->from == 1);
  CHECK(decode<UpgradeNote>(choice.entries[0].data)->to == 2);
}

TEST_CASE(
    "a definition that does not accept, misses a step or has another order does not take over") {
  Told told;
  told.done("a", Done{}).done("b", Done{});
  const auto build = [] { return saga<Order>("o", 2); };
  const std::vector<Saga<Order>> unfit{
      build().step("a", notify).step("b", notify).build(),
      build().accepts(1).step("a", notify).step("c", notify).build(),
      build().accepts(1).step("b", notify).step("a", notify).build(),
  };
  for (const Saga<Order>& saga : unfit) {
    const DefinitionChoice choice = Choosing({saga}).choose(stored(first(), told));
    CHECK_FALSE(choice.definition);
    CHECK(cause_of(choice) == "no_definition");
    CHECK(choice.text.find("version 1 is not registered here (versions: 2)") != std::string::npos);
  }
  CHECK(Choosing({}).choose(stored(first(), told)).text.find("versions: none") !=
        std::string::npos);
}

TEST_CASE("an old program never runs what newer code created") {
  CHECK(cause_of(Choosing({first()}).choose(stored(second(), Told{}))) == "no_definition");
}

TEST_CASE("steps side by side may have ended in any order for a newer definition to take over") {
  const auto wide = [](std::uint32_t version) {
    return saga<Order>("o", version).parallel().step("a", notify).step("b", notify).join();
  };
  Told told;
  told.done("b", Done{}).done("a", Done{});
  const Choosing newer({wide(2).accepts(1).step("c", notify).build()});
  CHECK(newer.choose(stored(wide(1).build(), told)).definition);
}

TEST_CASE("a saga parked for want of its definition is upgraded when one comes that accepts it") {
  Told told;
  told.done("a", Done{}).parked(ParkCause::no_definition, "", {.text = "x"});
  const Choosing newer({second()});
  const DefinitionChoice choice = newer.choose(stored(first(), told));
  REQUIRE(choice.definition);
  SagaProgress progress(*choice.definition, "17", told.entries());
  progress.apply(choice.entries.at(0));
  const SagaDecision decision = next(progress, told.now_ms());
  CHECK(words_of(decision.entries) == "resumed");
  CHECK(words_of(decision.tasks) == "run b");
}
