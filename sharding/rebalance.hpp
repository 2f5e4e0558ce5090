// Which shards of this node may move now: not before the view has settled, and not too many at once. Pure.
//
// There is no "imbalance" to find: placement is a function of the view, so a shard either belongs here or it does not.
// Several joins in a row restart the wait, at most settle_most in all, so that shards move once. A node that leaves does
// not wait. What is under way is bounded, which bounds both the pause of a shard and what a crash in the middle can hold
// up; nothing global is locked. Two limits: Rebalance is the old owner's, Intake the new one's.
#pragma once
#include "catga/sharding/view.hpp"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace catga {

/// Whether the newer view `after` only adds members or lets some become UP, others than `self`: what
/// shards need not hear at once. Not so if somebody gives shards away or has ended.
inline bool only_joins(const MembershipView& before, const MembershipView& after,
                       Incarnation self) {
  if (after.version <= before.version) return false;
  const ViewChange change = changes(before, after);
  const Member* was = before.find(self);
  const Member* is = after.find(self);
  const bool about_self = (was == nullptr) != (is == nullptr) || (is != nullptr && *is != *was);
  return !about_self && change.leaving.empty() && change.ended.empty();
}

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
  bool is_pending(ShardId shard) const {
    return waiting_.contains(shard) || moving_.contains(shard);
  }
  bool settled(std::int64_t now) const { return now >= settled_at_; }

 private:
  RebalanceTimes times_;
  bool leaving_ = false;
  std::int64_t settling_since_ = 0, settled_at_ = 0;
  std::set<ShardId> waiting_, moving_;
};

/// The other side: offers that this node takes up now, and those that wait for their turn.
///
/// A shard is without an owner that serves it from READY until its new owner says OWN. On a busy
/// machine that time is the number of shards on their way divided by how many the machine moves in
/// a second: so few are on their way at once, and the others go on being served where they are. An
/// offer that waits costs nothing; one that is refused comes back only after its owner's back-off.
class Intake {
 public:
  struct Offer {
    ShardId shard;
    Incarnation from;
    std::uint64_t move = 0;
    std::int64_t since = 0;
  };
  /// `patience`: for how long an owner waits for READY. Older offers are not taken up.
  Intake(std::uint32_t room, std::int64_t patience) : room_(room), patience_(patience) {}

  /// Whether the shard may take it up now; otherwise it comes out of over() later.
  bool offered(const Offer& offer) {
    if (arriving_.contains(offer.shard)) return true;  // repeated, or to be refused
    if (arriving_.size() < room_) {
      waiting_.erase(offer.shard);
      arriving_.insert(offer.shard);
      return true;
    }
    waiting_[offer.shard] = ++number_;
    queue_.push_back({offer, number_});
    return false;
  }
  /// The owner does not want to give the shard any more.
  void withdrawn(ShardId shard) { waiting_.erase(shard); }
  /// This node has ended.
  void ended(Incarnation node) {
    for (const Waiting& one : queue_) {
      if (one.offer.from == node && waits(one)) waiting_.erase(one.offer.shard);
    }
  }
  /// The shard has arrived, or will not. Offers that may be taken up instead.
  std::vector<Offer> over(ShardId shard, std::int64_t now) {
    arriving_.erase(shard);
    std::vector<Offer> next;
    while (!queue_.empty() && arriving_.size() < room_) {
      const Waiting first = queue_.front();
      queue_.pop_front();
      if (!waits(first)) continue;
      waiting_.erase(first.offer.shard);
      if (now - first.offer.since >= patience_) continue;
      arriving_.insert(first.offer.shard);
      next.push_back(first.offer);
    }
    return next;
  }
  std::size_t arriving() const { return arriving_.size(); }
  std::size_t waiting() const { return waiting_.size(); }

 private:
  struct Waiting {
    Offer offer;
    std::uint64_t number;
  };
  /// Not withdrawn, and not followed by a newer offer of the same shard.
  bool waits(const Waiting& one) const {
    const auto at = waiting_.find(one.offer.shard);
    return at != waiting_.end() && at->second == one.number;
  }

  std::uint32_t room_;
  std::int64_t patience_;
  std::set<ShardId> arriving_;
  std::map<ShardId, std::uint64_t> waiting_;  // with the number of the newest offer
  std::deque<Waiting> queue_;
  std::uint64_t number_ = 0;
};

}  // namespace catga
