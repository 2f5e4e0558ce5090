// Another primary: found through sentinels, told once, and no connection stays behind.
#include <catga/persistence/redis/connection.hpp>
#include <catga/persistence/redis/primary_watch.hpp>

#include "both_stores.hpp"
#include <doctest/doctest.h>
#include <hiredis/hiredis.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

namespace catga {
using namespace testing;
using namespace std::chrono_literals;

namespace {

const ShardId shard{3};

std::string redis(const RedisServer& server, std::initializer_list<std::string_view> words) {
  const RedisOptions options = options_of(server);
  Connection connection(options);
  must(connection.open());
  connection.append(std::span(words.begin(), words.size()));
  const OwnedReply reply = must(connection.read());
  return std::string(reply.view().text());
}

std::string run_id_of(const RedisServer& server) {
  return std::string(info_field(redis(server, {"INFO", "server"}), "run_id"));
}
std::string role_of(const RedisServer& server) {
  return std::string(info_field(redis(server, {"INFO", "replication"}), "role"));
}
/// Whether anybody has run a script there since it was started.
bool has_run_scripts(const RedisServer& server) {
  return redis(server, {"INFO", "commandstats"}).find("cmdstat_eval") != std::string::npos;
}

/// Until the replica has all that was written so far.
bool replicated(const RedisServer& primary) {
  const RedisOptions options = options_of(primary);
  return eventually([&options] {
    Connection connection(options);
    must(connection.open());
    connection.append(std::initializer_list<std::string_view>{"WAIT", "1", "1000"});
    return must(connection.read()).view().number() == 1;
  });
}

/// Remembers what was told about primaries.
struct Changes {
  std::mutex mutex;
  std::vector<std::pair<std::string, std::string>> told;
  std::shared_ptr<PrimaryWatch> watch = std::make_shared<PrimaryWatch>(
      [this](const std::string& run_id_old, const std::string& run_id_new) {
        const std::lock_guard lock(mutex);
        told.emplace_back(run_id_old, run_id_new);
      });
  std::size_t count() {
    const std::lock_guard lock(mutex);
    return told.size();
  }
  std::pair<std::string, std::string> last() {
    const std::lock_guard lock(mutex);
    return told.empty() ? std::pair<std::string, std::string>{} : told.back();
  }
};

std::vector<RedisAddress> addresses(const std::string& list) {
  std::vector<RedisAddress> all;
  for (std::size_t from = 0; from < list.size();) {
    const std::size_t to = std::min(list.find(',', from), list.size());
    all.push_back(must(parse_sentinel(std::string_view(list).substr(from, to - from))));
    from = to + 1;
  }
  return all;
}

/// Host and port of the URL lead nowhere: nobody may use them.
RedisOptions by_sentinels(const std::string& list) {
  RedisOptions options;
  options.cluster = "test";
  options.port = 1;
  options.connect_timeout = 500ms;
  options.command_timeout = 500ms;
  options.sentinels = addresses(list);
  return options;
}

/// Commits until it is done; by a repeat, if the first answer was lost.
bool commit_at_last(Stores& stores, const Commit& wanted) {
  return eventually([&] {
    const auto done = try_commit(stores, wanted);
    return done.ok() && (done->outcome == Committed::Outcome::ok ||
                         done->outcome == Committed::Outcome::already);
  });
}

bool can_read(MemberStore& members) {
  return ask<MembershipView>([&](Then<MembershipView> then) { members.read_view(std::move(then)); })
      .ok();
}

/// What a server would send, made by hand.
struct FakeReply {
  explicit FakeReply(std::vector<std::string> given) : texts(std::move(given)) {
    for (std::string& text : texts) {
      redisReply& part = parts.emplace_back();
      part.type = REDIS_REPLY_STRING;
      part.str = text.data();
      part.len = text.size();
    }
    for (redisReply& part : parts) pointers.push_back(&part);
    whole.type = REDIS_REPLY_ARRAY;
    whole.elements = pointers.size();
    whole.element = pointers.data();
  }
  FakeReply(int type, const std::string& text) : FakeReply({text}) {
    whole = parts.front();
    whole.type = type;
  }
  std::vector<std::string> texts;
  std::vector<redisReply> parts;
  std::vector<redisReply*> pointers;
  redisReply whole{};
};

}  // namespace

// ---- without servers ----------------------------------------------------------------------------

TEST_CASE("a sentinel is written as host:port; the port may be left out") {
  CHECK(must(parse_sentinel("redis.local:26380")) == RedisAddress{"redis.local", 26380});
  CHECK(must(parse_sentinel("redis.local")) == RedisAddress{"redis.local", 26379});
  CHECK(must(parse_sentinel("[::1]:7000")) == RedisAddress{"::1", 7000});
  CHECK(text_of({"::1", 7000}) == "[::1]:7000");
  for (const std::string wrong :
       {"", ":1", "h:0", "h:65536", "h:x", "[::1", "redis://h:1", "a b"}) {
    CAPTURE(wrong);
    const auto parsed = parse_sentinel(wrong);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().code == Code::malformed);
    CHECK(parsed.error().text.find("host:port") != std::string::npos);
  }
  CHECK(parse_sentinel("me:secret@h:1").error().text.find("secret") == std::string::npos);
}

