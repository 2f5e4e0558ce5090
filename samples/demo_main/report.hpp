// The figures of one run, and how they are printed.
#pragma once
#include "audit.hpp"
#include "ledger.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace demo {

/// A stretch of time in which something was done to the cluster.
struct Window {
  Clock::time_point from;
  Clock::time_point to;
  bool covers(Clock::time_point at) const { return at >= from && at <= to; }
  bool meets(const Outcome& outcome) const {
    return outcome.started <= to && outcome.ended >= from;
  }
};

/// What a run did and saw, before anything is computed.
struct Run {
  Clock::time_point began, ended;  // of the replay
  Window join, leave, kill;        // `kill` until the node that came back has its shards again
  std::uint64_t shards_moved = 0;
  std::vector<double> planned_gaps_ms;
  double kill_detect_ms = 0;     ///< kill -9 until a node of the cluster logged that it is gone
  double kill_recovered_ms = 0;  ///< kill -9 until every shard has answered again
};

struct Report {
  std::uint64_t commands = 0, acknowledged = 0, refused = 0, failed = 0, retried = 0;
  std::uint64_t join_failed = 0, leave_failed = 0;
  double gap_p50 = 0, gap_p99 = 0;
  double commands_per_second = 0;  ///< lines ended outside the windows, per second outside them
  Run run;
  Audit audit;
};

Report report_of(const Run& run, const std::vector<Outcome>& outcomes, const Audit& audit);

/// What must not be, a sentence each. Empty after a good run.
std::vector<std::string> faults_of(const Report& report);

void print_table(const Report& report);
/// Writes the fields the issue names. False if the file cannot be written.
bool write_json(const Report& report, const std::string& path);

}  // namespace demo
