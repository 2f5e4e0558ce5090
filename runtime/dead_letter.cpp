#include "catga/runtime/dead_letter.hpp"

#include "catga/sharding/bytes.hpp"

namespace catga {

namespace {
constexpr std::uint8_t format = 1;
}

std::string bytes_of(const DeadLetter& letter) {
  std::string out;
  ByteWriter write(out);
  write.u8(format);
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
  return out;
}

Result<DeadLetter> parse_dead_letter(std::string_view bytes) {
  ByteReader read(bytes);
  if (read.u8() != format) return Error{Code::malformed, "dead letter of an unknown format"};
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
  if (!read.ok() || !read.at_end())
    return Error{Code::malformed, "dead letter cut short or too long"};
  return letter;
}

std::string letter_box(const std::string& subscription, const EntityId& source) {
  return subscription + ':' + source.kind + '/' + source.key;
}

}  // namespace catga
