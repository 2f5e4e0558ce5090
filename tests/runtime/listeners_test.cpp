// What a running node shows on its two listeners, asked over real sockets; and who may ask.
#include <catga/catga.hpp>
#include <catga/runtime/http/listeners.hpp>
#include <catga/runtime/node.hpp>
#include <catga/runtime/telemetry/log.hpp>
#include <catga/runtime/telemetry/node_metrics.hpp>
#include <catga/runtime/telemetry/traffic_metrics.hpp>

#include "../support/http_client.hpp"
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace catga;

namespace {

// clang-format off
struct Add   { using Reply = std::int64_t; std::int64_t amount = 0; CATGA_MESSAGE(Add, amount); };
struct Total { using Reply = std::int64_t; CATGA_MESSAGE(Total); };
// clang-format on
class Counter {
 public:
  static constexpr std::string_view kind = "counter";
  using Handles = Messages<Add, Total>;
  struct State {
    std::int64_t total = 0;
    CATGA_FIELDS(total);
  } state;

  Result<std::int64_t> on(const Add& add) {
    if (add.amount < 0) return reject("only up");
    return state.total += add.amount;
  }
  std::int64_t on(const Total&) const { return state.total; }
};

// clang-format off
struct Wait  { using Reply = bool; CATGA_MESSAGE(Wait); };
struct Ring  { using Reply = Done; CATGA_MESSAGE(Ring); };
struct Later { using Reply = bool; CATGA_MESSAGE(Later); };
// clang-format on
class Slow {
 public:
  static constexpr std::string_view kind = "slow";
  using Handles = Messages<Wait, Later, Ring>;
  struct State {
    std::int64_t rings = 0;
    CATGA_FIELDS(rings);
  } state;
  static std::promise<void>& gate() {
    static std::promise<void> promise;
    return promise;
  }

