#include "catga/runtime/client.hpp"

#include "catga/entities/operation.hpp"
#include "catga/persistence/named_thread.hpp"
#include "catga/runtime/cluster/membership_wire.hpp"
#include "catga/runtime/connections.hpp"
#include "catga/runtime/subscriptions.hpp"
#include "catga/runtime/telemetry/exporter.hpp"
#include "catga/runtime/telemetry/resource.hpp"
#include "catga/runtime/telemetry/tracer.hpp"

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

namespace catga {

namespace {

constexpr std::chrono::milliseconds view_every{1000};          // should a VIEW be lost
constexpr std::chrono::milliseconds telemetry_patience{2000};  // for what waits at the end

std::int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// S in "catga1;S=1024;...".
Result<std::uint64_t> shards_in(std::string_view fingerprint) {
  const auto at = fingerprint.find(";S=");
  if (at == fingerprint.npos)
    return Error{Code::malformed, "the cluster's record names no shard count"};
  const std::string_view rest = fingerprint.substr(at + 3);
  return parse_number(rest.substr(0, rest.find(';')));
}

template <class Value>
Result<Value> wait_for(const std::function<void(Then<Value>)>& call) {
  auto promise = std::make_shared<std::promise<Result<Value>>>();
  std::future<Result<Value>> answer = promise->get_future();
  call([promise](Result<Value> result) { promise->set_value(std::move(result)); });
  return answer.get();
}

}  // namespace

struct Client::Private {
  explicit Private(Config settings)
      : config(std::move(settings)), log(config.log, config.cluster.name, config.node.id) {}

  Config config;
  std::unique_ptr<Exporter> exporter;  ///< these two are there while telemetry is exported
  std::unique_ptr<Tracer> tracer;
  Log log;
  NodeStanding standing;
  FrontDoor door;
  std::unique_ptr<RedisStores> stores;
  std::unique_ptr<Connections> connections;
  std::vector<Subscription> wanted_events;
  std::unique_ptr<Subscriptions> subscriptions;  // null: there are none
  NatsSubscription views;
  std::uint32_t shards = 0;
  std::atomic<bool> stopping{false};
  bool closed = false;

  std::mutex lock;
  std::condition_variable wake;
  bool stale = false;
  std::thread reader;

  Status connect() {
    RedisOptions options = CATGA_TRY(redis_options(config));
    stores = std::make_unique<RedisStores>(options);
    CATGA_TRY(insist(log, "Redis", config.start.patience, stopping,
                     [this] { return stores->check_boot(); }));
    CATGA_TRY(insist(log, "cluster " + config.cluster.name, config.start.patience, stopping,
                     [this] { return find_cluster(); }));
    standing.cluster_offset_ms = wall_ms() - boot_ms();  // check_boot() has compared the clocks
    const OperationId random = new_operation_id();
    connections = std::make_unique<Connections>(config, log, Incarnation{random.high, random.low});
    CATGA_TRY(insist(log, "NATS", config.start.patience, stopping, [this] {
      return connections->open_nats(standing, [this](bool is_up) { linked(is_up); });
    }));
    open_telemetry();
    connections->open_router(standing, stores->owners(), shards);
    connections->router()->trace_with(tracer.get());
    InboxListener listener;
    listener.on_batch = [this](Incarnation, ViewVersion version) {
      if (version.value > standing.view_version.load()) look_again();
    };
    listener.on_nobody = [this](Incarnation) { look_again(); };
    CATGA_TRY(connections->listen(std::move(listener)));
    CATGA_TRY(insist(log, "NATS", config.start.patience, stopping,
                     [this] { return connections->reach_server(); }));
    views = CATGA_TRY(connections->nats().subscribe(membership::view_subject(config.cluster.name),
                                                    "", [this](NatsMessage) { look_again(); }));
    CATGA_TRY(read_view());
    reader = named_thread("catga.views", [this] { read_views(); });
    door.lead_to(connections->router());
    hear_events();
    return Done{};
  }

  Status check_events() const {
    CATGA_TRY(check_subscriptions(wanted_events));
    const auto ordered = std::ranges::find(wanted_events, Spread::ordered,
                                           [](const auto& one) { return one.options.spread; });
    if (ordered == wanted_events.end()) return Done{};
    return Error{Code::malformed, "subscription " + ordered->name +
                                      " is ordered, which only nodes can be: make it a group or a "
                                      "broadcast, or subscribe from a node"};
  }

