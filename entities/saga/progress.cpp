#include "catga/entities/saga/progress.hpp"

#include "catga/entities/codec.hpp"
#include "catga/entities/saga/fold.hpp"

#include <algorithm>

namespace catga {
SagaProgress::SagaProgress(const SagaDefinition& definition, std::string id)
    : definition_(&definition), id_(std::move(id)) {
  for (const SagaStage& stage : definition_->stages) {
    std::vector<SlotProgress>& slots = stages_.emplace_back();
    for (const StepDefinition& step : stage) {
      StepProgress element;
      if (step.has_choice()) element.phase = StepPhase::undecided;
      slots.push_back({&step, 0, {std::move(element)}});
    }
  }
}

SagaProgress::SagaProgress(const SagaDefinition& definition, std::string id,
                           const std::vector<JournalEntry>& journal)
    : SagaProgress(definition, std::move(id)) {
  for (const JournalEntry& entry : journal) apply(entry);
}

void SagaProgress::apply(JournalEntry entry) {
  journal_bytes_ += size_of(entry);
  journal_.push_back(std::move(entry));
  const JournalEntry& newest = journal_.back();
  if ((journal_.size() == 1) != (newest.kind == EntryKind::input)) {
    return fail(ParkCause::poison, newest.step,
                "the first entry of a journal, and no other, is the input");
  }
  switch (newest.kind) {
    case EntryKind::input:
      apply_input(newest);
      break;
    case EntryKind::choice:
      apply_choice(newest);
      break;
    case EntryKind::done:
    case EntryKind::rejected:
    case EntryKind::gave_up:
    case EntryKind::absent:
    case EntryKind::undone:
    case EntryKind::undo_skipped:
      apply_to_step(newest);
      break;
    case EntryKind::signal:
      apply_signal(newest);
      break;
    case EntryKind::cancel:
      go_back(newest.at_ms);
      break;
    case EntryKind::parked:
      apply_parked(newest);
      break;
    case EntryKind::resumed:
      apply_resumed(newest);
      break;
    case EntryKind::upgraded:
      break;  // for people: who reads the journal got the right definition already
    case EntryKind::end:
      apply_end(newest);
      break;
  }
  advance(newest.at_ms);
  look_for_undos(newest.at_ms);
}

void SagaProgress::apply_input(const JournalEntry& entry) {
  created_ms_ = stage_ready_ms_ = entry.at_ms;
  Result<std::unique_ptr<SagaState>> state = definition_->decode_state(entry.data);
  if (!state) return fail(ParkCause::poison, "", "the input: " + state.error().text);
  state_ = std::move(*state);
  stage_state_ = state_->copy();
}

void SagaProgress::apply_choice(const JournalEntry& entry) {
  const std::optional<StepPlace> place = find_step(*definition_, entry.step);
  if (!place) {
    return fail(
        ParkCause::definition_drift, entry.step,
        "the journal decides step '" + entry.step + "', which the definition does not have");
  }
  SlotProgress& slot = stages_[place->stage][place->position];
  if (slot.elements.size() != 1 || slot.elements[0].phase != StepPhase::undecided) return;
  slot.chosen_ms = entry.at_ms;
  if (entry.data == "no") {
    slot.elements[0].phase = StepPhase::skipped;
  } else if (slot.step->sort != StepSort::each) {
    slot.elements[0].phase = StepPhase::open;
  } else {
    const Result<std::uint64_t> count = parse_number(entry.data);
    if (!count || *count == 0 || *count > each_max) {
      return fail(
          ParkCause::definition_drift, entry.step,
          "the journal counts '" + entry.data.substr(0, 20) + "' for each '" + entry.step + "'");
    }
    slot.elements.assign(static_cast<std::size_t>(*count), StepProgress{});
  }
}

void SagaProgress::apply_to_step(const JournalEntry& entry) {
  const std::optional<Place> place = locate(entry.step);
  if (!place) {
    return fail(ParkCause::definition_drift, entry.step,
                "the journal has '" + std::string(name_of(entry.kind)) + "' of step '" +
                    entry.step + "', which the definition does not have");
  }
  StepProgress& element = element_at(*place);
  switch (entry.kind) {
    case EntryKind::done:
      apply_done(entry, *place);
      break;
    case EntryKind::rejected:
      element.phase = StepPhase::rejected;
      take_signal(step_at(*place), element);
      go_back(entry.at_ms);
      break;
    case EntryKind::gave_up:
      element.phase = StepPhase::gave_up;
      go_back(entry.at_ms);
      break;
    case EntryKind::absent:
      take_signal(step_at(*place), element);
      apply_absent(element, entry.at_ms);
      break;
    case EntryKind::undone:
      element.phase = StepPhase::undone;
      break;
    default:
      element.phase = StepPhase::undo_skipped;
      undo_was_skipped_ = true;
  }
}

void SagaProgress::apply_done(const JournalEntry& entry, const Place& place) {
  StepProgress& element = element_at(place);
  // A second word about the same success must not be folded twice.
  if (element.phase == StepPhase::done || element.phase == StepPhase::undone) return;
  const StepDefinition& step = step_at(place);
  element.phase = StepPhase::done;
  element.settle_first = false;
  element.done_entry = journal_.size() - 1;
  take_signal(step, element);
  if (step.pivot) past_pivot_ = true;
  if (!state_ || trouble_) return;
  const Result<DoneNote> note = detail::done_note(entry);
  if (!note) return fail(ParkCause::poison, entry.step, note.error().text);
  const Status folded = detail::fold_reply(step, *state_, place.element, note->reply);
  if (!folded) fail(ParkCause::poison, entry.step, folded.error().text);
}

/// A tombstone stands where the operation would have been. If an operator wanted it out of the way,
/// the replacement goes out under the id of the next round.
void SagaProgress::apply_absent(StepProgress& element, std::int64_t at_ms) {
  if (element.settle_undo_first) {
    element.settle_undo_first = false;
    ++element.undo_round;
    element.undo_round_ms = at_ms;
    return;
  }
  if (element.settle_first && !going_back()) {
    element.settle_first = false;
    ++element.round;
    element.round_ms = at_ms;
    element.phase = StepPhase::open;
    return;
  }
  element.settle_first = false;
  element.phase = StepPhase::absent;
}

void SagaProgress::apply_signal(const JournalEntry& entry) {
  Result<SignalNote> note = decode<SignalNote>(entry.data);
  if (!note) return fail(ParkCause::poison, entry.step, note.error().text);
  signals_.add(entry.step, std::move(*note));
}

void SagaProgress::apply_parked(const JournalEntry& entry) {
  SagaParked parked;
  parked.step = entry.step;
  parked.at_ms = entry.at_ms;
  // A cause of a later version is no reason to go on: it stays parked, as what it looks most like.
  if (Result<ParkNote> note = decode<ParkNote>(entry.data)) {
    parked.note = std::move(*note);
    if (const Result<ParkCause> cause = parse_park_cause(parked.note.cause)) parked.cause = *cause;
  }
  parked_ = std::move(parked);
}

void SagaProgress::apply_resumed(const JournalEntry& entry) {
  if (!parked_) return;
  const SagaParked parked = *std::exchange(parked_, std::nullopt);
  resumed_ms_ = entry.at_ms;
  Result<ResumeNote> note = decode<ResumeNote>(entry.data);
  if (!note) return fail(ParkCause::poison, entry.step, note.error().text);
  if (note->replace) return replace_message(parked, std::move(note->payload), entry.at_ms);
  StepProgress* element = find_mutable(entry.step.empty() ? parked.step : entry.step);
  if (!element) return;
  if (parked.note.undo && parked.note.refused && element->phase == StepPhase::done) {
    ++element->undo_round;
    element->undo_round_ms = entry.at_ms;
  } else if (!entry.step.empty() && has_failed(element->phase)) {
    ++element->round;
    element->round_ms = entry.at_ms;
    element->phase = StepPhase::open;
  }
}

void SagaProgress::replace_message(const SagaParked& parked, std::string payload,
                                   std::int64_t at_ms) {
  StepProgress* element = find_mutable(parked.step);
  if (!element) return;
  if (parked.note.undo) {
    element->undo_replacement = std::move(payload);
    element->settle_undo_first = !parked.note.refused;
    if (element->settle_undo_first) return;
    ++element->undo_round;
    element->undo_round_ms = at_ms;
    return;
  }
  element->replacement = std::move(payload);
  element->settle_first = !has_failed(element->phase);
  if (element->settle_first) return;
  ++element->round;
  element->round_ms = at_ms;
  element->phase = StepPhase::open;
}

void SagaProgress::apply_end(const JournalEntry& entry) {
  ended_ = SagaStatus::aborted;
  const Result<EndNote> note = decode<EndNote>(entry.data);
  if (!note) return;  // ended is ended
  for (const SagaStatus status : {SagaStatus::completed, SagaStatus::compensated}) {
    if (note->status == name_of(status)) ended_ = status;
  }
}

void SagaProgress::go_back(std::int64_t at_ms) {
  if (back_) return;
  back_ = true;
  back_ms_ = at_ms;
}

/// Going back the stage under way stays: what follows it was never begun, so there is nothing to
/// settle there.
void SagaProgress::advance(std::int64_t at_ms) {
  while (!going_back() && reached_ < stages_.size() && all_behind(reached_)) {
    ++reached_;
    stage_ready_ms_ = at_ms;
    if (state_) stage_state_ = state_->copy();
  }
}

void SagaProgress::look_for_undos(std::int64_t at_ms) {
  if (!going_back()) return;
  std::size_t found = none;
  bool unsettled = false;
  for (std::size_t stage = 0; stage < stages_.size(); ++stage) {
    for (const SlotProgress& slot : stages_[stage]) {
      for (const StepProgress& element : slot.elements) {
        unsettled = unsettled || (stage == reached_ && is_open(element.phase));
        if (slot.step->undo && element.phase == StepPhase::done) found = stage;
      }
    }
  }
  if (unsettled) found = none;
  if (std::exchange(undo_stage_, found) != found) undo_ready_ms_ = at_ms;
}

bool SagaProgress::all_behind(std::size_t stage) const {
  return std::ranges::all_of(stages_[stage], [](const SlotProgress& slot) {
    return std::ranges::all_of(
        slot.elements, [](const StepProgress& element) { return is_behind(element.phase); });
  });
}

void SagaProgress::fail(ParkCause cause, std::string_view step, std::string text) {
  if (trouble_) return;  // the first one explains the others
  trouble_ = SagaTrouble{cause, std::string(step), std::move(text)};
}

}  // namespace catga
