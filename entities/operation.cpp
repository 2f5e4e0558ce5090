#include "catga/entities/operation.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>

namespace catga {

namespace {
thread_local std::optional<std::mt19937_64> pretended;
}

PretendedChance::PretendedChance(std::uint64_t seed) { pretended.emplace(seed); }
PretendedChance::~PretendedChance() { pretended.reset(); }

OperationId new_operation_id() {
  if (pretended) return OperationId{(*pretended)(), (*pretended)() | 1};
  OperationId id;
  while (!id) {
    if (getentropy(&id, sizeof id) != 0) {
      // No id is better than one that may repeat. Linux has had this call since 3.17.
      std::fputs("catga: the kernel gives no random bytes (getrandom); cannot go on\n", stderr);
      std::abort();
    }
  }
  return id;
}

}  // namespace catga
