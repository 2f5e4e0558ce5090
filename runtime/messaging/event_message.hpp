// An event as a message of the stream: subject, headers, body. Pure: any bytes may come, and no NATS is needed.
//
// For programs in any language. Subject: `catga.<cluster>.ev.<part>.<Event>.<kind>.<key>`, so that one can filter for an
// event type, a kind, or an entity; the part is the source's shard modulo 16, and all events of one source are in one
// part. The body is the event's fields as a msgpack map. Headers:
//
//   Nats-Msg-Id    32 hex digits: names this event, the same in every copy
//   Catga-Source   <kind>/<key>, the key percent-encoded as in the subject
//   Catga-Number   of the source's events, dense, from 1
//   Catga-Epoch    of its shard. (epoch, number) only grows; a number that falls inside a higher epoch says that Redis
//                  lost acknowledged writes
//   Catga-Time     cluster time of the turn, Unix ms
//   Catga-Name     the event's name
//   traceparent    of the turn, if it was traced
#pragma once
#include "catga/runtime/relay.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga {

/// How many parts the events of a cluster have. Fixed for ever: consumers remember their place by part.
constexpr std::uint32_t event_parts = 16;

constexpr std::uint32_t part_of(ShardId shard) { return shard.value % event_parts; }

struct EventMessage {
  std::string subject;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

/// `prefix`: "catga.<cluster>.".
EventMessage event_message(const std::string& prefix, ShardId shard, RelayEntry event);

/// `<kind>.<key>` as the last two tokens of a subject.
std::string source_tokens(const EntityId& source);

/// What subscribers filter by: all events of one part, or of any, by name.
std::string event_filter(const std::string& prefix, std::string_view event,
                         std::optional<std::uint32_t> part);

/// An event as it was read from the stream.
struct StreamEvent {
  OperationId id;
  EntityId source;
  std::uint64_t number = 0;
  Epoch epoch;
  std::int64_t at_ms = 0;
  std::string name;
  std::string payload;
  std::string trace;
};
/// `header`: the value of a header, empty if it is not there. Errors: malformed, naming the header.
Result<StreamEvent> read_event(const std::function<std::string(const std::string&)>& header,
                               std::string_view body);

}  // namespace catga
