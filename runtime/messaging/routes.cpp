#include "catga/runtime/messaging/routes.hpp"

namespace catga {

Routes::Hop Routes::look_up(ShardId shard) const {
  const std::lock_guard guard(lock_of(shard));
  return entries_[shard.value].to_take;
}

void Routes::settle(ShardId shard, Entry& entry, const Standing* standing) {
  if (standing == nullptr)
    entry.to_take = {};
  else if (entry.heard.to && standing->view->find(entry.heard.to) != nullptr)
    entry.to_take = entry.heard;
  else
    entry.to_take = {standing->placement.target(shard), Epoch{}};
}

void Routes::learn(ShardId shard, Incarnation owner, Epoch epoch, bool from_redis) {
  if (shard.value >= entries_.size()) return;
  const std::lock_guard guard(lock_of(shard));
  Entry& entry = entries_[shard.value];
  if (!from_redis && epoch <= entry.heard.epoch) return;
  entry.heard = {owner, epoch};
  settle(shard, entry, standing().get());
}

void Routes::forget() {
  for (std::uint32_t shard = 0; shard < entries_.size(); ++shard) {
    const std::lock_guard guard(lock_of(ShardId{shard}));
    entries_[shard].heard = {};
    settle(ShardId{shard}, entries_[shard], standing().get());
  }
}

void Routes::adopt(std::shared_ptr<const Standing> standing) {
  {
    const std::lock_guard guard(standing_lock_);
    standing_ = standing;
  }
  for (std::uint32_t shard = 0; shard < entries_.size(); ++shard) {
    const std::lock_guard guard(lock_of(ShardId{shard}));
    settle(ShardId{shard}, entries_[shard], this->standing().get());
  }
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
