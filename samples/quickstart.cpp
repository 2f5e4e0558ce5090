// The first five minutes: one entity, one process, nothing to install. README shows this file.
// The lines stand as they are because the README shows them:
// clang-format off
// [readme]
#include <catga/catga.hpp>
#include <chrono>
#include <cstdint>
#include <iostream>

using namespace std::chrono_literals;

struct Balance    { std::int64_t cents = 0; CATGA_FIELDS(cents); };
struct Deposit    { using Reply = Balance; std::int64_t cents = 0; CATGA_MESSAGE(Deposit, cents); };
struct Withdraw   { using Reply = Balance; std::int64_t cents = 0; CATGA_MESSAGE(Withdraw, cents); };
struct GetBalance { using Reply = Balance; CATGA_MESSAGE(GetBalance); };

class Account {
 public:
  static constexpr std::string_view kind = "account";
  using Handles = catga::Messages<Deposit, Withdraw, GetBalance>;
  struct State { std::int64_t cents = 0; CATGA_FIELDS(cents); } state;

  Balance on(const Deposit& deposit) { state.cents += deposit.cents; return {state.cents}; }

  catga::Result<Balance> on(const Withdraw& withdraw) {
    if (withdraw.cents > state.cents) return catga::reject("insufficient funds");
    state.cents -= withdraw.cents;
    return Balance{state.cents};
  }

  Balance on(const GetBalance&) const { return {state.cents}; }  // const: a query, never commits
};

int main() {
  catga::Node node{catga::Config::embedded()};  // Config::from(argc, argv) makes it a cluster node
  node.host<Account>();
  if (const auto started = node.start(); !started.ok()) {
    std::cerr << started.error().text << '\n';
    return 1;
  }

  auto alice = node.ref<Account>("alice");  // exists by name; where it lives is not your concern
  for (const auto& balance : {alice.ask(Deposit{500}, 2s), alice.ask(Withdraw{120}, 2s),
                              alice.ask(Withdraw{9000}, 2s), alice.ask(GetBalance{}, 2s)}) {
    if (balance.ok())
      std::cout << "alice has " << balance->cents << " cents\n";
    else
      std::cout << "refused: " << balance.error().text << '\n';
  }
}
// [/readme]
