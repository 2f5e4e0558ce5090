// Keeps a number of asks in flight: each answer, on the thread that brings it, begins the next ask.
#pragma once
#include <catga/sharding/result.hpp>

#include "conversation.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

namespace bench {

class Flight : public std::enable_shared_from_this<Flight> {
 public:
  using Then = std::function<void(const catga::Error*)>;
  using AskOne = std::function<void(std::uint64_t number, Then then)>;

  Flight(std::uint64_t total, AskOne ask_one) : total_(total), ask_one_(std::move(ask_one)) {}

  /// Asks `total` times, `width` at once; gives the seconds it took. Throws std::runtime_error
  /// with the first error if any ask failed: a figure with failures in it means nothing.
  double fly(std::uint64_t width) {
    const auto began = Clock::now();
    left_ = std::min(width, total_);
    for (std::uint64_t i = 0, first = left_; i < first; ++i) next();
    std::unique_lock lock(mutex_);
    if (!over_.wait_for(lock, std::chrono::minutes(3), [this] { return left_ == 0; }))
      throw std::runtime_error("asks without an answer after 3 minutes");
    const double took = seconds_since(began);
    if (failures_ > 0)
      throw std::runtime_error(std::to_string(failures_) + " asks failed: " + first_trouble_);
    return took;
  }

 private:
  void next() {
    const std::uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
    if (number >= total_ || failures_.load(std::memory_order_relaxed) > 0) return land();
    ask_one_(number, [self = shared_from_this()](const catga::Error* error) {
      if (error != nullptr) self->failed(*error);
      self->next();
    });
  }
  void failed(const catga::Error& error) {
    const std::lock_guard lock(mutex_);
    if (failures_++ == 0)
      first_trouble_ = std::string(catga::name_of(error.code)) + ": " + error.text;
  }
  void land() {
    const std::lock_guard lock(mutex_);
    if (--left_ == 0) over_.notify_all();
  }

  const std::uint64_t total_;
  const AskOne ask_one_;
  std::atomic<std::uint64_t> next_{0};
  std::atomic<std::uint64_t> failures_{0};
  std::mutex mutex_;
  std::condition_variable over_;
  std::uint64_t left_ = 0;  // guarded by mutex_, as all below
  std::string first_trouble_;
};

/// The same in one call.
inline double fly(std::uint64_t width, std::uint64_t total, Flight::AskOne ask_one) {
  return std::make_shared<Flight>(total, std::move(ask_one))->fly(width);
}

/// Asks `ref` with `message`; for a Flight.
template <class Ref, class Message>
void ask_for(const Ref& ref, const Message& message, Flight::Then then,
             std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
  ref.ask_then(message,
               [then = std::move(then)](const auto& answer) {
                 then(answer.ok() ? nullptr : &answer.error());
               },
               {.timeout = timeout});
}

}  // namespace bench
