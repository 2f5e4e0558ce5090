// A pipeline: one thread, one connection, a bounded queue. What waits goes in one trip.
//
// A trip takes the calls that wait and at most `batch` commits, writes them all, then reads all
// answers; one trip is in flight, and what arrives meanwhile forms the next. No timer, no added
// latency. Scripts of a trip never depend on each other, so each may be sent again alone.
//
// Every accepted request is answered exactly once:
//   - with what Redis says. NOSCRIPT (a restart, a promoted replica, SCRIPT FLUSH) is not an
//     answer: the scripts are loaded and the request is sent again, at last by its whole text. A
//     group of commits that ends in an error goes again one by one, so that one entity whose key
//     has the wrong type does not take others with it.
//   - `unknown`, if it was sent and the connection was lost, or silent for command_timeout, before
//     its answer.
//   - `unavailable`, if it was not sent: command_timeout after it was handed in or after the
//     connection was lost, whichever is later (plus one attempt to connect, which is bounded by
//     connect_timeout, with sentinels for each of them), or at the end.
// A request that does not fit in the queue is answered `overloaded` before submit() returns.
//
// A connection is lost as well when the server says that it is a replica, and when the process
// knows of another primary (primary_watch.hpp): before each trip, and once a second without any.
//
// With wait_replicas, each trip with writes ends with WAIT. Too few acknowledgements mean "not
// yet": the writes are done, but their answers are held while further trips wait again, and become
// `unknown` after command_timeout. Until then, and after the connection was lost in such a trip, what
// is read may show a write that a failover loses: answers of reads are held as well.
#pragma once
#include "catga/persistence/redis/commit_call.hpp"
#include "catga/persistence/redis/connection.hpp"
#include "catga/persistence/redis/options.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace catga {

class Pipeline {
 public:
  using Clock = std::chrono::steady_clock;

  /// One call of a script.
  struct Call {
    Script script = Script::own;
    std::vector<std::string> keys;
    std::vector<std::string> arguments;
    bool writes = false;  ///< wants WAIT, where replicas must acknowledge
    /// Exactly once, on the pipeline's thread. The reply is no error and lives as long as the call.
    std::function<void(Result<Reply>)> then;
    Clock::time_point since{};  ///< set by submit
  };

  /// `on_link` is told on the pipeline's thread of each connection made and lost (and once if the
  /// first attempt fails).
  Pipeline(std::shared_ptr<const RedisOptions> options,
           std::function<void(bool up, const std::string& why, const std::string& run_id)> on_link);
  /// Finishes the trip in flight and answers everything else `unavailable`.
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  /// Thread-safe.
  void submit(Call call);
  void submit(std::unique_ptr<WaitingCommit> commit);
  /// Commits that wait for a trip, and how many have begun one. Thread-safe.
  StateStore::Waiting waiting() const;

 private:
  /// What travels: one call, or a group of commits.
  struct Outgoing {
    std::optional<Call> call;
    CommitGroup group;
    bool writes() const { return call ? call->writes : true; }
  };
  using Trip = std::vector<Outgoing>;
  /// An answer that waits for replicas.
  struct Held {
    Clock::time_point since;
    std::function<void(bool replicated)> release;
  };

  bool only_commits_wait();
  bool wait_for_work(std::unique_lock<std::mutex>& lock);
  void run();
  void connect();
  void lost(const Error& why);
  void expire();
  void rest(std::chrono::milliseconds pause);
  Trip take_trip();
  void travel(Trip trip);
  void send(const Outgoing& outgoing, bool by_text);
  bool receive(Outgoing& outgoing, Trip& again);
  void take_answer(Outgoing& outgoing, std::shared_ptr<OwnedReply> reply);
  void wait_for_replicas();
  void answer(Outgoing& outgoing, const Error& error);
  void close();

  const std::shared_ptr<const RedisOptions> options_;
  const std::function<void(bool, const std::string&, const std::string&)> on_link_;

  // Of the thread alone.
  std::unique_ptr<Connection> connection_;  // none: not connected
  unsigned failures_ = 0;
  bool shared_ = false;  // the last trip carried more than one request
  bool told_down_ = false;
  Clock::time_point lost_at_;
  std::vector<std::string_view> words_;
  std::vector<Held> held_;
  bool unconfirmed_ = false;  // a write was sent, and no WAIT has counted enough replicas since
  bool hold_reads_ = false;   // so it was when this trip began
  bool reads_only_ = false;   // READONLY was seen: this is not the primary any more
  std::string why_down_;      // the last reason why there is no connection

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Call> calls_;  // guarded by mutex_, as all below
  CommitQueue commits_;
  std::uint64_t commits_sent_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace catga
