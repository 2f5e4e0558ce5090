#include "catga/runtime/timer_table.hpp"

#include <algorithm>
#include <utility>

namespace catga {

namespace {
constexpr std::int64_t retry_first = 1000, retry_most = 300'000;
}

void TimerTable::queue(const std::string& member, Timer& timer, std::int64_t fire_ms) {
  queue_.erase({timer.fire_ms, member});
  timer.fire_ms = fire_ms;
  timer.under_way = false;
  queue_.emplace(fire_ms, member);
}

void TimerTable::reading() { meanwhile_.emplace(); }

void TimerTable::load(std::vector<TimerEntry> timers, std::int64_t horizon_ms) {
  horizon_ = horizon_ms;
  const auto newer = std::exchange(meanwhile_, std::nullopt);
  for (TimerEntry& entry : timers) {
    if (timers_.contains(entry.member))
      continue;  // what a commit told us since is newer than what was read
    if (newer && newer->contains(entry.member)) continue;
    Timer& timer = timers_[entry.member];
    timer.due_ms = entry.due_ms;
    timer.message = std::move(entry.message);
    queue(entry.member, timer, entry.due_ms);
  }
  if (!newer) return;
  for (const auto& [member, write] : *newer) {  // set beyond the old horizon, within the new one
    if (write.due_ms && !timers_.contains(member)) written(write);
  }
}

void TimerTable::written(TimerWrite write) {
  if (meanwhile_) meanwhile_->insert_or_assign(write.member, write);
  if (!write.due_ms || *write.due_ms > horizon_) {
    const auto known = timers_.find(write.member);
    if (known == timers_.end()) return;
    queue_.erase({known->second.fire_ms, write.member});
    timers_.erase(known);
    return;
  }
  Timer& timer = timers_[write.member];
  timer.due_ms = *write.due_ms;
  timer.message = std::move(write.message);
  timer.attempts = 0;
  queue(write.member, timer, *write.due_ms);
}

std::vector<TimerEntry> TimerTable::due(std::int64_t now_ms) {
  std::vector<TimerEntry> firing;
  while (!queue_.empty() && queue_.begin()->first <= now_ms) {
    const std::string member = queue_.begin()->second;
    queue_.erase(queue_.begin());
    Timer& timer = timers_[member];
    timer.under_way = true;
    timer.attempts += 1;
    firing.push_back({member, timer.due_ms, timer.message});
  }
  return firing;
}

unsigned TimerTable::failed(const std::string& member, std::int64_t now_ms) {
  const auto known = timers_.find(member);
  if (known == timers_.end() || !known->second.under_way)
    return 0;  // set anew since: that one counts
  Timer& timer = known->second;
  const unsigned doublings = std::min(timer.attempts == 0 ? 0U : timer.attempts - 1, 10U);
  queue(member, timer, now_ms + std::min(retry_first << doublings, retry_most));
  return timer.attempts;
}

void TimerTable::lost(const std::string& member, std::int64_t now_ms) {
  const auto known = timers_.find(member);
  if (known == timers_.end() || !known->second.under_way) return;
  known->second.attempts -= 1;  // it did not come to an attempt
  queue(member, known->second, now_ms + 100);
}

void TimerTable::forget(const std::string& member) {
  const auto known = timers_.find(member);
  if (known == timers_.end()) return;
  queue_.erase({known->second.fire_ms, member});
  timers_.erase(known);
}

std::optional<std::int64_t> TimerTable::next_due() const {
  if (queue_.empty()) return std::nullopt;
  return queue_.begin()->first;
}

std::optional<TimerEntry> TimerTable::find(const std::string& member) const {
  const auto known = timers_.find(member);
  if (known == timers_.end()) return std::nullopt;
  return TimerEntry{member, known->second.due_ms, known->second.message};
}

void TimerTable::clear() {
  timers_.clear();
  queue_.clear();
  horizon_ = 0;
  meanwhile_.reset();
}

}  // namespace catga