TEST_CASE("a sentinel's answer leads to an address, or says why not") {
  const FakeReply good({"10.0.0.7", "6380"});
  CHECK(must(primary_in(Reply(&good.whole), "catga")) == RedisAddress{"10.0.0.7", 6380});
  redisReply nothing{};
  nothing.type = REDIS_REPLY_NIL;
  const auto unknown = primary_in(Reply(&nothing), "catga");
  CHECK(unknown.error().code == Code::unavailable);
  CHECK(unknown.error().text == "does not know catga");
  const FakeReply login(REDIS_REPLY_ERROR, "NOAUTH Authentication required.");
  CHECK(primary_in(Reply(&login.whole), "catga").error().code == Code::malformed);
  const FakeReply server(REDIS_REPLY_ERROR, "ERR unknown command 'SENTINEL', with args");
  CHECK(primary_in(Reply(&server.whole), "catga").error().text ==
        "is no sentinel but another server");
  for (const auto& texts : std::vector<std::vector<std::string>>{
           {}, {"h"}, {"", "1"}, {"h", "0"}, {"h", "65536"}, {"h", "x"}, {"h", "1", "2"}}) {
    const FakeReply strange(texts);
    CHECK_FALSE(primary_in(Reply(&strange.whole), "catga").ok());
  }
}

TEST_CASE("the first primary is no change; another run id is told once, before anybody goes on") {
  Changes changes;
  PrimaryWatch& watch = *changes.watch;
  const RedisAddress here{"a", 1}, there{"b", 2};
  CHECK(watch.primary_id().empty());
  const std::uint64_t first = watch.term();
  CHECK(watch.met("one", here, first) == first);
  CHECK(watch.met("one", here, first) == first);
  CHECK(changes.count() == 0);
  const auto second = watch.met("two", there, first);
  REQUIRE(second);
  CHECK(*second != first);  // who stands in the first term must leave
  CHECK(watch.met("two", there, *second) == *second);
  CHECK(changes.count() == 1);
  CHECK(changes.last() == std::pair<std::string, std::string>{"one", "two"});
  CHECK(watch.primary_id() == "two");
}

TEST_CASE("a connection that was on its way to the old primary is refused") {
  Changes changes;
  PrimaryWatch& watch = *changes.watch;
  const std::uint64_t began = watch.term();
  REQUIRE(watch.met("one", {"a", 1}, began));
  REQUIRE(watch.met("two", {"b", 2}, began));
  CHECK_FALSE(watch.met("one", {"a", 1}, began));
  CHECK(watch.primary_id() == "two");
  CHECK(changes.count() == 1);
}

TEST_CASE("a sentinel that names another address ends the term, once until somebody arrives") {
  PrimaryWatch watch;
  CHECK_FALSE(watch.named({"b", 2}));  // nobody stands anywhere
  const std::uint64_t began = watch.term();
  REQUIRE(watch.met("one", {"a", 1}, began));
  CHECK_FALSE(watch.named({"a", 1}));
  CHECK(watch.named({"b", 2}));
  CHECK(watch.term() != began);
  CHECK_FALSE(watch.named({"b", 2}));
  CHECK_FALSE(watch.met("one", {"a", 1}, began));
  REQUIRE(watch.met("two", {"b", 2}, watch.term()));
  CHECK(watch.named({"a", 1}));
}

// ---- without sentinels --------------------------------------------------------------------------

