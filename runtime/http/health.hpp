// What /livez, /readyz and /startupz say. Pure: facts in, answer out.
#pragma once
#include "catga/runtime/http/server.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace catga::http {

enum class Condition : std::uint8_t { healthy, degraded, unhealthy };
/// "Healthy", "Degraded", "Unhealthy".
std::string_view name_of(Condition condition);

/// What a node knows of itself.
struct HealthFacts {
  std::string service, node, incarnation, version, cluster;
  std::int64_t uptime_s = 0;
  std::uint64_t view = 0;
  std::uint32_t nodes_up = 0;
  std::uint32_t shards_owned = 0, shards_wanted = 0, shards_configured = 0, shards_incoming = 0;

  bool loops_alive = true;    ///< the node's actor and its clock answered in the last 10 s
  std::string slow_handler;   ///< a handler that runs for long; "": none
  bool joined = false;        ///< NATS and Redis were reached, and the view has this node
  bool session = false;       ///< in force: Redis answered in the last seconds
  bool first_shards = false;  ///< those of the first assignment were served, or that took too long
  bool draining = false;
  struct Link {
    bool up = false;
    std::int64_t since_ms = 0;     ///< Unix time of the last change; 0: never
    std::int64_t lost_for_ms = 0;  ///< if not up
  } nats, redis;
  std::int64_t nats_grace_ms = 0;
  bool embedded = false;  ///< neither NATS nor Redis
};

struct Check {
  std::string name;
  Condition condition = Condition::healthy;
  std::string detail;
  std::int64_t since_ms = 0;  ///< Unix time; 0: not known
};

enum class Probe : std::uint8_t { live, ready, started };
/// By path, aliases too; none: it is no health path.
std::optional<Probe> probe_of(std::string_view path);

/// Liveness never looks at NATS, Redis or other nodes: a shared outage must not restart every node at once. Readiness
/// never looks at who owns what later on: a rebalance never makes a node unready.
std::vector<Check> checks_of(Probe probe, const HealthFacts& facts);
Condition worst(const std::vector<Check>& checks);
/// ?exclude=NAME leaves a check out. JSON for /health*, with ?verbose or Accept: application/json; else a word or names.
Answer health_answer(const Request& request, Probe probe, const HealthFacts& facts);

}  // namespace catga::http
