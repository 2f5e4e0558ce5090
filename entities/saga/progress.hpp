// How far a saga is: its journal read over its definition.
//
// Progress grows by one entry at a time (apply) and holds nothing that does not follow from the
// journal, so an owner that keeps it in memory and one that has just read the journal know the same.
//
// Two states matter beside the newest. A *call* sees the state as its stage began: what a sibling's
// reply put there must not change a call that may have been sent already. An *undo* sees the state
// folded up to the step's own reply.
#pragma once
#include "catga/entities/saga/definition.hpp"
#include "catga/entities/saga/journal.hpp"
#include "catga/entities/saga/signals.hpp"
#include "catga/entities/saga/step_operation.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga {

enum class SagaStatus : std::uint8_t {
  running,
  compensating,
  parked,
  completed,
  compensated,
  aborted
};
/// As the header of the saga and the lists of operators print it.
std::string_view name_of(SagaStatus status);
constexpr bool has_ended(SagaStatus status) { return status >= SagaStatus::completed; }

/// What the journal says about one step, or about one element of an each.
enum class StepPhase : std::uint8_t {
  undecided,  ///< its .when or count has not been asked
  skipped,    ///< .when said no, or the count was 0
  open,       ///< to do; perhaps sent
  done,
  rejected,  ///< not applied
  gave_up,   ///< outcome unknown
  absent,    ///< not applied, and never will be
  undone,
  undo_skipped,
};

struct StepProgress {
  StepPhase phase = StepPhase::open;
  std::uint32_t round = 0;  ///< see step_operation.hpp
  std::uint32_t undo_round = 0;
  std::int64_t round_ms = 0;  ///< when this round began; 0 in the first
  std::int64_t undo_round_ms = 0;
  bool settle_first = false;  ///< an operator replaced the message: forbid the old one, then send
  bool settle_undo_first = false;
  std::optional<std::string> replacement;
  std::optional<std::string> undo_replacement;
  std::size_t done_entry = 0;  ///< where in the journal
};

/// A declared step and what became of it: one element, or as many as an each counted.
struct SlotProgress {
  const StepDefinition* step = nullptr;
  std::int64_t chosen_ms = 0;
  std::vector<StepProgress> elements;
};

/// "charge", or "line#3".
std::string element_name(const StepDefinition& step, std::size_t element);

struct SagaParked {
  ParkCause cause = ParkCause::poison;
  std::string step;
  ParkNote note;
  std::int64_t at_ms = 0;
};

/// Why nothing more can be decided with this definition.
struct SagaTrouble {
  ParkCause cause = ParkCause::poison;
  std::string step;
  std::string text;
};

class SagaProgress {
 public:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  /// `definition` must outlive this.
  SagaProgress(const SagaDefinition& definition, std::string id);
  /// A whole journal at once.
  SagaProgress(const SagaDefinition& definition, std::string id,
               const std::vector<JournalEntry>& journal);

  /// Takes in the next entry. What does not fit the definition ends up in trouble().
  void apply(JournalEntry entry);

  const SagaDefinition& definition() const { return *definition_; }
  const std::string& id() const { return id_; }
  SagaName name() const { return {definition_->type, id_, created_ms_}; }
  SagaStatus status() const;
  const std::vector<JournalEntry>& journal() const { return journal_; }
  JournalRoom room() const { return journal_room(journal_.size(), journal_bytes_); }
  const std::vector<std::vector<SlotProgress>>& stages() const { return stages_; }
  /// The newest state; null before the input, or when its bytes could not be read.
  const SagaState* state() const { return state_.get(); }
  const SagaState* state_of_stage() const { return stage_state_.get(); }
  /// The state as the undo of a step that is done sees it.
  Result<std::unique_ptr<SagaState>> state_at_done(const StepProgress& element) const;
  /// Can this reply be put into the state? Errors: what on_reply or the codec said.
  Status try_fold(const StepDefinition& step, std::size_t element, std::string_view reply) const;

