// One run: a seed becomes a cluster with callers and faults, and either everything holds or the
// first thing that does not is told.
#pragma once
#include <catga/runtime/telemetry/log.hpp>

#include "breaks.hpp"
#include "plan.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace catga::sim {

struct RunOptions {
  std::uint64_t seed = 1;
  Mode mode = Mode::safety;
  Break planted = Break::none;
  Break circumstances = Break::none;  ///< what may happen is what would show this bug
  bool trace = false;
  bool strict = true;  ///< queries are linearizable, and failovers are noticed
};

struct RunReport {
  std::uint64_t seed = 0;
  std::string failure;  ///< "": all held
  std::string plan;
  std::vector<std::string> trace;
  double cluster_seconds = 0;
  std::uint64_t happenings = 0, commits = 0, answers = 0, good_answers = 0, digest = 0;
  std::uint64_t handlers = 0, failovers = 0;
  Tally tally;
};

/// One log for all nodes of all runs: each has a thread.
class SharedLog {
 public:
  explicit SharedLog(const std::string& level);
  ~SharedLog();
  Log& log();

 private:
  struct Private;
  std::unique_ptr<Private> private_;
};

/// On this thread, which must be new: what it keeps for itself must begin anew with each run.
RunReport run_here(const RunOptions& options, SharedLog& log);
/// On a thread of its own.
RunReport run(const RunOptions& options, SharedLog& log);

}  // namespace catga::sim
