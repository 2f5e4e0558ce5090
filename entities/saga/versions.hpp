// Which definition a saga goes on with: the one it began with, or a newer one that accepts it.
#pragma once
#include "catga/entities/saga/definition.hpp"
#include "catga/entities/saga/journal.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace catga {

/// What the header of the saga and its journal say.
struct StoredSaga {
  std::string type;
  std::uint32_t version = 0;
  std::uint64_t fingerprint = 0;
  std::vector<JournalEntry> journal;
};

struct DefinitionChoice {
  const SagaDefinition* definition = nullptr;  ///< none: the saga parks, or stays parked
  std::vector<JournalEntry> entries;           ///< upgraded or parked; none if it is so already
  std::string text;                            ///< why it parks, for people
};

/// Same version and fingerprint: run. Same version, other steps: park definition_drift. Version not
/// registered: a newer one that accepts it and has every step of the journal, in the same order;
/// else park no_definition.
DefinitionChoice choose_definition(std::span<const SagaDefinition* const> registered,
                                   const StoredSaga& saga, std::int64_t now_ms);

}  // namespace catga
