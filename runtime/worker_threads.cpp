#include "catga/runtime/worker_threads.hpp"

#include "catga/persistence/named_thread.hpp"

namespace catga {

WorkerThreads::WorkerThreads(unsigned threads, std::function<void()> tick,
                             std::chrono::milliseconds every)
    : tick_(std::move(tick)), every_(every) {
  for (unsigned i = 0; i < threads; ++i) {
    const bool ticks = i == 0 && tick_;
    threads_.push_back(named_thread("catga.handlers", [this, ticks] { work(ticks); }));
  }
}

WorkerThreads::~WorkerThreads() { close(); }

void WorkerThreads::post(std::function<void()> job) {
  {
    const std::lock_guard guard(lock_);
    if (closed_) return;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void WorkerThreads::close() {
  std::deque<std::function<void()>> dropped;
  {
    const std::lock_guard guard(lock_);
    closed_ = true;
    dropped.swap(jobs_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

void WorkerThreads::work(bool ticks) {
  auto next_tick = std::chrono::steady_clock::now() + every_;
  std::unique_lock guard(lock_);
  for (;;) {
    const auto ready = [this] { return closed_ || !jobs_.empty(); };
    if (ticks)
      changed_.wait_until(guard, next_tick, ready);
    else
      changed_.wait(guard, ready);
    if (closed_) return;
    std::function<void()> job;
    if (!jobs_.empty()) {
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    guard.unlock();
    if (job) job();
    job = nullptr;
    if (const auto now = std::chrono::steady_clock::now(); ticks && now >= next_tick) {
      next_tick = now + every_;
      tick_();
    }
    guard.lock();
  }
}

}  // namespace catga
