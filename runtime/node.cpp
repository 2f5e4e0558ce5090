#include "catga/runtime/node.hpp"

#include "catga/entities/operation.hpp"
#include "catga/persistence/memory/memory_stores.hpp"
#include "catga/persistence/named_thread.hpp"
#include "catga/persistence/redis/primary_watch.hpp"
#include "catga/runtime/actors/hot_spots.hpp"
#include "catga/runtime/actors/inside.hpp"
#include "catga/runtime/actors/node_actor.hpp"
#include "catga/runtime/actors/reception.hpp"
#include "catga/runtime/actors/worker_queue.hpp"
#include "catga/runtime/admin/api.hpp"
#include "catga/runtime/admin/desk.hpp"
#include "catga/runtime/admin/ui/page.hpp"
#include "catga/runtime/build_revision.hpp"
#include "catga/runtime/cluster/membership_driver.hpp"
#include "catga/runtime/connections.hpp"
#include "catga/runtime/http/listeners.hpp"
#include "catga/runtime/letter_desk.hpp"
#include "catga/runtime/messaging/event_message.hpp"
#include "catga/runtime/messaging/gateway.hpp"
#include "catga/runtime/messaging/stream_publisher.hpp"
#include "catga/runtime/node_seams.hpp"
#include "catga/runtime/reload.hpp"
#include "catga/runtime/subscriptions.hpp"
#include "catga/runtime/systemd.hpp"
#include "catga/runtime/telemetry/entity_keys.hpp"
#include "catga/runtime/telemetry/event_feed.hpp"
#include "catga/runtime/telemetry/exporter.hpp"
#include "catga/runtime/telemetry/rebalance_spans.hpp"
#include "catga/runtime/telemetry/resource.hpp"
#include "catga/runtime/telemetry/series.hpp"
#include "catga/runtime/telemetry/tracer.hpp"
#include "catga/runtime/tell_letters.hpp"
#include "catga/runtime/workers.hpp"
#include "catga/sharding/hash.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace catga {

namespace {

using namespace std::chrono_literals;
constexpr std::chrono::milliseconds serve_patience{
    10'000};                                  // readiness never waits longer for shards of others
constexpr std::chrono::milliseconds poll{5};  // while starting and stopping, nothing hot
constexpr std::chrono::milliseconds poll_slowly{
    50};  // once it takes long, as of many nodes at once
constexpr std::chrono::milliseconds telemetry_patience{3000};  // for what waits at the end
constexpr std::int64_t silence_most_ms = 10'000;  // of an internal loop, then the node is not alive
constexpr std::int64_t handler_slow_ms = 1000;    // then the node is degraded
constexpr int exit_unreachable = 69, exit_unfinished = 75, exit_wrong = 78;

std::int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// As systemd counts it.
std::int64_t monotonic_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Incarnation new_incarnation() {
  const OperationId id = new_operation_id();  // 128 random bits are 128 random bits
  return Incarnation{id.high, id.low};
}

SagaMachineLimits saga_limits(const Config& config) {
  SagaMachineLimits limits;
  limits.decisions.compensation.attempts = config.saga.compensation_attempts;
  limits.decisions.compensation_window = config.saga.compensation_window;
  limits.decisions.retention = config.idempotency.retention;
  limits.keep_finished = config.saga.keep_finished;
  return limits;
}

HeatLimits heat_limits(const Config& config) {
  return {.share = config.hot.share,
          .rate_least = static_cast<double>(config.hot.min_rate),
          .window_ms = config.hot.window.count()};
}

/// Whether a server can be reached, and since when.
class Link {
 public:
  void set(bool up) {
    if (up_.exchange(up) == up && since_ != 0) return;
    since_ = wall_ms();
    changed_at_ = boot_ms();
  }
  http::HealthFacts::Link now(bool up) const {
    return {up, since_, up ? 0 : boot_ms() - changed_at_};
  }
  bool up() const { return up_; }

 private:
  std::atomic<bool> up_{false};
  std::atomic<std::int64_t> since_{0}, changed_at_{boot_ms()};
};

struct WorkerSettings : caf::actor_system_config {
  explicit WorkerSettings(std::uint32_t workers) {
    set("scheduler.max-threads", static_cast<std::size_t>(workers));
    module_factories.push_back(actors::make_scheduler);
  }
};

}  // namespace

struct Node::Private {
  explicit Private(Config settings)
      : config(std::move(settings)), log(config.log, config.cluster.name, config.node.id) {
    log.identify(text_of(process));
    log.add(feed);
  }

  Config config;
  const Incarnation process = new_incarnation();
  EventFeed feed{text_of(process)};
  // These three are there while telemetry is exported.
  std::unique_ptr<Exporter> exporter;
  std::unique_ptr<Tracer> tracer;
  std::unique_ptr<RebalanceSpans> rebalances;
  EventFeed::Subscription rebalance_events, farewells;
  std::int64_t looked_s = 0;  ///< by the clock's thread, in seconds of boot_ms()
  Log log;
  NodeStanding standing;
  FrontDoor door;
  std::map<std::string, Kind, std::less<>> kinds;
  SagaDefinitions sagas;
  std::unique_ptr<TrafficMetrics> traffic;  // outlives whatever sends
  NodeSeams::Wrap wrap_stores = [](std::unique_ptr<Stores> plain) { return plain; };

