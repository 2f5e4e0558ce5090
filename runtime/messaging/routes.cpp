#include "catga/runtime/messaging/routes.hpp"

namespace catga {

Routes::Hop Routes::look_up(ShardId shard) const {
  Hop hop;
  {
    const std::lock_guard guard(lock_of(shard));
    hop = entries_[shard.value];
  }
  const std::shared_ptr<const Standing> now = standing();
  if (!now) return {};
  if (hop.to && now->view->find(hop.to) != nullptr) return hop;
  return {now->placement.target(shard), Epoch{}};
}

void Routes::learn(ShardId shard, Incarnation owner, Epoch epoch, bool from_redis) {
  if (shard.value >= entries_.size()) return;
  const std::lock_guard guard(lock_of(shard));
  Hop& entry = entries_[shard.value];
  if (from_redis || epoch > entry.epoch) entry = {owner, epoch};
}

void Routes::forget() {
  for (std::uint32_t shard = 0; shard < entries_.size(); ++shard) {
    const std::lock_guard guard(lock_of(ShardId{shard}));
    entries_[shard] = {};
  }
}

void Routes::adopt(std::shared_ptr<const Standing> standing) {
  const std::lock_guard guard(standing_lock_);
  standing_ = std::move(standing);
}

std::shared_ptr<const Standing> Routes::standing() const {
  const std::lock_guard guard(standing_lock_);
  return standing_;
}

bool Routes::is_member(Incarnation node) const {
  const std::shared_ptr<const Standing> now = standing();
  return now && now->view->find(node) != nullptr;
}

}  // namespace catga
