#include "catga/runtime/test/pure.hpp"

#include <utility>

namespace catga::test {

namespace {

using Found = std::shared_ptr<Impurity>;

void note(const Found& found, const std::string& lambda) {
  if (!found->what.empty()) return;
  found->what = lambda +
                " gave something else when it was called again with the same state: it must not "
                "read a clock, draw lots or count";
}

/// The second call is over a copy of the state, so that an address that leaks into the outcome shows too.
template <class Value, class... Rest>
std::function<Value(const SagaState&, Rest...)> twice(
    std::function<Value(const SagaState&, Rest...)> lambda, std::string name, Found found) {
  if (!lambda) return {};
  return [lambda = std::move(lambda), name = std::move(name), found = std::move(found)](
             const SagaState& state, Rest... rest) {
    Value first = lambda(state, rest...);
    if (lambda(*state.copy(), rest...) != first) note(found, name);
    return first;
  };
}

using Fold = std::function<Status(SagaState&, std::size_t, std::string_view)>;

Fold fold_twice(Fold fold, std::string name, Found found) {
  if (!fold) return {};
  return [fold = std::move(fold), name = std::move(name), found = std::move(found)](
             SagaState& state, std::size_t index, std::string_view reply) -> Status {
    const std::unique_ptr<SagaState> other = state.copy();
    Status first = fold(state, index, reply);
    const Status second = fold(*other, index, reply);
    if (first.ok() != second.ok() || state.bytes() != other->bytes()) note(found, name);
    return first;
  };
}

}  // namespace

std::shared_ptr<const SagaDefinition> run_twice(const SagaDefinition& saga, const Found& found) {
  auto watched = std::make_shared<SagaDefinition>(saga);
  for (SagaStage& stage : watched->stages) {
    for (StepDefinition& step : stage) {
      const std::string of_step = " of step '" + step.name + "' of saga '" + saga.type + "'";
      step.when = twice(std::move(step.when), "when()" + of_step, found);
      step.count = twice(std::move(step.count), "the count" + of_step, found);
      step.call = twice(std::move(step.call), "what is sent" + of_step, found);
      step.undo = twice(std::move(step.undo), "undo()" + of_step, found);
      step.fold = fold_twice(std::move(step.fold), "on_reply()" + of_step, found);
      for (auto& event : step.events) {
        event = twice(std::move(event), "publish()" + of_step, found);
      }
    }
  }
  for (auto& event : watched->completed_events) {
    event = twice(std::move(event), "publish_completed() of saga '" + saga.type + "'", found);
  }
  for (auto& event : watched->compensated_events) {
    event = twice(std::move(event), "publish_compensated() of saga '" + saga.type + "'", found);
  }
  return watched;
}

}  // namespace catga::test
