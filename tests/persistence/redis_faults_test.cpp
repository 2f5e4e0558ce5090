// Redis misbehaves: scripts forgotten, memory or disk full, killed, frozen, loading, a replica, the
// wrong password.
#include <catga/persistence/redis/connection.hpp>

#include "both_stores.hpp"
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

namespace catga {
using namespace testing;
using namespace std::chrono_literals;

namespace {

const ShardId shard{3};

/// One command over a connection of its own; its text, or the text of the error.
std::string redis(const RedisServer& server, std::initializer_list<std::string_view> words) {
  const RedisOptions options = options_of(server);
  Connection connection(options);
  must(connection.open());
  connection.append(std::span(words.begin(), words.size()));
  const OwnedReply reply = must(connection.read());
  return std::string(reply.view().text());
}

RedisServer::Options in_memory_only() { return {.append_only = false, .password = "", .more = {}}; }

/// Remembers what on_link said.
struct LinkNews {
  std::mutex mutex;
  std::vector<std::pair<bool, std::string>> news;
  std::function<void(bool, std::string)> listener() {
    return [this](bool up, std::string why) {
      const std::lock_guard lock(mutex);
      news.emplace_back(up, std::move(why));
    };
  }
  std::size_t count(bool up) {
    const std::lock_guard lock(mutex);
    return static_cast<std::size_t>(
        std::count_if(news.begin(), news.end(), [up](const auto& one) { return one.first == up; }));
  }
  std::string last() {
    const std::lock_guard lock(mutex);
    return news.empty() ? "" : news.back().second;
  }
};

}  // namespace

TEST_CASE("forgotten scripts are loaded again and nobody notices") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  RedisStores stores(options_of(server));
  const OwnerToken token = claim(stores, shard, node(1));
  std::atomic<bool> stop{false};
  std::thread flusher([&] {
    while (!stop) redis(server, {"SCRIPT", "FLUSH"});
  });
  std::vector<Pending<Committed>> pending;
  for (int i = 0; i < 500; ++i) {
    const Commit one = commit_of(shard, token, "k" + std::to_string(i), "", "1.aa", "s");
    pending.emplace_back(
        [&](Then<Committed> then) { stores.state().commit(one, std::move(then)); });
    if (i == 250) redis(server, {"SCRIPT", "FLUSH"});
  }
  stop = true;
  flusher.join();
  redis(server, {"SCRIPT", "FLUSH"});
  CHECK(commit(stores, commit_of(shard, token, "after", "", "1.aa", "s")).outcome ==
        Committed::Outcome::ok);
  CHECK(renew(stores, node(1)).alive == false);
  for (auto& one : pending) CHECK(must(one.get()).outcome == Committed::Outcome::ok);
}

TEST_CASE(
    "with full memory commits are refused whole, while ownership, sessions, loads and trims go "
    "on") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  RedisStores stores(options_of(server));
  const OwnerToken token = claim(stores, shard, node(1));
  join(stores, join_of(1, "a"));
  Commit first = commit_of(shard, token, "alice", "", "1.aa", "one");
  first.outbox = {"x"};
  const Committed written = commit(stores, first);
  redis(server, {"CONFIG", "SET", "maxmemory", "1mb"});
  const auto refused = try_commit(stores, commit_of(shard, token, "alice", "1.aa", "2.aa", "two"));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::overloaded);
  CHECK(renew(stores, node(1)).alive);
  CHECK(join(stores, join_of(2, "b")).outcome == Joined::Outcome::ok);
  CHECK(load(stores, load_of(shard, token, "alice")).state == "one");
  CHECK(trim(stores, shard, token, written.outbox[0]));
  const OwnerToken next = *exchange(stores, shard, token, node(1), "bump").record.token;
  redis(server, {"CONFIG", "SET", "maxmemory", "0"});
  CHECK(commit(stores, commit_of(shard, next, "alice", "1.aa", "2.aa", "two")).outcome ==
        Committed::Outcome::ok);
}

