// What others want of a saga: signals, cancels, and the verbs of operators. Each becomes entries, or
// a no in words. All are safe to repeat: what is so already needs no entry.
#pragma once
#include "catga/entities/saga/decision.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace catga {

/// Apply and commit the entries, then call next(). None: nothing to do, say yes.
using SagaEntries = std::vector<JournalEntry>;

struct SignalRequest {
  std::string name;
  std::string id;  ///< of the sender's choice; the same again is acknowledged and ignored
  std::string payload;
  std::string by;
};
/// A child's end comes this way too: the name of the step, the id of the child, an encoded ChildEnd.
/// Errors: not_found (ended), overloaded (too many wait), malformed (not what is awaited).
Result<SagaEntries> receive_signal(const SagaProgress& saga, const SignalRequest& request,
                                   std::int64_t now_ms, const SagaLimits& limits = {});

/// Errors: rejected, it is too late: behind the pivot, or ended otherwise than by going back.
Result<SagaEntries> request_cancel(const SagaProgress& saga, std::string reason, std::string by,
                                   std::int64_t now_ms);

enum class OperatorVerb : std::uint8_t { retry, replace, skip, force_complete, cancel, abort };
std::string_view name_of(OperatorVerb verb);
/// Errors: malformed.
Result<OperatorVerb> parse_operator_verb(std::string_view name);

struct OperatorRequest {
  OperatorVerb verb = OperatorVerb::retry;
  std::string reason;  ///< required
  std::string by;      ///< required: who
  /// The step the operator saw parked; empty: whatever it is parked for. A verb sent twice must not
  /// hit the next stuck step.
  std::string step;
  std::string payload;  ///< replace: the message; force_complete: the reply; encoded
};
/// Errors: malformed (no reason), rejected (this verb is of no use here, with what is).
Result<SagaEntries> operate(const SagaProgress& saga, const OperatorRequest& request,
                            std::int64_t now_ms);

/// Stops, undoes nothing, needs no journal: also for a saga too large or too broken to load.
JournalEntry abort_entry(std::string reason, std::string by, std::int64_t now_ms);

}  // namespace catga
