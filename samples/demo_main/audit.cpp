// Counts changes and money per account.
#include "audit.hpp"

#include <algorithm>
#include <cassert>

namespace demo {
namespace {

/// An acknowledged change at its own account, with what it was worth.
struct Change {
  std::int64_t number;
  std::int64_t worth;
  std::int64_t cents_after;
};

/// What the ledger says about one account.
struct Expected {
  std::int64_t cents = 0;
  std::vector<Change> own;
  std::int64_t credits = 0;    // acknowledged transfers to it
  std::int64_t undecided = 0;  // failed lines that may have changed it
};

std::int64_t worth_of(const Line& line) {
  return line.operation == Operation::deposit ? line.cents : -line.cents;
}

std::vector<Expected> add_up(const Ledger& ledger, std::span<const Outcome> outcomes) {
  std::vector<Expected> all(ledger.accounts.size());
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const Line& line = ledger.lines[i];
    const Outcome& outcome = outcomes[i];
    const bool transfer = line.operation == Operation::transfer;
    if (outcome.end == End::failed) {
      ++all[line.account].undecided;
      if (transfer) ++all[line.other].undecided;
    }
    if (outcome.end != End::acknowledged) continue;
    auto& account = all[line.account];
    account.cents += worth_of(line);
    account.own.push_back({outcome.changes, worth_of(line), outcome.cents});
    if (!transfer) continue;
    all[line.other].cents += line.cents;
    ++all[line.other].credits;
  }
  return all;
}

class Examiner {
 public:
  explicit Examiner(Audit& into) : audit_(into) {}

  void examine(const std::string& name, Expected& expected, const Found& found) {
    std::ranges::sort(expected.own, {}, &Change::number);
    const auto lost_own = lost_numbers(name, expected, found);
    const auto kept = static_cast<std::int64_t>(expected.own.size()) - lost_own;
    const auto others = found.changes - kept;  // numbers that must be credits
    const auto missing = expected.credits - others;
    count(audit_.lost, std::max<std::int64_t>(missing, 0), name, "credits are missing");
    count(audit_.applied_twice, -missing - expected.undecided, name,
          "changes belong to no acknowledged line");
    follow(name, expected.own);
    count(audit_.negative, found.cents < 0 ? 1 : 0, name, "balance below zero at the end");
    if (expected.undecided > 0)
      ++audit_.undecided;
    else if (found.cents != expected.cents)
      count(audit_.balance_mismatches, 1, name,
            "has " + std::to_string(found.cents) + " cents instead of " +
                std::to_string(expected.cents));
    audit_.money_found += found.cents;
  }

 private:
  std::int64_t lost_numbers(const std::string& name, const Expected& expected, const Found& found) {
    std::int64_t lost = 0;
    std::int64_t before = 0;
    for (const auto& change : expected.own) {
      if (change.number <= before || change.number > found.changes) ++lost;
      before = change.number;
    }
    count(audit_.lost, lost, name, "acknowledged changes are gone");
    return lost;
  }

  void follow(const std::string& name, const std::vector<Change>& own) {
    for (std::size_t i = 0; i < own.size(); ++i) {
      count(audit_.negative, own[i].cents_after < 0 ? 1 : 0, name, "balance below zero in a reply");
      if (i == 0 || own[i].number != own[i - 1].number + 1) continue;  // a credit came between
      const bool follows = own[i].cents_after == own[i - 1].cents_after + own[i].worth;
      count(audit_.broken_replies, follows ? 0 : 1, name, "a reply does not follow");
    }
  }

  void count(std::uint64_t& figure, std::int64_t found, const std::string& name,
             const std::string& what) {
    if (found <= 0) return;
    figure += static_cast<std::uint64_t>(found);
    if (audit_.examples.size() < 20)
      audit_.examples.push_back(name + ": " + what + " (" + std::to_string(found) + ")");
  }

  Audit& audit_;
};

}  // namespace

std::int64_t money_in(const Ledger& ledger, std::span<const Outcome> outcomes) {
  std::int64_t cents = 0;
  for (std::size_t i = 0; i < outcomes.size(); ++i)
    if (outcomes[i].end == End::acknowledged && ledger.lines[i].operation != Operation::transfer)
      cents += worth_of(ledger.lines[i]);
  return cents;
}

Audit audit(const Ledger& ledger, std::span<const Outcome> outcomes, std::span<const Found> found) {
  assert(outcomes.size() == ledger.lines.size() && found.size() == ledger.accounts.size());
  Audit result;
  result.money_expected = money_in(ledger, outcomes);
  auto expected = add_up(ledger, outcomes);
  Examiner examiner(result);
  for (std::size_t i = 0; i < found.size(); ++i)
    examiner.examine(ledger.accounts[i], expected[i], found[i]);
  return result;
}

}  // namespace demo
