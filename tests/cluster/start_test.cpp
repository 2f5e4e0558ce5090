// A node that cannot start says why, in a sentence, and ends with a code that tells a supervisor
// whether to try again.
#include <catga/persistence/keys.hpp>

#include "scene.hpp"

#include <csignal>

namespace catga::testing {

TEST_CASE(
    "without NATS a node keeps trying, says so, is not ready, and is ready once NATS is there") {
  if (!servers_here()) return;
  Scene scene;
  scene.servers.nats.stop();
  NodeProcess& node = scene.launch("a");
  CHECK(node.says("waiting for NATS", 5s));
  CHECK_FALSE(node.has_said("is ready"));
  CHECK(node.running());
  scene.servers.nats.restart();
  scene.expect_ready("a");
  CHECK(must(scene.counter("alice").ask(Add{1})) == 1);
}

TEST_CASE(
    "without Redis a node keeps trying, says so, is not ready, and is ready once Redis is there") {
  if (!servers_here()) return;
  Scene scene;
  scene.servers.redis.stop();
  NodeProcess& node = scene.launch("a");
  CHECK(node.says("waiting for Redis", 5s));
  CHECK_FALSE(node.has_said("is ready"));
  CHECK(node.running());
  scene.servers.redis.restart();
  scene.expect_ready("a");
  CHECK(must(scene.counter("alice").ask(Add{1})) == 1);
}

TEST_CASE("NATS or Redis that do not come within start.patience: exit 69 with a sentence") {
  if (!servers_here()) return;
  Scene scene;
  scene.servers.nats.stop();
  NodeProcess& without_nats = scene.launch("a", {"--start-patience", "1s"});
  CHECK(without_nats.exit_code(10s) == 69);
  CHECK(without_nats.has_said("NATS"));
  CHECK(without_nats.has_said("start.patience"));
  scene.servers.redis.stop();
  NodeProcess& without_redis = scene.launch("b", {"--start-patience", "1s"});
  CHECK(without_redis.exit_code(10s) == 69);
  CHECK(without_redis.has_said("Redis"));
  CHECK(without_redis.has_said("start.patience"));
}

TEST_CASE("SIGTERM ends a node that still waits for its servers, with 0") {
  if (!servers_here()) return;
  Scene scene;
  scene.servers.redis.stop();
  NodeProcess& node = scene.launch("a");
  CHECK(node.says("waiting for Redis", 5s));
  node.signal(SIGTERM);
  CHECK(node.exit_code(5s) == 0);
}

TEST_CASE("a wrong password is refused at once with a sentence, exit 78, and is in no log") {
  if (!servers_here()) return;
  Scene scene({.append_only = true, .password = "right-secret", .more = {}},
              {.user = "catga", .password = "right-secret"});
  const std::string right = scene.servers.redis.url();
  const std::string wrong =
      "redis://default:wrong-secret@127.0.0.1:" + std::to_string(scene.servers.redis.port()) + "/0";
  const NodeProcess::Environment nats_right{{"CATGA_NATS_USER", "catga"},
                                            {"CATGA_NATS_PASSWORD", "right-secret"}};
  const NodeProcess::Environment nats_wrong{{"CATGA_NATS_USER", "catga"},
                                            {"CATGA_NATS_PASSWORD", "wrong-secret"}};
  NodeProcess& at_redis = scene.launch("a", {"--redis-url", wrong}, nats_right);
  CHECK(at_redis.exit_code(5s) == 78);
  CHECK(at_redis.has_said("password"));
  CHECK_FALSE(at_redis.has_said("wrong-secret"));
  NodeProcess& at_nats = scene.launch("b", {}, nats_wrong);
  CHECK(at_nats.exit_code(5s) == 78);
  CHECK(at_nats.has_said("NATS"));
  CHECK(at_nats.has_said("password"));
  CHECK_FALSE(at_nats.has_said("-secret"));
  scene.launch("c", {}, nats_right);
  scene.expect_ready("c");
  CHECK_FALSE(scene.node("c").has_said("-secret"));
}

TEST_CASE("another shard count under the same name is refused: exit 78, and it says what to set") {
  if (!servers_here()) return;
  Scene scene;
  scene.start("a");
  NodeProcess& other = scene.launch("b", {"--cluster-shards", "128"});
  CHECK(other.exit_code(10s) == 78);
  CHECK(other.has_said("cluster.shards"));
  CHECK(other.has_said("64"));
  CHECK_FALSE(other.has_said("is ready"));
  CHECK(must(scene.counter("alice").ask(Add{1})) == 1);
}

TEST_CASE("another program's keys under the cluster's name are refused: exit 78, and they stay") {
  if (!servers_here()) return;
  Scene scene;
  const std::string key = ClusterKeys("test").config();
  redis_says(scene.servers.redis, {"SET", key, "not ours"});
  NodeProcess& node = scene.launch("a");
  CHECK(node.exit_code(10s) == 78);
  CHECK_FALSE(node.has_said("is ready"));
  CHECK(node.has_said("cluster.name"));
  CHECK(redis_says(scene.servers.redis, {"GET", key}) == "not ours");
}

TEST_CASE("a cluster of another make under the same name is refused: exit 78, and it says why") {
  if (!servers_here()) return;
  Scene scene;
  scene.start("a");
  scene.node("a").signal(SIGTERM);
  CHECK(scene.node("a").exit_code(10s) == 0);
  const std::string key = ClusterKeys("test").config();
  redis_says(scene.servers.redis, {"HSET", key, "fp", "catga9;S=64;md5;points=7"});
  NodeProcess& node = scene.launch("a");
  CHECK(node.exit_code(10s) == 78);
  CHECK(node.has_said("catga9"));
  CHECK_FALSE(node.has_said("is ready"));
}

TEST_CASE("an empty Redis is refused where cluster.create is off: exit 78") {
  if (!servers_here()) return;
  Scene scene;
  NodeProcess& node = scene.launch("a", {"--cluster-create", "false"});
  CHECK(node.exit_code(10s) == 78);
  CHECK(node.has_said("cluster.create"));
}

TEST_CASE("a node that finds another cluster behind its name after a while stops with 78") {
  if (!servers_here()) return;
  Scene scene;
  scene.start("a");
  scene.node("a").pause();
  redis_says(scene.servers.redis, {"FLUSHALL"});
  scene.start("b");  // makes a new cluster of the same name
  scene.node("a").resume();
  CHECK(scene.node("a").exit_code(15s) == 78);
  CHECK(scene.node("a").has_said("is another one now"));
  CHECK(must(scene.counter("alice").ask(Add{1})) == 1);
}

TEST_CASE("a clock that is wrong by more than a second is refused: exit 78; by less it is not") {
  if (!servers_here()) return;
  Scene scene;
  const auto wrong_by = [](const std::string& ms) {
    return NodeProcess::Environment{{"LD_PRELOAD", beside_this_program("libwrong_clock.so")},
                                    {"CATGA_TEST_CLOCK_WRONG_MS", ms},
                                    {"ASAN_OPTIONS", "verify_asan_link_order=0"}};
  };
  for (const std::string& ms : {std::string("2500"), std::string("-2500")}) {
    NodeProcess& node = scene.launch("a", {}, wrong_by(ms));
    CHECK(node.exit_code(5s) == 78);
    CHECK(node.has_said("clock"));
    CHECK_FALSE(node.has_said("is ready"));
  }
  scene.launch("b", {}, wrong_by("600"));
  scene.expect_ready("b");
  CHECK(must(scene.counter("alice").ask(Add{1})) == 1);
}

}  // namespace catga::testing
