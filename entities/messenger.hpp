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

/// What makes an ask a saga's: its participant remembers it in a table of its own, of which only sagas forget, and can
/// be asked to settle and to forget. Which owner of the saga asks tells old owners from new ones.
struct SagaStep {
  enum class Verb : std::uint8_t {
    none = 0,  ///< not of a saga
    run = 1,   ///< a step or an undo: as any command, but remembered beside them
    settle =
        2,  ///< what became of `operation`? If nothing, forbid it for ever. Runs no code of users
    forget =
        3,  ///< the payload holds ids of 16 bytes each: the saga is over, remember them no more
  } verb = Verb::none;
  ShardId shard;  ///< of the saga
  Epoch epoch;    ///< of the token it is run under
  explicit operator bool() const { return verb != Verb::none; }
  friend bool operator==(const SagaStep&, const SagaStep&) = default;
};

/// One ask, already encoded. The payload is a msgpack map, the answer too (or whatever the entity's
/// reply is).
struct Ask {
  EntityId entity;
  std::string message;  ///< wire name
  std::string payload;
  bool query = false;
  OperationId operation;  ///< none: the messenger makes one
  /// When the caller could first have sent it, cluster time. 0: now; of an `operation` of the caller's own: its owner
  /// remembers when it saw it first.
  std::int64_t operation_ms = 0;
  std::chrono::milliseconds timeout{0};  ///< 0: ask.timeout of the node
  std::vector<EntityId> path;            ///< the entities waiting for this ask, outermost first
  bool keyed = false;  ///< `operation` was made of a key, and nobody knows its time
  SagaStep
      saga{};  ///< with a verb, a good answer is a StepAnswer in bytes (entities/saga/step_answer.hpp)
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
