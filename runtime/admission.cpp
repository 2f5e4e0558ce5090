#include "catga/runtime/admission.hpp"

#include <algorithm>

namespace catga {

namespace {

constexpr double newest_counts = 0.2;        // in the mean pace; the rest is older
constexpr std::int64_t lost_after_ms = 200;  // a store that has taken nothing for so long

std::chrono::milliseconds whole(double ms) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(ms, 1e9)));
}

}  // namespace

double Admission::by_pace(std::int64_t now_ms, Pace& pace, const Backlog& now) const {
  const std::uint64_t taken = now.taken - pace.last.taken;
  const bool was_busy = looked_at_ != 0 && pace.last.waiting != 0;
  if (was_busy && taken != 0) {
    const double per_ms = static_cast<double>(taken) / static_cast<double>(now_ms - looked_at_);
    pace.per_ms =
        pace.per_ms == 0 ? per_ms : pace.per_ms * (1 - newest_counts) + per_ms * newest_counts;
  }
  if (now.waiting == 0 || taken != 0 || pace.moved_at == 0) pace.moved_at = now_ms;
  pace.last = now;
  return pace.per_ms > 0 ? static_cast<double>(now.waiting) / pace.per_ms : 0;
}

Admission::Waits Admission::look(std::int64_t now_ms, const Backlog& workers,
                                 const Backlog& store) {
  if (looked_at_ != 0 && now_ms <= looked_at_) return {};
  double for_workers = by_pace(now_ms, workers_, workers);
  double for_store = by_pace(now_ms, store_, store);
  looked_at_ = now_ms;
  for_workers = std::max(for_workers, static_cast<double>(now_ms - workers_.moved_at));
  if (now_ms - store_.moved_at > lost_after_ms) for_store = 0;
  return {whole(for_workers), whole(for_workers + for_store)};
}

}  // namespace catga
