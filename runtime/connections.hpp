// What a node and a calling program have in common: stores, NATS, lanes, router, clock, and the inbox that feeds them.
#pragma once
#include "catga/persistence/redis/redis_stores.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/messaging/lanes.hpp"
#include "catga/runtime/messaging/nats.hpp"
#include "catga/runtime/messaging/router.hpp"
#include "catga/runtime/standing.hpp"
#include "catga/runtime/telemetry/log.hpp"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace catga {

/// The Messenger that references hold: there before the connections are, and after.
class FrontDoor final : public Messenger {
 public:
  void ask(Ask ask, Answered answered) override;
  Status tell(Ask tell) override;
  /// The router behind the door, or null. Waits until nobody is inside the old one.
  void lead_to(Messenger* messenger);

 private:
  std::mutex lock_;
  std::condition_variable left_;
  Messenger* behind_ = nullptr;
  unsigned inside_ = 0;
};

/// Redis settings of a config. Errors: malformed, when the URL cannot be read.
Result<RedisOptions> redis_options(const Config& config);

/// Tries `attempt` until it works, fails for good (any code but unavailable and timeout), `patience` is over, or `stopping` is set.
/// Says in the log what it waits for, once and then every 10 s.
Status insist(Log& log, const std::string& what, std::chrono::milliseconds patience,
              const std::atomic<bool>& stopping, const std::function<Status()>& attempt);

/// What arrives at this process's inboxes, record by record. Called on NATS's threads: post and return.
struct InboxListener {
  std::function<void(Incarnation sender, ViewVersion version)> on_batch;
  std::function<void(ViewVersion seen, std::vector<Envelope> envelopes)>
      on_messages;  ///< for entities
  std::function<void(Incarnation sender, const wire::Record& record)>
      on_record;                                    ///< of the shard protocol
  std::function<void(Incarnation node)> on_nobody;  ///< that node's inbox has no listener
};

/// Opened once, closed once.
/// Of URLs no more than hosts and ports, with commas: for the log.
std::string addresses_in(const std::vector<std::string>& urls);

class Connections {
 public:
  Connections(const Config& config, Log& log, Incarnation process);
  ~Connections();

  /// Connects NATS, subscribes the process's inbox, starts lanes, router and clock. Errors: as connect() in nats.hpp.
  /// The stores are there already; the router keeps references to what it is given.
  /// `counts`: of what is sent; outlives the connections; null: nobody counts.
  Status open_nats(NodeStanding& standing, std::function<void(bool up)> on_link,
                   TrafficMetrics* counts = nullptr);
  /// `on_clock`: called every 10 ms by the thread that repeats asks; every 50 ms while no ask is open
  /// and it says that it has nothing to do either (false).
  void open_router(NodeStanding& standing, OwnerStore& owners, std::uint32_t shards,
                   std::function<bool()> on_clock = {});
  /// Begins to hear. After the listener's targets exist.
  Status listen(InboxListener listener);
  /// Until the server knows all subscriptions. `unavailable`: it is away; they are made again with the connection.
  Status reach_server();
  /// Hears messages to one more incarnation of this node.
  Status subscribe_inbox(Incarnation incarnation);
  void close();

  NatsConnection& nats() { return nats_; }
  Lanes* lanes() { return lanes_.get(); }
  Router* router() { return router_.get(); }
  const std::string& prefix() const { return prefix_; }
  Incarnation process() const { return process_; }
  /// The incarnation that batches carry as their sender.
  void speak_as(Incarnation self);

 private:
  void heard(const NatsMessage& message);
  void take(const wire::Batch& batch);
  void complain(const std::string& what);

  const Config& config_;
  Log& log_;
  const Incarnation process_;
  const std::string prefix_;
  NodeStanding* standing_ = nullptr;
  TrafficMetrics* counts_ = nullptr;
  NatsConnection nats_;
  std::unique_ptr<Lanes> lanes_;
  std::unique_ptr<Router> router_;
  InboxListener listener_;
  std::mutex lock_;
  Incarnation self_;
  std::vector<NatsSubscription> subscriptions_;
  std::atomic<std::int64_t> complained_at_{0};
  std::atomic<std::uint64_t> complaints_{0};
  std::atomic<std::int64_t> lost_at_{0};  ///< boot_ms()
  std::thread clock_;
  std::atomic<bool> stopping_{false};
};

}  // namespace catga
