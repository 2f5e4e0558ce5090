// One connection to Redis: one hiredis handle, used by one thread.
//
// After an I/O error or silence the handle is dead for good: what was sent may have run, may run
// later, or never, and replies can no longer be told apart. The owner throws the connection away
// and opens another.
//
// With sentinels the primary is looked for at every open: the sentinels are asked one after the
// other, beginning with the one that was right last time, and a server counts only if it says
// itself that it is a primary. A sentinel's answer may be old; INFO is asked instead of ROLE
// because both say the same and ROLE wants a right (@dangerous) that nothing else needs.
#pragma once
#include "catga/persistence/redis/options.hpp"
#include "catga/persistence/redis/scripts.hpp"
#include "catga/sharding/result.hpp"

#include <array>
#include <chrono>
#include <cstdint>
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

  /// Finds the server, connects, AUTH, PING, SELECT, and reads who the server is; at most
  /// connect_timeout in all, and for each sentinel. Tells RedisOptions::primary. Without sentinels
  /// the server may be a replica: look at the facts. Errors: unavailable (cannot be reached, or
  /// loads; no sentinel knows a primary that is one; another connection has just found another
  /// primary), malformed (password, database: retrying is of no use).
  Result<ServerFacts> open();
  /// Asks one sentinel where the primary is; at most half of connect_timeout. Leaves no connection.
  /// Errors: unavailable (cannot be reached, silent, or does not know), malformed (password); the
  /// text is the end of a sentence that begins with the sentinel.
  Result<RedisAddress> ask_sentinel(const RedisAddress& sentinel);
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
  /// False once the process knows of another primary than that of this connection.
  bool current() const;
  /// The server of this connection, for errors: "Redis at <URL>".
  const std::string& server() const { return server_; }

 private:
  Result<ServerFacts> open_at(const RedisAddress& address);
  Result<ServerFacts> open_by_sentinels();
  Status connect(const RedisAddress& address);
  Result<OwnedReply> ask(std::initializer_list<std::string_view> words);
  Error refused(std::string_view says) const;
  Result<OwnedReply> read_within(std::chrono::milliseconds patience, Code on_loss);
  std::chrono::milliseconds left() const;

  const RedisOptions& options_;
  RedisAddress at_;
  std::string server_;
  std::uint64_t term_ = 0;  // of options_.primary, when this was opened
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

/// Where a sentinel's answer to SENTINEL GET-MASTER-ADDR-BY-NAME leads. The error is
/// that of Connection::ask_sentinel. Pure.
Result<RedisAddress> primary_in(Reply answer, const std::string& master);

/// Checks what must be right before a node starts, with a connection of its own. Blocks at most
/// connect_timeout (for each sentinel) plus a few command_timeouts. Errors: unavailable (not
/// reachable, loading, a replica, no sentinel that knows: try again), malformed (password, version,
/// eviction policy or clock: a person must act). The text says what to do.
Status check_boot(const RedisOptions& options);

}  // namespace catga
