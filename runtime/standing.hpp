// What this node may do right now: its session, cluster time, view version. Read on hot paths without a lock.
#pragma once
#include "catga/sharding/ids.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace catga {

/// CLOCK_BOOTTIME in ms: counts while the machine sleeps, so that a frozen node sees its session as over.
std::int64_t boot_ms();
/// The same in ns, for measuring: one reading of the clock gives both, boot_ms() = boot_ns() / 1,000,000.
std::int64_t boot_ns();

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

/// The times are of one life of the node, its present one. Who acts for an earlier life (and has not heard yet that it
/// ended) has no right left, whatever the present one may.
struct NodeStanding {
  std::atomic<std::int64_t> session_deadline_ms{
      0};  ///< boot_ms() before which handlers may run; 0: no session
  std::atomic<std::int64_t> reading_until_ms{
      0};  ///< boot_ms() before which memory is as good as the store (the reading right)
  std::atomic<std::int64_t> cluster_offset_ms{0};  ///< cluster time = boot_ms() + this
  std::atomic<std::uint64_t> view_version{0};
  /// Incarnation::low of the present life. Set before its times are.
  std::atomic<std::uint64_t> life{0};
  void live_as(Incarnation self) { life.store(self.low, std::memory_order_relaxed); }
  std::int64_t cluster_now() const {
    return boot_ms() + cluster_offset_ms.load(std::memory_order_relaxed);
  }
  bool session_ok() const {
    return boot_ms() < session_deadline_ms.load(std::memory_order_acquire);
  }
  /// The same for who acts for that life of the node.
  bool session_ok(std::uint64_t of_life) const {
    return session_ok() && life.load(std::memory_order_relaxed) == of_life;
  }
  /// A query may be answered from memory now: nobody can have taken this node's place.
  bool may_read() const {
    const std::int64_t now = boot_ms();
    return now < reading_until_ms.load(std::memory_order_acquire) &&
           now < session_deadline_ms.load(std::memory_order_acquire);
  }
  bool may_read(std::uint64_t of_life) const {
    return may_read() && life.load(std::memory_order_relaxed) == of_life;
  }
};

}  // namespace catga
