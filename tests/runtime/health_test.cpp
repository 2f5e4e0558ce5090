// What probes are told, from facts that are made up.
#include <catga/runtime/http/health.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace catga::http;

namespace {

HealthFacts well() {
  HealthFacts facts;
  facts.service = "orders";
  facts.node = "a";
  facts.joined = facts.session = facts.first_shards = true;
  facts.nats = facts.redis = {true, 1'772'365'588'000, 0};
  facts.nats_grace_ms = 2000;
  facts.shards_owned = facts.shards_wanted = 342;
  facts.shards_configured = 1024;
  facts.view = 1838300000000512;
  return facts;
}

Answer ask(const std::string& path, const HealthFacts& facts, const std::string& exclude = "") {
  Request request;
  request.method = "GET";
  request.path = path;
  if (!exclude.empty()) request.query["exclude"] = exclude;
  return health_answer(request, probe_of(path).value(), facts);
}

}  // namespace

TEST_CASE("a node that is well says ok to every probe") {
  for (const char* const path : {"/livez", "/readyz", "/startupz", "/healthz"}) {
    const Answer answer = ask(path, well());
    CHECK(answer.status == 200);
    CHECK(answer.body == "ok\n");
  }
  CHECK_FALSE(probe_of("/health/other").has_value());
}

TEST_CASE("liveness looks at nothing outside the process") {
  HealthFacts facts;  // has not joined, no session, no NATS, no Redis
  facts.draining = true;
  CHECK(ask("/livez", facts).status == 200);
  CHECK(ask("/health/live", facts).status == 200);
  facts.loops_alive = false;
  CHECK(ask("/livez", facts).status == 503);
}

TEST_CASE("one long handler degrades a node and does not kill it") {
  HealthFacts facts = well();
  facts.slow_handler = "a handler of kind account runs for 60000 ms";
  const Answer answer = ask("/health/live", facts);
  CHECK(answer.status == 200);
  CHECK(nlohmann::json::parse(answer.body)["status"] == "Degraded");
}

TEST_CASE("a node that starts is live, not started and not ready") {
  const HealthFacts facts;
  CHECK(ask("/livez", facts).status == 200);
  CHECK(ask("/startupz", facts).status == 503);
  CHECK(ask("/readyz", facts).status == 503);
}

TEST_CASE("a node that drains or lost its session is not ready, and says which check failed") {
  HealthFacts facts = well();
  facts.draining = true;
  CHECK(ask("/readyz", facts).body == "drain: this node gives its shards away\n");
  CHECK(ask("/readyz", facts, "redis").status == 503);
  CHECK(ask("/readyz", facts, "drain").status == 200);
  facts.draining = false;
  facts.session = false;
  CHECK(ask("/readyz", facts).status == 503);
  CHECK(ask("/readyz", facts, "nats,redis").status == 200);
  CHECK(ask("/readyz", facts, "red").status == 503);
}

TEST_CASE("NATS may be away for its grace, and Redis as long as the session lasts") {
  HealthFacts facts = well();
  facts.nats = {false, 1, 1999};
  facts.redis = {false, 1, 900'000};
  CHECK(ask("/readyz", facts).status == 200);
  facts.nats.lost_for_ms = 2000;
  CHECK(ask("/readyz", facts).status == 503);
}

TEST_CASE("a rebalance never makes a node unready") {
  HealthFacts facts = well();
  facts.shards_owned = 3;
  facts.shards_incoming = 200;
  const Answer answer = ask("/health", facts);
  CHECK(answer.status == 200);
  CHECK(nlohmann::json::parse(answer.body)["checks"]["shards"]["detail"] == "200 incoming");
}

TEST_CASE("the body names node, cluster and checks") {
  const auto body = nlohmann::json::parse(ask("/health/ready", well()).body);
  CHECK(body["status"] == "Healthy");
  CHECK(body["service"] == "orders");
  CHECK(body["cluster"]["view"] == "1838300000000512");
  CHECK(body["cluster"]["shards"]["wanted"] == 342);
  CHECK(body["checks"]["nats"]["since"] == "2026-03-01T11:46:28Z");
  CHECK(body["checks"].size() == 6);
}

TEST_CASE("an embedded node has neither NATS nor Redis to be without") {
  HealthFacts facts = well();
  facts.embedded = true;
  facts.nats = facts.redis = {};
  CHECK(ask("/readyz", facts).status == 200);
}
