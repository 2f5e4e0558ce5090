// What all actors of one node share: settings, stores, the way out, and a few counters. Outlives them.
#pragma once
#include "catga/entities/kind.hpp"
#include "catga/runtime/activation.hpp"
#include "catga/runtime/actors/doorway.hpp"
#include "catga/runtime/actors/saga_slots.hpp"
#include "catga/runtime/actors/turn_watch.hpp"
#include "catga/runtime/admin/history.hpp"
#include "catga/runtime/admission.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/messaging/publisher.hpp"
#include "catga/runtime/messaging/router.hpp"
#include "catga/runtime/relay.hpp"
#include "catga/runtime/saga_figures.hpp"
#include "catga/runtime/saga_machine.hpp"
#include "catga/runtime/standing.hpp"
#include "catga/runtime/telemetry/log.hpp"
#include "catga/runtime/telemetry/node_metrics.hpp"
#include "catga/runtime/telemetry/primary_audit.hpp"
#include "catga/runtime/telemetry/series.hpp"
#include "catga/runtime/telemetry/tracer.hpp"
#include "catga/runtime/tenants.hpp"
#include "catga/sharding/ownership.hpp"
#include "catga/sharding/rebalance.hpp"

#include <caf/actor.hpp>
#include <caf/fwd.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace catga::actors {

/// What nodes were called, the ended ones too: logs speak of them after they have left the view. Thread-safe.
class NodeNames {
 public:
  void learn(const MembershipView& view) {
    const std::lock_guard guard(lock_);
    if (names_.size() > 10'000) names_.clear();  // a name costs a line in a log at most
    for (const Member& member : view.members) names_[member.incarnation] = member.name;
  }
  /// The incarnation as text if the name was never heard.
  std::string of(Incarnation node) const {
    const std::lock_guard guard(lock_);
    const auto known = names_.find(node);
    return known == names_.end() ? text_of(node) : known->second;
  }

 private:
  mutable std::mutex lock_;
  std::unordered_map<Incarnation, std::string> names_;
};

/// Shards on their way to one node: few enough for a short pause of each, enough to fill the trips.
inline constexpr std::uint32_t arriving_most = 96;

struct Host {
  const Config& config;
  ActivationLimits limits;
  ShardTimes times;
  std::map<std::string, Kind, std::less<>> kinds;
  Stores& stores;
  Router& router;
  Carrier* carrier;  ///< null in embedded mode
  NodeStanding& standing;
  Log& log;
  TurnWatch& watch;
  std::string node_id;
  caf::scheduler::abstract_coordinator& scheduler;  ///< runs the entities
  std::function<void(ViewVersion)> newer_view;  ///< somebody knows a view of this version: read it

  caf::actor node;
  /// The actor of a shard; another one after a restart, none before the first. Any thread.
  caf::actor shard(ShardId id) const {
    return id.value < doors.size() ? doors[id.value]->actor() : caf::actor{};
  }
  /// To the entity, or to the actor of its shard; refused while this node has too much to do. Any thread.
  void deliver(ShardId shard, Envelope&& envelope) {
    if (admits(envelope)) doors[shard.value]->deliver(std::move(envelope));
  }
  /// False: the message was refused. Asks of running turns end what was begun, and are let in.
  bool admits(const Envelope& envelope);
  /// Every few ms, by one thread. False: nothing waits.
  bool look_at_load(const Backlog& workers);
  /// They and their actors hold each other; the last thing a node does.
  void forget_actors() {
    for (const std::unique_ptr<Doorway>& door : doors) door->lead_to({});
    node = nullptr;
  }

