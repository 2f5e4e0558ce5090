#include "catga/runtime/telemetry/primary_audit.hpp"

#include <algorithm>
#include <utility>

namespace catga {

void PrimaryAudit::begins(std::vector<LogField> fields, std::size_t held, std::int64_t now) {
  const std::lock_guard guard(lock_);
  if (!std::exchange(open_, true)) {
    began_ = now;
    expected_ = held;
    shards_.clear();
    fields_.clear();
  }
  for (LogField& field : fields) {
    const auto known = std::find_if(fields_.begin(), fields_.end(), [&field](const LogField& one) {
      return one.name == field.name;
    });
    if (known == fields_.end())
      fields_.push_back(std::move(field));
    else
      known->value = std::move(field.value);
  }
}

void PrimaryAudit::dropped(ShardId shard) {
  const std::lock_guard guard(lock_);
  if (open_) shards_[shard] = false;
}

void PrimaryAudit::served(ShardId shard) {
  const std::lock_guard guard(lock_);
  const auto at = shards_.find(shard);
  if (at != shards_.end()) at->second = true;
}

bool PrimaryAudit::open() const {
  const std::lock_guard guard(lock_);
  return open_;
}

std::optional<PrimaryAudit::Result> PrimaryAudit::over(std::int64_t now) {
  const std::lock_guard guard(lock_);
  if (!open_) return std::nullopt;
  const auto back = static_cast<std::size_t>(std::count_if(
      shards_.begin(), shards_.end(), [](const auto& shard) { return shard.second; }));
  const bool all = shards_.size() >= expected_ && back == shards_.size();
  if ((!all || fields_.empty()) && now - began_ < patience_ms) return std::nullopt;
  open_ = false;
  if (fields_.empty()) return std::nullopt;  // others said it, and this node saw nothing of it
  return Result{std::exchange(fields_, {}), now - began_, shards_.size(), shards_.size() - back};
}

}  // namespace catga
