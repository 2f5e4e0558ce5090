// What becomes of this node's shards after Redis changed its primary, or lost its last writes: who loses them is told once.
#pragma once
#include "catga/runtime/telemetry/log.hpp"
#include "catga/sharding/ids.hpp"

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace catga {

/// Every shard drops its memory and is taken anew if it is still this node's (D32). Thread-safe; times are boot_ms().
class PrimaryAudit {
 public:
  static constexpr std::int64_t patience_ms = 5000;

  struct Result {
    std::vector<LogField> fields;  ///< what told of the change: old and new
    std::int64_t lasted_ms = 0;
    std::size_t audited = 0;
    std::size_t lost = 0;  ///< of these: not served here any more, or not again in time
  };

  /// Something told of the change; what comes while an audit is open is part of it. `held`: shards this node has now.
  /// Without fields: others say so, and this node has yet to see it itself.
  void begins(std::vector<LogField> fields, std::size_t held, std::int64_t now);
  void dropped(ShardId shard);
  void served(ShardId shard);
  bool open() const;
  /// Once, when all are served again or the patience is over.
  std::optional<Result> over(std::int64_t now);

 private:
  mutable std::mutex lock_;
  bool open_ = false;
  std::int64_t began_ = 0;
  std::size_t expected_ = 0;
  std::vector<LogField> fields_;
  std::map<ShardId, bool> shards_;  ///< whether it is served again
};

}  // namespace catga
