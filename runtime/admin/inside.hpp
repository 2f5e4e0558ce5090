// What an operator's question needs to see of its node, and the few things it may make the node do.
#pragma once
#include "catga/runtime/admin/history.hpp"
#include "catga/runtime/messaging/routes.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace catga::admin {

/// The node as a whole; a snapshot.
struct NodeLook {
  std::uint32_t held = 0, serving = 0, incoming = 0;  ///< shards
  std::uint32_t entities = 0;                         ///< in memory
  double messages_per_s = 0;                          ///< given to entities, over the last seconds
  std::uint64_t queued_bytes = 0;                     ///< waiting for shards that move
  std::uint64_t pending_asks = 0;                     ///< of this process, without an answer yet
  std::int64_t uptime_s = 0;
  std::uint64_t memory_bytes = 0;  ///< resident
  bool session = false;            ///< Redis has renewed this node's session in time
};

/// A shard that this node holds, takes or sends messages on for.
struct ShardLook {
  std::uint32_t id = 0;
  std::string_view state;  ///< claiming, incoming, owned, suspended, draining, in_doubt, forwarding
  Epoch epoch;
  std::uint32_t entities = 0;
  std::uint32_t held = 0;  ///< messages that wait for it
  double messages_per_s = 0;
};

struct EntityLook {
  EntityId id;
  std::uint32_t shard = 0;
  std::uint64_t waiting = 0;   ///< messages in its mailbox
  std::uint64_t messages = 0;  ///< it was given since it came into memory
  std::int64_t idle_ms = 0;
  bool leaving = false;  ///< its shard moves
};

/// Thread-safe; no call waits for anything but short locks.
class Inside {
 public:
  virtual ~Inside() = default;
  virtual std::string node_id() const = 0;
  virtual Incarnation self() const = 0;
  /// Null before the first view.
  virtual std::shared_ptr<const Standing> standing() const = 0;
  virtual NodeLook look() = 0;
  /// Those of [first, first + count) this node has something to do with.
  virtual std::vector<ShardLook> shards(std::uint32_t first, std::uint32_t count) = 0;
  /// Some of those in memory, at most `most`. `kind` empty: of all kinds.
  virtual std::vector<EntityLook> entities(const std::string& kind, std::size_t most) = 0;
  /// How many of each kind are in memory.
  virtual std::vector<std::pair<std::string, std::uint64_t>> entities_by_kind() = 0;
  virtual std::optional<EntityLook> entity(const EntityId& id) = 0;
  /// The busiest shards, and the entities with the most messages in them.
  virtual std::vector<ShardLook> hot_shards(std::size_t most) = 0;
  virtual std::vector<EntityLook> hot_entities(std::size_t most) = 0;
  virtual const History& history() const = 0;

  /// False: it is not in memory here, or something waits for it.
  virtual bool passivate(const EntityId& id) = 0;
  /// Samples every turn of it for so long, in memory or not. False: this node sends no traces.
  virtual bool trace(const EntityId& id, std::chrono::seconds how_long) = 0;
  /// Leaves the ring, gives all shards away and stays up; only a new process comes back. Errors: rejected.
  virtual Status drain() = 0;
};

}  // namespace catga::admin
