// Keys of entities may be personal data: what the log, events and traces show of them.
#include <catga/runtime/telemetry/entity_keys.hpp>
#include <catga/sharding/hash.hpp>

#include <doctest/doctest.h>

using catga::Config;
using catga::EntityId;

namespace {
Config showing(const std::string& how) {
  Config config;
  config.telemetry.entity_keys = how;
  return config;
}
}  // namespace

TEST_CASE("keys of entities are shown as the hash that places them, unless one wants otherwise") {
  const EntityId alice{"account", "alice"};
  CHECK(Config{}.telemetry.entity_keys == "hash");
  const std::string hash = catga::key_shown(showing("hash"), alice);
  CHECK(hash.size() == 16);
  CHECK(hash.find_first_not_of("0123456789abcdef") == hash.npos);
  CHECK(std::stoull(hash, nullptr, 16) % 1024 == catga::shard_of("account", "alice", 1024).value);
  CHECK(catga::entity_shown(showing("hash"), alice) == "account/#" + hash);
  CHECK(catga::key_shown(showing("plain"), alice) == "alice");
  CHECK(catga::entity_shown(showing("plain"), alice) == "account/alice");
  CHECK(catga::key_shown(showing("off"), alice).empty());
  CHECK(catga::entity_shown(showing("off"), alice) == "account");
}

TEST_CASE("a sentence for the caller names the entity, and the log has it without the key") {
  const EntityId alice{"account", "alice"};
  const std::string said = "the state of account/alice cannot be read: account/alice is broken";
  CHECK(catga::text_shown(showing("plain"), alice, said) == said);
  CHECK(catga::text_shown(showing("off"), alice, said) ==
        "the state of account cannot be read: account is broken");
  CHECK(catga::text_shown(showing("hash"), alice, said).find("alice") == std::string::npos);
}
