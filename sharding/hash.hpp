// The stable hash. Storage format: its values are golden in the tests and never change.
#pragma once
#include "catga/sharding/ids.hpp"

#include <cstdint>
#include <string_view>

namespace catga {

/// XXH3-64 (xxHash 0.8) with seed 0x4361746761000000 + domain ("Catga" in ASCII).
/// Domains: 0 digests in tests, 1 entity to shard, 2 ring points, 3 shard position, 16+i watcher ring i,
/// 32 request hash; 49 fingerprints of sagas.
std::uint64_t hash64(std::uint64_t domain, std::string_view bytes);

/// XXH3-128 with the seed of `domain`: derived operation ids. Domains 48, and 49 for steps of sagas.
OperationId hash128(std::uint64_t domain, std::string_view bytes);

/// The shard of `<kind>/<key>` among `shards`. Thread-safe, no allocation for short names.
ShardId shard_of(std::string_view kind, std::string_view key, std::uint32_t shards);

}  // namespace catga
