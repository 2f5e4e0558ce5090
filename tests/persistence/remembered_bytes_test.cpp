// What it costs Redis to remember an operation: bytes per id, by MEMORY USAGE of a real server. Printed, and bounded, so
// that a change of the layout shows.
#include <catga/persistence/keys.hpp>

#include "both_stores.hpp"
#include <doctest/doctest.h>
#include <hiredis/hiredis.h>

#include <memory>
#include <string>
#include <vector>

namespace catga {
using namespace testing;
using namespace std::chrono_literals;

namespace {

const ShardId shard{3};
constexpr std::size_t reply_bytes = 25;  // a record of 40 bytes

class Says {
 public:
  explicit Says(const RedisServer& server)
      : context_(redisConnect("127.0.0.1", server.port()), redisFree) {
    REQUIRE(context_);
    REQUIRE(context_->err == 0);
  }
  long long usage(const std::string& key) {
    const std::unique_ptr<void, void (*)(void*)> reply(
        redisCommand(context_.get(), "MEMORY USAGE %b SAMPLES 0", key.data(), key.size()),
        freeReplyObject);
    REQUIRE(reply);
    const auto* const got = static_cast<redisReply*>(reply.get());
    return got->type == REDIS_REPLY_INTEGER ? got->integer : 0;
  }

 private:
  std::unique_ptr<redisContext, void (*)(redisContext*)> context_;
};

/// Writes `count` ids to one entity, 100 a commit.
void record(Stores& stores, OwnerToken token, const std::string& key, std::size_t count,
            bool of_sagas) {
  Commit commit = commit_of(shard, token, key, "", "", "state");
  for (std::size_t i = 0; i < count;) {
    commit.next = std::to_string(i + 1) + ".1";
    auto& records = of_sagas ? commit.saga_operations : commit.operations;
    records.clear();
    for (std::size_t n = 0; n < 100 && i < count; ++n, ++i)
      records.emplace_back(operation(i), reply_record(std::string(reply_bytes, 'r')));
    REQUIRE(testing::commit(stores, commit).outcome == Committed::Outcome::ok);
    commit.expected = commit.next;
  }
}

}  // namespace

TEST_CASE("a remembered operation costs less than 130 bytes of Redis, once an entity has some") {
  if (!redis_here()) return;
  RedisServer server({.append_only = false, .password = "", .more = {}});
  RedisStores stores(options_of(server));
  const OwnerToken token = claim(stores, shard, node(1));
  const ShardKeys keys("test", shard);
  Says redis(server);
  std::string table = "bytes per remembered id, record of 40 bytes:";
  for (const std::size_t count : {1u, 64u, 128u, 512u, 10'000u}) {
    for (const bool of_sagas : {false, true}) {
      const std::string key = (of_sagas ? "k" : "d") + std::to_string(count);
      record(stores, token, key, count, of_sagas);
      const EntityId entity{"account", key};
      const long long bytes =
          redis.usage(of_sagas ? keys.saga_operations(entity) : keys.operations(entity));
      const auto each = bytes / static_cast<long long>(count);
      table += "\n  " + std::string(of_sagas ? "step of a saga" : "operation") + ", " +
               std::to_string(count) + " of one entity: " + std::to_string(each);
      CHECK(each > 40);
      if (count > 1) CHECK(each < 130);
    }
  }
  FirstSeen wanted;
  wanted.shard = shard;
  wanted.token = token;
  wanted.now_ms = 1'700'000'000'000;
  wanted.retention = 168h;
  constexpr std::size_t clients = 5000;
  std::vector<std::unique_ptr<Pending<Seen>>> under_way;
  for (std::size_t i = 0; i < clients; ++i) {
    wanted.id = operation(i);
    under_way.push_back(std::make_unique<Pending<Seen>>(
        [&](Then<Seen> then) { stores.state().first_seen(wanted, std::move(then)); }));
  }
  for (const auto& one : under_way) REQUIRE(must(one->get()).at_ms == wanted.now_ms);
  const auto each =
      redis.usage(keys.client_keys(wanted.now_ms / 86'400'000)) / static_cast<long long>(clients);
  table += "\n  key of a client: " + std::to_string(each);
  CHECK(each < 110);
  MESSAGE(table);
}

}  // namespace catga
