// Operation ids: the caller's name for one command, the same at every repeat.
#pragma once
#include "catga/sharding/ids.hpp"

#include <cstdint>
#include <string_view>

namespace catga {

/// 128 random bits, never zero. Any thread. Asks the kernel each time, so that two processes of one
/// fork never make the same id: the second's commands would be answered with the replies to the
/// first's.
OperationId new_operation_id();

/// The id for a key of a client's: the same for the same key, entity and message.
OperationId operation_of_key(const EntityId& entity, std::string_view message,
                             std::string_view key);

/// For simulations: while it lives, ids made on this thread follow from `seed`.
class PretendedChance {
 public:
  explicit PretendedChance(std::uint64_t seed);
  ~PretendedChance();
  PretendedChance(const PretendedChance&) = delete;
  PretendedChance& operator=(const PretendedChance&) = delete;
};

}  // namespace catga
