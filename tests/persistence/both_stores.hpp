// Runs a test against the stores in memory and, with redis-server installed, against those in
// Redis: what holds for one holds for the other.
#pragma once
#include <catga/persistence/memory/memory_stores.hpp>
#include <catga/persistence/redis/redis_stores.hpp>

#include "../support/servers.hpp"
#include "answers.hpp"

#include <functional>
#include <memory>

namespace catga::testing {

inline std::int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// Without servers a test says loudly that it did not run.
inline bool redis_here() {
  if (servers_installed()) return true;
  MESSAGE("SKIPPED: redis-server is not installed");
  return false;
}

inline RedisOptions options_of(const RedisServer& server, std::string cluster = "test") {
  RedisOptions options = must(parse_redis_url(server.url()));
  options.cluster = std::move(cluster);
  return options;
}

inline void on_both(const std::function<void(Stores&)>& test) {
  {
    INFO("in memory");
    MemoryStores memory(wall_ms);
    test(memory);
  }
  if (!redis_here()) return;
  INFO("in Redis");
  RedisServer server({.append_only = false, .password = "", .more = {}});
  RedisStores redis(options_of(server));
  test(redis);
}

}  // namespace catga::testing
