#include "catga/runtime/admin/answers.hpp"

#include "catga/runtime/cluster/place.hpp"
#include "catga/sharding/hash.hpp"
#include "catga/sharding/ring.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace catga::admin {

namespace {

double rounded(double rate) { return std::round(rate * 10) / 10; }

double fraction(std::uint64_t hash) {
  return static_cast<double>(hash >> 11) * 0x1p-53;  // so many bits a double has
}

/// Of two nodes that speak of one shard, the one that is nearer to serving it.
int weight_of(const std::string& state) {
  static const std::map<std::string, int> weights{{"owned", 6},    {"draining", 5},
                                                  {"in_doubt", 4}, {"suspended", 3},
                                                  {"claiming", 2}, {"incoming", 1}};
  const auto found = weights.find(state);
  return found == weights.end() ? 0 : found->second;
}

std::vector<RingNode> ring_nodes(const std::vector<Planned>& nodes,
                                 std::uint32_t Planned::*weight) {
  std::vector<RingNode> ring;
  for (const Planned& node : nodes)
    if (node.*weight > 0) ring.push_back({node.name, node.*weight});
  return ring;
}

}  // namespace

double position_of(std::uint32_t shard) { return fraction(hash64(3, std::to_string(shard))); }

json to_json(const NodeLook& look, ViewVersion view) {
  return {{"version", CATGA_VERSION},
          {"uptime_s", look.uptime_s},
          {"view", std::to_string(view.value)},
          {"session", look.session},
          {"shards", {{"held", look.held}, {"serving", look.serving}, {"incoming", look.incoming}}},
          {"entities", look.entities},
          {"messages_per_s", rounded(look.messages_per_s)},
          {"queued_bytes", look.queued_bytes},
          {"pending_asks", look.pending_asks},
          {"memory_bytes", look.memory_bytes}};
}

json to_json(const ShardLook& shard) {
  return {{"id", shard.id},
          {"state", shard.state},
          {"epoch", std::to_string(shard.epoch.value)},
          {"entities", shard.entities},
          {"held", shard.held},
          {"messages_per_s", rounded(shard.messages_per_s)}};
}

json to_json(const EntityLook& entity, const std::string& node) {
  return {{"kind", entity.id.kind},
          {"key", entity.id.key},
          {"shard", entity.shard},
          {"node", node},
          {"active", true},
          {"waiting", entity.waiting},
          {"messages", entity.messages},
          {"idle_ms", entity.idle_ms},
          {"leaving", entity.leaving}};
}

json to_json(const RebalancePart& part) {
  json ways = json::array();
  for (const auto& [way, shards] : part.ways)
    ways.push_back({{"from", std::get<0>(way)},
                    {"to", std::get<1>(way)},
                    {"mode", std::get<2>(way)},
                    {"shards", shards}});
  return {{"id", part.id},
          {"reason", part.reason},
          {"began_ms", part.began_ms},
          {"last_ms", part.last_ms},
          {"moved", part.moved},
          {"failed", part.failed},
          {"pending", part.pending},
          {"pause_ms_max", part.pause_ms_max},
          {"by_node", ways}};
}

json to_json(const Move& move) {
  return {{"at_ms", move.at_ms},
          {"from", move.from},
          {"to", move.to},
          {"epoch", std::to_string(move.epoch.value)},
          {"mode", move.mode},
          {"pause_ms", move.pause_ms},
          {"entities", move.entities}};
}

json nodes_of(const MembershipView& view, const std::map<std::string, std::uint32_t>& wanted,
              const Said& said) {
  json nodes = json::array();
  for (const Member& member : view.members) {
    const Place place = place_in(member.host);
    json node{{"id", member.name},
              {"incarnation", text_of(member.incarnation)},
              {"state", name_of(member.state)},
              {"weight", member.weight},
              {"app_version", member.app_version},
              {"host", place.host},
              {"region", place.region},
              {"zone", place.zone},
              {"joined_ms", member.joined_ms},
              {"wanted", 0},
              {"answered", false}};
    if (const auto share = wanted.find(member.name);
        share != wanted.end() && member.state == MemberState::up)
      node["wanted"] = share->second;
    if (const auto own = said.find(member.name); own != said.end()) {
      node.update(own->second);
      node["answered"] = true;
    }
    nodes.push_back(std::move(node));
  }
  std::sort(nodes.begin(), nodes.end(), [](const json& one, const json& other) {
    return one["id"].get<std::string>() < other["id"].get<std::string>();
  });
  return nodes;
}

json sums_of(const json& nodes, std::uint32_t shards) {
  std::uint64_t held = 0, serving = 0, incoming = 0, entities = 0, up = 0;
  double rate = 0;
  bool settled = true, all = true;
  for (const json& node : nodes) {
    up += node["state"] == "UP" ? 1 : 0;
    if (!node["answered"].get<bool>()) {
      all = false;
      continue;
    }
    const json& own = node["shards"];
    held += own["held"].get<std::uint64_t>();
    serving += own["serving"].get<std::uint64_t>();
    incoming += own["incoming"].get<std::uint64_t>();
    entities += node["entities"].get<std::uint64_t>();
    rate += node["messages_per_s"].get<double>();
    settled = settled && own["serving"] == node["wanted"] && own["held"] == own["serving"];
  }
  return {{"nodes_up", up},
          {"settled", settled && all && serving == shards},
          {"entities", entities},
          {"messages_per_s", rounded(rate)},
          {"shards",
           {{"configured", shards},
            {"held", held},
            {"serving", serving},
            {"moving", incoming},
            {"unowned", held < shards ? shards - held : 0}}}};
}

