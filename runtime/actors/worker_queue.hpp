// How CAF's workers get their jobs here: one queue for all, and as few wake-ups as will do.
//
// CAF brings two policies. With stealing, a worker without work naps up to 10 ms and does not hear of a message that
// comes from outside (NATS, Redis) until then. With sharing, every job signals a sleeping worker while the queue's lock
// is held: the woken worker runs into the lock, and a chain of three messages costs as many wake-ups. Measured on two
// cores with three nodes under load, a node made about ten futex calls per message.
//
// Here a job from outside wakes a worker only if none is on its way already. A job made by a running worker, also by way
// of the coordinator, wakes nobody: that worker comes back for it within microseconds; who knows that it will be longer says so
// (Scheduler::share_jobs()). A worker that takes a job and leaves others behind wakes the
// next one, so all workers run when there is work for all. Should a handler never return, what it enqueued before waits
// for the node's clock at most (100 ms): the clock comes from outside and wakes another worker.
//
// Entities are most of the jobs. They are run here and not handed to CAF, whose loop asks each job whether it is one of its
// actors, and tells its logger (750 of the 6,000 instructions of a query). And entities are far apart in memory: while one
// runs, the next one is fetched into the cache.
#pragma once
#include "catga/runtime/actors/alarm_clock.hpp"
#include "catga/runtime/admission.hpp"
#include "catga/runtime/late_wake.hpp"

#include <caf/actor_system.hpp>
#include <caf/policy/unprofiled.hpp>
#include <caf/resumable.hpp>
#include <caf/scheduler/coordinator.hpp>

#include <cassert>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

namespace catga::actors {

class WorkerQueue : public caf::policy::unprofiled {
 public:
  struct coordinator_data {  // NOLINT: CAF's names, here and below
    explicit coordinator_data(caf::scheduler::abstract_coordinator*) {}
    std::mutex lock;
    std::condition_variable work;
    std::deque<caf::resumable*> jobs;
    std::uint64_t taken = 0;
    int sleeping = 0;
    int woken = 0;  ///< signalled, not awake yet
  };
  struct worker_data {
    explicit worker_data(caf::scheduler::abstract_coordinator*) {}
  };

  template <class Coordinator>
  void central_enqueue(Coordinator* self, caf::resumable* job) {
    coordinator_data& shared = d(self);
    bool wake = false;
    {
      const std::lock_guard guard(shared.lock);
      shared.jobs.push_back(job);
      wake = works_for != &shared && wakes_another(shared);
    }
    if (wake) shared.work.notify_one();
  }
  template <class Worker>
  void external_enqueue(Worker* self, caf::resumable* job) {
    central_enqueue(self->parent(), job);
  }
  template <class Worker>
  void internal_enqueue(Worker* self, caf::resumable* job) {
    coordinator_data& shared = d(self->parent());
    const std::lock_guard guard(shared.lock);
    shared.jobs.push_back(job);
  }
  template <class Worker>
  void resume_job_later(Worker* self, caf::resumable* job) {
    internal_enqueue(self, job);
  }

  /// Gives the next job that is CAF's; entities that come before it are run.
  template <class Worker>
  caf::resumable* dequeue(Worker* self) {
    for (;;) {
      caf::resumable* const job = next_job(self);
      if (job->subtype() != caf::resumable::function_object) return job;
      switch (job->resume(self, self->max_throughput())) {
        case caf::resumable::resume_later:  // the reference stays with the queue
          resume_job_later(self, job);
          break;
        case caf::resumable::done:
        case caf::resumable::awaiting_message:
          caf::intrusive_ptr_release(job);
          break;
        case caf::resumable::shutdown_execution_unit:
          assert(!"only CAF's own jobs end a worker");
          break;
      }
    }
  }

