// A program that only calls, over NATS.
//
//   look W N CELLS       N queries over so many cells, W in flight    {per_second}
//   latency N            N queries one after the other                {p50_us, p99_us}
//   add W N CELLS        N commands, W in flight                      {per_second}
//   load W CELLS         begins to add without end;  unload           {acknowledged, failed, ...}
//   probe SECONDS        asks every shard until each has answered     {last_ns: steady clock, ...}
//   flood RATE WARM MS CELLS  adds at this rate, whatever is answered; counts what is answered in
//                        the MS after the first WARM                  {goodput, overloaded, ...}
//
// Flags are those of a node.
#include <catga/sharding/hash.hpp>

#include "cell.hpp"
#include "conversation.hpp"
#include "flight.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace bench {
namespace {

using namespace std::chrono_literals;
using CellRef = catga::Ref<Cell>;

/// Adds for ever. Shared with answers that come late.
class Load : public std::enable_shared_from_this<Load> {
 public:
  explicit Load(std::vector<CellRef> cells) : cells_(std::move(cells)) {}

  void next() {
    if (stopped_.load()) {
      flying_.fetch_sub(1);
      return;
    }
    const std::uint64_t number = next_.fetch_add(1);
    const auto began = Clock::now();
    cells_[spread(number, cells_.size())].ask_then(
        Add{1}, [self = shared_from_this(), began](const catga::Result<std::int64_t>& value) {
          (value.ok() ? self->acknowledged_ : self->failed_).fetch_add(1);
          const auto took_us = static_cast<std::uint64_t>(seconds_since(began) * 1e6);
          for (auto most = self->slowest_us_.load(); took_us > most;)
            if (self->slowest_us_.compare_exchange_weak(most, took_us)) break;
          self->next();
        });
  }
  void begin(std::uint64_t width) {
    flying_ = width;
    for (std::uint64_t i = 0; i < width; ++i) next();
  }
  Figures end() {
    stopped_ = true;
    const auto until = Clock::now() + 10s;
    while (flying_.load() > 0 && Clock::now() < until) std::this_thread::sleep_for(1ms);
    return {{"acknowledged", acknowledged_.load()},
            {"failed", failed_.load()},
            {"slowest_ms", static_cast<double>(slowest_us_.load()) / 1000}};
  }

 private:
  const std::vector<CellRef> cells_;
  std::atomic<bool> stopped_{false};
  std::atomic<std::uint64_t> next_{0}, flying_{0}, acknowledged_{0}, failed_{0}, slowest_us_{0};
};

/// How the asks of a flood ended. Shared with answers that come late.
struct Endings {
  std::atomic<std::uint64_t> good{0}, overloaded{0}, without_retry_after{0}, timeout{0}, other{0};
  std::atomic<std::uint64_t> ended{0};
  std::atomic<bool> counting{false};

  void count(const catga::Result<std::int64_t>& value) {
    ended.fetch_add(1);
    if (!counting.load()) return;
    if (value.ok()) {
      good.fetch_add(1);
    } else if (value.error().code == catga::Code::overloaded) {
      overloaded.fetch_add(1);
      if (value.error().retry_after <= 0ms) without_retry_after.fetch_add(1);
    } else if (value.error().code == catga::Code::timeout) {
      timeout.fetch_add(1);
    } else {
      other.fetch_add(1);
    }
  }
};

class Caller {
 public:
  explicit Caller(catga::Client& client) : client_(client) {}

  Figures look(const Numbers& request) { return windowed(request, Look{}); }
  Figures add(const Numbers& request) { return windowed(request, Add{1}); }

  Figures latency(const Numbers& request) {
    const CellRef cell = client_.ref<Cell>(key_of(0));
    std::vector<double> took_us;
    took_us.reserve(request.at(0));
    for (std::uint64_t i = 0; i < request.at(0); ++i) {
      const auto began = Clock::now();
      const catga::Result<std::int64_t> value = cell.ask(Look{});
      took_us.push_back(seconds_since(began) * 1e6);
      if (!value.ok()) throw std::runtime_error(value.error().text);
    }
    std::ranges::sort(took_us);
    return {{"p50_us", took_us[took_us.size() / 2]},
            {"p99_us", took_us[took_us.size() * 99 / 100]}};
  }

  Figures load(const Numbers& request) {
    load_ = std::make_shared<Load>(cells(request.at(1)));
    load_->begin(request.at(0));
    return Figures::object();
  }
  Figures unload(const Numbers&) {
    const auto load = std::exchange(load_, nullptr);
    return load ? load->end() : throw std::runtime_error("there is no load");
  }