TEST_CASE("a Redis that was restarted is another primary, told once for all stores of a process") {
  if (!redis_here()) return;
  RedisServer server;
  Changes changes;
  RedisOptions options = options_of(server);
  options.command_timeout = 300ms;
  options.primary = changes.watch;
  RedisStores stores(options);
  const auto members = make_redis_member_store(options);
  const OwnerToken token = claim(stores, shard, node(1));
  const std::string before = run_id_of(server);
  CHECK(stores.primary_id() == before);
  server.restart();
  CHECK(commit_at_last(stores, commit_of(shard, token, "alice", "", "1.aa", "one")));
  CHECK(eventually([&] { return can_read(*members); }));
  CHECK(changes.count() == 1);
  CHECK(changes.last() == std::pair{before, run_id_of(server)});
  CHECK(stores.primary_id() == run_id_of(server));
}

TEST_CASE("a change of the primary is told before any request of the process runs at the new one") {
  if (!redis_here()) return;
  RedisServer server;
  std::atomic<int> told{0}, too_late{0};
  RedisOptions options = options_of(server);
  options.connections = 4;
  options.primary = std::make_shared<PrimaryWatch>([&](const std::string&, const std::string&) {
    std::this_thread::sleep_for(100ms);  // keeps the door: whoever could slip through does
    too_late += has_run_scripts(server);
    ++told;
  });
  RedisStores stores(options);
  const OwnerToken token = claim(stores, shard, node(1));
  server.kill9();
  std::vector<Pending<Loaded>> waiting;  // at each of the pipelines
  for (std::uint32_t i = 0; i < 8; ++i) {
    waiting.emplace_back([&](Then<Loaded> then) {
      stores.state().load(load_of(ShardId{i}, token, "alice"), std::move(then));
    });
  }
  server.restart();
  for (auto& one : waiting) (void)one.get();
  CHECK(eventually([&] { return has_run_scripts(server); }));
  CHECK(told == 1);
  CHECK(too_late == 0);
}

TEST_CASE("a redis.url that leads to a replica is refused at the start and waited for later on") {
  if (!redis_here()) return;
  RedisServer primary({.append_only = false, .password = "", .more = {}});
  RedisServer replica({.append_only = false,
                       .password = "",
                       .more = {"--replicaof", "127.0.0.1", std::to_string(primary.port())}});
  RedisOptions options = options_of(replica);
  options.command_timeout = 300ms;
  RedisStores stores(options);
  const Status boot = stores.check_boot();
  REQUIRE_FALSE(boot.ok());
  CHECK(boot.error().code == Code::unavailable);
  CHECK(boot.error().text.find("is a replica; point redis.url at the primary") !=
        std::string::npos);
  const auto read = ask<OwnerRecord>(
      [&](Then<OwnerRecord> then) { stores.owners().read(shard, std::move(then)); });
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().text.find("is a replica; waiting for a primary") != std::string::npos);
  redis(replica, {"REPLICAOF", "NO", "ONE"});
  CHECK(eventually([&] { return stores.check_boot().ok(); }));
  CHECK(eventually([&] {
    return ask<OwnerRecord>(
               [&](Then<OwnerRecord> then) { stores.owners().read(shard, std::move(then)); })
        .ok();
  }));
}

// ---- with sentinels -----------------------------------------------------------------------------

TEST_CASE(
    "after kill -9 of the primary commits go on at the promoted replica, and the old primary that "
    "comes back is not written to") {
  if (!redis_here()) return;
  RedisGroup group;
  Changes changes;
  RedisOptions options = by_sentinels(group.sentinels());
  options.primary = changes.watch;
  RedisStores stores(options);
  const auto members = make_redis_member_store(options);
  REQUIRE(stores.check_boot().ok());
  const OwnerToken token = claim(stores, shard, node(1));
  commit(stores, commit_of(shard, token, "alice", "", "1.aa", "one"));
  join(stores, join_of(1, "a"));
  const std::string old_id = run_id_of(group.server(0)), new_id = run_id_of(group.server(1));
  CHECK(stores.primary_id() == old_id);
  REQUIRE(replicated(group.server(0)));

  group.server(0).kill9();
  CHECK(commit_at_last(stores, commit_of(shard, token, "alice", "1.aa", "2.bb", "two")));
  CHECK(group.named_port() == group.server(1).port());
  CHECK(eventually([&] { return can_read(*members); }));
  CHECK(changes.count() == 1);
  CHECK(changes.last() == std::pair{old_id, new_id});
  CHECK(stores.primary_id() == new_id);

  group.server(0).restart();  // as a primary: the sentinel demotes it some 10 s later
  REQUIRE(role_of(group.server(0)) == "master");
  RedisStores fresh(options);
  CHECK(fresh.check_boot().ok());
  CHECK(commit(fresh, commit_of(shard, token, "alice", "2.bb", "3.cc", "three")).outcome ==
        Committed::Outcome::ok);
  CHECK(commit(stores, commit_of(shard, token, "alice", "3.cc", "4.dd", "four")).outcome ==
        Committed::Outcome::ok);
  CHECK_FALSE(has_run_scripts(group.server(0)));
  CHECK(has_run_scripts(group.server(1)));
  CHECK(changes.count() == 1);
}

