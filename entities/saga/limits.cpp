#include "catga/entities/saga/limits.hpp"

#include <string>

namespace catga {
namespace {

constexpr std::chrono::hours margin(1);

std::string seconds_of(std::chrono::milliseconds time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(time).count()) + " s";
}

Error too_short(const SagaLimits& limits, const std::string& other,
                std::chrono::milliseconds need) {
  return Error{Code::malformed, "idempotency.retention is " + seconds_of(limits.retention) +
                                    ", but " + other + " needs " + seconds_of(need + margin) +
                                    ": a repeat could come when its operation is forgotten"};
}

}  // namespace

Status check_limits(const SagaDefinition& definition, const SagaLimits& limits) {
  for (const SagaStage& stage : definition.stages) {
    for (const StepDefinition& step : stage) {
      const std::chrono::milliseconds need = 2 * window_of(step);
      if (limits.retention >= need + margin) continue;
      return too_short(
          limits, "step '" + step.name + "' of saga '" + definition.type + "' (timeout, retries)",
          need);
    }
  }
  if (limits.retention < limits.compensation_window + margin) {
    return too_short(limits, "saga.compensation_window", limits.compensation_window);
  }
  return Done{};
}

}  // namespace catga