json shards_of(const Said& said, std::uint32_t first, const std::vector<std::string>& targets) {
  json shards = json::array();
  for (std::size_t i = 0; i < targets.size(); ++i)
    shards.push_back({{"id", first + i},
                      {"node", nullptr},
                      {"state", "unowned"},
                      {"epoch", "0"},
                      {"entities", 0},
                      {"held", 0},
                      {"messages_per_s", 0.0},
                      {"target", targets[i]}});
  for (const auto& [node, list] : said) {
    for (const json& one : list) {
      const auto at = one["id"].get<std::uint64_t>() - first;
      if (at >= shards.size()) continue;
      json& shard = shards[at];
      const auto state = one["state"].get<std::string>();
      if (state == "incoming") shard["to"] = node;
      if (weight_of(state) <= 1 || weight_of(state) <= weight_of(shard["state"])) continue;
      shard.update(one);
      shard["node"] = node;
    }
  }
  return shards;
}

json rebalances_of(const Said& said, std::size_t most) {
  std::map<std::uint64_t, json, std::greater<>> by_id;
  for (const auto& [node, parts] : said) {
    for (const json& part : parts) {
      const std::uint64_t id = std::strtoull(part["id"].get<std::string>().c_str(), nullptr, 10);
      const auto [at, fresh] = by_id.try_emplace(id, part);
      if (fresh) continue;
      json& sum = at->second;
      if (part["began_ms"] < sum["began_ms"]) sum["began_ms"] = part["began_ms"];
      for (const char* largest : {"last_ms", "pause_ms_max"})
        if (part[largest] > sum[largest]) sum[largest] = part[largest];
      for (const char* added : {"moved", "failed", "pending"})
        sum[added] = sum[added].get<std::uint64_t>() + part[added].get<std::uint64_t>();
      for (const json& way : part["by_node"]) sum["by_node"].push_back(way);
    }
  }
  json rebalances = json::array();
  for (auto& [id, rebalance] : by_id) {
    if (rebalances.size() == most) break;
    rebalance["running"] = rebalance["pending"].get<std::uint64_t>() > 0;
    rebalances.push_back(std::move(rebalance));
  }
  return rebalances;
}

json plan_of(const std::vector<Planned>& nodes, std::uint32_t shards) {
  const auto before = ring_nodes(nodes, &Planned::before),
             after = ring_nodes(nodes, &Planned::after);
  const auto now = assign(before, shards), then = assign(after, shards);
  std::map<std::pair<std::string, std::string>, std::uint32_t> ways;
  std::map<std::string, std::pair<std::uint32_t, std::uint32_t>> counts;
  std::uint32_t moves = 0;
  for (const Planned& node : nodes) counts[node.name] = {};
  for (std::uint32_t shard = 0; shard < shards; ++shard) {
    const std::string from = now.empty() ? "-" : before[now[shard]].name;
    const std::string to = then.empty() ? "-" : after[then[shard]].name;
    if (!now.empty()) counts[from].first += 1;
    if (!then.empty()) counts[to].second += 1;
    if (from == to) continue;
    moves += 1;
    ways[{from, to}] += 1;
  }
  json plan{{"moves", moves}, {"by_node", json::array()}, {"nodes", json::array()}};
  for (const auto& [way, count] : ways)
    plan["by_node"].push_back({{"from", way.first}, {"to", way.second}, {"shards", count}});
  for (const auto& [name, count] : counts)
    plan["nodes"].push_back({{"id", name}, {"before", count.first}, {"after", count.second}});
  return plan;
}

json ring_of(const std::vector<Planned>& nodes, std::uint32_t shards) {
  std::vector<RingNode> ring = ring_nodes(nodes, &Planned::before);
  std::ranges::sort(ring, {}, &RingNode::name);
  const auto targets = assign(ring, shards);
  std::vector<std::uint32_t> counts(ring.size());
  for (const std::uint32_t target : targets) counts[target] += 1;
  json list = json::array();
  std::vector<std::pair<double, std::size_t>> points;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    list.push_back({{"id", ring[i].name},
                    {"weight", ring[i].weight},
                    {"shards", counts[i]},
                    {"share", static_cast<double>(counts[i]) / shards}});
    for (std::uint32_t p = 0; p < ring[i].weight * ring_points_per_weight; ++p)
      points.emplace_back(fraction(hash64(2, ring[i].name + '#' + std::to_string(p))), i);
  }
  std::ranges::sort(points);
  return {{"shards", shards}, {"nodes", list}, {"points", points}, {"targets", targets}};
}

}  // namespace catga::admin
