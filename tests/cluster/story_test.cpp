// A join, a kill and a drain, as a stranger reads them in the log, and as the stream of events shows
// them.
#include <catga/runtime/messaging/nats.hpp>
#include <catga/runtime/telemetry/event_feed.hpp>

#include "scene.hpp"
#include <nlohmann/json.hpp>

#include <csignal>
#include <set>
#include <sstream>

namespace catga::testing {
namespace {

using nlohmann::json;

/// The stream of the cluster's events as any node has it, here in the test.
class Stream {
 public:
  explicit Stream(Scene& scene)
      : listening_(feed_.subscribe([this](const ClusterEvent& event) {
          const std::lock_guard guard(lock_);
          CHECK_MESSAGE(ids_.insert(event.id).second, "twice: " << event.id);
          events_.push_back(json::parse(event.json));
        })),
        nats_(must(connect(scene.config("listener"), "listener", {}))),
        subscription_(must(nats_.subscribe("catga.test.events", "", [this](NatsMessage message) {
          feed_.arrived(body_of(*message));
        }))) {
    feed_.start({});
    must(nats_.flush(5s));
  }
  ~Stream() { feed_.stop(); }

  std::vector<json> of(const std::string& name) {
    const std::lock_guard guard(lock_);
    std::vector<json> found;
    for (const json& event : events_)
      if (event["event.name"] == name) found.push_back(event);
    return found;
  }
  void forget() {
    const std::lock_guard guard(lock_);
    events_.clear();
  }

 private:
  std::mutex lock_;
  std::vector<json> events_;
  std::set<std::string> ids_;
  EventFeed feed_{"the-test"};
  EventFeed::Subscription listening_;
  NatsConnection nats_;
  NatsSubscription subscription_;
};

/// What a node has written since `begin` lines.
std::vector<std::string> lines_of(Scene& scene, const std::string& node, std::size_t begin) {
  std::istringstream in(scene.node(node).log());
  std::vector<std::string> messages;
  std::size_t number = 0;
  for (std::string line; std::getline(in, line);)
    if (number++ >= begin) messages.push_back(json::parse(line)["message"]);
  return messages;
}
std::size_t line_count(Scene& scene, const std::string& node) {
  return lines_of(scene, node, 0).size();
}

/// The lines contain these texts, in this order; other lines may stand between them.
void check_story(const std::vector<std::string>& lines, const std::vector<std::string>& told) {
  std::string all;
  for (const std::string& line : lines) all += "  " + line + '\n';
  std::size_t next = 0;
  for (const std::string& line : lines)
    if (next < told.size() && line.find(told[next]) != line.npos) ++next;
  CHECK_MESSAGE(next == told.size(), "not told: \"" << (next < told.size() ? told[next] : "")
                                                    << "\" in\n"
                                                    << all);
}

}  // namespace

TEST_CASE("a join, a kill and a drain are each told in a dozen lines, and the stream has it all") {
  if (!servers_here()) return;
  Scene scene;
  const Flags flags{"--log-level", "info", "--cluster-min-members", "3"};
  for (const char* name : {"a", "b", "c"}) scene.launch(name, flags);
  for (const char* name : {"a", "b", "c"}) scene.expect_ready(name);
  scene.expect_up(3);
  Stream stream(scene);
  std::map<std::string, std::size_t> at;
  const auto mark = [&] {
    stream.forget();
    for (const char* name : {"a", "b", "c"}) at[name] = line_count(scene, name);
  };
  const auto told = [&](const std::string& node) { return lines_of(scene, node, at[node]); };

  // a fourth node joins
  mark();
  scene.start("d", flags);
  for (const char* name : {"a", "b", "c"})
    CHECK(eventually([&] {
      for (const std::string& line : told(name))
        if (line.find("moved away from here") != line.npos) return true;
      return false;
    }));
  check_story(told("a"), {"node d is up, 4 in all", "of this node move: to d",
                          "moved away from here"});
  check_story(lines_of(scene, "d", 0), {"node d starts", "node d is up", "node d is ready"});
  std::size_t lines = line_count(scene, "d");
  for (const char* name : {"a", "b", "c"}) lines += told(name).size();
  CHECK(lines <= 20);
  const auto moves = [&] { return stream.of("catga.shard.handoff.completed"); };
  const std::size_t arrived = scene.members().size() == 4 ? Scene::shards / 4 : 0;
  CHECK(eventually([&] { return moves().size() >= arrived / 2; }));
  CHECK(stream.of("catga.shard.handoff.started").size() >= moves().size());
  for (const json& move : moves()) {
    CHECK(move["catga.node.to"] == "d");
    CHECK(move["mode"] == "planned");
    CHECK(move["catga.rebalance.id"] ==
          stream.of("catga.rebalance.planned").at(0)["catga.rebalance.id"]);
  }
  std::size_t published = 0;  // of d; what a, b and c told of each other may arrive late
  for (const json& one : stream.of("catga.node.joined"))
    published += one["catga.peer.id"] == "d" ? 1 : 0;
  CHECK(published == 1);  // logged by four

  // one is killed
  scene.let_them_meet();
  mark();
  const std::size_t of_d = line_count(scene, "d");
  scene.node("b").kill9();
  for (const char* name : {"a", "c"})
    CHECK(eventually([&] {
      for (const std::string& line : told(name))
        if (line.find("taken over, in") != line.npos) return true;
      return false;
    }));
  check_story(told("a"), {"node b is gone", " of b", "taken over, in"});
  lines = lines_of(scene, "d", of_d).size();
  for (const char* name : {"a", "c"}) lines += told(name).size();
  CHECK(lines <= 20);
  CHECK(eventually([&] { return stream.of("catga.node.left").size() == 1; }));
  CHECK_FALSE(stream.of("catga.node.suspected").empty());
  for (const json& move : moves()) {
    CHECK(move["mode"] == "takeover");
    CHECK(move["catga.node.from"] == "b");
  }

  // one is asked to stop
  mark();
  scene.node("c").signal(SIGTERM);
  CHECK(scene.node("c").exit_code(30s) == 0);
  check_story(told("c"), {"asked to stop: giving the shards away", "node c (this one) gives",
                          "of this node move: to", "moved away from here",
                          "all shards handed over"});
  CHECK(told("c").size() <= 12);
  CHECK(eventually([&] { return told("a").size() >= 2; }));
  check_story(told("a"), {"node c gives its shards away", "node c has left"});
  CHECK(eventually([&] { return stream.of("catga.node.drained").size() == 1; }));
}

}  // namespace catga::testing
