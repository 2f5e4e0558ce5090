#include "catga/runtime/actors/saga_asks.hpp"

#include "catga/entities/saga/step_answer.hpp"

#include <algorithm>
#include <utility>

namespace catga::actors {

Ask step_ask(const SagaTask& task, const StepCall& call, ShardId shard, Epoch epoch) {
  const bool settles = task.verb == TaskVerb::settle || task.verb == TaskVerb::settle_undo;
  Ask ask;
  ask.entity = call.entity;
  ask.message = call.message;
  ask.payload = call.payload;
  ask.operation = task.operation;
  ask.operation_ms = task.operation_ms;
  ask.timeout = task.timeout;
  ask.saga = SagaStep{settles ? SagaStep::Verb::settle : SagaStep::Verb::run, shard, epoch};
  return ask;
}

Result<StepReply> step_reply(const SagaTask&, Result<std::string> answer) {
  if (!answer) return std::move(answer).error();
  return decode_step_answer(*answer);
}

std::vector<Ask> forget_asks(const saga_action::Forget& forget, ShardId shard, Epoch epoch) {
  std::vector<Ask> asks;
  for (std::size_t from = 0; from < forget.operations.size(); from += forget_max) {
    const std::size_t to = std::min(from + forget_max, forget.operations.size());
    const auto at = [&forget](std::size_t place) {
      return forget.operations.begin() + static_cast<std::ptrdiff_t>(place);
    };
    Ask& ask = asks.emplace_back();
    ask.entity = forget.participant;
    ask.message = "$forget";
    ask.payload = encode_forget({at(from), at(to)});
    ask.saga = SagaStep{SagaStep::Verb::forget, shard, epoch};
  }
  return asks;
}

}  // namespace catga::actors
