// What callers in the same process get of an entity that is asked more than it can answer one by one.
#include <catga/catga.hpp>
#include <catga/entities/codec.hpp>

#include "../support/servers.hpp"
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace catga {
namespace {

using namespace std::chrono_literals;

// clang-format off
struct Count { using Reply = std::int64_t; CATGA_MESSAGE(Count); };
// clang-format on

class Counter {
 public:
  static constexpr std::string_view kind = "counter";
  using Handles = Messages<Count>;
  struct State {
    std::int64_t value = 0;
    CATGA_FIELDS(value);
  } state;

  std::int64_t on(const Count&) { return ++state.value; }
};

/// A node with real servers: in memory a commit is over before others can join it.
class Servers {
 public:
  Config config(int number = 0) const {
    Config config;
    config.node.id = "n" + std::to_string(number);
    config.cluster.name = "answers";
    config.cluster.shards = 16;
    config.nats.urls = {nats_.url()};
    config.redis.url = redis_.url();
    config.log.level = "warn";
    return config;
  }

 private:
  testing::NatsServer nats_;
  testing::RedisServer redis_;
};

/// Keeps so many asks of one counter in flight, `total` in all; each answer makes the next ask.
class Crowd : public std::enable_shared_from_this<Crowd> {
 public:
  Crowd(Ref<Counter> counter, std::int64_t total)
      : counter_(std::move(counter)), answers_(static_cast<std::size_t>(total) + 1) {}

  void begin(int width) {
    for (int i = 0; i < width; ++i) next();
  }
  std::int64_t ended() const { return ended_.load(); }
  std::int64_t good() const { return good_.load(); }
  /// How often the counter's n-th count was somebody's answer.
  int answers_of(std::int64_t count) const { return answers_[static_cast<std::size_t>(count)]; }
  void stop() { stopped_ = true; }

 private:
  void next() {
    if (stopped_ || begun_.fetch_add(1) >= static_cast<std::int64_t>(answers_.size()) - 1) return;
    counter_.ask_then(Count{}, [self = shared_from_this()](const Result<std::int64_t>& count) {
      if (count.ok()) {
        self->answers_[static_cast<std::size_t>(*count)] += 1;
        self->good_ += 1;
      }
      self->ended_ += 1;
      self->next();
    });
  }

  const Ref<Counter> counter_;
  std::vector<std::atomic<int>> answers_;
  std::atomic<std::int64_t> begun_{0}, ended_{0}, good_{0};
  std::atomic<bool> stopped_{false};
};

}  // namespace

TEST_CASE("of a crowd that asks one entity each gets its own answer, once") {
  const Servers servers;
  Node node{servers.config()};
  node.host<Counter>();
  REQUIRE(node.start().ok());
  constexpr std::int64_t total = 20'000;
  const auto crowd = std::make_shared<Crowd>(node.ref<Counter>("one"), total);
  crowd->begin(400);
  const auto until = std::chrono::steady_clock::now() + 60s;
  while (crowd->ended() < total && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(1ms);
  REQUIRE(crowd->good() == total);
  std::int64_t wrong = 0;
  for (std::int64_t count = 1; count <= total; ++count) wrong += crowd->answers_of(count) != 1;
  CHECK(wrong == 0);
}

TEST_CASE("a node that closes while a crowd asks leaves nobody without an answer") {
  const Servers servers;
  for (int round = 0; round < 3; ++round) {
    std::shared_ptr<Crowd> crowd;
    {
      Node node{servers.config(round)};
      node.host<Counter>();
      REQUIRE(node.start().ok());
      crowd = std::make_shared<Crowd>(node.ref<Counter>("one"), 1'000'000);
      crowd->begin(400);
      while (crowd->good() < 2'000) std::this_thread::sleep_for(1ms);
      crowd->stop();
    }
    CHECK(crowd.use_count() == 1);  // no answer is on its way, and none was dropped without a call
    CHECK(crowd->ended() >= 2'000);
  }
}

}  // namespace catga
