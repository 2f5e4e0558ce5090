// What a saga publishes: events that leave with the commit of the entries they belong to. Pure.
#pragma once
#include "catga/entities/saga/progress.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace catga {

/// Of one event.
inline constexpr std::size_t saga_event_max = 256 * 1024;

/// The events of `entries`, which `saga` has taken in and nobody has written yet, as entries of the outbox. `published`:
/// how many it has published before; they are numbered on from there. An event's id follows from the saga's name and
/// start and from the entry's step, so that an entry that is decided again after Redis lost it names the same event.
/// `trace`: the traceparent of the saga, or empty. Errors: failed, the lambda threw or its event is too large, with the step.
Result<std::vector<std::string>> published_by(const SagaProgress& saga,
                                              const std::vector<JournalEntry>& entries, Epoch epoch,
                                              std::uint64_t published, const std::string& trace);

}  // namespace catga
