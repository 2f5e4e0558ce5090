// What this node may do right now: its session, cluster time, view version. Read on hot paths without a lock.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace catga {

/// CLOCK_BOOTTIME in ms: counts while the machine sleeps, so that a frozen node sees its session as over.
std::int64_t boot_ms();

/// For simulations: while it lives, boot_ms() on this thread is what `now` says.
class PretendedTime {
 public:
  explicit PretendedTime(std::function<std::int64_t()> now);
  ~PretendedTime();
  PretendedTime(const PretendedTime&) = delete;
  PretendedTime& operator=(const PretendedTime&) = delete;

 private:
  std::function<std::int64_t()> now_;
};

struct NodeStanding {
  std::atomic<std::int64_t> session_deadline_ms{
      0};  ///< boot_ms() before which handlers may run; 0: no session
  std::atomic<std::int64_t> reading_until_ms{
      0};  ///< boot_ms() before which memory is as good as the store (the reading right)
  std::atomic<std::int64_t> cluster_offset_ms{0};  ///< cluster time = boot_ms() + this
  std::atomic<std::uint64_t> view_version{0};
  std::int64_t cluster_now() const {
    return boot_ms() + cluster_offset_ms.load(std::memory_order_relaxed);
  }
  bool session_ok() const {
    return boot_ms() < session_deadline_ms.load(std::memory_order_relaxed);
  }
  /// A query may be answered from memory now: nobody can have taken this node's place.
  bool may_read() const {
    const std::int64_t now = boot_ms();
    return now < reading_until_ms.load(std::memory_order_acquire) &&
           now < session_deadline_ms.load(std::memory_order_relaxed);
  }
};

}  // namespace catga
