// A cluster as a collector sees it: one trace per rebalance, and asks that can be followed through it.
#include <catga/runtime/messaging/jetstream.hpp>
#include <catga/runtime/messaging/nats.hpp>
#include <catga/sharding/ring.hpp>

#include "../support/collector.hpp"
#include "event_kinds.hpp"
#include "lone_node.hpp"
#include "sagas.hpp"
#include "scene.hpp"

#include <csignal>
#include <cstdlib>
#include <set>

namespace catga::testing {
namespace {

using nlohmann::json;

const std::string outer_trace = "4bf92f3577b34da6a3ce929d0e0e4736", outer_span = "00f067aa0ba902b7";

/// Any NATS client that traces.
class TracedCaller {
 public:
  explicit TracedCaller(Scene& scene)
      : nats_(must(connect(scene.config("caller"), "caller", {}))) {}
  void call(const std::string& path, const std::string& body) {
    must(nats_.publish_with_headers(
        "catga.test.call." + path, "",
        {{"traceparent", "00-" + outer_trace + "-" + outer_span + "-01"}}, body));
  }
  void flush() { must(nats_.flush(5s)); }

 private:
  NatsConnection nats_;
};

NodeProcess::Environment environment(const Collector& collector) {
  return {{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()},
          {"OTEL_BSP_SCHEDULE_DELAY", "50"},
          {"OTEL_BLRP_SCHEDULE_DELAY", "50"},
          {"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"}};
}

std::vector<json> named(Collector& collector, const std::string& name) {
  std::vector<json> found;
  for (json& span : collector.spans())
    if (span["name"] == name) found.push_back(std::move(span));
  return found;
}

std::string node_of(const json& span) { return attribute(span["resource"], "catga.node.id"); }

MembershipView view_of(const std::vector<std::string>& names) {
  MembershipView view;
  for (std::size_t i = 0; i < names.size(); ++i)
    view.members.push_back(
        Member{Incarnation{1, i + 1}, MemberState::up, names[i], 1, "-", "-", 1});
  return view;
}

/// A counter whose shard moves from another node to `joiner` when that joins the others.
std::string key_that_moves(const std::vector<std::string>& others, const std::string& joiner) {
  std::vector<std::string> all = others;
  all.push_back(joiner);
  const Placement before(view_of(others), Scene::shards), after(view_of(all), Scene::shards);
  for (const std::string& key : Scene::key_per_shard()) {
    const ShardId shard = shard_of("counter", key, Scene::shards);
    if (before.target(shard) == Incarnation{1, 1} && after.target(shard) == Incarnation{1, 3})
      return key;
  }
  FAIL("no shard moves");
  return {};
}

/// OpenTelemetry's variables of this very program: its client traces.
class Traced {
 public:
  explicit Traced(const Collector& collector) : variables_(environment(collector)) {
    for (const auto& [name, value] : variables_)
      ::setenv(name.c_str(), value.c_str(), 1);  // NOLINT: no other thread runs yet
  }
  ~Traced() {
    for (const auto& [name, value] : variables_) ::unsetenv(name.c_str());  // NOLINT
  }
  Traced(const Traced&) = delete;
  Traced& operator=(const Traced&) = delete;

