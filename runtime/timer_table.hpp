// The timers of one shard that are due soon, as its owner keeps them: no polling, no claims. Pure.
//
// The store has all timers; this has those due before a horizon, and reads on before the horizon comes. The turn that a
// timer starts removes it from the store in its commit: that is the record that it fired. So it is never early, never
// lost, and its effect happens once.
#pragma once
#include "catga/persistence/stores.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace catga {

class TimerTable {
 public:
  /// The store is about to be read: from now on what commits write is kept apart, since the answer may be older.
  void reading();
  /// Read from the store: all timers due before `horizon_ms` are known from now on.
  void load(std::vector<TimerEntry> timers, std::int64_t horizon_ms);
  /// A commit set, moved or cancelled a timer.
  void written(TimerWrite write);
  /// Timers to fire now; each is under way until written() or failed() says more of it.
  std::vector<TimerEntry> due(std::int64_t now_ms);
  /// The turn failed: try again after 1 s, doubling to 5 min. The number of attempts so far, 0 if it is not known.
  unsigned failed(const std::string& member, std::int64_t now_ms);
  /// The turn was lost without a word about the timer (shard paused, entity reloaded): fire it again now.
  void lost(const std::string& member, std::int64_t now_ms);
  /// What became of a write to it is not known: it does not fire until the store, read after this, shows it.
  void forget(const std::string& member);
  std::optional<std::int64_t> next_due() const;
  /// As the store has it.
  std::optional<TimerEntry> find(const std::string& member) const;
  std::int64_t horizon() const { return horizon_; }
  std::size_t size() const { return timers_.size(); }
  void clear();

 private:
  struct Timer {
    std::int64_t due_ms = 0;   ///< as the store has it
    std::int64_t fire_ms = 0;  ///< when to try next
    std::string message;
    unsigned attempts = 0;
    bool under_way = false;
  };
  void queue(const std::string& member, Timer& timer, std::int64_t fire_ms);
  std::unordered_map<std::string, Timer> timers_;
  std::set<std::pair<std::int64_t, std::string>> queue_;
  std::int64_t horizon_ = 0;
  std::optional<std::unordered_map<std::string, TimerWrite>>
      meanwhile_;  ///< written while the store is read
};

}  // namespace catga
