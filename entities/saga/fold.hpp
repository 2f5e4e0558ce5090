// The state of a saga is the fold of on_reply over its `done` entries, in the order of the journal.
#pragma once
#include "catga/entities/saga/definition.hpp"
#include "catga/entities/saga/journal.hpp"

#include <cstddef>
#include <string_view>

namespace catga::detail {

/// Puts one reply into the state. Errors: it cannot be read, or on_reply threw; then the state is
/// of no more use.
Status fold_reply(const StepDefinition& step, SagaState& state, std::size_t element,
                  std::string_view reply);

/// What a `done` entry notes. A sleep has nothing to note. Errors: malformed.
Result<DoneNote> done_note(const JournalEntry& entry);

}  // namespace catga::detail
