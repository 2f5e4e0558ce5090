#include "catga/runtime/http/health.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <ctime>

namespace catga::http {

namespace {

using nlohmann::json;

constexpr std::array<std::pair<std::string_view, Probe>, 7> paths{{
    {"/livez", Probe::live},
    {"/health/live", Probe::live},
    {"/readyz", Probe::ready},
    {"/health/ready", Probe::ready},
    {"/health", Probe::ready},
    {"/healthz", Probe::ready},
    {"/startupz", Probe::started},
}};

Check check_core(const HealthFacts& facts) {
  if (!facts.loops_alive)
    return {"core", Condition::unhealthy, "an internal loop has not answered for 10 s", 0};
  if (!facts.slow_handler.empty()) return {"core", Condition::degraded, facts.slow_handler, 0};
  return {"core", Condition::healthy, "", 0};
}

Check check_nats(const HealthFacts& facts) {
  const HealthFacts::Link& link = facts.nats;
  if (link.up) return {"nats", Condition::healthy, "", link.since_ms};
  const bool long_gone = link.lost_for_ms >= facts.nats_grace_ms;
  return {"nats", long_gone ? Condition::unhealthy : Condition::degraded, "not connected",
          link.since_ms};
}

/// A lost connection is no trouble as long as the session lasts; then it is that.
Check check_redis(const HealthFacts& facts) {
  const HealthFacts::Link& link = facts.redis;
  if (!facts.session)
    return {"redis", Condition::unhealthy, "the session of this node was not renewed in time",
            link.since_ms};
  if (!link.up) return {"redis", Condition::degraded, "not connected", link.since_ms};
  return {"redis", Condition::healthy, "", link.since_ms};
}

Check check_membership(const HealthFacts& facts) {
  if (facts.joined) return {"membership", Condition::healthy, "", 0};
  return {"membership", Condition::unhealthy, "this node has not joined the cluster", 0};
}

Check check_shards(const HealthFacts& facts) {
  if (!facts.first_shards)
    return {"shards", Condition::unhealthy,
            fmt::format("{} of {} shards are served", facts.shards_owned, facts.shards_wanted), 0};
  if (facts.shards_incoming != 0)
    return {"shards", Condition::degraded, fmt::format("{} incoming", facts.shards_incoming), 0};
  return {"shards", Condition::healthy, "", 0};
}

Check check_drain(const HealthFacts& facts) {
  if (!facts.draining) return {"drain", Condition::healthy, "", 0};
  return {"drain", Condition::unhealthy, "this node gives its shards away", 0};
}

std::string time_text(std::int64_t unix_ms) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(static_cast<std::time_t>(unix_ms / 1000)));
}

std::string json_of(const HealthFacts& facts, const std::vector<Check>& checks) {
  json all = json::object();
  for (const Check& check : checks) {
    json one{{"status", name_of(check.condition)}};
    if (!check.detail.empty()) one["detail"] = check.detail;
    if (check.since_ms != 0) one["since"] = time_text(check.since_ms);
    all[check.name] = std::move(one);
  }
  const json body{{"status", name_of(worst(checks))},
                  {"service", facts.service},
                  {"node", facts.node},
                  {"incarnation", facts.incarnation},
                  {"version", facts.version},
                  {"uptime_s", facts.uptime_s},
                  {"cluster",
                   {{"name", facts.cluster},
                    {"view", std::to_string(facts.view)},
                    {"nodes_up", facts.nodes_up},
                    {"shards",
                     {{"owned", facts.shards_owned},
                      {"wanted", facts.shards_wanted},
                      {"configured", facts.shards_configured}}}}},
                  {"checks", std::move(all)}};
  return body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

/// `ok`, or one failing check a line.
std::string words_of(const std::vector<Check>& checks) {
  std::string text;
  for (const Check& check : checks)
    if (check.condition == Condition::unhealthy)
      text += fmt::format("{}: {}\n", check.name, check.detail);
  return text.empty() ? "ok\n" : text;
}

bool left_out(const Request& request, const std::string& name) {
  const auto given = request.query.find("exclude");
  if (given == request.query.end()) return false;
  return fmt::format(",{},", given->second).find(fmt::format(",{},", name)) != std::string::npos;
}

}  // namespace

std::string_view name_of(Condition condition) {
  switch (condition) {
    case Condition::healthy:
      return "Healthy";
    case Condition::degraded:
      return "Degraded";
    case Condition::unhealthy:
      return "Unhealthy";
  }
  return "Unhealthy";
}

std::optional<Probe> probe_of(std::string_view path) {
  for (const auto& [known, probe] : paths)
    if (known == path) return probe;
  return std::nullopt;
}

std::vector<Check> checks_of(Probe probe, const HealthFacts& facts) {
  switch (probe) {
    case Probe::live:
      return {check_core(facts)};
    case Probe::started:
      return {check_membership(facts)};
    case Probe::ready:
      break;
  }
  std::vector<Check> checks{check_core(facts)};
  if (!facts.embedded) {
    checks.push_back(check_nats(facts));
    checks.push_back(check_redis(facts));
  }
  checks.push_back(check_membership(facts));
  checks.push_back(check_shards(facts));
  checks.push_back(check_drain(facts));
  return checks;
}

Condition worst(const std::vector<Check>& checks) {
  Condition worst = Condition::healthy;
  for (const Check& check : checks) worst = std::max(worst, check.condition);
  return worst;
}

Answer health_answer(const Request& request, Probe probe, const HealthFacts& facts) {
  std::vector<Check> checks = checks_of(probe, facts);
  std::erase_if(checks, [&](const Check& check) { return left_out(request, check.name); });
  const bool as_json =
      request.path.starts_with("/health") && request.path != "/healthz"
          ? true
          : request.query.contains("verbose") ||
                request.header("accept").find("application/json") != std::string_view::npos;
  Answer answer;
  answer.status = worst(checks) == Condition::unhealthy ? 503 : 200;
  answer.headers.emplace_back("Cache-Control", "no-store");
  if (as_json) answer.type = "application/json";
  answer.body = as_json ? json_of(facts, checks) : words_of(checks);
  return answer;
}

}  // namespace catga::http
