// The names of keys are storage format: they never change.
#include <catga/persistence/keys.hpp>

#include <doctest/doctest.h>

namespace catga {

TEST_CASE("keys of members carry the tag of the cluster") {
  const ClusterKeys keys("prod");
  const Incarnation node{0x0123456789abcdef, 0xfedcba9876543210};
  CHECK(keys.config() == "{prod}:cfg");
  CHECK(keys.version() == "{prod}:v");
  CHECK(keys.members() == "{prod}:m");
  CHECK(keys.session(node) == "{prod}:s:0123456789abcdeffedcba9876543210");
  CHECK(keys.votes(node) == "{prod}:sus:0123456789abcdeffedcba9876543210");
  CHECK(keys.condemned() == "{prod}:cond");
  CHECK(keys.evictions() == "{prod}:evq");
  CHECK(keys.ended() == "{prod}:gone");
  CHECK(keys.log() == "{prod}:log");
}

TEST_CASE("keys of a shard carry its tag, and an entity's key may hold anything") {
  const ShardKeys keys("prod", ShardId{17});
  const EntityId entity{"account", "a/b}c"};
  CHECK(keys.owner() == "{prod:17}:o");
  CHECK(keys.state(entity) == "{prod:17}:e:account/a/b}c");
  CHECK(keys.operations(entity) == "{prod:17}:d:account/a/b}c");
  CHECK(keys.older_operations(entity) == "{prod:17}:d1:account/a/b}c");
  CHECK(keys.saga_operations(entity) == "{prod:17}:k:account/a/b}c");
  CHECK(keys.log(entity) == "{prod:17}:l:account/a/b}c");
  CHECK(keys.outbox() == "{prod:17}:ob");
  CHECK(keys.timers() == "{prod:17}:tm");
  CHECK(keys.timer_messages() == "{prod:17}:tp");
  CHECK(keys.sources() == "{prod:17}:src");
}

}  // namespace catga
