// Asks the sentinels now and then whether the primary is still where this process believes it.
//
// A primary that slept through its own deposition, or was cut off from the sentinels and not from
// us, keeps its connections and goes on accepting writes that will be lost: for some 10 s, until a
// sentinel reaches it. Nothing on those connections tells; a sentinel does.
#pragma once
#include "catga/persistence/redis/options.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace catga {

/// One thread. Asks the sentinel that was right last time every half second, the next one when that
/// does not answer, and tells RedisOptions::primary, which must be there.
class SentinelPatrol {
 public:
  explicit SentinelPatrol(std::shared_ptr<const RedisOptions> options);
  /// Waits for the question under way: half of connect_timeout at most.
  ~SentinelPatrol();
  SentinelPatrol(const SentinelPatrol&) = delete;
  SentinelPatrol& operator=(const SentinelPatrol&) = delete;

 private:
  void run();

  const std::shared_ptr<const RedisOptions> options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace catga
