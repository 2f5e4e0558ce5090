#include "catga/runtime/connections.hpp"

#include "catga/persistence/named_thread.hpp"

#include <algorithm>

namespace catga {

namespace {
constexpr std::chrono::milliseconds clock_every{10}, idle_clock_every{50};
constexpr std::int64_t complain_every_ms = 1000;

bool is_message(const wire::Record& record) {
  return std::holds_alternative<wire::Message>(record);
}
}  // namespace

// ---- the front door ----------------------------------------------------------------------------------------------

void FrontDoor::ask(Ask ask, Answered answered) {
  Messenger* messenger = nullptr;
  {
    const std::lock_guard guard(lock_);
    messenger = behind_;
    if (messenger != nullptr) inside_ += 1;
  }
  if (messenger == nullptr)
    return answered(Error{
        Code::unavailable,
        "not connected: start the node or connect the client first, and ask before it is closed"});
  messenger->ask(std::move(ask), std::move(answered));
  const std::lock_guard guard(lock_);
  if (--inside_ == 0) left_.notify_all();
}

Status FrontDoor::tell(Ask tell) {
  Messenger* messenger = nullptr;
  {
    const std::lock_guard guard(lock_);
    messenger = behind_;
    if (messenger != nullptr) inside_ += 1;
  }
  if (messenger == nullptr)
    return Error{Code::unavailable, "not connected: start the node or connect the client first"};
  Status told = messenger->tell(std::move(tell));
  const std::lock_guard guard(lock_);
  if (--inside_ == 0) left_.notify_all();
  return told;
}

void FrontDoor::lead_to(Messenger* messenger) {
  std::unique_lock guard(lock_);
  behind_ = messenger;
  left_.wait(guard, [this] { return inside_ == 0; });
}

// ---- starting ----------------------------------------------------------------------------------------------------

Result<RedisOptions> redis_options(const Config& config) {
  RedisOptions options = CATGA_TRY(parse_redis_url(config.redis.url));
  options.cluster = config.cluster.name;
  for (const std::string& text : config.redis.sentinels) {
    RedisAddress sentinel = CATGA_TRY(parse_sentinel(text));
    options.sentinels.push_back(std::move(sentinel));
  }
  options.sentinel_master = config.redis.sentinel_master;
  options.sentinel_password = config.redis.sentinel_password;
  if (!config.redis.user.empty()) options.user = config.redis.user;
  if (!config.redis.password.empty()) options.password = config.redis.password;
  options.connect_timeout = config.redis.connect_timeout;
  options.command_timeout = config.redis.command_timeout;
  options.wait_timeout = config.redis.wait_timeout;
  options.connections = config.redis.connections;
  options.wait_replicas = config.redis.wait_replicas;
  options.batch = config.commit.batch;
  options.pending = config.commit.pending;
  options.check_policy = config.redis.check_policy;
  return options;
}

Status insist(Log& log, const std::string& what, std::chrono::milliseconds patience,
              const std::atomic<bool>& stopping, const std::function<Status()>& attempt) {
  const std::int64_t began = boot_ms();
  std::int64_t said = 0;
  for (;;) {
    const Status tried = attempt();
    // A server that is slow to answer is not there yet, like one that cannot be reached.
    const bool absent = !tried.ok() && (tried.error().code == Code::unavailable ||
                                        tried.error().code == Code::timeout);
    if (!absent) return tried;
    const std::int64_t now = boot_ms();
    if (stopping) return Error{Code::unavailable, "stopped while waiting for " + what};
    if (now - began >= patience.count()) {
      return Error{Code::unavailable, tried.error().text + "; given up after " +
                                          std::to_string((now - began) / 1000) +
                                          " s (start.patience)"};
    }
    if (said == 0 || now - said >= 10'000) {
      log.write(Severity::warn, "node", "", "waiting for " + what + ": " + tried.error().text);
      said = now;
    }
    std::this_thread::sleep_for(
        std::chrono::milliseconds(200));  // between attempts to connect, nothing to wait on
  }
}

std::string addresses_in(const std::vector<std::string>& urls) {
  std::string all;
  for (const std::string& url : urls) {
    const auto scheme = url.find("://");
    std::string rest = scheme == url.npos ? url : url.substr(scheme + 3);
    rest.resize(std::min(rest.find('/'), rest.size()));
    if (const auto login = rest.rfind('@'); login != rest.npos) rest.erase(0, login + 1);
    all += (all.empty() ? "" : ",") + rest;
  }
  return all;
}

// ---- connections -------------------------------------------------------------------------------------------------

Connections::Connections(const Config& config, Log& log, Incarnation process)
    : config_(config),
      log_(log),
      process_(process),
      prefix_("catga." + config.cluster.name + "."),
      self_(process) {}

Connections::~Connections() { close(); }

void Connections::speak_as(Incarnation self) {
  const std::lock_guard guard(lock_);
  self_ = self;
}

Status Connections::open_nats(NodeStanding& standing, std::function<void(bool up)> on_link,
                              TrafficMetrics* counts) {
  standing_ = &standing;
  NatsCallbacks callbacks;
  callbacks.on_lost = [this, on_link](const std::string& why) {
    lost_at_ = boot_ms();
    log_.write(Severity::error, "nats", "catga.nats.lost",
               "the connection to NATS is lost; it is tried again: " + why,
               {{"server.address", addresses_in(config_.nats.urls)}, {"error", why}});
    on_link(false);
  };
  callbacks.on_back = [this, on_link] {
    const std::int64_t outage = boot_ms() - lost_at_;
    log_.write(Severity::info, "nats", "catga.nats.restored",
               "NATS is connected again, after " + std::to_string(outage) + " ms",
               {{"outage_ms", outage}});
    on_link(true);
  };
  callbacks.on_error = [this](std::string why) { log_.write(Severity::warn, "nats", "", why); };
  nats_ = CATGA_TRY(catga::connect(config_, "catga-" + config_.node.id, std::move(callbacks)));
  LaneLimits limits{config_.nats.batch_bytes, config_.nats.lane_bytes};
  LaneCallbacks lane_callbacks;
  lane_callbacks.self = [this] {
    const std::lock_guard guard(lock_);
    return self_;
  };
  lane_callbacks.version = [&standing] {
    return ViewVersion{standing.view_version.load(std::memory_order_relaxed)};
  };
  lane_callbacks.undelivered = [this](Incarnation to, std::vector<std::uint64_t> asks) {
    if (listener_.on_nobody) listener_.on_nobody(to);
    if (router_) router_->undelivered(asks);
  };
  lane_callbacks.unsent = [this](std::vector<std::uint64_t> asks) {
    if (router_) router_->unsent(asks);
  };
  if (counts != nullptr)
    lane_callbacks.batch = [counts](std::size_t records) { counts->batch_to_nats(records); };
  counts_ = counts;
  lanes_ = std::make_unique<Lanes>(prefix_, process_, limits, std::move(lane_callbacks));
  return Done{};
}

void Connections::open_router(NodeStanding& standing, OwnerStore& owners, std::uint32_t shards,
                              std::function<bool()> on_clock) {
  RouterOptions options;
  options.process = process_;
  options.shards = shards;
  options.limits = config_.ask;
  router_ = std::make_unique<Router>(std::move(options), standing, owners, lanes_.get());
  router_->count_with(counts_);
  if (lanes_) lanes_->start(nats_);
  clock_ = named_thread("catga.clock", [this, on_clock = std::move(on_clock)] {
    while (!stopping_) {
      router_->tick();
      const bool busy = on_clock && on_clock();
      // Nobody wakes it for the first ask after a rest: that would cost every ask. Its first repeat
      // may come a rest late.
      std::this_thread::sleep_for(busy || router_->pending() != 0 ? clock_every : idle_clock_every);
    }
  });
}

Status Connections::listen(InboxListener listener) {
  listener_ = std::move(listener);
  const auto handler = [this](NatsMessage message) { heard(message); };
  std::vector<NatsSubscription> subscriptions;
  subscriptions.push_back(CATGA_TRY(
      nats_.subscribe(prefix_ + "x." + text_of(process_) + ".*", "", [this](NatsMessage message) {
        if (is_no_responders(*message)) lanes_->no_responders(subject_of(*message));
      })));
  subscriptions.push_back(
      CATGA_TRY(nats_.subscribe(prefix_ + "n." + text_of(process_), "", handler)));
  subscriptions.push_back(CATGA_TRY(nats_.subscribe(prefix_ + "route", "", handler)));
  const std::lock_guard guard(lock_);
  for (NatsSubscription& subscription : subscriptions)
    subscriptions_.push_back(std::move(subscription));
  return Done{};
}

Status Connections::reach_server() { return nats_.flush(config_.nats.connect_timeout); }

Status Connections::subscribe_inbox(Incarnation incarnation) {
  NatsSubscription subscription = CATGA_TRY(nats_.subscribe(
      prefix_ + "n." + text_of(incarnation), "", [this](NatsMessage message) { heard(message); }));
  {
    const std::lock_guard guard(lock_);
    subscriptions_.push_back(std::move(subscription));
  }
  // Should this fail, NATS is away: the subscription stays, and is made anew with the connection.
  return reach_server();
}

void Connections::heard(const NatsMessage& message) {
  if (is_no_responders(*message)) return;
  const Result<wire::Batch> batch = wire::read(body_of(*message));
  if (!batch.ok())
    return complain("a message to " + std::string(subject_of(*message)) +
                    " is no batch: " + batch.error().text);
  take(*batch);
}

void Connections::take(const wire::Batch& batch) {
  if (listener_.on_batch) listener_.on_batch(batch.sender, batch.version);
  const std::int64_t now_ns = boot_ns(), now = now_ns / 1'000'000;
  const Lanes::Gathering together(*lanes_);
  std::vector<Envelope> envelopes;
  envelopes.reserve(static_cast<std::size_t>(std::ranges::count_if(batch.records, is_message)));
  for (const wire::Record& record : batch.records) {
    if (const auto* message = std::get_if<wire::Message>(&record)) {
      const Status read = wire::decode_into(envelopes.emplace_back(), message->body, now);
      if (read.ok()) continue;
      envelopes.pop_back();
      complain("a message of node " + text_of(batch.sender) + " is dropped: " + read.error().text);
    } else if (const auto* reply = std::get_if<wire::Reply>(&record)) {
      router_->replied(*reply, now_ns);
    } else {
      if (const auto* owns = std::get_if<wire::Owns>(&record))
        router_->routes().learn(owns->shard, owns->owner, owns->epoch, false);
      if (listener_.on_record) listener_.on_record(batch.sender, record);
    }
  }
  if (!envelopes.empty() && listener_.on_messages)
    listener_.on_messages(batch.version, std::move(envelopes));
}

/// Rubbish on an inbox is somebody's mistake or attack: said once a second, counted, never fatal.
void Connections::complain(const std::string& what) {
  complaints_.fetch_add(1);
  const std::int64_t now = boot_ms();
  std::int64_t last = complained_at_.load();
  if (last != 0 && now - last < complain_every_ms) return;
  if (!complained_at_.compare_exchange_strong(last, now)) return;
  log_.write(Severity::warn, "nats", "", what,
             {{"dropped", static_cast<std::int64_t>(complaints_.exchange(0))}});
}

void Connections::close() {
  if (stopping_.exchange(true)) return;
  if (router_) router_->close();
  std::vector<NatsSubscription> subscriptions;
  {
    const std::lock_guard guard(lock_);
    subscriptions = std::move(subscriptions_);
  }
  subscriptions.clear();  // no handler runs from here on
  if (lanes_) {
    lanes_->flush(std::chrono::milliseconds(500));
    lanes_->stop();
  }
  if (clock_.joinable()) clock_.join();
  nats_ = NatsConnection{};
}

}  // namespace catga
