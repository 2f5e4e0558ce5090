// Fuzz target: the text of a configuration file. What is accepted is a valid configuration, and
// written as a file again it gives the same one.
#include <catga/runtime/config.hpp>

#include "target.hpp"
#include <nlohmann/json.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

using namespace catga;

namespace {

/// `text` as a file that is nowhere on the disk.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view text) : file_(memfd_create("catga-fuzz", 0)) {
    fuzz::require(
        file_ >= 0 && write(file_, text.data(), text.size()) == static_cast<ssize_t>(text.size()),
        "there is memory for a file");
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { close(file_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

Result<Config> parse(std::string_view text) {
  const MemoryFile file(text);
  setenv("CATGA_CONFIG", file.path().c_str(), 1);  // a flag costs a hundred times as much
  return Config::parse({});
}

std::string milliseconds(std::chrono::milliseconds time) {
  return std::to_string(time.count()) + "ms";
}
std::string bytes(std::uint64_t size) { return std::to_string(size) + 'B'; }

/// Every setting as a file says it, secrets too.
std::string written(const Config& config) {
  nlohmann::json out;
  out["cluster"] = {{"name", config.cluster.name},
                    {"shards", config.cluster.shards},
                    {"min_members", config.cluster.min_members},
                    {"create", config.cluster.create}};
  out["node"] = {{"id", config.node.id}, {"weight", config.node.weight}};
  out["runtime"] = {{"workers", config.runtime.workers}};
  out["membership"] = {{"heartbeat", milliseconds(config.membership.heartbeat)},
                       {"suspect_after", milliseconds(config.membership.suspect_after)},
                       {"settle", milliseconds(config.membership.settle)},
                       {"session_ttl", milliseconds(config.membership.session_ttl)},
                       {"session_renew", milliseconds(config.membership.session_renew)},
                       {"watchers", config.membership.watchers}};
  out["rebalance"] = {{"batch", config.rebalance.batch},
                      {"in_flight", config.rebalance.in_flight},
                      {"drain_timeout", milliseconds(config.rebalance.drain_timeout)},
                      {"forward_for", milliseconds(config.rebalance.forward_for)}};
  out["entity"] = {{"idle_timeout", milliseconds(config.entity.idle_timeout)},
                   {"turn_warn", milliseconds(config.entity.turn_warn)},
                   {"max_active", config.entity.max_active},
                   {"mailbox", config.entity.mailbox},
                   {"state_max", bytes(config.entity.state_max)}};
  out["ask"] = {{"timeout", milliseconds(config.ask.timeout)},
                {"payload_max", bytes(config.ask.payload_max)},
                {"pending", config.ask.pending}};
  out["buffer"] = {{"shard_messages", config.buffer.shard_messages},
                   {"node_bytes", bytes(config.buffer.node_bytes)}};
  out["commit"] = {{"batch", config.commit.batch}, {"pending", config.commit.pending}};
  out["idempotency"] = {{"per_entity", config.idempotency.per_entity},
                        {"per_entity_bytes", bytes(config.idempotency.per_entity_bytes)},
                        {"retention", milliseconds(config.idempotency.retention)}};
  out["nats"] = {{"urls", config.nats.urls},
                 {"user", config.nats.user},
                 {"password", config.nats.password},
                 {"token", config.nats.token},
                 {"connect_timeout", milliseconds(config.nats.connect_timeout)},
                 {"reconnect_wait", milliseconds(config.nats.reconnect_wait)},
                 {"lost_grace", milliseconds(config.nats.lost_grace)},
                 {"batch_bytes", bytes(config.nats.batch_bytes)},
                 {"lane_bytes", bytes(config.nats.lane_bytes)},
                 {"pending_bytes", bytes(config.nats.pending_bytes)}};
  out["redis"] = {{"url", config.redis.url},
                  {"user", config.redis.user},
                  {"password", config.redis.password},
                  {"sentinels", config.redis.sentinels},
                  {"sentinel_master", config.redis.sentinel_master},
                  {"sentinel_password", config.redis.sentinel_password},
                  {"connect_timeout", milliseconds(config.redis.connect_timeout)},
                  {"command_timeout", milliseconds(config.redis.command_timeout)},
                  {"wait_timeout", milliseconds(config.redis.wait_timeout)},
                  {"connections", config.redis.connections},
                  {"wait_replicas", config.redis.wait_replicas},
                  {"check_policy", config.redis.check_policy}};
  out["log"] = {{"level", config.log.level}, {"format", config.log.format}};
  out["drain"] = {{"timeout", milliseconds(config.drain.timeout)},
                  {"linger", milliseconds(config.drain.linger)}};
  out["start"] = {{"patience", milliseconds(config.start.patience)}};
  return out.dump();
}

/// Nothing around the process may speak into it.
bool alone() {
  for (char** entry = environ; *entry != nullptr;) {
    const std::string_view line = *entry;
    const std::string name(line.substr(0, line.find('=')));
    if (name.starts_with("CATGA_") || name == "NATS_URL") {
      unsetenv(name.c_str());
      entry = environ;
    } else {
      ++entry;
    }
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool is_alone = alone();
  (void)is_alone;
  const std::string_view text = fuzz::text(data, size);
  // A setting that names a file would read whatever the fuzzer comes up with, terminals included.
  if (text.find("_file") != text.npos) return 0;
  const Result<Config> config = parse(text);
  if (!config.ok()) {
    fuzz::require(config.error().code == Code::malformed, "a bad file is malformed");
    fuzz::require(!config.error().text.empty(), "an error has words");
    return 0;
  }
  fuzz::require(config->validate().ok(), "what is accepted is valid");
  const Result<Config> again = parse(written(*config));
  fuzz::require(again.ok(), "a configuration written as a file is accepted");
  fuzz::require(written(*again) == written(*config),
                "a configuration written as a file keeps its meaning");
  return 0;
}
