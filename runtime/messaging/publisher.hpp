// The way of committed events to the stream, as a shard's relay sees it.
#pragma once
#include "catga/runtime/relay.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <functional>

namespace catga {

/// Thread-safe.
class EventPublisher {
 public:
  virtual ~EventPublisher() = default;
  /// `then` is called exactly once, on any thread, perhaps before the return: it must be short. ok: the stream has the
  /// event, by this publication or by an earlier one under the same id. Any error: perhaps not; publish it again.
  virtual void publish(ShardId shard, RelayEntry event, std::function<void(Status)> then) = 0;
};

}  // namespace catga
