// A running node: hosts entities, calls others, joins the cluster, leaves it in order.
#pragma once
#include "catga/entities/entity.hpp"
#include "catga/entities/kind.hpp"
#include "catga/entities/ref.hpp"
#include "catga/runtime/config.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace catga {

/// Numbers of a node, for tests and logs; a snapshot.
struct NodeFigures {
  std::uint32_t shards_held = 0;     ///< owned or being claimed
  std::uint32_t shards_serving = 0;  ///< their queues run
  std::uint32_t shards_wanted = 0;   ///< that placement gives this node
  std::uint32_t entities = 0;        ///< in memory
  std::uint64_t view_version = 0;
  std::uint32_t members_up = 0;
};

/// One per process as a rule; several are fine (tests). host() all kinds, then start() or run(). Thread-safe otherwise.
class Node {
 public:
  /// Stores the settings; nothing starts.
  explicit Node(Config config);
  /// Stops without handing over if stop() was not called.
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Declares that this node runs entities of this class. Before start(). Mistakes in the class are compile errors.
  template <class Entity>
  Node& host() {
    add_kind(kind_of<Entity>());
    return *this;
  }

  /// Connects and joins; returns when this node is UP and serves its shards (or 10 s later, if some wait for others).
  /// NATS and Redis that are absent are tried for start.patience, and said so in the log. Errors: unavailable (not
  /// reachable in time), malformed (another cluster's keys, another shard count, the name in use, a wrong clock, ...).
  Status start();
  /// Hands all shards over, leaves the view, closes. `patience` 0: drain.timeout. Errors: timeout (what was left was
  /// released: others claim it at once). After it only destruction is allowed.
  Status stop(std::chrono::milliseconds patience = {});
  /// For main: start(), then until SIGTERM or SIGINT, then stop(). A second signal ends the process at once. Returns the
  /// exit code: 0 done, 69 NATS or Redis not reachable, 75 stopped before the drain was finished, 78 configuration wrong.
  int run();

  /// Names an entity. Valid as long as this node.
  template <class Entity>
  Ref<Entity> ref(std::string key) {
    return Ref<Entity>(&messenger(), std::move(key));
  }

  NodeFigures figures() const;
  const Config& config() const;

 private:
  void add_kind(Kind kind);
  Messenger& messenger();
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga
