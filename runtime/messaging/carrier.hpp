// The way out to other nodes, as those see it who have something to say.
#pragma once
#include "catga/runtime/messaging/wire.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>

namespace catga {

/// Thread-safe. Nothing here waits for the network; delivery is at most once.
class Carrier {
 public:
  virtual ~Carrier() = default;
  /// Appends one record for `to`. `ask`: the caller's number if it waits for an answer, else 0.
  /// Errors: overloaded, too much waits for that node.
  virtual Status push(Incarnation to, const wire::Record& record, std::uint64_t ask) = 0;
  Status push(Incarnation to, const wire::Record& record) { return push(to, record, 0); }
  /// To all nodes and callers: who owns a shard now.
  virtual void announce(const wire::Owns& owns) = 0;
};

}  // namespace catga
