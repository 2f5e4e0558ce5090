// An account that does all an entity can do, for the tests of one entity in memory.
#pragma once
#include <catga/entities/entity.hpp>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace catga::testing {

/// What the account asks and tells: only its messages are needed.
struct Give {
  using Reply = std::int64_t;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Give, cents);
};
class Peer {
 public:
  static constexpr std::string_view kind = "peer";
  using Handles = Messages<Give>;
  struct State {
    std::int64_t cents = 0;
    CATGA_FIELDS(cents);
  } state;
  std::int64_t on(const Give& give) { return state.cents -= give.cents; }
};

struct Deposit {
  using Reply = std::int64_t;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Deposit, cents);
};
struct Withdraw {
  using Reply = std::int64_t;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Withdraw, cents);
};
struct Get {
  using Reply = std::int64_t;
  CATGA_MESSAGE(Get);
};
/// An event.
struct Noted {
  std::int64_t number = 0;
  std::string ballast;
  CATGA_MESSAGE(Noted, number, ballast);
};
/// Everything unusual. `what` and what `number` means are below.
struct Act {
  using Reply = std::string;
  std::string what;
  std::int64_t number = 0;
  std::string name;
  CATGA_MESSAGE(Act, what, number, name);
};
/// Asks peer/<from> for a cent, `times` times, one after the other; then does `then`.
struct Collect {
  using Reply = std::int64_t;
  std::string from;
  std::int64_t times = 1;
  std::string then;
  CATGA_MESSAGE(Collect, from, times, then);
};

class Account {
 public:
  static constexpr std::string_view kind = "account";
  using Handles = Messages<Deposit, Withdraw, Get, Act, Collect>;
  struct State {
    std::int64_t cents = 0;
    std::string filling;
    CATGA_FIELDS(cents, filling);
  } state;

  std::int64_t on(Turn& turn, const Deposit& deposit) {
    state.cents += deposit.cents;
    turn.tell<Peer>("ledger", Give{deposit.cents});
    return state.cents;
  }

  Result<std::int64_t> on(Turn& turn, const Withdraw& withdraw) {
    state.cents -= withdraw.cents;  // too early, on purpose: a rejection must take it back
    turn.tell<Peer>("ledger", Give{-withdraw.cents});
    if (state.cents < 0) return reject("insufficient funds");
    return state.cents;
  }

  std::int64_t on(const Get&) const { return state.cents; }

  Result<std::string> on(Turn& turn, const Act& act) {
    const std::size_t number = static_cast<std::size_t>(act.number);
    const std::chrono::milliseconds delay{act.number};
    if (act.what == "throw") {
      state.cents += 1000;
      turn.tell<Peer>("ledger", Give{1000});
      throw std::runtime_error("broken on purpose");
    }
    if (act.what == "reject") return reject("no");
    if (act.what == "fill") state.filling = std::string(number, 'x');
    if (act.what == "reply") {
      state.cents += 1;
      return std::string(number, 'r');
    }
    if (act.what == "tell") {
      for (std::size_t i = 0; i < number; ++i) turn.tell<Peer>("ledger", Give{act.number});
    }
    if (act.what == "tell much") turn.tell<Account>("other", Act{"", 0, std::string(number, 't')});
    if (act.what == "publish") {
      for (std::int64_t i = 0; i < act.number; ++i) turn.publish(Noted{i, act.name});
    }
    if (act.what == "publish and reject") {
      turn.publish(Noted{act.number, ""});
      return reject("no");
    }
    if (act.what == "publish much") turn.publish(Noted{0, std::string(number, 'e')});
    if (act.what == "timer") turn.after(delay, Act{"alarm", 0, ""}, act.name);
    if (act.what == "every") turn.every(act.name, delay, Act{"alarm", 0, ""});
    if (act.what == "every, all") turn.every(act.name, delay, Act{"alarm", 0, ""}, Missed::all);
    if (act.what == "cancel") turn.cancel(act.name);
    if (act.what == "alarm") state.cents += 1;
    if (act.what == "again") turn.after(delay, Act{"again", act.number, act.name}, act.name);
    if (act.what == "passivate") turn.passivate();
    if (act.what == "erase") turn.erase();
    return std::string("done");
  }

  Task<std::int64_t> on(Turn& turn, const Collect& collect) {
    const Ref<Peer> from = turn.ref<Peer>(collect.from);
    state.cents += 1'000'000;  // half a turn, which nobody may see
    for (std::int64_t i = 0; i < collect.times; ++i) {
      const Result<std::int64_t> got = co_await turn.ask<Give>(from, std::int64_t{1});
      if (!got) co_return got.error();
      state.cents += got.value();
    }
    state.cents -= 1'000'000;
    if (collect.then == "reject") co_return reject("changed my mind");
    if (collect.then == "throw") throw std::runtime_error("broken after an ask");
    co_return state.cents;
  }
};

}  // namespace catga::testing
