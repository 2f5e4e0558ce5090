// What an answer means: the entries it leads to, or when to try again.
//
// Attempts are counted in memory, by who sends; the window of a step counts from the journal, so
// crashes cannot stretch it by more than the attempt each new owner makes.
#pragma once
#include "catga/entities/saga/decision.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace catga {

/// What a participant answered. To a settlement: `absent`, or the reply that is recorded.
struct StepReply {
  std::string bytes;
  bool forget = false;  ///< asks to be told when the saga is over
  bool absent = false;
};

struct StepAttempt {
  std::uint32_t number = 1;  ///< the one just answered
  std::int64_t now_ms = 0;
  double chance = 0.5;  ///< drawn from [0, 1), for the jitter
};

/// Neither entries nor a time: nobody asks any more (a late answer), or a child was started and its
/// end will come as a signal.
struct SagaAnswer {
  std::vector<JournalEntry> entries;     ///< apply and commit them, then call next()
  std::optional<std::int64_t> again_ms;  ///< send the same task again then
};

/// Only answers that next() still asks for lead to entries.
SagaAnswer answered(const SagaProgress& saga, const SagaTask& task, const Result<StepReply>& reply,
                    const StepAttempt& attempt, const SagaLimits& limits = {});

/// The entry for user code that threw in call_of.
JournalEntry poisoned(const SagaTask& task, const Error& error, std::int64_t now_ms);

}  // namespace catga
