// A program that calls entities and hosts none.
#pragma once
#include "catga/entities/ref.hpp"
#include "catga/runtime/config.hpp"
#include "catga/sharding/result.hpp"

#include <memory>
#include <string>
#include <utility>

namespace catga {

/// Knows the cluster's view and sends straight to owners, without being a member. Thread-safe after connect().
class Client {
 public:
  explicit Client(Config config);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

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
  /// The number of shards of the cluster; 0 before connect().
  std::uint32_t shards() const;

 private:
  Messenger& messenger();
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga
