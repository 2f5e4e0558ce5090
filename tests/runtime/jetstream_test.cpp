// JetStream over a real nats-server: streams, consumers, publications and their acknowledgements.
#include <catga/runtime/messaging/event_message.hpp>
#include <catga/runtime/messaging/jetstream.hpp>
#include <catga/runtime/messaging/stream_publisher.hpp>

#include "../support/servers.hpp"
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace catga;
using namespace std::chrono_literals;
using testing::NatsServer;

namespace {

Config config_for(const NatsServer& server) {
  Config config;
  config.nats.urls = {server.url()};
  config.nats.connect_timeout = 500ms;
  config.nats.reconnect_wait = 10ms;
  config.log.level = "off";
  return config;
}

StreamOptions stream() {
  StreamOptions options;
  options.name = "catga-test";
  options.subjects = "catga.test.ev.>";
  return options;
}

RelayEntry event(std::uint64_t number) {
  RelayEntry entry;
  entry.event = true;
  entry.source = {"account", "alice"};
  entry.operation = {1, number};
  entry.time_ms = 1000;
  entry.message = "Emptied";
  entry.payload = "p" + std::to_string(number);
  entry.number = number;
  entry.epoch = Epoch{1};
  return entry;
}

// Answers of any thread, waited for in order of arrival.
class Answers {
 public:
  std::function<void(Status)> taker() {
    return [this](Status status) {
      const std::lock_guard guard(lock_);
      all_.push_back(std::move(status));
      more_.notify_all();
    };
  }
  std::vector<Status> wait_for(std::size_t count) {
    std::unique_lock guard(lock_);
    more_.wait_for(guard, 10s, [&] { return all_.size() >= count; });
    return all_;
  }

 private:
  std::mutex lock_;
  std::condition_variable more_;
  std::vector<Status> all_;
};

/// What a plain subscriber with a pull consumer gets: for looking at what is in the stream.
std::vector<std::pair<std::string, std::string>> contents(NatsConnection& nats) {
  ConsumerOptions options;
  options.stream = "catga-test";
  options.name = "look";
  options.filter = "catga.test.ev.>";
  options.from_sequence = 1;
  REQUIRE(make_consumer(nats, options, true, 2s).ok());
  std::mutex lock;
  std::condition_variable changed;
  bool over = false;
  std::vector<std::pair<std::string, std::string>> found;
  auto subscription = nats.subscribe("look.here", "", [&](NatsMessage message) {
    const std::lock_guard guard(lock);
    if (pull_status(*message).empty())
      found.emplace_back(header_of(*message, "Nats-Msg-Id"), std::string(body_of(*message)));
    else
      over = true;
    changed.notify_all();
  });
  REQUIRE(subscription.ok());
  REQUIRE(
      nats.publish(pull_subject("catga-test", "look"), "look.here", pull_body(100, 300ms)).ok());
  std::unique_lock guard(lock);
  changed.wait_for(guard, 10s, [&] { return over; });
  return found;
}

}  // namespace

TEST_CASE(
    "a stream is made when it is missing, left alone when it is there, refused if it is "
    "another's") {
  if (!testing::servers_installed()) return;
  NatsServer server({.user = "", .password = "", .jetstream = true});
  auto nats = connect(config_for(server), "test");
  REQUIRE(nats.ok());
  CHECK(last_sequence(*nats, "catga-test", 2s).error().code == Code::not_found);
  CHECK(ensure_stream(*nats, stream(), 2s).ok());
  CHECK(ensure_stream(*nats, stream(), 2s).ok());
  CHECK(last_sequence(*nats, "catga-test", 2s).value() == 0);
  StreamOptions other = stream();
  other.subjects = "something.else";
  const Status refused = ensure_stream(*nats, other, 2s);
  CHECK(refused.error().code == Code::malformed);
  CHECK(refused.error().text.find("events.stream") != std::string::npos);
}

TEST_CASE("without JetStream the error says how to enable it") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  auto nats = connect(config_for(server), "test");
  REQUIRE(nats.ok());
  const Status refused = ensure_stream(*nats, stream(), 2s);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::unavailable);
  CHECK(refused.error().text.find("-js") != std::string::npos);
}

TEST_CASE("an event is acknowledged when the stream has it, and a second copy is kept once") {
  if (!testing::servers_installed()) return;
  NatsServer server({.user = "", .password = "", .jetstream = true});
  const Config config = config_for(server);
  Log log(config.log, "test", "node");
  auto nats = connect(config, "test");
  REQUIRE(nats.ok());
  Answers answers;
  StreamPublisher publisher(*nats, log, stream(), "catga.test.", "me");
  for (const std::uint64_t number : {1, 2, 2, 3})
    publisher.publish(ShardId{37}, event(number), answers.taker());
  const auto all = answers.wait_for(4);
  REQUIRE(all.size() == 4);
  for (const Status& one : all) CHECK(one.ok());
  const auto kept = contents(*nats);
  REQUIRE(kept.size() == 3);
  CHECK(kept[0] == std::pair<std::string, std::string>{text_of(OperationId{1, 1}), "p1"});
  CHECK(kept[2].second == "p3");
}