  std::int64_t created_ms() const { return created_ms_; }
  std::size_t reached() const { return reached_; }  ///< the stage under way; all: their number
  std::int64_t stage_ready_ms() const { return stage_ready_ms_; }
  bool past_pivot() const { return past_pivot_; }
  /// Wants to be undone, and may be: there is a way back until the pivot is done.
  bool going_back() const { return back_ && !past_pivot_; }
  std::int64_t back_ms() const { return back_ms_; }
  std::int64_t resumed_ms() const { return resumed_ms_; }  ///< 0: never
  /// The stage whose undos are under way, or `none`.
  std::size_t undo_stage() const { return undo_stage_; }
  std::int64_t undo_ready_ms() const { return undo_ready_ms_; }
  const std::optional<SagaParked>& parked() const { return parked_; }
  const std::optional<SagaTrouble>& trouble() const { return trouble_; }
  /// Did an operator take an undo as done? Then the end counts as failed.
  bool undo_was_skipped() const { return undo_was_skipped_; }

  /// When a step could first be sent, in its present round; a sleep or signal is due from here.
  std::int64_t ready_ms(const SlotProgress& slot, const StepProgress& element) const;

  struct Place {
    std::size_t stage = 0;
    std::size_t position = 0;
    std::size_t element = 0;
  };
  /// nullopt: there is no such step, or no such element yet.
  std::optional<Place> locate(std::string_view step_name) const;
  /// nullptr: there is no such step, or no such element yet.
  const StepProgress* find(std::string_view step_name) const;
  /// Where a child of this step lives now: "<id>.<step>", with its round when there was another.
  std::string child_id(const StepDefinition& step, const StepProgress& element) const;

  const SagaSignals& signals() const { return signals_; }
  /// The payload that waits for this step; nullopt: nothing arrived.
  std::optional<std::string> waiting_signal(const StepDefinition& step,
                                            const StepProgress& element) const;

 private:
  const StepDefinition& step_at(const Place& place) const;
  StepProgress& element_at(const Place& place);
  StepProgress* find_mutable(std::string_view step_name);

  void apply_input(const JournalEntry& entry);
  void apply_choice(const JournalEntry& entry);
  void apply_to_step(const JournalEntry& entry);
  void apply_done(const JournalEntry& entry, const Place& place);
  void apply_absent(StepProgress& element, std::int64_t at_ms);
  void apply_signal(const JournalEntry& entry);
  void apply_parked(const JournalEntry& entry);
  void apply_resumed(const JournalEntry& entry);
  void apply_end(const JournalEntry& entry);
  void replace_message(const SagaParked& parked, std::string payload, std::int64_t at_ms);
  void go_back(std::int64_t at_ms);
  void advance(std::int64_t at_ms);
  void look_for_undos(std::int64_t at_ms);
  void take_signal(const StepDefinition& step, const StepProgress& element);
  bool all_behind(std::size_t stage) const;
  void fail(ParkCause cause, std::string_view step, std::string text);

  const SagaDefinition* definition_;
  std::string id_;
  std::vector<JournalEntry> journal_;
  std::size_t journal_bytes_ = 0;
  std::vector<std::vector<SlotProgress>> stages_;
  std::unique_ptr<SagaState> state_;
  std::unique_ptr<SagaState> stage_state_;
  std::int64_t created_ms_ = 0;
  std::size_t reached_ = 0;
  std::int64_t stage_ready_ms_ = 0;
  bool past_pivot_ = false;
  bool back_ = false;
  std::int64_t back_ms_ = 0;
  std::int64_t resumed_ms_ = 0;
  std::size_t undo_stage_ = none;
  std::int64_t undo_ready_ms_ = 0;
  bool undo_was_skipped_ = false;
  std::optional<SagaParked> parked_;
  std::optional<SagaStatus> ended_;
  std::optional<SagaTrouble> trouble_;
  SagaSignals signals_;
};

/// Neither to do nor to be undone any more in going forward.
constexpr bool is_behind(StepPhase phase) {
  return phase == StepPhase::skipped || phase == StepPhase::done || phase == StepPhase::undone ||
         phase == StepPhase::undo_skipped;
}
/// Must be settled before anything is undone: it may have been applied.
constexpr bool is_open(StepPhase phase) {
  return phase == StepPhase::open || phase == StepPhase::gave_up;
}
/// Known not to be applied.
constexpr bool has_failed(StepPhase phase) {
  return phase == StepPhase::rejected || phase == StepPhase::absent;
}

}  // namespace catga
