// A join, a kill and a drain, as a stranger reads them in the log, and as the stream of events shows
// them.
#include <catga/runtime/messaging/nats.hpp>
#include <catga/runtime/telemetry/cluster_events.hpp>
#include <catga/runtime/telemetry/event_feed.hpp>

#include "scene.hpp"
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
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
  /// Each has no other fields than its row of the table, and `whole` ones have all of them.
  void check_fields(const std::set<std::string>& whole) {
    const auto words = [](std::string_view text) {
      std::set<std::string> all;
      while (!text.empty()) {
        const auto end = std::min(text.find(','), text.size());
        all.emplace(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
      }
      return all;
    };
    const std::set<std::string> common = words(common_event_fields);
    const std::lock_guard guard(lock_);
    for (const json& event : events_) {
      const std::string name = event["event.name"];
      const std::set<std::string> fields = words(event_table[place_of_event(name)].fields);
      for (const auto& [key, value] : event.items())
        CHECK_MESSAGE((common.contains(key) || fields.contains(key)), name << " has " << key);
      if (!whole.contains(name)) continue;
      for (const std::string& field : fields)
        CHECK_MESSAGE(event.contains(field), name << " lacks " << field);
    }
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
  check_story(told("a"),
              {"node d is up, 4 in all", "of this node move: to d", "moved away from here"});
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

  const std::set<std::string> whole{"catga.node.joined",          "catga.node.left",
                                    "catga.node.suspected",       "catga.node.drained",
                                    "catga.rebalance.planned",    "catga.rebalance.completed",
                                    "catga.shard.handoff.started"};
  stream.check_fields(whole);

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

  CHECK(stream.of("catga.node.left")[0]["shards"] > 0);
  CHECK(stream.of("catga.node.left")[0]["cause"] == "evicted");
  stream.check_fields(whole);

  // one is asked to stop
  mark();
  scene.node("c").signal(SIGTERM);
  CHECK(scene.node("c").exit_code(30s) == 0);
  check_story(told("c"), {"asked to stop: giving the shards away", "node c (this one) gives",
                          "of this node move: to", "moved away from here"});
  check_story(told("c"), {"of this node move: to", "all shards handed over"});  // by another thread
  CHECK(told("c").size() <= 12);
  CHECK(eventually([&] { return stream.of("catga.node.left").size() == 1; }));
  CHECK(stream.of("catga.node.left")[0]["cause"] == "planned");
  CHECK(eventually([&] {
    for (const std::string& line : told("a"))
      if (line == "node c has left") return true;
    return false;
  }));
  check_story(told("a"), {"node c gives its shards away", "node c has left"});
  for (const std::string node : {"a", "c"}) {  // once, however many tables of members name it
    const std::vector<std::string> all = told(node);
    const auto says = [](const std::string& line) {
      return line.starts_with("node c ") && line.ends_with("gives its shards away");
    };
    CHECK(std::count_if(all.begin(), all.end(), says) == 1);
  }
  CHECK(eventually([&] { return stream.of("catga.node.drained").size() == 1; }));
  stream.check_fields(whole);
  std::size_t planned = 0;  // a take-over told late may be among them: it has no duration
  for (const json& move : moves()) {
    if (move["mode"] != "planned") continue;
    planned += 1;
    CHECK(move["duration_ms"] >= move["unavailable_ms"]);
    CHECK(move.contains("queued"));
  }
  CHECK(planned > 0);
}

namespace {

/// Where systemd would listen.
class Ear {
 public:
  explicit Ear(std::string path) : path_(std::move(path)) {
    sockaddr_un own{};
    own.sun_family = AF_UNIX;
    REQUIRE(path_.size() < sizeof(own.sun_path));
    path_.copy(own.sun_path, path_.size());
    REQUIRE(::bind(socket_, reinterpret_cast<const sockaddr*>(&own), sizeof(own)) == 0);
  }
  ~Ear() { ::close(socket_); }
  Ear(const Ear&) = delete;
  Ear& operator=(const Ear&) = delete;
  const std::string& path() const { return path_; }
  bool hears(const std::string& words) {
    return eventually([&] {
      char more[512];
      for (ssize_t length = 0; (length = ::recv(socket_, more, sizeof(more), MSG_DONTWAIT)) > 0;)
        heard_ += std::string(more, static_cast<std::size_t>(length)) + '\n';
      return heard_.find(words) != heard_.npos;
    });
  }

 private:
  const std::string path_;
  const int socket_ = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  std::string heard_;
};

}  // namespace

TEST_CASE(
    "SIGHUP reads the settings again, SIGQUIT shows what a node holds, and systemd hears of it") {
  if (!servers_here()) return;
  Scene scene;
  const std::string file = scene.servers.redis.folder() + "/a.json";
  const auto write = [&file](const std::string& text) { std::ofstream(file) << text; };
  write(R"({"hot.min_rate": 5000})");
  Ear ear(scene.servers.redis.folder() + "/notify");
  NodeProcess& node = scene.launch("a", {"--config", file},
                                   {{"NOTIFY_SOCKET", ear.path()}, {"WATCHDOG_USEC", "60000000"}});
  scene.expect_ready("a");
  CHECK(ear.hears("READY=1\n"));
  CHECK(ear.hears("WATCHDOG=1\n"));
  CHECK(ear.hears("STATUS=serving " + std::to_string(Scene::shards) + " shards\n"));
  CHECK(must(scene.counter("alice").ask(Add{1})) == 1);

  write(R"({"hot.min_rate": 100, "entity.mailbox": 7})");
  node.signal(SIGHUP);
  CHECK(
      node.says("settings were read again: hot.min_rate changed; only a restart changes "
                "entity.mailbox",
                10s));
  CHECK(node.has_said("catga.config.reloaded"));
  CHECK(ear.hears("RELOADING=1\nMONOTONIC_USEC="));
  write(R"({"hot.min_rate": "many"})");
  node.signal(SIGHUP);
  CHECK(node.says("settings were read again and are wrong, so nothing changes: hot.min_rate", 10s));

  node.signal(SIGQUIT);
  CHECK(
      node.says("node a: " + std::to_string(Scene::shards) + " shards, 1 entities in memory", 10s));
  const ShardId shard = shard_of("counter", "alice", Scene::shards);
  CHECK(node.says("shard " + std::to_string(shard.value) + " owned epoch ", 10s));
  CHECK(must(scene.counter("alice").ask(Add{1})) == 2);  // it goes on
  node.signal(SIGTERM);
  CHECK(node.exit_code(20s) == 0);
  CHECK(ear.hears("STOPPING=1\nEXTEND_TIMEOUT_USEC="));
}

}  // namespace catga::testing