TEST_CASE("the place of a time in a stream is found, in whatever part of a second it lies") {
  if (!testing::servers_installed()) return;
  NatsServer server({.user = "", .password = "", .jetstream = true});
  const Config config = config_for(server);
  Log log(config.log, "test", "node");
  auto nats = connect(config, "test");
  REQUIRE(nats.ok());
  REQUIRE(ensure_stream(*nats, stream(), 2s).ok());
  const auto place = [&nats](std::int64_t time_ms) {
    return sequence_at(*nats, "catga-test", time_ms, 2s).value();
  };
  CHECK(place(0) <= 1);
  Answers answers;
  StreamPublisher publisher(*nats, log, stream(), "catga.test.", "me");
  std::vector<std::int64_t> times;
  for (std::uint64_t number = 1; number <= 30; ++number) {
    times.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count());
    publisher.publish(ShardId{37}, event(number), answers.taker());
    REQUIRE(answers.wait_for(number).back().ok());
    std::this_thread::sleep_for(41ms);  // so that times lie between them
  }
  for (std::uint64_t number = 1; number <= 30; ++number) {
    const std::int64_t fraction = times[number - 1] % 1000;
    INFO(fraction);
    CHECK(place(times[number - 1]) == number);
  }
  CHECK(place(times.back() + 60'000) == 31);
  CHECK(place(0) == 1);
}

TEST_CASE("while NATS is away events are refused at once, and taken when it is back") {
  if (!testing::servers_installed()) return;
  NatsServer server({.user = "", .password = "", .jetstream = true});
  const Config config = config_for(server);
  Log log(config.log, "test", "node");
  auto nats = connect(config, "test");
  REQUIRE(nats.ok());
  Answers answers;
  StreamPublisher publisher(*nats, log, stream(), "catga.test.", "me");
  publisher.publish(ShardId{37}, event(1), answers.taker());
  REQUIRE(answers.wait_for(1).front().ok());
  server.kill9();
  publisher.publish(ShardId{37}, event(2), answers.taker());
  REQUIRE_FALSE(answers.wait_for(2).back().ok());
  server.restart();
  bool stored = false;
  for (std::size_t tries = 3; !stored && tries < 200; ++tries) {
    publisher.publish(ShardId{37}, event(2), answers.taker());
    stored = answers.wait_for(tries).back().ok();
    if (!stored) std::this_thread::sleep_for(50ms);  // as the relay waits between attempts
  }
  CHECK(stored);
  CHECK(contents(*nats).size() == 2);
}

TEST_CASE("a publisher that closes answers what is open") {
  if (!testing::servers_installed()) return;
  NatsServer server;  // no JetStream: nobody answers
  const Config config = config_for(server);
  Log log(config.log, "test", "node");
  auto nats = connect(config, "test");
  REQUIRE(nats.ok());
  Answers answers;
  {
    StreamPublisher publisher(*nats, log, stream(), "catga.test.", "me");
    for (std::uint64_t i = 1; i <= 10; ++i)
      publisher.publish(ShardId{1}, event(i), answers.taker());
  }
  const auto all = answers.wait_for(10);
  REQUIRE(all.size() == 10);
  for (const Status& one : all) CHECK_FALSE(one.ok());
}

TEST_CASE("what JetStream says in a reply subject and in an acknowledgement is read") {
  const auto plain = read_delivery("$JS.ACK.stream.consumer.2.77.5.1700000000.9");
  REQUIRE(plain);
  CHECK(plain->times == 2);
  CHECK(plain->sequence == 77);
  CHECK(plain->consumer_sequence == 5);
  CHECK(plain->pending == 9);
  const auto longer = read_delivery("$JS.ACK._.acc.stream.consumer.2.77.5.1700000000.9.rnd");
  REQUIRE(longer);
  CHECK(longer->sequence == 77);
  for (const auto* bad : {"", "$JS.ACK.", "$JS.ACK.s.c.1.2", "$JS.ACK.s.c.a.b.c.d.e", "x"})
    CHECK_FALSE(read_delivery(bad));
  CHECK(read_publish_ack(R"({"stream":"s","seq":7})")->sequence == 7);
  CHECK(read_publish_ack(R"({"stream":"s","seq":7,"duplicate":true})")->duplicate);
  CHECK(read_publish_ack(R"({"error":{"description":"no room"}})").error().text.find("no room") !=
        std::string::npos);
  for (const auto* bad : {"", "[]", "{", "{}", R"({"seq":"x"})"})
    CHECK_FALSE(read_publish_ack(bad).ok());
}
