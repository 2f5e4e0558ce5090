#include "catga/runtime/actors/turn_watch.hpp"

namespace catga::actors {

void TurnWatch::begins(const void* activation, const EntityId& entity, const std::string& message,
                       std::int64_t now_ms) {
  Slot& slot = slot_of(activation);
  const std::lock_guard guard(slot.lock);
  slot.turns.push_back({activation, &entity, &message, now_ms, 0});
}

void TurnWatch::ends(const void* activation) {
  Slot& slot = slot_of(activation);
  const std::lock_guard guard(slot.lock);
  std::erase_if(slot.turns,
                [activation](const Turn& turn) { return turn.activation == activation; });
}

std::vector<TurnWatch::Slow> TurnWatch::slow(std::int64_t now_ms, std::int64_t warn_after_ms) {
  std::vector<Slow> found;
  for (Slot& slot : slots_) {
    const std::lock_guard guard(slot.lock);
    for (Turn& turn : slot.turns) {
      const std::int64_t running = now_ms - turn.since_ms;
      if (running < warn_after_ms || running < turn.named_at_ms * 10) continue;
      turn.named_at_ms = running;
      found.push_back({*turn.entity, *turn.message, running});
    }
  }
  return found;
}

std::vector<TurnWatch::Slow> TurnWatch::running(std::int64_t now_ms) {
  std::vector<Slow> found;
  for (Slot& slot : slots_) {
    const std::lock_guard guard(slot.lock);
    for (const Turn& turn : slot.turns)
      found.push_back({*turn.entity, *turn.message, now_ms - turn.since_ms});
  }
  return found;
}

}  // namespace catga::actors
