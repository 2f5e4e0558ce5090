// Task<T>: the return type of a handler that waits for other entities, and how its coroutine lives
// and dies.
//
// The trap: g++ 12 destroys an aggregate temporary in a co_await expression twice. `co_await
// f(Command{"x"})` frees the string of the Command two times, whether f takes it by value or by
// reference, and the heap is corrupt. A named local, a type with a constructor and a function's
// result are safe. So everything awaited here has a constructor, turn.ask<Command>(ref, "x") builds
// its message inside the call, and the dangerous spelling does not compile. One spelling is left
// that no library can refuse: a co_await inside the braces of an aggregate, as in `co_return
// Bought{(co_await turn.ask<Reserve>(stock, 3))->slip};`. Give the answer a name first:
//   const Result<Reserved> reserved = co_await turn.ask<Reserve>(stock, 3);
//   if (!reserved) co_return reserved.error();
//   co_return Bought{reserved->slip};
// (CATGA_TRY returns and does not co_return: it is for plain functions, not for coroutines.)
//
// A handler's coroutine starts when the runtime says so and stops at each co_await turn.ask(...).
// From then on only two things touch it: the answer, on the entity's own thread of execution, or
// its end. The instance holds the only lasting reference to the frame; an answer holds a weak one.
// So an answer that comes after the end finds nothing.
//
// To say no, or to pass on what an ask answered, co_return the Error: `co_return
// catga::reject("sold out");`
#pragma once
#include "catga/sharding/result.hpp"

#include <cassert>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace catga {
namespace detail {

/// `failed`, with the what() of the exception being handled. Call it in a catch block only.
Error error_of_current_exception();

/// A handler under way that may be suspended. Owned by its instance, known weakly to the answers it
/// waits for.
class Running : public std::enable_shared_from_this<Running> {
 public:
  Running() = default;
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  virtual ~Running() = default;
  /// Called when the coroutine has stopped again after an answer: at its end, or at its next ask.
  virtual void stopped() = 0;
  /// From now on nobody is told how it ends.
  virtual void abandon() = 0;

  /// Names the wait that begins now. One answer ends it; a second one for the same wait is ignored.
  std::uint64_t begin_wait() { return waiting_for_ = ++waits_; }
  bool end_wait(std::uint64_t wait) {
    if (waiting_for_ != wait) return false;
    waiting_for_ = 0;
    return true;
  }

 private:
  std::uint64_t waits_ = 0;
  std::uint64_t waiting_for_ = 0;
};

/// At its end a coroutine goes on with the one that awaited it, if any.
struct ContinueCaller {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
    const std::coroutine_handle<> caller = ended.promise().caller;
    return caller ? caller : std::noop_coroutine();
  }
  void await_resume() const noexcept {}
};

}  // namespace detail

/// A coroutine that gives a Value or an Error. Runs when awaited, `Result<T> r = co_await
/// helper(turn);`, or, being a handler, when the runtime starts it. Destroying a Task destroys its
/// coroutine where it is suspended.
template <class Value>
class [[nodiscard]] Task {
 public:
  class promise_type {
   public:
    Task get_return_object() {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    detail::ContinueCaller final_suspend() const noexcept { return {}; }
    void return_value(Value value) { result_.emplace(std::move(value)); }
    void return_value(Error error) { result_.emplace(std::move(error)); }
    void return_value(Result<Value> result) { result_.emplace(std::move(result)); }
    void unhandled_exception() { result_.emplace(detail::error_of_current_exception()); }

    std::coroutine_handle<> caller;

   private:
    friend Task;
    std::optional<Result<Value>> result_;
  };

  Task() = default;
  Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~Task() {
    if (coroutine_) coroutine_.destroy();
  }

  /// Runs to the first suspension. Once, and only for whoever drives the task; others co_await it.
  void start() {
    assert(coroutine_ && !coroutine_.done());
    coroutine_.resume();
  }
  bool done() const { return coroutine_ && coroutine_.done(); }
  /// What the coroutine gave. Only when done, and only once.
  Result<Value> take() {
    assert(done());
    return *std::move(coroutine_.promise().result_);
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
    coroutine_.promise().caller = caller;
    return coroutine_;
  }
  Result<Value> await_resume() { return take(); }

 private:
  explicit Task(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}

  std::coroutine_handle<promise_type> coroutine_;
};

}  // namespace catga
