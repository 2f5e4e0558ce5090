// Which shards of this node may move now: not before the view has settled, and not too many at once. Pure.
//
// There is no "imbalance" to find: placement is a function of the view, so a shard either belongs here or it does not.
// Several joins in a row restart the wait, at most settle_most in all, so that shards move once. A node that leaves does
// not wait. What is under way is bounded, which bounds both the pause of a shard and what a crash in the middle can hold
// up; nothing global is locked.
#pragma once
#include "catga/sharding/view.hpp"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <vector>

namespace catga {

struct RebalanceTimes {
  std::int64_t settle = 1000, settle_most = 5000;
  std::uint32_t in_flight = 256;
  std::uint32_t batch = 128;  ///< begun at once; the rest at the next look
};

class Rebalance {
 public:
  explicit Rebalance(RebalanceTimes times) : times_(times) {}

  /// A new view. `joined`: somebody is newly UP.
  void adopted(bool joined, bool leaving, std::int64_t now) {
    leaving_ = leaving;
    if (!joined) return;
    if (now >= settled_at_) settling_since_ = now;
    settled_at_ = std::min(now + times_.settle, settling_since_ + times_.settle_most);
  }
  /// The shard is owned here and should be elsewhere.
  void wants(ShardId shard) {
    if (!moving_.contains(shard)) waiting_.insert(shard);
  }
  /// Its move ended, or cannot begin.
  void over(ShardId shard) {
    moving_.erase(shard);
    waiting_.erase(shard);
  }
  /// Shards that may begin to move now.
  std::vector<ShardId> grant(std::int64_t now) {
    std::vector<ShardId> granted;
    if (!leaving_ && now < settled_at_) return granted;
    while (!waiting_.empty() && moving_.size() < times_.in_flight &&
           granted.size() < times_.batch) {
      granted.push_back(*waiting_.begin());
      moving_.insert(*waiting_.begin());
      waiting_.erase(waiting_.begin());
    }
    return granted;
  }
  std::size_t pending() const { return waiting_.size() + moving_.size(); }
  bool settled(std::int64_t now) const { return now >= settled_at_; }

 private:
  RebalanceTimes times_;
  bool leaving_ = false;
  std::int64_t settling_since_ = 0, settled_at_ = 0;
  std::set<ShardId> waiting_, moving_;
};

}  // namespace catga
