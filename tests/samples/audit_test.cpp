// Who checks the checker: each kind of damage must be found, and named for what it is.
#include "../../samples/demo_main/audit.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

using demo::End;
using demo::Found;
using demo::Ledger;
using demo::Operation;
using demo::Outcome;

namespace {

/// Accounts as they should be: carries out lines one after the other and records the outcomes.
struct Bank {
  Ledger ledger;
  std::vector<Outcome> outcomes;
  std::vector<Found> accounts;

  explicit Bank(std::size_t count) : accounts(count) {
    for (std::size_t i = 0; i < count; ++i) ledger.accounts.push_back("a" + std::to_string(i));
  }

  void carry_out(Operation operation, std::uint32_t account, std::int64_t cents,
                 std::uint32_t other = 0) {
    ledger.lines.push_back({operation, account, other, cents});
    auto& outcome = outcomes.emplace_back();
    auto& here = accounts[account];
    if (operation != Operation::deposit && here.cents < cents) {
      outcome.end = End::refused;
      return;
    }
    here.cents += operation == Operation::deposit ? cents : -cents;
    outcome.end = End::acknowledged;
    outcome.changes = ++here.changes;
    outcome.cents = here.cents;
    if (operation == Operation::transfer) {
      accounts[other].cents += cents;
      ++accounts[other].changes;
    }
  }
  demo::Audit audit() const { return demo::audit(ledger, outcomes, accounts); }
};

/// Two accounts, one transfer, one refusal.
Bank small_bank() {
  Bank bank(2);
  bank.carry_out(Operation::deposit, 0, 500);
  bank.carry_out(Operation::deposit, 1, 100);
  bank.carry_out(Operation::transfer, 0, 200, 1);
  bank.carry_out(Operation::withdraw, 1, 9000);
  bank.carry_out(Operation::withdraw, 1, 50);
  return bank;
}

}  // namespace

TEST_CASE("accounts that did what the ledger says pass the audit") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  Bank bank(20);
  for (int i = 0; i < 5000; ++i) {
    const auto from = static_cast<std::uint32_t>(random() % 20);
    const auto to = static_cast<std::uint32_t>((from + 1 + random() % 19) % 20);
    bank.carry_out(static_cast<Operation>(random() % 3), from,
                   static_cast<std::int64_t>(1 + random() % 1000), to);
  }
  const auto audit = bank.audit();
  CHECK(audit.good());
  CHECK(audit.examples.empty());
  CHECK(audit.money_expected == audit.money_found);
}

TEST_CASE("a change at the end that is gone counts as lost, and its money is missed") {
  auto bank = small_bank();
  bank.accounts[1] = {.cents = 300, .changes = 2};  // as it was before the last withdrawal
  const auto audit = bank.audit();
  CHECK(audit.lost == 1);
  CHECK(audit.applied_twice == 0);
  CHECK(audit.balance_mismatches == 1);
  CHECK(audit.money_expected != audit.money_found);
}

TEST_CASE("two acknowledged changes with one number: one overwrote the other and is lost") {
  Bank bank(1);
  bank.carry_out(Operation::deposit, 0, 500);
  bank.carry_out(Operation::deposit, 0, 70);
  bank.outcomes[1].changes = 1;  // both were made from the empty account
  bank.outcomes[1].cents = 70;
  bank.accounts[0] = {.cents = 70, .changes = 1};
  CHECK(bank.audit().lost == 1);
  CHECK(bank.audit().balance_mismatches == 1);
}

TEST_CASE(
    "a transfer whose credit never came is lost; one whose credit came twice, applied twice") {
  auto bank = small_bank();
  bank.accounts[1] = {.cents = 50, .changes = 2};
  bank.outcomes[4].changes = 2;
  bank.outcomes[4].cents = 50;
  CHECK(bank.audit().lost == 1);
  CHECK(bank.audit().applied_twice == 0);

  bank = small_bank();
  bank.accounts[1].cents += 200;
  ++bank.accounts[1].changes;
  CHECK(bank.audit().applied_twice == 1);
  CHECK(bank.audit().lost == 0);
  CHECK(bank.audit().balance_mismatches == 1);
}

TEST_CASE(
    "a repeated command that took effect again is found even if it was worth nothing in sum") {
  Bank bank(1);
  bank.carry_out(Operation::deposit, 0, 500);
  bank.accounts[0].changes += 2;  // say, a deposit and a withdrawal of the same amount, again
  CHECK(bank.audit().applied_twice == 2);
  CHECK(bank.audit().balance_mismatches == 0);
}

TEST_CASE("a loss and a double effect in one account do not hide each other") {
  Bank bank(1);
  bank.carry_out(Operation::deposit, 0, 500);
  bank.carry_out(Operation::deposit, 0, 500);
  bank.outcomes[1].changes = 1;  // overwrote the first
  bank.outcomes[1].cents = 500;
  // and then was applied again: two changes, 1000 cents, all sums are right
  const auto audit = bank.audit();
  CHECK(audit.balance_mismatches == 0);
  CHECK(audit.lost == 1);
  CHECK(audit.applied_twice == 1);
}

TEST_CASE("a refused line that changed something is found") {
  auto bank = small_bank();
  bank.outcomes[4] = {.end = End::refused};
  CHECK(bank.audit().applied_twice == 1);
}

TEST_CASE("a failed line may have been applied or not, but the run is not good") {
  auto bank = small_bank();
  bank.outcomes[4] = {.end = End::failed};  // applied, nobody knows
  CHECK(bank.audit().applied_twice == 0);
  CHECK(bank.audit().balance_mismatches == 0);
  CHECK(bank.audit().undecided == 1);
  CHECK_FALSE(bank.audit().good());
  ++bank.accounts[1].changes;  // applied twice, though, is too often
  CHECK(bank.audit().applied_twice == 1);
}

TEST_CASE("a reply that does not follow from the one before is found") {
  Bank bank(1);
  bank.carry_out(Operation::deposit, 0, 500);
  bank.carry_out(Operation::deposit, 0, 70);
  bank.outcomes[1].cents = 70;
  CHECK(bank.audit().broken_replies == 1);
}

TEST_CASE("a negative balance is found at the end and in a reply") {
  Bank bank(1);
  bank.carry_out(Operation::deposit, 0, 500);
  bank.carry_out(Operation::withdraw, 0, 500);
  bank.outcomes[1].cents = -1;
  CHECK(bank.audit().negative == 1);
  bank.accounts[0].cents = -1;
  CHECK(bank.audit().negative == 2);
}

TEST_CASE("a ledger is read with its accounts, and a bad line is named") {
  const auto good = demo::parse_ledger(
      "line,op,account,other,cents\n1,deposit,a,,5\n2,transfer,a,b,3\n3,withdraw,b,,1\n");
  REQUIRE(good.ok());
  CHECK(good->accounts == std::vector<std::string>{"a", "b"});
  CHECK(good->lines.size() == 3);
  CHECK(good->lines[1].other == 1);
  for (const std::string bad : {"1,deposit,a,,", "1,steal,a,,5", "1,transfer,a,,5", "1,deposit,,,5",
                                "1,deposit,a,b,5", "1,deposit,a,,5x", "1,deposit,a,,-5"}) {
    const auto ledger = demo::parse_ledger("line,op,account,other,cents\n" + bad + "\n");
    REQUIRE_FALSE(ledger.ok());
    CHECK(ledger.error().text.find("line 2") != std::string::npos);
  }
  CHECK_FALSE(demo::parse_ledger("something else\n").ok());
}