TEST_CASE("a primary that slept through its deposition is left before it is written to again") {
  if (!redis_here()) return;
  RedisGroup group;
  RedisOptions options = by_sentinels(group.sentinels());
  options.command_timeout = 15s;  // so long that no connection is lost by silence
  const auto watch = std::make_shared<PrimaryWatch>();
  options.primary = watch;
  RedisStores stores(options);
  const OwnerToken token = claim(stores, shard, node(1));
  commit(stores, commit_of(shard, token, "alice", "", "1.aa", "one"));
  REQUIRE(replicated(group.server(0)));
  redis(group.server(0), {"CONFIG", "RESETSTAT"});
  const std::uint64_t term = watch->term();
  group.server(0).pause();
  REQUIRE(eventually([&] { return watch->term() != term; }));  // a sentinel has named the other
  group.server(0).resume();
  CHECK(commit_at_last(stores, commit_of(shard, token, "alice", "1.aa", "2.bb", "two")));
  CHECK(stores.primary_id() == run_id_of(group.server(1)));
  CHECK_FALSE(has_run_scripts(group.server(0)));
}

TEST_CASE("with wait_replicas = 1 a failover loses no acknowledged commit") {
  if (!redis_here()) return;
  RedisGroup group;
  RedisOptions options = by_sentinels(group.sentinels());
  options.wait_replicas = 1;
  RedisStores stores(options);
  const OwnerToken token = claim(stores, shard, node(1));
  constexpr int in_flight = 16, most = 100'000;
  std::atomic<int> acknowledged{0};
  std::mutex mutex;
  std::map<std::string, bool> kept;  // by key: acknowledged
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int writer = 0; writer < in_flight; ++writer) {
    writers.emplace_back([&, writer] {
      for (int i = 0; i < most && !stop; ++i) {
        const std::string key = std::to_string(writer) + '-' + std::to_string(i);
        const auto done = try_commit(stores, commit_of(shard, token, key, "", "1.aa", key));
        const bool ok = done.ok() && done->outcome == Committed::Outcome::ok;
        acknowledged += ok;
        const std::lock_guard lock(mutex);
        kept[key] = ok;
        if (!done.ok()) return;  // unknown or unavailable: the failover has begun
      }
    });
  }
  REQUIRE(eventually([&] { return acknowledged > 500; }));
  const std::string next_primary = run_id_of(group.server(1));  // a sentinel cuts connections there
  group.server(0).kill9();                                      // in the middle of trips
  for (std::thread& writer : writers) writer.join();
  REQUIRE(eventually([&] { return stores.primary_id() == next_primary; }));
  // Nobody is left to acknowledge: unknown, until there is a replica again.
  const Commit next = commit_of(shard, token, "next", "", "1.aa", "one");
  const auto alone = try_commit(stores, next);
  REQUIRE_FALSE(alone.ok());
  CHECK(alone.error().code == Code::unknown);
  redis(group.server(1), {"CONFIG", "SET", "repl-diskless-sync-delay", "0"});
  RedisServer replica(
      {.append_only = false,
       .password = "",
       .more = {"--replicaof", "127.0.0.1", std::to_string(group.server(1).port())}});
  CHECK(commit_at_last(stores, next));

  // Only now: what is read waits for replicas as well, while a write does.
  int lost = 0;
  for (const auto& [key, acknowledged_then] : kept) {
    if (!acknowledged_then) continue;
    lost += load(stores, load_of(shard, token, key)).state != key;
  }
  CHECK(lost == 0);
}

TEST_CASE("three sentinels agree on a failover, and one in the list that is dead is passed over") {
  if (!redis_here()) return;
  RedisGroup group({.replicas = 1,
                    .sentinels = 3,
                    .quorum = 2,
                    .append_only = false,
                    .password = "server-secret",
                    .sentinel_password = "sentinel-secret"});
  RedisOptions options = by_sentinels("127.0.0.1:1," + group.sentinels());
  options.password = "server-secret";
  options.sentinel_password = "sentinel-secret";
  RedisStores stores(options);
  CHECK(stores.check_boot().ok());
  const OwnerToken token = claim(stores, shard, node(1));
  REQUIRE(replicated(group.server(0)));
  group.server(0).kill9();
  CHECK(commit_at_last(stores, commit_of(shard, token, "alice", "", "1.aa", "one")));
  CHECK(has_run_scripts(group.server(1)));
}

