// Nodes come, go, die, freeze and share names: nothing acknowledged is lost, nothing takes effect
// twice.
#include "scene.hpp"

#include <csignal>
#include <future>

namespace catga::testing {
namespace {

// Adds 1 to one counter of every shard at once; the time until the last was acknowledged.
Milliseconds add_everywhere(Scene& scene, const std::vector<std::string>& keys) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::future<Result<std::int64_t>>> answers;
  for (const std::string& key : keys) {
    auto promise = std::make_shared<std::promise<Result<std::int64_t>>>();
    answers.push_back(promise->get_future());
    scene.counter(key).ask_then(
        Add{1}, [promise](Result<std::int64_t> answer) { promise->set_value(std::move(answer)); },
        AskOptions{.timeout = 10s});
  }
  for (auto& answer : answers) must(answer.get());
  return since(begin);
}

}  // namespace

TEST_CASE("three nodes, one killed under load: each acknowledged command is there exactly once") {
  if (!servers_here()) return;
  Scene scene;
  for (const char* name : {"a", "b", "c"}) scene.launch(name);
  for (const char* name : {"a", "b", "c"}) scene.expect_ready(name);
  scene.expect_up(3);
  Load load(scene.client(), {.tell_on = true});
  load.expect_progress(500);
  const std::vector<std::string> keys = Scene::key_per_shard();
  add_everywhere(scene, keys);
  scene.let_them_meet();
  const auto taken_over = [&] {
    const std::string line = "\"mode\":\"takeover\"";
    return scene.node("a").times_said(line) + scene.node("c").times_said(line);
  };
  const std::size_t before = taken_over();
  scene.node("b").kill9();
  const Milliseconds recovered = add_everywhere(scene, keys);
  MESSAGE("kill -9 to the first success on the last shard: " << recovered.count() << " ms");
  CHECK(recovered < 3s);
  CHECK(taken_over() > before);  // it had some
  load.expect_progress(500);
  load.stop();
  MESSAGE("the slowest command under way at the kill: " << load.slowest().count() << " ms");
  CHECK_MESSAGE(load.troubles() == 0, load.last_trouble());
  const auto begin = std::chrono::steady_clock::now();
  load.check();
  WARN_MESSAGE(since(begin) < 2s, "tells under way at the kill waited for a timeout");
  for (const std::string& key : keys) CHECK(must(scene.counter(key).ask(Get{})) == 2);
}

TEST_CASE("a node joins and a node leaves under load, and no call fails") {
  if (!servers_here()) return;
  Scene scene;
  scene.launch("a");
  scene.launch("b");
  scene.expect_ready("a");
  scene.expect_ready("b");
  scene.expect_up(2);
  Load load(scene.client());
  load.expect_progress(500);
  scene.start("c");
  load.expect_progress(500);
  scene.node("a").signal(SIGTERM);
  CHECK(scene.node("a").exit_code(15s) == 0);
  load.expect_progress(500);
  scene.expect_up(2);
  load.stop();
  MESSAGE("the slowest command: " << load.slowest().count() << " ms");
  CHECK_MESSAGE(load.troubles() == 0, load.last_trouble());
  load.check();
}

TEST_CASE("all nodes are replaced one after the other under load, and no call fails") {
  if (!servers_here()) return;
  Scene scene;
  for (const char* name : {"a", "b", "c"}) scene.launch(name);
  for (const char* name : {"a", "b", "c"}) scene.expect_ready(name);
  scene.expect_up(3);
  Load load(scene.client(), {.tell_on = true});
  load.expect_progress(300);
  for (const char* name : {"a", "b", "c"}) {
    INFO(name);
    scene.node(name).signal(SIGTERM);
    CHECK(scene.node(name).exit_code(15s) == 0);
    scene.start(name);
    load.expect_progress(300);
  }
  scene.expect_up(3);
  load.stop();
  MESSAGE("the slowest command: " << load.slowest().count() << " ms");
  CHECK_MESSAGE(load.troubles() == 0, load.last_trouble());
  load.check();
}

TEST_CASE("a node is replaced by its shadow under load, and no call fails") {
  if (!servers_here()) return;
  Scene scene;
  scene.launch("a");
  scene.launch("b");
  scene.expect_ready("a");
  scene.expect_ready("b");
  scene.expect_up(2);
  scene.launch("stand-in", {"--node-id", "a", "--node-shadow", "true"});
  const auto stand_in = [&scene] {
    for (const Member& member : scene.members()) {
      if (member.state == MemberState::shadow) return member.incarnation;
    }
    return Incarnation{};
  };
  REQUIRE(eventually([&] { return static_cast<bool>(stand_in()); }));
  const Incarnation shadow = stand_in();
  Load load(scene.client());
  load.expect_progress(300);
  scene.node("a").signal(SIGTERM);
  CHECK(scene.node("a").exit_code(15s) == 0);
  REQUIRE(scene.node("stand-in").says("node a is ready", 15s));
  load.expect_progress(300);
  for (const Member& member : scene.members()) {
    if (member.name == "a") CHECK(member.incarnation == shadow);
  }
  load.stop();
  CHECK_MESSAGE(load.troubles() == 0, load.last_trouble());
  load.check();
}

