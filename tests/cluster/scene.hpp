// A cluster for one test: its own NATS and Redis, nodes as processes or in this program, a client,
// and callers that count what was acknowledged.
#pragma once
#include <catga/catga.hpp>
#include <catga/persistence/stores.hpp>
#include <catga/runtime/client.hpp>
#include <catga/sharding/hash.hpp>

#include "../support/node_process.hpp"
#include "../support/servers.hpp"
#include "kinds.hpp"
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace catga::testing {

using namespace std::chrono_literals;
using Milliseconds = std::chrono::milliseconds;

/// Without servers a test says loudly that it did not run.
bool servers_here();

template <class Value>
Value must(Result<Value> result) {
  if (!result)
    FAIL("an error: " << std::string(name_of(result.error().code)) << ": " << result.error().text);
  return std::move(result).value();
}

/// Looks again and again until `condition` holds: for what only the passing of real time brings.
template <class Condition>
bool eventually(Condition condition, Milliseconds patience = 20s) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

Milliseconds since(std::chrono::steady_clock::time_point begin);

struct Servers {
  explicit Servers(RedisServer::Options redis_options = {}, NatsServer::Options nats_options = {})
      : redis(std::move(redis_options)), nats(std::move(nats_options)) {}
  RedisServer redis;
  NatsServer nats;
};

/// One command to Redis over a connection of its own; its text, or that of the error.
std::string redis_says(const RedisServer& server, std::initializer_list<std::string_view> words);

/// Flags of a node process, beyond those that every one gets.
using Flags = std::vector<std::string>;

/// With CATGA_TEST_LOGS=<folder> in the environment the nodes' logs are left there.
class Scene {
 public:
  static constexpr std::uint32_t shards = 64;
  explicit Scene(RedisServer::Options redis = {}, NatsServer::Options nats = {});
  ~Scene();

  Servers servers;
  std::string program = "catga-test-node";  ///< of the nodes that are launched
  Milliseconds ask_timeout{5000};           ///< of the client

  /// Settings of a node in this program: few shards, quick to settle, silent.
  Config config(const std::string& name) const;
  /// Starts a process and returns at once. A name may be started again when its process ended.
  NodeProcess& launch(const std::string& name, const Flags& flags = {},
                      const NodeProcess::Environment& environment = {});
  /// The same, and waits until it is ready.
  NodeProcess& start(const std::string& name, const Flags& flags = {});
  NodeProcess& node(const std::string& name) { return *nodes_.at(name); }
  /// Waits until the node says that it is ready.
  void expect_ready(const std::string& name, Milliseconds patience = 15s);
  /// Connected when it is first used.
  Client& client();
  Ref<Counter> counter(const std::string& key) { return client().ref<Counter>(key); }
  /// The members of the view, from Redis.
  std::vector<Member> members();
  /// Waits until so many members are up.
  void expect_up(std::size_t count);
  /// A node that dies before its watchers heard a heartbeat is a stranger to them: it keeps its
  /// shards until its session ends. This waits until all have heard each other.
  static void let_them_meet() { std::this_thread::sleep_for(1s); }
  /// One key of a counter for each shard.
  static std::vector<std::string> key_per_shard();

 private:
  std::map<std::string, std::unique_ptr<NodeProcess>> nodes_;
  std::unique_ptr<Stores> stores_;
  std::unique_ptr<Client> client_;
};

/// Callers that add 1 to counters as fast as they are answered, each command under one operation id
/// until its outcome is known. What was acknowledged must then be there exactly once.
class Load {
 public:
  struct Options {
    int callers = 8;
    int keys_each = 16;
    bool tell_on = false;  ///< each command also tells another counter
    Milliseconds timeout{5000};
    Milliseconds patience{30'000};  ///< for one command with all its repeats
  };
  Load(Client& client, Options options);
  explicit Load(Client& client) : Load(client, Options{}) {}
  ~Load();
  /// Returns when each command that was begun has its outcome.
  void stop();
  std::uint64_t acknowledged() const { return acknowledged_.load(); }
  /// Asks that ended in an error, a repeat following or not, and the last such error.
  std::uint64_t troubles() const { return troubles_.load(); }
  std::string last_trouble() const;
  /// The longest that one command, repeats included, waited for its outcome.
  Milliseconds slowest() const { return Milliseconds(slowest_ms_.load()); }
  std::map<Code, int> codes() const;
  /// Returns when so many more were acknowledged.
  void expect_progress(std::uint64_t more, Milliseconds patience = 20s);
  /// After stop(): every counter holds exactly what was acknowledged.
  void check();

 private:
  struct Key {
    std::string name;
    std::int64_t acknowledged = 0;
  };
  void call(std::vector<Key>& keys);
  bool add_once(Key& key);
  bool settle(const Key& key, const AskOptions& options);

  Client& client_;
  const Options options_;
  std::vector<std::vector<Key>> keys_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> acknowledged_{0}, troubles_{0}, unsettled_{0};
  std::atomic<std::int64_t> slowest_ms_{0};
  mutable std::mutex lock_;
  std::string last_trouble_;
  std::map<Code, int> codes_;
  std::vector<std::thread> threads_;
};

}  // namespace catga::testing
