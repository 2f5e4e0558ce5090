// A running node: hosts entities, calls others, joins the cluster, leaves it in order.
#pragma once
#include "catga/entities/entity.hpp"
#include "catga/entities/event.hpp"
#include "catga/entities/kind.hpp"
#include "catga/entities/ref.hpp"
#include "catga/entities/saga/handle.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/saga_figures.hpp"
#include "catga/runtime/sagas.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace catga {

/// Numbers of a node, for tests and logs; a snapshot.
struct NodeFigures {
  std::uint32_t shards_held = 0;     ///< owned or being claimed
  std::uint32_t shards_serving = 0;  ///< their queues run
  std::uint32_t shards_wanted = 0;   ///< that placement gives this node
  std::uint32_t entities = 0;        ///< in memory
  std::uint64_t view_version = 0;
  std::uint32_t members_up = 0;
  int health_port = 0, admin_port = 0;  ///< of the listeners; 0: not open
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

  /// Declares that this node runs sagas of this definition; several versions of one type may be hosted side by side.
  /// Before start(), which refuses what the compiler cannot see: names used twice, an undo behind the pivot, retries
  /// longer than participants remember. All nodes of a cluster should host the same.
  template <class State>
  Node& host(const Saga<State>& saga) {
    add_saga(saga.shared());
    return *this;
  }

  /// Declares that this node handles events of this type; all nodes that do so under one name share the work, as
  /// `options.spread` says. The name is remembered for ever: under it the subscription goes on where it was, under
  /// another one it begins anew, and may replay (`options.from`). `handler` takes (const Event&) or (const Event&, const
  /// catga::EventInfo&); what it may return, and how often it runs, is said in entities/event.hpp. It runs on threads of
  /// its own (events.handlers), several at a time. Before start(). Needs a NATS server with JetStream.
  template <class Event, class Handler>
  Node& subscribe(std::string name, Handler handler, SubscribeOptions options = {}) {
    add_subscription(make_subscription<Event>(std::move(name), std::move(handler), options));
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

  /// Events that a subscription could not handle, source by source. Of a broadcast each node has its own: `<name>-<node>`
  /// names them. These four ask the nodes that read the subscription, this one or others, and block, up to 10 s. Errors:
  /// unavailable (nobody reads it, or a part of it, now).
  Result<std::vector<ParkedEvents>> parked(const std::string& subscription);
  /// The first 100 of one source, the one that failed first.
  Result<std::vector<DeadEvent>> show_parked(const std::string& subscription,
                                             const EntityId& source);
  /// Handles them in order, until one fails (failed, with the reason) or none is left: then, of an ordered subscription,
  /// the source's events flow again. Returns how many were handled.
  Result<std::uint64_t> retry_parked(const std::string& subscription, const EntityId& source);
  /// Throws the first one away, for ever; the others stay parked until they are retried. Returns how many are left.
  Result<std::uint64_t> discard_parked(const std::string& subscription, const EntityId& source);

  /// Names an entity. Valid as long as this node.
  template <class Entity>
  Ref<Entity> ref(std::string key) {
    return Ref<Entity>(&messenger(), std::move(key));
  }

  /// Starts a saga, or finds the one that is there: then the input must be the same. Blocks until it is written;
  /// inside a turn use turn.start. Errors: malformed (another input, or out of bounds), and those of an ask. Safe to
  /// repeat.
  template <class State>
  Result<SagaHandle<State>> start(const Saga<State>& saga, std::string id, const State& input) {
    Result<bool> started = detail::start_saga(&messenger(), saga.definition(), id, encode(input));
    if (!started) return std::move(started).error();
    return this->saga(saga, std::move(id));
  }
  /// Names a saga. Valid as long as this node.
  template <class State>
  SagaHandle<State> saga(const Saga<State>& saga, std::string id) {
    return SagaHandle<State>(&messenger(), saga, std::move(id));
  }
  /// For operators: lists, counts, journals, verbs. After start().
  Sagas sagas();

  NodeFigures figures() const;
  /// What this node counts about sagas.
  SagaFigures saga_figures() const;
  const Config& config() const;

 private:
  friend struct NodeSeams;  // of tests
  void add_kind(Kind kind);
  void add_saga(std::shared_ptr<const SagaDefinition> saga);
  void add_subscription(Subscription subscription);
  Messenger& messenger();
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga
