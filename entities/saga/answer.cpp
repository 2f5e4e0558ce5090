#include "catga/entities/saga/answer.hpp"

#include "catga/entities/codec.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace catga {
namespace {

bool is_back(const SagaTask& task) {
  return task.verb == TaskVerb::undo || task.verb == TaskVerb::settle_undo;
}

std::string text_of(const Error& error) {
  return std::string(name_of(error.code)) + ": " + error.text;
}

/// Codes after which the same message makes sense again.
bool may_repeat(Code code) {
  return code == Code::timeout || code == Code::unavailable || code == Code::unknown ||
         code == Code::overloaded || code == Code::failed;
}

class Answering {
 public:
  Answering(const SagaProgress& saga, const SagaTask& task, const StepAttempt& attempt,
            const SagaLimits& limits)
      : saga_(saga), task_(task), attempt_(attempt), limits_(limits) {}

  SagaAnswer value(const StepReply& reply) const {
    if (reply.absent) return settled_as_absent();
    if (is_back(task_)) return one(EntryKind::undone, "");
    if (task_.sort == StepSort::child) return {};
    const SagaProgress::Place place = *saga_.locate(task_.step);
    const StepDefinition& step = saga_.definition().stages[place.stage][place.position];
    if (reply.bytes.size() > entry_bytes_max) {
      return park(ParkCause::poison, "its reply has " + std::to_string(reply.bytes.size()) +
                                         " bytes and may have " + std::to_string(entry_bytes_max));
    }
    // Checked before it is written: what cannot be read must not get into the journal.
    const Status fits = saga_.try_fold(step, place.element, reply.bytes);
    if (!fits) return park(ParkCause::poison, fits.error().text);
    return one(EntryKind::done, encode(DoneNote{reply.bytes, reply.forget, ""}));
  }

  SagaAnswer error(const Error& error) const {
    if (error.code == Code::rejected) return rejected(error);
    if (!may_repeat(error.code)) return park(ParkCause::poison, text_of(error));
    const std::chrono::milliseconds wait =
        std::max(retry_delay(policy(), attempt_.number, attempt_.chance), error.retry_after);
    const bool over = attempt_.number >= policy().attempts ||
                      attempt_.now_ms + wait.count() >= task_.since_ms + window().count();
    if (task_.for_ever || !over) return {{}, attempt_.now_ms + wait.count()};
    if (task_.verb == TaskVerb::run) return one(EntryKind::gave_up, text_of(error));
    return park(ParkCause::compensation_stuck, std::string(name_of(task_.verb)) + " of step '" +
                                                   task_.step + "' had no success in " +
                                                   std::to_string(attempt_.number) +
                                                   " attempts: " + text_of(error));
  }

 private:
  SagaAnswer settled_as_absent() const {
    const bool settles = task_.verb == TaskVerb::settle || task_.verb == TaskVerb::settle_undo;
    if (settles) return one(EntryKind::absent, "");
    return park(ParkCause::poison, "somebody settled its operation although nobody asked for that");
  }

  SagaAnswer rejected(const Error& error) const {
    switch (task_.verb) {
      case TaskVerb::run:
        return one(EntryKind::rejected, error.text);
      case TaskVerb::settle:
      case TaskVerb::settle_undo:
        return one(EntryKind::absent, "");
      case TaskVerb::undo:
        break;
    }
    return park(ParkCause::compensation_stuck,
                "the undo of step '" + task_.step + "' was rejected: " + error.text, true);
  }

  Retries policy() const {
    if (task_.verb != TaskVerb::run) return limits_.compensation;
    const SagaProgress::Place place = *saga_.locate(task_.step);
    Retries retries = saga_.definition().stages[place.stage][place.position].retries;
    if (task_.for_ever) retries.cap = std::max(retries.cap, limits_.forward_cap);
    return retries;
  }

  std::chrono::milliseconds window() const {
    if (task_.verb != TaskVerb::run) return limits_.compensation_window;
    const SagaProgress::Place place = *saga_.locate(task_.step);
    return window_of(saga_.definition().stages[place.stage][place.position]);
  }

  SagaAnswer one(EntryKind kind, std::string data) const {
    if (data.size() > entry_bytes_max) data.resize(entry_bytes_max);  // words of strangers
    return {{JournalEntry{kind, task_.step, attempt_.now_ms, std::move(data), "saga"}}, {}};
  }

  SagaAnswer park(ParkCause cause, std::string text, bool refused = false) const {
    const ParkNote note{.text = std::move(text), .undo = is_back(task_), .refused = refused};
    return {{park_entry(cause, task_.step, note, attempt_.now_ms)}, {}};
  }

  const SagaProgress& saga_;
  const SagaTask& task_;
  const StepAttempt& attempt_;
  const SagaLimits& limits_;
};

/// The same task, whatever resumed_ms has done to its window.
bool still_open(const SagaProgress& saga, const SagaTask& task, const SagaLimits& limits) {
  return std::ranges::any_of(open_tasks(saga, limits), [&task](const SagaTask& open) {
    return open.verb == task.verb && open.operation == task.operation;
  });
}

}  // namespace

SagaAnswer answered(const SagaProgress& saga, const SagaTask& task, const Result<StepReply>& reply,
                    const StepAttempt& attempt, const SagaLimits& limits) {
  if (!still_open(saga, task, limits)) return {};
  const Answering answering(saga, task, attempt, limits);
  return reply ? answering.value(*reply) : answering.error(reply.error());
}

JournalEntry poisoned(const SagaTask& task, const Error& error, std::int64_t now_ms) {
  return park_entry(ParkCause::poison, task.step, {.text = error.text, .undo = is_back(task)},
                    now_ms);
}

}  // namespace catga
