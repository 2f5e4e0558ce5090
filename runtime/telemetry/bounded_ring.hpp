// A bounded queue from many threads to one, without locks: who adds never waits, and is told when there is no room.
//
// Each place has a number that says whose turn it is: equal to the position of the next writer, it is
// free; one more, it is written. (The construction is Dmitry Vyukov's.)
#pragma once
#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

namespace catga {

template <class Item>
class BoundedRing {
 public:
  /// Room for `least` items, rounded up to a power of two.
  explicit BoundedRing(std::size_t least)
      : mask_(std::bit_ceil(least < 2 ? 2 : least) - 1),
        places_(std::make_unique<Place[]>(mask_ + 1)) {
    for (std::size_t i = 0; i <= mask_; ++i) places_[i].turn.store(i, std::memory_order_relaxed);
  }

  /// Any thread. False: full, and `item` is untouched.
  bool push(Item&& item) {
    std::size_t at = head_.load(std::memory_order_relaxed);
    for (;;) {
      Place& place = places_[at & mask_];
      const std::size_t turn = place.turn.load(std::memory_order_acquire);
      if (turn == at) {
        if (!head_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) continue;
        place.item = std::move(item);
        place.turn.store(at + 1, std::memory_order_release);
        return true;
      }
      if (turn < at) return false;  // its item of the last round is still there
      at = head_.load(std::memory_order_relaxed);
    }
  }
  /// One thread only.
  std::optional<Item> pop() {
    Place& place = places_[tail_ & mask_];
    if (place.turn.load(std::memory_order_acquire) != tail_ + 1) return std::nullopt;
    std::optional<Item> item(std::move(place.item));
    place.item = Item{};
    place.turn.store(tail_ + mask_ + 1, std::memory_order_release);
    tail_count_.store(++tail_, std::memory_order_relaxed);
    return item;
  }
  /// About.
  std::size_t size() const {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    const std::size_t tail = tail_count_.load(std::memory_order_relaxed);
    return head > tail ? head - tail : 0;
  }
  std::size_t room() const { return mask_ + 1; }

 private:
  struct Place {
    std::atomic<std::size_t> turn{0};
    Item item{};
  };
  const std::size_t mask_;
  const std::unique_ptr<Place[]> places_;
  alignas(64) std::atomic<std::size_t> head_{0};
  alignas(64) std::size_t tail_ = 0;
  std::atomic<std::size_t> tail_count_{0};
};

}  // namespace catga
