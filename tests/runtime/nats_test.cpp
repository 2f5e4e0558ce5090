// The connection to NATS, against a real server.
#include <catga/runtime/messaging/nats.hpp>

#include "../support/servers.hpp"
#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>

using namespace catga;
using namespace std::chrono_literals;
using testing::NatsServer;

namespace {

Config config_for(const NatsServer& server) {
  Config config;
  config.nats.urls = {server.url()};
  config.nats.connect_timeout = 500ms;
  config.nats.reconnect_wait = 10ms;
  return config;
}

// What a callback said, once.
template <class Value>
class Once {
 public:
  void set(Value value) {
    if (!done_.exchange(true)) promise_.set_value(std::move(value));
  }
  /// The value, if it comes in time.
  bool comes() { return future_.wait_for(10s) == std::future_status::ready; }
  Value get() { return future_.get(); }

 private:
  std::atomic<bool> done_{false};
  std::promise<Value> promise_;
  std::future<Value> future_ = promise_.get_future();
};

}  // namespace

TEST_CASE("passwords and tokens never appear in a text") {
  CHECK(mask_password("nats://user:secret@host:4222") == "nats://user:***@host:4222");
  CHECK(mask_password("nats://user:se@cret@host:4222") == "nats://user:***@host:4222");
  CHECK(mask_password("nats://token@host:4222") == "nats://***@host:4222");
  CHECK(mask_password("nats://host:4222") == "nats://host:4222");
  CHECK(mask_password("") == "");
}

TEST_CASE("what is published reaches a subscriber with its subject, reply and bytes") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  auto nats = connect(config_for(server), "test");
  REQUIRE(nats.ok());
  auto got = std::make_shared<Once<std::string>>();
  auto subscription = nats->subscribe("a.*", "", [got](NatsMessage message) {
    got->set(std::string(subject_of(*message)) + '|' + std::string(reply_of(*message)) + '|' +
             std::string(body_of(*message)));
  });
  REQUIRE(subscription.ok());
  CHECK(nats->publish("a.b", "r", std::string("x\0y", 3)).ok());
  REQUIRE(got->comes());
  CHECK(got->get() == std::string("a.b|r|x\0y", 9));
  CHECK(nats->max_payload() == 1 << 20);
}

TEST_CASE("a subject nobody listens to is answered by no responders, on the reply subject") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  auto nats = connect(config_for(server), "test");
  REQUIRE(nats.ok());
  auto got = std::make_shared<Once<std::string>>();
  auto subscription = nats->subscribe("mine.*", "", [got](NatsMessage message) {
    got->set(is_no_responders(*message) ? std::string(subject_of(*message)) : "an answer");
  });
  REQUIRE(subscription.ok());
  CHECK(nats->publish("nobody", "mine.17", "hello").ok());
  REQUIRE(got->comes());
  CHECK(got->get() == "mine.17");
}

TEST_CASE("after a subscription is destroyed its handler runs no more") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  auto nats = connect(config_for(server), "test");
  REQUIRE(nats.ok());
  for (int round = 0; round < 20; ++round) {
    auto alive = std::make_shared<std::atomic<bool>>(true);
    std::atomic<bool> late{false};
    {
      auto subscription = nats->subscribe("s", "", [alive, &late](NatsMessage) {
        if (!*alive) late = true;
      });
      REQUIRE(subscription.ok());
      for (int i = 0; i < 100; ++i) CHECK(nats->publish("s", "", "x").ok());
    }
    *alive = false;
    CHECK(nats->flush(5s).ok());
    CHECK_FALSE(late);
  }
}

TEST_CASE("of a queue group one member hears each message") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  auto nats = connect(config_for(server), "test");
  REQUIRE(nats.ok());
  std::atomic<int> heard{0};
  auto end = std::make_shared<Once<int>>();
  auto handler = [&heard](NatsMessage) { ++heard; };
  auto one = nats->subscribe("q", "group", handler);
  auto two = nats->subscribe("q", "group", handler);
  REQUIRE((one.ok() && two.ok()));
  for (int i = 0; i < 50; ++i) CHECK(nats->publish("q", "", "x").ok());
  while (heard < 50) std::this_thread::yield();
  CHECK(nats->flush(5s).ok());
  CHECK(heard == 50);
}

TEST_CASE("a connection that cannot be made says why in a sentence, without the password") {
  if (!testing::servers_installed()) return;
  NatsServer server({.user = "catga", .password = "secret"});
  Config config = config_for(server);
  config.nats.user = "catga";
  config.nats.password = "hunter2";
  const auto refused = connect(config, "test");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::rejected);
  CHECK(refused.error().text.find("refused the user, password or token") != std::string::npos);
  CHECK(refused.error().text.find("hunter2") == std::string::npos);
  config.nats.password = "secret";
  CHECK(connect(config, "test").ok());
  server.stop();
  const auto absent = connect(config, "test");
  REQUIRE_FALSE(absent.ok());
  CHECK(absent.error().code == Code::unavailable);
  CHECK(absent.error().text.find("cannot be reached") != std::string::npos);
}

TEST_CASE("a client certificate that cannot be used is named before anything is sent") {
  Config config;
  config.nats.urls = {"tls://127.0.0.1:1"};
  config.nats.certificate_file = "/nonexistent/tls.crt";
  config.nats.key_file = "/nonexistent/tls.key";
  const auto refused = connect(config, "test");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::malformed);
  CHECK(refused.error().text.find("/nonexistent/tls.crt") != std::string::npos);
}

TEST_CASE(
    "a lost connection is told, nothing is kept for later, and subscriptions come back with it") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  auto lost = std::make_shared<Once<std::string>>();
  auto back = std::make_shared<Once<int>>();
  auto nats = connect(config_for(server), "test",
                      {.on_lost = [lost](std::string why) { lost->set(std::move(why)); },
                       .on_back = [back] { back->set(1); },
                       .on_error = {}});
  REQUIRE(nats.ok());
  auto got = std::make_shared<Once<std::string>>();
  auto subscription = nats->subscribe(
      "s", "", [got](NatsMessage message) { got->set(std::string(body_of(*message))); });
  REQUIRE(subscription.ok());
  server.kill9();
  REQUIRE(lost->comes());
  CHECK_FALSE(lost->get().empty());
  CHECK_FALSE(nats->connected());
  const Status refused = nats->publish("s", "", "old");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::unavailable);
  server.restart();
  REQUIRE(back->comes());
  CHECK(nats->publish("s", "", "new").ok());
  REQUIRE(got->comes());
  CHECK(got->get() == "new");
}