  std::unique_ptr<Stores> stores;
  std::unique_ptr<MemberStore> member_store;  // of the driver: its own connection
  std::unique_ptr<Connections> connections;
  std::unique_ptr<NatsSubscription> others_events;
  std::atomic<std::int64_t> redis_lost_at{0};
  std::unique_ptr<Router> local_router;  // embedded mode: no connections
  std::vector<Subscription> wanted_events;
  std::unique_ptr<Subscriptions> subscriptions;  // null: there are none
  std::unique_ptr<TellLetters> tell_letters;     // as the next; null in embedded mode
  std::unique_ptr<StreamPublisher> publisher;  // outlives the actors, which publish until they end
  std::thread local_clock;
  actors::TurnWatch watch;
  std::unique_ptr<WorkerSettings> worker_settings;
  std::unique_ptr<caf::actor_system> system;
  std::unique_ptr<actors::Host> host;
  std::unique_ptr<actors::HotSpots> hot_spots;
  std::atomic<actors::Host*> looked_after{nullptr};  ///< by the router's clock, once it is there
  std::unique_ptr<actors::Reception> reception;
  std::unique_ptr<MembershipDriver> driver;
  std::unique_ptr<Gateway> gateway;
  std::unique_ptr<admin::Inside> inside;
  std::unique_ptr<admin::Desk> desk_of_operators;  // null in embedded mode
  std::unique_ptr<LetterDesk> desk_of_letters;     // null in embedded mode
  std::unique_ptr<admin::Api> api;
  std::atomic<bool> leaving{false};  ///< an operator told it to; only a new process comes back

  // what the listeners show
  Link redis_up, nats_up;
  std::atomic<std::uint64_t> nats_connections{0};
  std::atomic<bool> joined{false}, first_shards{false}, draining{false};
  const std::int64_t began_ms = boot_ms();
  std::atomic<admin::Api*> answers{nullptr};  ///< to /api/v1, once the node can
  http::EventRing events{text_of(process), config.admin.event_buffer};
  EventFeed::Subscription shown_events;
  http::Listeners listeners{config, log, shown()};

  std::mutex lock;
  std::condition_variable changed;
  bool up = false;
  bool in_view = false;
  bool wired = false;  ///< actors and driver are there
  std::string refusal;
  int refusal_code = 0;
  std::atomic<bool> stopping{false};
  bool started = false;
  bool closed = false;

  Result<LetterDesk> desk();

  Router& router() { return connections ? *connections->router() : *local_router; }

  // ---- what the listeners show ----

  http::Shown shown() {
    http::Shown shown;
    shown.health = [this] { return health(); };
    if (config.metrics.enabled)
      shown.metrics = [this](MetricsFormat format) { return metrics(format); };
    shown.api = [this](const admin::Request& request) {
      if (admin::Api* const here = answers.load(std::memory_order_acquire))
        return here->handle(request);
      const http::Answer none =
          http::error_answer(503, "unavailable", "this node is starting: ask again in a moment");
      return admin::Answer{none.status, none.body};
    };
    shown.events = &events;
    const admin::Page page = admin::dashboard();
    shown.page = page.html;
    shown.page_policy = page.policy;
    return shown;
  }