TEST_CASE("of sixteen nodes that race for fifty shards each shard goes to one") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  std::vector<std::unique_ptr<RedisStores>> nodes;
  for (int i = 0; i < 16; ++i) {
    RedisOptions options = options_of(server);
    options.connections = 1;
    nodes.push_back(std::make_unique<RedisStores>(options));
  }
  std::vector<Pending<Exchanged>> pending;
  for (std::uint32_t s = 0; s < 50; ++s) {
    for (std::uint64_t n = 0; n < 16; ++n) {
      const Exchange wanted{ShardId{s}, std::nullopt, node(n), "n" + std::to_string(n),
                            ViewVersion{1}};
      pending.emplace_back(
          [&](Then<Exchanged> then) { nodes[n]->owners().exchange(wanted, std::move(then)); });
    }
  }
  std::map<std::uint32_t, int> winners;
  for (std::size_t i = 0; i < pending.size(); ++i) {
    const Exchanged answer = must(pending[i].get());
    const auto s = static_cast<std::uint32_t>(i / 16);
    if (answer.done) ++winners[s];
    CHECK(answer.done == (answer.record.owner() == node(i % 16)));
  }
  for (std::uint32_t s = 0; s < 50; ++s) CHECK(winners[s] == 1);
}

TEST_CASE("an epoch near 2^53 is printed digit by digit") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  RedisStores stores(options_of(server));
  redis(server, {"HSET", "{test:3}:o", "e", "9007199254740990"});
  const Exchanged claimed = exchange(stores, shard, {}, node(1), "n");
  CHECK(claimed.record.epoch.value == 9007199254740991);
  CHECK(exchange(stores, shard, claimed.record.token, node(1), "m").record.epoch.value ==
        9007199254740992);
}

TEST_CASE("a key of a wrong type fails its own entity, not those that share the call") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  RedisStores stores(options_of(server));
  const OwnerToken token = claim(stores, shard, node(1));
  redis(server, {"SET", "{test:3}:e:account/k5", "no hash"});
  std::vector<Pending<Committed>> pending;
  for (int i = 0; i < 20; ++i) {
    const Commit one = commit_of(shard, token, "k" + std::to_string(i), "", "1.aa", "s");
    pending.emplace_back(
        [&](Then<Committed> then) { stores.state().commit(one, std::move(then)); });
  }
  for (std::size_t i = 0; i < pending.size(); ++i) {
    const auto result = pending[i].get();
    if (i == 5) {
      REQUIRE_FALSE(result.ok());
      CHECK(result.error().code == Code::failed);
    } else {
      REQUIRE(result.ok());
      CHECK((result->outcome == Committed::Outcome::ok ||
             result->outcome == Committed::Outcome::already));
    }
  }
}

TEST_CASE(
    "Redis killed and restarted under load: each request is answered once, and what was "
    "acknowledged is there") {
  if (!redis_here()) return;
  RedisServer server({.append_only = true, .password = "", .more = {"--appendfsync", "always"}});
  LinkNews link;
  RedisOptions options = options_of(server);
  options.on_link = link.listener();
  options.pending = 100'000;
  RedisStores stores(options);
  const OwnerToken token = claim(stores, shard, node(1));
  std::atomic<bool> stop{false};
  std::vector<Commit> commits;
  std::vector<Pending<Committed>> pending;
  std::thread load_maker([&] {
    for (int i = 0; !stop; ++i) {
      commits.push_back(
          commit_of(shard, token, "k" + std::to_string(i), "", "1.aa", std::to_string(i)));
      pending.emplace_back(
          [&](Then<Committed> then) { stores.state().commit(commits.back(), std::move(then)); });
      if (i % 20 == 19) std::this_thread::sleep_for(300us);
    }
  });
  const bool flowing = eventually([&] {
    return redis(server, {"EXISTS", "x"}).empty() &&
           load(stores, load_of(shard, token, "k200")).version == "1.aa";
  });
  server.kill9();
  server.restart();
  const bool back = eventually([&] { return link.count(true) >= 2; });
  stop = true;
  load_maker.join();
  REQUIRE(flowing);
  REQUIRE(back);
  CHECK(link.last().find("another primary") != std::string::npos);
  std::size_t unknown = 0, unavailable = 0;
  for (std::size_t i = 0; i < pending.size(); ++i) {
    const auto result = pending[i].get();
    if (result) {
      REQUIRE(result->outcome == Committed::Outcome::ok);
      REQUIRE(load(stores, load_of(shard, token, "k" + std::to_string(i))).state ==
              std::to_string(i));
      continue;
    }
    unavailable += result.error().code == Code::unavailable;
    unknown += result.error().code == Code::unknown;
    const Committed again = commit(stores, commits[i]);  // safe, whatever became of it
    CHECK(
        (again.outcome == Committed::Outcome::ok || again.outcome == Committed::Outcome::already));
    if (result.error().code == Code::unavailable) CHECK(again.outcome == Committed::Outcome::ok);
  }
  MESSAGE(pending.size() << " commits, " << unknown << " unknown, " << unavailable
                         << " unavailable");
  CHECK(unknown <= options.batch);  // one trip of the one pipeline this shard has
}

