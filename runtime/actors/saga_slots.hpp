// How many sagas of a node may recover at once: a take-over of many shards must not drown live traffic.
#pragma once
#include <caf/actor.hpp>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/send.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>

namespace catga::actors {

struct SagaSlotFree {};  ///< to a supervisor: one more may recover

}  // namespace catga::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(catga::actors::SagaSlotFree)

namespace catga::actors {

/// Thread-safe. Outlived by no slot: the host that owns it outlives the actors.
class SagaSlots {
 public:
  explicit SagaSlots(std::size_t most = 64) : free_(most) {}

  /// Taken until the last copy is gone. Null: none is free; `waiting` is sent SagaSlotFree when one is.
  std::shared_ptr<void> take(const caf::actor& waiting) {
    const std::lock_guard guard(lock_);
    if (free_ == 0) {
      waiting_.push_back(waiting);
      return nullptr;
    }
    free_ -= 1;
    return std::shared_ptr<void>(this,
                                 [](void* slots) { static_cast<SagaSlots*>(slots)->give_back(); });
  }

 private:
  void give_back() {
    caf::actor next;
    {
      const std::lock_guard guard(lock_);
      free_ += 1;
      if (!waiting_.empty()) {
        next = std::move(waiting_.front());
        waiting_.pop_front();
      }
    }
    if (next) caf::anon_send(next, SagaSlotFree{});
  }

  std::mutex lock_;
  std::size_t free_;
  std::deque<caf::actor> waiting_;
};

}  // namespace catga::actors
