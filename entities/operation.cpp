#include "catga/entities/operation.hpp"

#include "catga/sharding/hash.hpp"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>

namespace catga {

namespace {
thread_local std::optional<std::mt19937_64> pretended;

/// Counts the forks above this process: a child must not use what its parent drew.
std::atomic<std::uint32_t> forks{0};

/// One call of the kernel for 16 ids.
OperationId drawn() {
  struct Drawn {
    std::array<OperationId, 16> ids;
    std::size_t left = 0;
    std::uint32_t at_fork = 0;
  };
  thread_local Drawn drawn;
  static const int watched =
      pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  const std::uint32_t now = forks.load(std::memory_order_relaxed);
  if (drawn.left == 0 || drawn.at_fork != now || watched != 0) {
    static_assert(sizeof drawn.ids == 256, "what getentropy gives at most");
    if (getentropy(drawn.ids.data(), sizeof drawn.ids) != 0) {
      // No id is better than one that may repeat. Linux has had this call since 3.17.
      std::fputs("catga: the kernel gives no random bytes (getrandom); cannot go on\n", stderr);
      std::abort();
    }
    drawn.left = drawn.ids.size();
    drawn.at_fork = now;
  }
  return drawn.ids[--drawn.left];
}
}  // namespace

OperationId operation_of_key(const EntityId& entity, std::string_view message,
                             std::string_view key) {
  std::string bytes = entity.kind;
  for (const std::string_view part : {std::string_view(entity.key), message, key}) {
    bytes.push_back('\0');
    bytes += part;
  }
  return hash128(48, bytes);
}

PretendedChance::PretendedChance(std::uint64_t seed) { pretended.emplace(seed); }
PretendedChance::~PretendedChance() { pretended.reset(); }

OperationId new_operation_id() {
  if (pretended) return OperationId{(*pretended)(), (*pretended)() | 1};
  OperationId id;
  while (!id) id = drawn();
  return id;
}

}  // namespace catga
