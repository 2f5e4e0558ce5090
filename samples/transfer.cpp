// A saga: money moves between two accounts that may live on different nodes, and comes back if it
// cannot arrive. Needs no server. The lines stand as they are because the README shows them:
// clang-format off
// [readme]
#include <catga/catga.hpp>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <string>

struct Deposit  { using Reply = std::int64_t; std::int64_t cents = 0; CATGA_MESSAGE(Deposit, cents); };
struct Withdraw { using Reply = std::int64_t; std::int64_t cents = 0; CATGA_MESSAGE(Withdraw, cents); };

class Account {
 public:
  static constexpr std::string_view kind = "account";
  using Handles = catga::Messages<Deposit, Withdraw>;
  struct State { std::int64_t cents = 0; CATGA_FIELDS(cents); } state;

  catga::Result<std::int64_t> on(const Deposit& deposit) {
    if (state.cents + deposit.cents > 30'000) return catga::reject("an account holds 300 at most");
    return state.cents += deposit.cents;
  }
  catga::Result<std::int64_t> on(const Withdraw& withdraw) {
    if (state.cents < withdraw.cents) return catga::reject("insufficient funds");
    return state.cents -= withdraw.cents;
  }
};

struct Transfer { std::string from, to; std::int64_t cents = 0; CATGA_FIELDS(from, to, cents); };

const catga::Saga<Transfer> transfer_saga =
    catga::saga<Transfer>("transfer", 1)
        .step("take", [](const Transfer& t) { return catga::to<Account>(t.from, Withdraw{t.cents}); })
            .undo([](const Transfer& t) { return catga::to<Account>(t.from, Deposit{t.cents}); })
        .step("give", [](const Transfer& t) { return catga::to<Account>(t.to, Deposit{t.cents}); })
        .build();

int main() {
  catga::Node node{catga::Config::embedded()};
  node.host<Account>().host(transfer_saga);
  if (const auto started = node.start(); !started.ok()) {
    std::cerr << started.error().text << '\n';
    return 1;
  }
  (void)node.ref<Account>("alice").ask(Deposit{27'000});
  (void)node.ref<Account>("bob").ask(Deposit{20'000});

  const auto move = [&node](const std::string& id, std::int64_t cents) {
    const auto saga = node.start(transfer_saga, id, Transfer{"alice", "bob", cents});
    const auto end = saga.ok() ? saga->wait(std::chrono::seconds(5)) : saga.error();
    std::cout << id << ": " << (end.ok() ? name_of(end->status) : end.error().text) << '\n';
  };
  move("t-1", 5'000);
  move("t-2", 12'000);  // bob's account is full: alice gets it back
  move("t-1", 5'000);   // the same saga: nothing happens twice

  const auto left = node.ref<Account>("alice").ask(Withdraw{22'000});
  std::cout << "alice had 220: " << (left.ok() ? "yes" : left.error().text) << '\n';
}
// [/readme]