TEST_CASE("two of three nodes killed at once: their sessions end, then the third has everything") {
  if (!servers_here()) return;
  Scene scene;
  const Flags short_session{"--membership-session-ttl", "2s", "--membership-session-renew", "400ms",
                            "--redis-command-timeout",  "1s"};
  for (const char* name : {"a", "b", "c"}) scene.launch(name, short_session);
  for (const char* name : {"a", "b", "c"}) scene.expect_ready(name);
  scene.expect_up(3);
  Load load(scene.client());
  load.expect_progress(300);
  const std::vector<std::string> keys = Scene::key_per_shard();
  add_everywhere(scene, keys);
  scene.let_them_meet();
  scene.node("a").kill9();
  scene.node("b").kill9();
  const Milliseconds recovered = add_everywhere(scene, keys);
  MESSAGE("two of three killed, all shards served after " << recovered.count()
                                                          << " ms (session: 2000)");
  CHECK(recovered < 5s);
  load.expect_progress(300);
  load.stop();
  load.check();
  for (const std::string& key : keys) CHECK(must(scene.counter(key).ask(Get{})) == 2);
}

TEST_CASE("a node frozen for longer than its session changes nothing more and joins again") {
  if (!servers_here()) return;
  Scene scene;
  const Flags short_session{"--membership-session-ttl", "2s", "--membership-session-renew", "400ms",
                            "--redis-command-timeout",  "1s"};
  for (const char* name : {"a", "b", "c"}) scene.launch(name, short_session);
  for (const char* name : {"a", "b", "c"}) scene.expect_ready(name);
  scene.expect_up(3);
  const auto incarnation_of_c = [&] {
    for (const Member& member : scene.members())
      if (member.name == "c" && member.state == MemberState::up) return member.incarnation;
    return Incarnation{};
  };
  const Incarnation before = incarnation_of_c();
  Load load(scene.client());
  load.expect_progress(500);
  scene.node("c").pause();
  std::this_thread::sleep_for(4s);  // twice its session
  load.expect_progress(500);
  scene.node("c").resume();
  CHECK(eventually([&] { return incarnation_of_c() && incarnation_of_c() != before; }));
  scene.expect_up(3);
  load.expect_progress(500);
  load.stop();
  CHECK(scene.node("c").running());
  load.check();
}

TEST_CASE("the last node leaves, another starts, and the state is there") {
  if (!servers_here()) return;
  Scene scene;
  scene.start("a");
  CHECK(must(scene.counter("alice").ask(Add{7})) == 7);
  scene.node("a").signal(SIGTERM);
  CHECK(scene.node("a").exit_code(10s) == 0);
  const auto begin = std::chrono::steady_clock::now();
  scene.start("b");
  CHECK(must(scene.counter("alice").ask(Get{}, 10s)) == 7);
  CHECK(since(begin) < 5s);
}

TEST_CASE(
    "a name in use: the second node waits, gives up with a sentence, takes over after a death") {
  if (!servers_here()) return;
  Scene scene;
  const Flags short_session{"--membership-session-ttl", "2s", "--membership-session-renew", "400ms",
                            "--redis-command-timeout",  "1s"};
  scene.start("a", short_session);
  CHECK(must(scene.counter("alice").ask(Add{1})) == 1);
  Flags impatient = short_session;
  impatient.insert(impatient.end(), {"--start-patience", "3s", "--node-id", "a"});
  NodeProcess& second = scene.launch("second", impatient);
  CHECK(second.exit_code(6s) == 69);
  CHECK(second.has_said("the name a is in use by a living node"));
  CHECK_FALSE(second.has_said("is ready"));
  CHECK(must(scene.counter("alice").ask(Add{1})) == 2);
  scene.node("a").kill9();
  const auto begin = std::chrono::steady_clock::now();
  NodeProcess& third = scene.launch("third", impatient);
  CHECK(third.says("node a is ready", 6s));
  MESSAGE("a name taken over from a dead node, alone in its cluster, after "
          << since(begin).count() << " ms (session: 2000)");
  CHECK(must(scene.counter("alice").ask(Add{1})) == 3);
}

}  // namespace catga::testing
