// What one node has to tell of a rebalance: the shards it gives away and those it takes from nodes that are gone. Pure.
#pragma once
#include "catga/sharding/ids.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>

namespace catga {

struct RebalancePart {
  static constexpr std::int64_t stuck_after_ms = 30'000, stuck_again_ms = 60'000;

  std::uint64_t id = 0;  ///< the version of the view that caused it
  std::string reason = "node_joined";
  std::int64_t told_at = 0;  ///< boot_ms() of its "planned"; 0: nothing to tell yet
  std::set<ShardId> taking;  ///< of ended nodes, not served here yet
  std::size_t moved = 0, taken = 0, failed = 0;
  std::int64_t gap_ms_max = 0;
  std::int64_t progress_at = 0, stuck_said_at = 0;

  bool open() const { return told_at != 0; }
  void told(std::int64_t now) {
    if (told_at == 0) told_at = progress_at = now;
  }
  void move_over(bool well, std::int64_t gap_ms, std::int64_t now) {
    (well ? moved : failed) += 1;
    gap_ms_max = std::max(gap_ms_max, gap_ms);
    if (well) progress_at = now;
  }
  /// False: the shard was not one to be taken from an ended node.
  bool took(ShardId shard, std::int64_t gap_ms, std::int64_t now) {
    if (taking.erase(shard) == 0) return false;
    taken += 1;
    gap_ms_max = std::max(gap_ms_max, gap_ms);
    progress_at = now;
    return true;
  }
  /// `moves_pending`: of this node's own shards.
  bool is_over(std::size_t moves_pending) const {
    return open() && taking.empty() && moves_pending == 0;
  }
  /// Nothing ended for long; true once a minute then.
  bool is_stuck(std::int64_t now) {
    if (!open() || now - progress_at < stuck_after_ms) return false;
    if (stuck_said_at != 0 && now - stuck_said_at < stuck_again_ms) return false;
    stuck_said_at = now;
    return true;
  }
};

}  // namespace catga
