// One part of an ordered subscription: which of the events in hand is handled now, and up to where all are.
//
// Events come in the order of the stream. Those of one source entity are handled one after another, those of different
// sources side by side. An event that failed is handled again after a while, and nothing of its source before it. One that
// cannot be handled is parked, and so is all that follows of its source until the operator has dealt with it; other
// sources go on. This class only decides; whoever drives it calls handlers, parks, reads the clock.
//
//   arrived --> waiting --due--> in work --done, parked--> over
//                  ^                |
//                  +---- again -----+     (its source waits until the given time)
//
// Invariants. Of one source at most one event is in work, the oldest that is not over. Nothing that was over, or is in
// hand, is taken again: what the stream delivers twice is ignored. position() only grows, and all that arrived up to it is
// over. No more than `most` are in hand: room() says how many may be asked for.
//
// One thread.
#pragma once
#include "catga/sharding/ids.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace catga {

class EventReader final {
 public:
  enum class Verdict { done, again };
  struct Step {
    std::uint64_t sequence = 0;
    std::uint32_t attempt = 1;
    bool park =
        false;  ///< its source is parked: append it to the parked ones instead of handling it
  };

  /// Everything up to `position` is over.
  EventReader(std::uint64_t position, std::size_t most) : position_(position), most_(most) {}

  /// Whether the event is news, and now in hand. Sequences of news only grow.
  bool arrived(std::uint64_t sequence, EntityId source);
  /// What to do now, oldest first; in work until finished.
  std::vector<Step> due(std::int64_t now_ms);
  /// `done`: handled, or parked. `again`: not before `retry_at_ms`. Ignored for what is not in work.
  void finished(std::uint64_t sequence, Verdict verdict, std::int64_t retry_at_ms);
  /// From now on the events of this source are parked; the one in work too, when it comes up again.
  void park(const EntityId& source) { parked_.insert(source); }
  /// Nothing of this source is parked any more.
  void reopen(const EntityId& source) { parked_.erase(source); }
  bool parked(const EntityId& source) const { return parked_.contains(source); }

  std::uint64_t position() const { return position_; }
  std::uint64_t newest() const { return newest_ > position_ ? newest_ : position_; }
  std::size_t in_hand() const { return open_.size(); }
  std::size_t room() const { return open_.size() >= most_ ? 0 : most_ - open_.size(); }
  /// When due() may have more without anything happening.
  std::optional<std::int64_t> next_retry_ms() const;

 private:
  struct Open {
    EntityId source;
    std::uint32_t attempts = 0;
    bool in_work = false;
  };

  std::uint64_t position_;
  std::size_t most_;
  std::uint64_t newest_ = 0;
  std::map<std::uint64_t, Open> open_;                     // by sequence
  std::map<EntityId, std::set<std::uint64_t>> by_source_;  // of open_
  std::set<std::uint64_t> ready_;  // oldest of their source, not in work, waiting for nothing
  std::set<std::pair<std::int64_t, std::uint64_t>>
      blocked_;  // oldest of their source: retry time, sequence
  std::set<EntityId> parked_;
};

}  // namespace catga
