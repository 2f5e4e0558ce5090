// The stable hash: golden values. If one of these changes, every cluster on disk loses its
// entities.
#include <catga/sharding/hash.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace catga;

TEST_CASE("the hash of a name never changes") {
  CHECK(hash64(1, "account/alice") == 0x046afdd8318b18d6);
  CHECK(hash64(1, "account/bob") == 0x727bf0cc4dab6816);
  CHECK(hash64(2, "node-0#0") == 0xb0e03a7d1a898013);
  CHECK(hash64(3, "0") == 0x0ae6badd3c13edc1);
}

TEST_CASE("the shard of an entity never changes") {
  CHECK(shard_of("account", "alice", 1024) == ShardId{214});
  CHECK(shard_of("account", "bob", 1024) == ShardId{22});
}

TEST_CASE("one name hashes differently in each domain") {
  CHECK(hash64(1, "name") != hash64(2, "name"));
  CHECK(hash64(16, "name") != hash64(17, "name"));
}

TEST_CASE(
    "the shard is the hash of `kind/key` modulo the number of shards, for names of any length") {
  for (const std::size_t length : {0U, 1U, 250U, 253U, 254U, 255U, 256U, 257U, 5000U}) {
    const std::string key(length, 'k');
    CAPTURE(length);
    CHECK(shard_of("a", key, 1021).value == hash64(1, "a/" + key) % 1021);
  }
  CHECK(shard_of("a", "b/c", 1021) == shard_of("a/b", "c", 1021));
}

TEST_CASE("one shard holds everything when there is only one") {
  CHECK(shard_of("account", "alice", 1) == ShardId{0});
}

TEST_CASE("keys that count up spread evenly over the shards") {
  std::vector<int> load(64);
  for (int i = 0; i < 64'000; ++i) ++load[shard_of("account", std::to_string(i), 64).value];
  for (const int count : load) {
    CHECK(count > 800);  // 1,000 expected, standard deviation 31
    CHECK(count < 1200);
  }
}

TEST_CASE("a derived operation id never changes and differs from name to name") {
  CHECK(text_of(hash128(48, "transfer/1/withdraw")) == "7c223d77375a56348bd56e03fa0b741d");
  CHECK(hash128(48, "transfer/1/withdraw") != hash128(48, "transfer/1/deposit"));
  CHECK(hash128(48, "transfer/1/withdraw") != hash128(49, "transfer/1/withdraw"));
}
