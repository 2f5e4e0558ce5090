#include "catga/runtime/outbox_entry.hpp"

#include "catga/sharding/bytes.hpp"

#include <algorithm>

namespace catga {

namespace {
constexpr std::uint8_t tell_format = 1;
constexpr std::uint8_t event_format = 2;  // in the outbox beside tells
constexpr std::uint8_t traced_tell_format = 3;
constexpr std::uint8_t timer_format = 1, repeated_format = 2;
constexpr std::uint8_t traced_timer_format = 3, traced_repeated_format = 4;
constexpr std::int64_t missed_most = 100;

/// Behind all the rest: 16 bytes of the trace, 8 of the span, 1 of flags.
void put(ByteWriter& write, const TraceContext& trace) {
  write.u64(trace.trace_high);
  write.u64(trace.trace_low);
  write.u64(trace.span);
  write.u8(trace.flags);
}

TraceContext get_trace(ByteReader& read) {
  TraceContext trace;
  trace.trace_high = read.u64();
  trace.trace_low = read.u64();
  trace.span = read.u64();
  trace.flags = read.u8();
  return trace;
}
}  // namespace

std::string bytes_of(const PendingTell& tell) {
  std::string out;
  out.reserve(96 + tell.payload.size());
  ByteWriter write(out);
  write.u8(tell.trace ? traced_tell_format : tell_format);
  write.entity(tell.source);
  write.entity(tell.target);
  write.id(tell.operation);
  write.i64(tell.at_ms);
  write.text(tell.message);
  write.text(tell.payload);
  if (tell.trace) put(write, tell.trace);
  return out;
}

Result<PendingTell> parse_tell(std::string_view bytes) {
  ByteReader read(bytes);
  const std::uint8_t format = read.u8();
  if (format != tell_format && format != traced_tell_format)
    return Error{Code::malformed, "outbox entry of an unknown format"};
  PendingTell tell;
  tell.source = read.entity();
  tell.target = read.entity();
  tell.operation = read.id<OperationId>();
  tell.at_ms = read.i64();
  tell.message = read.text();
  tell.payload = read.text();
  if (format == traced_tell_format) tell.trace = get_trace(read);
  if (!read.ok() || !read.at_end())
    return Error{Code::malformed, "outbox entry cut short or too long"};
  if (format == traced_tell_format && !tell.trace)
    return Error{Code::malformed, "outbox entry with a trace context without ids"};
  if (tell.at_ms < 0 || tell.at_ms >= time_end_ms) {
    return Error{Code::malformed,
                 "outbox entry of a time that cannot be: " + std::to_string(tell.at_ms)};
  }
  return tell;
}

std::string bytes_of(const PendingEvent& event) {
  std::string out;
  out.reserve(112 + event.payload.size());
  ByteWriter write(out);
  write.u8(event_format);
  write.entity(event.source);
  write.id(event.id);
  write.u64(event.number);
  write.u64(event.epoch.value);
  write.i64(event.at_ms);
  write.text(event.name);
  write.text(event.payload);
  write.text(event.trace);
  return out;
}

Result<PendingEvent> parse_event(std::string_view bytes) {
  ByteReader read(bytes);
  if (read.u8() != event_format) return Error{Code::malformed, "outbox entry of an unknown format"};
  PendingEvent event;
  event.source = read.entity();
  event.id = read.id<OperationId>();
  event.number = read.u64();
  event.epoch = Epoch{read.u64()};
  event.at_ms = read.i64();
  event.name = read.text();
  event.payload = read.text();
  event.trace = read.text();
  if (!read.ok() || !read.at_end())
    return Error{Code::malformed, "outbox entry cut short or too long"};
  if (event.at_ms < 0 || event.at_ms >= time_end_ms) {
    return Error{Code::malformed,
                 "outbox entry of a time that cannot be: " + std::to_string(event.at_ms)};
  }
  return event;
}

bool is_event(std::string_view entry) { return !entry.empty() && entry.front() == event_format; }

std::string bytes_of(const TimerMessage& timer) {
  std::string out;
  ByteWriter write(out);
  if (timer.trace)
    write.u8(timer.repeat ? traced_repeated_format : traced_timer_format);
  else
    write.u8(timer.repeat ? repeated_format : timer_format);
  write.text(timer.message);
  write.text(timer.payload);
  if (timer.repeat) {
    write.i64(timer.repeat.period_ms);
    write.u8(static_cast<std::uint8_t>(timer.repeat.missed));
  }
  if (timer.trace) put(write, timer.trace);
  return out;
}

Result<TimerMessage> parse_timer_message(std::string_view bytes) {
  ByteReader read(bytes);
  const std::uint8_t format = read.u8();
  const bool traced = format == traced_timer_format || format == traced_repeated_format;
  const bool repeated = format == repeated_format || format == traced_repeated_format;
  if (format != timer_format && !traced && !repeated)
    return Error{Code::malformed, "timer message of an unknown format"};
  TimerMessage timer;
  timer.message = read.text();
  timer.payload = read.text();
  if (repeated) {
    timer.repeat.period_ms = read.i64();
    const std::uint8_t missed = read.u8();
    timer.repeat.missed = static_cast<Missed>(missed);
    if (missed > static_cast<std::uint8_t>(Missed::all) || timer.repeat.period_ms <= 0 ||
        timer.repeat.period_ms >= time_end_ms)
      return Error{Code::malformed, "a timer that repeats in a way this version does not know"};
  }
  if (traced) timer.trace = get_trace(read);
  if (!read.ok() || !read.at_end())
    return Error{Code::malformed, "timer message cut short or too long"};
  if (traced && !timer.trace)
    return Error{Code::malformed, "timer message with a trace context without ids"};
  return timer;
}

std::int64_t next_due(std::int64_t due_ms, const Repeat& repeat, std::int64_t now_ms) {
  const std::int64_t period = repeat.period_ms;
  const std::int64_t over = now_ms > due_ms ? (now_ms - due_ms) / period : 0;  // ticks due since
  const std::int64_t skipped =
      repeat.missed == Missed::once ? over : std::max<std::int64_t>(over - missed_most, 0);
  return due_ms + (skipped + 1) * period;
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
