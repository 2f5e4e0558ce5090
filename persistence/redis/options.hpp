// Where Redis is, or who knows where it is, and how long to wait for it.
#pragma once
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

class PrimaryWatch;

/// Where a server listens.
struct RedisAddress {
  std::string host;
  int port = 0;
  bool operator==(const RedisAddress&) const = default;
};

/// `host:port`, an IPv6 address in brackets.
std::string text_of(const RedisAddress& address);

struct RedisOptions {
  std::string cluster;  ///< name; the hash tag of every key begins with it
  /// Where the primary is, unless there are sentinels: then nobody connects to host and port.
  std::string host = "127.0.0.1";
  int port = 6379;
  int database = 0;
  std::string user;                       ///< ACL user; empty: AUTH with the password alone
  std::string password;                   ///< empty: no AUTH. Never printed
  std::vector<RedisAddress> sentinels;    ///< asked at every connect where the primary is
  std::string sentinel_master = "catga";  ///< the name under which they watch it
  std::string sentinel_password;          ///< empty: no AUTH at the sentinels. Never printed
  /// For connect, AUTH and loading the scripts together; with sentinels for each of them, with what
  /// it names.
  std::chrono::milliseconds connect_timeout{1000};
  std::chrono::milliseconds command_timeout{2000};  ///< silence after which an outcome is `unknown`
  std::chrono::milliseconds wait_timeout{100};      ///< of one WAIT
  unsigned connections = 2;                         ///< pipelines for state; a shard keeps to one
  unsigned wait_replicas = 0;   ///< WAIT at the end of each trip with writes; 0: none
  std::size_t batch = 128;      ///< commits per trip
  std::size_t pending = 10000;  ///< waiting per pipeline; beyond: overloaded
  bool check_policy = true;  ///< refuse an eviction policy other than noeviction, and Redis < 7.0
  /// Down: some connection of the store is lost, `why` is a sentence. Up: all stand; `why` names
  /// server and run id, and says so when it is another primary than before. On a thread of the
  /// store: post and return.
  std::function<void(bool up, std::string why)> on_link;
  /// Told of each trip of a pipeline, on its thread: how many commands go with it. May be empty.
  std::function<void(std::size_t commands)> on_trip;
  /// What this process knows of the primary, and who is told when it is another one. Stores made
  /// from copies share it, so that all connections of a process find the same primary and a change
  /// is told once. Empty: each store has one of its own, and nobody is told.
  std::shared_ptr<PrimaryWatch> primary;
};

/// Reads `redis://[user[:password]@]host[:port][/database]`; user and password may be
/// percent-encoded, a host may be an IPv6 address in brackets. Everything else keeps its default.
/// Errors: malformed; no password is in the text.
Result<RedisOptions> parse_redis_url(std::string_view url);

/// Reads `host:port` or `host` (port 26379); a host may be an IPv6 address in brackets. Errors:
/// malformed.
Result<RedisAddress> parse_sentinel(std::string_view text);

/// `redis://user:***@host:port/database`, for logs and errors.
std::string masked_url(const RedisOptions& options);
std::string masked_url(const RedisOptions& options, const RedisAddress& address);

/// Where the primary is looked for: "Redis at <URL>", or "the Redis primary 'catga' (sentinels …)".
std::string describe(const RedisOptions& options);

}  // namespace catga
