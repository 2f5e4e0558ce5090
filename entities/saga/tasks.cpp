#include "catga/entities/saga/tasks.hpp"

#include "catga/entities/saga/guarded.hpp"

#include <algorithm>

namespace catga {
namespace {

/// Parked because retries behind the pivot take long: they go on.
bool rests(const SagaProgress& saga) {
  const std::optional<SagaParked>& parked = saga.parked();
  if (saga.journal().empty() || has_ended(saga.status()) || saga.trouble()) return true;
  return parked && (parked->cause != ParkCause::forward_stuck || parked->note.refused);
}

/// Goes over a stage and makes tasks of its elements.
class Collecting {
 public:
  Collecting(const SagaProgress& saga, const SagaLimits& limits) : saga_(saga), limits_(limits) {}

  std::vector<SagaTask> run() {
    if (rests(saga_)) return {};
    if (!saga_.going_back()) {
      if (saga_.reached() < saga_.stages().size()) forward(saga_.stages()[saga_.reached()]);
      return std::move(tasks_);
    }
    if (saga_.reached() < saga_.stages().size()) settle(saga_.stages()[saga_.reached()]);
    if (tasks_.empty() && saga_.undo_stage() != SagaProgress::none) {
      undo(saga_.stages()[saga_.undo_stage()]);
    }
    return std::move(tasks_);
  }

 private:
  void forward(const std::vector<SlotProgress>& stage) {
    const bool undecided = std::ranges::any_of(stage, [](const SlotProgress& slot) {
      return slot.elements[0].phase == StepPhase::undecided;
    });
    if (undecided) return;  // nothing of a stage is sent before all its choices are written
    for (const SlotProgress& slot : stage) {
      each_wanted(
          slot, [](const StepProgress& element) { return is_open(element.phase); },
          [this, &slot](const StepProgress& element, std::string name) {
            add_forward(slot, element, std::move(name));
          });
    }
  }

  void settle(const std::vector<SlotProgress>& stage) {
    for (const SlotProgress& slot : stage) {
      each_wanted(
          slot, [](const StepProgress& element) { return is_open(element.phase); },
          [this, &slot](const StepProgress& element, std::string name) {
            add_settle(slot, element, std::move(name));
          });
    }
  }

  void undo(const std::vector<SlotProgress>& stage) {
    for (const SlotProgress& slot : stage) {
      if (!slot.step->undo) continue;
      each_wanted(
          slot, [](const StepProgress& element) { return element.phase == StepPhase::done; },
          [this, &slot](const StepProgress& element, std::string name) {
            add_undo(slot, element, std::move(name));
          });
    }
  }

  template <class Wanted, class Add>
  void each_wanted(const SlotProgress& slot, Wanted wanted, Add add) {
    if (slot.step->waits_only()) return;
    std::size_t under_way = 0;
    for (std::size_t i = 0; i < slot.elements.size() && under_way < limits_.side_by_side; ++i) {
      if (!wanted(slot.elements[i])) continue;
      ++under_way;
      add(slot.elements[i], element_name(*slot.step, i));
    }
  }

  void add_forward(const SlotProgress& slot, const StepProgress& element, std::string name) {
    if (element.settle_first) return add_settle(slot, element, std::move(name));
    SagaTask task = forward_task(slot, element, std::move(name));
    task.verb = TaskVerb::run;
    task.since_ms = std::max(task.operation_ms, saga_.resumed_ms());
    task.for_ever = saga_.past_pivot();
    tasks_.push_back(std::move(task));
  }

  void add_settle(const SlotProgress& slot, const StepProgress& element, std::string name) {
    SagaTask task = forward_task(slot, element, std::move(name));
    task.verb = TaskVerb::settle;
    task.since_ms = std::max({task.operation_ms, saga_.back_ms(), saga_.resumed_ms()});
    task.for_ever = !saga_.going_back();
    tasks_.push_back(std::move(task));
  }

  SagaTask forward_task(const SlotProgress& slot, const StepProgress& element, std::string name) {
    SagaTask task;
    task.sort = slot.step->sort;
    task.timeout = slot.step->timeout;
    task.round = element.round;
    task.operation = step_operation(saga_.name(), StepSide::forward, name, element.round);
    task.operation_ms = saga_.ready_ms(slot, element);
    task.step = std::move(name);
    return task;
  }

  void add_undo(const SlotProgress& slot, const StepProgress& element, std::string name) {
    SagaTask task;
    task.verb = element.settle_undo_first ? TaskVerb::settle_undo : TaskVerb::undo;
    task.sort = slot.step->sort;
    task.timeout = slot.step->timeout;
    task.round = element.undo_round;
    task.operation = step_operation(saga_.name(), StepSide::undo, name, element.undo_round);
    task.operation_ms = element.undo_round > 0 ? element.undo_round_ms : saga_.undo_ready_ms();
    task.since_ms = std::max(task.operation_ms, saga_.resumed_ms());
    task.step = std::move(name);
    tasks_.push_back(std::move(task));
  }

  const SagaProgress& saga_;
  const SagaLimits& limits_;
  std::vector<SagaTask> tasks_;
};

Result<StepCall> forward_call(const SagaProgress& saga, const SagaTask& task,
                              const StepDefinition& step, const StepProgress& element,
                              std::size_t number) {
  const SagaState& state = *saga.state_of_stage();
  StepCall call = CATGA_TRY(detail::guarded(
      task.step, "the message", [&]() -> Result<StepCall> { return step.call(state, number); }));
  if (step.sort == StepSort::child) {
    call.entity = EntityId{step.target, saga.child_id(step, element)};
  }
  if (element.replacement) call.payload = *element.replacement;
  return call;
}

Result<StepCall> undo_call(const SagaProgress& saga, const SagaTask& task,
                           const StepDefinition& step, const StepProgress& element,
                           std::size_t number) {
  const std::unique_ptr<SagaState> state = CATGA_TRY(saga.state_at_done(element));
  StepCall call = CATGA_TRY(detail::guarded(
      task.step, "the undo", [&]() -> Result<StepCall> { return step.undo(*state, number); }));
  if (element.undo_replacement) call.payload = *element.undo_replacement;
  return call;
}

}  // namespace

std::string_view name_of(TaskVerb verb) {
  switch (verb) {
    case TaskVerb::run:
      return "run";
    case TaskVerb::settle:
      return "settle";
    case TaskVerb::undo:
      return "undo";
    case TaskVerb::settle_undo:
      break;
  }
  return "settle_undo";
}

std::vector<SagaTask> open_tasks(const SagaProgress& saga, const SagaLimits& limits) {
  return Collecting(saga, limits).run();
}

Result<StepCall> call_of(const SagaProgress& saga, const SagaTask& task) {
  const std::optional<SagaProgress::Place> place = saga.locate(task.step);
  if (!place || !saga.state_of_stage()) {
    return Error{Code::failed, "saga '" + saga.id() + "' has no step '" + task.step + "'"};
  }
  const SlotProgress& slot = saga.stages()[place->stage][place->position];
  const StepProgress& element = slot.elements[place->element];
  const bool back = task.verb == TaskVerb::undo || task.verb == TaskVerb::settle_undo;
  return back ? undo_call(saga, task, *slot.step, element, place->element)
              : forward_call(saga, task, *slot.step, element, place->element);
}

}  // namespace catga
