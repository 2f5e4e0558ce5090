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
  std::int64_t active = 0;  ///< catga_sagas_active: not ended, not parked
  std::int64_t oldest_ms =
      0;  ///< behind catga_saga_oldest_seconds: when the oldest of them was created; 0: none
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
  /// `by` sagas that are active, created then, came (1) or went (-1). 0: nobody knows when.
  void active(const std::string& type, std::int64_t created_ms, std::int64_t by) {
    const std::lock_guard guard(lock_);
    figures_[type].active += by;
    if (created_ms == 0) return;
    Births& births = births_[type];
    if ((births[created_ms] += by) == 0) births.erase(created_ms);
  }
  SagaFigures snapshot() const {
    const std::lock_guard guard(lock_);
    SagaFigures figures = figures_;
    for (const auto& [type, births] : births_)
      if (!births.empty()) figures[type].oldest_ms = births.begin()->first;
    return figures;
  }

 private:
  using Births = std::map<std::int64_t, std::int64_t>;  // how many were created then
  mutable std::mutex lock_;
  SagaFigures figures_;
  std::map<std::string, Births> births_;
};

}  // namespace catga
