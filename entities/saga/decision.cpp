#include "catga/entities/saga/decision.hpp"

#include "catga/entities/codec.hpp"
#include "catga/entities/saga/ending.hpp"
#include "catga/entities/saga/guarded.hpp"

#include <algorithm>
#include <cassert>
#include <limits>
#include <utility>

namespace catga {
namespace {

using Maybe = std::optional<JournalEntry>;

constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

std::string in_words(std::chrono::milliseconds time) {
  return std::to_string(time.count()) + " ms";
}

/// One entry that is due now, if any. The order of the questions is the order of precedence.
class Deciding {
 public:
  Deciding(const SagaProgress& saga, std::int64_t now_ms, const SagaLimits& limits)
      : saga_(saga), now_ms_(now_ms), limits_(limits) {}

  Maybe due_entry() const {
    if (saga_.journal().empty() || has_ended(saga_.status())) return std::nullopt;
    if (saga_.parked()) {
      if (Maybe entry = resume()) return entry;
      if (!carries_on()) return std::nullopt;
    } else if (const std::optional<SagaTrouble>& trouble = saga_.trouble()) {
      return park(trouble->cause, trouble->step, {.text = trouble->text});
    }
    return saga_.going_back() ? back() : forward();
  }

  /// When to ask again although nothing arrived.
  std::optional<std::int64_t> wake(const std::vector<SagaTask>& tasks) const {
    std::vector<std::int64_t> times;
    if (has_ended(saga_.status())) return std::nullopt;
    if (saga_.parked() && retries_slowly()) times.push_back(slow_retry_ms());
    if (!saga_.parked() || carries_on()) {
      for (const SagaTask& task : tasks) {
        times.push_back(too_old_ms(task));
        if (task.for_ever) times.push_back(stuck_ms(task));
      }
      if (!saga_.going_back()) add_waits(times);
    }
    // What is overdue without an entry was told already (the deadline behind the pivot).
    std::erase_if(times, [this](std::int64_t time) { return time <= now_ms_ || time == never; });
    if (times.empty()) return std::nullopt;
    return std::ranges::min(times);
  }

  bool overdue() const {
    return deadline_passed() && saga_.past_pivot() && !has_ended(saga_.status());
  }

 private:
  // Parked.

  /// Retries behind the pivot go on while the saga is listed as stuck.
  bool carries_on() const {
    return !saga_.trouble() && saga_.parked()->cause == ParkCause::forward_stuck &&
           !saga_.parked()->note.refused;
  }

  Maybe resume() const {
    const SagaParked& parked = *saga_.parked();
    if (saga_.trouble()) return std::nullopt;  // the same trouble again: wait for other code
    switch (parked.cause) {
      case ParkCause::definition_drift:
      case ParkCause::no_definition:
        return resumed("", "this node has the right definition");
      case ParkCause::compensation_stuck:
      case ParkCause::forward_stuck:
        return resume_stuck(parked);
      case ParkCause::crash_loop:
      case ParkCause::poison:
      case ParkCause::journal_full:
        break;
    }
    return std::nullopt;
  }

  Maybe resume_stuck(const SagaParked& parked) const {
    const StepProgress* element = saga_.find(parked.step);
    const bool over =
        !element || (parked.note.undo ? element->phase != StepPhase::done
                                      : is_behind(element->phase) ||
                                            (saga_.going_back() && !is_open(element->phase)));
    if (over) return resumed("", "what it waited for came about");
    if (!retries_slowly() || now_ms_ < slow_retry_ms()) return std::nullopt;
    const bool again = parked.cause == ParkCause::forward_stuck;
    return resumed(again ? parked.step : "", "slow retry");
  }

  /// A rejected undo or step is tried again under a new operation id, an unknown one under its own.
  bool retries_slowly() const {
    const SagaParked& parked = *saga_.parked();
    return parked.cause == ParkCause::compensation_stuck ||
           (parked.cause == ParkCause::forward_stuck && parked.note.refused);
  }
  std::int64_t slow_retry_ms() const { return saga_.parked()->at_ms + limits_.slow_retry.count(); }

  // Forward.

  Maybe forward() const {
    if (saga_.reached() == saga_.stages().size()) return end(SagaStatus::completed, "");
    if (Maybe entry = journal_full()) return entry;
    if (deadline_passed() && !saga_.past_pivot()) {
      return JournalEntry{EntryKind::cancel, "", now_ms_,
                          "not done within " + in_words(*saga_.definition().deadline), "deadline"};
    }
    const std::vector<SlotProgress>& stage = saga_.stages()[saga_.reached()];
    for (const SlotProgress& slot : stage) {
      if (slot.elements[0].phase == StepPhase::undecided) return choose(*slot.step);
    }
    if (Maybe entry = failed_behind_pivot(stage)) return entry;
    for (const SlotProgress& slot : stage) {
      if (Maybe entry = end_of_wait(slot)) return entry;
    }
    return trouble_with_tasks();
  }

