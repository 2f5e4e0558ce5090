// Replays the ledger through one client, with many callers at once.
//
// A caller has one ask open at a time; its answer, on a thread of the client, begins the next line. So callers cost no
// threads: what waits, waits with the one pacer. Every line gets one operation id, made before its first ask and kept at
// every repeat, so that a repeat after a time-out can never apply it twice. A caller gives up 5 s after the first ask.
//
// While a fault is on its way the callers slow down a little: each next line waits for a share of
// the lines that are left before `mark`, as if those had to last two more seconds. The load stays
// heavy at first and never ends, however long the cluster takes; a ledger of fixed length would
// otherwise be over before the killed node is missed. Such windows do not count for the speed.
#pragma once
#include <catga/catga.hpp>

#include "../account/account.hpp"
#include "ledger.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace demo {

class Replay {
 public:
  static constexpr std::chrono::seconds deadline{5};

  Replay(const Ledger& ledger, catga::Client& client, std::uint32_t callers);
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;
  ~Replay();  ///< stops

  void start();
  /// From now on the lines before `mark` last.
  void stretch(std::size_t mark);
  void full_speed();
  /// Lines that have ended.
  std::size_t ended() const { return ended_.load(std::memory_order_relaxed); }
  bool done() const { return callers_left_.load() == 0; }
  /// No further lines are begun; waits for those under way.
  void stop();
  /// Only after done() or stop().
  const std::vector<Outcome>& outcomes() const { return outcomes_; }
  std::vector<std::string> troubles();  ///< the first few failures, in words

 private:
  struct Caller {
    std::size_t index = 0;  ///< of the line it is at
    catga::AskOptions options;
    Clock::time_point give_up;
  };
  void next(Caller& caller);
  void begin(Caller& caller);
  void ask(Caller& caller);
  void answered(Caller& caller, const catga::Result<bank::Balance>& balance);
  void end(Caller& caller, End end, const catga::Error& why);
  void later(Clock::time_point at, std::function<void()> what);
  void pace();

  const Ledger& ledger_;
  catga::Client& client_;
  std::vector<Caller> callers_;
  std::vector<Outcome> outcomes_;
  std::atomic<std::size_t> ended_{0};
  std::atomic<std::size_t> callers_left_{0};

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  std::size_t next_ = 0;
  std::optional<std::size_t> mark_;
  Clock::time_point next_at_;
  bool stopping_ = false;
  std::multimap<Clock::time_point, std::function<void()>> waiting_;
  std::vector<std::string> troubles_;
  std::thread pacer_;
};

}  // namespace demo
