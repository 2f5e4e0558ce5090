#include "catga/runtime/actors/alarm_clock.hpp"

#include "catga/persistence/named_thread.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/mailbox_element.hpp>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <limits>

namespace catga::actors {

namespace {
using std::chrono::milliseconds;
using Time = AlarmClock::time_point;

Time time_of(std::int64_t ms) { return Time{milliseconds(ms)}; }
}  // namespace

AlarmClock::AlarmClock() {
  thread_ = named_thread("catga.alarms", [this] { run(); });
}

AlarmClock::~AlarmClock() { stop(); }

void AlarmClock::stop() {
  std::vector<Alarm> dropped;
  {
    const std::lock_guard guard(lock_);
    stopped_ = true;
    dropped.swap(alarms_);
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void AlarmClock::schedule_message(time_point at, caf::strong_actor_ptr receiver,
                                  caf::mailbox_element_ptr content) {
  const std::int64_t at_ms = std::chrono::ceil<milliseconds>(at.time_since_epoch()).count();
  bool earlier = false;
  {
    const std::lock_guard guard(lock_);
    if (stopped_) return;
    alarms_.push_back({at_ms, next_number_++, std::move(receiver), std::move(content)});
    std::push_heap(alarms_.begin(), alarms_.end());
    earlier = at_ms < looks_at_ms_;
    if (earlier) looks_at_ms_ = at_ms;
  }
  if (earlier) changed_.notify_one();
}

void AlarmClock::set_ordinary_timeout(time_point, caf::abstract_actor*, caf::atom_value,
                                      std::uint64_t) {
  assert(!"no actor here waits with a timeout");
}
void AlarmClock::set_multi_timeout(time_point, caf::abstract_actor*, caf::atom_value,
                                   std::uint64_t) {
  assert(!"no actor here waits with a timeout");
}
void AlarmClock::set_request_timeout(time_point, caf::abstract_actor*, caf::message_id) {
  assert(!"no actor here makes requests");
}
void AlarmClock::schedule_message(time_point, caf::group, caf::strong_actor_ptr, caf::message) {
  assert(!"there are no groups here");
}

/// Under the lock.
std::vector<AlarmClock::Alarm> AlarmClock::due(std::int64_t now_ms) {
  std::vector<Alarm> due;
  while (!alarms_.empty() && alarms_.front().at_ms <= now_ms) {
    std::pop_heap(alarms_.begin(), alarms_.end());
    due.push_back(std::move(alarms_.back()));
    alarms_.pop_back();
  }
  return due;
}

void AlarmClock::run() {
  constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
  std::unique_lock guard(lock_);
  while (!stopped_) {
    looks_at_ms_ = 0;
    std::vector<Alarm> sent =
        due(std::chrono::floor<milliseconds>(now().time_since_epoch()).count());
    if (!sent.empty()) {
      guard.unlock();
      for (Alarm& alarm : sent) {
        alarm.receiver->enqueue(std::move(alarm.content), nullptr);
      }
      sent.clear();  // an actor may end here: not under the lock
      guard.lock();
      continue;
    }
    const std::int64_t until = alarms_.empty() ? never : alarms_.front().at_ms;
    looks_at_ms_ = until;
    const auto woken = [&] { return stopped_ || looks_at_ms_ < until; };
    if (until == never)
      changed_.wait(guard, woken);
    else
      changed_.wait_until(guard, time_of(until), woken);
  }
}

}  // namespace catga::actors