  Maybe choose(const StepDefinition& step) const {
    const SagaState& state = *saga_.state_of_stage();
    const Result<std::size_t> count =
        detail::guarded(step.name, "the choice", [&]() -> Result<std::size_t> {
          if (step.when && !step.when(state)) return std::size_t{0};
          return step.sort == StepSort::each ? step.count(state) : std::size_t{1};
        });
    if (!count) return park(ParkCause::poison, step.name, {.text = count.error().text});
    if (*count > each_max) {
      return park(ParkCause::poison, step.name,
                  {.text = "each '" + step.name + "' counts " + std::to_string(*count) +
                           ", more than " + std::to_string(each_max)});
    }
    const std::string yes = step.sort == StepSort::each ? std::to_string(*count) : "yes";
    return entry(EntryKind::choice, step.name, *count == 0 ? "no" : yes);
  }

  Maybe failed_behind_pivot(const std::vector<SlotProgress>& stage) const {
    if (saga_.parked()) return std::nullopt;
    for (const SlotProgress& slot : stage) {
      for (std::size_t i = 0; i < slot.elements.size(); ++i) {
        if (!has_failed(slot.elements[i].phase)) continue;
        const std::string name = element_name(*slot.step, i);
        return park(
            ParkCause::forward_stuck, name,
            {.text = "step '" + name + "' was rejected behind the pivot: " + newest_rejection(name),
             .refused = true});
      }
    }
    return std::nullopt;
  }

  /// Of a sleep, a signal or a child that is over.
  Maybe end_of_wait(const SlotProgress& slot) const {
    const StepProgress& element = slot.elements[0];
    if (element.phase != StepPhase::open) return std::nullopt;
    const StepDefinition& step = *slot.step;
    const bool due = now_ms_ >= due_ms(slot);
    if (step.sort == StepSort::sleep && due) return done(step, "");
    const std::optional<std::string> signal = saga_.waiting_signal(step, element);
    if (signal && step.sort == StepSort::signal) return done(step, *signal);
    if (signal && step.sort == StepSort::child) return child_ended(step, *signal);
    if (step.sort == StepSort::signal && due) {
      return entry(EntryKind::rejected, step.name,
                   "no signal '" + step.name + "' within " + in_words(step.timeout));
    }
    return std::nullopt;
  }

  Maybe child_ended(const StepDefinition& step, const std::string& payload) const {
    const Result<ChildEnd> child = decode<ChildEnd>(payload);
    if (!child) {
      return park(ParkCause::poison, step.name,
                  {.text = "the end of child '" + step.name + "': " + child.error().text});
    }
    if (child->status == name_of(SagaStatus::completed)) return done(step, child->state);
    if (saga_.going_back()) return entry(EntryKind::absent, step.name, "");
    return entry(EntryKind::rejected, step.name,
                 "the child was " + child->status + ": " + child->reason);
  }

  Maybe done(const StepDefinition& step, const std::string& reply) const {
    const bool has_reply = step.sort != StepSort::sleep;
    const Status fits = has_reply ? saga_.try_fold(step, 0, reply) : Status(Done{});
    if (!fits) {
      if (saga_.parked()) return std::nullopt;
      return park(ParkCause::poison, step.name, {.text = fits.error().text});
    }
    return entry(EntryKind::done, step.name,
                 has_reply ? encode(DoneNote{reply, false, ""}) : std::string());
  }

  // Back.

  Maybe back() const {
    bool unsettled = false;
    const bool all_done = saga_.reached() == saga_.stages().size();
    for (const SlotProgress& slot : all_done ? no_stage_ : saga_.stages()[saga_.reached()]) {
      if (Maybe entry = settle_wait(slot)) return entry;
      unsettled = unsettled || std::ranges::any_of(slot.elements, [](const StepProgress& element) {
                    return is_open(element.phase);
                  });
    }
    if (!unsettled && saga_.undo_stage() == SagaProgress::none) {
      return end(SagaStatus::compensated, reason_to_go_back(saga_));
    }
    if (Maybe entry = journal_full()) return entry;
    return trouble_with_tasks();
  }

  /// Nobody must be asked what became of a sleep or a signal.
  Maybe settle_wait(const SlotProgress& slot) const {
    const StepProgress& element = slot.elements[0];
    if (!is_open(element.phase)) return std::nullopt;
    if (slot.step->waits_only()) return entry(EntryKind::absent, slot.step->name, "");
    const std::optional<std::string> signal = saga_.waiting_signal(*slot.step, element);
    return signal ? child_ended(*slot.step, *signal) : std::nullopt;
  }

  // Both ways.

