// The stream of cluster events: everything reaches every listener once, nothing waits for anybody.
#include <catga/runtime/telemetry/event_feed.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using catga::ClusterEvent;
using catga::EventFeed;
using catga::Severity;

namespace {

/// A log whose events go to a feed, and nothing to standard output.
struct Told {
  explicit Told(const std::string& process, const std::string& level = "off")
      : feed(process), log({.level = level, .format = "json"}, "test", "n-" + process) {
    log.identify(process);
    log.in_view(9007199254740993);  // JavaScript cannot hold it as a number
    log.add(feed);
  }
  EventFeed feed;
  catga::Log log;
  void joins(const std::string& peer) {
    log.write(Severity::info, "membership", "catga.node.joined", "node " + peer + " is up",
              {{"catga.peer.id", peer}});
  }
};

/// Collects what a feed says, and waits for it.
class Collector {
 public:
  explicit Collector(EventFeed& feed)
      : subscription_(feed.subscribe([this](const ClusterEvent& event) {
          const std::lock_guard guard(lock_);
          events_.push_back(event);
          more_.notify_all();
        })) {}
  std::vector<ClusterEvent> wait_for(std::size_t count) {
    std::unique_lock guard(lock_);
    more_.wait_for(guard, std::chrono::seconds(10), [&] { return events_.size() >= count; });
    return events_;
  }

 private:
  std::mutex lock_;
  std::condition_variable more_;
  std::vector<ClusterEvent> events_;
  EventFeed::Subscription subscription_;
};

}  // namespace

TEST_CASE("an event is one flat JSON object with the keys of the log line and an id") {
  Told told("p1");
  Collector collector(told.feed);
  told.feed.start({});
  told.joins("b");
  const auto events = collector.wait_for(1);
  REQUIRE(events.size() == 1);
  CHECK(events[0].name == "catga.node.joined");
  CHECK(events[0].id == "p1-1");
  const auto json = nlohmann::json::parse(events[0].json);
  for (const auto& [key, value] : json.items()) CHECK_MESSAGE(!value.is_structured(), key);
  CHECK(json["event.name"] == "catga.node.joined");
  CHECK(json["catga.event.id"] == "p1-1");
  CHECK(json["catga.node.incarnation"] == "p1");
  CHECK(json["catga.cluster.name"] == "test");
  CHECK(json["catga.node.id"] == "n-p1");
  CHECK(json["catga.view.version"] == "9007199254740993");
  CHECK(json["catga.peer.id"] == "b");
  CHECK(json["severity"] == "INFO");
}

TEST_CASE(
    "the log's level does not filter the stream, and lines that are no events are not in it") {
  Told told("p1", "error");
  Collector collector(told.feed);
  told.feed.start({});
  told.log.write(Severity::error, "node", "", "not an event");
  told.log.write(Severity::debug, "handoff", "catga.shard.handoff.started", "shard 1");
  told.log.write(Severity::info, "membership", catga::EventName("catga.node.left").in_log_only(),
                 "told by another node");
  told.joins("b");
  const auto events = collector.wait_for(2);
  REQUIRE(events.size() == 2);
  CHECK(events[0].name == "catga.shard.handoff.started");
  CHECK(events[1].name == "catga.node.joined");
}

TEST_CASE("what one node publishes reaches the listeners of another, once and in order") {
  Told here("p1"), there("p2");
  Collector at_there(there.feed), at_here(here.feed);
  const auto to_both = [&](const std::string& batch) -> catga::Status {
    CHECK(nlohmann::json::parse(batch).is_array());
    here.feed.arrived(batch);  // NATS brings it back to its sender, too
    there.feed.arrived(batch);
    return catga::Done{};
  };
  here.feed.start(to_both);
  there.feed.start(to_both);
  for (int i = 0; i < 500; ++i) here.joins(std::to_string(i));
  there.joins("last");
  CHECK(at_here.wait_for(501).size() == 501);
  const auto events = at_there.wait_for(501);
  REQUIRE(events.size() == 501);
  int next = 0;
  for (const ClusterEvent& event : events) {
    if (event.id.starts_with("p2-")) continue;
    CHECK(event.id == "p1-" + std::to_string(++next));
    CHECK(nlohmann::json::parse(event.json)["catga.peer.id"] == std::to_string(next - 1));
  }
}

