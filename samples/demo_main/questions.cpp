// Many asks in flight, answered on the client's threads.
#include "questions.hpp"

#include <catga/sharding/hash.hpp>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace demo {
namespace {

using namespace std::chrono_literals;
constexpr std::size_t in_flight = 256;

/// Shared by the asking thread and the answers.
struct Reading {
  std::mutex mutex;
  std::condition_variable answered;
  std::size_t waiting = 0;
  std::vector<std::optional<catga::Result<bank::Balance>>> balances;
};

void ask_balance(catga::Client& client, const std::string& account, std::size_t index,
                 const std::shared_ptr<Reading>& reading) {
  {
    std::unique_lock lock(reading->mutex);
    reading->answered.wait(lock, [&reading] { return reading->waiting < in_flight; });
    ++reading->waiting;
  }
  client.ref<bank::Account>(account).ask_then(
      bank::GetBalance{}, [reading, index](catga::Result<bank::Balance> balance) {
        const std::lock_guard lock(reading->mutex);
        reading->balances[index] = std::move(balance);
        --reading->waiting;
        reading->answered.notify_all();
      });
}

}  // namespace

catga::Result<std::vector<Found>> read_balances(catga::Client& client,
                                                const std::vector<std::string>& accounts,
                                                std::chrono::milliseconds patience) {
  const auto until = Clock::now() + patience;
  const auto reading = std::make_shared<Reading>();
  reading->balances.resize(accounts.size());
  while (true) {
    for (std::size_t i = 0; i < accounts.size(); ++i) {
      const auto& balance = reading->balances[i];
      // Not answered well yet: ask (again). Between rounds nothing is in flight.
      if (!balance || !balance->ok()) ask_balance(client, accounts[i], i, reading);
    }
    std::unique_lock lock(reading->mutex);
    reading->answered.wait(lock, [&reading] { return reading->waiting == 0; });
    const auto wrong =
        std::ranges::find_if(reading->balances, [](const auto& balance) { return !balance->ok(); });
    if (wrong == reading->balances.end()) break;
    if (Clock::now() > until) return (*wrong)->error();
    lock.unlock();
    std::this_thread::sleep_for(20ms);  // before asking those again
  }
  std::vector<Found> found;
  found.reserve(accounts.size());
  for (const auto& balance : reading->balances)
    found.push_back({balance->value().cents, balance->value().changes});
  return found;
}

ShardProbe::ShardProbe(catga::Client& client, std::uint32_t shards)
    : client_(client), keys_(shards), round_(std::make_shared<Round>(shards)) {
  std::size_t missing = shards;
  for (std::uint64_t i = 0; missing > 0; ++i) {
    auto key = "probe-" + std::to_string(i);
    auto& slot = keys_[catga::shard_of(bank::Account::kind, key, shards).value];
    if (!slot.empty()) continue;
    slot = std::move(key);
    --missing;
  }
}

void ShardProbe::start() {
  round_ = std::make_shared<Round>(keys_.size());
  for (std::size_t shard = 0; shard < keys_.size(); ++shard) ask(shard);
}

bool ShardProbe::poll() {
  bool all = true;
  for (std::size_t shard = 0; shard < keys_.size(); ++shard) {
    if ((*round_)[shard].answered_ns.load() != 0) continue;
    all = false;
    if (!(*round_)[shard].asking.load()) ask(shard);
  }
  return all;
}

void ShardProbe::ask(std::size_t shard) {
  (*round_)[shard].asking = true;
  client_.ref<bank::Account>(keys_[shard])
      .ask_then(bank::GetBalance{},
                [round = round_, shard](const catga::Result<bank::Balance>& balance) {
                  auto& entry = (*round)[shard];
                  if (balance.ok()) entry.answered_ns = Clock::now().time_since_epoch().count();
                  entry.asking = false;
                },
                {.timeout = 2s});
}

Clock::time_point ShardProbe::last_answer() const {
  std::int64_t last = 0;
  for (const auto& entry : *round_) last = std::max(last, entry.answered_ns.load());
  return Clock::time_point(Clock::duration(last));
}

std::size_t ShardProbe::unanswered() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      *round_, [](const Shard& entry) { return entry.answered_ns.load() == 0; }));
}

}  // namespace demo
