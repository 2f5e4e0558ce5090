// A counter that many threads raise without getting in each other's way.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bench {

/// Thread-safe. Ceilings and measured programs count with the same one: it costs both alike.
class Tally {
 public:
  void add() { slots_[slot_of_thread()].count.fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t sum() const {
    std::uint64_t all = 0;
    for (const Slot& slot : slots_) all += slot.count.load(std::memory_order_relaxed);
    return all;
  }

 private:
  static constexpr std::size_t slots = 64;
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> count{0};
  };
  static std::size_t slot_of_thread() {
    static std::atomic<std::size_t> next{0};
    thread_local const std::size_t mine = next.fetch_add(1) % slots;
    return mine;
  }
  std::array<Slot, slots> slots_{};
};

}  // namespace bench
