// Finds what each entry publishes, runs the user's lambda, and numbers the outcome.
#include "catga/runtime/saga_events.hpp"

#include "catga/entities/saga/ending.hpp"
#include "catga/runtime/outbox_entry.hpp"
#include "catga/sharding/bytes.hpp"
#include "catga/sharding/hash.hpp"

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace catga {

namespace {

constexpr std::uint64_t event_domain = 50;

/// One lambda, ready to run, and what it belongs to.
struct Source {
  std::string what;  ///< "publish() of step 'charge'"
  std::function<SagaEvent()> make;
};

Result<std::vector<Source>> sources_of(const SagaProgress& saga, const JournalEntry& entry) {
  std::vector<Source> sources;
  if (entry.kind == EntryKind::end) {
    const bool completed = saga.status() == SagaStatus::completed;
    const bool compensated = saga.status() == SagaStatus::compensated;
    if ((!completed && !compensated) || saga.state() == nullptr) return sources;
    const SagaDefinition& definition = saga.definition();
    const std::string why = completed ? std::string() : reason_to_go_back(saga);
    for (const auto& lambda :
         completed ? definition.completed_events : definition.compensated_events) {
      sources.push_back({completed ? "publish_completed()" : "publish_compensated()",
                         [&lambda, &saga, why] { return lambda(*saga.state(), why); }});
    }
    return sources;
  }
  if (entry.kind != EntryKind::done) return sources;
  const std::optional<SagaProgress::Place> place = saga.locate(entry.step);
  const StepProgress* element = saga.find(entry.step);
  if (!place || element == nullptr) return sources;
  const StepDefinition& step = saga.definition().stages[place->stage][place->position];
  if (step.events.empty()) return sources;
  Result<std::unique_ptr<SagaState>> folded = saga.state_at_done(*element);
  if (!folded) return std::move(folded).error();
  const std::shared_ptr<const SagaState> state = std::move(*folded);
  for (const auto& lambda : step.events) {
    sources.push_back({"publish() of step '" + entry.step + "'",
                       [&lambda, state, index = place->element] { return lambda(*state, index); }});
  }
  return sources;
}

Result<SagaEvent> run(const Source& source) {
  const auto failed = [&source](const std::string& why) {
    return Error{Code::failed, source.what + " " + why};
  };
  try {
    SagaEvent event = source.make();
    if (event.payload.size() > saga_event_max) {
      return failed("gave an event of " + std::to_string(event.payload.size()) +
                    " bytes; at most " + std::to_string(saga_event_max) + " are published");
    }
    return event;
  } catch (const std::exception& trouble) {
    return failed(std::string("threw: ") + trouble.what());
  } catch (...) {
    return failed("threw something that is no std::exception");
  }
}

}  // namespace

Result<std::vector<std::string>> published_by(const SagaProgress& saga,
                                              const std::vector<JournalEntry>& entries, Epoch epoch,
                                              std::uint64_t published, const std::string& trace) {
  std::vector<std::string> outbox;
  const SagaName name = saga.name();
  const EntityId itself{std::string(name.type), std::string(name.id)};
  for (const JournalEntry& entry : entries) {
    const std::vector<Source> sources = CATGA_TRY(sources_of(saga, entry));
    std::uint64_t place = 0;
    for (const Source& source : sources) {
      SagaEvent made = CATGA_TRY(run(source));
      std::string identity;
      ByteWriter write(identity);
      write.entity(itself);
      write.i64(name.created_ms);
      write.text(entry.step);  // of the end: none
      write.u64(place++);
      PendingEvent event;
      event.source = itself;
      event.id = hash128(event_domain, identity);
      event.number = ++published;
      event.epoch = epoch;
      event.at_ms = entry.at_ms;
      event.name = std::move(made.name);
      event.payload = std::move(made.payload);
      event.trace = trace;
      outbox.push_back(bytes_of(event));
    }
  }
  return outbox;
}

}  // namespace catga
