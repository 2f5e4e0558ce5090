// A closure that happens once. A run has a hundred thousand: nearly all lie in the queue itself.
#pragma once
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace catga::sim {

class Deed {
 public:
  Deed() = default;
  template <class What, class = std::enable_if_t<!std::is_same_v<std::remove_cvref_t<What>, Deed>>>
  Deed(What&& what) {  // NOLINT: whatever can be called is one
    using Kept = std::decay_t<What>;
    if constexpr (sizeof(Kept) <= room && alignof(Kept) <= alignof(std::max_align_t) &&
                  std::is_nothrow_move_constructible_v<Kept>) {
      keep<Kept>(std::forward<What>(what));
    } else {
      keep<Far<Kept>>(Far<Kept>{std::make_unique<Kept>(std::forward<What>(what))});
    }
  }
  Deed(Deed&& other) noexcept : ways_(std::exchange(other.ways_, nullptr)) {
    if (ways_ != nullptr) ways_->move(other.space_, space_);
  }
  Deed& operator=(Deed&& other) noexcept {
    if (this == &other) return *this;
    drop();
    ways_ = std::exchange(other.ways_, nullptr);
    if (ways_ != nullptr) ways_->move(other.space_, space_);
    return *this;
  }
  ~Deed() { drop(); }

  void operator()() { ways_->call(space_); }

 private:
  static constexpr std::size_t room = 80;  // a message under way, with who sent it and to whom

  template <class Kept>
  struct Far {
    std::unique_ptr<Kept> what;
    void operator()() { (*what)(); }
  };
  struct Ways {
    void (*call)(void* kept);
    void (*move)(void* from, void* to);  ///< and nothing is left there
    void (*drop)(void* kept);
  };
  template <class Kept>
  static constexpr Ways ways_of{[](void* kept) { (*static_cast<Kept*>(kept))(); },
                                [](void* from, void* to) {
                                  std::construct_at(static_cast<Kept*>(to),
                                                    std::move(*static_cast<Kept*>(from)));
                                  std::destroy_at(static_cast<Kept*>(from));
                                },
                                [](void* kept) { std::destroy_at(static_cast<Kept*>(kept)); }};

  template <class Kept, class What>
  void keep(What&& what) {
    std::construct_at(static_cast<Kept*>(static_cast<void*>(space_)), std::forward<What>(what));
    ways_ = &ways_of<Kept>;
  }
  void drop() {
    if (const Ways* ways = std::exchange(ways_, nullptr); ways != nullptr) ways->drop(space_);
  }

  alignas(std::max_align_t) std::byte space_[room];
  const Ways* ways_ = nullptr;
};

}  // namespace catga::sim
