// A few threads that run what is posted to them, oldest first; and one that also wakes up by the clock.
#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace catga {

/// Thread-safe.
class WorkerThreads final {
 public:
  /// `tick`, if given, runs on one of the threads about every `every`.
  explicit WorkerThreads(unsigned threads, std::function<void()> tick = {},
                         std::chrono::milliseconds every = std::chrono::milliseconds(20));
  ~WorkerThreads();
  /// Dropped when closed.
  void post(std::function<void()> job);
  /// Ends after the jobs that run now; the others are dropped.
  void close();

 private:
  void work(bool ticks);

  const std::function<void()> tick_;
  const std::chrono::milliseconds every_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace catga
