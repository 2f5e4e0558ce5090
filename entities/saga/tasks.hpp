// The half of a decision that is sent: which tasks are open, and what each of them says.
#pragma once
#include "catga/entities/saga/limits.hpp"
#include "catga/entities/saga/progress.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

enum class TaskVerb : std::uint8_t {
  run,          ///< send the call; start the child
  settle,       ///< ask what became of it, and forbid it; of a child: start, cancel, wait
  undo,         ///< send the undo
  settle_undo,  ///< the same for an undo whose message an operator replaced
};
std::string_view name_of(TaskVerb verb);

/// Something to carry out until it is answered (answer.hpp). A child's answer comes as a signal.
struct SagaTask {
  TaskVerb verb = TaskVerb::run;
  std::string step;  ///< "charge", "line#3"
  StepSort sort = StepSort::call;
  std::uint32_t round = 0;
  OperationId operation;                 ///< of the call or undo, settled or sent
  std::int64_t operation_ms = 0;         ///< its time: when it could first have been sent
  std::int64_t since_ms = 0;             ///< the window of attempts counts from here
  std::chrono::milliseconds timeout{0};  ///< of one attempt
  bool for_ever = false;                 ///< behind the pivot: no limit of attempts
  friend bool operator==(const SagaTask&, const SagaTask&) = default;
};

/// The tasks that wait for an answer as the journal stands.
std::vector<SagaTask> open_tasks(const SagaProgress& saga, const SagaLimits& limits = {});

/// What a task sends, and to whom; of a settlement, what it asks about. Calls user code: an Error
/// (it threw) parks the saga as poison.
Result<StepCall> call_of(const SagaProgress& saga, const SagaTask& task);

}  // namespace catga
