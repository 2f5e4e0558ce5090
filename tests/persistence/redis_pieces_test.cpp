// The parts of the Redis store that need no Redis: back-off, URLs, errors, scripts, the queue of
// commits.
#include <catga/persistence/redis/backoff.hpp>
#include <catga/persistence/redis/commit_call.hpp>
#include <catga/persistence/redis/connection.hpp>

#include <doctest/doctest.h>

#include <map>
#include <random>

namespace catga {

TEST_CASE(
    "the first attempt to connect is made at once, later ones wait 10 ms, doubled up to 500 ms") {
  const int expected[] = {0, 10, 20, 40, 80, 160, 320, 500, 500};
  for (unsigned failures = 0; failures < 9; ++failures)
    CHECK(backoff(failures).count() == expected[failures]);
  CHECK(backoff(4'000'000'000).count() == 500);
}

TEST_CASE("a Redis URL names host, port, database, user and password") {
  const auto full = parse_redis_url("redis://cat:p%40ss:w%2Frd@redis.local:6380/3");
  REQUIRE(full.ok());
  CHECK(full->user == "cat");
  CHECK(full->password == "p@ss:w/rd");
  CHECK(full->host == "redis.local");
  CHECK(full->port == 6380);
  CHECK(full->database == 3);
  const auto bare = parse_redis_url("redis://localhost");
  REQUIRE(bare.ok());
  CHECK(bare->host == "localhost");
  CHECK(bare->port == 6379);
  CHECK(bare->database == 0);
  const auto six = parse_redis_url("redis://:secret@[::1]:7000/");
  REQUIRE(six.ok());
  CHECK(six->host == "::1");
  CHECK(six->port == 7000);
  CHECK(six->user.empty());
  CHECK(masked_url(*six) == "redis://:***@[::1]:7000/0");
}

TEST_CASE("a wrong Redis URL is malformed, says why and never shows the password") {
  for (const std::string url :
       {"", "http://x", "redis://", "redis://h:0", "redis://h:99999", "redis://h:1x",
        "redis://h/abc", "redis://u:secret@h:x", "redis://u:secret%4@h", "redis://[::1",
        "redis://user@h", "rediss://u:secret@h:1"}) {
    CAPTURE(url);
    const auto parsed = parse_redis_url(url);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().code == Code::malformed);
    CHECK(parsed.error().text.find("secret") == std::string::npos);
  }
  CHECK(parse_redis_url("rediss://h").error().text.find("TLS") != std::string::npos);
}

TEST_CASE("what Redis refuses whole may be asked again, other errors may not") {
  CHECK(error_of("OOM command not allowed when used memory > 'maxmemory'.").code ==
        Code::overloaded);
  for (const std::string word : {"LOADING", "MISCONF", "NOREPLICAS", "BUSY", "MASTERDOWN",
                                 "CLUSTERDOWN", "TRYAGAIN", "READONLY"}) {
    CHECK(error_of(word + " and why").code == Code::unavailable);
  }
  CHECK(error_of("WRONGTYPE Operation against a key").code == Code::failed);
  CHECK(error_of("ERR unknown command").code == Code::failed);
  CHECK(error_of("BUSYKEY Target key name already exists.").code == Code::failed);
}

TEST_CASE("a field of INFO is found by its whole name") {
  const std::string info =
      "# Memory\r\nused_memory:12\r\nused_memory_rss:34\r\nmaxmemory_policy:noeviction\r\n";
  CHECK(info_field(info, "used_memory") == "12");
  CHECK(info_field(info, "maxmemory_policy") == "noeviction");
  CHECK(info_field(info, "memory").empty());
}

TEST_CASE("every script opens with #!lua, and only those that add users' data need free memory") {
  const auto adds = [](Script script) {
    return script == Script::shard_commit || script == Script::saga_create ||
           script == Script::saga_commit || script == Script::first_seen ||
           script == Script::dead_letter || script == Script::park_tell ||
           script == Script::park_timer;
  };
  for (std::size_t i = 0; i < script_count; ++i) {
    const auto script = static_cast<Script>(i);
    const std::string text = text_of(script);
    CAPTURE(name_of(script));
    CHECK(text.starts_with(adds(script) ? "#!lua\n" : "#!lua flags=allow-oom\n"));
  }
}

namespace {

std::unique_ptr<WaitingCommit> waiting(std::uint32_t shard, std::uint64_t epoch, std::string key,
                                       std::size_t bytes = 10) {
  Commit commit;
  commit.shard = ShardId{shard};
  commit.token = OwnerToken{Epoch{epoch}, Incarnation{1, 2}};
  commit.entity = {"account", std::move(key)};
  commit.next = "1.a";
  commit.state = std::string(bytes, 's');
  return std::make_unique<WaitingCommit>("c", std::move(commit), [](Result<Committed>) {});
}

}  // namespace

TEST_CASE("commits of one shard and token share a call, another token has its own") {
  CommitQueue queue("c");
  for (const std::string key : {"a", "b"}) queue.push(waiting(1, 7, key));
  queue.push(waiting(1, 8, "c"));
  const auto groups = queue.take(128);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].commits.size() == 2);
  CHECK(groups[0].shard_keys[0] == "{c:1}:o");
  CHECK(groups[1].commits.size() == 1);
  CHECK(queue.empty());
}

