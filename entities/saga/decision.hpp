// What a saga does next. Pure: whoever reads the same journal decides the same.
//
// A decision is entries to write, tasks to carry out, and a time to look again. The rule is: write
// the entries first, in one commit with whatever led here; only when they are in the journal carry
// out the tasks. What follows from the journal alone needs no writing before it is sent, so a task
// may be sent again by the next owner; its operation id is the same, and it takes effect once.
//
// Forward: the lowest stage that is not behind us is under way; choices first, then all its steps
// side by side. Back (a rejection, a step given up, a cancel; never behind the pivot): first settle
// what may have been applied in the stage under way, then undo, newest stage first, the next when
// all of one are acknowledged. A decision without entries that has not ended waits for an answer, a
// signal, a time, or an operator: it never spins.
#pragma once
#include "catga/entities/saga/limits.hpp"
#include "catga/entities/saga/progress.hpp"
#include "catga/entities/saga/tasks.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace catga {

struct SagaDecision {
  std::vector<JournalEntry> entries;
  std::vector<SagaTask> tasks;
  std::optional<std::int64_t> wake_ms;  ///< cluster time to decide again, if nothing comes first
  SagaStatus status = SagaStatus::running;
  bool overdue = false;    ///< the deadline passed behind the pivot: only to be told
  bool half_full = false;  ///< of the journal: only to be told
};

/// Decides, and applies what it decided to `saga`. If the commit of the entries fails, drop `saga`
/// and read the journal again.
SagaDecision next(SagaProgress& saga, std::int64_t now_ms, const SagaLimits& limits = {});

/// The same from the journal alone.
SagaDecision next(const SagaDefinition& definition, const std::string& id,
                  const std::vector<JournalEntry>& journal, std::int64_t now_ms,
                  const SagaLimits& limits = {});

}  // namespace catga
