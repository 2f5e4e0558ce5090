#include "catga/runtime/outbox_entry.hpp"

#include "catga/sharding/bytes.hpp"

namespace catga {

namespace {
constexpr std::uint8_t tell_format = 1;
constexpr std::uint8_t timer_format = 1;
}  // namespace

std::string bytes_of(const PendingTell& tell) {
  std::string out;
  out.reserve(96 + tell.payload.size());
  ByteWriter write(out);
  write.u8(tell_format);
  write.entity(tell.source);
  write.entity(tell.target);
  write.id(tell.operation);
  write.i64(tell.at_ms);
  write.text(tell.message);
  write.text(tell.payload);
  return out;
}

Result<PendingTell> parse_tell(std::string_view bytes) {
  ByteReader read(bytes);
  if (read.u8() != tell_format) return Error{Code::malformed, "outbox entry of an unknown format"};
  PendingTell tell;
  tell.source = read.entity();
  tell.target = read.entity();
  tell.operation = read.id<OperationId>();
  tell.at_ms = read.i64();
  tell.message = read.text();
  tell.payload = read.text();
  if (!read.ok() || !read.at_end())
    return Error{Code::malformed, "outbox entry cut short or too long"};
  if (tell.at_ms < 0 || tell.at_ms >= time_end_ms) {
    return Error{Code::malformed,
                 "outbox entry of a time that cannot be: " + std::to_string(tell.at_ms)};
  }
  return tell;
}

std::string bytes_of(const TimerMessage& timer) {
  std::string out;
  ByteWriter write(out);
  write.u8(timer_format);
  write.text(timer.message);
  write.text(timer.payload);
  return out;
}

Result<TimerMessage> parse_timer_message(std::string_view bytes) {
  ByteReader read(bytes);
  if (read.u8() != timer_format)
    return Error{Code::malformed, "timer message of an unknown format"};
  TimerMessage timer;
  timer.message = read.text();
  timer.payload = read.text();
  if (!read.ok() || !read.at_end())
    return Error{Code::malformed, "timer message cut short or too long"};
  return timer;
}

std::string timer_member(const EntityId& entity, std::string_view name) {
  return "e|" + text_of(entity) + '|' + std::string(name);
}

Result<EntityId> entity_of_timer(std::string_view member) {
  const auto slash = member.find('/');
  const auto bar = member.rfind('|');
  if (!member.starts_with("e|") || slash == member.npos || bar <= slash) {
    return Error{Code::malformed, "a timer that belongs to no entity: " + std::string(member)};
  }
  return EntityId{std::string(member.substr(2, slash - 2)),
                  std::string(member.substr(slash + 1, bar - slash - 1))};
}

}  // namespace catga
