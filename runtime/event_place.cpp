#include "catga/runtime/event_place.hpp"

#include "catga/sharding/bytes.hpp"
#include "catga/sharding/hash.hpp"

namespace catga {

namespace {
constexpr std::uint8_t format = 1;
}

std::string bytes_of(const EventPlace& place) {
  std::string out;
  ByteWriter write(out);
  write.u8(format);
  write.u64(place.position);
  write.u64(place.claimed);
  write.u64(place.live_from);
  return out;
}

Result<EventPlace> parse_event_place(std::string_view bytes) {
  ByteReader read(bytes);
  if (read.u8() != format)
    return Error{Code::malformed, "the place of a subscription is of an unknown format"};
  EventPlace place;
  place.position = read.u64();
  place.claimed = read.u64();
  place.live_from = read.u64();
  if (!read.ok() || !read.at_end())
    return Error{Code::malformed, "the place of a subscription cannot be read"};
  return place;
}

EntityId event_part_entity(const std::string& subscription, std::uint32_t part) {
  return {"$sub", subscription + '-' + std::to_string(part)};
}

OperationId event_operation(OperationId event, const std::string& subscription) {
  std::string bytes = "on event";
  ByteWriter write(bytes);
  write.id(event);
  write.text(subscription);
  return hash128(48, bytes);
}

}  // namespace catga
