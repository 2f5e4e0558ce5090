// Shards and entities that take an unfair share of this node's messages: found by themselves, told as cluster events.
//
// Nothing is counted for it. Every door knows how many messages went to its shard and to each entity in memory; once a
// second these are read. Only shards that are above the limits themselves are searched for entities, and only if that
// is short: an entity that takes a quarter of the node's messages makes its shard take them too.
#pragma once
#include "catga/runtime/actors/surroundings.hpp"
#include "catga/runtime/telemetry/heat.hpp"
#include "catga/sharding/ids.hpp"

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace catga::actors {

class HotSpots {
 public:
  explicit HotSpots(Host& host, HeatLimits limits);
  /// Other limits from now on. Any thread.
  void limit(HeatLimits limits);
  /// About once a second, by one thread.
  void look(std::int64_t now);

 private:
  double look_at_shards(std::int64_t now);
  void look_at_entities(std::int64_t now, double all_per_s);
  void tell(const Heat<std::uint32_t>::Hot& shard);
  void tell(const Heat<EntityId>::Hot& entity, std::int64_t passed_ms);

  Host& host_;
  std::mutex lock_;
  std::vector<std::uint64_t> counted_;  // by shard
  std::int64_t looked_at_ = 0;
  Heat<std::uint32_t> shards_;
  Heat<EntityId> entities_;
  std::map<EntityId, std::uint64_t> waiting_before_,
      waiting_;  // for the last two looks, of `entities_`
};

}  // namespace catga::actors
