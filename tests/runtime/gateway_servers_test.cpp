// The gateway's door, against a real server.
#include <catga/entities/entity.hpp>
#include <catga/runtime/messaging/gateway.hpp>
#include <catga/runtime/messaging/nats.hpp>

#include "../support/servers.hpp"
#include <doctest/doctest.h>

#include <condition_variable>
#include <mutex>
#include <string>

using namespace catga;
using namespace std::chrono_literals;

namespace {

struct Knock {
  using Reply = Done;
  CATGA_MESSAGE(Knock);
};
class Door {
 public:
  static constexpr std::string_view kind = "door";
  using Handles = Messages<Knock>;
  struct State {
    CATGA_FIELDS();
  } state;
  Done on(const Knock&) { return {}; }
};

/// Counts the asks it is given.
class Ear final : public Messenger {
 public:
  void ask(Ask, Answered answered) override {
    {
      const std::lock_guard guard(lock_);
      ++heard_;
    }
    changed_.notify_all();
    answered(std::string());
  }
  Status tell(Ask) override { return Done{}; }
  bool hears(int count) {
    std::unique_lock guard(lock_);
    return changed_.wait_for(guard, 5s, [&] { return heard_ >= count; });
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  int heard_ = 0;
};

}  // namespace

TEST_CASE("once the gateway is open, the very next call from elsewhere is heard") {
  const testing::NatsServer server;
  Config config;
  config.nats.urls = {server.url()};
  NatsConnection caller = connect(config, "caller", {}).value();
  const GatewayKinds kinds{{"door", kind_of<Door>()}};
  Ear ear;
  for (int opened = 1; opened <= 50; ++opened) {
    NatsConnection nats = connect(config, "node", {}).value();
    Gateway gateway("catga.t.", kinds, ear, nats);
    REQUIRE(gateway.open().ok());
    REQUIRE(caller.publish("catga.t.call.door.front.Knock", "", "{}").ok());
    REQUIRE_MESSAGE(caller.flush(5s).ok(), opened);
    REQUIRE_MESSAGE(ear.hears(opened), opened);
    gateway.close();
    REQUIRE(nats.flush(5s).ok());  // the next call is not for this one any more
  }
}