  Maybe trouble_with_tasks() const {
    if (saga_.parked()) return std::nullopt;
    for (const SagaTask& task : open_tasks(saga_, limits_)) {
      const bool back = task.verb == TaskVerb::undo || task.verb == TaskVerb::settle_undo;
      if (now_ms_ >= too_old_ms(task)) {
        return park(
            ParkCause::poison, task.step,
            {.text = "step '" + task.step +
                     "' stayed open so long that its participant may "
                     "have forgotten it; look there what became of it, then force-complete, "
                     "replace or abort",
             .undo = back});
      }
      if (task.for_ever && now_ms_ >= stuck_ms(task)) {
        return park(ParkCause::forward_stuck, task.step,
                    {.text = "step '" + task.step + "' behind the pivot had no success for " +
                             in_words(limits_.forward_stuck_after) + "; it is still tried"});
      }
    }
    return std::nullopt;
  }

  /// A child remembers its input by itself: starting it again is always safe.
  std::int64_t too_old_ms(const SagaTask& task) const {
    const bool settles = task.verb == TaskVerb::settle || task.verb == TaskVerb::settle_undo;
    if (task.sort == StepSort::child && task.verb != TaskVerb::undo &&
        task.verb != TaskVerb::settle_undo) {
      return never;
    }
    return task.operation_ms + limits_.retention.count() / (settles ? 1 : 2);
  }
  std::int64_t stuck_ms(const SagaTask& task) const {
    if (task.sort == StepSort::child) return never;
    return task.since_ms + limits_.forward_stuck_after.count();
  }

  Maybe journal_full() const {
    if (saga_.parked() || saga_.room() != JournalRoom::full) return std::nullopt;
    return park(ParkCause::journal_full, "",
                {.text = "the journal has " + std::to_string(saga_.journal().size()) +
                         " entries, and may have " + std::to_string(journal_entries_max) + " and " +
                         std::to_string(journal_bytes_max >> 20) + " MiB"});
  }

  bool deadline_passed() const {
    const auto& deadline = saga_.definition().deadline;
    return deadline && now_ms_ >= saga_.created_ms() + deadline->count();
  }

  std::int64_t due_ms(const SlotProgress& slot) const {
    return saga_.ready_ms(slot, slot.elements[0]) + slot.step->timeout.count();
  }

  void add_waits(std::vector<std::int64_t>& times) const {
    if (saga_.definition().deadline) {
      times.push_back(saga_.created_ms() + saga_.definition().deadline->count());
    }
    if (saga_.reached() == saga_.stages().size()) return;
    for (const SlotProgress& slot : saga_.stages()[saga_.reached()]) {
      const bool waits = slot.step->waits_only() && slot.elements[0].phase == StepPhase::open;
      if (waits) times.push_back(due_ms(slot));
    }
  }

  std::string newest_rejection(const std::string& step) const {
    for (std::size_t i = saga_.journal().size(); i-- > 0;) {
      const JournalEntry& said = saga_.journal()[i];
      if (said.kind == EntryKind::rejected && said.step == step) return said.data;
    }
    return "settled as not applied";
  }

  JournalEntry entry(EntryKind kind, std::string step, std::string data) const {
    return {kind, std::move(step), now_ms_, std::move(data), "saga"};
  }
  Maybe end(SagaStatus status, std::string reason) const {
    return entry(EntryKind::end, "",
                 encode(EndNote{std::string(name_of(status)), std::move(reason)}));
  }
  Maybe resumed(std::string step, std::string reason) const {
    return entry(EntryKind::resumed, std::move(step),
                 encode(ResumeNote{std::move(reason), false, ""}));
  }
  Maybe park(ParkCause cause, std::string step, ParkNote note) const {
    return park_entry(cause, std::move(step), std::move(note), now_ms_);
  }

  const SagaProgress& saga_;
  std::int64_t now_ms_;
  const SagaLimits& limits_;
  const std::vector<SlotProgress> no_stage_{};
};

}  // namespace

SagaDecision next(SagaProgress& saga, std::int64_t now_ms, const SagaLimits& limits) {
  SagaDecision decision;
  const Deciding deciding(saga, now_ms, limits);
  while (Maybe entry = deciding.due_entry()) {
    saga.apply(*entry);
    decision.entries.push_back(*std::move(entry));
    // Each round takes a step somewhere or parks; a bug here must not fill a journal.
    assert(decision.entries.size() <= 4 + 4 * journal_entries_max);
  }
  decision.tasks = open_tasks(saga, limits);
  decision.wake_ms = deciding.wake(decision.tasks);
  decision.status = saga.status();
  decision.overdue = deciding.overdue();
  decision.half_full = saga.room() != JournalRoom::enough;
  return decision;
}

SagaDecision next(const SagaDefinition& definition, const std::string& id,
                  const std::vector<JournalEntry>& journal, std::int64_t now_ms,
                  const SagaLimits& limits) {
  SagaProgress saga(definition, id, journal);
  return next(saga, now_ms, limits);
}

}  // namespace catga