 private:
  const NodeProcess::Environment variables_;
};

/// The one span of this name and kind, once it is there.
json only(Collector& collector, const std::string& name, int kind) {
  std::vector<json> found;
  const auto look = [&] {
    found.clear();
    for (json& span : named(collector, name))
      if (span["kind"] == kind) found.push_back(std::move(span));
    return !found.empty();
  };
  REQUIRE_MESSAGE(eventually(look), name);
  REQUIRE_MESSAGE(found.size() == 1, name);
  return found[0];
}

bool child_of(const json& span, const json& parent) {
  return span["traceId"] == parent["traceId"] && span.value("parentSpanId", "") == parent["spanId"];
}

constexpr int internal = 1, server = 2, client = 3, producer = 4, consumer = 5;

}  // namespace

TEST_CASE("a third node joins: one trace, with a root, a child per shard that moved, and links") {
  if (!servers_here()) return;
  Collector collector;
  Scene scene;
  const auto traced = environment(collector);
  const Flags flags{"--cluster-min-members", "2", "--membership-settle", "800ms"};
  for (const char* name : {"a", "b"}) scene.launch(name, flags, traced);
  for (const char* name : {"a", "b"}) scene.expect_ready(name);
  scene.expect_up(2);
  TracedCaller caller(scene);
  const std::string key = key_that_moves({"a", "b"}, "c");
  must(scene.counter(key).ask(Add{1}));
  scene.launch("c", flags, traced);
  REQUIRE(scene.node("a").says("node c is up", 10s));
  // The shard cannot leave before this handler returns; what comes meanwhile is handed over.
  caller.call("counter." + key + ".Busy", R"({"for_ms":2500})");
  const ShardId shard = shard_of("counter", key, Scene::shards);
  REQUIRE(scene.node("a").says("shard " + std::to_string(shard.value) + " is offered to c", 10s));
  std::size_t adds = 0;
  const std::string moved = "shard " + std::to_string(shard.value) + " moved a -> c";
  REQUIRE(eventually([&] {
    caller.call("counter." + key + ".Add", R"({"amount":1})");
    adds += 1;
    std::this_thread::sleep_for(15ms);
    return scene.node("a").has_said(moved);
  }));
  caller.flush();
  scene.expect_ready("c");
  REQUIRE(eventually([&] { return !named(collector, "catga.rebalance").empty(); }, 20s));
  REQUIRE(eventually([&] { return named(collector, "counter/Add").size() >= 2 * adds; }));

  const auto roots = named(collector, "catga.rebalance");
  REQUIRE(roots.size() == 1);
  CHECK_FALSE(roots[0].contains("parentSpanId"));
  CHECK(attribute(roots[0], "catga.rebalance.reason") == "node_joined");
  CHECK(attribute(roots[0], "catga.rebalance.outcome") == "ok");
  const auto moves = named(collector, "catga.shard.handoff");
  CHECK(std::to_string(moves.size()) == attribute(roots[0], "catga.rebalance.moves_completed"));
  CHECK(moves.size() > 5);
  std::set<std::string> shards, ids;
  for (const json& move : moves) {
    CHECK(move["traceId"] == roots[0]["traceId"]);
    CHECK(move["parentSpanId"] == roots[0]["spanId"]);
    CHECK(attribute(move, "catga.node.to") == "c");
    CHECK(attribute(move, "catga.node.from") == node_of(move));
    CHECK(shards.insert(attribute(move, "catga.shard.id")).second);
    ids.insert(move["spanId"]);
  }
  const auto releases = named(collector, "catga.shard.release");
  const auto acquires = named(collector, "catga.shard.acquire");
  CHECK(releases.size() == moves.size());
  CHECK(acquires.size() == moves.size());
  for (const json& acquire : acquires) {
    CHECK(node_of(acquire) == "c");
    CHECK(ids.contains(acquire["parentSpanId"].get<std::string>()));
  }
  int linked = 0;
  for (const json& span : named(collector, "counter/Add")) {
    if (!span.contains("links")) continue;
    linked += 1;
    CHECK(span["kind"] == 2);
    CHECK(node_of(span) == "c");
    CHECK(span["links"][0]["traceId"] == roots[0]["traceId"]);
    CHECK(ids.contains(span["links"][0]["spanId"].get<std::string>()));
    CHECK(attribute(span["links"][0], "catga.link.reason") == "delayed_by_handoff");
  }
  CHECK(linked >= 1);
  int activated = 0;  // one counter, for the first of the messages that waited
  for (const json& span : named(collector, "catga.activate")) {
    if (!span.contains("links")) continue;
    activated += 1;
    CHECK(node_of(span) == "c");
    CHECK(ids.contains(span["links"][0]["spanId"].get<std::string>()));
    CHECK(attribute(span["links"][0], "catga.link.reason") == "activated_by_handoff");
  }
  CHECK(activated == 1);
  CHECK(collector.offences() == std::vector<std::string>{});
}

TEST_CASE("an ask is followed from its caller through the entities it asks, to their commits") {
  if (!servers_here()) return;
  Collector collector;
  Scene scene;
  for (const char* name : {"a", "b"})
    scene.launch(name, {"--cluster-min-members", "2"}, environment(collector));
  for (const char* name : {"a", "b"}) scene.expect_ready(name);
  TracedCaller caller(scene);
  caller.call("walker.one.Walk", R"({"path":["two","three"],"rest_ms":0})");
  caller.call("counter.bad.Break", R"({"words":"oh no","politely":false})");
  caller.call("counter.no.Break", R"({"words":"no","politely":true})");
  REQUIRE(eventually([&] {
    return named(collector, "walker/Walk").size() >= 6 &&
           named(collector, "counter/Break").size() >= 4;
  }));
  REQUIRE(eventually([&] { return named(collector, "catga.commit").size() >= 3; }));
  std::map<std::string, json> by_id;
  for (const json& span : collector.spans()) by_id[span["spanId"]] = span;
  int servers = 0;
  for (const json& span : named(collector, "walker/Walk")) {
    CHECK(span["traceId"] == outer_trace);
    CHECK(attribute(span, "rpc.system.name") == "catga");
    CHECK(attribute(span, "rpc.status_code") == "ok");
    if (span["kind"] != 2) continue;
    servers += 1;
    CHECK(attribute(span, "catga.entity.kind") == "walker");
    CHECK_FALSE(attribute(span, "catga.shard.id").empty());
    // up: turn, its ask, the turn that asked, ..., the caller outside
    int asks = 0;
    std::string parent = span["parentSpanId"];
    for (bool client = true; by_id.contains(parent); client = !client) {
      CHECK(by_id[parent]["kind"] == (client ? 3 : 2));
      asks += client ? 1 : 0;
      parent = by_id[parent]["parentSpanId"];
    }
    CHECK(parent == outer_span);
    CHECK(asks >= 1);
  }
  CHECK(servers == 3);
  for (const json& span : named(collector, "counter/Break")) {
    const bool polite = attribute(span, "rpc.status_code") == "rejected";
    CHECK(span["status"].value("code", 0) == (polite ? 0 : 2));
    CHECK(attribute(span, "error.type") == (polite ? "" : "failed"));
  }
  for (const json& commit : named(collector, "catga.commit")) {
    CHECK(commit["kind"] == 3);
    CHECK(attribute(commit, "db.system.name") == "redis");
    CHECK(attribute(commit, "catga.commit.outcome") == "ok");
    CHECK(by_id.contains(commit["parentSpanId"].get<std::string>()));
  }
  // the log's events are there as well, whatever the level
  CHECK(eventually([&] {
    for (const json& record : collector.records())
      if (record.value("eventName", "") == "catga.node.joined") return true;
    return false;
  }));
  scene.node("a").signal(SIGTERM);
  CHECK(scene.node("a").exit_code(20s) == 0);
  CHECK(eventually([&] {  // what waited at the end was sent
    for (const json& record : collector.records())
      if (record.value("eventName", "") == "catga.node.drained") return true;
    return false;
  }));
  CHECK(collector.offences() == std::vector<std::string>{});
}

TEST_CASE("a saga is one trace with its steps, what they ask and what is undone, whoever runs it") {
  if (!servers_here()) return;
  Collector collector;
  Scene scene;
  const Traced traced(collector);  // the nodes inherit it
  LoneNode node(scene);
  Client& caller = scene.client();
  for (const char* shelf : {"tea", "cup", "purse", "paper", "mails", "counts"})
    must(caller.ref<Shelf>(shelf).ask(Stock{10}, {.timeout = 20s}));
  TestOrder order;
  order.id = "17";
  order.shelves = {"tea", "cup"};
  order.purse = "purse";
  order.price = 5;
  order.asks = true;
  order.with_child = true;
  order.last = "nothing";  // is refused: all goes back
  const auto saga = must(caller.start(order_saga(), order.id, order));
  const auto step = [&collector](const std::string& name, bool undo) {
    std::vector<json> found;
    for (json& span : named(collector, "catga.saga.step")) {
      if (attribute(span, "catga.saga.step") == name &&
          attribute(span, "catga.saga.undo") == (undo ? "true" : "false"))
        found.push_back(std::move(span));
    }
    return found;
  };
  // The collector has heard of the step, and the journal has it: nobody makes it again.
  REQUIRE(eventually([&] { return step("pay", false).size() == 1; }));
  REQUIRE(eventually([&] { return must(saga.state()).paid == "yes"; }));
  const std::string first_owner = node_of(step("pay", false)[0]);
  node.process().kill9();
  node.launch();
  must(saga.signal("approval", "1", Approval{"bob"}));
  CHECK(must(saga.wait(30s)).status == SagaStatus::compensated);

  std::map<std::string, json> sagas;
  REQUIRE(eventually([&] {
    for (const json& span : named(collector, "catga.saga"))
      sagas[attribute(span, "catga.saga.type")] = span;
    return sagas.size() == 2;
  }));
  const json &whole = sagas["order"], &child = sagas["invoice"];
  const json start = only(collector, "order/$saga.start", client);
  CHECK_FALSE(start.contains("parentSpanId"));
  CHECK(node_of(start) == "client");
  CHECK(child_of(whole, start));
  CHECK(node_of(whole) != first_owner);
  CHECK(attribute(whole, "catga.saga.type") == "order");
  CHECK(attribute(whole, "catga.saga.id") == "17");
  CHECK(attribute(whole, "catga.saga.outcome") == "compensated");
  CHECK(whole["status"].value("code", 0) == 0);
  const std::map<std::pair<std::string, bool>, std::string> expected{
      {{"line#0", false}, "shelf/Take"},
      {{"line#1", false}, "shelf/Take"},
      {{"pay", false}, "shelf/Take"},
      {{"mail", false}, "shelf/Take"},
      {{"count", false}, "shelf/Take"},
      {{"last", false}, "shelf/Take"},
      {{"invoice", false}, "invoice/$saga.start"},
      {{"invoice", true}, "shelf/PutBack"},
      {{"line#0", true}, "shelf/PutBack"},
      {{"line#1", true}, "shelf/PutBack"},
      {{"pay", true}, "shelf/PutBack"},
      {{"mail", true}, "shelf/PutBack"},
      {{"count", true}, "shelf/PutBack"}};
  std::set<std::string> owners;
  REQUIRE(eventually([&] {
    return named(collector, "catga.saga.step").size() >= expected.size() &&
           named(collector, "shelf/PutBack").size() >= 12;
  }));
  const std::vector<json> all = collector.spans();
  for (const auto& [which, asks] : expected) {
    const auto& [name, undo] = which;
    INFO(name << (undo ? ", undone" : ""));
    const std::vector<json> found = step(name, undo);
    REQUIRE(found.size() == 1);
    CHECK(child_of(found[0], whole));
    CHECK(attribute(found[0], "catga.saga.attempt") == "1");
    CHECK(attribute(found[0], "outcome") == (name == "last" ? "rejected" : "ok"));
    CHECK(found[0]["status"].value("code", 0) == 0);
    CHECK(std::stoll(found[0]["startTimeUnixNano"].get<std::string>()) >=
          std::stoll(whole["startTimeUnixNano"].get<std::string>()) - 50'000'000);
    owners.insert(node_of(found[0]));
    int asked = 0, turns = 0;
    for (const json& ask : all) {
      if (ask["kind"] != client || !child_of(ask, found[0])) continue;
      CHECK(ask["name"] == asks);
      asked += 1;
      for (const json& turn : all)
        if (turn["kind"] == server && child_of(turn, ask)) turns += 1;
      if (ask["name"] == "invoice/$saga.start") CHECK(child_of(child, ask));
    }
    CHECK(asked == 1);
    CHECK(turns == (asks == "invoice/$saga.start" ? 0 : 1));  // the other saga is there instead
  }
  CHECK(attribute(child, "catga.saga.outcome") == "completed");
  const json end = only(collector, "send order/$saga.signal", producer);
  CHECK(child_of(end, child));
  CHECK(owners.size() == 2);
  CHECK(collector.offences() == std::vector<std::string>{});
}

TEST_CASE(
    "what a turn tells is in its trace, and what it sets a timer for begins one with a link") {
  if (!servers_here()) return;
  Collector collector;
  Scene scene;
  scene.launch("a", {}, environment(collector));
  scene.expect_ready("a");
  TracedCaller caller(scene);
  caller.call("counter.one.Pass", R"({"to":"two"})");
  const json pass = only(collector, "counter/Pass", server);
  const json sent = only(collector, "send counter/Add", producer);
  const json told = only(collector, "process counter/Add", consumer);
  CHECK(pass["traceId"] == outer_trace);
  CHECK(child_of(sent, pass));
  CHECK(child_of(told, sent));
  CHECK(attribute(sent, "messaging.destination.template") == "counter");
  CHECK(attribute(sent, "messaging.message.id").size() == 32);
  CHECK(attribute(told, "messaging.operation.name") == "process");
  CHECK_FALSE(told.contains("links"));
  std::vector<json> loads;
  REQUIRE(eventually([&] { return (loads = named(collector, "catga.activate")).size() == 2; }));
  for (const json& load : loads) {
    CHECK(load["kind"] == internal);
    CHECK((child_of(load, pass) || child_of(load, told)));
    CHECK(attribute(load, "catga.entity.kind") == "counter");
    CHECK(attribute(load, "outcome") == "ok");
  }

  caller.call("bell.one.Chime", R"({"period_ms":50})");
  const json set = only(collector, "bell/Chime", server);
  std::vector<json> rung;
  REQUIRE(eventually([&] { return (rung = named(collector, "process bell/Chime")).size() >= 3; }));
  const json* before = &set;
  for (const json& tick : rung) {  // each links to the turn that set it
    CHECK(tick["kind"] == consumer);
    CHECK_FALSE(tick.contains("parentSpanId"));
    CHECK(tick["traceId"] != outer_trace);
    REQUIRE(tick.contains("links"));
    CHECK(tick["links"][0]["traceId"] == (*before)["traceId"]);
    CHECK(tick["links"][0]["spanId"] == (*before)["spanId"]);
    CHECK(attribute(tick["links"][0], "catga.link.reason") == "set_by");
    before = &tick;
  }
  scene.node("a").signal(SIGTERM);
  CHECK(scene.node("a").exit_code(20s) == 0);
  const json drain = only(collector, "catga.drain", internal);
  CHECK_FALSE(drain.contains("parentSpanId"));
  CHECK(attribute(drain, "catga.drain.shards") == std::to_string(Scene::shards));
  CHECK(collector.offences() == std::vector<std::string>{});
}

TEST_CASE(
    "an event's handler and the command it makes are in the trace of the turn that published") {
  if (!servers_here()) return;
  Collector collector;
  Scene scene({}, {.user = "", .password = "", .jetstream = true});
  scene.program = "catga-test-events";
  scene.launch("a", {}, environment(collector));
  scene.expect_ready("a");
  TracedCaller caller(scene);
  // A new subscription begins with what is published from now on, and a node is ready before it has begun.
  std::vector<json> handlings;
  const auto emit = [&] {
    caller.call("source.k.Emit", R"({"count":1,"whisper":false})");
    return eventually(
        [&] { return !(handlings = named(collector, "process source/Counted")).empty(); }, 1s);
  };
  REQUIRE(eventually(emit));
  const json handled = handlings[0];
  const auto beside = [&](const std::string& name, int kind, auto fits) {
    json found;
    REQUIRE_MESSAGE(eventually([&] {
                      for (const json& span : named(collector, name))
                        if (span["kind"] == kind && fits(span)) found = span;
                      return !found.is_null();
                    }),
                    name);
    return found;
  };
  const json emitted =
      beside("source/Emit", server, [&](const json& span) { return child_of(handled, span); });
  const json asked =
      beside("follower/Follow", client, [&](const json& span) { return child_of(span, handled); });
  const json followed =
      beside("follower/Follow", server, [&](const json& span) { return child_of(span, asked); });
  CHECK(emitted["traceId"] == outer_trace);
  CHECK(child_of(handled, emitted));
  CHECK(child_of(asked, handled));
  CHECK(child_of(followed, asked));
  CHECK(attribute(handled, "catga.subscription") == "followers");
  CHECK(attribute(handled, "messaging.destination.template") == "Counted");
  CHECK(collector.offences() == std::vector<std::string>{});
}

TEST_CASE("with trace.link_only what a turn tells begins a trace, linked to the turn's") {
  if (!servers_here()) return;
  Collector collector;
  Scene scene;
  scene.launch("a", {"--trace-link-only", "true"}, environment(collector));
  scene.expect_ready("a");
  TracedCaller caller(scene);
  caller.call("counter.one.Pass", R"({"to":"two"})");
  const json sent = only(collector, "send counter/Add", producer);
  const json told = only(collector, "process counter/Add", consumer);
  CHECK(sent["traceId"] == outer_trace);
  CHECK(told["traceId"] != outer_trace);
  CHECK_FALSE(told.contains("parentSpanId"));
  REQUIRE(told.contains("links"));
  CHECK(told["links"][0]["spanId"] == sent["spanId"]);
  CHECK(attribute(told["links"][0], "catga.link.reason") == "told_by");
  CHECK(collector.offences() == std::vector<std::string>{});
}

TEST_CASE("every turn of an entity that an operator wants to see is traced, and no other") {
  if (!servers_here()) return;
  Collector collector;
  Scene scene;
  auto with = environment(collector);
  with.emplace_back("OTEL_TRACES_SAMPLER", "parentbased_always_off");
  scene.launch("a", {}, with);
  scene.expect_ready("a");
  NatsConnection nats = must(connect(scene.config("x"), "operator"));
  const auto trace = [&nats](const std::string& key, const std::string& seconds) {
    const json asked{{"method", "POST"},
                     {"path", "/api/v1/entity/trace"},
                     {"query", {{"kind", "counter"}, {"key", key}, {"for_s", seconds}}}};
    return json::parse(must(request(nats, "catga.test.admin", asked.dump(), 15s)));
  };
  must(scene.counter("seen").ask(Add{1}));
  const json answer = trace("seen", "60");
  CHECK(answer["status"] == 200);
  CHECK(answer["body"]["node"] == "a");
  CHECK(trace("seen", "0")["status"] == 200);  // over at once
  must(scene.counter("seen").ask(Add{1}));
  CHECK(trace("seen", "9999")["body"]["for_s"] == 3600);  // an hour at the most
  CHECK(trace("seen", "60")["status"] == 200);
  must(scene.counter("seen").ask(Add{1}));
  must(scene.counter("other").ask(Add{1}));
  CHECK(eventually([&] { return !named(collector, "catga.commit").empty(); }));
  scene.node("a").signal(SIGTERM);
  CHECK(scene.node("a").exit_code(30s) == 0);
  const auto turns = named(collector, "counter/Add");
  REQUIRE(turns.size() == 1);
  CHECK_FALSE(turns[0].contains("parentSpanId"));  // its caller's span is not sent
  const auto commits = named(collector, "catga.commit");
  REQUIRE(commits.size() == 1);
  CHECK(commits[0]["parentSpanId"] == turns[0]["spanId"]);
}

TEST_CASE("without OpenTelemetry's variables nothing is sent and nothing is carried") {
  if (!servers_here()) return;
  Scene scene;
  scene.start("a");
  TracedCaller caller(scene);
  caller.call("counter.k.Add", R"({"amount":1})");
  caller.flush();
  CHECK(eventually([&] { return must(scene.counter("k").ask(Get{})) == 1; }));
  CHECK_FALSE(scene.node("a").has_said("trace_id"));
  CHECK_FALSE(scene.node("a").has_said("telemetry"));
}

}  // namespace catga::testing
