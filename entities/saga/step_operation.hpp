// The operation ids of a saga: which step of which saga, and nothing else.
//
// An id must be the same for every attempt, every owner and every version of the program: it is how
// a participant knows a repeat. So it is derived, not drawn:
//
//   H128(49, L("do" | "undo") L(type) L(id) L(created) L(step) L(round))
//
// with H128 = hash128 of sharding/hash, domain 49; L(x) = length of x in decimal, ':', x; numbers in
// decimal. `created` is the time of the input entry: a saga id used again, after the memory of the
// first one is gone, makes other ids. `round` is 0, and grows only when the operation of the round
// before is known not to be applied and never will be (rejected, or a tombstone) and an operator, or
// the slow retry, wants it tried again: the old id would only get the old answer.
#pragma once
#include "catga/sharding/ids.hpp"

#include <cstdint>
#include <string_view>

namespace catga {

struct SagaName {
  std::string_view type;
  std::string_view id;
  std::int64_t created_ms = 0;
};

enum class StepSide : std::uint8_t { forward, undo };

/// `step` with its number if it is one of an each: "line#3".
OperationId step_operation(const SagaName& saga, StepSide side, std::string_view step,
                           std::uint32_t round);

}  // namespace catga
