#include "catga/entities/saga/fold.hpp"

#include "catga/entities/codec.hpp"
#include "catga/entities/saga/guarded.hpp"

namespace catga::detail {

Status fold_reply(const StepDefinition& step, SagaState& state, std::size_t element,
                  std::string_view reply) {
  if (!step.fold) return Done{};
  return guarded(step.name, "on_reply", [&] { return step.fold(state, element, reply); });
}

Result<DoneNote> done_note(const JournalEntry& entry) {
  if (entry.data.empty()) return DoneNote{};
  return decode<DoneNote>(entry.data);
}

}  // namespace catga::detail
