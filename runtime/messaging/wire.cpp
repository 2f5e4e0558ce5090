#include "catga/runtime/messaging/wire.hpp"

#include "catga/sharding/bytes.hpp"

#include <algorithm>
#include <limits>

namespace catga::wire {

namespace {

constexpr std::uint8_t format = 1;
constexpr std::uint8_t code_ok = 255;
constexpr std::size_t path_max = 16;

// The two that every ask pays have their size measured first.
void append_record(std::string& out, std::uint8_t type, const Message& record) {
  ByteFiller fill(out, 1 + ByteFiller::size_of(record.body));
  fill.u8(type);
  fill.text(record.body);
}
void append_record(std::string& out, std::uint8_t type, const Reply& record) {
  constexpr std::size_t numbers = 8 + 1 + 4 + 4 + 8 + 16;
  const std::size_t length = numbers + ByteFiller::size_of(record.bytes);
  ByteFiller fill(out, 1 + 4 + length);
  fill.u8(type);
  fill.u32(static_cast<std::uint32_t>(length));
  fill.u64(record.correlation);
  fill.u8(record.ok ? code_ok : static_cast<std::uint8_t>(record.code));
  fill.u32(record.retry_after_ms);
  fill.text(record.bytes);
  fill.u32(record.shard.value);
  fill.u64(record.epoch.value);
  fill.id(record.owner);
}
void put(ByteWriter& write, const Owns& record) {
  write.u32(record.shard.value);
  write.u64(record.epoch.value);
  write.id(record.owner);
}
void put(ByteWriter& write, const Want& record) { write.u32(record.shard.value); }
void put(ByteWriter& write, const Offer& record) {
  write.u32(record.shard.value);
  write.u64(record.move);
  write.u64(record.epoch.value);
}
void put(ByteWriter& write, const Ready& record) {
  write.u32(record.shard.value);
  write.u64(record.move);
}
void put(ByteWriter& write, const Refuse& record) {
  write.u32(record.shard.value);
  write.u64(record.move);
  write.text(record.reason);
}
void put(ByteWriter& write, const Abort& record) {
  write.u32(record.shard.value);
  write.u64(record.move);
}
void put(ByteWriter& write, const Handover& record) {
  write.u32(record.shard.value);
  write.u64(record.epoch.value);
  write.u32(record.chunk);
  write.u8(static_cast<std::uint8_t>((record.last ? 1 : 0) | (record.quiet ? 2 : 0)));
  write.u32(static_cast<std::uint32_t>(record.envelopes.size()));
  for (const std::string_view envelope : record.envelopes) write.text(envelope);
}
void put(ByteWriter& write, const HandoverAck& record) {
  write.u32(record.shard.value);
  write.u64(record.epoch.value);
  write.u32(record.chunk);
}

Reply get_reply(ByteReader& read) {
  Reply record;
  record.correlation = read.u64();
  const std::uint8_t code = read.u8();
  record.ok = code == code_ok;
  if (!record.ok)
    record.code =
        code <= static_cast<std::uint8_t>(Code::not_found) ? static_cast<Code>(code) : Code::failed;
  record.retry_after_ms = read.u32();
  record.bytes = read.text();
  record.shard = ShardId{read.u32()};
  record.epoch = Epoch{read.u64()};
  record.owner = read.id<Incarnation>();
  return record;
}

Handover get_handover(ByteReader& read) {
  Handover record;
  record.shard = ShardId{read.u32()};
  record.epoch = Epoch{read.u64()};
  record.chunk = read.u32();
  const std::uint8_t flags = read.u8();
  record.last = (flags & 1) != 0;
  record.quiet = (flags & 2) != 0;
  const std::uint32_t envelopes = read.u32();
  // A count is only a claim: what is read is bounded by the bytes that are there.
  for (std::uint32_t i = 0; i < envelopes && read.ok(); ++i)
    record.envelopes.push_back(read.text());
  return record;
}

/// Number i + 1 on the wire is alternative i of Record: append new ones at its end only.
bool get(std::uint8_t type, ByteReader& read, std::string_view body, std::vector<Record>& out) {
  switch (type) {
    case 1:
      out.emplace_back(Message{body});
      return true;
    case 2:
      out.emplace_back(get_reply(read));
      break;
    case 3: {
      const ShardId shard{read.u32()};
      const Epoch epoch{read.u64()};
      out.emplace_back(Owns{shard, epoch, read.id<Incarnation>()});
      break;
    }
    case 4:
      out.emplace_back(Want{ShardId{read.u32()}});
      break;
    case 5: {
      const ShardId shard{read.u32()};
      const std::uint64_t move = read.u64();
      out.emplace_back(Offer{shard, move, Epoch{read.u64()}});
      break;
    }
    case 6: {
      const ShardId shard{read.u32()};
      out.emplace_back(Ready{shard, read.u64()});
      break;
    }
    case 7: {
      const ShardId shard{read.u32()};
      const std::uint64_t move = read.u64();
      out.emplace_back(Refuse{shard, move, read.text()});
      break;
    }
    case 8: {
      const ShardId shard{read.u32()};
      out.emplace_back(Abort{shard, read.u64()});
      break;
    }
    case 9:
      out.emplace_back(get_handover(read));
      break;
    case 10: {
      const ShardId shard{read.u32()};
      const Epoch epoch{read.u64()};
      out.emplace_back(HandoverAck{shard, epoch, read.u32()});
      break;
    }
    default:
      return true;
  }
  return read.ok();
}

}  // namespace

std::string header(Incarnation sender, ViewVersion version) {
  std::string out;
  ByteWriter write(out);
  write.u8('C');
  write.u8('g');
  write.u8(format);
  write.id(sender);
  write.u64(version.value);
  return out;
}

namespace {

/// Those of the shard protocol.
template <class Body>
void append_record(std::string& out, std::uint8_t type, const Body& body) {
  ByteWriter write(out);
  write.u8(type);
  const std::size_t length_at = out.size();
  write.u32(0);
  put(write, body);
  store_number(out.data() + length_at, out.size() - length_at - 4, 4);
}

}  // namespace

void append(std::string& out, const Record& record) {
  const auto type = static_cast<std::uint8_t>(record.index() + 1);
  std::visit([&out, type](const auto& body) { append_record(out, type, body); }, record);
}

Result<Batch> read(std::string_view bytes) {
  ByteReader read(bytes);
  if (read.u8() != 'C' || read.u8() != 'g') return Error{Code::malformed, "not a batch of Catga"};
  if (const std::uint8_t found = read.u8(); found != format) {
    return Error{Code::malformed,
                 "a batch of format " + std::to_string(found) + ", this node speaks 1"};
  }
  Batch batch;
  constexpr std::size_t usual_bytes = 64;  // of a record, at least
  batch.records.reserve(bytes.size() / usual_bytes);
  batch.sender = read.id<Incarnation>();
  batch.version = ViewVersion{read.u64()};
  while (read.ok() && !read.at_end()) {
    const std::uint8_t type = read.u8();
    const std::string_view body = read.text();
    if (!read.ok()) break;
    ByteReader inside(body);
    if (!get(type, inside, body, batch.records))
      return Error{Code::malformed, "a record of a batch is cut short"};
  }
  if (!read.ok()) return Error{Code::malformed, "a batch is cut short"};
  return batch;
}

namespace {

/// Behind the path, only of a step of a saga: 1 verb, 4 shard, 8 epoch.
constexpr std::size_t step_bytes = 1 + 4 + 8;

void put(ByteFiller& write, const SagaStep& step) {
  write.u8(static_cast<std::uint8_t>(step.verb));
  write.u32(step.shard.value);
  write.u64(step.epoch.value);
}

Status get(ByteReader& read, std::uint8_t verb, SagaStep& step) {
  if (verb == 0 || verb > static_cast<std::uint8_t>(SagaStep::Verb::forget))
    return Error{Code::malformed, "a step of a saga this version does not know"};
  step.verb = static_cast<SagaStep::Verb>(verb);
  step.shard = ShardId{read.u32()};
  step.epoch = Epoch{read.u64()};
  return Done{};
}

/// Behind that, only while somebody traces: 1 mark, 16 trace id, 8 span id, 1 flags.
constexpr std::uint8_t trace_mark = 0x80;
constexpr std::size_t trace_bytes = 1 + 16 + 8 + 1;

void put(ByteFiller& write, const TraceContext& trace) {
  write.u8(trace_mark);
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

/// What may stand behind the path.
Status get_options(ByteReader& read, Envelope& envelope) {
  if (!read.ok() || read.at_end()) return Done{};
  std::uint8_t first = read.u8();
  if (first != trace_mark && envelope.kind == MessageClass::ask) {
    CATGA_TRY(get(read, first, envelope.saga));
    if (!read.ok() || read.at_end()) return Done{};
    first = read.u8();
  }
  if (first != trace_mark) return Error{Code::malformed, "a message is too long"};
  envelope.trace = get_trace(read);
  if (!envelope.trace) return Error{Code::malformed, "a trace context without ids"};
  return Done{};
}

}  // namespace

namespace {

std::size_t encoded_size(const Envelope& envelope) {
  constexpr std::size_t numbers = 1 + 1 + 8 + 16 + 8 + 4 + 16 + 8 + 1;
  std::size_t size = numbers + ByteFiller::size_of(envelope.entity) +
                     ByteFiller::size_of(envelope.message) + ByteFiller::size_of(envelope.payload);
  for (const EntityId& entity : envelope.path) size += ByteFiller::size_of(entity);
  if (envelope.saga) size += step_bytes;
  if (envelope.trace) size += trace_bytes;
  return size;
}

}  // namespace

std::string encode(const Envelope& envelope, std::int64_t now_ms) {
  std::string out;
  ByteFiller write(out, encoded_size(envelope));
  write.u8(static_cast<std::uint8_t>(envelope.kind));
  write.u8(envelope.hops);
  write.u64(envelope.route_epoch.value);
  write.id(envelope.operation);
  write.i64(envelope.operation_ms);
  const std::int64_t left = std::clamp<std::int64_t>(envelope.deadline_ms - now_ms, 0,
                                                     std::numeric_limits<std::uint32_t>::max());
  write.u32(static_cast<std::uint32_t>(left));
  write.id(envelope.reply_to);
  write.u64(envelope.correlation);
  write.entity(envelope.entity);
  write.text(envelope.message);
  write.text(envelope.payload);
  write.u8(static_cast<std::uint8_t>(envelope.path.size()));
  for (const EntityId& entity : envelope.path) write.entity(entity);
  if (envelope.saga) put(write, envelope.saga);
  if (envelope.trace) put(write, envelope.trace);
  return out;
}

Result<Envelope> decode(std::string_view body, std::int64_t now_ms) {
  Result<Envelope> envelope = Envelope{};
  if (Status read = decode_into(*envelope, body, now_ms); !read) return read.error();
  return envelope;
}

Status decode_into(Envelope& envelope, std::string_view body, std::int64_t now_ms) {
  ByteReader read(body);
  const std::uint8_t kind = read.u8();
  if (kind > static_cast<std::uint8_t>(MessageClass::query))
    return Error{Code::malformed, "a message of an unknown class"};
  envelope.kind = static_cast<MessageClass>(kind);
  envelope.hops = read.u8();
  envelope.route_epoch = Epoch{read.u64()};
  envelope.operation = read.id<OperationId>();
  envelope.operation_ms = read.i64();
  envelope.deadline_ms = now_ms + read.u32();
  envelope.reply_to = read.id<Incarnation>();
  envelope.correlation = read.u64();
  envelope.entity.kind = read.text();
  envelope.entity.key = read.text();
  envelope.message = read.text();
  envelope.payload = read.text();
  const std::uint8_t path = read.u8();
  if (path > path_max) return Error{Code::malformed, "a path of more than 16 entities"};
  for (std::uint8_t i = 0; i < path && read.ok(); ++i) envelope.path.push_back(read.entity());
  if (Status known = get_options(read, envelope); !known) return known;
  if (!read.ok() || !read.at_end())
    return Error{Code::malformed, "a message is cut short or too long"};
  if (envelope.operation_ms < 0 || envelope.operation_ms >= time_end_ms) {
    return Error{Code::malformed,
                 "an operation of a time that cannot be: " + std::to_string(envelope.operation_ms)};
  }
  if (envelope.kind != MessageClass::query && !envelope.operation) {
    return Error{Code::malformed, "a command without an operation id"};
  }
  return Done{};
}

}  // namespace catga::wire