  /// After a pause of the whole process its loops need a moment to show that they live.
  bool loops_alive(const actors::Host& one) const {
    const auto silent = [&one] {
      return boot_ms() - std::min(one.ticked_ms.load(), one.looked_ms.load()) > silence_most_ms;
    };
    if (!silent()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    return !silent();
  }

  http::HealthFacts health() {
    http::HealthFacts facts;
    facts.service = config.telemetry.service_name;
    facts.node = config.node.id;
    facts.incarnation = text_of(process);
    facts.version = CATGA_VERSION;
    facts.cluster = config.cluster.name;
    facts.uptime_s = (boot_ms() - began_ms) / 1000;
    facts.shards_configured = config.cluster.shards;
    facts.embedded = config.embedded_mode;
    facts.joined = joined;
    facts.first_shards = first_shards;
    facts.draining = draining;
    facts.session = standing.session_ok();
    facts.redis = redis_up.now(redis_up.up());
    facts.nats = nats_up.now(false);
    facts.nats_grace_ms = config.nats.lost_grace.count();
    const actors::Host* const one = looked_after.load(std::memory_order_acquire);
    if (one == nullptr) return facts;
    if (connections) facts.nats = nats_up.now(connections->nats().connected());
    facts.loops_alive = loops_alive(*one);
    for (const actors::TurnWatch::Slow& turn : watch.running(boot_ms()))
      if (turn.running_ms >= handler_slow_ms)
        facts.slow_handler = "a handler of kind " + turn.entity.kind + " runs for " +
                             std::to_string(turn.running_ms) + " ms";
    facts.shards_owned = one->serving;
    facts.shards_incoming = one->incoming;
    facts.shards_wanted = wanted();
    if (const auto now = one->router.routes().standing()) {
      facts.view = now->view->version.value;
      facts.nodes_up = static_cast<std::uint32_t>(std::ranges::count(
          now->view->members, MemberState::up, [](const Member& member) { return member.state; }));
    }
    return facts;
  }

  std::string metrics(MetricsFormat format) {
    Exposition text(config.telemetry.service_name,
                    config.metrics.instance_label ? config.node.id : std::string());
    add_process(text);
    listeners.write(text);
    if (traffic) traffic->write(text);
    if (const actors::Host* const one = looked_after.load(std::memory_order_acquire))
      one->metrics.write(text, metrics_now(*one));
    return text.text(format);
  }

  NodeMetrics::Now metrics_now(const actors::Host& one) {
    NodeMetrics::Now now;
    const http::HealthFacts facts = health();
    now.shards_wanted = facts.shards_wanted;
    now.view = facts.view;
    if (const auto standing_now = one.router.routes().standing())
      for (const Member& member : standing_now->view->members)
        now.nodes[static_cast<std::size_t>(member.state)] += 1;
    now.commits_waiting = stores->state().waiting().now;
    now.cluster_ms = standing.cluster_now();
    now.ready =
        http::worst(http::checks_of(http::Probe::ready, facts)) != http::Condition::unhealthy;
    now.draining = facts.draining;
    now.redis = facts.redis.up;
    now.nats = facts.nats.up;
    const std::uint64_t connected = nats_connections;
    now.nats_reconnects = connected == 0 ? 0 : connected - 1;
    now.version = facts.version;
    now.revision = build_revision();
    now.incarnation = facts.incarnation;
    now.sagas = one.saga_counters.snapshot();
    for (const auto& saga : sagas) {
      now.saga_types.push_back(saga->type);
      now.sagas[saga->type].by_version[saga->version];  // 0 from the start
    }
    if (connections && connections->lanes() != nullptr)
      now.nats_waiting = connections->lanes()->waiting();
    if (exporter) {
      const ExportFigures spans = exporter->spans(), records = exporter->records();
      const std::uint64_t left_out = tracer ? tracer->left_out() : 0;
      now.spans = {spans.exported, spans.failed, spans.dropped + left_out};
      now.log_records = {records.exported, records.failed, records.dropped};
    }
    now.events_dropped = feed.dropped();
    if (tell_letters) {
      const TellLetters::Count letters = tell_letters->count(boot_ms());
      now.dead_tells = letters.tells;
      now.dead_events = letters.events;
    }
    return now;
  }

  // ---- starting ----

  Status check_sagas() const {
    std::vector<const SagaDefinition*> definitions;
    for (const auto& saga : sagas) {
      CATGA_TRY(check(*saga));
      CATGA_TRY(check_limits(*saga, saga_limits(config).decisions));
      definitions.push_back(saga.get());
    }
    std::vector<std::string> names;
    for (const auto& [name, kind] : kinds) names.push_back(name);
    return check_names(definitions, names);
  }

  /// OpenTelemetry's variables say whether and where to.
  void open_telemetry() {
    shown_events =
        feed.subscribe([this](const ClusterEvent& event) { events.push(event.name, event.json); });
    OtlpSettings settings = OtlpSettings::from_environment();
    for (const std::string& warning : settings.warnings)
      log.write(Severity::warn, "telemetry", "", warning);
    if (!settings.traces.on && !settings.logs.on) return;
    const bool traces = settings.traces.on;
    SamplerSettings sampler = settings.sampler;
    sampler.roots_per_second = config.trace.roots_per_second;
    sampler.spans_per_second = config.trace.spans_per_second;
    sampler.link_only = config.trace.link_only;
    log.write(Severity::info, "telemetry", "",
              "telemetry is sent to " + (traces ? settings.traces.url : settings.logs.url));
    otlp::Resource resource =
        resource_of(settings, config, text_of(process), OtlpSettings::environment);
    exporter = std::make_unique<Exporter>(std::move(settings), std::move(resource),
                                          [this](const std::string& trouble) {
                                            log.write(Severity::warn, "telemetry", "", trouble);
                                          });
    log.add(*exporter);
    exporter->start();
    if (!traces) return;
    const auto sink = [this](Span&& span) { exporter->add(std::move(span)); };
    tracer = std::make_unique<Tracer>(sampler, sink, [this] { return exporter->has_room(); });
    rebalances = std::make_unique<RebalanceSpans>(config.cluster.name, config.node.id, sink,
                                                  config.trace.rebalance_spans);
    log.add(*rebalances);
    rebalance_events =
        feed.subscribe([this](const ClusterEvent& event) { rebalances->heard(event); });
  }

  Status start_embedded() {
    stores = wrap_stores(std::make_unique<MemoryStores>(wall_ms));
    standing.cluster_offset_ms = wall_ms() - boot_ms();
    standing.live_as(process);
    standing.session_deadline_ms = std::numeric_limits<std::int64_t>::max();
    standing.reading_until_ms = std::numeric_limits<std::int64_t>::max();
    standing.view_version = 1;
    RouterOptions options;
    options.process = process;
    options.shards = config.cluster.shards;
    options.limits = config.ask;
    local_router =
        std::make_unique<Router>(std::move(options), standing, stores->owners(), nullptr);
    local_router->trace_with(tracer.get());
    local_router->count_with(traffic.get());
    feed.start({});
    start_actors(nullptr);
    CATGA_TRY(listeners.open_admin());
    auto view = std::make_shared<MembershipView>();
    view->version = ViewVersion{1};
    view->members.push_back(
        Member{process, MemberState::up, config.node.id, config.node.weight, "-", "-", wall_ms()});
    caf::anon_send(host->node, actors::ViewNews{view, process});
    caf::anon_send(host->node, actors::SessionNews{true, process});
    local_clock = named_thread("catga.clock", [this] {
      while (!stopping) {
        local_router->tick();
        look_at_load();
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    });
    up = in_view = joined = true;
    open_api();
    return Done{};
  }

  Status start_cluster() {
    RedisOptions options = CATGA_TRY(redis_options(config));
    options.on_link = [this](bool is_up, const std::string& why) { redis_link(is_up, why); };
    options.on_trip = [counts = traffic.get()](std::size_t commands) {
      counts->trip_to_redis(commands);
    };
    options.primary =
        std::make_shared<PrimaryWatch>([this](const std::string& before, const std::string& now) {
          primary_changed(before, now);
        });
    auto redis = std::make_unique<RedisStores>(options);
    CATGA_TRY(insist(log, "Redis", config.start.patience, stopping,
                     [&redis] { return redis->check_boot(); }));
    stores = wrap_stores(std::move(redis));
    RedisOptions for_members = options;
    for_members.on_link = nullptr;
    for_members.on_trip = nullptr;
    member_store = make_redis_member_store(for_members);
    connections = std::make_unique<Connections>(config, log, process);
    CATGA_TRY(insist(log, "NATS", config.start.patience, stopping, [this] {
      const auto linked = [this](bool is_up) {
        nats_up.set(is_up);
        if (is_up) nats_connections += 1;
        const std::lock_guard guard(lock);
        if (host && host->node) caf::anon_send(host->node, actors::LinkNews{is_up, true});
        if (is_up && wired && subscriptions) subscriptions->reconnected();
      };
      return connections->open_nats(standing, linked, traffic.get());
    }));
    connections->open_router(standing, stores->owners(), config.cluster.shards,
                             [this] { return look_at_load(); });
    connections->router()->trace_with(tracer.get());
    publisher = std::make_unique<StreamPublisher>(connections->nats(), log, stream_options(config),
                                                  connections->prefix(), text_of(process));
    if (!wanted_events.empty()) {
      subscriptions = std::make_unique<Subscriptions>(
          Subscriptions::Surroundings{config, connections->nats(), *stores,
                                      connections->router()->for_events(), standing, log,
                                      stream_options(config), connections->prefix(),
                                      text_of(process), tracer.get(), traffic.get()},
          std::move(wanted_events));
    }
    if (LetterStore* const letters = stores->letters()) {
      tell_letters = std::make_unique<TellLetters>(TellLetters::Surroundings{
          *letters, *connections->router(), standing, config.cluster.shards, subscriptions.get()});
    }
    start_actors(connections->lanes());
    CATGA_TRY(open_feed());
    CATGA_TRY(listeners.open_admin());
    driver =
        std::make_unique<MembershipDriver>(config, *member_store, standing, membership_listener(),
                                           membership_sources(options.primary));
    {
      const std::lock_guard guard(lock);
      wired = true;
    }
    CATGA_TRY(connections->listen(inbox_listener()));
    CATGA_TRY(insist(log, "NATS", config.start.patience, stopping,
                     [this] { return connections->reach_server(); }));
    driver->start(process, [this](Incarnation next) {
      if (const Status subscribed = connections->subscribe_inbox(next); !subscribed.ok()) {
        log.write(Severity::error, "nats", "",
                  "the inbox of the new incarnation cannot be heard: " + subscribed.error().text);
      }
      connections->speak_as(next);
    });
    CATGA_TRY(wait_until_up());
    if (subscriptions) subscriptions->start();
    wait_until_serving();
    gateway =
        std::make_unique<Gateway>(connections->prefix(), kinds, router(), connections->nats());
    CATGA_TRY(gateway->open());
    open_api();
    if (tell_letters)
      CATGA_TRY(tell_letters->open(connections->nats(), connections->prefix(), config.node.id));
    desk_of_operators = std::make_unique<admin::Desk>(connections->nats(), connections->prefix(),
                                                      config.node.id, text_of(process));
    return desk_of_operators->open(*api);
  }

  void tell_order(const admin::Surroundings::Order& order) {
    host->metrics.ordered(order.verb);
    log.write(
        Severity::info, "admin", "catga.admin.action",
        "an operator's order: " + order.verb + ' ' + order.target + (order.done ? "" : ", refused"),
        {{"verb", order.verb},
         {"target", order.target},
         {"outcome", std::string(order.done ? "ok" : "refused")},
         {"client.address", order.client}});
  }

  /// What answers operators, whoever carries their questions.
  void open_api() {
    std::vector<std::string> types;
    for (const auto& saga : sagas)
      if (std::ranges::find(types, saga->type) == types.end()) types.push_back(saga->type);
    if (Result<LetterDesk> letters = desk(); letters.ok())
      desk_of_letters = std::make_unique<LetterDesk>(std::move(*letters));
    inside = std::make_unique<actors::NodeInside>(*host, [this] { return leave_the_ring(); });
    api = std::make_unique<admin::Api>(admin::Surroundings{
        config, kinds, std::move(types), *inside, router(), &stores->owners(),
        [this](const std::string& levels) { log.set_levels(levels); },
        [this](const std::vector<std::string>& nodes, const admin::Request& request) {
          if (desk_of_operators) return desk_of_operators->ask(nodes, request);
          return std::vector<admin::Told>{};
        },
        desk_of_letters.get(),
        [this](const admin::Surroundings::Order& order) { tell_order(order); }});
    answers.store(api.get(), std::memory_order_release);
  }

  std::vector<LogField> draining_fields(const std::string& cause) const {
    return {{"cause", cause},
            {"shards", static_cast<std::int64_t>(host->held.load())},
            {"entities", static_cast<std::int64_t>(host->active.load())},
            {"deadline_s", config.drain.timeout.count() / 1000}};
  }

  /// As drain() begins, but the process stays: it can be looked at, and calls of others go on to their owners.
  Status leave_the_ring() {
    if (!driver) return Error{Code::rejected, "an embedded node has nobody to give its shards to"};
    if (leaving.exchange(true)) return Done{};
    log.write(Severity::info, "node", "catga.node.draining",
              "an operator has it give its shards away", draining_fields("operator"));
    caf::anon_send(host->node, actors::LeaveSoon{});
    driver->leave();
    return Done{};
  }

  void redis_link(bool is_up, const std::string& why) {
    redis_up.set(is_up);
    if (!is_up) {
      redis_lost_at = boot_ms();
      return log.write(Severity::error, "store", "catga.redis.lost", "Redis is lost: " + why,
                       {{"server.address", config.redis.sentinels.empty()
                                               ? addresses_in({config.redis.url})
                                               : addresses_in(config.redis.sentinels)},
                        {"error", why}});
    }
    const std::int64_t since = redis_lost_at.exchange(0);
    const std::int64_t outage = since == 0 ? 0 : boot_ms() - since;
    log.write(Severity::info, "store", "catga.redis.restored",
              "Redis is connected: " + why +
                  (since == 0 ? "" : ", after " + std::to_string(outage) + " ms"),
              {{"outage_ms", outage},
               {"pending", static_cast<std::int64_t>(stores ? stores->state().waiting().now
                                                            : std::uint64_t{0})}});
  }

  /// The stream of events of all nodes, to and from NATS.
  Status open_feed() {
    const std::string subject = connections->prefix() + "events";
    others_events = std::make_unique<NatsSubscription>(CATGA_TRY(connections->nats().subscribe(
        subject, "", [this](NatsMessage message) { feed.arrived(body_of(*message)); })));
    farewells = feed.subscribe([this](const ClusterEvent& event) {
      if (event.name != "catga.node.drained") return;
      const auto said = drain_told_by(event.json);
      if (said) host->metrics.drained(said->incarnation, said->complete);
    });
    feed.start([this, subject](const std::string& batch) {
      return connections->nats().publish(subject, "", batch);
    });
    return Done{};
  }

  /// False: nothing waits.
  bool look_at_load() {
    const std::int64_t second = boot_ms() / 1000;
    const bool once_a_second = std::exchange(looked_s, second) != second;
    if (rebalances && once_a_second) rebalances->look(Tracer::now_ns());
    actors::Host* const one = looked_after.load(std::memory_order_acquire);
    if (one == nullptr) return false;
    const bool busy = one->look_at_load(actors::backlog_of(system->scheduler()));
    if (once_a_second) hot_spots->look(boot_ms());
    return busy;
  }

  static bool asks_somebody(const StepDefinition& step) {
    return step.sort != StepSort::sleep && step.sort != StepSort::signal;
  }

  /// Those that take time of somebody else's.
  std::map<std::string, std::vector<std::string>> steps_of_sagas() const {
    std::map<std::string, std::vector<std::string>> names;
    for (const auto& saga : sagas) {
      std::vector<std::string>& steps = names[saga->type];  // several versions are one type
      for (const SagaStage& stage : saga->stages)
        for (const StepDefinition& step : stage)
          if (asks_somebody(step) && std::ranges::find(steps, step.name) == steps.end())
            steps.push_back(step.name);
    }
    return names;
  }

  void plan_metrics() {
    const SeriesPlan plan = plan_series(config.metrics.max_series, kinds, steps_of_sagas());
    traffic = std::make_unique<TrafficMetrics>(plan.kinds);
    if (plan.left_out != 0)
      log.write(Severity::warn, "telemetry", "",
                std::to_string(plan.left_out) +
                    " kinds, messages and steps are counted as _other: raise metrics.max_series, "
                    "which is " +
                    std::to_string(config.metrics.max_series));
  }

  void start_actors(Carrier* carrier) {
    worker_settings = std::make_unique<WorkerSettings>(worker_threads(config.runtime.workers));
    system = std::make_unique<caf::actor_system>(*worker_settings);
    ActivationLimits limits;
    limits.state_max = config.entity.state_max;
    limits.ids_per_entity = config.idempotency.per_entity;
    limits.id_bytes_per_entity = config.idempotency.per_entity_bytes;
    limits.retention = config.idempotency.retention.count();
    limits.refused_for = config.redis.command_timeout.count();
    ShardTimes times;
    times.drain = config.rebalance.drain_timeout.count();
    times.forward = config.rebalance.forward_for.count();
    times.want = config.membership.settle.count() + 1000;
    host = std::unique_ptr<actors::Host>(new actors::Host{config,
                                                          limits,
                                                          times,
                                                          kinds,
                                                          *stores,
                                                          router(),
                                                          carrier,
                                                          standing,
                                                          log,
                                                          watch,
                                                          config.node.id,
                                                          system->scheduler(),
                                                          {},
                                                          {},
                                                          {}});
    host->sagas = sagas;
    host->metrics.host_sagas(plan_series(config.metrics.max_series, kinds, steps_of_sagas()).sagas);
    host->saga_limits = saga_limits(config);
    host->newer_view = [this](ViewVersion version) {
      if (driver) driver->sign_of_life(Incarnation{}, version);
    };
    host->publisher = publisher.get();
    host->tenants = subscriptions.get();
    if (tell_letters) host->tenants = tell_letters.get();
    host->tracer = tracer.get();
    reception = std::make_unique<actors::Reception>(*host);
    hot_spots = std::make_unique<actors::HotSpots>(*host, heat_limits(config));
    host->node = system->spawn<actors::NodeActor>(
        std::ref(*host));  // before the first message to it, so before any shard looks
    router().host(
        [this](ShardId shard, Envelope&& envelope) { host->deliver(shard, std::move(envelope)); });
    looked_after.store(host.get(), std::memory_order_release);
  }

  MembershipListener membership_listener() {
    MembershipListener listener;
    listener.on_view = [this](std::shared_ptr<const MembershipView> view, Incarnation self) {
      const Member* row = view->find(self);
      caf::anon_send(host->node, actors::ViewNews{view, self});
      const std::lock_guard guard(lock);
      in_view = row != nullptr;
      if (row != nullptr && row->state == MemberState::up) joined = true;
      up = row != nullptr && row->state == MemberState::up;
      changed.notify_all();
    };
    listener.on_ended = [this](Incarnation node, bool expired) {
      caf::anon_send(host->node, actors::EndedNews{node, expired});
    };
    listener.on_session = [this](bool in_force, Incarnation self) {
      caf::anon_send(host->node, actors::SessionNews{in_force, self});
    };
    listener.on_refused = [this](const std::string& why, int code) {
      log.write(Severity::error, "membership", "", why);
      const std::lock_guard guard(lock);
      refusal = why;
      refusal_code = code;
      changed.notify_all();
    };
    listener.on_links = [](bool, bool) {};  // said by the connections that carry the traffic
    listener.on_rollback = [this](ViewVersion before, ViewVersion after) {
      log.write(Severity::error, "store", "",
                "Redis shows an older table of members: its last acknowledged writes are gone; "
                "every shard is taken anew");
      host->metrics.rollbacks += 1;
      audit(
          {{"view_old", std::to_string(before.value)}, {"view_new", std::to_string(after.value)}});
    };
    listener.on_primary_changed = [this] { audit({}); };
    listener.on_impaired = [this](std::vector<Incarnation> nodes) {
      caf::anon_send(host->node, actors::ImpairedNews{std::move(nodes)});
    };
    return listener;
  }

  MembershipSources membership_sources(const std::shared_ptr<PrimaryWatch>& watched) {
    MembershipSources sources;
    sources.primary = [watched] { return watched->primary_id(); };
    sources.renewed = [this](bool ok, std::int64_t ms) { host->metrics.renewed(ok, ms); };
    sources.suspected = [this](bool silent) { host->metrics.suspected(silent); };
    sources.load = [this] { return host->active.load(std::memory_order_relaxed); };
    sources.post = [this](std::function<void()> sing) {
      caf::anon_send(host->node,
                     actors::Canary{std::make_shared<std::function<void()>>(std::move(sing))});
    };
    sources.log = &log;
    return sources;
  }

  /// On a connection's thread, before any request of this process runs at the new primary.
  void primary_changed(const std::string& before, const std::string& now) {
    log.write(Severity::error, "store", "",
              "another server answers for Redis: its last acknowledged writes may be gone; every "
              "shard is taken anew");
    const std::lock_guard guard(lock);
    if (!wired) return;  // nothing is in memory yet, or any more
    host->metrics.rollbacks += 1;
    audit({{"run_id_old", before}, {"run_id_new", now}});
    driver->primary_changed(before, now);
  }
  /// The event is told when it is known what became of the shards.
  void audit(std::vector<LogField> change) {
    host->audit.begins(std::move(change), host->held.load(), boot_ms());
    memory_in_doubt();
  }
  void memory_in_doubt() {
    host->primary_changes.fetch_add(1, std::memory_order_release);
    caf::anon_send(host->node, actors::PrimaryNews{});
  }

  InboxListener inbox_listener() {
    InboxListener listener;
    listener.on_batch = [this](Incarnation sender, ViewVersion version) {
      if (sender != process) driver->sign_of_life(sender, version);
    };
    listener.on_nobody = [this](Incarnation node) { driver->no_responders(node); };
    listener.on_messages = [this](ViewVersion seen, std::vector<Envelope> envelopes) {
      reception->messages(seen, std::move(envelopes));
    };
    listener.on_record = [this](Incarnation sender, const wire::Record& record) {
      reception->record(sender, record);
    };
    return listener;
  }

  Status wait_until_up() {
    std::unique_lock guard(lock);
    while (!up && refusal.empty() && !stopping)
      changed.wait_for(guard, std::chrono::milliseconds(50));
    if (!refusal.empty())
      return Error{refusal_code == exit_unreachable ? Code::unavailable : Code::malformed, refusal};
    if (!up) return Error{Code::unavailable, "stopped before the node was up"};
    return Done{};
  }

  /// Waits a moment. False: it was told to stop, or may not go on.
  bool serves_on() {
    std::unique_lock guard(lock);
    if (!stopping && refusal.empty()) changed.wait_for(guard, std::chrono::milliseconds(100));
    return !stopping && refusal.empty();
  }

  std::uint32_t wanted() {
    const std::shared_ptr<const Standing> now = router().routes().standing();
    if (!now) return 0;
    const Incarnation self = router().self();
    std::uint32_t count = 0;
    for (std::uint32_t shard = 0; shard < config.cluster.shards; ++shard)
      count += now->placement.target(ShardId{shard}) == self ? 1 : 0;
    return count;
  }

  /// The actors know that this node is UP, and serve what placement gives it.
  bool serving_all() {
    const std::shared_ptr<const Standing> now = router().routes().standing();
    const Member* self = now ? now->view->find(router().self()) : nullptr;
    return self != nullptr && self->state == MemberState::up && host->serving.load() >= wanted();
  }

  void wait_until_serving() {
    const std::int64_t began = boot_ms(), until = began + serve_patience.count();
    while (!stopping && boot_ms() < until && !serving_all())
      std::this_thread::sleep_for(boot_ms() - began < 200 ? poll : poll_slowly);
  }

  // ---- signals ----

  /// Settings as they were read last: what SIGHUP compares with.
  Config latest;

  void reload() {
    if (!latest.again) return;
    Result<Config> fresh = latest.again();
    if (!fresh.ok()) {
      log.write(
          Severity::error, "node", "",
          "settings were read again and are wrong, so nothing changes: " + fresh.error().text);
      return;
    }
    const Reload news = difference(latest, *fresh);
    log.set_levels(fresh->log.level);
    hot_spots->limit(heat_limits(*fresh));
    latest = std::move(*fresh);
    if (const Status token = listeners.read_token_again(); !token.ok())
      log.write(Severity::error, "admin", "", "the old token stays: " + token.error().text);
    const std::string applied = joined_keys(news.applied), later = joined_keys(news.needs_restart);
    log.write(Severity::info, "node", "catga.config.reloaded",
              "settings were read again: " +
                  (applied.empty() ? std::string("none changes") : applied + " changed") +
                  (later.empty() ? std::string() : "; only a restart changes " + later),
              {{"changed", applied}, {"needs_restart", later}});
  }

  static std::string joined_keys(const std::vector<std::string>& keys) {
    std::string all;
    for (const std::string& key : keys) all += (all.empty() ? "" : ",") + key;
    return all;
  }

  /// For who asks a node what it does, by SIGQUIT.
  std::string dump() {
    std::string text = "node " + config.node.id + ": " + std::to_string(host->held.load()) +
                       " shards, " + std::to_string(host->active.load()) + " entities in memory\n";
    for (std::uint32_t shard = 0; shard < config.cluster.shards; ++shard) {
      const actors::Doorway& door_of = *host->doors[shard];
      const actors::Doorway::Look look = door_of.look();
      if (look.state == ShardState::none && look.held == 0) continue;
      std::uint64_t waiting = 0;
      door_of.for_each_entity([&waiting](const EntityId&, const actors::Doorway::Active& active) {
        waiting += actors::Doorway::waiting(active);
      });
      text += "shard " + std::to_string(shard) + ' ' + std::string(name_of(look.state)) +
              " epoch " + std::to_string(look.epoch.value) + ": " + std::to_string(look.entities) +
              " entities, " + std::to_string(waiting) + " messages wait for them, " +
              std::to_string(look.held) + " for the shard\n";
    }
    for (const actors::TurnWatch::Slow& turn : watch.running(boot_ms()))
      text += "running for " + std::to_string(turn.running_ms) + " ms: " + turn.message + " of " +
              entity_shown(config, turn.entity) + '\n';
    return text;
  }

  /// About ten times a second, while the node serves.
  void tell_systemd(Systemd& systemd) {
    const actors::Host* const one = looked_after.load(std::memory_order_acquire);
    if (one == nullptr || !loops_alive(*one)) return;
    systemd.well(boot_ms());
    const std::int64_t pending = one->metrics.moves_pending.load();
    systemd.status(pending != 0 ? "rebalancing: " + std::to_string(pending) + " shards have to move"
                                : "serving " + std::to_string(one->serving.load()) + " shards");
  }

  // ---- stopping ----

  template <class Condition>
  bool wait_for(std::chrono::milliseconds patience, Condition condition) {
    const std::int64_t until = boot_ms() + patience.count();
    while (!condition()) {
      if (boot_ms() >= until) return false;
      std::this_thread::sleep_for(poll);
    }
    return true;
  }

  /// A trace of its own, whatever the sampler says: it is rare.
  void drain_span(std::int64_t shards, std::int64_t entities, std::uint32_t left,
                  std::int64_t lasted_ms) {
    Span span;
    span.context = Tracer::unsampled();
    span.context.flags |= 1;
    span.name = "catga.drain";
    span.end_ns = Tracer::now_ns();
    span.start_ns = span.end_ns - lasted_ms * 1'000'000;
    span.attributes = {{"catga.drain.shards", shards},
                       {"catga.drain.entities", entities},
                       {"catga.drain.shards_left", static_cast<std::int64_t>(left)},
                       {"outcome", std::string(left == 0 ? "ok" : "incomplete")}};
    if (left != 0) span.status = SpanStatus::error;
    tracer->ended(std::move(span));
  }

  Status drain(std::chrono::milliseconds patience) {
    draining = true;
    if (!driver || !in_view) return Done{};
    const std::int64_t began = boot_ms();
    const std::int64_t shards = host->held.load(), entities = host->active.load();
    if (gateway) gateway->drain(config.drain.linger);
    caf::anon_send(host->node, actors::LeaveSoon{});
    driver->leave();
    // Incoming is read first: a shard that arrives is held before it is no longer incoming.
    const bool all_gone =
        wait_for(patience, [this] { return host->incoming.load() == 0 && host->held.load() == 0; });
    const std::uint32_t left = host->held.load();
    if (!all_gone) {
      caf::anon_send(host->node, actors::LeaveNow{});
      wait_for(config.redis.command_timeout, [this] { return host->held.load() == 0; });
    }
    // Before the node is out of the view: who tells its departure waits for this word.
    log.write(all_gone ? Severity::info : Severity::error, "node", "catga.node.drained",
              all_gone
                  ? "all shards handed over"
                  : std::to_string(left) + " shards were not handed over in time and were released",
              {{"outcome", std::string(all_gone ? "ok" : "incomplete")},
               {"shards_left", static_cast<std::int64_t>(left)},
               {"duration_ms", boot_ms() - began}});
    // Late messages are sent on, until none came for a while.
    std::uint64_t forwarded = host->forwarded.load();
    std::int64_t quiet_since = boot_ms();
    const std::int64_t quiet_for = std::min<std::int64_t>(1000, config.drain.linger.count());
    bool announced = false;
    wait_for(config.drain.linger, [&] {
      if (host->forwarded.load() != forwarded) {
        forwarded = host->forwarded.load();
        quiet_since = boot_ms();
      }
      if (!announced) {
        driver->gone([this] {
          const std::lock_guard guard(lock);
          in_view = false;
        });
        announced = true;
      }
      return boot_ms() - quiet_since >= quiet_for && (!gateway || gateway->idle());
    });
    wait_for(config.redis.command_timeout, [this] {
      const std::lock_guard guard(lock);
      return !in_view;
    });
    if (tracer) drain_span(shards, entities, left, boot_ms() - began);
    if (all_gone) return Done{};
    return Error{Code::timeout,
                 std::to_string(left) + " shards were not handed over in time and were released"};
  }

  void close() {
    if (closed) return;
    closed = true;
    stopping = true;
    {
      const std::lock_guard guard(lock);
      wired = false;
    }
    listeners.close();  // they look at everything below
    door.lead_to(nullptr);
    if (gateway) gateway->close();
    if (desk_of_operators) {
      router().close();  // it may be waiting for an answer
      desk_of_operators->close();
    }
    if (tell_letters) tell_letters->close();
    if (subscriptions) subscriptions->close();
    if (driver) driver->stop();
    if (local_router) local_router->close();
    if (publisher) publisher->close();
    others_events.reset();
    feed.stop();
    if (connections) connections->close();
    if (local_clock.joinable()) local_clock.join();
    if (host) {
      caf::anon_send_exit(host->node,
                          caf::exit_reason::kill);  // it ends the shards, they their entities
    }
    if (system) system->await_all_actors_done();  // they use the stores until their last message
    while (host && (host->active.load(std::memory_order_acquire) != 0 ||
                    host->answering.load(std::memory_order_acquire) != 0))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // CAF does not count these
    stores
        .reset();  // its threads answer what is open and end; answers to actors that ended go nowhere
    member_store.reset();
    if (host) host->forget_actors();
    system.reset();
    rebalance_events = {};
    if (exporter) exporter->stop(telemetry_patience);
    log.flush();
  }
};

Node::Node(Config config) : private_(std::make_unique<Private>(std::move(config))) {}

Node::~Node() { private_->close(); }

void NodeSeams::wrap_stores(Node& node, Wrap wrap) { node.private_->wrap_stores = std::move(wrap); }

void Node::add_kind(Kind kind) {
  std::string name = kind.name;
  private_->kinds.insert_or_assign(std::move(name), std::move(kind));
}

void Node::add_saga(std::shared_ptr<const SagaDefinition> saga) {
  private_->sagas.push_back(std::move(saga));
}

Sagas Node::sagas() { return Sagas(&private_->door, private_->config.cluster.shards); }

SagaFigures Node::saga_figures() const {
  if (!private_->host || private_->closed) return {};
  return private_->host->saga_counters.snapshot();
}

void Node::add_subscription(Subscription subscription) {
  private_->wanted_events.push_back(std::move(subscription));
}

Result<LetterDesk> Node::Private::desk() {
  if (!connections || closed)
    return Error{Code::unavailable,
                 "not connected: start the node first; an embedded one has no events"};
  return LetterDesk(connections->nats(), connections->prefix(), config.cluster.shards,
                    LetterStream(connections->nats(), stream_options(config), connections->prefix(),
                                 config.events.parked_max));
}

Result<std::vector<ParkedEvents>> Node::parked(const std::string& subscription) {
  LetterDesk desk = CATGA_TRY(private_->desk());
  return desk.list(subscription);
}

Result<std::vector<DeadEvent>> Node::show_parked(const std::string& subscription,
                                                 const EntityId& source) {
  LetterDesk desk = CATGA_TRY(private_->desk());
  return desk.show(subscription, source);
}

Result<std::uint64_t> Node::retry_parked(const std::string& subscription, const EntityId& source) {
  LetterDesk desk = CATGA_TRY(private_->desk());
  return desk.retry(subscription, source);
}

Result<std::uint64_t> Node::discard_parked(const std::string& subscription,
                                           const EntityId& source) {
  LetterDesk desk = CATGA_TRY(private_->desk());
  return desk.discard(subscription, source);
}

Messenger& Node::messenger() { return private_->door; }

const Config& Node::config() const { return private_->config; }

Status Node::start() {
  Private& self = *private_;
  if (self.started) return Error{Code::failed, "a node starts once"};
  self.started = true;
  CATGA_TRY(self.config.validate());
  CATGA_TRY(self.check_sagas());
  CATGA_TRY(check_subscriptions(self.wanted_events));
  if (self.config.embedded_mode && !self.wanted_events.empty()) {
    return Error{
        Code::malformed,
        "an embedded node has no stream of events: subscriptions need NATS with JetStream"};
  }
  self.log.write(Severity::info, "node", "",
                 "node " + self.config.node.id + " starts in cluster " + self.config.cluster.name +
                     " with " + std::to_string(self.kinds.size()) + " kinds" +
                     (self.config.embedded_mode ? ", embedded" : ""),
                 {{"catga.node.incarnation", text_of(self.process)},
                  {"shards", static_cast<std::int64_t>(self.config.cluster.shards)}});
  self.open_telemetry();
  self.plan_metrics();
  CATGA_TRY(self.listeners.open_health());
  Status started = self.config.embedded_mode ? self.start_embedded() : self.start_cluster();
  if (!started.ok()) {
    self.close();
    return started;
  }
  self.door.lead_to(&self.router());
  if (self.config.embedded_mode) self.wait_until_serving();
  self.first_shards = true;
  self.log.write(Severity::info, "node", "",
                 "node " + self.config.node.id +
                     " is ready: " + std::to_string(self.host->serving.load()) + " shards served");
  return Done{};
}

Status Node::stop(std::chrono::milliseconds patience) {
  Private& self = *private_;
  if (!self.started || self.closed) return Done{};
  const Status drained = self.drain(patience.count() > 0 ? patience : self.config.drain.timeout);
  self.close();
  return drained;
}

int Node::run() {
  Private& self = *private_;
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals,
                  nullptr);  // inherited by all threads: only the one below takes them
  Systemd systemd;
  self.latest = self.config;
  std::atomic<bool> over{false}, asked{false}, reload{false}, dump{false};
  std::thread waiter([&self, &signals, &over, &asked, &reload, &dump] {
    const timespec nap{0, 50'000'000};
    int heard = 0;
    while (!over) {
      const int signal = sigtimedwait(&signals, nullptr, &nap);
      if (signal < 0) continue;
      if (signal == SIGHUP || signal == SIGQUIT) {  // seen to once the node is up
        (signal == SIGHUP ? reload : dump) = true;
        self.changed.notify_all();
        continue;
      }
      if (++heard == 1) {
        asked = true;
        self.stopping = true;
        self.changed.notify_all();
        continue;
      }
      self.log.write(Severity::error, "node", "",
                     "a second signal: stopping at once, what is left is claimed by others");
      self.log.flush();
      std::_Exit(exit_unfinished);
    }
  });
  const auto leave = [&over, &waiter](int code) {
    over = true;
    waiter.join();
    return code;
  };
  if (const Status started = start(); !started.ok()) {
    const bool as_asked =
        asked && started.error().code == Code::unavailable && self.refusal.empty();
    if (!as_asked)
      self.log.write(Severity::error, "node", "", "cannot start: " + started.error().text);
    self.log.flush();
    if (as_asked) return leave(0);
    return leave(started.error().code == Code::unavailable ? exit_unreachable : exit_wrong);
  }
  systemd.say("READY=1");
  while (self.serves_on()) {
    if (reload.exchange(false)) {
      systemd.say("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(monotonic_us()));
      self.reload();
      systemd.say("READY=1");
    }
    if (dump.exchange(false)) std::fputs(self.dump().c_str(), stderr);
    self.tell_systemd(systemd);
  }
  if (!self.refusal.empty()) {
    self.log.flush();
    return leave(self.refusal_code);
  }
  self.log.write(Severity::info, "node", "catga.node.draining",
                 "asked to stop: giving the shards away", self.draining_fields("signal"));
  const auto patience = self.config.drain.timeout + self.config.drain.linger + 20s;
  systemd.say("STOPPING=1\nEXTEND_TIMEOUT_USEC=" +
              std::to_string(std::chrono::microseconds(patience).count()));
  const Status drained = self.drain(self.config.drain.timeout);
  if (const auto stuck = self.watch.running(boot_ms());
      !stuck.empty()) {  // it would keep its worker, and so us, for ever
    self.log.write(Severity::error, "node", "",
                   "a handler of " + entity_shown(self.config, stuck.front().entity) +
                       " still runs after " + std::to_string(stuck.front().running_ms) +
                       " ms: " + stuck.front().message + "; the process ends without it");
    self.log.flush();
    std::_Exit(exit_unfinished);
  }
  self.close();
  return leave(drained.ok() ? 0 : exit_unfinished);
}

NodeFigures Node::figures() const {
  Private& self = *private_;
  NodeFigures figures;
  if (!self.host || self.closed) return figures;
  figures.shards_held = self.host->held.load();
  figures.shards_serving = self.host->serving.load();
  figures.shards_wanted = self.wanted();
  figures.entities = self.host->active.load();
  figures.health_port = self.listeners.health_port();
  figures.admin_port = self.listeners.admin_port();
  if (const std::shared_ptr<const Standing> now = self.router().routes().standing()) {
    figures.view_version = now->view->version.value;
    figures.members_up = static_cast<std::uint32_t>(
        std::count_if(now->view->members.begin(), now->view->members.end(),
                      [](const Member& member) { return member.state == MemberState::up; }));
  }
  return figures;
}

}  // namespace catga
