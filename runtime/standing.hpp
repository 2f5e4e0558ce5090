// What this node may do right now: its session, cluster time, view version. Read on hot paths without a lock.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

namespace catga {

/// CLOCK_BOOTTIME in ms: counts while the machine sleeps, so that a frozen node sees its session as over.
std::int64_t boot_ms();

struct NodeStanding {
  std::atomic<std::int64_t> session_deadline_ms{
      0};  ///< boot_ms() before which handlers may run; 0: no session
  std::atomic<std::int64_t> cluster_offset_ms{0};  ///< cluster time = boot_ms() + this
  std::atomic<std::uint64_t> view_version{0};
  std::int64_t cluster_now() const {
    return boot_ms() + cluster_offset_ms.load(std::memory_order_relaxed);
  }
  bool session_ok() const {
    return boot_ms() < session_deadline_ms.load(std::memory_order_relaxed);
  }
};

}  // namespace catga
