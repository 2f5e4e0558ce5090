// What a participant says to a step of a saga, as the bytes of a good answer: one byte of flags, then the reply.
//
// bit 0  forget: the participant remembers many steps and asks to be told when this saga is over
// bit 1  absent: to a settlement, the operation was not applied and never will be
#pragma once
#include "catga/entities/saga/answer.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

std::string encode_step_answer(const StepReply& answer);
/// Errors: malformed.
Result<StepReply> decode_step_answer(std::string_view bytes);

/// Ids of operations as the payload of a SagaStep::Verb::forget, and back. At most 1,000. Errors: malformed.
std::string encode_forget(const std::vector<OperationId>& steps);
Result<std::vector<OperationId>> decode_forget(std::string_view payload);
constexpr std::size_t forget_max = 1000;

}  // namespace catga
