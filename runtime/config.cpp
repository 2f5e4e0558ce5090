// Settings: one table says key, unit, bounds and reason of each; all readers and checks go by it.
//
// Four sources are laid over one another: the default in config.hpp, the file, the environment, the
// flags. Every value remembers its source, so that --check-config can say where a number came from,
// and a mistake can be reported where it was made. All mistakes are collected before anything is
// said: a stranger should not have to fix them one run at a time.
#include "catga/runtime/config.hpp"

#include "catga/persistence/redis/options.hpp"
#include "catga/runtime/http/server.hpp"
#include "catga/runtime/retention.hpp"
#include "catga/runtime/settings.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#ifndef CATGA_VERSION
#define CATGA_VERSION "0.1.0"
#endif

namespace catga {
namespace {

using ms = std::chrono::milliseconds;
constexpr const char* default_file = "/etc/catga/catga.json";
constexpr std::size_t file_max = 1 << 20;      // of settings, bytes; all of them fit into 10 KiB
constexpr std::size_t secret_max = 64 * 1024;  // a file with one secret, bytes
constexpr std::size_t levels_max = 8;          // of the objects in a file; two are in use
constexpr std::size_t suggested_for_max = 64;  // a longer wrong name is no slip of the fingers

/// What stands in a file. Errors: malformed, in words that go behind "cannot read".
Result<std::string> content_of(const std::string& path, std::size_t most) {
  std::ifstream in(path, std::ios::binary);
  std::string content(most + 1, '\0');  // not to the end: it may be /dev/zero
  in.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (!in.is_open() || in.bad()) return Error{Code::malformed, ""};
  content.resize(static_cast<std::size_t>(in.gcount()));
  if (content.empty()) return Error{Code::malformed, ": it is empty"};
  if (content.size() > most)
    return Error{Code::malformed, fmt::format(": it has more than {} bytes", most)};
  return content;
}

// ---- Units ------------------------------------------------------------------------------------

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};
// The largest first: printing takes the first that divides.
constexpr std::array<Unit, 5> time_units{
    {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};
constexpr std::array<Unit, 4> byte_units{
    {{"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"B", 1}}};

Result<std::uint64_t> count_from(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || trouble != std::errc{} || end != text.data() + text.size())
    return Error{Code::malformed, fmt::format("\"{}\" is not a whole number", text)};
  return number;
}

template <std::size_t N>
Result<std::uint64_t> amount_from(std::string_view text, const std::array<Unit, N>& units,
                                  std::string_view examples) {
  const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = count_from(text.substr(0, digits));
  if (!number.ok()) return Error{Code::malformed, fmt::format("\"{}\" is not {}", text, examples)};
  const auto unit = text.substr(digits);
  if (unit.empty())
    return Error{Code::malformed, fmt::format("\"{}\" has no unit; write {}", text, examples)};
  for (const auto& known : units) {
    if (known.name != unit) continue;
    if (*number > (1ull << 62) / known.factor)
      return Error{Code::malformed, fmt::format("\"{}\" is too large", text)};
    return *number * known.factor;
  }
  return Error{Code::malformed, fmt::format("\"{}\" is not {}", text, examples)};
}

Result<std::uint64_t> time_from(std::string_view text) {
  return amount_from(text, time_units, "a time such as 500ms, 10s, 5m, 2h or 7d");
}
Result<std::uint64_t> bytes_from(std::string_view text) {
  return amount_from(text, byte_units, "a size such as 512B, 64KiB, 1MiB or 1GiB");
}

template <std::size_t N>
std::string amount_text(std::uint64_t amount, const std::array<Unit, N>& units) {
  for (const auto& unit : units)
    if (amount >= unit.factor && amount % unit.factor == 0)
      return fmt::format("{}{}", amount / unit.factor, unit.name);
  return fmt::format("0{}", units.back().name);
}

Result<bool> flag_from(std::string_view text) {
  if (text == "true" || text == "on" || text == "yes" || text == "1") return true;
  if (text == "false" || text == "off" || text == "no" || text == "0") return false;
  return Error{Code::malformed, fmt::format("\"{}\" is neither true nor false", text)};
}

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto end = std::min(text.find(at), text.size());
    auto part = text.substr(0, end);
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    if (!part.empty()) parts.emplace_back(part);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

/// `nats://user:secret@host` → `nats://***@host`.
std::string masked(std::string_view url) {
  const auto scheme = url.find("://");
  const auto from = scheme == url.npos ? 0 : scheme + 3;
  const auto at = url.substr(from, url.find('/', from) - from).rfind('@');
  if (at == url.npos) return std::string(url);
  return fmt::format("{}***{}", url.substr(0, from), url.substr(from + at));
}

// ---- Checks of single values --------------------------------------------------------------------

using Check = std::function<std::string(const std::string&)>;  // what is wrong, or nothing

bool only(std::string_view text, std::string_view extra, bool upper) {
  return std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (upper && c >= 'A' && c <= 'Z') ||
           extra.find(c) != extra.npos;
  });
}

std::string check_cluster_name(const std::string& name) {
  if (!name.empty() && name.size() <= 52 && only(name, "-", false)) return {};
  return "must be 1 to 52 of a-z, 0-9 and '-': it is the prefix of every subject and key";
}
std::string check_node_id(const std::string& id) {
  if (!id.empty() && id.size() <= 63 && only(id, "._-", true)) return {};
  return "must be 1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-'";
}
std::string check_place(const std::string& name) {
  if (name.size() <= 63 && only(name, "._-", true)) return {};
  return "must be at most 63 of A-Z, a-z, 0-9, '.', '_' and '-'";
}
std::string check_nats_url(const std::string& url) {
  if (url.starts_with("nats://") || url.starts_with("tls://")) return {};
  return "must begin with nats:// or tls://";
}
std::string check_redis_url(const std::string& url) {
  if (url.starts_with("redis://")) return {};
  if (url.starts_with("rediss://"))
    return "asks for TLS, which this build cannot do: hiredis is older than 1.0";
  return "must look like redis://host:6379/0";
}
std::string check_sentinel_master(const std::string& name) {
  if (!name.empty() && name.size() <= 255 && only(name, "._-", true)) return {};
  return "must be 1 to 255 of A-Z, a-z, 0-9, '.', '_' and '-', as sentinels demand";
}
std::string check_log_level(const std::string& levels) {
  static constexpr std::array names{"trace", "debug", "info", "warn", "error", "off"};
  for (const auto& part : split(levels, ',')) {
    const auto level = part.substr(part.find('=') == part.npos ? 0 : part.find('=') + 1);
    if (std::ranges::find(names, level) == names.end())
      return fmt::format("\"{}\" is none of trace, debug, info, warn, error, off", level);
  }
  return levels.empty() ? "must not be empty" : "";
}
std::string check_profile(const std::string& profile) {
  if (profile == "auto" || profile == "fast" || profile == "normal" || profile == "cloud")
    return {};
  return "must be auto, fast, normal or cloud";
}
std::string check_log_format(const std::string& format) {
  if (format == "auto" || format == "json" || format == "text") return {};
  return "must be auto, json or text";
}

std::string check_service_name(const std::string& name) {
  if (!name.empty() && name.size() <= 128) return {};
  return "must have 1 to 128 bytes";
}
std::string check_entity_keys(const std::string& how) {
  if (how == "hash" || how == "plain" || how == "off") return {};
  return "must be hash, plain or off";
}
std::string check_listen(const std::string& address) {
  if (address == "off") return {};
  const auto parts = http::split_address(address);
  return parts.ok() ? "" : parts.error().text;
}

std::string check_stream_name(const std::string& name) {
  if (name.size() <= 200 && only(name, "_-", true)) return {};
  return "must be at most 200 of A-Z, a-z, 0-9, '_' and '-', as JetStream demands";
}
std::string check_event_storage(const std::string& storage) {
  if (storage == "file" || storage == "memory") return {};
  return "must be file or memory";
}

// ---- The table ----------------------------------------------------------------------------------

struct Setting {
  std::string key;
  std::string unit;  ///< what stands for the value in --help
  std::string help;
  std::function<Status(Config&, std::string_view)> set;
  std::function<std::string(const Config&)> get;
  std::function<std::string(const Config&)> wrong;  ///< what is wrong with the value, or nothing
  bool has_flag = true;
  bool secret = false;
  std::string file_of{};  ///< this setting names the file of that secret
};

template <class Number>
Status put(Number& into, const Result<std::uint64_t>& number) {
  if (!number.ok()) return number.error();
  if constexpr (std::is_same_v<Number, ms>) {
    into = ms(static_cast<ms::rep>(*number));
  } else {
    if (!std::in_range<Number>(*number))
      return Error{Code::malformed, fmt::format("\"{}\" is too large", *number)};
    into = static_cast<Number>(*number);
  }
  return Done{};
}

template <class Field>
Setting count(std::string key, Field field, std::uint64_t low, std::uint64_t high,
              std::string help) {
  return {key,
          fmt::format("{}-{}", low, high),
          std::move(help),
          [field](Config& config, std::string_view text) {
            return put(field(config), count_from(text));
          },
          [field](const Config& config) { return fmt::to_string(field(config)); },
          [field, low, high](const Config& config) -> std::string {
            const std::uint64_t value = field(config);
            if (value >= low && value <= high) return {};
            return fmt::format("must be between {} and {}", low, high);
          }};
}

/// A part of something, 0 to 1.
template <class Field>
Setting ratio(std::string key, Field field, double low, double high, std::string help) {
  return {std::move(key),
          fmt::format("{}-{}", low, high),
          std::move(help),
          [field](Config& config, std::string_view text) -> Status {
            double value = 0;
            const auto [end, trouble] =
                std::from_chars(text.data(), text.data() + text.size(), value);
            if (trouble != std::errc{} || end != text.data() + text.size())
              return Error{Code::malformed, fmt::format("\"{}\" is not a number", text)};
            field(config) = value;
            return Done{};
          },
          [field](const Config& config) { return fmt::format("{}", field(config)); },
          [field, low, high](const Config& config) -> std::string {
            if (field(config) >= low && field(config) <= high) return {};  // NaN is neither
            return fmt::format("must be between {} and {}", low, high);
          }};
}

template <class Field>
Setting time(std::string key, Field field, ms low, ms high, std::string help) {
  const auto print = [](ms value) {
    return amount_text(static_cast<std::uint64_t>(value.count()), time_units);
  };
  return {std::move(key),
          "TIME",
          std::move(help),
          [field](Config& config, std::string_view text) {
            return put(field(config), time_from(text));
          },
          [field, print](const Config& config) {
            if (field(config) < ms(0)) return fmt::format("{}ms", field(config).count());
            return print(field(config));
          },
          [field, low, high, print](const Config& config) -> std::string {
            if (field(config) >= low && field(config) <= high) return {};
            return fmt::format("must be between {} and {}", print(low), print(high));
          }};
}

template <class Field>
Setting bytes(std::string key, Field field, std::uint64_t low, std::uint64_t high,
              std::string help) {
  return {std::move(key),
          "BYTES",
          std::move(help),
          [field](Config& config, std::string_view text) {
            return put(field(config), bytes_from(text));
          },
          [field](const Config& config) { return amount_text(field(config), byte_units); },
          [field, low, high](const Config& config) -> std::string {
            if (field(config) >= low && field(config) <= high) return {};
            return fmt::format("must be between {} and {}", amount_text(low, byte_units),
                               amount_text(high, byte_units));
          }};
}

template <class Field>
Setting boolean(std::string key, Field field, std::string help) {
  return {std::move(key),
          "BOOL",
          std::move(help),
          [field](Config& config, std::string_view text) -> Status {
            field(config) = CATGA_TRY(flag_from(text));
            return Done{};
          },
          [field](const Config& config) { return std::string(field(config) ? "true" : "false"); },
          [](const Config&) { return std::string(); }};
}

template <class Field>
Setting text(std::string key, Field field, Check check, std::string help) {
  return {std::move(key),
          "TEXT",
          std::move(help),
          [field](Config& config, std::string_view value) -> Status {
            field(config) = std::string(value);
            return Done{};
          },
          [field](const Config& config) { return masked(field(config)); },
          [field, check = std::move(check)](const Config& config) {
            return check ? check(field(config)) : std::string();
          }};
}

template <class Field>
void add_secret(std::vector<Setting>& table, std::string key, Field field, std::string help) {
  Setting plain = text(key, field, nullptr, help);
  plain.get = [field](const Config& config) {
    return std::string(field(config).empty() ? "" : "***");
  };
  plain.has_flag = false;  // ps shows flags to everyone
  plain.secret = true;
  Setting file = plain;
  file.key += "_file";
  file.unit = "FILE";
  file.help = help + ", read from this file";
  file.has_flag = true;
  file.file_of = std::move(key);
  file.set = [field](Config& config, std::string_view path) -> Status {
    Result<std::string> content = content_of(std::string(path), secret_max);
    if (!content.ok())
      return Error{Code::malformed,
                   fmt::format("cannot read \"{}\"{}", path, content.error().text)};
    field(config) = std::move(*content);
    if (field(config).ends_with('\n')) field(config).pop_back();
    return Done{};
  };
  table.push_back(std::move(plain));
  table.push_back(std::move(file));
}

// A place in the Config, usable on const and mutable ones alike.
#define CATGA_AT(place) \
  [](auto& config) -> auto& { return config.place; }

void add_cluster_settings(std::vector<Setting>& table) {
  constexpr ms day{86'400'000};
  const auto add = [&table](Setting setting) { table.push_back(std::move(setting)); };
  add(text("cluster.name", CATGA_AT(cluster.name), check_cluster_name,
           "prefix of every subject and key"));
  add(count("cluster.shards", CATGA_AT(cluster.shards), 16, 65536,
            "fixed at first start; another count is refused"));
  add(count("cluster.min_members", CATGA_AT(cluster.min_members), 1, 1000,
            "first claims wait for so many nodes, or 10 s"));
  add(boolean("cluster.create", CATGA_AT(cluster.create), "may start an empty cluster"));
  add(text("node.id", CATGA_AT(node.id), check_node_id, "name of this node, stable over restarts"));
  add(count("node.weight", CATGA_AT(node.weight), 1, 16, "share of the shards"));
  add(text("node.region", CATGA_AT(node.region), check_place,
           "where it runs, shown with it; places nothing"));
  add(text("node.zone", CATGA_AT(node.zone), check_place,
           "part of the region where it runs, shown with it; places nothing"));
  add(boolean("node.shadow", CATGA_AT(node.shadow),
              "stand behind a running node of this name and take over when it leaves"));
  add(count("runtime.workers", CATGA_AT(runtime.workers), 0, 1024,
            "threads that run entities; 0: one per core"));
  add(time("membership.heartbeat", CATGA_AT(membership.heartbeat), ms(10), ms(60'000),
           "a sign of life to each watcher this often"));
  add(time("membership.suspect_after", CATGA_AT(membership.suspect_after), ms(30), ms(600'000),
           "silence after which a vote may be cast"));
  add(time("membership.settle", CATGA_AT(membership.settle), ms(0), ms(600'000),
           "wait after a join before shards of the living move"));
  add(time("membership.session_ttl", CATGA_AT(membership.session_ttl), ms(300), ms(600'000),
           "Redis forgets a silent node after this"));
  add(time("membership.session_renew", CATGA_AT(membership.session_renew), ms(50), ms(200'000),
           "the session is extended this often"));
  add(count("membership.watchers", CATGA_AT(membership.watchers), 1, 64,
            "nodes that watch each node"));
  add(text("membership.profile", CATGA_AT(membership.profile), check_profile,
           "patience with silent nodes: auto, fast, normal or cloud"));
  add(count("rebalance.batch", CATGA_AT(rebalance.batch), 1, 4096, "shards per offer"));
  add(count("rebalance.in_flight", CATGA_AT(rebalance.in_flight), 1, 65536,
            "shards moving at once per node, out and in each"));
  add(time("rebalance.drain_timeout", CATGA_AT(rebalance.drain_timeout), ms(10), ms(600'000),
           "a slower handler aborts the move of its shard"));
  add(time("rebalance.forward_for", CATGA_AT(rebalance.forward_for), ms(0), ms(3'600'000),
           "late messages for a moved shard are sent on so long"));
  add(time("drain.timeout", CATGA_AT(drain.timeout), ms(0), day,
           "at shutdown: what is not handed over by then is released"));
  add(time("drain.linger", CATGA_AT(drain.linger), ms(0), ms(600'000),
           "at shutdown: late messages are forwarded at most so long"));
  add(time("start.patience", CATGA_AT(start.patience), ms(0), day,
           "NATS and Redis are tried for so long"));
}

void add_entity_settings(std::vector<Setting>& table) {
  constexpr ms day{86'400'000};
  const auto add = [&table](Setting setting) { table.push_back(std::move(setting)); };
  add(time("entity.idle_timeout", CATGA_AT(entity.idle_timeout), ms(0), 30 * day,
           "an idle entity leaves memory; 0s: never"));
  add(time("entity.turn_warn", CATGA_AT(entity.turn_warn), ms(1), ms(600'000),
           "a handler running longer is named in the log"));
  add(count("entity.max_active", CATGA_AT(entity.max_active), 1, 100'000'000,
            "entities in memory per node; the longest idle leave first"));
  add(count("entity.mailbox", CATGA_AT(entity.mailbox), 1, 10'000'000,
            "messages waiting for one entity; beyond: overloaded"));
  add(bytes("entity.state_max", CATGA_AT(entity.state_max), 1024, 64ull << 20,
            "state of one entity; beyond: failed"));
  add(time("ask.timeout", CATGA_AT(ask.timeout), ms(1), day, "when the caller gives none"));
  add(bytes("ask.payload_max", CATGA_AT(ask.payload_max), 1024, 64ull << 20,
            "one message; beyond: malformed"));
  add(count("ask.pending", CATGA_AT(ask.pending), 1, 100'000'000,
            "asks of this process without answer; beyond: overloaded"));
  add(count("buffer.shard_messages", CATGA_AT(buffer.shard_messages), 0, 10'000'000,
            "held while a shard moves; beyond: overloaded"));
  add(bytes("buffer.node_bytes", CATGA_AT(buffer.node_bytes), 0, 64ull << 30,
            "held by a node for all moving shards"));
  add(count("commit.batch", CATGA_AT(commit.batch), 1, 10'000, "commits per trip to Redis"));
  add(count("commit.pending", CATGA_AT(commit.pending), 1, 10'000'000,
            "commits waiting for Redis; beyond: overloaded"));
  add(count("idempotency.per_entity", CATGA_AT(idempotency.per_entity), 1, 1'000'000,
            "operation ids remembered per entity"));
  add(bytes("idempotency.per_entity_bytes", CATGA_AT(idempotency.per_entity_bytes), 1024,
            512ull << 20, "and so many bytes of replies"));
  add(time("idempotency.retention", CATGA_AT(idempotency.retention), ms(60'000), 365 * day,
           "how long an operation id is remembered"));
  add(count("saga.max_active", CATGA_AT(saga.max_active), 1, 10'000'000,
            "sagas in memory, per node; beyond, new ones are overloaded"));
  add(count("saga.compensation_attempts", CATGA_AT(saga.compensation_attempts), 1, 1'000'000,
            "of an undo; beyond, the saga is parked"));
  add(time("saga.compensation_window", CATGA_AT(saga.compensation_window), ms(1000), 30 * day,
           "or when they took so long"));
  add(time("saga.keep_finished", CATGA_AT(saga.keep_finished), ms(60'000), 365 * day,
           "journals of sagas that have ended"));
}

void add_event_settings(std::vector<Setting>& table) {
  constexpr ms day{86'400'000};
  const auto add = [&table](Setting setting) { table.push_back(std::move(setting)); };
  add(text("events.stream", CATGA_AT(events.stream), check_stream_name,
           "JetStream stream of the events; empty: catga-<cluster>"));
  add(count("events.replicas", CATGA_AT(events.replicas), 1, 5,
            "of the stream, when it is made; at most the NATS servers"));
  add(text("events.storage", CATGA_AT(events.storage), check_event_storage,
           "of the stream, when it is made: file or memory"));
  add(time("events.max_age", CATGA_AT(events.max_age), ms(0), 3650 * day,
           "of the stream, when it is made: older events go; 0s: never"));
  add(bytes("events.max_bytes", CATGA_AT(events.max_bytes), 0, 1ull << 50,
            "of the stream, when it is made: beyond it the oldest go; 0B: no bound"));
  add(count("events.attempts", CATGA_AT(events.attempts), 1, 1000,
            "of a handler at one event, then it is a dead letter"));
  add(count("events.unacknowledged", CATGA_AT(events.unacknowledged), 1, 10'000,
            "events that a reader has in hand at once"));
  add(time("events.ack_wait", CATGA_AT(events.ack_wait), ms(1000), ms(3'600'000),
           "of queue groups: then another node gets the event"));
  add(count("events.handlers", CATGA_AT(events.handlers), 1, 256,
            "threads that run the handlers of subscriptions"));
  add(count("events.parked_max", CATGA_AT(events.parked_max), 1, 100'000,
            "dead letters of one source entity, then its part stands still"));
}

void add_connection_settings(std::vector<Setting>& table) {
  const auto add = [&table](Setting setting) { table.push_back(std::move(setting)); };
  add({"nats.urls", "URL,…", "servers; NATS_URL is read too, below CATGA_NATS_URLS",
       [](Config& config, std::string_view text) -> Status {
         config.nats.urls = split(text, ',');
         return Done{};
       },
       [](const Config& config) {
         std::string all;
         for (const auto& url : config.nats.urls) all += (all.empty() ? "" : ",") + masked(url);
         return all;
       },
       [](const Config& config) -> std::string {
         if (config.nats.urls.empty()) return "names no server";
         for (const auto& url : config.nats.urls)
           if (auto wrong = check_nats_url(url); !wrong.empty()) return wrong;
         return {};
       }});
  add(text("nats.user", CATGA_AT(nats.user), nullptr, "goes with nats.password"));
  add_secret(table, "nats.password", CATGA_AT(nats.password), "password at NATS");
  add_secret(table, "nats.token", CATGA_AT(nats.token), "token at NATS, instead of a user");
  add(text("nats.certificate_file", CATGA_AT(nats.certificate_file), nullptr,
           "PEM; by it servers know this client, with tls:// URLs"));
  add(text("nats.key_file", CATGA_AT(nats.key_file), nullptr, "PEM; key of that certificate"));
  add(time("nats.connect_timeout", CATGA_AT(nats.connect_timeout), ms(10), ms(600'000),
           "one attempt"));
  add(time("nats.reconnect_wait", CATGA_AT(nats.reconnect_wait), ms(1), ms(600'000),
           "between attempts"));
  add(time("nats.lost_grace", CATGA_AT(nats.lost_grace), ms(100), ms(600'000),
           "so long without NATS, then shards are given away through Redis"));
  add(bytes("nats.batch_bytes", CATGA_AT(nats.batch_bytes), 4096, 64ull << 20,
            "one NATS message; below the server's max_payload"));
  add(bytes("nats.lane_bytes", CATGA_AT(nats.lane_bytes), 4096, 4ull << 30,
            "waiting for one node; beyond: overloaded"));
  add(bytes("nats.pending_bytes", CATGA_AT(nats.pending_bytes), 1 << 20, 1ull << 31,
            "received and not yet handled"));
  add(text("redis.url", CATGA_AT(redis.url), check_redis_url,
           "the primary; with redis.sentinels only database, user and password count"));
  add(text("redis.user", CATGA_AT(redis.user), nullptr, "ACL user"));
  add_secret(table, "redis.password", CATGA_AT(redis.password), "password at Redis");
  add({"redis.sentinels", "HOST:PORT,…",
       "Redis Sentinels, asked at every connect where the primary is",
       [](Config& config, std::string_view text) -> Status {
         config.redis.sentinels = split(text, ',');
         return Done{};
       },
       [](const Config& config) {
         std::string all;
         for (const auto& sentinel : config.redis.sentinels)
           all += (all.empty() ? "" : ",") + masked(sentinel);
         return all;
       },
       [](const Config& config) -> std::string {
         for (const auto& sentinel : config.redis.sentinels)
           if (const auto parsed = parse_sentinel(sentinel); !parsed.ok())
             return "is wrong: " + parsed.error().text;
         return {};
       }});
  add(text("redis.sentinel_master", CATGA_AT(redis.sentinel_master), check_sentinel_master,
           "the name of the primary at the sentinels"));
  add_secret(table, "redis.sentinel_password", CATGA_AT(redis.sentinel_password),
             "password at the sentinels");
  add(time("redis.connect_timeout", CATGA_AT(redis.connect_timeout), ms(10), ms(600'000),
           "one attempt"));
  add(time("redis.command_timeout", CATGA_AT(redis.command_timeout), ms(10), ms(600'000),
           "silence after which the connection counts as lost"));
  add(time("redis.wait_timeout", CATGA_AT(redis.wait_timeout), ms(1), ms(60'000),
           "WAIT for replicas, per trip"));
  add(count("redis.connections", CATGA_AT(redis.connections), 1, 64,
            "pipelines; a shard keeps to one"));
  add(count("redis.wait_replicas", CATGA_AT(redis.wait_replicas), 0, 16,
            "replicas that must have a commit before its answer leaves"));
  add(boolean("redis.check_policy", CATGA_AT(redis.check_policy),
              "refuse a policy other than noeviction, and Redis < 7.0"));
  add(text("log.level", CATGA_AT(log.level), check_log_level,
           "trace…error or off; also per logger: info,handoff=debug"));
  add(text("log.format", CATGA_AT(log.format), check_log_format,
           "text, json; auto: text on a terminal"));
}

void add_listener_settings(std::vector<Setting>& table) {
  const auto add = [&table](Setting setting) { table.push_back(std::move(setting)); };
  add(text("health.listen", CATGA_AT(health.listen), check_listen,
           "probes and /metrics: address:port, port 0 picks one; off"));
  add(text("admin.listen", CATGA_AT(admin.listen), check_listen,
           "dashboard and API: address:port, port 0 picks one; off"));
  add(text("admin.token_file", CATGA_AT(admin.token_file), nullptr,
           "the token that users of the API need"));
  add(boolean("admin.read_only", CATGA_AT(admin.read_only), "nothing can be changed by the API"));
  add(boolean("admin.allow_insecure", CATGA_AT(admin.allow_insecure),
              "listen beyond loopback without a token"));
  add(boolean("admin.show_state", CATGA_AT(admin.show_state),
              "the API may show the state of entities"));
  add(boolean("admin.dashboard", CATGA_AT(admin.dashboard), "serve /ui"));
  add({"admin.allowed_hosts", "NAME,…", "further names by which browsers may address it",
       [](Config& config, std::string_view text) -> Status {
         config.admin.allowed_hosts = split(text, ',');
         return Done{};
       },
       [](const Config& config) {
         return fmt::format("{}", fmt::join(config.admin.allowed_hosts, ","));
       },
       [](const Config&) { return std::string(); }});
  add(count("admin.threads", CATGA_AT(admin.threads), 2, 1024, "of the admin listener"));
  add(count("admin.stream_clients", CATGA_AT(admin.stream_clients), 0, 1023,
            "streams of events at once; each holds a thread"));
  add(count("admin.event_buffer", CATGA_AT(admin.event_buffer), 1, 1'000'000,
            "events kept for readers that come back"));
  add(text("telemetry.service_name", CATGA_AT(telemetry.service_name), check_service_name,
           "label service of all metrics"));
  add(text("telemetry.entity_keys", CATGA_AT(telemetry.entity_keys), check_entity_keys,
           "keys of entities in events, the log and traces: hash, plain or off"));
  add(boolean("metrics.enabled", CATGA_AT(metrics.enabled), "serve /metrics"));
  add(boolean("metrics.instance_label", CATGA_AT(metrics.instance_label),
              "label instance on all metrics, where no scrape adds it"));
  add(count("metrics.max_series", CATGA_AT(metrics.max_series), 1000, 1'000'000,
            "then kinds, messages and sagas are counted as _other"));
  add(ratio("hot.share", CATGA_AT(hot.share), 0.01, 1,
            "of a node's messages: what takes more may be hot"));
  add(count("hot.min_rate", CATGA_AT(hot.min_rate), 1, 1'000'000'000,
            "messages a second that it must take, too"));
  add(time("hot.window", CATGA_AT(hot.window), ms(1000), ms(3'600'000), "and for so long"));
  add(count("trace.roots_per_second", CATGA_AT(trace.roots_per_second), 0, 1'000'000,
            "new sampled traces of a node; 0: no limit"));
  add(count("trace.spans_per_second", CATGA_AT(trace.spans_per_second), 0, 1'000'000,
            "spans of asks and turns of a node; beyond it branches of traces are left out; 0: no "
            "limit"));
  add(count("trace.rebalance_spans", CATGA_AT(trace.rebalance_spans), 0, 65536,
            "moves in the trace of a rebalance, per node; failed and slow ones always"));
  add(boolean("trace.link_only", CATGA_AT(trace.link_only),
              "tells and events begin traces of their own, linked to the sender's"));
}
#undef CATGA_AT

/// What a program gets that runs with Config::from.
Config program_defaults() {
  Config config;
  config.health.listen = "127.0.0.1:8081";
  config.admin.listen = "127.0.0.1:8080";
  return config;
}

std::vector<Setting> all_settings() {
  std::vector<Setting> table;
  add_cluster_settings(table);
  add_entity_settings(table);
  add_event_settings(table);
  add_connection_settings(table);
  add_listener_settings(table);
  return table;
}

std::string variable_of(std::string_view key) {
  std::string name = "CATGA_";
  for (const char c : key)
    name += c == '.' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return name;
}
std::string flag_of(std::string_view key) {
  std::string name = "--" + std::string(key);
  std::ranges::replace_if(
      name, [](char c) { return c == '.' || c == '_'; }, '-');
  return name;
}

// ---- The nearest name ---------------------------------------------------------------------------

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, changed}));
    }
  }
  return row.back();
}

/// "; did you mean X?", or nothing when no name is near.
std::string suggestion(std::string_view wrong, const std::vector<std::string>& names) {
  if (wrong.size() > suggested_for_max) return "";
  std::string best;
  std::size_t least = wrong.size() / 3 + 2;
  for (const auto& name : names) {
    const auto away = distance(wrong, name);
    if (away < least) {
      least = away;
      best = name;
    }
  }
  return best.empty() ? "" : fmt::format("; did you mean {}?", best);
}

// ---- Merging ------------------------------------------------------------------------------------

struct Given {
  std::string text;
  std::string source;
};

struct Merge {
  std::vector<Setting> table = all_settings();
  Config config;
  std::map<std::string, std::string, std::less<>> sources;  // key → where it was set
  std::map<std::string, Given, std::less<>> file, variables, flags;
  std::vector<std::string> usage;   // mistakes of the command line
  std::vector<std::string> values;  // mistakes of values
  std::vector<std::string> warnings;
  std::string file_path, file_content;
  bool file_demanded = false;
  bool help = false, version = false, check = false;

  std::vector<std::string> names(std::string (*spell)(std::string_view)) const {
    std::vector<std::string> all;
    for (const auto& setting : table) all.push_back(spell(setting.key));
    return all;
  }
  bool knows(std::string_view key) const {
    return std::ranges::any_of(table, [&](const Setting& s) { return s.key == key; });
  }
};

std::string plain(std::string_view key) { return std::string(key); }

void read_flags(Merge& merge, const std::vector<std::string>& arguments,
                std::vector<std::string>* rest) {
  if (rest != nullptr) rest->clear();
  if (arguments.empty()) return;  // an App with all flags costs a millisecond
  CLI::App app;
  app.set_help_flag();  // --help is ours, below
  app.allow_extras();
  std::map<std::string, std::string> given;
  std::vector<std::pair<CLI::Option*, const Setting*>> options;
  for (const auto& setting : merge.table) {
    if (!setting.has_flag) continue;
    auto* option = app.add_option(flag_of(setting.key), given[setting.key]);
    options.emplace_back(option->take_last(), &setting);
  }
  auto* file = app.add_option("--config", merge.file_path)->take_last();
  if (rest == nullptr) {  // a program with flags of its own has its own help
    app.add_flag("--help,-h", merge.help);
    app.add_flag("--version", merge.version);
    app.add_flag("--check-config", merge.check);
  }
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& trouble) {
    merge.usage.emplace_back(trouble.what());
    return;
  }
  merge.file_demanded = file->count() > 0;
  for (const auto& [option, setting] : options)
    if (option->count() > 0)
      merge.flags[setting->key] = {given[setting->key], "flag " + flag_of(setting->key)};
  if (rest != nullptr) {
    *rest = app.remaining();
    return;
  }
  for (const auto& extra : app.remaining())
    merge.usage.push_back(
        fmt::format("unknown {} \"{}\"{}", extra.starts_with("-") ? "flag" : "argument", extra,
                    suggestion(extra.substr(0, extra.find('=')), merge.names(flag_of))));
}

/// Kubernetes describes a Service called `catga…` in variables of these shapes.
bool made_by_kubernetes(std::string_view name) {
  return name.ends_with("_SERVICE_HOST") || name.find("_SERVICE_PORT") != name.npos ||
         name.ends_with("_PORT") || [&] {
           const auto port = name.find("_PORT_");
           return port != name.npos && port + 6 < name.size() && name[port + 6] >= '0' &&
                  name[port + 6] <= '9';
         }();
}

void read_variables(Merge& merge) {
  std::map<std::string, std::string> known;
  for (const auto& setting : merge.table) known[variable_of(setting.key)] = setting.key;
  std::optional<Given> nats_url;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view line = *entry;
    const auto name = std::string(line.substr(0, line.find('=')));
    const auto value = std::string(line.substr(std::min(name.size() + 1, line.size())));
    if (value.empty()) continue;  // empty means unset
    if (name == "NATS_URL") nats_url = Given{value, "env NATS_URL"};
    if (!name.starts_with("CATGA_")) continue;
    if (const auto found = known.find(name); found != known.end()) {
      merge.variables[found->second] = {value, "env " + name};
    } else if (name == "CATGA_CONFIG") {
      if (!merge.file_demanded) merge.file_path = value;
      merge.file_demanded = true;
    } else if (!made_by_kubernetes(name)) {
      merge.warnings.push_back(
          fmt::format("unknown variable {}{}", name, suggestion(name, merge.names(variable_of))));
    }
  }
  if (nats_url) merge.variables.emplace("nats.urls", *nats_url);
}

/// "FILE:LINE" if the key, or the last word of it, stands there once; else "FILE": the reader of JSON does not say
/// where it found what. Not for every one of ten thousand mistakes: each is a search.
std::string place_of(const Merge& merge, std::string_view key) {
  constexpr std::size_t placed_most = 50;
  const std::string& content = merge.file_content;
  if (merge.values.size() >= placed_most) return merge.file_path;
  for (const auto name : {key, key.substr(key.rfind('.') + 1)}) {
    const std::string quoted = fmt::format("\"{}\"", name);
    const auto at = content.find(quoted);
    if (at == content.npos || content.find(quoted, at + 1) != content.npos) continue;
    const auto line =
        1 + std::count(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    return fmt::format("{}:{}", merge.file_path, line);
  }
  return merge.file_path;
}

std::optional<std::string> text_of(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean() || value.is_number()) return value.dump();
  if (!value.is_array()) return std::nullopt;
  std::string all;
  for (const auto& item : value) {
    if (!item.is_string()) return std::nullopt;
    all += (all.empty() ? "" : ",") + item.get<std::string>();
  }
  return all;
}

void read_object(Merge& merge, const nlohmann::json& object, const std::string& prefix,
                 std::size_t levels) {
  for (const auto& [name, value] : object.items()) {
    const auto key = prefix + name;
    if (value.is_object() && levels >= levels_max) {
      merge.values.push_back(fmt::format("{}: \"{}\" is nested deeper than {} levels",
                                         merge.file_path, key, levels_max));
    } else if (value.is_object()) {
      read_object(merge, value, key + ".", levels + 1);
    } else if (!merge.knows(key)) {
      merge.values.push_back(fmt::format("{}: unknown key \"{}\"{}", place_of(merge, key), key,
                                         suggestion(key, merge.names(plain))));
    } else if (const auto text = text_of(value)) {
      merge.file[key] = {*text, "file " + place_of(merge, key)};
    } else {
      merge.values.push_back(
          fmt::format("{}: {} has a value of the wrong kind; write a text, a "
                      "number, true, false or a list of texts",
                      place_of(merge, key), key));
    }
  }
}

void read_file(Merge& merge) {
  if (!merge.file_demanded) {
    std::error_code ignored;
    if (!std::filesystem::exists(default_file, ignored)) return;
    merge.file_path = default_file;
  }
  const Result<std::string> content = content_of(merge.file_path, file_max);
  if (!content.ok()) {
    merge.values.push_back(fmt::format("cannot read the configuration file \"{}\"{}",
                                       merge.file_path, content.error().text));
    return;
  }
  merge.file_content = *content;
  try {
    const auto json = nlohmann::json::parse(*content, nullptr, true, /*comments*/ true);
    if (json.is_object()) return read_object(merge, json, "", 1);
    merge.values.push_back(fmt::format("{}: is not a JSON object", merge.file_path));
  } catch (const nlohmann::json::exception& trouble) {
    merge.values.push_back(fmt::format("{}: is not JSON: {}", merge.file_path, trouble.what()));
  }
}

void set_values(Merge& merge) {
  for (const auto& setting : merge.table) {
    for (const auto* layer : {&merge.flags, &merge.variables, &merge.file}) {  // the highest wins
      const auto found = layer->find(setting.key);
      if (found == layer->end()) continue;
      const auto& [value, source] = found->second;
      merge.sources[setting.key] = source;
      if (!setting.file_of.empty() && merge.sources.contains(setting.file_of)) {
        merge.values.push_back(fmt::format("{} ({}) and {} ({}) are both set; keep one",
                                           setting.file_of, merge.sources[setting.file_of],
                                           setting.key, source));
      } else if (const auto done = setting.set(merge.config, value); !done.ok()) {
        merge.values.push_back(fmt::format("{} ({}): {}", setting.key, source, done.error().text));
      }
      break;
    }
  }
}

std::vector<std::string> mistakes_of(const Config& config, const std::vector<Setting>& table,
                                     const std::map<std::string, std::string, std::less<>>& from) {
  std::vector<std::string> all;
  const auto value = [&](std::string_view key) {
    const auto setting = std::ranges::find(table, key, &Setting::key);
    const auto source = from.find(key);
    return fmt::format("{} = {}{}", key, setting->get(config),
                       source == from.end() ? "" : " (" + source->second + ")");
  };
  for (const auto& setting : table)
    if (const auto wrong = setting.wrong(config); !wrong.empty())
      all.push_back(fmt::format("{} {}", value(setting.key), wrong));

  const auto& member = config.membership;
  if (member.heartbeat > member.suspect_after / 3)  // times three could overflow
    all.push_back(fmt::format("{} must be at least three times {}: one late heartbeat is no death",
                              value("membership.suspect_after"), value("membership.heartbeat")));
  if (member.session_renew > member.session_ttl / 3)
    all.push_back(
        fmt::format("{} must be at least three times {}: one slow answer must not end "
                    "the session",
                    value("membership.session_ttl"), value("membership.session_renew")));
  if (config.redis.command_timeout >= member.session_ttl)
    all.push_back(
        fmt::format("{} must be shorter than {}: a node must notice a lost Redis while "
                    "its session lasts",
                    value("redis.command_timeout"), value("membership.session_ttl")));
  if (!config.nats.token.empty() && !(config.nats.user.empty() && config.nats.password.empty()))
    all.emplace_back("nats.token and nats.user or nats.password are both set; use one method");
  if (config.nats.certificate_file.empty() != config.nats.key_file.empty())
    all.emplace_back("nats.certificate_file and nats.key_file go together: set both or none");
  if (!config.nats.certificate_file.empty())
    for (const auto& url : config.nats.urls)
      if (!url.starts_with("tls://"))
        all.push_back(
            fmt::format("nats.certificate_file would not be shown to {}: only tls:// URLs use it",
                        masked(url)));
  const auto admin = http::split_address(config.admin.listen);
  if (admin.ok() && !http::is_loopback(admin->first) && config.admin.token_file.empty() &&
      !config.admin.allow_insecure)
    all.push_back(fmt::format(
        "{} is open to the network: set admin.token_file, or admin.allow_insecure if everybody "
        "there may see keys and settings",
        value("admin.listen")));
  if (config.admin.stream_clients >= config.admin.threads)
    all.push_back(fmt::format("{} must be less than {}: each stream holds a thread",
                              value("admin.stream_clients"), value("admin.threads")));
  const Status remembered = check_retention(
      config.idempotency.retention,
      {{"ask.timeout", config.ask.timeout}, {"the time a tell is repeated", tell_window}});
  if (!remembered.ok()) all.push_back(remembered.error().text);
  return all;
}

Merge merged(const std::vector<std::string>& arguments, std::vector<std::string>* rest,
             Config defaults) {
  Merge merge;
  merge.config = std::move(defaults);
  read_flags(merge, arguments, rest);
  if (!merge.usage.empty() || merge.help || merge.version) return merge;
  read_variables(merge);
  read_file(merge);
  set_values(merge);
  if (merge.values.empty()) merge.values = mistakes_of(merge.config, merge.table, merge.sources);
  for (const auto& warning : merge.warnings) fmt::print(stderr, "warning: {}\n", warning);
  return merge;
}

std::string lines_of(const std::vector<std::string>& mistakes) {
  return fmt::format("{}", fmt::join(mistakes, "\n"));
}

// ---- Printing -----------------------------------------------------------------------------------

void print_help(const Merge& merge, std::string_view program) {
  const Config defaults = program_defaults();
  fmt::print("usage: {} [--config FILE] [--setting VALUE]…\n\n", program);
  fmt::print(
      "  --config FILE   JSON with the keys below, nested or dotted (also CATGA_CONFIG;\n"
      "                  else {} if there is one)\n",
      default_file);
  fmt::print(
      "  --check-config  print every setting and where it came from; exit 0, or 78\n"
      "  --version, --help\n\n"
      "Flags win over variables, variables over the file. nats.urls is --nats-urls as a\n"
      "flag and CATGA_NATS_URLS as a variable; all names are made like this. Times need a\n"
      "unit (500ms, 10s, 5m, 7d), sizes too (64KiB, 1MiB).\n\n");
  for (const auto& setting : merge.table) {
    const auto name = setting.has_flag ? flag_of(setting.key) : variable_of(setting.key);
    const auto value = setting.get(defaults);
    fmt::print("  {:<33} {:<12} {}{}\n", name, setting.unit, setting.help,
               value.empty() ? "" : fmt::format(" [{}]", value));
  }
}

void print_settings(const Merge& merge) {
  for (const auto& setting : merge.table) {
    const auto source = merge.sources.find(setting.key);
    const bool is_set = source != merge.sources.end();
    if (setting.secret && !setting.file_of.empty() && !is_set) continue;
    fmt::print("{:<30} {:<36} {}\n", setting.key, setting.get(merge.config),
               is_set ? source->second : "default");
  }
}

Config with_sources(const Merge& merge) {
  Config config = merge.config;
  config.sources = merge.sources;
  return config;
}

/// With the way to read the same sources another time.
Config with_way_back(Config config, const std::vector<std::string>& arguments, Config defaults) {
  config.again = [arguments, defaults = std::move(defaults)]() -> Result<Config> {
    std::vector<std::string> rest;
    const Merge merge = merged(arguments, &rest, defaults);
    if (!merge.values.empty()) return Error{Code::malformed, lines_of(merge.values)};
    return with_way_back(with_sources(merge), arguments, defaults);
  };
  return config;
}

[[noreturn]] void leave(const std::vector<std::string>& mistakes, int exit_code) {
  for (const auto& mistake : mistakes) fmt::print(stderr, "{}\n", mistake);
  if (exit_code == 2) fmt::print(stderr, "--help lists what there is\n");
  std::exit(exit_code);  // NOLINT(concurrency-mt-unsafe): main has not started anything yet
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "node";
  std::string id = name.data();
  std::ranges::replace_if(
      id,
      [](char c) {
        return !only({&c, 1}, "._-", true);
      },
      '-');
  return id.substr(0, 63);
}

Config Config::embedded() {
  Config config;
  config.embedded_mode = true;
  config.node.id = "embedded";
  config.log.level = "warn";  // the program's own output is what its user wants to see
  return config;
}

Config Config::from(int argc, const char* const* argv) {
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const Merge merge = merged(arguments, nullptr, program_defaults());
  if (!merge.usage.empty()) leave(merge.usage, 2);
  if (merge.help) {
    print_help(merge, argc > 0 ? std::filesystem::path(argv[0]).filename().string() : "program");
    leave({}, 0);
  }
  if (merge.version) {
    fmt::print("catga {}\nredis-tls: no\n", CATGA_VERSION);
    leave({}, 0);
  }
  if (merge.check) print_settings(merge);
  if (!merge.values.empty()) leave(merge.values, 78);
  if (merge.check) leave({}, 0);
  return with_way_back(with_sources(merge), arguments, program_defaults());
}

Result<Config> Config::parse(const std::vector<std::string>& arguments,
                             std::vector<std::string>* rest) {
  const Merge merge = merged(arguments, rest, {});
  if (!merge.usage.empty()) return Error{Code::malformed, lines_of(merge.usage)};
  if (merge.help || merge.version || merge.check)
    return Error{Code::malformed, "--help, --version and --check-config are for Config::from"};
  if (!merge.values.empty()) return Error{Code::malformed, lines_of(merge.values)};
  return with_way_back(with_sources(merge), arguments, {});
}

std::vector<SettingLine> settings_of(const Config& config) {
  static const Config defaults;
  std::vector<SettingLine> lines;
  for (const Setting& setting : all_settings()) {
    SettingLine line{.key = setting.key,
                     .variable = variable_of(setting.key),
                     .flag = setting.has_flag ? flag_of(setting.key) : "",
                     .unit = setting.unit,
                     .value = setting.get(config),
                     .source = "default",
                     .standard = setting.get(defaults),
                     .help = setting.help,
                     .secret = setting.secret};
    const auto source = config.sources.find(setting.key);
    if (!setting.file_of.empty() && source == config.sources.end()) line.value.clear();
    if (source != config.sources.end())
      line.source = source->second;
    else if (line.value != line.standard && setting.file_of.empty())
      line.source = config.sources.contains(setting.key + "_file")
                        ? config.sources.at(setting.key + "_file")
                        : "program";
    lines.push_back(std::move(line));
  }
  return lines;
}

Status Config::validate() const {
  const auto mistakes = mistakes_of(*this, all_settings(), {});
  if (!mistakes.empty()) return Error{Code::malformed, lines_of(mistakes)};
  return Done{};
}

}  // namespace catga