TEST_CASE(
    "a frozen Redis: the commit in flight is unknown, runs late and harmlessly; later requests are "
    "unavailable") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  RedisOptions options = options_of(server);
  options.command_timeout = 300ms;
  options.connect_timeout = 300ms;
  RedisStores stores(options);
  const OwnerToken token = claim(stores, shard, node(1));
  load(stores, load_of(shard, token, "alice"));
  server.pause();
  const Commit frozen = commit_of(shard, token, "alice", "", "1.aa", "one");
  const auto unanswered = try_commit(stores, frozen);
  REQUIRE_FALSE(unanswered.ok());
  CHECK(unanswered.error().code == Code::unknown);
  const auto asked = std::chrono::steady_clock::now();
  const auto later = try_commit(stores, commit_of(shard, token, "bob", "", "1.aa", "one"));
  REQUIRE_FALSE(later.ok());
  CHECK(later.error().code == Code::unavailable);
  CHECK(std::chrono::steady_clock::now() - asked < 5s);
  server.resume();
  const Committed again = [&] {
    Result<Committed> result = try_commit(stores, frozen);
    while (!result) result = try_commit(stores, frozen);
    return *result;
  }();
  CHECK((again.outcome == Committed::Outcome::ok || again.outcome == Committed::Outcome::already));
  CHECK(load(stores, load_of(shard, token, "alice")).version == "1.aa");
  CHECK(load(stores, load_of(shard, token, "bob")).version.empty());
}

TEST_CASE("a late commit of a connection that is gone finds another version and writes nothing") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  RedisOptions options = options_of(server);
  options.command_timeout = 300ms;
  auto first = std::make_unique<RedisStores>(options);
  const OwnerToken token = claim(*first, shard, node(1));
  load(*first, load_of(shard, token, "alice"));
  server.pause();
  CHECK(try_commit(*first, commit_of(shard, token, "alice", "", "1.late", "late")).error().code ==
        Code::unknown);
  server.resume();
  // Whichever of the two runs first wins, the other is told so: never both.
  const Committed other = commit(*first, commit_of(shard, token, "alice", "", "1.new", "new"));
  const Loaded loaded = load(*first, load_of(shard, token, "alice"));
  CHECK(loaded.version == (other.outcome == Committed::Outcome::ok ? "1.new" : "1.late"));
}

TEST_CASE("a full disk (MISCONF) is unavailable, and passes when the disk is well again") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  RedisStores stores(options_of(server));
  const OwnerToken token = claim(stores, shard, node(1));
  redis(server, {"CONFIG", "SET", "save", "3600 1"});
  const std::string in_the_way =
      server.folder() + "/dump.rdb";  // a folder cannot be replaced by a file
  REQUIRE(::mkdir(in_the_way.c_str(), 0700) == 0);
  redis(server, {"BGSAVE"});
  REQUIRE(eventually([&] {
    return redis(server, {"INFO", "persistence"}).find("rdb_last_bgsave_status:err") !=
           std::string::npos;
  }));
  const auto refused = try_commit(stores, commit_of(shard, token, "alice", "", "1.aa", "one"));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::unavailable);
  CHECK(refused.error().text.find("MISCONF") != std::string::npos);
  redis(server, {"CONFIG", "SET", "stop-writes-on-bgsave-error", "no"});
  CHECK(commit(stores, commit_of(shard, token, "alice", "", "1.aa", "one")).outcome ==
        Committed::Outcome::ok);
}

