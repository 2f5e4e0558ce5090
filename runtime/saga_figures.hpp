// What a node counts about sagas, under the names of the operations reference, for whoever shows it.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace catga {

/// Of one type of saga, on this node. Counters only grow; gauges say how it is now.
struct SagaTypeFigures {
  std::int64_t active = 0;                    ///< catga_sagas_active: not ended, not parked
  std::map<std::string, std::int64_t> stuck;  ///< catga_sagas_stuck, by cause
  std::map<std::uint32_t, std::int64_t>
      by_version;             ///< catga_sagas_by_version: not ended, parked ones too
  std::uint64_t started = 0;  ///< catga_sagas_started_total
  std::map<std::string, std::uint64_t> finished;  ///< catga_sagas_finished_total, by outcome
  std::uint64_t duration_ms = 0;   ///< sum behind catga_saga_duration_seconds; count: finished
  std::uint64_t step_retries = 0;  ///< catga_saga_step_retries_total
  std::uint64_t recoveries = 0;    ///< catga_saga_recoveries_total
  std::uint64_t restarts = 0;      ///< actors that died and were started again
};
using SagaFigures = std::map<std::string, SagaTypeFigures>;  ///< by type

/// Thread-safe.
class SagaCounters {
 public:
  template <class Change>
  void change(const std::string& type, Change change_one) {
    const std::lock_guard guard(lock_);
    change_one(figures_[type]);
  }
  SagaFigures snapshot() const {
    const std::lock_guard guard(lock_);
    return figures_;
  }

 private:
  mutable std::mutex lock_;
  SagaFigures figures_;
};

}  // namespace catga
