// The stable hash: the only file that knows xxhash.
#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <string>

// Inlined, so that a program that links Catga needs no libxxhash, and cannot bring a different one.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace catga {
namespace {

constexpr std::uint64_t seed_of(std::uint64_t domain) { return 0x4361746761000000 + domain; }

}  // namespace

std::uint64_t hash64(std::uint64_t domain, std::string_view bytes) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed_of(domain));
}

OperationId hash128(std::uint64_t domain, std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed_of(domain));
  return OperationId{hash.high64, hash.low64};
}

ShardId shard_of(std::string_view kind, std::string_view key, std::uint32_t shards) {
  assert(shards > 0);
  const auto shard = [shards](std::string_view name) {
    return ShardId{static_cast<std::uint32_t>(hash64(1, name) % shards)};
  };
  // On the path of every message: names of ordinary length are joined on the stack.
  std::array<char, 256> room;
  const std::size_t size = kind.size() + 1 + key.size();
  if (size > room.size()) return shard(std::string(kind).append(1, '/').append(key));
  char* end = std::ranges::copy(kind, room.data()).out;
  *end++ = '/';
  std::ranges::copy(key, end);
  return shard({room.data(), size});
}

}  // namespace catga
