// Three drivers in one process, with a real NATS server and the store in memory.
#include <catga/persistence/memory/memory_stores.hpp>
#include <catga/runtime/cluster/fingerprint.hpp>
#include <catga/runtime/cluster/membership_driver.hpp>

#include "../support/servers.hpp"
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

using namespace catga;
using namespace std::chrono_literals;
using testing::NatsServer;

namespace {

Config config_for(const std::string& url, const std::string& name) {
  Config config;
  config.node.id = name;
  config.nats.urls = {url};
  config.nats.reconnect_wait = 20ms;
  config.nats.connect_timeout = 300ms;
  // Far away, so that what ends a node quickly here is the vote of others and nothing else.
  config.membership.session_ttl = 30s;
  return config;
}

// A driver and what it said.
class Node {
 public:
  Node(const Config& config, MemberStore& members, Incarnation first,
       MembershipSources sources = {})
      : self_(first), driver_(config, members, standing, listener(), std::move(sources)) {
    driver_.start(first, [this](Incarnation next) {
      const std::lock_guard lock(mutex_);
      born_.push_back(next);
    });
  }

  /// Whether `holds` becomes true in time. Looked at whenever the driver says something.
  template <class Holds>
  bool until(Holds holds, std::chrono::milliseconds patience = 20s) {
    std::unique_lock lock(mutex_);
    return news_.wait_for(lock, patience, [&] { return holds(*this); });
  }
  const Member* member(Incarnation incarnation) const {
    return view_ ? view_->find(incarnation) : nullptr;
  }
  bool sees(Incarnation incarnation, MemberState state) const {
    const Member* found = member(incarnation);
    return found != nullptr && found->state == state;
  }
  std::size_t up() const {
    std::size_t count = 0;
    if (view_)
      for (const Member& one : view_->members) count += one.state == MemberState::up;
    return count;
  }
  ViewVersion version() const { return view_ ? view_->version : ViewVersion{}; }
  Incarnation self() const { return self_; }
  bool in_force() const { return in_force_; }
  bool nats() const { return nats_; }
  const std::string& refusal() const { return refusal_; }
  int exit_code() const { return exit_code_; }
  const std::vector<Incarnation>& born() const { return born_; }
  int primaries() const { return primaries_; }
  MembershipDriver& driver() { return driver_; }

  NodeStanding standing;

 private:
  template <class Change>
  void say(Change change) {
    const std::lock_guard lock(mutex_);
    change();
    news_.notify_all();
  }
  MembershipListener listener() {
    MembershipListener out;
    out.on_view = [this](std::shared_ptr<const MembershipView> view, Incarnation) {
      say([&] { view_ = view; });
    };
    out.on_session = [this](bool in_force, Incarnation self) {
      say([&] {
        in_force_ = in_force;
        self_ = self;
      });
    };
    out.on_refused = [this](const std::string& why, int exit_code) {
      say([&] {
        refusal_ = why;
        exit_code_ = exit_code;
      });
    };
    out.on_primary_changed = [this] { say([&] { ++primaries_; }); };
    out.on_links = [this](bool nats, bool) { say([&] { nats_ = nats; }); };
    return out;
  }

  mutable std::mutex mutex_;
  std::condition_variable news_;
  std::shared_ptr<const MembershipView> view_;
  Incarnation self_;
  bool in_force_ = false, nats_ = false;
  std::string refusal_;
  int exit_code_ = 0, primaries_ = 0;
  std::vector<Incarnation> born_;
  MembershipDriver driver_;
};

std::int64_t wall_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

Incarnation incarnation(std::uint64_t number) { return {number, number * 0x9e3779b97f4a7c15ULL}; }

// Three nodes that are up in one view.
struct Three {
  NatsServer server;
  MemoryStores stores{wall_ms};
  std::vector<std::unique_ptr<Node>> nodes;

  Three() {
    for (std::uint64_t i = 1; i <= 3; ++i) start(i);
    for (auto& node : nodes) REQUIRE(node->until([](const Node& one) { return one.up() == 3; }));
    ViewVersion newest;
    for (auto& node : nodes) newest = std::max(newest, node->version());
    for (auto& node : nodes)
      REQUIRE(node->until([&](const Node& one) { return one.version() == newest; }));
  }
  void start(std::uint64_t number) {
    nodes.push_back(
        std::make_unique<Node>(config_for(server.url(), "node-" + std::to_string(number)),
                               stores.members(), incarnation(number)));
  }
};

}  // namespace