TEST_CASE("an entity never stands twice in one call") {
  CommitQueue queue("c");
  for (const std::string key : {"a", "b", "a"}) queue.push(waiting(1, 7, key));
  const auto groups = queue.take(128);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].commits.size() == 2);
  CHECK(groups[1].commits.size() == 1);
}

TEST_CASE("a call holds at most 32 entities and 256 KiB, and a larger commit goes alone") {
  CommitQueue queue("c");
  for (int i = 0; i < 40; ++i) queue.push(waiting(1, 7, std::to_string(i)));
  auto groups = queue.take(128);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].commits.size() == 32);
  for (int i = 0; i < 4; ++i) queue.push(waiting(2, 7, std::to_string(i), 100 * 1024));
  queue.push(waiting(2, 7, "large", 600 * 1024));
  groups = queue.take(128);
  REQUIRE(groups.size() == 3);
  CHECK(groups[0].commits.size() == 2);
  CHECK(groups[1].commits.size() == 2);
  CHECK(groups[2].commits.size() == 1);
}

TEST_CASE("a busy shard does not starve the others, and a trip holds at most its batch") {
  CommitQueue queue("c");
  for (int i = 0; i < 1000; ++i) queue.push(waiting(1, 7, std::to_string(i)));
  for (std::uint32_t shard = 2; shard < 12; ++shard) queue.push(waiting(shard, 7, "x"));
  const auto groups = queue.take(64);
  std::size_t commits = 0, others = 0;
  for (const auto& group : groups) {
    commits += group.commits.size();
    others += group.shard_keys[0] == "{c:1}:o" ? 0 : 1;
  }
  CHECK(commits == 64);
  CHECK(others == 10);
  CHECK(queue.size() == 1010 - 64);
}

TEST_CASE("whatever is pushed is taken once, in order within each entity") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  CommitQueue queue("c");
  std::map<std::string, std::uint64_t> taken_last;
  std::uint64_t number = 0;
  std::size_t pushed = 0, taken = 0;
  for (int round = 0; round < 200; ++round) {
    for (auto n = random() % 20; n > 0; --n, ++pushed) {
      auto commit =
          waiting(static_cast<std::uint32_t>(random() % 5), 7, std::to_string(random() % 6));
      commit->since = std::chrono::steady_clock::time_point(std::chrono::nanoseconds(++number));
      queue.push(std::move(commit));
    }
    for (const auto& group : queue.take(random() % 16)) {
      for (const auto& commit : group.commits) {
        ++taken;
        auto& last = taken_last[group.shard_keys[0] + commit->commit().entity.key];
        const auto now = static_cast<std::uint64_t>(commit->since.time_since_epoch().count());
        CHECK(now > last);
        last = now;
      }
    }
    CHECK(queue.size() == pushed - taken);
  }
  queue.take(100'000);
  CHECK(queue.empty());
}

TEST_CASE("what has waited for too long leaves the queue, the rest keeps its place") {
  using Time = std::chrono::steady_clock::time_point;
  CommitQueue queue("c");
  for (int second : {1, 2, 3}) {
    auto commit = waiting(static_cast<std::uint32_t>(second), 7, "x");
    commit->since = Time(std::chrono::seconds(second));
    queue.push(std::move(commit));
  }
  CHECK(queue.take_older(Time(std::chrono::seconds(3))).size() == 2);
  CHECK(queue.size() == 1);
  const auto groups = queue.take(10);
  REQUIRE(groups.size() == 1);
  CHECK(groups[0].shard_keys[0] == "{c:3}:o");
}

}  // namespace catga
