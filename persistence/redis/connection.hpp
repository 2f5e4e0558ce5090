// One connection to Redis: one hiredis handle, used by one thread.
//
// After an I/O error or silence the handle is dead for good: what was sent may have run, may run
// later, or never, and replies can no longer be told apart. The owner throws the connection away
// and opens another.
#pragma once
#include "catga/persistence/redis/options.hpp"
#include "catga/persistence/redis/scripts.hpp"
#include "catga/sharding/result.hpp"

#include <array>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct redisContext;
struct redisReply;

namespace catga {

/// Looks at a reply without owning it. Asking for what it does not hold gives "", 0 or a reply of
/// type none: bytes from outside are checked where they are given a meaning.
class Reply {
 public:
  Reply() = default;
  explicit Reply(const redisReply* reply) : reply_(reply) {}
  bool is_error() const;
  bool is_array() const;
  bool is_text() const;
  std::size_t size() const;  ///< elements of an array
  Reply operator[](std::size_t i) const;
  std::string_view text() const;  ///< bytes of a string, status or error
  std::int64_t number() const;    ///< an integer, or a string that is one

 private:
  const redisReply* reply_ = nullptr;
};

/// A reply and its memory.
class OwnedReply {
 public:
  explicit OwnedReply(redisReply* reply) : reply_(reply) {}
  Reply view() const { return Reply(reply_.get()); }

 private:
  struct Free {
    void operator()(redisReply* reply) const noexcept;
  };
  std::unique_ptr<redisReply, Free> reply_;
};

/// What an error reply means to a caller: `overloaded` for OOM; `unavailable` for the refusals that
/// leave nothing written and end by themselves (LOADING, MISCONF, NOREPLICAS, READONLY …); `failed`
/// for the rest. Pure.
Error error_of(std::string_view redis_error);

/// What a server says about itself when a connection is opened.
struct ServerFacts {
  std::string version;  ///< "7.0.15"
  std::string
      run_id;  ///< new at each start: another one is another process, perhaps another history
  bool primary = true;
};

/// Not thread-safe. SIGPIPE must be blocked in the thread that uses it.
class Connection {
 public:
  explicit Connection(const RedisOptions& options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Connects, AUTH, PING, SELECT, and reads who the server is; at most connect_timeout in all.
  /// Errors: unavailable (cannot be reached, or loads), malformed (password, database: retrying is
  /// of no use).
  Result<ServerFacts> open();
  /// Loads all scripts, for call() to name. Errors: as of read(), or what Redis says.
  Status load_scripts();

  /// Puts one command into the output buffer.
  void append(std::span<const std::string_view> words);
  /// The same for EVALSHA <sha of script> <number of keys> words…; with `by_text` EVAL <whole
  /// script> …
  void append_call(Script script, std::size_t keys, std::span<const std::string_view> words,
                   bool by_text = false);
  /// Sends what is buffered and waits for the next reply. Error: unknown (lost, or silent for
  /// command_timeout).
  Result<OwnedReply> read();
  /// False once the server closed the connection, or after any I/O error. Only when no reply is
  /// awaited.
  bool alive() const;

 private:
  Status connect();
  Result<OwnedReply> ask(std::initializer_list<std::string_view> words);
  Result<OwnedReply> read_within(std::chrono::milliseconds patience, Code on_loss);
  std::chrono::milliseconds left() const;
  std::string where() const { return masked_url(options_); }

  const RedisOptions& options_;
  struct Free {
    void operator()(redisContext* context) const noexcept;
  };
  std::unique_ptr<redisContext, Free> context_;
  std::chrono::steady_clock::time_point opened_by_;
  std::chrono::milliseconds patience_{0};  ///< what the socket is set to
  std::array<std::string, script_count> shas_;
  std::vector<const char*> words_;  // kept between calls: no allocation per command
  std::vector<std::size_t> lengths_;
};

/// The value of `name:` in a reply to INFO, "" if it is not there. Pure.
std::string_view info_field(std::string_view info, std::string_view name);

/// Checks what must be right before a node starts, with a connection of its own. Blocks at most
/// connect_timeout plus a few command_timeouts. Errors: unavailable (not reachable, loading, a
/// replica: try again), malformed (password, version, eviction policy or clock: a person must act).
/// The text says what to do.
Status check_boot(const RedisOptions& options);

}  // namespace catga
