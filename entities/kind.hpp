// An entity class with its types rubbed out, as the runtime sees it.
#pragma once
#include "catga/entities/messenger.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

/// A message a turn sends with its commit: to an entity, effect once.
struct OutgoingTell {
  EntityId entity;
  std::string message;
  std::string payload;
};
/// What becomes of the ticks of a repeated timer that were missed, while nobody owned its shard say.
enum class Missed : std::uint8_t {
  once,  ///< they are one tick
  all,   ///< each is a tick of its own, at most 100 of them
};
/// An event a turn publishes with its commit.
struct OutgoingEvent {
  std::string name;
  std::string payload;
};
/// A timer a turn sets (or cancels): fires `message` at this same entity.
struct TimerChange {
  std::string name;         ///< empty: unnamed, the runtime names it by operation id and number
  std::int64_t due_ms = 0;  ///< cluster time
  bool cancel = false;
  std::int64_t period_ms = 0;  ///< 0: it fires once
  Missed missed = Missed::once;
  std::string message;
  std::string payload;
};

/// How a handler ended. `bytes`: the encoded reply, or the words of the rejection or failure.
struct HandlerEnd {
  enum class Kind : std::uint8_t {
    reply,
    rejected,
    failed,
    malformed,
    suspended
  } kind = Kind::reply;
  std::string bytes;
};

/// What one handled message collects besides state and reply. Filled in by Turn; read by the
/// runtime. Used on one thread at a time: the one that runs the entity.
class TurnScope {
 public:
  // What the runtime tells the turn.
  EntityId entity;
  OperationId operation;
  std::int64_t operation_ms = 0;  ///< time of the operation id
  std::int64_t now_ms = 0;        ///< cluster time
  std::vector<EntityId> path;     ///< of the message being handled, without this entity
  Messenger* messenger = nullptr;

  // What the turn asks for.
  std::vector<OutgoingTell> tells;
  std::vector<OutgoingEvent> events;
  std::vector<TimerChange> timers;
  bool passivate = false;
  bool erase = false;

  /// Asks another entity for a suspended coroutine. Set by the runtime; `answered` is called later
  /// on the entity's own thread of execution, never before this returns. Arguments: entity,
  /// message, payload, query.
  std::function<void(EntityId, std::string, std::string, bool, Answered)> ask;
  /// Called by the coroutine's end (reply, reject or throw) if it was suspended before.
  std::function<void(HandlerEnd)> finished;
};

/// One entity in memory: an object of the user's class. Not thread-safe; one handler at a time. No
/// call throws.
class Instance {
 public:
  virtual ~Instance() = default;
  /// Replaces the state. Empty bytes: the default state. Errors: malformed.
  virtual Status restore(std::string_view state) = 0;
  /// The state as bytes; equal states give equal bytes.
  virtual std::string encode() const = 0;
  /// Runs the handler of message number `message`. With `suspended` the coroutine lives in this
  /// instance until it ends (scope.finished) or abandon() is called; scope must live as long.
  virtual HandlerEnd run(std::size_t message, std::string_view payload, TurnScope& scope) = 0;
  /// Destroys a suspended coroutine where it stands. Its asks' answers are ignored from now on.
  virtual void abandon() = 0;
};

/// What the runtime must know of a message.
struct MessageInfo {
  std::string name;
  bool query = false;  ///< its handler is const
  /// JSON object → payload, and reply bytes → JSON: for the gateway. Errors: malformed, naming
  /// field and trouble.
  std::function<Result<std::string>(std::string_view json)> payload_from_json;
  std::function<Result<std::string>(std::string_view reply)> json_from_reply;
};

/// What the runtime must know of an entity class.
struct Kind {
  std::string name;
  std::vector<MessageInfo> messages;
  std::function<std::unique_ptr<Instance>()> make;
  /// The number of a message, or messages.size() if there is none of that name.
  std::size_t index_of(std::string_view message) const;
};

/// Describes `Entity` to the runtime. Mistakes in the class are compile errors here.
/// (entities/entity.hpp)
template <class Entity>
Kind kind_of();

}  // namespace catga
