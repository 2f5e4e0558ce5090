// What the nodes of a cluster say of themselves, made one answer. Pure.
#pragma once
#include "catga/runtime/admin/history.hpp"
#include "catga/runtime/admin/inside.hpp"
#include "catga/sharding/view.hpp"

#include <nlohmann/json.hpp>

#include <map>
#include <string>
#include <vector>

namespace catga::admin {

using nlohmann::json;

// ---- what a node says of itself ----
json to_json(const NodeLook& look, ViewVersion view);
json to_json(const ShardLook& shard);
json to_json(const EntityLook& entity, const std::string& node);
json to_json(const RebalancePart& part);
json to_json(const Move& move);

// ---- what many said, by node id ----
using Said = std::map<std::string, json>;

/// NODE of each member, by name; `wanted` by name.
json nodes_of(const MembershipView& view, const std::map<std::string, std::uint32_t>& wanted,
              const Said& said);
/// The sums of /cluster over nodes_of().
json sums_of(const json& nodes, std::uint32_t shards);
/// SHARD of [first, first + count); `targets`: names by shard, from `first` on.
json shards_of(const Said& said, std::uint32_t first, const std::vector<std::string>& targets);
/// Parts with one id are one rebalance; the newest first.
json rebalances_of(const Said& said, std::size_t most);

/// A node of a plan. Weight 0: it leaves.
struct Planned {
  std::string name;
  std::uint32_t before = 1, after = 1;  ///< weights
};
/// Which shards would move.
json plan_of(const std::vector<Planned>& nodes, std::uint32_t shards);
/// Points and targets of the ring.
json ring_of(const std::vector<Planned>& nodes, std::uint32_t shards);
/// Where a shard stands on the ring, in [0, 1).
double position_of(std::uint32_t shard);

}  // namespace catga::admin
