#include "catga/entities/saga/requests.hpp"

#include "catga/entities/codec.hpp"

#include <array>
#include <utility>

namespace catga {
namespace {

constexpr std::array<std::string_view, 6> verb_names{"retry",          "replace", "skip",
                                                     "force-complete", "cancel",  "abort"};

Error of_no_use(const SagaProgress& saga, const OperatorRequest& request, std::string why) {
  return Error{Code::rejected, std::string(name_of(request.verb)) + " is of no use to saga '" +
                                   saga.definition().type + "/" + saga.id() +
                                   "': " + std::move(why)};
}

std::string where(const SagaParked& parked) {
  std::string words = "it is parked as " + parked.note.cause;
  if (!parked.step.empty()) words += " for step '" + parked.step + "'";
  return words;
}

/// The verbs that un-park.
class Unparking {
 public:
  Unparking(const SagaProgress& saga, const OperatorRequest& request, std::int64_t now_ms)
      : saga_(saga),
        request_(request),
        parked_(*saga.parked()),
        now_ms_(now_ms),
        element_(saga.find(parked_.step)) {}

  Result<SagaEntries> run() const {
    const bool other_code =
        parked_.cause == ParkCause::definition_drift || parked_.cause == ParkCause::no_definition;
    if (other_code) {
      return no("it goes on by itself on a node with the right definition; else abort it");
    }
    switch (request_.verb) {
      case OperatorVerb::retry:
        return retry();
      case OperatorVerb::replace:
        return replace();
      case OperatorVerb::skip:
        return skip();
      default:
        return force_complete();
    }
  }

 private:
  Result<SagaEntries> retry() const {
    const bool again =
        element_ && !parked_.note.undo && has_failed(element_->phase) && !saga_.going_back();
    return SagaEntries{resumed(again ? parked_.step : "", {request_.reason, false, ""})};
  }

  Result<SagaEntries> replace() const {
    if (Status fits = about_a_message(); !fits) return fits.error();
    if (!parked_.note.undo && saga_.going_back()) {
      return no("the saga goes back; only an undo can be replaced");
    }
    return SagaEntries{
        resumed(parked_.note.undo ? "" : parked_.step, {request_.reason, true, request_.payload})};
  }

  Result<SagaEntries> skip() const {
    // Going back, a step whose outcome nobody can tell may be taken as "nothing to undo" too.
    const bool settles = element_ && saga_.going_back() && is_open(element_->phase);
    if (!element_ || (!parked_.note.undo && !settles)) {
      return no(where(parked_) + "; only an undo can be skipped");
    }
    return SagaEntries{word(EntryKind::undo_skipped, request_.reason),
                       resumed("", {request_.reason, false, ""})};
  }

  Result<SagaEntries> force_complete() const {
    if (!element_) return no(where(parked_) + "; there is no step to complete");
    if (parked_.note.undo) {
      return SagaEntries{word(EntryKind::undone, encode(DoneNote{"", false, request_.reason})),
                         resumed("", {request_.reason, false, ""})};
    }
    const SagaProgress::Place place = *saga_.locate(parked_.step);
    const StepDefinition& step = saga_.definition().stages[place.stage][place.position];
    const Status fits = saga_.try_fold(step, place.element, request_.payload);
    if (!fits)
      return no("the payload must be the reply the step would have got: " + fits.error().text);
    return SagaEntries{
        word(EntryKind::done, encode(DoneNote{request_.payload, false, request_.reason})),
        resumed("", {request_.reason, false, ""})};
  }

  Status about_a_message() const {
    if (!element_) return no(where(parked_) + "; there is no message to replace");
    const SagaProgress::Place place = *saga_.locate(parked_.step);
    const StepDefinition& step = saga_.definition().stages[place.stage][place.position];
    const bool sends =
        parked_.note.undo || step.sort == StepSort::call || step.sort == StepSort::each;
    if (!sends) return no("a " + std::string(name_of(step.sort)) + " sends no message");
    if (request_.payload.empty()) return no("it needs the message as its payload");
    if (request_.payload.size() > entry_bytes_max) return no("the payload is larger than 64 KiB");
    return Done{};
  }

  JournalEntry word(EntryKind kind, std::string data) const {
    return {kind, parked_.step, now_ms_, std::move(data), request_.by};
  }
  JournalEntry resumed(std::string step, ResumeNote note) const {
    return {EntryKind::resumed, std::move(step), now_ms_, encode(note), request_.by};
  }
  Error no(std::string why) const { return of_no_use(saga_, request_, std::move(why)); }

