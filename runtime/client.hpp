// A program that calls entities and hosts none.
#pragma once
#include "catga/entities/event.hpp"
#include "catga/entities/ref.hpp"
#include "catga/entities/saga/handle.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/sagas.hpp"
#include "catga/sharding/result.hpp"

#include <memory>
#include <string>
#include <utility>

namespace catga {

/// Knows the cluster's view and sends straight to owners, without being a member. May hear events too. Thread-safe after
/// connect(). Its asks and tells are traced as a node's are, where OpenTelemetry's variables say so.
class Client {
 public:
  explicit Client(Config config);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Declares that this program handles events of this type, as Node::subscribe does, in a group or as a broadcast: an
  /// ordered subscription lives on the shards of nodes, and connect() refuses it. A broadcast keeps its place under
  /// node.id, which must differ between the programs that share the name. Before connect(). Needs JetStream.
  template <class Event, class Handler>
  Client& subscribe(std::string name, Handler handler, SubscribeOptions options) {
    add_subscription(make_subscription<Event>(std::move(name), std::move(handler), options));
    return *this;
  }

  /// Connects to NATS and Redis and reads the view; tries for start.patience. The number of shards is the cluster's own,
  /// whatever cluster.shards says. Errors: unavailable (NATS, Redis or the cluster are not there), malformed (wrong
  /// password, a wrong clock).
  Status connect();
  /// Ends open asks (`unknown`, or `unavailable` if never sent) and closes.
  void close();

  /// Names an entity. Valid as long as this client.
  template <class Entity>
  Ref<Entity> ref(std::string key) {
    return Ref<Entity>(&messenger(), std::move(key));
  }
  /// Starts a saga, or finds the one that is there: then the input must be the same. Blocks until it is written. Errors:
  /// malformed (another input, or out of bounds), and those of an ask. Safe to repeat.
  template <class State>
  Result<SagaHandle<State>> start(const Saga<State>& saga, std::string id, const State& input) {
    Result<bool> started = detail::start_saga(&messenger(), saga.definition(), id, encode(input));
    if (!started) return std::move(started).error();
    return this->saga(saga, std::move(id));
  }
  /// Names a saga. Valid as long as this client.
  template <class State>
  SagaHandle<State> saga(const Saga<State>& saga, std::string id) {
    return SagaHandle<State>(&messenger(), saga, std::move(id));
  }
  /// For operators: lists, counts, journals, verbs. After connect().
  Sagas sagas();

  /// The number of shards of the cluster; 0 before connect().
  std::uint32_t shards() const;

 private:
  void add_subscription(Subscription subscription);
  Messenger& messenger();
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga
