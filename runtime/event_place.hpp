// How far one part of an ordered subscription has come, as it is stored: the state of the system entity
// `$sub/<name>-<part>`. Storage format.
#pragma once
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace catga {

struct EventPlace {
  std::uint64_t position = 0;  ///< everything up to this sequence of the stream is over
  std::uint64_t claimed = 0;   ///< what lies above it was never handed to a handler
  std::uint64_t live_from =
      0;  ///< what lies at or below it was published before the subscription began
  friend bool operator==(const EventPlace&, const EventPlace&) = default;
};
std::string bytes_of(const EventPlace& place);
/// Errors: malformed.
Result<EventPlace> parse_event_place(std::string_view bytes);

/// The system entity of a part; it lives on the ring like any other.
EntityId event_part_entity(const std::string& subscription, std::uint32_t part);
/// What makes an event a command of this subscription: the same at every delivery.
OperationId event_operation(OperationId event, const std::string& subscription);

}  // namespace catga
