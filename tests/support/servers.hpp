// Real servers for tests: each on a free loopback port with a folder of its own, gone with the
// object and with the test program. Ready means: it answered, not: some time has passed.
#pragma once
#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace catga::testing {

/// Whether redis-server and nats-server can be started here. If not it says so on standard error: a
/// test that needs them then returns at once.
bool servers_installed();

/// What both kinds of server have in common. Not thread-safe. Throws std::runtime_error, with the
/// server's own words, if it cannot be started. The kernel kills the server when the *thread* that
/// started it ends: start it in the thread of the test.
class Server {
 public:
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const { return port_; }
  pid_t pid() const { return pid_; }
  const std::string& folder() const { return folder_; }

  void stop();    ///< asks it to end, waits until it has; kills it after 5 s
  void kill9();   ///< SIGKILL; returns when it is gone
  void pause();   ///< SIGSTOP; returns when it stands still
  void resume();  ///< SIGCONT
  void
  restart();  ///< stops it if it runs, starts it on the same port and folder, waits until ready

 protected:
  using Arguments = std::function<std::vector<std::string>(int port, const std::string& folder)>;
  /// `greeting` is sent after connecting; the server is ready once its answer satisfies `ready`.
  Server(std::string program, Arguments arguments, std::string greeting,
         std::function<bool(const std::string&)> ready);
  ~Server();

 private:
  bool start();
  bool wait_until_ready();
  bool running();
  [[noreturn]] void fail(const std::string& why) const;

  std::string program_;
  Arguments arguments_;
  std::string greeting_;
  std::function<bool(const std::string&)> ready_;
  std::string folder_;
  int port_ = 0;
  pid_t pid_ = -1;
};

class RedisServer : public Server {
 public:
  struct Options {
    bool append_only = true;
    std::string password;
    std::vector<std::string> more;  ///< further arguments, such as {"--maxmemory", "10mb"}
  };
  explicit RedisServer(Options options);
  RedisServer();
  /// redis://127.0.0.1:<port>/0, with the password if there is one
  std::string url() const;

 private:
  std::string password_;
};

/// A Redis Sentinel that watches one primary and is quick to depose it. Ready once it knows the
/// primary and `replicas` of its replicas; its own memory survives restart().
class RedisSentinel : public Server {
 public:
  struct Options {
    int primary_port = 0;
    unsigned replicas = 1;           ///< it waits for so many before it counts as ready
    unsigned quorum = 1;             ///< sentinels that must miss the primary
    int down_after_ms = 500;         ///< silence after which it misses a server
    std::string master = "catga";    ///< the name of the primary
    std::string password{};          ///< of the sentinel itself
    std::string primary_password{};  ///< of what it watches
  };
  explicit RedisSentinel(Options options);
  /// 127.0.0.1:<port>
  std::string address() const { return "127.0.0.1:" + std::to_string(port()); }
};

/// A primary, replicas and sentinels that know all of them: ready for a failover.
class RedisGroup {
 public:
  struct Options {
    unsigned replicas = 1;
    unsigned sentinels = 1;
    unsigned quorum = 1;
    bool append_only = true;
    std::string password{};           ///< of the servers
    std::string sentinel_password{};  ///< of the sentinels
  };
  explicit RedisGroup(Options options);
  RedisGroup();

  /// 0 is the first primary; restart() starts each in its first role.
  RedisServer& server(std::size_t place) { return *servers_.at(place); }
  RedisSentinel& sentinel(std::size_t place) { return *sentinels_.at(place); }
  std::size_t size() const { return servers_.size(); }
  /// host:port,host:port, as the setting redis.sentinels wants it
  std::string sentinels() const;
  /// The port that a sentinel names for the primary; 0 if it does not answer.
  int named_port(std::size_t sentinel = 0) const;

 private:
  std::vector<std::unique_ptr<RedisServer>> servers_;
  std::vector<std::unique_ptr<RedisSentinel>> sentinels_;
};

class NatsServer : public Server {
 public:
  struct Options {
    std::string user, password;
    bool jetstream = false;  ///< its streams survive restart()
  };
  explicit NatsServer(Options options);
  NatsServer();
  /// nats://127.0.0.1:<port>, without user and password: those are settings of their own
  std::string url() const;
};

}  // namespace catga::testing
