// How a saga ended, or why it is on its way back: for its parent and for people.
#pragma once
#include "catga/entities/saga/progress.hpp"

#include <string>

namespace catga {

/// "step 'charge' was rejected: insufficient funds". Empty: it does not go back.
std::string reason_to_go_back(const SagaProgress& saga);

/// What the parent of an ended saga gets, encoded, as a signal: named like the step, with the id of
/// this saga as the id of the signal.
ChildEnd child_end(const SagaProgress& saga);

}  // namespace catga
