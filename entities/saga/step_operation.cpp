#include "catga/entities/saga/step_operation.hpp"

#include "catga/sharding/hash.hpp"

#include <string>

namespace catga {
namespace {

constexpr std::uint64_t step_domain = 49;

/// Lengths in front, so that no two lists of texts give the same bytes.
void append(std::string& out, std::string_view text) {
  out.append(std::to_string(text.size())).append(1, ':').append(text);
}

}  // namespace

OperationId step_operation(const SagaName& saga, StepSide side, std::string_view step,
                           std::uint32_t round) {
  std::string name;
  append(name, side == StepSide::forward ? "do" : "undo");
  append(name, saga.type);
  append(name, saga.id);
  append(name, std::to_string(saga.created_ms));
  append(name, step);
  append(name, std::to_string(round));
  return hash128(step_domain, name);
}

}  // namespace catga
