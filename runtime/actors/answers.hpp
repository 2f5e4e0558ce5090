// The answers of one commit to callers in this process, handed over by another worker than the entity's.
//
// An answer to an ask of this process runs what its caller does next, there and then. Of a hot entity a hundred turns share a
// commit, and Redis would wait for all of them before it gets the next one: of the time such an entity took for a turn,
// half was spent in its callers. So a commit with many answers leaves them to a job of their own.
#pragma once
#include "catga/runtime/actors/surroundings.hpp"
#include "catga/runtime/actors/worker_queue.hpp"

#include <caf/ref_counted.hpp>
#include <caf/resumable.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace catga::actors {

/// Filled by one worker, run by another. A node that closes waits for it (Host::answering).
class Answers final : public caf::ref_counted, public caf::resumable {
 public:
  /// Fewer are handed over where they are: another worker takes microseconds to wake.
  static constexpr std::size_t least = 32;

  Answers(Host& host, std::size_t count, std::int64_t now_ns) : host_(host), now_ns_(now_ns) {
    answers_.reserve(count);
    host_.answering.fetch_add(1, std::memory_order_relaxed);
  }
  ~Answers() override { host_.answering.fetch_sub(1, std::memory_order_release); }

  /// Leaves the rest to a worker.
  void leave() {
    ref();  // the worker's
    if (Scheduler* const scheduler = real_scheduler(host_.scheduler))
      scheduler->enqueue_for_another(this);
    else
      host_.scheduler.enqueue(this);
  }
  /// Of an envelope that is_own().
  void add(std::uint64_t correlation, std::string answer) {
    answers_.emplace_back(correlation, std::move(answer));
  }

  // caf::resumable
  subtype_t subtype() const override { return function_object; }
  resume_result resume(caf::execution_unit*, std::size_t) override {
    Scheduler* const scheduler = real_scheduler(host_.scheduler);
    std::size_t handed_over = 0;
    for (auto& [correlation, answer] : answers_) {
      try {
        host_.router.finish(correlation, std::move(answer), now_ns_);
      } catch (...) {  // a caller that throws, which none should, costs nobody else an answer
      }
      // What callers ask next is for the same entity, often: it need not wait for the last of them.
      if (++handed_over % least == 0 && scheduler != nullptr) scheduler->share_jobs();
    }
    return done;
  }
  void intrusive_ptr_add_ref_impl() override { ref(); }
  void intrusive_ptr_release_impl() override { deref(); }

 private:
  Host& host_;
  const std::int64_t now_ns_;
  std::vector<std::pair<std::uint64_t, std::string>> answers_;
};

}  // namespace catga::actors
