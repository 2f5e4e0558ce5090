// What waits for one node leaves together, against a real server.
#include <catga/entities/operation.hpp>
#include <catga/runtime/messaging/lanes.hpp>
#include <catga/runtime/messaging/nats.hpp>

#include "../support/servers.hpp"
#include <doctest/doctest.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

using namespace catga;
using namespace std::chrono_literals;

namespace {

// One process's lanes, and an ear at the inbox they lead to.
class Scene {
 public:
  Scene() {
    Config config;
    config.nats.urls = {server_.url()};
    nats_.emplace(std::move(connect(config, "lanes", {}).value()));
    ear_.emplace(std::move(nats_
                               ->subscribe("catga.t.n." + text_of(to), "",
                                           [this](NatsMessage message) { heard(message); })
                               .value()));
    REQUIRE(nats_->flush(5s).ok());
    lanes.start(*nats_);
    // Its thread is there, and asleep.
    REQUIRE(lanes.push(to, wire::Want{ShardId{0}}).ok());
    (void)batches(1);
    lanes.flush(5s);
    const std::lock_guard guard(lock_);
    batches_.clear();
    counted_.clear();
    records_ = 0;
  }
  ~Scene() { lanes.stop(); }

  /// Sizes of the batches heard so far, once there are so many records in all.
  std::vector<std::size_t> batches(std::size_t records) {
    std::unique_lock guard(lock_);
    const bool came = changed_.wait_for(guard, 10s, [&] { return records_ >= records; });
    REQUIRE(came);
    return batches_;
  }
  /// What left, as the lanes count it.
  std::vector<std::size_t> counted() {
    const std::lock_guard guard(lock_);
    return counted_;
  }
  bool hears_anything(std::chrono::milliseconds within) {
    std::unique_lock guard(lock_);
    return changed_.wait_for(guard, within, [&] { return records_ != 0; });
  }

  const Incarnation to{1, 2};
  Lanes lanes{
      "catga.t.", Incarnation{3, 4}, LaneLimits{},
      LaneCallbacks{[] {
                      return Incarnation{3, 4};
                    },
                    [] { return ViewVersion{1}; }, [](Incarnation, std::vector<std::uint64_t>) {},
                    [](std::vector<std::uint64_t>) {},
                    [this](std::size_t records) {
                      const std::lock_guard guard(lock_);
                      counted_.push_back(records);
                    }}};

 private:
  void heard(const NatsMessage& message) {
    const Result<wire::Batch> batch = wire::read(body_of(*message));
    const std::lock_guard guard(lock_);
    batches_.push_back(batch.ok() ? batch->records.size() : 0);
    records_ += batches_.back();
    changed_.notify_all();
  }

  testing::NatsServer server_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<std::size_t> batches_, counted_;
  std::size_t records_ = 0;
  std::optional<NatsConnection> nats_;
  std::optional<NatsSubscription> ear_;
};

wire::Reply reply(std::uint64_t number) {
  wire::Reply reply;
  reply.correlation = number;
  reply.ok = true;
  return reply;
}

}  // namespace

TEST_CASE("what a thread pushes while it gathers leaves at the end, as one message") {
  if (!testing::servers_installed()) return;
  Scene scene;
  {
    const Lanes::Gathering together(scene.lanes);
    for (std::uint64_t i = 1; i <= 3; ++i) CHECK(scene.lanes.push(scene.to, reply(i)).ok());
    CHECK_FALSE(scene.hears_anything(100ms));
    CHECK(scene.lanes.waiting() == 3);
    CHECK(scene.lanes.push(scene.to, reply(4)).ok());
  }
  CHECK(scene.batches(4) == std::vector<std::size_t>{4});
  CHECK(scene.counted() == std::vector<std::size_t>{4});
  CHECK(scene.lanes.waiting() == 0);
}

TEST_CASE("one thread that gathers keeps nobody else's messages back, nor those of moving shards") {
  if (!testing::servers_installed()) return;
  Scene scene;
  const Lanes::Gathering together(scene.lanes);
  CHECK(scene.lanes.push(scene.to, reply(1)).ok());
  std::thread([&] { CHECK(scene.lanes.push(scene.to, reply(2)).ok()); }).join();
  (void)scene.batches(2);
  CHECK(scene.lanes.push(scene.to, reply(3)).ok());
  CHECK(scene.lanes.push(scene.to, wire::Want{ShardId{1}}).ok());
  (void)scene.batches(4);
}
