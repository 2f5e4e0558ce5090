// What lives on a shard beside its entities and must know when this node serves it.
#pragma once
#include "catga/sharding/ids.hpp"
#include "catga/sharding/token.hpp"

namespace catga {

/// Thread-safe; posts and returns. Of one shard the calls come one after another.
class ShardTenants {
 public:
  virtual ~ShardTenants() = default;
  /// The shard is served here, under this token; again after each change of the token, and perhaps without one.
  virtual void serves(ShardId shard, OwnerToken token) = 0;
  /// Not any more, or not now.
  virtual void leaves(ShardId shard) = 0;
};

}  // namespace catga
