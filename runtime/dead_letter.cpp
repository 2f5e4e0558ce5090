#include "catga/runtime/dead_letter.hpp"

#include "catga/sharding/bytes.hpp"

namespace catga {

namespace {
constexpr std::uint8_t of_event = 1, of_tell = 2;  // formats
}

std::string bytes_of(const DeadLetter& letter) {
  std::string out;
  ByteWriter write(out);
  write.u8(letter.target.kind.empty() ? of_event : of_tell);
  write.id(letter.event.id);
  write.entity(letter.event.source);
  write.u64(letter.event.number);
  write.u64(letter.event.epoch.value);
  write.i64(letter.event.at_ms);
  write.text(letter.event.name);
  write.text(letter.event.payload);
  write.text(letter.event.trace);
  write.u64(letter.sequence);
  write.i64(letter.first_ms);
  write.i64(letter.parked_ms);
  write.u32(letter.attempts);
  write.text(letter.why);
  if (!letter.target.kind.empty()) write.entity(letter.target);
  return out;
}

Result<DeadLetter> parse_dead_letter(std::string_view bytes) {
  ByteReader read(bytes);
  const std::uint8_t format = read.u8();
  if (format != of_event && format != of_tell)
    return Error{Code::malformed, "dead letter of an unknown format"};
  DeadLetter letter;
  letter.event.id = read.id<OperationId>();
  letter.event.source = read.entity();
  letter.event.number = read.u64();
  letter.event.epoch = Epoch{read.u64()};
  letter.event.at_ms = read.i64();
  letter.event.name = read.text();
  letter.event.payload = read.text();
  letter.event.trace = read.text();
  letter.sequence = read.u64();
  letter.first_ms = read.i64();
  letter.parked_ms = read.i64();
  letter.attempts = read.u32();
  letter.why = read.text();
  if (format == of_tell) {
    letter.target = read.entity();
    if (letter.target.kind.empty())
      return Error{Code::malformed, "dead letter of a tell to nobody"};
  }
  if (!read.ok() || !read.at_end())
    return Error{Code::malformed, "dead letter cut short or too long"};
  return letter;
}

std::string letter_box(const std::string& subscription, const EntityId& source) {
  return subscription + ':' + source.kind + '/' + source.key;
}

}  // namespace catga
