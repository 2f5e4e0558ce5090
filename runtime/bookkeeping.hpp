// The bookkeeping of an entity beside its state (field `g`): what its tables of operation ids hold. Storage format.
#pragma once
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace catga {

/// Ids are forgotten by generations: the newer table becomes the older, the older goes, and the floor rises to the newest
/// id that went. Times are cluster time in ms.
struct Generations {
  std::int64_t floor = 0;
  std::int64_t newer_created = 0, newer_newest = 0, older_newest = 0;
  std::uint64_t newer_count = 0, newer_bytes = 0;
  bool erased = false;                           ///< the state in the store has a TTL
  std::uint64_t saga_count = 0, saga_bytes = 0;  ///< steps of sagas: a table of their own
  std::uint64_t events = 0;                      ///< published so far: the number of the newest
  friend bool operator==(const Generations&, const Generations&) = default;
};

/// 1 format, 8 each of floor, newer created, newer newest, older newest, count, bytes (little-endian), 1 erased;
/// then, unless they and what follows are 0, 8 each of count and bytes of the steps of sagas;
/// then, unless 0, 8 events.
std::string bytes_of(const Generations& generations);
/// No bytes: an entity never committed. Later versions may say more at the end. Errors: malformed.
Result<Generations> parse_generations(std::string_view bytes);

}  // namespace catga
