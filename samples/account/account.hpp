// A bank account as an entity: the one the cluster samples and the demo run.
//
// Beside its money an account counts its changes, and every reply carries that number. So an
// outside reader can tell a change that got lost from one that was made twice, even if both cost
// the same: the demo does. A transfer is one turn here (the withdrawal, and the credit to the
// other account in the outbox), so it happens as a whole or not at all; the credit arrives a
// moment later, once.
#pragma once
#include <catga/catga.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace bank {

// clang-format off
/// What an account has, and how many changes made it so.
struct Balance { std::int64_t cents = 0; std::int64_t changes = 0; CATGA_FIELDS(cents, changes); };

struct Deposit  { using Reply = Balance; std::int64_t cents = 0; CATGA_MESSAGE(Deposit, cents); };
struct Withdraw { using Reply = Balance; std::int64_t cents = 0; CATGA_MESSAGE(Withdraw, cents); };
/// Moves money to another account. The reply is this account's balance.
struct Transfer { using Reply = Balance; std::string to; std::int64_t cents = 0; CATGA_MESSAGE(Transfer, to, cents); };
/// The other half of a transfer, told by the account that paid.
struct Credit   { using Reply = Balance; std::int64_t cents = 0; CATGA_MESSAGE(Credit, cents); };
struct GetBalance { using Reply = Balance; CATGA_MESSAGE(GetBalance); };
// clang-format on

class Account {
 public:
  static constexpr std::string_view kind = "account";
  using Handles = catga::Messages<Deposit, Withdraw, Transfer, Credit, GetBalance>;
  struct State {
    std::int64_t cents = 0;
    std::int64_t changes = 0;
    CATGA_FIELDS(cents, changes);
  } state;

  catga::Result<Balance> on(const Deposit& deposit) {
    if (deposit.cents <= 0 || deposit.cents > most) return catga::reject("not an amount of money");
    if (state.cents > full) return catga::reject("the account is full");
    return add(deposit.cents);
  }

  // Never refused: this money has left another account already. The space above `full` is for it.
  Balance on(const Credit& credit) { return add(credit.cents); }

  catga::Result<Balance> on(const Withdraw& withdraw) { return take(withdraw.cents); }

  catga::Result<Balance> on(catga::Turn& turn, const Transfer& transfer) {
    if (transfer.to.empty()) return catga::reject("no account to transfer to");
    if (transfer.to == turn.key()) return catga::reject("a transfer needs two accounts");
    auto taken = take(transfer.cents);
    if (taken.ok()) turn.tell<Account>(transfer.to, Credit{transfer.cents});
    return taken;
  }

  Balance on(const GetBalance&) const { return {state.cents, state.changes}; }

 private:
  static constexpr std::int64_t most = 1'000'000'000'000;  // of one command
  static constexpr std::int64_t full = most * 1000;        // deposits end here

  Balance add(std::int64_t cents) {
    state.cents += cents;
    return counted();
  }
  catga::Result<Balance> take(std::int64_t cents) {
    if (cents <= 0 || cents > most) return catga::reject("not an amount of money");
    if (cents > state.cents) return catga::reject("insufficient funds");
    state.cents -= cents;
    return counted();
  }
  Balance counted() { return {state.cents, ++state.changes}; }
};

}  // namespace bank