TEST_CASE(
    "three nodes that start together are up in one view, with sessions and the time of the "
    "cluster") {
  if (!testing::servers_installed()) return;
  Three three;
  for (auto& node : three.nodes) {
    CHECK(node->standing.session_ok());
    CHECK(node->standing.view_version == node->version().value);
    CHECK(std::abs(node->standing.cluster_now() - wall_ms()) < 100);
  }
}

TEST_CASE(
    "nodes that hear each other may answer from memory, and one that is cut off soon may not") {
  if (!testing::servers_installed()) return;
  Three three;
  // The right is no news that the driver tells: it is looked at.
  const auto may_read = [](Node& node, bool wanted) {
    for (int i = 0; i < 400; ++i) {
      if (node.standing.may_read() == wanted) return true;
      node.until([](const Node&) { return false; }, 5ms);
    }
    return false;
  };
  for (auto& node : three.nodes) CHECK(may_read(*node, true));
  three.server.kill9();
  for (auto& node : three.nodes) CHECK(may_read(*node, false));
  for (auto& node : three.nodes) CHECK(node->standing.session_ok());
}

TEST_CASE(
    "a shadow takes over the name of a node that leaves, and no other node is up in between") {
  if (!testing::servers_installed()) return;
  Three three;
  Config config = config_for(three.server.url(), "node-2");
  config.node.shadow = true;
  Node shadow(config, three.stores.members(), incarnation(4));
  REQUIRE(three.nodes[0]->until(
      [](const Node& one) { return one.sees(incarnation(4), MemberState::shadow); }));
  three.nodes[1]->driver().leave();
  REQUIRE(three.nodes[0]->until(
      [](const Node& one) { return one.sees(incarnation(2), MemberState::leaving); }));
  CHECK(three.nodes[0]->until(
      [](const Node& one) { return one.sees(incarnation(4), MemberState::up) && one.up() == 3; }));
  CHECK(shadow.until([](const Node& one) { return one.sees(incarnation(4), MemberState::up); }));
}

TEST_CASE("a changed Redis primary is heard of by all nodes, once however often it is said") {
  if (!testing::servers_installed()) return;
  Three three;
  for (int i = 0; i < 3; ++i) three.nodes[0]->driver().primary_changed("old", "new");
  for (auto& node : three.nodes)
    CHECK(node->until([](const Node& one) { return one.primaries() == 1; }));
  for (auto& node : three.nodes)
    CHECK_FALSE(node->until([](const Node& one) { return one.primaries() > 1; }, 300ms));
}

TEST_CASE("a node asks its sources, and has its canary run") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  MemoryStores stores(wall_ms);
  std::atomic<int> posted{0}, asked{0};
  MembershipSources sources;
  sources.primary = [&] { return ++asked > 3 ? std::string("two") : std::string("one"); };
  sources.post = [&](const std::function<void()>& task) {
    ++posted;
    task();
  };
  Node node(config_for(server.url(), "node"), stores.members(), incarnation(1), sources);
  // That the primary is another one needs nobody's call.
  CHECK(node.until([](const Node& one) { return one.primaries() == 1; }));
  CHECK_FALSE(node.until([](const Node& one) { return one.primaries() > 1; }, 500ms));
  CHECK(posted > 2);
}

TEST_CASE("a node that ends without a word is evicted long before its session expires") {
  if (!testing::servers_installed()) return;
  Three three;
  // Long enough together that each has heard the others' heartbeats.
  for (auto& node : three.nodes)
    CHECK_FALSE(node->until([](const Node& one) { return one.up() != 3; }, 600ms));
  const auto began = std::chrono::steady_clock::now();
  three.nodes[2]->driver().stop();
  for (std::size_t i : {0U, 1U})
    REQUIRE(three.nodes[i]->until(
        [&](const Node& one) { return one.member(incarnation(3)) == nullptr; }));
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - began);
  MESSAGE("evicted after " << took.count() << " ms");
  CHECK(took < 1500ms);
}

