// A node's inside as operators ask about it: read from what its actors leave to see.
#pragma once
#include "catga/runtime/actors/surroundings.hpp"
#include "catga/runtime/admin/inside.hpp"

#include <functional>
#include <mutex>
#include <vector>

namespace catga::actors {

class NodeInside final : public admin::Inside {
 public:
  /// `drain` makes the node leave the ring. `host` outlives it.
  NodeInside(Host& host, std::function<Status()> drain);

  std::string node_id() const override { return host_.node_id; }
  Incarnation self() const override { return host_.router.self(); }
  std::shared_ptr<const Standing> standing() const override {
    return host_.router.routes().standing();
  }
  admin::NodeLook look() override;
  std::vector<admin::ShardLook> shards(std::uint32_t first, std::uint32_t count) override;
  std::vector<admin::EntityLook> entities(const std::string& kind, std::size_t most) override;
  std::vector<std::pair<std::string, std::uint64_t>> entities_by_kind() override;
  std::optional<admin::EntityLook> entity(const EntityId& id) override;
  std::vector<admin::ShardLook> hot_shards(std::size_t most) override;
  std::vector<admin::EntityLook> hot_entities(std::size_t most) override;
  const admin::History& history() const override { return host_.history; }
  bool passivate(const EntityId& id) override;
  bool trace(const EntityId& id, std::chrono::seconds how_long) override;
  Status drain() override { return drain_(); }

 private:
  admin::ShardLook look_of(std::uint32_t shard, const Doorway::Look& look) const;
  void sample();

  Host& host_;
  const std::function<Status()> drain_;
  const std::int64_t started_at_;

  // Rates are what was counted between two looks, at least a second apart.
  std::mutex lock_;
  std::int64_t sampled_at_ = 0;
  std::vector<std::uint64_t> counted_;  // by shard, then
  std::vector<double> rates_;           // by shard, per second
};

}  // namespace catga::actors
