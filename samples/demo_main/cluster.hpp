// The cluster of the demo as the driver sees it: processes, their logs, and what has happened.
#pragma once
#include <catga/sharding/result.hpp>

#include "processes.hpp"
#include "timeline.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace demo {

class Cluster {
 public:
  Cluster(std::string folder, std::string node_program, std::uint32_t nodes, std::uint32_t shards,
          Timeline& timeline);

  /// NATS and Redis. Errors: not_found, unavailable.
  catga::Status start_servers();
  /// A node process; the same name may be started again after its end.
  catga::Status start_node(const std::string& name);
  Process& node(const std::string& name) { return nodes_.at(name); }

  /// Reads the logs. To be called often.
  void poll();
  /// Whether `name` joined after the moment `since` (Unix microseconds).
  bool joined(const std::string& name, std::int64_t since = 0) const;
  /// When it was first logged after `since` that `name` is gone without having said so; 0: not yet.
  std::int64_t gone_us(const std::string& name, std::int64_t since) const;
  /// Shards that moved to `name` after `since`, and whether the last move is long enough ago.
  bool settled_on(const std::string& name, std::int64_t since) const;

  /// The first process that ended without having been asked to, in words; empty if all is well.
  std::string broken();
  /// The end of this node is expected.
  void expect_end(const std::string& name) { running_.erase(name); }
  /// SIGTERM to all, and what did not end well, a sentence each.
  std::vector<std::string> stop();

  const std::vector<Event>& moves() const { return moves_; }
  const std::string& nats_url() const { return servers_.nats_url; }
  const std::string& redis_url() const { return servers_.redis_url; }

 private:
  std::string folder_, node_program_;
  std::uint32_t first_nodes_, shards_;
  Timeline& timeline_;
  Servers servers_;
  std::map<std::string, Process> nodes_;
  std::set<std::string> running_;  // those whose end would be a surprise
  std::vector<Event> events_;      // joined and left
  std::vector<Event> moves_;       // hand-offs completed
};

/// Microseconds since 1970, as the logs count.
std::int64_t unix_us_now();

}  // namespace demo
