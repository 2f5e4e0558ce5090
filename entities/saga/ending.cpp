#include "catga/entities/saga/ending.hpp"

#include "catga/entities/codec.hpp"

#include <cassert>

namespace catga {

std::string reason_to_go_back(const SagaProgress& saga) {
  for (const JournalEntry& entry : saga.journal()) {
    if (entry.kind == EntryKind::cancel) return "cancelled by " + entry.by + ": " + entry.data;
    if (entry.kind == EntryKind::rejected) {
      return "step '" + entry.step + "' was rejected: " + entry.data;
    }
    if (entry.kind == EntryKind::gave_up) {
      return "step '" + entry.step + "' was given up: " + entry.data;
    }
  }
  return {};
}

ChildEnd child_end(const SagaProgress& saga) {
  assert(has_ended(saga.status()));
  ChildEnd end;
  end.status = name_of(saga.status());
  if (saga.status() == SagaStatus::completed && saga.state()) end.state = saga.state()->bytes();
  for (const JournalEntry& entry : saga.journal()) {
    if (entry.kind != EntryKind::end) continue;
    if (const Result<EndNote> note = decode<EndNote>(entry.data)) end.reason = note->reason;
  }
  return end;
}

}  // namespace catga
