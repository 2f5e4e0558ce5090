// Callers, their pace and their repeats.
#include "replay.hpp"

#include <algorithm>

namespace demo {
namespace {

using namespace std::chrono_literals;
using catga::Code;

constexpr auto one_attempt = 2s;      // then the caller itself asks again, with the same id
constexpr auto lasting = 2s;          // see the essay in replay.hpp
constexpr auto longest_pause = 10ms;  // between two lines, all callers together

/// How long to wait before asking again; none: it is of no use.
std::optional<std::chrono::milliseconds> repeat_after(const catga::Error& error) {
  switch (error.code) {
    case Code::timeout:
    case Code::unknown:
      return 1ms;
    case Code::unavailable:
      return 20ms;
    case Code::overloaded:
      return std::max(error.retry_after, std::chrono::milliseconds(5));
    default:
      return std::nullopt;
  }
}

}  // namespace

Replay::Replay(const Ledger& ledger, catga::Client& client, std::uint32_t callers)
    : ledger_(ledger), client_(client), callers_(callers), outcomes_(ledger.lines.size()) {}

Replay::~Replay() { stop(); }

void Replay::start() {
  callers_left_ = callers_.size();
  pacer_ = std::thread([this] { pace(); });
  for (Caller& caller : callers_) next(caller);
}

void Replay::stop() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return callers_left_.load() == 0; });
  }
  if (pacer_.joinable()) pacer_.join();
}

void Replay::stretch(std::size_t mark) {
  const std::lock_guard lock(mutex_);
  mark_ = mark;
  next_at_ = Clock::now();
}

void Replay::full_speed() {
  const std::lock_guard lock(mutex_);
  mark_.reset();
}

std::vector<std::string> Replay::troubles() {
  const std::lock_guard lock(mutex_);
  return troubles_;
}

/// The caller takes the next line, now or at its time.
void Replay::next(Caller& caller) {
  Clock::time_point at;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || next_ == ledger_.lines.size()) {
      --callers_left_;
      changed_.notify_all();
      return;
    }
    caller.index = next_++;
    if (mark_) {
      const std::size_t left = *mark_ > next_ ? *mark_ - next_ : 0;
      const std::chrono::nanoseconds share =
          left == 0 ? longest_pause : std::chrono::nanoseconds(lasting) / left;
      at = std::max(Clock::now(), next_at_);
      next_at_ = at + std::min<std::chrono::nanoseconds>(share, longest_pause);
    }
  }
  if (at <= Clock::now()) return begin(caller);
  later(at, [this, &caller] { begin(caller); });
}

void Replay::begin(Caller& caller) {
  Outcome& outcome = outcomes_[caller.index];  // nobody else touches it until this line has ended
  outcome.started = Clock::now();
  caller.options = {.operation = catga::new_operation_id(),
                    .operation_time = std::chrono::system_clock::now()};
  caller.give_up = outcome.started + deadline;
  ask(caller);
}

void Replay::ask(Caller& caller) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(caller.give_up - Clock::now());
  caller.options.timeout = std::clamp<std::chrono::milliseconds>(left, 1ms, one_attempt);
  ++outcomes_[caller.index].asks;
  const Line& line = ledger_.lines[caller.index];
  const auto account = client_.ref<bank::Account>(ledger_.accounts[line.account]);
  const auto then = [this, &caller](const catga::Result<bank::Balance>& balance) {
    answered(caller, balance);
  };
  switch (line.operation) {
    case Operation::deposit:
      return account.ask_then(bank::Deposit{line.cents}, then, caller.options);
    case Operation::withdraw:
      return account.ask_then(bank::Withdraw{line.cents}, then, caller.options);
    case Operation::transfer:
      return account.ask_then(bank::Transfer{ledger_.accounts[line.other], line.cents}, then,
                              caller.options);
  }
}

void Replay::answered(Caller& caller, const catga::Result<bank::Balance>& balance) {
  Outcome& outcome = outcomes_[caller.index];
  if (balance.ok()) {
    outcome.cents = balance->cents;
    outcome.changes = balance->changes;
    return end(caller, End::acknowledged, {});
  }
  if (balance.error().code == Code::rejected) return end(caller, End::refused, {});
  const auto pause = repeat_after(balance.error());
  if (!pause || Clock::now() + *pause >= caller.give_up)
    return end(caller, End::failed, balance.error());
  later(Clock::now() + *pause, [this, &caller] { ask(caller); });
}

void Replay::end(Caller& caller, End end, const catga::Error& why) {
  Outcome& outcome = outcomes_[caller.index];
  outcome.end = end;
  outcome.ended = Clock::now();
  if (end == End::failed) {
    const std::lock_guard lock(mutex_);
    const Line& line = ledger_.lines[caller.index];
    if (troubles_.size() < 10)
      troubles_.push_back("line " + std::to_string(caller.index + 1) + " (" +
                          ledger_.accounts[line.account] + "): " + std::string(name_of(why.code)) +
                          ": " + why.text + ", after " + std::to_string(outcome.asks) + " asks");
  }
  ended_.fetch_add(1, std::memory_order_relaxed);
  next(caller);
}

void Replay::later(Clock::time_point at, std::function<void()> what) {
  const std::lock_guard lock(mutex_);
  waiting_.emplace(at, std::move(what));
  changed_.notify_all();
}

/// The one thread that waits: runs what is due, until all callers have ended.
void Replay::pace() {
  std::unique_lock lock(mutex_);
  while (callers_left_.load() != 0) {
    if (waiting_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto first = waiting_.begin();
    if (first->first > Clock::now()) {
      changed_.wait_until(lock, first->first);
      continue;
    }
    const auto due = std::move(first->second);
    waiting_.erase(first);
    lock.unlock();
    due();
    lock.lock();
  }
}

}  // namespace demo
