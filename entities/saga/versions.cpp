#include "catga/entities/saga/versions.hpp"

#include "catga/entities/codec.hpp"
#include "catga/entities/saga/decision.hpp"

#include <algorithm>
#include <set>

namespace catga {
namespace {

bool is_about_step(EntryKind kind) {
  return kind >= EntryKind::choice && kind <= EntryKind::undo_skipped;
}

bool is_parked(const std::vector<JournalEntry>& journal) {
  for (std::size_t i = journal.size(); i-- > 0;) {
    if (journal[i].kind == EntryKind::parked) return true;
    if (journal[i].kind == EntryKind::resumed) return false;
  }
  return false;
}

/// What keeps `definition` from running this journal; empty: nothing. Steps side by side may have
/// ended in any order, so what counts is the order of stages at the first word about each step.
std::string misfit(const SagaDefinition& definition, const std::vector<JournalEntry>& journal) {
  std::set<std::string_view> seen;
  std::size_t reached = 0;
  for (const JournalEntry& entry : journal) {
    const std::string_view name = std::string_view(entry.step).substr(0, entry.step.find('#'));
    if (!is_about_step(entry.kind) || !seen.insert(name).second) continue;
    const std::optional<StepPlace> place = find_step(definition, name);
    const std::string step = "step '" + std::string(name) + "'";
    if (!place) return "version " + std::to_string(definition.version) + " has no " + step;
    if (place->stage < reached) {
      return step + " stands earlier in version " + std::to_string(definition.version) +
             " than in the journal";
    }
    reached = place->stage;
  }
  return {};
}

std::string versions_of(const std::vector<const SagaDefinition*>& known) {
  std::string words;
  for (const SagaDefinition* definition : known) {
    words += (words.empty() ? "" : ", ") + std::to_string(definition->version);
  }
  return words.empty() ? "none" : words;
}

DefinitionChoice park(ParkCause cause, const StoredSaga& saga, std::string text,
                      std::int64_t now_ms) {
  DefinitionChoice choice;
  choice.text = text;
  // Parked is parked: an entry at each recovery would make the journal grow for nothing.
  if (is_parked(saga.journal)) return choice;
  choice.entries.push_back(park_entry(cause, "", {.text = std::move(text)}, now_ms));
  return choice;
}

DefinitionChoice drift(const SagaDefinition& found, const StoredSaga& saga, std::int64_t now_ms) {
  const std::string trouble = misfit(found, saga.journal);
  return park(ParkCause::definition_drift, saga,
              "saga '" + saga.type + "' version " + std::to_string(saga.version) +
                  " has other steps here: expected fingerprint " +
                  std::to_string(saga.fingerprint) + ", found " +
                  std::to_string(fingerprint(found)) + (trouble.empty() ? "" : "; " + trouble) +
                  ". Changed steps need a version of their own",
              now_ms);
}

}  // namespace

DefinitionChoice choose_definition(std::span<const SagaDefinition* const> registered,
                                   const StoredSaga& saga, std::int64_t now_ms) {
  std::vector<const SagaDefinition*> known;
  for (const SagaDefinition* definition : registered) {
    if (definition->type == saga.type) known.push_back(definition);
  }
  std::ranges::sort(known, {}, &SagaDefinition::version);
  for (const SagaDefinition* definition : known) {
    if (definition->version != saga.version) continue;
    if (fingerprint(*definition) != saga.fingerprint) return drift(*definition, saga, now_ms);
    return {definition, {}, {}};
  }
  std::string tried;
  for (const SagaDefinition* newer : known) {  // the oldest that will do changes least
    if (newer->version < saga.version || !std::ranges::count(newer->accepts, saga.version))
      continue;
    const std::string trouble = misfit(*newer, saga.journal);
    if (trouble.empty()) {
      const JournalEntry upgraded{EntryKind::upgraded, "", now_ms,
                                  encode(UpgradeNote{saga.version, newer->version}), "saga"};
      return {newer, {upgraded}, {}};
    }
    tried += "; " + trouble;
  }
  return park(ParkCause::no_definition, saga,
              "saga '" + saga.type + "' version " + std::to_string(saga.version) +
                  " is not registered here (versions: " + versions_of(known) + ")" + tried,
              now_ms);
}

}  // namespace catga
