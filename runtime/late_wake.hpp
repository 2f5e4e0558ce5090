// Wakes the sending thread once for what several actors say, if they run one after the other on one worker.
//
// Shards that move say a few words at a time, and many move at once: their worker has the next one's job at hand. To wake
// the sender for each word costs a switch of threads, a packet, and the same again at the receiver. So a worker remembers
// whom to wake, and does it when it runs out of jobs, before it runs code of users, and after a few jobs in any case. (A thread
// of NATS that handles a batch gathers in another way: Lanes::Gathering, which knows where its batch ends.)
#pragma once
#include <condition_variable>
#include <utility>

namespace catga {

class LateWake {
 public:
  /// Wakes now, or soon if this thread is a worker. `sleeper` outlives the workers.
  static void notify(std::condition_variable& sleeper) {
    if (!worker_ || (due_ != nullptr && due_ != &sleeper)) return sleeper.notify_one();
    due_ = &sleeper;
  }
  /// Called by a worker between two jobs. `short_one_next`: another is at hand that does not run code of users.
  static void between_jobs(bool short_one_next) {
    worker_ = true;
    if (due_ == nullptr || (short_one_next && ++jobs_ < jobs_most)) return;
    jobs_ = 0;
    std::exchange(due_, nullptr)->notify_one();
  }
  /// Somebody is to be woken yet, by this thread.
  static bool due() { return due_ != nullptr; }

 private:
  static constexpr int jobs_most = 32;
  inline static thread_local bool worker_ = false;
  inline static thread_local std::condition_variable* due_ = nullptr;
  inline static thread_local int jobs_ = 0;
};

}  // namespace catga
