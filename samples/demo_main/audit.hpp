// Plain arithmetic over the recorded outcomes, against what the cluster says at the end. Pure.
#pragma once
#include "ledger.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace demo {

/// One account as read back from the cluster when it was quiet.
struct Found {
  std::int64_t cents = 0;
  std::int64_t changes = 0;
};

/// Everything here is 0 after a good run (the totals are equal).
///
/// An account numbers its changes 1, 2, 3, … and every acknowledgement carries the number of the
/// change it made. So changes can be counted one by one, whatever they were worth:
///  - `lost`: acknowledged changes that the account does not have. A line whose number is above the
///    account's last one, or is also the number of another acknowledged line (one overwrote the
///    other); and credits of acknowledged transfers for which no number is left.
///  - `applied_twice`: numbers that no acknowledged line accounts for, neither a line of the
///    account itself nor the credit of a transfer to it. A refused line that changed something
///    counts here too. Lines that failed may have been applied once: so many are not counted.
///  - `balance_mismatches`: accounts whose money is not what the acknowledged lines add up to,
///    those that a failed line touched excepted: there plain arithmetic has no answer.
///  - `broken_replies`: acknowledgements that do not follow from the one before (same account,
///    next number): the handler ran on a state that was not the newest.
///  - `negative`: balances below zero, at the end or in any reply.
struct Audit {
  std::uint64_t lost = 0;
  std::uint64_t applied_twice = 0;
  std::uint64_t balance_mismatches = 0;
  std::uint64_t broken_replies = 0;
  std::uint64_t negative = 0;
  std::uint64_t undecided = 0;  ///< accounts touched by failed lines
  std::int64_t money_expected = 0;
  std::int64_t money_found = 0;
  std::vector<std::string> examples;  ///< the first few findings, for people

  bool good() const {
    return lost + applied_twice + balance_mismatches + broken_replies + negative + undecided == 0 &&
           money_expected == money_found;
  }
};

/// `outcomes` belong to `ledger.lines`, `found` to `ledger.accounts`.
Audit audit(const Ledger& ledger, std::span<const Outcome> outcomes, std::span<const Found> found);

/// What all accounts together must have: deposits less withdrawals, acknowledged ones.
std::int64_t money_in(const Ledger& ledger, std::span<const Outcome> outcomes);

}  // namespace demo