  bool on(const Wait&) {
    static const std::shared_future<void> open = gate().get_future().share();
    open.wait();
    return true;
  }
  bool on(Turn& turn, const Later&) {
    turn.after(std::chrono::milliseconds(1), Ring{});
    return true;
  }
  Done on(const Ring&) {
    state.rings += 1;
    return {};
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Config quiet() {
  Config config = Config::embedded();
  config.health.listen = "127.0.0.1:0";
  config.admin.listen = "127.0.0.1:0";
  config.telemetry.service_name = "orders";
  config.cluster.shards = 16;
  return config;
}

/// The listeners of no node: what they show is made up.
struct Stand {
  explicit Stand(Config settings) : config(std::move(settings)) {
    http::Shown shown;
    shown.health = [this] { return facts; };
    shown.metrics = [](MetricsFormat) { return std::string("catga_view_version 1\n"); };
    shown.api = [this](const admin::Request& request) {
      asked.push_back(request);
      return admin::Answer{200, "{}\n"};
    };
    shown.events = &events;
    listeners = std::make_unique<http::Listeners>(config, log, std::move(shown));
    opened = listeners->open_admin();
    if (opened.ok()) opened = listeners->open_health();
  }
  int port() const { return listeners->admin_port(); }

  Config config;
  Log log{config.log, "catga", "a"};
  http::HealthFacts facts;
  http::EventRing events{"7f3a", 100};
  std::vector<admin::Request> asked;
  std::unique_ptr<http::Listeners> listeners;
  Status opened = Done{};
};

class TokenFile {
 public:
  explicit TokenFile(const std::string& content)
      : path_(std::filesystem::temp_directory_path() /
              ("catga-token-" + std::to_string(getpid()) + "-" + std::to_string(content.size()))) {
    std::ofstream(path_) << content;
  }
  ~TokenFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

constexpr const char* stream_request =
    "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";

}  // namespace

TEST_CASE("a node shows that it is ready, and counts what its entities do") {
  Node node(quiet());
  node.host<Counter>();
  REQUIRE(node.start().ok());
  auto counter = node.ref<Counter>("one");
  for (int i = 0; i < 3; ++i) REQUIRE(counter.ask(Add{1}).ok());
  CHECK_FALSE(counter.ask(Add{-1}).ok());
  CHECK(*counter.ask(Total{}) == 3);

  const int port = node.figures().health_port;
  REQUIRE(port != 0);
  CHECK(http_ask(port, "GET", "/readyz").body == "ok\n");
  CHECK(http_ask(port, "HEAD", "/livez").status == 200);
  CHECK(http_ask(port, "GET", "/startupz").status == 200);
  const auto body = nlohmann::json::parse(http_ask(port, "GET", "/health").body);
  CHECK(body["status"] == "Healthy");
  CHECK(body["cluster"]["shards"]["owned"] == 16);
  CHECK(http_ask(port, "GET", "/readyz?verbose").body.front() == '{');

  const HttpReply reply = http_ask(port, "GET", "/metrics");
  CHECK(has(reply.head, "text/plain; version=0.0.4"));
  const std::string& text = reply.body;
  const std::string add = "{service=\"orders\",kind=\"counter\",message=\"Add\"} ";
  CHECK(has(text, "catga_requests_total" + add + "4\n"));
  CHECK(has(text, "catga_requests_succeeded_total" + add + "4\n"));
  CHECK(has(text, "catga_requests_failed_total" + add + "0\n"));
  CHECK(has(text, "catga_request_duration_seconds_count" + add + "4\n"));
  CHECK(has(text, "catga_turn_duration_seconds_count" + add + "4\n"));
  CHECK(has(text, "message=\"Add\",code=\"rejected\"} 1\n"));
  CHECK(
      has(text, "catga_requests_total{service=\"orders\",kind=\"counter\",message=\"Total\"} 1\n"));
  CHECK(has(
      text,
      "catga_messages_received_total{service=\"orders\",kind=\"counter\",pattern=\"ask\"} 5\n"));
  CHECK(has(text, "catga_requests_active{service=\"orders\",kind=\"counter\"} 0\n"));
  CHECK(has(text,
            "catga_ask_duration_seconds_count{service=\"orders\",kind=\"counter\","
            "message=\"Add\",outcome=\"ok\"} 3\n"));
  CHECK(has(text,
            "catga_ask_duration_seconds_count{service=\"orders\",kind=\"counter\","
            "message=\"Add\",outcome=\"rejected\"} 1\n"));
  CHECK(has(text,
            "catga_messages_sent_total{service=\"orders\",kind=\"counter\","
            "pattern=\"ask\",route=\"local\"} 5\n"));
  CHECK(has(text, "catga_retry_attempts_total{service=\"orders\",kind=\"counter\"} 0\n"));
  CHECK(has(text, "catga_entities{service=\"orders\",kind=\"counter\"} 1\n"));
  CHECK(has(
      text,
      "catga_entity_activations_total{service=\"orders\",kind=\"counter\",outcome=\"ok\"} 1\n"));
  CHECK(has(text, "catga_commit_batch_size_sum{service=\"orders\"} 4\n"));
  CHECK(has(text, "catga_shards{service=\"orders\",state=\"owned\"} 16\n"));
  CHECK(has(text, "catga_cluster_nodes{service=\"orders\",state=\"up\"} 1\n"));
  CHECK(has(text, "catga_node_ready{service=\"orders\"} 1\n"));
  CHECK(node.stop().ok());
}

TEST_CASE("an entity that takes all of a busy node is found and told, but not by its key") {
  Config config = quiet();
  config.hot.min_rate = 20;
  config.hot.window = std::chrono::milliseconds(1000);
  Node node(config);
  node.host<Counter>();
  REQUIRE(node.start().ok());
  auto busy = node.ref<Counter>("hush");
  const int health = node.figures().health_port, admin = node.figures().admin_port;
  const auto begin = std::chrono::steady_clock::now();
  bool found = false;
  while (!found && std::chrono::steady_clock::now() - begin < std::chrono::seconds(60)) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
    while (std::chrono::steady_clock::now() < end) REQUIRE(busy.ask(Total{}).ok());
    const std::string text = http_ask(health, "GET", "/metrics").body;
    found = has(text, "catga_hot_shards{service=\"orders\"} 1\n") &&
            has(text, "catga_hot_entities{service=\"orders\",kind=\"counter\"} 1\n");
  }
  CHECK(found);
  std::string events;
  while (!has(events, "catga.hot.entity") &&
         std::chrono::steady_clock::now() - begin < std::chrono::seconds(60))
    events = http_ask(admin, "GET", "/api/v1/events?limit=100&after=0").body;
  CHECK(has(events, "catga.hot.shard"));
  CHECK(has(events, "catga.hot.entity"));
  CHECK(has(events, "\"catga.entity.kind\":\"counter\""));
  CHECK(has(events, "\"wait_ms\":"));
  CHECK_FALSE(has(events, "hush"));
  CHECK(has(events, "counter/#"));  // telemetry.entity_keys: its hash
}

TEST_CASE(
    "what waits for a busy entity is counted while it waits, and its replies while it is there") {
  Node node(quiet());
  node.host<Slow>();
  REQUIRE(node.start().ok());
  const int port = node.figures().health_port;
  const auto shown = [&](const std::string& line) {
    const auto begin = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - begin < std::chrono::seconds(60))
      if (has(http_ask(port, "GET", "/metrics").body, line)) return true;
    return false;
  };
  const std::string mailbox = "catga_messages_queued{service=\"orders\",place=\"mailbox\"} ";
  const std::string replies = "catga_idempotency_bytes{service=\"orders\"} ";
  CHECK(shown(mailbox + "0\n"));
  CHECK(shown(replies + "0\n"));
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back(
        [&node] { (void)node.ref<Slow>("one").ask(Wait{}, std::chrono::seconds(60)); });
  CHECK(shown(mailbox + "4\n"));  // one of them runs
  Slow::gate().set_value();
  for (std::thread& caller : callers) caller.join();
  CHECK(shown(mailbox + "0\n"));
  CHECK(shown(replies + "404\n"));  // four replies of a byte
  CHECK(
      shown("catga_messages_received_total{service=\"orders\",kind=\"slow\",pattern=\"ask\"} 4\n"));
}

TEST_CASE("a timer that fires is a message sent on this node, and received") {
  Node node(quiet());
  node.host<Slow>();
  REQUIRE(node.start().ok());
  REQUIRE(node.ref<Slow>("two").ask(Later{}, std::chrono::seconds(10)).ok());
  const int port = node.figures().health_port;
  const std::string of_kind = "{service=\"orders\",kind=\"slow\",pattern=\"timer\"";
  const auto begin = std::chrono::steady_clock::now();
  std::string text;
  while (!has(text, "catga_messages_received_total" + of_kind + "} 1\n") &&
         std::chrono::steady_clock::now() - begin < std::chrono::seconds(60))
    text = http_ask(port, "GET", "/metrics").body;
  CHECK(has(text, "catga_messages_received_total" + of_kind + "} 1\n"));
  CHECK(has(text, "catga_messages_sent_total" + of_kind + ",route=\"local\"} 1\n"));
}

TEST_CASE("a scraper that asks for OpenMetrics gets it, and metrics can be off") {
  Config config = quiet();
  config.metrics.instance_label = true;
  Stand stand(config);
  const HttpReply open = http_ask(stand.listeners->health_port(), "GET", "/metrics",
                                  "Accept: application/openmetrics-text;version=1.0.0\r\n");
  CHECK(has(open.head, "application/openmetrics-text; version=1.0.0"));
  Node node(config);
  node.host<Counter>();
  REQUIRE(node.start().ok());
  const HttpReply text =
      http_ask(node.figures().health_port, "GET", "/metrics",
               "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
  CHECK(text.body.ends_with("\n# EOF\n"));
  CHECK(has(text.body, "catga_node_ready{service=\"orders\",instance=\"embedded\"} 1\n"));
  CHECK(has(text.body, ",revision=\""));
  config.metrics.enabled = false;
  Node silent(config);
  silent.host<Counter>();
  REQUIRE(silent.start().ok());
  const HttpReply none = http_ask(silent.figures().health_port, "GET", "/metrics");
  CHECK(none.status == 404);
  CHECK(has(none.body, "metrics.enabled"));
}

TEST_CASE("an operator's order is counted and told, without the key it is about") {
  const TokenFile file("sesame-sesame-16\n");
  Config config = quiet();
  config.admin.token_file = file.path();
  config.admin.read_only = false;
  Node node(config);
  node.host<Counter>();
  REQUIRE(node.start().ok());
  REQUIRE(node.ref<Counter>("hush").ask(Add{1}).ok());
  const std::string token = "Authorization: Bearer sesame-sesame-16\r\n";
  const int admin = node.figures().admin_port;
  CHECK(http_ask(admin, "POST", "/api/v1/entity/passivate?kind=counter&key=hush",
                 token + "Content-Type: application/json\r\n", "{}")
            .status == 200);
  CHECK(http_ask(admin, "POST", "/api/v1/entity/nonsense?kind=counter&key=hush",
                 token + "Content-Type: application/json\r\n", "{}")
            .status == 404);
  const std::string text = http_ask(node.figures().health_port, "GET", "/metrics").body;
  CHECK(has(text, "catga_admin_actions_total{service=\"orders\",verb=\"passivate\"} 1\n"));
  CHECK(has(text, "catga_admin_actions_total{service=\"orders\",verb=\"drain\"} 0\n"));
  CHECK_FALSE(has(text, "nonsense"));
  const auto begin = std::chrono::steady_clock::now();
  std::string events;
  while (!has(events, "catga.admin.action") &&
         std::chrono::steady_clock::now() - begin < std::chrono::seconds(30))
    events = http_ask(admin, "GET", "/api/v1/events?limit=100&after=0", token).body;
  CHECK(has(events, "\"verb\":\"passivate\""));
  CHECK(has(events, "\"target\":\"counter\""));
  CHECK_FALSE(has(events, "hush"));
}

TEST_CASE("every row of the table of metrics is written by a node that hosts a saga") {
  const std::map<std::string, Kind, std::less<>> kinds;
  NodeMetrics metrics(kinds, 16);
  NodeMetrics::Now now;
  now.saga_types = {"order"};
  now.sagas["order"].by_version[1] = 0;
  const TrafficMetrics traffic(kinds);
  Stand stand(quiet());
  Exposition out("orders");
  add_process(out);
  metrics.write(out, now);
  traffic.write(out);
  stand.listeners->write(out);
  for (const std::string_view name : out.missing()) FAIL_CHECK("nothing writes ", name);
}

TEST_CASE("a node whose port is taken does not start, and names the port") {
  Config config = quiet();
  config.admin.listen = "off";
  Node first(config);
  first.host<Counter>();
  REQUIRE(first.start().ok());
  config.health.listen = "127.0.0.1:" + std::to_string(first.figures().health_port);
  Node second(config);
  second.host<Counter>();
  const Status started = second.start();
  REQUIRE_FALSE(started.ok());
  CHECK(started.error().code == Code::malformed);  // run() makes it exit code 78
  CHECK(has(started.error().text, "health.listen"));
  CHECK(has(started.error().text, config.health.listen));
}

TEST_CASE("programs that fill a Config by hand open no listener") {
  Config config = Config::embedded();
  config.cluster.shards = 16;
  Node node(config);
  node.host<Counter>();
  REQUIRE(node.start().ok());
  CHECK(node.figures().health_port == 0);
  CHECK(node.figures().admin_port == 0);
}

TEST_CASE("the health listener shows no more than probes, metrics and version") {
  Stand stand(quiet());
  const int port = stand.listeners->health_port();
  CHECK(http_ask(port, "GET", "/metrics").status == 200);
  CHECK(http_ask(port, "GET", "/version").status == 200);
  CHECK(http_ask(port, "GET", "/api/v1/cluster").status == 404);
  CHECK(http_ask(port, "GET", "/ui").status == 404);
  CHECK(http_ask(port, "POST", "/livez", "", "x").status == 405);
}

TEST_CASE("the admin listener carries questions to the API, and health to probes") {
  Stand stand(quiet());
  CHECK(http_ask(stand.port(), "GET", "/api/v1/entity?kind=account&key=a%2Fb").status == 200);
  REQUIRE(stand.asked.size() == 1);
  CHECK(stand.asked[0].path == "/api/v1/entity");
  CHECK(stand.asked[0].query.at("key") == "a/b");
  CHECK_FALSE(stand.asked[0].may_write);
  CHECK(http_ask(stand.port(), "GET", "/livez").status == 200);
  CHECK(http_ask(stand.port(), "GET", "/readyz").status == 503);  // the facts are empty
  CHECK(http_ask(stand.port(), "GET", "/metrics").status == 200);
  const HttpReply page = http_ask(stand.port(), "GET", "/ui");
  CHECK(page.status == 404);
  CHECK(has(page.body, "no dashboard"));
  CHECK(http_ask(stand.port(), "POST", "/api/v1/rebalance/pause",
                 "Content-Type: application/json\r\n", "{}")
            .status == 403);
  CHECK(http_ask(stand.port(), "DELETE", "/api/v1/cluster").status == 403);
  CHECK(stand.asked.size() == 1);
}

TEST_CASE("answers of the API are never stored, sniffed or referred") {
  Stand stand(quiet());
  const HttpReply reply = http_ask(stand.port(), "GET", "/api/v1/cluster");
  CHECK(has(reply.head, "Cache-Control: no-store"));
  CHECK(has(reply.head, "X-Content-Type-Options: nosniff"));
  CHECK(has(reply.head, "Referrer-Policy: no-referrer"));
}

TEST_CASE("a page of another site cannot reach the API under a name of its own") {
  Stand stand(quiet());
  CHECK(http_ask(stand.port(), "GET", "/api/v1/cluster", "Host: evil.example\r\n").status == 403);
  CHECK(http_ask(stand.port(), "GET", "/ui", "Host: evil.example\r\n").status == 403);
  CHECK(stand.asked.empty());
}

TEST_CASE("with a token and read_only off, changes pass and everything else needs the token") {
  const TokenFile file("sesame-sesame-16\n");
  Config config = quiet();
  config.admin.token_file = file.path();
  config.admin.read_only = false;
  Stand stand(config);
  REQUIRE(stand.opened.ok());
  CHECK(http_ask(stand.port(), "GET", "/api/v1/cluster").status == 401);
  CHECK(http_ask(stand.port(), "GET", "/api/v1/events").status == 401);
  CHECK(http_ask(stand.port(), "GET", "/livez").status == 200);
  const std::string token = "Authorization: Bearer sesame-sesame-16\r\n";
  CHECK(http_ask(stand.port(), "GET", "/api/v1/cluster", token).status == 200);
  CHECK(http_ask(stand.port(), "POST", "/api/v1/nodes/a/drain", token, "{}").status == 415);
  CHECK(http_ask(stand.port(), "POST", "/api/v1/nodes/a/drain",
                 token + "Content-Type: application/json\r\n", "{}")
            .status == 200);
  REQUIRE(stand.asked.size() == 2);
  CHECK(stand.asked[1].may_write);
  CHECK(stand.asked[1].client == "127.0.0.1");
}

TEST_CASE("a token that cannot be read, or guessed in no time, is a reason not to start") {
  Config config = quiet();
  config.admin.token_file = "/nowhere/token";
  CHECK(has(Stand(config).opened.error().text, "/nowhere/token"));
  const TokenFile weak("12345\n");
  config.admin.token_file = weak.path();
  CHECK_FALSE(Stand(config).opened.ok());
}

TEST_CASE("beyond loopback the admin listener needs a token") {
  Config config = quiet();
  config.admin.listen = "0.0.0.0:0";
  const Status checked = config.validate();
  REQUIRE_FALSE(checked.ok());
  CHECK(has(checked.error().text, "admin.token_file"));
  config.admin.allow_insecure = true;
  CHECK(config.validate().ok());
  config.admin.stream_clients = 32;
  CHECK(has(config.validate().error().text, "admin.threads"));
}

TEST_CASE("a reader of the stream hears events, and goes on where it stopped") {
  Stand stand(quiet());
  stand.events.push("catga.node.joined", "{\"n\":1}");
  HttpConnection first(stand.port());
  first.send(stream_request);
  CHECK(has(first.read_until("retry: 2000\n\n"), "Content-Type: text/event-stream"));
  stand.events.push("catga.node.left", "{\"n\":2}");
  CHECK(has(first.read_until("data: {\"n\":2}\n\n"), "id: 7f3a-2\nevent: catga.node.left\n"));
  HttpConnection again(stand.port());
  again.send(
      "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: "
      "text/event-stream\r\nLast-Event-ID: 7f3a-1\r\n\r\n");
  CHECK_FALSE(has(again.read_until("data: {\"n\":2}\n\n"), "{\"n\":1}"));
  const auto page =
      nlohmann::json::parse(http_ask(stand.port(), "GET", "/api/v1/events?limit=1&after=0").body);
  CHECK(page["events"].size() == 1);
  CHECK(page["next"] == "1");
}

TEST_CASE("a browser that never reads its stream holds up nobody, and loses its place") {
  Config config = quiet();
  config.admin.threads = 4;
  config.admin.stream_clients = 1;
  Stand stand(config);
  const auto stream_status = [&stand] {
    HttpConnection next(stand.port());
    next.send(stream_request);
    return std::stoi(next.read_until("\r\n\r\n").substr(9, 3));
  };
  HttpConnection sleeper(stand.port());
  sleeper.send(stream_request);
  const auto begin = std::chrono::steady_clock::now();
  int status = stream_status();
  while (status == 200 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(10))
    status = stream_status();  // it came before the sleeper
  REQUIRE(status == 503);
  const std::string event = "{\"text\":\"" + std::string(16'000, 'x') + "\"}";
  while (status != 200 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(60)) {
    const auto before = std::chrono::steady_clock::now();
    for (int i = 0; i < 500; ++i) stand.events.push("catga.node.joined", event);
    CHECK(http_ask(stand.port(), "GET", "/livez").status == 200);
    CHECK(http_ask(stand.port(), "GET", "/api/v1/cluster").status == 200);
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(3));
    status = stream_status();
  }
  CHECK(status == 200);
}

TEST_CASE("streams are counted: one too many is told to come again, and probes do not notice") {
  Config config = quiet();
  config.admin.threads = 4;
  config.admin.stream_clients = 2;
  Stand stand(config);
  std::vector<std::unique_ptr<HttpConnection>> readers;
  for (int i = 0; i < 2; ++i) {
    readers.push_back(std::make_unique<HttpConnection>(stand.port()));
    readers.back()->send(stream_request);  // and never read: a browser that went to sleep
  }
  for (auto& reader : readers) CHECK(has(reader->read_until("retry: 2000\n\n"), "retry"));
  const HttpReply refused =
      http_ask(stand.port(), "GET", "/api/v1/events", "Accept: text/event-stream\r\n");
  CHECK(refused.status == 503);
  CHECK(has(refused.head, "Retry-After: 5"));
  CHECK(http_ask(stand.port(), "GET", "/livez").status == 200);
  CHECK(http_ask(stand.listeners->health_port(), "GET", "/livez").status == 200);
  readers.pop_back();
  for (int i = 0; i < 100; ++i)
    stand.events.push("catga.node.joined", "{}");  // a write finds the end
  int status = 503;
  for (int i = 0; i < 100 && status == 503; ++i) {
    stand.events.push("catga.node.joined", "{}");
    HttpConnection next(stand.port());
    next.send(stream_request);
    status = std::stoi(next.read_until("\r\n\r\n").substr(9, 3));
  }
  CHECK(status == 200);
  const auto began = std::chrono::steady_clock::now();
  stand.listeners->close();
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(3));
}
