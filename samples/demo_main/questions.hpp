// Asking the cluster many things at once: all balances, and one question to every shard.
#pragma once
#include <catga/catga.hpp>

#include "../account/account.hpp"
#include "audit.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace demo {

/// The balances of all `accounts`, in their order. Errors: what the cluster said of the first that
/// gave no answer within `patience`.
catga::Result<std::vector<Found>> read_balances(catga::Client& client,
                                                const std::vector<std::string>& accounts,
                                                std::chrono::milliseconds patience);

/// Asks one account of every shard and remembers when each answered for the first time. So the end
/// of a crash is measured as callers see it, without believing any log: shards the dead node did
/// not own answer at once, and the last to answer was the last to be served again.
class ShardProbe {
 public:
  ShardProbe(catga::Client& client, std::uint32_t shards);
  /// Forgets earlier answers and asks all shards now.
  void start();
  /// Asks those again that failed. True when every shard has answered.
  bool poll();
  /// When the last shard answered. Only after poll() was true.
  Clock::time_point last_answer() const;
  std::size_t unanswered() const;

 private:
  struct Shard {
    std::atomic<std::int64_t> answered_ns{0};  // of Clock; 0: not yet
    std::atomic<bool> asking{false};
  };
  using Round = std::vector<Shard>;
  void ask(std::size_t shard);

  catga::Client& client_;
  std::vector<std::string> keys_;  // one account per shard; the ledger does not use them
  std::shared_ptr<Round> round_;   // shared with answers under way, which may come late
};

}  // namespace demo
