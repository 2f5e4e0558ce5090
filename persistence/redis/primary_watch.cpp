// The knowledge about the primary and its changes.
#include "catga/persistence/redis/primary_watch.hpp"

#include <utility>

namespace catga {

std::string PrimaryWatch::primary_id() const {
  const std::lock_guard lock(mutex_);
  return run_id_;
}

std::optional<std::uint64_t> PrimaryWatch::met(const std::string& run_id, const RedisAddress& at,
                                               std::uint64_t began) {
  const std::lock_guard order(telling_);
  std::string before;
  std::uint64_t term = 0;
  {
    const std::lock_guard lock(mutex_);
    if (began != term_) return std::nullopt;
    at_ = at;
    if (run_id == run_id_) return began;
    before = std::exchange(run_id_, run_id);
    if (before.empty()) return began;
    term = ++term_;
  }
  if (on_change_) on_change_(before, run_id);
  return term;
}

bool PrimaryWatch::named(const RedisAddress& address) {
  const std::lock_guard lock(mutex_);
  // Once per address left: until somebody has arrived elsewhere there is nothing more to leave.
  if (!at_ || *at_ == address) return false;
  at_.reset();
  ++term_;
  return true;
}

}  // namespace catga
