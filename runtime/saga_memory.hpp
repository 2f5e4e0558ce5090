// What an entity remembers of steps of sagas, beside the operations of other callers (tier 2).
//
// Such an id is never pushed out by others' traffic: it leaves when its saga, long ended, says so, or with the whole
// table when no saga has written to it for the retention. A step that must never happen has a tombstone there. What was
// forgotten could come again from an old owner of the saga: the forgetting writes down that owner's successor's epoch,
// for the whole shard, and steps of older epochs are refused.
#pragma once
#include "catga/persistence/stores.hpp"
#include "catga/runtime/bookkeeping.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace catga {

/// What the turns of a commit say of steps of sagas.
struct SagaWrites {
  std::vector<std::pair<OperationId, OperationRecord>> operations;
  std::vector<OperationId> forgotten;
  std::vector<std::pair<ShardId, Epoch>> sources;
  bool empty() const { return operations.empty() && forgotten.empty() && sources.empty(); }
};

/// Adds them to the commit, and keeps the count: what a record costs, roughly, is 100 bytes and its reply.
void write_steps(const SagaWrites& writes, std::chrono::milliseconds ttl, Generations& counted,
                 Commit& commit);

/// The store has so many; the bytes of those it lost meanwhile are taken to be average.
void correct_steps(Generations& counted, std::size_t stored);

}  // namespace catga
