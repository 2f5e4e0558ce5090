// What one may ask a SagaProgress. How it grows is in progress.cpp.
#include "catga/entities/saga/fold.hpp"
#include "catga/entities/saga/progress.hpp"

#include <algorithm>
#include <array>

namespace catga {
namespace {

constexpr std::array<std::string_view, 6> status_names{"running",   "compensating", "parked",
                                                       "completed", "compensated",  "aborted"};

/// 3 of "line#3"; 0 of a step that is no each; `none` of what is no number.
std::size_t element_number(std::string_view step_name) {
  const std::size_t hash = step_name.find('#');
  if (hash == step_name.npos) return 0;
  const Result<std::uint64_t> number = parse_number(step_name.substr(hash + 1));
  return number ? static_cast<std::size_t>(*number) : SagaProgress::none;
}

}  // namespace

std::string_view name_of(SagaStatus status) {
  return status_names[static_cast<std::size_t>(status)];
}

std::string element_name(const StepDefinition& step, std::size_t element) {
  return step.sort == StepSort::each ? step.name + '#' + std::to_string(element) : step.name;
}

SagaStatus SagaProgress::status() const {
  if (ended_) return *ended_;
  if (parked_) return SagaStatus::parked;
  return going_back() ? SagaStatus::compensating : SagaStatus::running;
}

Result<std::unique_ptr<SagaState>> SagaProgress::state_at_done(const StepProgress& wanted) const {
  Result<std::unique_ptr<SagaState>> state = definition_->decode_state(journal_.at(0).data);
  if (!state) return std::move(state).error();
  for (std::size_t i = 1; i <= wanted.done_entry; ++i) {
    const JournalEntry& entry = journal_[i];
    const std::optional<Place> place = locate(entry.step);
    if (entry.kind != EntryKind::done || !place) continue;
    if (find(entry.step)->done_entry != i) continue;  // said twice: only the first counted
    const DoneNote note = CATGA_TRY(detail::done_note(entry));
    const Status folded = detail::fold_reply(step_at(*place), **state, place->element, note.reply);
    if (!folded) return folded.error();
  }
  return state;
}

Status SagaProgress::try_fold(const StepDefinition& step, std::size_t element,
                              std::string_view reply) const {
  if (!state_) return Done{};
  const std::unique_ptr<SagaState> copy = state_->copy();
  return detail::fold_reply(step, *copy, element, reply);
}

std::int64_t SagaProgress::ready_ms(const SlotProgress& slot, const StepProgress& element) const {
  return element.round > 0 ? element.round_ms : std::max(stage_ready_ms_, slot.chosen_ms);
}

std::optional<SagaProgress::Place> SagaProgress::locate(std::string_view step_name) const {
  const std::optional<StepPlace> place = find_step(*definition_, step_name);
  if (!place) return std::nullopt;
  const SlotProgress& slot = stages_[place->stage][place->position];
  const bool numbered = step_name.find('#') != step_name.npos;
  const std::size_t number = element_number(step_name);
  if (numbered != (slot.step->sort == StepSort::each)) return std::nullopt;
  if (number >= slot.elements.size()) return std::nullopt;
  return Place{place->stage, place->position, number};
}

const StepDefinition& SagaProgress::step_at(const Place& place) const {
  return *stages_[place.stage][place.position].step;
}

StepProgress& SagaProgress::element_at(const Place& place) {
  return stages_[place.stage][place.position].elements[place.element];
}

const StepProgress* SagaProgress::find(std::string_view step_name) const {
  const std::optional<Place> place = locate(step_name);
  if (!place) return nullptr;
  return &stages_[place->stage][place->position].elements[place->element];
}

StepProgress* SagaProgress::find_mutable(std::string_view step_name) {
  const std::optional<Place> place = locate(step_name);
  return place ? &element_at(*place) : nullptr;
}

std::string SagaProgress::child_id(const StepDefinition& step, const StepProgress& element) const {
  const std::string id = id_ + '.' + step.name;
  return element.round == 0 ? id : id + '~' + std::to_string(element.round);
}

std::optional<std::string> SagaProgress::waiting_signal(const StepDefinition& step,
                                                        const StepProgress& element) const {
  if (step.sort == StepSort::signal) return signals_.find(step.name, "");
  if (step.sort == StepSort::child) return signals_.find(step.name, child_id(step, element));
  return std::nullopt;
}

void SagaProgress::take_signal(const StepDefinition& step, const StepProgress& element) {
  if (step.sort == StepSort::signal) signals_.take(step.name, "");
  if (step.sort == StepSort::child) signals_.take(step.name, child_id(step, element));
}

}  // namespace catga
