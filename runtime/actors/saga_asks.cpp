#include "catga/runtime/actors/saga_asks.hpp"

#include "catga/entities/saga/step_answer.hpp"

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

Ask forget_ask(const saga_action::Forget& forget, ShardId shard, Epoch epoch) {
  Ask ask;
  ask.entity = forget.participant;
  ask.message = "$forget";
  ask.payload = encode_forget(forget.operations);
  ask.saga = SagaStep{SagaStep::Verb::forget, shard, epoch};
  return ask;
}

}  // namespace catga::actors