  const SagaProgress& saga_;
  const OperatorRequest& request_;
  const SagaParked& parked_;
  std::int64_t now_ms_;
  const StepProgress* element_;
};

/// A signal of the wrong type is refused at the door, where its sender still listens.
Status fits_step(const SagaProgress& saga, const SignalRequest& request) {
  const std::optional<StepPlace> place = find_step(saga.definition(), request.name);
  if (!place) return Done{};  // a later version may await it
  const StepDefinition& step = saga.definition().stages[place->stage][place->position];
  if (step.sort == StepSort::child) {
    const Result<ChildEnd> end = decode<ChildEnd>(request.payload);
    return end ? Status(Done{}) : Status(end.error());
  }
  if (step.sort != StepSort::signal) {
    return Error{Code::malformed, "'" + request.name + "' is a " + std::string(name_of(step.sort)) +
                                      " of saga '" + saga.definition().type + "', not a signal"};
  }
  return saga.try_fold(step, 0, request.payload);
}

}  // namespace

std::string_view name_of(OperatorVerb verb) { return verb_names[static_cast<std::size_t>(verb)]; }

Result<OperatorVerb> parse_operator_verb(std::string_view name) {
  for (std::size_t i = 0; i < verb_names.size(); ++i) {
    if (verb_names[i] == name) return static_cast<OperatorVerb>(i);
  }
  return Error{Code::malformed,
               "'" + std::string(name.substr(0, 100)) +
                   "' is not retry, replace, skip, force-complete, cancel or abort"};
}

Result<SagaEntries> receive_signal(const SagaProgress& saga, const SignalRequest& request,
                                   std::int64_t now_ms, const SagaLimits& limits) {
  if (saga.signals().has(request.name, request.id)) return SagaEntries{};
  if (has_ended(saga.status())) {
    return Error{Code::not_found,
                 "saga '" + saga.definition().type + "/" + saga.id() + "' has ended"};
  }
  if (request.name.empty() || request.id.empty() ||
      request.name.size() + request.id.size() > 1024) {
    return Error{Code::malformed, "a signal needs a name and an id, together up to 1024 bytes"};
  }
  if (request.payload.size() > entry_bytes_max) {
    return Error{Code::malformed, "a signal carries at most " + std::to_string(entry_bytes_max) +
                                      " bytes, not " + std::to_string(request.payload.size())};
  }
  const Status fits = fits_step(saga, request);
  if (!fits) return Error{Code::malformed, fits.error().text};
  if (saga.signals().waiting() >= limits.waiting_signals || saga.room() == JournalRoom::full) {
    return Error{Code::overloaded,
                 std::to_string(saga.signals().waiting()) + " signals wait for saga '" +
                     saga.definition().type + "/" + saga.id() + "', or its journal is full",
                 std::chrono::seconds(1)};
  }
  return SagaEntries{JournalEntry{EntryKind::signal, request.name, now_ms,
                                  encode(SignalNote{request.id, request.payload}), request.by}};
}

Result<SagaEntries> request_cancel(const SagaProgress& saga, std::string reason, std::string by,
                                   std::int64_t now_ms) {
  const SagaStatus status = saga.status();
  if (saga.going_back() || status == SagaStatus::compensated) return SagaEntries{};
  if (saga.past_pivot() || has_ended(status)) {
    return Error{
        Code::rejected,
        "too late: saga '" + saga.definition().type + "/" + saga.id() + "' " +
            (has_ended(status) ? "was " + std::string(name_of(status)) : "is behind its pivot")};
  }
  if (reason.size() > 4096) reason.resize(4096);
  return SagaEntries{JournalEntry{EntryKind::cancel, "", now_ms, std::move(reason), std::move(by)}};
}

Result<SagaEntries> operate(const SagaProgress& saga, const OperatorRequest& request,
                            std::int64_t now_ms) {
  if (request.reason.empty() || request.by.empty() || request.reason.size() > 4096) {
    return Error{Code::malformed, "a verb of an operator needs a reason and who gives it"};
  }
  if (request.verb == OperatorVerb::cancel) {
    return request_cancel(saga, request.reason, request.by, now_ms);
  }
  if (request.verb == OperatorVerb::abort) {
    if (saga.status() == SagaStatus::aborted) return SagaEntries{};
    if (has_ended(saga.status())) {
      return of_no_use(saga, request, "it was " + std::string(name_of(saga.status())));
    }
    return SagaEntries{abort_entry(request.reason, request.by, now_ms)};
  }
  if (has_ended(saga.status())) {
    return of_no_use(saga, request, "it was " + std::string(name_of(saga.status())));
  }
  if (!saga.parked()) return SagaEntries{};  // somebody was faster
  if (!request.step.empty() && request.step != saga.parked()->step) {
    return of_no_use(saga, request, where(*saga.parked()) + ", not for '" + request.step + "'");
  }
  return Unparking(saga, request, now_ms).run();
}

JournalEntry abort_entry(std::string reason, std::string by, std::int64_t now_ms) {
  if (reason.size() > 4096) reason.resize(4096);
  return {EntryKind::end, "", now_ms,
          encode(EndNote{std::string(name_of(SagaStatus::aborted)), std::move(reason)}),
          std::move(by)};
}

}  // namespace catga
