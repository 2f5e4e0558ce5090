// What nodes send to each other's inboxes: one NATS message is a batch, a header and then records, field by field.
//
//   batch:  'C' 'g' format(1)  sender(16)  view version(8)  record*
//   record: type(1) length(4) body
//
// Numbers are little-endian, texts have a 4-byte length in front. A batch that is cut short, has an unknown format or
// a wrong length gives `malformed`; a record of an unknown type is skipped, so that newer nodes may say more.
#pragma once
#include "catga/runtime/envelope.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace catga::wire {

/// MSG: a message for an entity. `body` is the encoded envelope: a node that only sends it on does not look inside.
struct Message {
  std::string_view body;
};
/// REPLY, to the node that waits. With the route it came by, so that the next ask goes straight.
struct Reply {
  std::uint64_t correlation = 0;
  bool ok = false;
  Code code = Code::failed;
  std::uint32_t retry_after_ms = 0;
  std::string_view bytes;  ///< the encoded reply, or the error's words
  ShardId shard;
  Epoch epoch;
  Incarnation owner;
};
/// MOVED and OWN: who owns a shard now.
struct Owns {
  ShardId shard;
  Epoch epoch;
  Incarnation owner;
};
struct Want {
  ShardId shard;
};
struct Offer {
  ShardId shard;
  std::uint64_t move = 0;
  Epoch epoch;
};
struct Ready {
  ShardId shard;
  std::uint64_t move = 0;
};
struct Refuse {
  ShardId shard;
  std::uint64_t move = 0;
  std::string_view reason;
};
struct Abort {
  ShardId shard;
  std::uint64_t move = 0;
};
/// HANDOVER: a part of the queue of a shard that moved, in order.
struct Handover {
  ShardId shard;
  Epoch epoch;
  std::uint32_t chunk = 0;
  bool last = false;
  bool quiet = false;  ///< outbox and timers are empty: nothing to read before serving
  std::vector<std::string_view> envelopes;
};
struct HandoverAck {
  ShardId shard;
  Epoch epoch;
  std::uint32_t chunk = 0;
};
using Record =
    std::variant<Message, Reply, Owns, Want, Offer, Ready, Refuse, Abort, Handover, HandoverAck>;

constexpr std::size_t header_bytes = 27;

std::string header(Incarnation sender, ViewVersion version);
/// Appends one record.
void append(std::string& out, const Record& record);

struct Batch {
  Incarnation sender;
  ViewVersion version;
  std::vector<Record> records;  ///< views into the bytes that were read
};
/// Errors: malformed. Reads any bytes without harm.
Result<Batch> read(std::string_view bytes);

/// The body of a MSG, without `timer`, deadline as what is left of it at `now_ms`. Only a step of a saga has more than
/// the fields in front: nodes that do not know sagas drop it, as they must, and never run it as a plain command.
std::string encode(const Envelope& envelope, std::int64_t now_ms);
/// Errors: malformed.
Result<Envelope> decode(std::string_view body, std::int64_t now_ms);
/// The same into an envelope as it was made: one is large, and moving it costs a quarter of reading it. After an error it
/// holds rubbish.
Status decode_into(Envelope& envelope, std::string_view body, std::int64_t now_ms);

}  // namespace catga::wire
