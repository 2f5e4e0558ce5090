// An event that could not be handled, or a tell that could not be delivered, as it is parked. Storage format.
#pragma once
#include "catga/runtime/messaging/event_message.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace catga {

struct DeadLetter {
  StreamEvent event;
  std::uint64_t sequence = 0;  ///< in the stream
  std::int64_t first_ms = 0;   ///< time of its operation, the same at every attempt
  std::int64_t parked_ms = 0;  ///< cluster time
  std::uint32_t attempts = 0;  ///< 0: it was parked because an earlier one of its source was
  std::string why;
  EntityId target{};  ///< of a tell; then `event` has its message, operation, source and time
};
std::string bytes_of(const DeadLetter& letter);
Result<DeadLetter> parse_dead_letter(std::string_view bytes);

/// The name of the sequence of one source's letters.
std::string letter_box(const std::string& subscription, const EntityId& source);
/// What stands in it for the name of a subscription, if the letters are tells; no subscription can have this name.
inline constexpr std::string_view tells_box = "$tells";

}  // namespace catga
