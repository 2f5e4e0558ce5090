// The sagas of a cluster in Redis: requests become words for the scripts of saga_scripts.hpp, answers values.
#pragma once
#include "catga/persistence/redis/pipeline.hpp"
#include "catga/persistence/saga_store.hpp"

#include <memory>
#include <string>
#include <vector>

namespace catga {

class RedisSagaStore final : public SagaStore {
 public:
  /// A shard keeps to one of the pipelines, that of its entities.
  RedisSagaStore(std::string cluster, const std::vector<std::unique_ptr<Pipeline>>& pipelines)
      : cluster_(std::move(cluster)), pipelines_(pipelines) {}

  void create(SagaCreate create, Then<SagaCreated> then) override;
  void load(const SagaLoad& load, Then<SagaLoaded> then) override;
  void commit(SagaCommit commit, Then<SagaCommitted> then) override;
  void list(const SagaQuery& query, Then<SagaPage> then) override;
  void overview(ShardId shard, const OwnerToken& token, Then<SagaOverview> then) override;
  void tidy(const SagaTidy& tidy, Then<bool> then) override;

 private:
  void read_headers(SagaQuery query, SagaPage found, Then<SagaPage> then);
  Pipeline& of(ShardId shard) const { return *pipelines_[shard.value % pipelines_.size()]; }

  const std::string cluster_;
  const std::vector<std::unique_ptr<Pipeline>>& pipelines_;
};

}  // namespace catga
