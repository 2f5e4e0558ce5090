// A message on its way to an entity, as it stands in a shard's queue, an entity's mailbox and a hand-over.
#pragma once
#include "catga/entities/messenger.hpp"
#include "catga/entities/trace.hpp"
#include "catga/runtime/outbox_entry.hpp"
#include "catga/sharding/ids.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace catga {

enum class MessageClass : std::uint8_t {
  ask,    ///< a command with a reply
  tell,   ///< a command nobody waits for, at most once
  query,  ///< changes nothing, no operation id
  timer,  ///< set by an earlier turn of the same entity; made by the shard's owner, never on the wire
};

struct Envelope {
  MessageClass kind = MessageClass::ask;
  EntityId entity;
  std::string message;
  std::string payload;
  OperationId operation;
  std::int64_t operation_ms = 0;  ///< when the caller could first have sent it; cluster time
  std::int64_t deadline_ms = 0;   ///< boot_ms() of this machine; on the wire: what is left
  std::vector<EntityId> path;     ///< the entities waiting for this ask, outermost first
  Epoch route_epoch;              ///< of the route it came by
  std::uint8_t hops = 0;
  Incarnation reply_to;            ///< whose inbox takes the answer; none: nobody waits
  std::uint64_t correlation = 0;   ///< the caller's number for this ask
  std::string timer;               ///< member name in the timer table, with kind timer
  Repeat repeat;                   ///< with kind timer: it fires again
  SagaStep saga;                   ///< with kind ask: a step of a saga
  TraceContext trace;              ///< of its sender; at its entity, of its own turn
  std::uint64_t delayed_by = 0;    ///< it waited while its shard moved in this rebalance; not sent
  std::int64_t arrived_ns = 0;     ///< at this owner, boot_ns(), for metrics; 0: not known
  std::uint16_t handler = 0xffff;  ///< number of the message in its kind, once it was looked up

  /// What it costs to hold it, roughly.
  std::size_t bytes() const { return 160 + entity.key.size() + message.size() + payload.size(); }
};

}  // namespace catga
