// How a step of a saga travels to its participant, and what its answer says.
#pragma once
#include "catga/entities/messenger.hpp"
#include "catga/entities/saga/answer.hpp"
#include "catga/runtime/saga_machine.hpp"
#include "catga/sharding/ids.hpp"

#include <string>
#include <vector>

namespace catga::actors {

/// `shard` and `epoch` are those of the saga: a participant that forgot its steps refuses older ones.
Ask step_ask(const SagaTask& task, const StepCall& call, ShardId shard, Epoch epoch);
Result<StepReply> step_reply(const SagaTask& task, Result<std::string> answer);
Ask forget_ask(const saga_action::Forget& forget, ShardId shard, Epoch epoch);

}  // namespace catga::actors
