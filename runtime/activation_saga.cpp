// An Activation as a participant of sagas: settling and forgetting, which run no code of users, and how steps are
// answered. See saga_memory.hpp.
#include "catga/entities/saga/step_answer.hpp"
#include "catga/runtime/activation.hpp"

#include <algorithm>
#include <utility>

namespace catga {

/// Whether the step is done with: refused, settled or forgotten. Else it runs as any command.
bool Activation::saga_done(Envelope& envelope) {
  const SagaStep& step = envelope.saga;
  if (const Epoch oldest = host_.source_epoch(step.shard); step.epoch < oldest) {
    // An owner of the saga that is none any more, or one that hears of its new token only now: it asks again under it.
    host_.answer(envelope,
                 Error{Code::unavailable, text_of(entity_) + " refuses a step of a saga of shard " +
                                              std::to_string(step.shard.value) + " under epoch " +
                                              std::to_string(step.epoch.value) + ", older than " +
                                              std::to_string(oldest.value)});
    return true;
  }
  switch (step.verb) {
    case SagaStep::Verb::none:
    case SagaStep::Verb::run:
      return false;
    case SagaStep::Verb::settle:
      if (!remembered(envelope)) settle(std::move(envelope));
      return true;
    case SagaStep::Verb::forget:
      forget_steps(std::move(envelope));
      return true;
  }
  return false;
}

/// It was never applied. A turn that does nothing but to write so: a copy that comes later finds the tombstone.
void Activation::settle(Envelope envelope) {
  const OperationId id = envelope.operation;
  pending_.emplace(id, Pending{});
  OperationRecord tombstone{OperationRecord::Type::tombstone, 0, envelope.operation_ms, {}};
  forming_.saga.operations.emplace_back(id, std::move(tombstone));
  forming_.turns += 1;
  forming_.bytes += envelope.bytes();
  forming_.waiting.push_back({std::move(envelope), Error{Code::expired, "called off"}, false});
}

void Activation::forget_steps(Envelope envelope) {
  Result<std::vector<OperationId>> steps = decode_forget(envelope.payload);
  if (!steps) return host_.answer(envelope, std::move(steps).error());
  // Before the commit: a step that is looked up meanwhile must not be taken for new when its id is gone.
  host_.raise_source(envelope.saga.shard, envelope.saga.epoch);
  SagaWrites& writes = forming_.saga;
  // One that this very commit records cannot be forgotten by it; its saga is not over, whatever it says.
  std::erase_if(*steps, [this](const OperationId& id) { return pending_.contains(id); });
  writes.forgotten.insert(writes.forgotten.end(), steps->begin(), steps->end());
  const auto same =
      std::find_if(writes.sources.begin(), writes.sources.end(),
                   [&envelope](const auto& source) { return source.first == envelope.saga.shard; });
  if (same == writes.sources.end()) {
    writes.sources.emplace_back(envelope.saga.shard, envelope.saga.epoch);
  } else {
    same->second = std::max(same->second, envelope.saga.epoch);
  }
  forming_.turns += 1;
  forming_.bytes += envelope.bytes();
  forming_.waiting.push_back({std::move(envelope), std::string(), false});
}

void Activation::drop_forgotten(const std::vector<OperationId>& steps) {
  for (const OperationId& id : steps) {
    const auto known = records_.find(id);
    if (known == records_.end()) continue;
    records_bytes_ -= std::min(records_bytes_, known->second.reply.size());
    records_.erase(known);
    records_order_.remove(id);  // a place left behind would push out the same id, come again
  }
  count_remembered();
}

/// Every good answer, and every answer that stands on record, leaves here.
void Activation::reply(const Envelope& to, Result<std::string> answer) {
  if (!to.saga) return host_.answer(to, std::move(answer));
  StepReply step;
  step.forget = generations_.saga_count > limits_.saga_steps_many;
  if (answer.ok()) {
    step.bytes = std::move(answer).value();
  } else if (to.saga.verb == SagaStep::Verb::settle &&
             (answer.error().code == Code::rejected || answer.error().code == Code::expired)) {
    step.absent = true;  // rejected, or called off: not applied, and never will be
  } else {
    return host_.answer(to, std::move(answer));
  }
  host_.answer(to, encode_step_answer(step));
}

}  // namespace catga
