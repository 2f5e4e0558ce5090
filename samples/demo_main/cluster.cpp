// Starting, watching and ending the nodes.
#include "cluster.hpp"

#include <signal.h>

#include <algorithm>

namespace demo {
namespace {

using namespace std::chrono_literals;
constexpr std::int64_t settled_after_us = 800'000;  // without a move: the rebalance is over

bool is_gone(const Event& event) {
  return event.name == "catga.node.left" && event.cause != "planned";
}

}  // namespace

std::int64_t unix_us_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

Cluster::Cluster(std::string folder, std::string node_program, std::uint32_t nodes,
                 std::uint32_t shards, Timeline& timeline)
    : folder_(std::move(folder)),
      node_program_(std::move(node_program)),
      first_nodes_(nodes),
      shards_(shards),
      timeline_(timeline) {}

catga::Status Cluster::start_servers() {
  servers_ = CATGA_TRY(demo::start_servers(folder_));
  return catga::Done{};
}

catga::Status Cluster::start_node(const std::string& name) {
  const std::string log = folder_ + '/' + name + ".log";
  const std::vector<std::string> command{node_program_,
                                         "--cluster-name",
                                         "demo",
                                         "--cluster-shards",
                                         std::to_string(shards_),
                                         "--cluster-min-members",
                                         std::to_string(first_nodes_),
                                         "--node-id",
                                         name,
                                         "--nats-urls",
                                         servers_.nats_url,
                                         "--redis-url",
                                         servers_.redis_url,
                                         "--health-listen",
                                         "off",
                                         "--admin-listen",
                                         "off",
                                         "--log-format",
                                         "json",
                                         "--log-level",
                                         "info,handoff=debug"};
  auto process = CATGA_TRY(Process::start(command, log));
  if (!nodes_.contains(name)) timeline_.follow(log);
  nodes_[name] = std::move(process);
  running_.insert(name);
  return catga::Done{};
}

void Cluster::poll() {
  for (auto& event : timeline_.poll()) {
    if (event.name == "catga.shard.handoff.completed" && event.mode != "readopt")
      moves_.push_back(std::move(event));
    else if (event.name == "catga.node.joined" || event.name == "catga.node.left")
      events_.push_back(std::move(event));
  }
}

bool Cluster::joined(const std::string& name, std::int64_t since) const {
  return std::ranges::any_of(events_, [&](const Event& event) {
    return event.name == "catga.node.joined" && event.peer == name && event.unix_us >= since;
  });
}

std::int64_t Cluster::gone_us(const std::string& name, std::int64_t since) const {
  std::int64_t first = 0;
  for (const auto& event : events_)
    if (is_gone(event) && event.peer == name && event.unix_us >= since &&
        (first == 0 || event.unix_us < first))
      first = event.unix_us;
  return first;
}

bool Cluster::settled_on(const std::string& name, std::int64_t since) const {
  std::int64_t last = 0;
  bool any = false;
  for (const auto& move : moves_) {
    any = any || (move.to == name && move.unix_us >= since);
    last = std::max(last, move.unix_us);
  }
  return any && unix_us_now() - last > settled_after_us;
}

std::string Cluster::broken() {
  const auto ended = [](const std::string& name, int code) {
    return name + " ended by itself with code " + std::to_string(code);
  };
  if (const auto code = servers_.nats.exit_code()) return ended("nats-server", *code);
  if (const auto code = servers_.redis.exit_code()) return ended("redis-server", *code);
  for (const auto& name : running_)
    if (const auto code = nodes_[name].exit_code()) return ended("node " + name, *code);
  return {};
}

std::vector<std::string> Cluster::stop() {
  std::vector<std::string> faults;
  for (const auto& name : running_) nodes_[name].signal(SIGTERM);
  for (const auto& name : running_) {
    const auto code = nodes_[name].wait(20s);
    if (!code)
      faults.push_back("node " + name + " did not end within 20 s of SIGTERM");
    else if (*code != 0)
      faults.push_back("node " + name + " ended with code " + std::to_string(*code));
  }
  running_.clear();
  poll();
  nodes_.clear();  // kills what is left
  servers_.redis.signal(SIGTERM);
  servers_.nats.signal(SIGTERM);
  (void)servers_.redis.wait(5s);
  (void)servers_.nats.wait(5s);
  servers_ = {};
  return faults;
}

}  // namespace demo