TEST_CASE("a Redis that loads its data is not ready yet: unavailable, and later it works") {
  if (!redis_here()) return;
  RedisServer server({.append_only = false,
                      .password = "",
                      .more = {"--save", "3600 1", "--key-load-delay", "5000",
                               "--loading-process-events-interval-bytes", "1024"}});
  RedisOptions options = options_of(server);
  RedisStores stores(options);
  const OwnerToken token = claim(stores, shard, node(1));
  std::string version;
  for (int i = 0; i < 200; ++i) {
    commit(stores,
           commit_of(shard, token, "k" + std::to_string(i), "", "1.aa", std::string(200, 's')));
  }
  std::atomic<bool> stop{false};
  std::atomic<int> loading{0}, wrong{0};
  std::thread looker([&] {
    while (!stop) {
      const Status status = check_boot(options);
      if (status) continue;
      wrong += status.error().code != Code::unavailable;
      loading += status.error().text.find("LOADING") != std::string::npos;
    }
  });
  server.restart();
  stop = true;
  looker.join();
  CHECK(wrong == 0);
  CHECK(loading > 0);
  CHECK(load(stores, load_of(shard, token, "k199")).version == "1.aa");
}

TEST_CASE("boot checks pass on a good Redis and say what to do about a bad one") {
  if (!redis_here()) return;
  RedisServer server({.append_only = false, .password = "right-secret", .more = {}});
  CHECK(RedisStores(options_of(server)).check_boot().ok());

  RedisOptions wrong = options_of(server);
  wrong.password = "wrong-secret";
  const Status refused = check_boot(wrong);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::malformed);
  CHECK(refused.error().text.find("secret") == std::string::npos);
  CHECK(refused.error().text.find("redis.password") != std::string::npos);
  wrong.password.clear();
  CHECK(check_boot(wrong).error().code == Code::malformed);
  RedisOptions database = options_of(server);
  database.database = 4000;
  CHECK(check_boot(database).error().code == Code::malformed);

  redis(server, {"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"});
  RedisOptions policy = options_of(server);
  CHECK(check_boot(policy).error().code == Code::malformed);
  CHECK(check_boot(policy).error().text.find("noeviction") != std::string::npos);
  policy.check_policy = false;
  CHECK(check_boot(policy).ok());

  redis(server, {"REPLICAOF", "127.0.0.1", "1"});
  CHECK(check_boot(options_of(server)).error().code == Code::unavailable);
  CHECK(check_boot(options_of(server)).error().text.find("replica") != std::string::npos);
  const RedisOptions gone = options_of(server);
  server.kill9();
  CHECK(check_boot(gone).error().code == Code::unavailable);
}

TEST_CASE("a primary that becomes a replica refuses, is left, and is found again as a primary") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  LinkNews link;
  RedisOptions options = options_of(server);
  options.command_timeout = 300ms;
  options.on_link = link.listener();
  RedisStores stores(options);
  const OwnerToken token = claim(stores, shard, node(1));
  REQUIRE(eventually([&] { return link.count(true) == 1; }));
  redis(server, {"REPLICAOF", "127.0.0.1", "1"});
  CHECK(try_commit(stores, commit_of(shard, token, "alice", "", "1.aa", "one")).error().code ==
        Code::unavailable);
  const auto read = ask<OwnerRecord>(
      [&](Then<OwnerRecord> then) { stores.owners().read(shard, std::move(then)); });
  CHECK(read.error().code == Code::unavailable);  // not what a replica remembers
  CHECK(eventually([&] { return link.count(false) == 1; }));
  redis(server, {"REPLICAOF", "NO", "ONE"});
  CHECK(eventually([&] { return link.count(true) >= 2; }));
  CHECK(commit(stores, commit_of(shard, token, "alice", "", "1.aa", "one")).outcome ==
        Committed::Outcome::ok);
}

TEST_CASE("with wait_replicas an answer waits for a replica, and is unknown without one") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  RedisOptions options = options_of(server);
  options.wait_replicas = 1;
  options.wait_timeout = 50ms;
  options.command_timeout = 300ms;
  RedisStores stores(options);
  const Exchange wanted{shard, std::nullopt, node(1), "n", ViewVersion{1}};
  const auto claim_it = [&] {
    return ask<Exchanged>(
        [&](Then<Exchanged> then) { stores.owners().exchange(wanted, std::move(then)); });
  };
  const auto alone = claim_it();
  REQUIRE_FALSE(alone.ok());
  CHECK(alone.error().code == Code::unknown);
  RedisServer replica(in_memory_only());
  const std::string port = std::to_string(server.port());
  redis(replica, {"REPLICAOF", "127.0.0.1", port});
  Result<Exchanged> claimed = alone;
  REQUIRE(eventually([&] { return (claimed = claim_it()).ok(); }));
  CHECK(claimed->done);
  // Unknown for as long as the replica does not acknowledge in time: then the same commit again.
  const Commit first = commit_of(shard, *claimed->record.token, "alice", "", "1.aa", "one");
  CHECK(eventually([&] { return try_commit(stores, first).ok(); }));
}

