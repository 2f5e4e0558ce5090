// Watches running handlers: one that does not return is named in the log, while it still runs.
#pragma once
#include "catga/sharding/ids.hpp"

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace catga::actors {

/// Thread-safe. A turn is known by the address of its activation: one turn runs there at a time.
class TurnWatch {
 public:
  void begins(const void* activation, const EntityId& entity, const std::string& message,
              std::int64_t now_ms);
  void ends(const void* activation);

  struct Slow {
    EntityId entity;
    std::string message;
    std::int64_t running_ms = 0;
  };
  /// Turns that run longer than `warn_after_ms`; each is named once, then again whenever its time has grown tenfold.
  std::vector<Slow> slow(std::int64_t now_ms, std::int64_t warn_after_ms);
  /// All turns that run now, named before or not.
  std::vector<Slow> running(std::int64_t now_ms);

 private:
  struct Turn {
    const void* activation;
    const EntityId* entity;      // the activation's; it outlives its turn
    const std::string* message;  // the caller's; it outlives the turn
    std::int64_t since_ms;
    std::int64_t named_at_ms;  // running time when it was named last; 0: never
  };
  struct Slot {
    std::mutex lock;
    std::vector<Turn> turns;
  };
  Slot& slot_of(const void* activation) {
    return slots_[(reinterpret_cast<std::uintptr_t>(activation) >> 6) % slots_.size()];
  }
  std::array<Slot, 32> slots_;
};

}  // namespace catga::actors