  NodeNames names;
  /// An offer has come; true: it goes to its shard now. Any thread.
  bool may_arrive(const Intake::Offer& offer) {
    const std::lock_guard guard(intake_lock);
    return intake.offered(offer);
  }
  /// The shard is not on its way any more: others may come. Any thread.
  void has_arrived(ShardId shard);
  std::mutex intake_lock{};
  Intake intake{std::min(config.rebalance.in_flight, arriving_most), times.ready};
  std::atomic<std::uint32_t> incoming{0};        ///< shards on their way in
  std::atomic<std::uint32_t> held{0};            ///< shards owned or claimed, in any state
  std::atomic<std::uint32_t> serving{0};         ///< shards in OWNED, their queues running
  std::atomic<std::uint64_t> buffered_bytes{0};  ///< in the queues of shards that move
  std::atomic<std::uint64_t> forwarded{0};       ///< messages sent on to other nodes
  std::atomic<std::uint32_t> active{0};          ///< entities in memory
  std::atomic<std::uint32_t> answering{0};       ///< commits whose answers wait for a worker
  /// How often Redis changed its primary, or lost its last writes, that we know of. Counted before
  /// any request runs at the new one: a shard that sees it grow takes everything anew first.
  std::atomic<std::uint64_t> primary_changes{0};
  PrimaryAudit audit{};  ///< of the last of them
  Admission admission{};
  /// How long what comes now would wait, if that is too long; else 0.
  std::atomic<std::int64_t> queries_wait_ms{0}, commands_wait_ms{0};
  std::atomic<std::uint64_t> refused{0};  ///< messages, because of that
  std::atomic<std::int64_t> store_refused_said_ms{
      0};  ///< boot_ms() when the log last said that Redis refused something
  ShardTenants* tenants = nullptr;      ///< set before the first actor; null: there are none
  EventPublisher* publisher = nullptr;  ///< set before the first actor; null: events go nowhere

  Tracer* tracer = nullptr;  ///< set before the first actor; null: nobody traces

  SagaDefinitions sagas{};  ///< set before any shard is served
  SagaMachineLimits saga_limits{};
  SagaCounters saga_counters{};
  SagaSlots saga_slots{};
  std::atomic<std::uint32_t> sagas_in_memory{0};
  /// No new ones then, and those that only wait leave at once.
  bool too_many_sagas() const {
    return sagas_in_memory.load(std::memory_order_relaxed) >= config.saga.max_active;
  }

  admin::History history{};  ///< of shards that moved, for operators

  NodeMetrics metrics{plan_series(config.metrics.max_series, kinds).kinds, config.cluster.shards};
  std::atomic<std::int64_t> ticked_ms{boot_ms()},
      looked_ms{boot_ms()};  ///< signs of life: actors, clock

  const std::vector<std::unique_ptr<Doorway>> doors = doors_of_all_shards();  ///< by shard

  // Of the thread that looks at the load: the overload being told.
  void tell_overload(std::int64_t wait_ms);
  std::uint64_t refused_told = 0, refused_before = 0;
  std::int64_t overload_since = 0, refused_at = 0;

 private:
  std::vector<std::unique_ptr<Doorway>> doors_of_all_shards() const {
    std::vector<std::unique_ptr<Doorway>> all;
    for (std::uint32_t i = 0; i < config.cluster.shards; ++i)
      all.push_back(std::make_unique<Doorway>(standing, primary_changes, config.entity.mailbox));
    return all;
  }
};

/// What a shard shares with its entities without messages: whether turns may start, and the relay.
struct ShardGate {
  std::atomic<bool> open{false};
  std::atomic<std::uint64_t> life{0};  ///< NodeStanding::life in which it was opened
  std::mutex relay_lock;
  Relay relay;
  std::mutex sources_lock;
  std::unordered_map<ShardId, Epoch>
      sources;  ///< below these, steps of that shard's sagas are refused
};

/// What the shard knows of an entity's mailbox and use, to bound the one and to end the other.
struct Gauge {
  std::atomic<std::uint64_t> handled{
      0};  ///< messages that left the mailbox and the activation's queue
  std::atomic<std::int64_t> last_used_ms{0};
};

}  // namespace catga::actors