TEST_CASE("what too few replicas have is not shown to readers either") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only()), replica(in_memory_only());
  const std::string port = std::to_string(server.port());
  redis(replica, {"REPLICAOF", "127.0.0.1", port});
  RedisOptions options = options_of(server);
  options.wait_replicas = 1;
  options.wait_timeout = 50ms;
  options.command_timeout = 300ms;
  RedisStores stores(options);
  Result<Exchanged> claimed = Error{Code::unknown, ""};
  REQUIRE(eventually([&] {
    claimed = ask<Exchanged>([&](Then<Exchanged> then) {
      stores.owners().exchange({shard, std::nullopt, node(1), "n", ViewVersion{1}},
                               std::move(then));
    });
    return claimed.ok();
  }));
  const OwnerToken token = *claimed->record.token;
  const auto load = [&] {
    return ask<Loaded>([&](Then<Loaded> then) {
      Load wanted;
      wanted.shard = shard;
      wanted.token = token;
      wanted.entity = {"account", "alice"};
      stores.state().load(wanted, std::move(then));
    });
  };
  REQUIRE(eventually([&] { return load().ok(); }));
  redis(replica, {"REPLICAOF", "NO", "ONE"});
  const Commit first = commit_of(shard, token, "alice", "", "1.aa", "one");
  CHECK(try_commit(stores, first).error().code == Code::unknown);
  // It is there, and with its operation ids: an answer from them would be as unsafe as its own was.
  CHECK(load().error().code == Code::unavailable);
  redis(replica, {"REPLICAOF", "127.0.0.1", port});
  CHECK(eventually([&] { return load().ok(); }));
}

TEST_CASE(
    "without a server requests wait for command_timeout, and a full queue is overloaded at once") {
  RedisOptions options;
  options.cluster = "test";
  options.port = 1;  // nobody listens there
  options.command_timeout = 200ms;
  options.pending = 3;
  LinkNews link;
  options.on_link = link.listener();
  RedisStores stores(options);
  std::vector<Pending<OwnerRecord>> pending;
  for (std::uint32_t i = 0; i < 5; ++i) {
    pending.emplace_back(
        [&](Then<OwnerRecord> then) { stores.owners().read(ShardId{i}, std::move(then)); });
  }
  int overloaded = 0, unavailable = 0;
  for (auto& one : pending) {
    const auto result = one.get();
    REQUIRE_FALSE(result.ok());
    overloaded += result.error().code == Code::overloaded;
    unavailable += result.error().code == Code::unavailable;
  }
  CHECK(overloaded == 2);
  CHECK(unavailable == 3);
  CHECK(eventually([&] { return link.count(false) == 1; }));
  CHECK(link.count(true) == 0);
}

TEST_CASE("what waits when the store is closed is answered") {
  RedisOptions options;
  options.cluster = "test";
  options.port = 1;
  auto stores = std::make_unique<RedisStores>(options);
  Pending<Committed> pending([&](Then<Committed> then) {
    stores->state().commit(commit_of(shard, {Epoch{1}, node(1)}, "a", "", "1.a", "s"),
                           std::move(then));
  });
  stores.reset();
  CHECK(pending.get().error().code == Code::unavailable);
}

TEST_CASE("the member store of its own talks to the same cluster") {
  if (!redis_here()) return;
  RedisServer server(in_memory_only());
  RedisStores stores(options_of(server));
  const auto members = make_redis_member_store(options_of(server));
  CHECK(join(stores, join_of(1, "a")).outcome == Joined::Outcome::ok);
  const auto view = must(
      ask<MembershipView>([&](Then<MembershipView> then) { members->read_view(std::move(then)); }));
  CHECK(view == view_of(stores));
}

}  // namespace catga
