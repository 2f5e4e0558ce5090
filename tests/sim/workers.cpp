#include "workers.hpp"

#include <ucontext.h>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace catga::sim {

namespace {

constexpr std::size_t stack_bytes = 512 * 1024;
thread_local Workers* current = nullptr;

struct Killed {};

// The address sanitizer must be told which stack it looks at.
void leaves_stack([[maybe_unused]] void** kept, [[maybe_unused]] const void* to,
                  [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(kept, to, bytes);
#endif
}
void enters_stack([[maybe_unused]] void* kept, [[maybe_unused]] const void** from,
                  [[maybe_unused]] std::size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(kept, from, bytes);
#endif
}

}  // namespace

struct Workers::Worker {
  std::unique_ptr<std::byte[]> stack = std::make_unique_for_overwrite<std::byte[]>(stack_bytes);
  ucontext_t here{}, caller{};
  std::function<void()> job;  // none: idle
  void *kept = nullptr, *callers_kept = nullptr;
  const void* callers_stack = nullptr;
  std::size_t callers_bytes = 0;

  void set_up() {
    getcontext(&here);
    here.uc_stack.ss_sp = stack.get();
    here.uc_stack.ss_size = stack_bytes;
    const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(this));
    // makecontext hands on integers only.
    makecontext(&here, reinterpret_cast<void (*)()>(&Worker::work), 2,
                static_cast<unsigned>(address >> 32), static_cast<unsigned>(address));
  }
  void enter() {
    leaves_stack(&callers_kept, stack.get(), stack_bytes);
    swapcontext(&caller, &here);
    enters_stack(callers_kept, nullptr, nullptr);
  }
  void leave() {
    leaves_stack(&kept, callers_stack, callers_bytes);
    swapcontext(&here, &caller);
    enters_stack(kept, &callers_stack, &callers_bytes);
  }
  /// The bottom of the stack: one job after the other.
  static void work(unsigned high, unsigned low) {
    const auto address = (static_cast<std::uint64_t>(high) << 32) | low;
    auto* self = reinterpret_cast<Worker*>(static_cast<std::uintptr_t>(address));
    enters_stack(nullptr, &self->callers_stack, &self->callers_bytes);
    while (true) {
      self->job();
      self->job = nullptr;
      self->leave();
    }
  }
};

Workers::Workers(Machine& machine) : machine_(machine) {}

Workers::~Workers() { assert(held_.empty() && "a handler still stands on one of these stacks"); }

void Workers::run(std::function<void()> job) {
  if (count_ == 0) return job();
  if (idle_.empty()) {
    all_.push_back(std::make_unique<Worker>());
    all_.back()->set_up();
    idle_.push_back(all_.back().get());
  }
  Worker& worker = *idle_.back();
  idle_.pop_back();
  worker.job = std::move(job);
  go_on(worker);
}

void Workers::go_on(Worker& worker) {
  assert(running_ == nullptr && "a job runs jobs of its own node");
  Workers* const before = std::exchange(current, this);
  running_ = &worker;
  worker.enter();
  running_ = nullptr;
  current = before;
  if (!worker.job) idle_.push_back(&worker);
}

void Workers::wait_here(Moment wait) {
  if (killing_) throw Killed{};  // what waited behind a killed handler runs for a moment
  Worker& worker = *running_;
  held_.push_back(&worker);
  ++machine_.world.tally.held;
  machine_.after(wait, [this, one = &worker] {
    std::erase(held_, one);
    go_on(*one);
  });
  worker.leave();
  if (killing_) throw Killed{};
}

void Workers::kill() {
  killing_ = true;
  for (Worker* worker : std::exchange(held_, {})) go_on(*worker);
  killing_ = false;
}

void stand_still(Moment wait) {
  if (current != nullptr && current->running_ != nullptr) current->wait_here(wait);
}

}  // namespace catga::sim
