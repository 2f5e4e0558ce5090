// The one thing a reference needs from a node: carry a message to an entity and bring back the
// answer.
#pragma once
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace catga {

/// One ask, already encoded. The payload is a msgpack map, the answer too (or whatever the entity's
/// reply is).
struct Ask {
  EntityId entity;
  std::string message;  ///< wire name
  std::string payload;
  bool query = false;
  OperationId operation;  ///< none: the messenger makes one
  std::int64_t operation_ms =
      0;  ///< when the caller could first have sent it, cluster time; 0: now
  std::chrono::milliseconds timeout{0};  ///< 0: ask.timeout of the node
  std::vector<EntityId> path;            ///< the entities waiting for this ask, outermost first
};

using Answered = std::function<void(Result<std::string>)>;

/// Thread-safe. Implemented by the runtime's router.
class Messenger {
 public:
  virtual ~Messenger() = default;
  /// `answered` is called exactly once, within the timeout plus a little, on a thread of the node:
  /// it must be short and must not wait. Repeats with the same operation id until the deadline.
  virtual void ask(Ask ask, Answered answered) = 0;
  /// Sends one copy, at most once. Errors: overloaded, unavailable, malformed (refused here;
  /// nothing was sent).
  virtual Status tell(Ask tell) = 0;
};

}  // namespace catga
