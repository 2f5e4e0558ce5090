// An event that could not be handled, as it is parked. Storage format.
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
};
std::string bytes_of(const DeadLetter& letter);
Result<DeadLetter> parse_dead_letter(std::string_view bytes);

/// The name of the sequence of one source's letters.
std::string letter_box(const std::string& subscription, const EntityId& source);

}  // namespace catga
