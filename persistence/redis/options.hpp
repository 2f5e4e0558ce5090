// Where Redis is and how long to wait for it.
#pragma once
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace catga {

struct RedisOptions {
  std::string cluster;  ///< name; the hash tag of every key begins with it
  std::string host = "127.0.0.1";
  int port = 6379;
  int database = 0;
  std::string user;      ///< ACL user; empty: AUTH with the password alone
  std::string password;  ///< empty: no AUTH. Never printed
  std::chrono::milliseconds connect_timeout{
      1000};  ///< for connect, AUTH and loading the scripts together
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
};

/// Reads `redis://[user[:password]@]host[:port][/database]`; user and password may be
/// percent-encoded, a host may be an IPv6 address in brackets. Everything else keeps its default.
/// Errors: malformed; no password is in the text.
Result<RedisOptions> parse_redis_url(std::string_view url);

/// `redis://user:***@host:port/database`, for logs and errors.
std::string masked_url(const RedisOptions& options);

}  // namespace catga