  template <class Worker, class Function>
  void foreach_resumable(Worker*, Function) {}  // workers keep nothing of their own
  template <class Coordinator, class Function>
  void foreach_central_resumable(Coordinator* self, Function function) {
    coordinator_data& shared = d(self);
    std::deque<caf::resumable*> left;
    {
      const std::lock_guard guard(shared.lock);
      left.swap(shared.jobs);
    }
    for (caf::resumable* job : left) function(job);
  }

  /// With the lock held: whether there is a worker to be woken, who is on its way from now on.
  static bool wakes_another(coordinator_data& shared) {
    if (shared.sleeping <= shared.woken) return false;
    ++shared.woken;
    return true;
  }

 private:
  inline static thread_local const coordinator_data* works_for =
      nullptr;  ///< this thread, if a worker

  template <class Worker>
  caf::resumable* next_job(Worker* self) {
    coordinator_data& shared = d(self->parent());
    works_for = &shared;
    std::unique_lock guard(shared.lock);
    if (shared.jobs.empty()) {
      guard.unlock();
      LateWake::between_jobs(false);
      guard.lock();
    }
    if (shared.jobs.empty()) {  // whoever is about to enqueue may do so before we go to sleep
      guard.unlock();
      std::this_thread::yield();
      guard.lock();
    }
    while (shared.jobs.empty()) {
      ++shared.sleeping;
      shared.work.wait(guard);
      --shared.sleeping;
      if (shared.woken > 0) --shared.woken;
    }
    caf::resumable* job = shared.jobs.front();
    shared.jobs.pop_front();
    ++shared.taken;
    const caf::resumable* const after = shared.jobs.empty() ? nullptr : shared.jobs.front();
    const bool wake = after != nullptr && wakes_another(shared);
    guard.unlock();
    if (after != nullptr) fetch(after);
    if (wake) shared.work.notify_one();
    LateWake::between_jobs(job->subtype() == caf::resumable::scheduled_actor);
    return job;
  }

  /// What an entity needs first stands in its first lines. Nothing is read: another worker may have taken it by now.
  static void fetch(const caf::resumable* job) {
    constexpr int lines = 8, line_bytes = 64;
    for (int line = 0; line < lines; ++line)
      __builtin_prefetch(reinterpret_cast<const char*>(job) + line * line_bytes);
  }
};

/// Jobs that wait for a worker. Thread-safe.
inline Backlog backlog_of(caf::scheduler::abstract_coordinator& scheduler) {
  auto* const ours = dynamic_cast<caf::scheduler::coordinator<WorkerQueue>*>(&scheduler);
  if (ours == nullptr) return {};  // a simulation
  WorkerQueue::coordinator_data& shared = ours->data();
  const std::lock_guard guard(shared.lock);
  return {shared.jobs.size(), shared.taken};
}

/// Workers with this queue, and a clock that is woken as rarely as they are.
class Scheduler final : public caf::scheduler::coordinator<WorkerQueue> {
 public:
  using coordinator::coordinator;
  AlarmClock& clock() noexcept override { return alarms_; }

  /// A job made by a worker that goes on with its own: it is for another, if one sleeps.
  void enqueue_for_another(caf::resumable* job) {
    {
      const std::lock_guard guard(data().lock);
      data().jobs.push_back(job);
    }
    share_jobs();
  }
  /// The worker that says it will be a while: another begins with the jobs it has made.
  void share_jobs() {
    bool wake = false;
    {
      const std::lock_guard guard(data().lock);
      wake = !data().jobs.empty() && WorkerQueue::wakes_another(data());
    }
    if (wake) data().work.notify_one();
  }

 private:
  void stop() override {
    alarms_.stop();
    coordinator::stop();
  }

  AlarmClock alarms_;
};

/// Null in a simulation, which has one worker.
inline Scheduler* real_scheduler(caf::scheduler::abstract_coordinator& scheduler) {
  return dynamic_cast<Scheduler*>(&scheduler);
}

/// For `caf::actor_system_config::module_factories`.
inline caf::actor_system::module* make_scheduler(caf::actor_system& system) {
  return new Scheduler(system);  // NOLINT: the system owns it
}

}  // namespace catga::actors