TEST_CASE("while NATS is away events wait, and are published in order when it is back") {
  Told told("p1");
  std::mutex lock;
  std::condition_variable more;
  std::vector<std::string> published;
  std::atomic<bool> away{true};
  std::atomic<int> refused{0};
  told.feed.start([&](const std::string& batch) -> catga::Status {
    if (away) {
      ++refused;
      return catga::Error{catga::Code::unavailable, "away"};
    }
    const std::lock_guard guard(lock);
    for (const auto& one : nlohmann::json::parse(batch)) published.push_back(one["catga.peer.id"]);
    more.notify_all();
    return catga::Done{};
  });
  for (int i = 0; i < 10; ++i) told.joins(std::to_string(i));
  while (refused == 0) std::this_thread::yield();
  away = false;
  std::unique_lock guard(lock);
  REQUIRE(more.wait_for(guard, std::chrono::seconds(10), [&] { return published.size() == 10; }));
  for (int i = 0; i < 10; ++i) CHECK(published[static_cast<std::size_t>(i)] == std::to_string(i));
}

TEST_CASE("a listener that never returns holds up nobody: what finds no room is counted") {
  Told told("p1");
  std::mutex lock;
  std::condition_variable wake;
  bool free = false;
  auto subscription = told.feed.subscribe([&](const ClusterEvent&) {
    std::unique_lock guard(lock);
    wake.wait(guard, [&] { return free; });
  });
  told.feed.start({});
  for (int i = 0; i < 50'000; ++i) told.joins("b");  // returns, or the test does not end
  CHECK(told.feed.dropped() > 0);
  {
    const std::lock_guard guard(lock);
    free = true;
  }
  wake.notify_all();
}

TEST_CASE(
    "events of another node are read as this version writes them, and as any JSON is written") {
  Told told("p1");
  Collector collector(told.feed);
  told.feed.start({});
  told.feed.arrived(
      "[\n{\"event.name\":\"a\",\"catga.event.id\":\"q-1\",\"text\":\"},\\n{\"},\n"
      "{\"event.name\":\"b\",\"catga.event.id\":\"q-2\",\"like a name\":\"\\\"event.name\\\":\"}]");
  told.feed.arrived(
      R"([{"event.name":"c","catga.event.id":"q-3"},{"catga.event.id":"q-4","event.name":"d"}])");
  told.feed.arrived("[\n {\"event.name\":\"e\",\"catga.event.id\":\"q-5\"} ]");
  const auto events = collector.wait_for(5);
  REQUIRE(events.size() == 5);
  for (std::size_t i = 0; i < events.size(); ++i) {
    CHECK(events[i].name == std::string(1, static_cast<char>('a' + i)));
    CHECK(events[i].id == "q-" + std::to_string(i + 1));
    CHECK(nlohmann::json::parse(events[i].json)["event.name"] == events[i].name);
  }
}

TEST_CASE("an event that would break the line it is shown in is not passed on") {
  Told told("p1");
  Collector collector(told.feed);
  told.feed.start({});
  told.feed.arrived(
      "[\n{\"event.name\":\"a\",\"catga.event.id\":\"q-1\",\"text\":\"two\nlines\"}]");
  told.feed.arrived("[\n{\"event.name\":\"b\",\"catga.event.id\":\"q-2\"}]");
  const auto events = collector.wait_for(1);
  REQUIRE(events.size() == 1);
  CHECK(events[0].id == "q-2");
}

TEST_CASE("rubbish on the subject of events is dropped") {
  Told told("p1");
  Collector collector(told.feed);
  told.feed.start({});
  for (const std::string_view rubbish :
       {"", "[", "17", "{}", "[17,null,{}]", R"([{"event.name":1,"catga.event.id":"x"}])", "\xff"})
    told.feed.arrived(rubbish);
  told.feed.arrived(R"([{"event.name":"catga.new.thing","catga.event.id":"q-1","a":"\"<"}])");
  const auto events = collector.wait_for(1);
  REQUIRE(events.size() == 1);
  CHECK(events[0].id == "q-1");  // of a newer version: shown as it is
}
