// Redis fails over under load, by Sentinel, with WAIT 1: what was acknowledged is there, once.
#include "scene.hpp"

namespace catga::testing {

TEST_CASE("Redis fails over to a replica under load: nothing lost, nothing twice, all go on") {
  if (!servers_here()) return;
  RedisGroup group({.replicas = 2, .sentinels = 1});
  Scene scene;
  const Flags flags{"--redis-sentinels", group.sentinels(), "--redis-wait-replicas", "1"};
  for (const char* name : {"a", "b", "c"}) scene.launch(name, flags);
  for (const char* name : {"a", "b", "c"}) scene.expect_ready(name);
  Config config = scene.config("client");
  config.redis.sentinels = {group.sentinels()};
  Client client{config};
  must(client.connect());
  Load load(client, {.tell_on = true, .timeout = 1s, .patience = 60s});
  load.expect_progress(300);
  group.server(0).kill9();
  load.expect_progress(300, 60s);
  CHECK(scene.node("a").says("catga.redis.rolled_back", 15s));  // once its shards are settled
  CHECK(scene.node("a").has_said("\"shards_audited\":"));
  CHECK(scene.node("a").has_said("\"shards_lost\":"));
  load.expect_progress(300, 30s);
  load.stop();
  for (const char* name : {"a", "b", "c"}) CHECK(scene.node(name).running());
  load.check();
}

}  // namespace catga::testing