  void hear_events() {
    if (wanted_events.empty()) return;
    auto made = std::make_unique<Subscriptions>(
        Subscriptions::Surroundings{config, connections->nats(), *stores, *connections->router(),
                                    standing, log, stream_options(config), connections->prefix(),
                                    text_of(connections->process()), tracer.get()},
        std::move(wanted_events));
    const std::lock_guard guard(lock);
    subscriptions = std::move(made);
    subscriptions->start();
  }

  /// OpenTelemetry's variables say whether and where to, as for a node.
  void open_telemetry() {
    OtlpSettings settings = OtlpSettings::from_environment();
    for (const std::string& warning : settings.warnings)
      log.write(Severity::warn, "telemetry", "", warning);
    if (!settings.traces.on && !settings.logs.on) return;
    const bool traces = settings.traces.on;
    const SamplerSettings sampler = settings.sampler;
    otlp::Resource resource =
        resource_of(settings, config, text_of(connections->process()), OtlpSettings::environment);
    exporter = std::make_unique<Exporter>(std::move(settings), std::move(resource),
                                          [this](const std::string& trouble) {
                                            log.write(Severity::warn, "telemetry", "", trouble);
                                          });
    log.add(*exporter);
    exporter->start();
    if (!traces) return;
    tracer = std::make_unique<Tracer>(
        sampler, [this](Span&& span) { exporter->add(std::move(span)); },
        [this] { return exporter->has_room(); });
  }

  /// On a thread of NATS: what was asked of JetStream is forgotten with the connection.
  void linked(bool is_up) {
    const std::lock_guard guard(lock);
    if (is_up && subscriptions) subscriptions->reconnected();
  }

  Status find_cluster() {
    using Cluster = std::pair<std::string, std::string>;  // fingerprint, id
    const Cluster cluster = CATGA_TRY(wait_for<Cluster>(
        [this](Then<Cluster> then) { stores->members().read_cluster(std::move(then)); }));
    if (cluster.first.empty())
      return Error{Code::unavailable,
                   "there is no cluster " + config.cluster.name + " in this Redis yet"};
    const std::uint64_t found = CATGA_TRY(shards_in(cluster.first));
    if (found < 1 || found > 65536)
      return Error{Code::malformed,
                   "the cluster's record names " + std::to_string(found) + " shards"};
    shards = static_cast<std::uint32_t>(found);
    return Done{};
  }

  void look_again() {
    const std::lock_guard guard(lock);
    stale = true;
    wake.notify_all();
  }

  Status read_view() {
    MembershipView view = CATGA_TRY(wait_for<MembershipView>(
        [this](Then<MembershipView> then) { stores->members().read_view(std::move(then)); }));
    if (view.version.value == standing.view_version.load()) return Done{};
    auto fresh = std::make_shared<Standing>();
    fresh->placement = Placement(view, shards);
    standing.view_version = view.version.value;
    fresh->view = std::make_shared<const MembershipView>(std::move(view));
    connections->router()->adopt(fresh, connections->process());
    return Done{};
  }

  void read_views() {
    std::unique_lock guard(lock);
    while (!stopping) {
      wake.wait_for(guard, view_every, [this] { return stale || stopping.load(); });
      stale = false;
      guard.unlock();
      (void)read_view();  // without Redis the view stays as it is; asks go on along it
      guard.lock();
    }
  }

  void close() {
    if (closed) return;
    closed = true;
    {
      const std::lock_guard guard(lock);
      stopping = true;
      wake.notify_all();
    }
    // Before the router, to which handlers' commands go. Without the lock, which NATS's threads take.
    if (subscriptions) subscriptions->close();
    door.lead_to(nullptr);
    if (reader.joinable()) reader.join();
    views = {};
    if (connections) connections->close();
    if (exporter) exporter->stop(telemetry_patience);
    stores.reset();
    log.flush();
  }
};

Client::Client(Config config) : private_(std::make_unique<Private>(std::move(config))) {}
Client::~Client() { private_->close(); }

Status Client::connect() {
  CATGA_TRY(private_->config.validate());
  CATGA_TRY(private_->check_events());
  Status connected = private_->connect();
  if (!connected.ok()) private_->close();
  return connected;
}

void Client::add_subscription(Subscription subscription) {
  private_->wanted_events.push_back(std::move(subscription));
}
void Client::close() { private_->close(); }
Messenger& Client::messenger() { return private_->door; }
Sagas Client::sagas() { return Sagas(&private_->door, private_->shards); }

std::uint32_t Client::shards() const { return private_->shards; }

}  // namespace catga
