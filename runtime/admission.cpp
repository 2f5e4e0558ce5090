#include "catga/runtime/admission.hpp"

#include <algorithm>

namespace catga {

namespace {

constexpr double newest_counts = 0.2;  // in the mean pace; the rest is older
constexpr std::int64_t late_ms =
    100;  // since the last look: the machine or the process stood still
constexpr std::int64_t behind_for_ms = 100;  // before a queue's wait is believed
constexpr std::int64_t lost_after_ms = 200;  // a store that has taken nothing for so long

std::chrono::milliseconds whole(double ms) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(ms, 1e9)));
}

}  // namespace

double Admission::wait_for(std::int64_t now_ms, Pace& pace, const Backlog& now) const {
  const std::uint64_t taken = now.taken - pace.last.taken;
  const std::int64_t passed = now_ms - looked_at_;
  const bool behind = now.waiting != 0 && pace.last.waiting > taken;
  if (!behind || passed > late_ms) pace.through_at = now_ms;
  if (looked_at_ != 0 && taken != 0 && passed <= late_ms) {
    const double per_ms = static_cast<double>(taken) / static_cast<double>(passed);
    const bool never_empty = pace.last.waiting >= taken;
    if (per_ms > pace.per_ms)
      pace.per_ms = per_ms;
    else if (never_empty)
      pace.per_ms += (per_ms - pace.per_ms) * newest_counts;
  }
  if (now.waiting == 0 || taken != 0 || pace.moved_at == 0) pace.moved_at = now_ms;
  pace.last = now;
  if (now_ms - pace.through_at < behind_for_ms) return 0;
  return pace.per_ms > 0 ? static_cast<double>(now.waiting) / pace.per_ms : 0;
}

Admission::Waits Admission::look(std::int64_t now_ms, const Backlog& workers,
                                 const Backlog& store) {
  if (looked_at_ != 0 && now_ms <= looked_at_) return {};
  const double for_workers = wait_for(now_ms, workers_, workers);
  double for_store = wait_for(now_ms, store_, store);
  looked_at_ = now_ms;
  if (now_ms - store_.moved_at > lost_after_ms) for_store = 0;
  return {whole(for_workers), whole(for_workers + for_store)};
}

}  // namespace catga
