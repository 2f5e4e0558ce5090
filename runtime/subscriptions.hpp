// The subscriptions of a node: parts of ordered ones where their shards are served, the others everywhere.
#pragma once
#include "catga/runtime/event_world.hpp"
#include "catga/runtime/free_reader.hpp"
#include "catga/runtime/ordered_part.hpp"
#include "catga/runtime/tenants.hpp"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace catga {

/// The stream of a cluster's events, as its settings want it.
StreamOptions stream_options(const Config& config);

/// Names that are used twice, or cannot be part of a consumer's name. Errors: malformed.
Status check_subscriptions(const std::vector<Subscription>& subscriptions);

class Subscriptions final : public ShardTenants {
 public:
  struct Surroundings {
    const Config& config;
    NatsConnection& nats;
    Stores& stores;
    Messenger& messenger;
    NodeStanding& standing;
    Log& log;
    StreamOptions stream;
    std::string prefix;
    std::string process;
    Tracer* tracer = nullptr;          ///< null: nobody traces
    TrafficMetrics* counts = nullptr;  ///< null: nobody counts
  };
  /// All of it must outlive this object, and be there until close().
  Subscriptions(Surroundings around, std::vector<Subscription> subscriptions);
  ~Subscriptions() override;
  /// Begins to read what has no order. The node is UP.
  void start();
  /// NATS is connected again.
  void reconnected();
  void close();

  void serves(ShardId shard, OwnerToken token) override;
  void leaves(ShardId shard) override;

 private:
  using Place = std::pair<std::size_t, std::uint32_t>;  // subscription, part
  struct Part {
    OwnerToken token;
    std::shared_ptr<OrderedPart> reader;
    std::int64_t over_since = 0;
  };
  void open(Place place, ShardId shard, OwnerToken token);
  void tick();

  const std::vector<Subscription> subscriptions_;
  std::multimap<ShardId, Place> homes_;  ///< which parts live on which shard
  std::map<Place, Part> parts_;          ///< on the loop
  std::vector<std::shared_ptr<FreeReader>> free_;
  bool closed_ = false;   ///< on the loop
  bool closing_ = false;  ///< of whoever closes
  EventWorld world_;      ///< last: its threads use all of this
};

}  // namespace catga
