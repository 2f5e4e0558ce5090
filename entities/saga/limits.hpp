// The numbers all sagas of a node share, and whether they fit what the sagas declare.
#pragma once
#include "catga/entities/saga/definition.hpp"

#include <chrono>
#include <cstddef>

namespace catga {

struct SagaLimits {
  /// For undos and settlements, whatever the step says.
  Retries compensation{.first = std::chrono::seconds(1), .cap = std::chrono::minutes(5)};
  std::chrono::milliseconds compensation_window = std::chrono::minutes(15);
  std::chrono::milliseconds forward_cap = std::chrono::minutes(5);  ///< back-off behind the pivot
  std::chrono::milliseconds forward_stuck_after = std::chrono::hours(1);
  std::chrono::milliseconds slow_retry = std::chrono::minutes(30);  ///< of a stuck saga
  /// How long participants remember operations; a step open for half of it is not repeated.
  std::chrono::milliseconds retention = std::chrono::hours(24 * 7);
  std::size_t side_by_side = 16;      ///< elements of one each under way
  std::size_t waiting_signals = 256;  ///< beyond it: overloaded
};

/// A participant must remember an operation longer than anybody may still send it: retention is at
/// least an hour more than twice the longest window of a step, and than the compensation window.
/// Checked when a node starts. Errors: malformed, naming both settings.
Status check_limits(const SagaDefinition& definition, const SagaLimits& limits);

}  // namespace catga
