#include "catga/entities/saga/step_answer.hpp"

#include <cassert>

namespace catga {

namespace {
constexpr unsigned forget_bit = 1, absent_bit = 2;
constexpr std::size_t id_bytes = 16;
}  // namespace

std::string encode_step_answer(const StepReply& answer) {
  const unsigned flags = (answer.forget ? forget_bit : 0) | (answer.absent ? absent_bit : 0);
  std::string bytes(1, static_cast<char>(flags));
  return bytes.append(answer.bytes);
}

Result<StepReply> decode_step_answer(std::string_view bytes) {
  if (bytes.empty()) return Error{Code::malformed, "the answer to a step of a saga is empty"};
  const unsigned flags = static_cast<unsigned char>(bytes.front());
  return StepReply{std::string(bytes.substr(1)), (flags & forget_bit) != 0,
                   (flags & absent_bit) != 0};
}

std::string encode_forget(const std::vector<OperationId>& steps) {
  assert(steps.size() <= forget_max);
  std::string payload;
  for (const OperationId& step : steps) payload += bytes_of(step);
  return payload;
}

Result<std::vector<OperationId>> decode_forget(std::string_view payload) {
  if (payload.size() % id_bytes != 0 || payload.size() > forget_max * id_bytes) {
    return Error{Code::malformed, "a list of steps to forget has " +
                                      std::to_string(payload.size()) +
                                      " bytes; ids have 16 each, and at most 1000 go at once"};
  }
  std::vector<OperationId> steps;
  for (std::size_t at = 0; at < payload.size(); at += id_bytes) {
    steps.push_back(CATGA_TRY(wide_id_from_bytes<OperationId>(payload.substr(at, id_bytes))));
  }
  return steps;
}

}  // namespace catga
