// Who owns which shard, as far as this process has heard: where an ask is sent first. Right most of the time; a wrong
// entry costs one hop.
#pragma once
#include "catga/sharding/ring.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

namespace catga {

/// What is needed of a view to send: who is a member, and who should own what. Immutable.
struct Standing {
  std::shared_ptr<const MembershipView> view;
  Placement placement;
};

/// Thread-safe. One short lock per look-up; entries of shards that share a lock rarely meet. Whether an owner is still a
/// member is decided when something is learned or the view changes, not at each look-up.
class Routes {
 public:
  explicit Routes(std::uint32_t shards) : entries_(shards) {}

  struct Hop {
    Incarnation to;  ///< none: no member is known
    Epoch epoch;     ///< 0: by placement only
  };
  Hop look_up(ShardId shard) const;
  /// Hearsay counts when its epoch is higher; what was read from Redis counts always.
  void learn(ShardId shard, Incarnation owner, Epoch epoch, bool from_redis);
  /// Forgets what was heard and read: Redis may have lost what it was about.
  void forget();
  void adopt(std::shared_ptr<const Standing> standing);
  std::shared_ptr<const Standing> standing() const;
  bool is_member(Incarnation node) const;
  std::uint32_t shards() const { return static_cast<std::uint32_t>(entries_.size()); }

 private:
  struct Entry {
    Hop heard;
    Hop to_take;  ///< what was heard, if it is a member; else where the ring places the shard
  };
  static void settle(ShardId shard, Entry& entry, const Standing* standing);
  std::mutex& lock_of(ShardId shard) const { return locks_[shard.value % locks_.size()]; }
  mutable std::array<std::mutex, 64> locks_;
  std::vector<Entry> entries_;
  mutable std::mutex standing_lock_;
  std::shared_ptr<const Standing> standing_;
};

}  // namespace catga
