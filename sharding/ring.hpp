// Placement: a consistent-hash ring with virtual nodes and a load cap: who should own each shard.
//
// What it must do. Every node computes this table alone, from nothing but the view, and all must
// come to the same one: who claims, who offers, who routes where follows from it. So it is a pure
// function of node names and weights, in integer arithmetic, over a hash that never changes.
// Disagreement would not lose data (the owner token in Redis sees to that) but shards would travel
// to and fro.
//
// The definition. A node of weight w has 128 w points on a ring of 2^64: hash64(2, "<name>#<i>").
// Points are made from the stable name, not from the incarnation, so a node that starts again gets
// the same shards back. A shard stands at hash64(3, "<number>") and belongs to the first point at
// or behind it. That alone moves only the shards a joining node gets or a leaving node had, but
// with 20 nodes the fullest has a third more than its share. Therefore a cap: no node takes more
// than ceil(5 S w / 4 W), 1.25 times its fair share (W = sum of weights). A shard whose node is
// full walks on, point by point, to the first node with room. Shards are placed in the order 0, 1,
// ... S-1; this order decides who finds a node full, and is part of the definition.
//
//   points = all (hash64(2, name#i), name, i), sorted; ties by name, then i
//   for s in 0 .. S-1:
//     p = first point with hash >= hash64(3, s), else the first point
//     while load[p.node] >= cap[p.node]: p = next point, wrapping
//     target[s] = p.node; load[p.node] += 1
//
// The caps sum to at least 1.25 S, so the walk ends. The price of the cap: a few shards move
// between nodes that stayed, 1.04 times the least possible movement with 20 nodes.
// tests/sharding/ring_test.cpp holds the exact tables and the figures. Below 100 shards per node
// the cap does most of the work: choose S larger.
//
// The preference of a shard says who may claim it when its target does not: the distinct nodes in
// walk order from the shard's position, caps ignored, with the target moved to the front.
#pragma once
#include "catga/sharding/view.hpp"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace catga {

constexpr std::uint32_t ring_points_per_weight = 128;

/// A node as the ring sees it. Names are distinct.
struct RingNode {
  std::string name;
  std::uint32_t weight = 1;
};

/// For each shard the index in `nodes` of the node that should own it. Empty without nodes.
/// With `cap` false the load cap is left out (for the figures in the tests only).
std::vector<std::uint32_t> assign(std::span<const RingNode> nodes, std::uint32_t shards,
                                  bool cap = true);

/// The table of one view: who should own which shard. Immutable; equal views give equal placement.
class Placement {
 public:
  Placement() = default;
  Placement(const MembershipView& view, std::uint32_t shards);

  ViewVersion version() const { return version_; }
  std::uint32_t shards() const { return shards_; }
  /// The incarnation of the UP member that should own `shard`, or none without members.
  Incarnation target(ShardId shard) const {
    return targets_.empty() ? Incarnation{} : nodes_[targets_[shard.value]].incarnation;
  }
  /// Distinct members in walk order from the shard's position, caps ignored, the target in front.
  std::vector<Incarnation> preference(ShardId shard) const;
  /// Position of `node` in preference(shard); the number of members if it is not in it.
  std::uint32_t rank(ShardId shard, Incarnation node) const;

 private:
  struct Point {
    std::uint64_t hash;
    std::uint32_t node;
  };
  ViewVersion version_;
  std::uint32_t shards_ = 0;
  std::vector<Member> nodes_;  // UP members, sorted by name
  std::vector<Point> points_;
  std::vector<std::uint32_t> targets_;
};

}  // namespace catga