  Figures probe(const Numbers& request) {
    const auto until = Clock::now() + std::chrono::seconds(request.at(0));
    const auto answers = std::make_shared<std::vector<Probed>>(client_.shards());
    const std::vector<CellRef> shards = one_cell_per_shard();
    for (;;) {
      std::size_t missing = 0;
      for (std::size_t shard = 0; shard < shards.size(); ++shard) {
        Probed& probed = (*answers)[shard];
        if (probed.answered_ns.load() != 0) continue;
        ++missing;
        if (!probed.asking.exchange(true)) ask(shards[shard], shard, answers);
      }
      if (missing == 0) break;
      if (Clock::now() > until)
        throw std::runtime_error(std::to_string(missing) + " shards do not answer");
      std::this_thread::sleep_for(1ms);  // before those that failed are asked again
    }
    std::int64_t last = 0;
    for (const Probed& probed : *answers) last = std::max(last, probed.answered_ns.load());
    return {{"last_ns", last}, {"shards", shards.size()}};
  }

  /// Queues fill up first: only after `warm` it is seen what overload does.
  Figures flood(const Numbers& request) {
    const std::uint64_t rate = request.at(0);
    const std::vector<CellRef> targets = cells(request.at(3));
    const auto endings = std::make_shared<Endings>();
    const auto began = Clock::now();
    const auto warm = began + std::chrono::milliseconds(request.at(1));
    const auto until = warm + std::chrono::milliseconds(request.at(2));
    std::uint64_t sent = 0;
    for (auto now = began; now < until; now = Clock::now()) {
      if (now >= warm) endings->counting = true;
      const auto due = static_cast<std::uint64_t>(seconds_since(began) * static_cast<double>(rate));
      for (; sent < due && Clock::now() < until; ++sent)
        targets[spread(sent, targets.size())].ask_then(
            Add{1}, [endings](const catga::Result<std::int64_t>& value) { endings->count(value); });
      std::this_thread::sleep_for(500us);  // the clock says how many are due then
    }
    endings->counting = false;
    const double counted = seconds_since(warm);
    const double took = seconds_since(began);
    const auto patience = Clock::now() + 15s;  // the machine is quiet again before the next round
    while (endings->ended < sent && Clock::now() < patience) std::this_thread::sleep_for(1ms);
    return {{"offered_per_second", static_cast<double>(sent) / took},
            {"goodput", static_cast<double>(endings->good) / counted},
            {"overloaded", endings->overloaded.load()},
            {"without_retry_after", endings->without_retry_after.load()},
            {"timeout", endings->timeout.load()},
            {"other", endings->other.load()},
            {"unanswered", sent - endings->ended.load()}};
  }

 private:
  struct Probed {
    std::atomic<std::int64_t> answered_ns{0};
    std::atomic<bool> asking{false};
  };
  using Answers = std::shared_ptr<std::vector<Probed>>;

  static void ask(const CellRef& cell, std::size_t shard, const Answers& answers) {
    cell.ask_then(Look{},
                  [answers, shard](const catga::Result<std::int64_t>& value) {
                    Probed& probed = (*answers)[shard];
                    if (value.ok()) probed.answered_ns = Clock::now().time_since_epoch().count();
                    probed.asking = false;
                  },
                  {.timeout = 2s});
  }

  std::vector<CellRef> cells(std::uint64_t count) {
    std::vector<CellRef> all;
    for (std::uint64_t i = 0; i < count; ++i) all.push_back(client_.ref<Cell>(key_of(i)));
    return all;
  }

  std::vector<CellRef> one_cell_per_shard() {
    std::map<std::uint32_t, std::string> keys;
    for (std::uint64_t i = 0; keys.size() < client_.shards(); ++i) {
      std::string key = "probe" + std::to_string(i);
      keys.try_emplace(catga::shard_of(Cell::kind, key, client_.shards()).value, std::move(key));
    }
    std::vector<CellRef> all;
    for (const auto& [shard, key] : keys) all.push_back(client_.ref<Cell>(key));
    return all;
  }

  template <class Message>
  Figures windowed(const Numbers& request, const Message& message) {
    const std::vector<CellRef> targets = cells(request.at(2));
    const double took = fly(request.at(0), request.at(1), [&](std::uint64_t i, Flight::Then then) {
      ask_for(targets[spread(i, targets.size())], message, std::move(then));
    });
    return {{"per_second", static_cast<double>(request.at(1)) / took}, {"seconds", took}};
  }

  catga::Client& client_;
  std::shared_ptr<Load> load_;
};

int run(int argc, char** argv) {
  catga::Client client{catga::Config::from(argc, argv)};
  const catga::Status connected = client.connect();
  if (!connected.ok()) throw std::runtime_error(connected.error().text);
  Caller caller(client);
  const Verbs verbs{
      {"look", [&](const Numbers& numbers) { return caller.look(numbers); }},
      {"latency", [&](const Numbers& numbers) { return caller.latency(numbers); }},
      {"add", [&](const Numbers& numbers) { return caller.add(numbers); }},
      {"load", [&](const Numbers& numbers) { return caller.load(numbers); }},
      {"unload", [&](const Numbers& numbers) { return caller.unload(numbers); }},
      {"probe", [&](const Numbers& numbers) { return caller.probe(numbers); }},
      {"flood", [&](const Numbers& numbers) { return caller.flood(numbers); }},
  };
  return converse(verbs);
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run(argc, argv);
  } catch (const std::exception& trouble) {
    std::fprintf(stderr, "catga-bench-caller: %s\n", trouble.what());
    return 1;
  }
}