TEST_CASE("sentinels that are down, or know no such master, are all named in the error") {
  if (!redis_here()) return;
  RedisServer primary({.append_only = false, .password = "", .more = {}});
  RedisSentinel sentinel({.primary_port = primary.port(), .replicas = 0});
  RedisOptions options = by_sentinels("127.0.0.1:1," + sentinel.address());
  CHECK(check_boot(options).ok());
  options.sentinel_master = "nobody";
  const Status unknown = check_boot(options);
  REQUIRE_FALSE(unknown.ok());
  CHECK(unknown.error().code == Code::unavailable);
  CHECK(unknown.error().text.starts_with(
      "no sentinel knows master nobody: 127.0.0.1:1 cannot be reached (Connection refused); " +
      sentinel.address() + " does not know nobody."));
  CHECK(unknown.error().text.find("redis.sentinel_master") != std::string::npos);

  RedisStores stores(options);
  const auto read = ask<OwnerRecord>(
      [&](Then<OwnerRecord> then) { stores.owners().read(shard, std::move(then)); });
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().code == Code::unavailable);
  CHECK(read.error().text.find("no sentinel knows master nobody") != std::string::npos);

  const RedisOptions no_sentinel = by_sentinels("127.0.0.1:" + std::to_string(primary.port()));
  CHECK(check_boot(no_sentinel).error().text.find("is no sentinel but another server") !=
        std::string::npos);
  RedisOptions password = by_sentinels(sentinel.address());
  password.sentinel_password = "not-needed";
  CHECK(check_boot(password).ok());
}

TEST_CASE("a sentinel that wants a password says which setting is missing, not the password") {
  if (!redis_here()) return;
  RedisServer primary({.append_only = false, .password = "", .more = {}});
  RedisSentinel sentinel(
      {.primary_port = primary.port(), .replicas = 0, .password = "right-secret"});
  RedisOptions options = by_sentinels(sentinel.address());
  for (const std::string wrong : {"", "wrong-secret"}) {
    options.sentinel_password = wrong;
    const Status refused = check_boot(options);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == Code::malformed);
    CHECK(refused.error().text.find("redis.sentinel_password") != std::string::npos);
    CHECK(refused.error().text.find("secret") == std::string::npos);
  }
  options.sentinel_password = "right-secret";
  CHECK(check_boot(options).ok());
}

TEST_CASE("a server that a sentinel names counts only if it says that it is a primary") {
  if (!redis_here()) return;
  RedisServer primary({.append_only = false, .password = "", .more = {}});
  RedisServer replica({.append_only = false,
                       .password = "",
                       .more = {"--replicaof", "127.0.0.1", std::to_string(primary.port())}});
  const RedisSentinel wrong(
      {.primary_port = replica.port(), .replicas = 0, .down_after_ms = 60'000});
  const RedisSentinel right({.primary_port = primary.port(), .replicas = 1});
  RedisOptions options = by_sentinels(wrong.address());
  const Status refused = check_boot(options);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::unavailable);
  CHECK(refused.error().text.find("a replica") != std::string::npos);
  options.sentinels = addresses(wrong.address() + ',' + right.address());
  RedisStores stores(options);
  claim(stores, shard, node(1));
  CHECK(stores.primary_id() == run_id_of(primary));
}

TEST_CASE("a sentinel that keeps silent holds a connection up no longer than connect_timeout") {
  if (!redis_here()) return;
  RedisServer primary({.append_only = false, .password = "", .more = {}});
  RedisSentinel silent({.primary_port = primary.port(), .replicas = 0});
  RedisSentinel sentinel({.primary_port = primary.port(), .replicas = 0});
  silent.pause();
  RedisOptions options = by_sentinels(silent.address() + ',' + sentinel.address());
  options.connect_timeout = 400ms;
  const auto began = std::chrono::steady_clock::now();
  Connection connection(options);
  CHECK(connection.open().ok());
  const auto took = std::chrono::steady_clock::now() - began;
  CHECK(took >= 200ms);
  CHECK(took < 2 * options.connect_timeout);
  options.sentinels = {options.sentinels.front()};
  CHECK(check_boot(options).error().text.find(silent.address() + " does not answer") !=
        std::string::npos);
}

}  // namespace catga
