// The ring: points, caps and the walk. Storage format in effect: all nodes must compute the same
// table.
#include "catga/sharding/ring.hpp"

#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <iterator>
#include <string>

namespace catga {
namespace {

constexpr std::uint64_t point_domain = 2;
constexpr std::uint64_t shard_domain = 3;

/// One point of a node; `number` is the i in `<name>#<i>`.
struct RingPoint {
  std::uint64_t hash;
  std::uint32_t node;
  std::uint32_t number;
};

std::vector<RingPoint> points_of(std::span<const RingNode> nodes) {
  std::vector<RingPoint> points;
  for (std::uint32_t node = 0; node < nodes.size(); ++node) {
    assert(nodes[node].weight >= 1);
    std::string label = nodes[node].name + '#';
    const std::size_t stem = label.size();
    for (std::uint32_t i = 0; i < ring_points_per_weight * nodes[node].weight; ++i) {
      label.resize(stem);
      label += std::to_string(i);
      points.push_back({hash64(point_domain, label), node, i});
    }
  }
  // Ties by name and not by index, or two nodes with differently ordered tables would disagree.
  std::ranges::sort(points, [nodes](const RingPoint& left, const RingPoint& right) {
    if (left.hash != right.hash) return left.hash < right.hash;
    if (left.node != right.node) return nodes[left.node].name < nodes[right.node].name;
    return left.number < right.number;
  });
  return points;
}

std::uint64_t position_of(std::uint32_t shard) {
  return hash64(shard_domain, std::to_string(shard));
}

/// Index of the first point at or behind the shard's position, wrapping.
template <class Points>
std::size_t start_of(const Points& points, std::uint32_t shard) {
  using Point = typename Points::value_type;
  const auto found = std::ranges::lower_bound(points, position_of(shard), {}, &Point::hash);
  return found == points.end() ? 0 : static_cast<std::size_t>(found - points.begin());
}

std::vector<std::uint64_t> caps_of(std::span<const RingNode> nodes, std::uint32_t shards) {
  std::uint64_t weights = 0;
  for (const RingNode& node : nodes) weights += node.weight;
  std::vector<std::uint64_t> caps;
  for (const RingNode& node : nodes) {
    const std::uint64_t fair_times_five = std::uint64_t{5} * shards * node.weight;
    caps.push_back((fair_times_five + 4 * weights - 1) / (4 * weights));
  }
  return caps;
}

std::vector<std::uint32_t> walk(const std::vector<RingPoint>& points, std::uint32_t shards,
                                const std::vector<std::uint64_t>& caps) {
  std::vector<std::uint64_t> load(caps.size(), 0);
  std::vector<std::uint32_t> targets;
  targets.reserve(shards);
  for (std::uint32_t shard = 0; shard < shards; ++shard) {
    std::size_t at = start_of(points, shard);
    // Ends, because the caps sum to more than the number of shards.
    while (load[points[at].node] >= caps[points[at].node]) at = (at + 1) % points.size();
    targets.push_back(points[at].node);
    ++load[points[at].node];
  }
  return targets;
}

std::vector<RingNode> ring_nodes(const std::vector<Member>& members) {
  std::vector<RingNode> nodes;
  for (const Member& member : members) nodes.push_back({member.name, member.weight});
  return nodes;
}

}  // namespace

std::vector<std::uint32_t> assign(std::span<const RingNode> nodes, std::uint32_t shards, bool cap) {
  if (nodes.empty()) return {};
  const std::vector<std::uint64_t> no_caps(nodes.size(), shards);
  return walk(points_of(nodes), shards, cap ? caps_of(nodes, shards) : no_caps);
}

Placement::Placement(const MembershipView& view, std::uint32_t shards)
    : version_(view.version), shards_(shards) {
  std::ranges::copy_if(view.members, std::back_inserter(nodes_),
                       [](const Member& member) { return member.state == MemberState::up; });
  std::ranges::sort(nodes_, {}, &Member::name);
  assert(std::ranges::adjacent_find(nodes_, {}, &Member::name) == nodes_.end());
  if (nodes_.empty()) return;
  const std::vector<RingNode> nodes = ring_nodes(nodes_);
  const std::vector<RingPoint> points = points_of(nodes);
  targets_ = walk(points, shards, caps_of(nodes, shards));
  points_.reserve(points.size());
  for (const RingPoint& point : points) points_.push_back({point.hash, point.node});
}

std::vector<Incarnation> Placement::preference(ShardId shard) const {
  if (nodes_.empty()) return {};
  assert(shard.value < shards_);
  std::vector<std::uint32_t> order{targets_[shard.value]};
  std::vector<bool> met(nodes_.size(), false);
  met[order.front()] = true;
  const std::size_t start = start_of(points_, shard.value);
  for (std::size_t i = 0; order.size() < nodes_.size(); ++i) {
    const std::uint32_t node = points_[(start + i) % points_.size()].node;
    if (met[node]) continue;
    met[node] = true;
    order.push_back(node);
  }
  std::vector<Incarnation> incarnations;
  for (const std::uint32_t node : order) incarnations.push_back(nodes_[node].incarnation);
  return incarnations;
}

std::uint32_t Placement::rank(ShardId shard, Incarnation node) const {
  assert(nodes_.empty() || shard.value < shards_);
  const auto found = std::ranges::find(nodes_, node, &Member::incarnation);
  if (found == nodes_.end()) return static_cast<std::uint32_t>(nodes_.size());
  const auto wanted = static_cast<std::uint32_t>(found - nodes_.begin());
  if (wanted == targets_[shard.value]) return 0;
  // As in preference(), but only as far as the node, and every shard asks after every view.
  std::uint32_t rank = 1;
  std::vector<bool> met(nodes_.size(), false);
  met[targets_[shard.value]] = true;
  for (std::size_t at = start_of(points_, shard.value);;
       at = at + 1 < points_.size() ? at + 1 : 0) {
    const std::uint32_t passed = points_[at].node;
    if (passed == wanted) return rank;
    if (!met[passed]) {
      met[passed] = true;
      ++rank;
    }
  }
}

}  // namespace catga