TEST_CASE("a node that leaves is first leaving, then gone, in the views of the others") {
  if (!testing::servers_installed()) return;
  Three three;
  three.nodes[2]->driver().leave();
  for (auto& node : three.nodes)
    REQUIRE(node->until(
        [](const Node& one) { return one.sees(incarnation(3), MemberState::leaving); }));
  std::mutex mutex;
  std::condition_variable news;
  bool done = false;
  three.nodes[2]->driver().gone([&] {
    const std::lock_guard lock(mutex);
    done = true;
    news.notify_all();
  });
  {
    std::unique_lock lock(mutex);
    REQUIRE(news.wait_for(lock, 10s, [&] { return done; }));
  }
  CHECK_FALSE(three.nodes[2]->standing.session_ok());
  for (std::size_t i : {0U, 1U})
    CHECK(three.nodes[i]->until(
        [](const Node& one) { return one.member(incarnation(3)) == nullptr; }));
}

TEST_CASE(
    "a node whose session was lost is back under a new incarnation, which its owner hears of "
    "first") {
  if (!testing::servers_installed()) return;
  Three three;
  Node& victim = *three.nodes[0];
  three.stores.members().set_state(incarnation(1), NextState::gone,
                                   [](const Result<StateChanged>&) {});
  REQUIRE(victim.until([](const Node& one) { return !one.born().empty(); }));
  REQUIRE(victim.until(
      [](const Node& one) { return one.in_force() && one.self() == one.born().back(); }));
  const Incarnation next = victim.born().back();
  for (auto& node : three.nodes)
    CHECK(node->until([&](const Node& one) {
      return one.sees(next, MemberState::up) && one.member(incarnation(1)) == nullptr;
    }));
}

TEST_CASE("without NATS at the start a node waits for it, and joins when it comes") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  MemoryStores stores(wall_ms);
  server.kill9();
  Node node(config_for(server.url(), "node"), stores.members(), incarnation(1));
  server.restart();
  CHECK(node.until([](const Node& one) { return one.up() == 1 && one.nats(); }));
}

TEST_CASE("a node gives up after start.patience with 69 and says what it could not reach") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  MemoryStores stores(wall_ms);
  server.kill9();
  Config config = config_for(server.url(), "node");
  config.start.patience = 300ms;
  Node node(config, stores.members(), incarnation(1));
  REQUIRE(node.until([](const Node& one) { return one.exit_code() != 0; }));
  CHECK(node.exit_code() == 69);
  CHECK(node.refusal().find("NATS at nats://127.0.0.1") != std::string::npos);
}

TEST_CASE("a node with another shard count is refused with 78 and told what to set") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  MemoryStores stores(wall_ms);
  Node first(config_for(server.url(), "one"), stores.members(), incarnation(1));
  REQUIRE(first.until([](const Node& one) { return one.up() == 1; }));
  Config other = config_for(server.url(), "two");
  other.cluster.shards = 512;
  Node second(other, stores.members(), incarnation(2));
  REQUIRE(second.until([](const Node& one) { return one.exit_code() != 0; }));
  CHECK(second.exit_code() == 78);
  CHECK(second.refusal() ==
        "cluster catga was created with 1024 shards, this node is set to 512: set cluster.shards "
        "to 1024");
}

TEST_CASE(
    "a node without NATS for longer than lost_grace is leaving through Redis, and up again when "
    "NATS is back") {
  if (!testing::servers_installed()) return;
  NatsServer server;
  MemoryStores stores(wall_ms);
  Config config = config_for(server.url(), "node");
  config.nats.lost_grace = 300ms;
  Node node(config, stores.members(), incarnation(1));
  REQUIRE(node.until([](const Node& one) { return one.up() == 1; }));
  server.kill9();
  CHECK(node.until([](const Node& one) { return one.sees(incarnation(1), MemberState::leaving); }));
  server.restart();
  CHECK(node.until([](const Node& one) { return one.sees(incarnation(1), MemberState::up); }));
}

TEST_CASE("the fingerprint says what must be equal, and a refusal what to do") {
  Config config;
  config.node.id = "node";
  CHECK(fingerprint(config) == "catga1;S=1024;xxh3;points=128;cap=1.25;hold=250;late=300");
  CHECK(fingerprint_refusal(config, "catga2;S=1024").find("another version of Catga") !=
        std::string::npos);
  CHECK(fingerprint_refusal(config, "").find("another version of Catga") != std::string::npos);
}
