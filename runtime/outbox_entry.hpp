// What a tell or an event of a turn looks like in the outbox, and a timer's message in the timer table. Storage format.
#pragma once
#include "catga/entities/kind.hpp"
#include "catga/entities/trace.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace catga {

/// A tell that waits in the outbox. Its operation id is derived from source, operation and number, so that a repeated
/// delivery takes effect once.
struct PendingTell {
  EntityId source;
  EntityId target;
  OperationId operation;
  std::int64_t at_ms = 0;  ///< cluster time of the turn
  std::string message;
  std::string payload;
  TraceContext trace{};  ///< of its turn, if that is sampled: without one it takes no byte
  friend bool operator==(const PendingTell&, const PendingTell&) = default;
};
std::string bytes_of(const PendingTell& tell);
Result<PendingTell> parse_tell(std::string_view bytes);

/// An event that waits in the outbox. Its id is derived from source, operation and number in the turn: the same
/// whatever happens between the commit and the stream, so that the stream keeps it once.
struct PendingEvent {
  EntityId source;
  OperationId id;            ///< message id
  std::uint64_t number = 0;  ///< of the source's events, dense, from 1
  Epoch epoch;               ///< of the shard when it was made
  std::int64_t at_ms = 0;    ///< cluster time of the turn
  std::string name;
  std::string payload;
  std::string trace;
  friend bool operator==(const PendingEvent&, const PendingEvent&) = default;
};
std::string bytes_of(const PendingEvent& event);
Result<PendingEvent> parse_event(std::string_view bytes);
/// Whether an entry of the outbox is an event; else it is a tell, or nothing we know.
bool is_event(std::string_view entry);

/// Of a timer that fires again and again.
struct Repeat {
  std::int64_t period_ms = 0;  ///< 0: once
  Missed missed = Missed::once;
  explicit operator bool() const { return period_ms > 0; }
  friend bool operator==(const Repeat&, const Repeat&) = default;
};
/// When it is due again, after the tick that was due at `due_ms` is handled at `now_ms`: later than that one, and never
/// off its beat.
std::int64_t next_due(std::int64_t due_ms, const Repeat& repeat, std::int64_t now_ms);

/// What a timer sends to its entity.
struct TimerMessage {
  std::string message;
  std::string payload;
  Repeat repeat{};
  TraceContext trace{};  ///< of the turn that set it, as in PendingTell
  friend bool operator==(const TimerMessage&, const TimerMessage&) = default;
};
std::string bytes_of(const TimerMessage& timer);
Result<TimerMessage> parse_timer_message(std::string_view bytes);

/// `e|<kind>/<key>|<name>`; a name has no '|'.
std::string timer_member(const EntityId& entity, std::string_view name);
/// The entity of a timer's member. Errors: malformed.
Result<EntityId> entity_of_timer(std::string_view member);

}  // namespace catga
