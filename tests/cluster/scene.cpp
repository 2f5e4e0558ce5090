// Servers, nodes, clients and callers of the cluster tests.
#include "scene.hpp"

#include <catga/persistence/redis/connection.hpp>
#include <catga/persistence/redis/redis_stores.hpp>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <future>

namespace catga::testing {

bool servers_here() {
  if (servers_installed()) return true;
  MESSAGE("SKIPPED: redis-server or nats-server is not installed");
  return false;
}

Milliseconds since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now() - begin);
}

std::string redis_says(const RedisServer& server, std::initializer_list<std::string_view> words) {
  const RedisOptions options = must(parse_redis_url(server.url()));
  Connection connection(options);
  must(connection.open());
  connection.append(std::span(words.begin(), words.size()));
  const OwnedReply reply = must(connection.read());
  return std::string(reply.view().text());
}

// ---- the scene ----------------------------------------------------------------------------------

Scene::Scene(RedisServer::Options redis, NatsServer::Options nats)
    : servers(std::move(redis), std::move(nats)) {}

Scene::~Scene() {
  if (client_) client_->close();
  const char* keep = std::getenv("CATGA_TEST_LOGS");  // NOLINT: nobody changes the environment here
  if (keep == nullptr) return;
  for (const auto& [name, node] : nodes_) {
    std::ofstream out(std::string(keep) + "/" + name + ".log", std::ios::trunc);
    out << node->log();
  }
}

Config Scene::config(const std::string& name) const {
  Config config;
  config.cluster.name = "test";
  config.cluster.shards = shards;
  config.node.id = name;
  config.runtime.workers = 2;
  config.membership.settle = 200ms;
  config.drain.linger = 100ms;
  config.start.patience = 15s;
  config.nats.urls = {servers.nats.url()};
  config.redis.url = servers.redis.url();
  config.log.level = "off";
  return config;
}

NodeProcess& Scene::launch(const std::string& name, const Flags& flags,
                           const NodeProcess::Environment& environment) {
  Flags all{"--cluster-name",      "test",
            "--cluster-shards",    std::to_string(shards),
            "--node-id",           name,
            "--runtime-workers",   "3",
            "--membership-settle", "200ms",
            "--drain-linger",      "100ms",
            "--nats-urls",         servers.nats.url(),
            "--redis-url",         servers.redis.url(),
            "--health-listen",     "off",
            "--admin-listen",      "off",
            "--log-format",        "json",
            "--log-level",         "info,handoff=debug"};
  for (std::size_t i = 0; i + 1 < flags.size(); i += 2) {  // a flag given here replaces
    const auto known = std::ranges::find(all, flags[i]);
    if (known == all.end())
      all.insert(all.end(), {flags[i], flags[i + 1]});
    else
      *std::next(known) = flags[i + 1];
  }
  nodes_.erase(name);
  nodes_[name] =
      std::make_unique<NodeProcess>(beside_this_program(program), std::move(all),
                                    servers.redis.folder() + '/' + name + ".log", environment);
  return *nodes_[name];
}

NodeProcess& Scene::start(const std::string& name, const Flags& flags) {
  launch(name, flags);
  expect_ready(name);
  return node(name);
}

void Scene::expect_ready(const std::string& name, Milliseconds patience) {
  if (!node(name).says("node " + name + " is ready", patience))
    FAIL("node " << name << " is not ready:\n" << node(name).log());
}

Client& Scene::client() {
  if (!client_) {
    Config settings = config("client");
    settings.ask.timeout = ask_timeout;
    client_ = std::make_unique<Client>(settings);
    must(client_->connect());
  }
  return *client_;
}

std::vector<Member> Scene::members() {
  if (!stores_) {
    RedisOptions options = must(parse_redis_url(servers.redis.url()));
    options.cluster = "test";
    stores_ = std::make_unique<RedisStores>(options);
  }
  auto promise = std::make_shared<std::promise<Result<MembershipView>>>();
  auto answer = promise->get_future();
  stores_->members().read_view(
      [promise](Result<MembershipView> view) { promise->set_value(std::move(view)); });
  const Result<MembershipView> view = answer.get();
  return view.ok() ? view->members : std::vector<Member>{};
}

void Scene::expect_up(std::size_t count) {
  const auto up = [&] {
    const auto all = members();
    return static_cast<std::size_t>(std::ranges::count(all, MemberState::up, &Member::state));
  };
  if (!eventually([&] { return up() == count; }))
    FAIL("of " << count << " nodes " << up() << " are up");
}

std::vector<std::string> Scene::key_per_shard() {
  std::map<ShardId, std::string> found;
  for (int i = 0; found.size() < shards; ++i) {
    const std::string key = "k" + std::to_string(i);
    found.emplace(shard_of("counter", key, shards), key);
  }
  std::vector<std::string> keys;
  for (const auto& [shard, key] : found) keys.push_back(key);
  return keys;
}

// ---- load ---------------------------------------------------------------------------------------

Load::Load(Client& client, Options options) : client_(client), options_(options) {
  keys_.resize(static_cast<std::size_t>(options_.callers));
  for (std::size_t caller = 0; caller < keys_.size(); ++caller) {
    for (int i = 0; i < options_.keys_each; ++i)
      keys_[caller].push_back({"load-" + std::to_string(caller) + "-" + std::to_string(i)});
  }
  for (auto& keys : keys_) threads_.emplace_back([this, &keys] { call(keys); });
}

Load::~Load() { stop(); }

void Load::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

void Load::call(std::vector<Key>& keys) {
  for (std::size_t next = 0; !stopping_; next = (next + 1) % keys.size())
    if (!add_once(keys[next])) return;
}

bool Load::settle(const Key& key, const AskOptions& options) {
  const Ref<Counter> counter = client_.ref<Counter>(key.name);
  const Result<std::int64_t> added = options_.tell_on
                                         ? counter.ask(Pass{"told-" + key.name}, options)
                                         : counter.ask(Add{1}, options);
  if (added.ok()) return true;
  troubles_ += 1;
  const std::lock_guard guard(lock_);
  codes_[added.error().code] += 1;
  last_trouble_ = std::string(name_of(added.error().code)) + ": " + added.error().text;
  return false;
}

bool Load::add_once(Key& key) {
  const AskOptions options{options_.timeout, new_operation_id(), std::chrono::system_clock::now()};
  const auto began = std::chrono::steady_clock::now();
  while (!settle(key, options)) {
    if (since(began) < options_.patience) continue;
    unsettled_ += 1;
    return false;
  }
  key.acknowledged += 1;
  acknowledged_ += 1;
  const std::int64_t took = since(began).count();
  for (std::int64_t most = slowest_ms_; took > most;)
    if (slowest_ms_.compare_exchange_weak(most, took)) break;
  return true;
}

std::string Load::last_trouble() const {
  const std::lock_guard guard(lock_);
  return last_trouble_;
}

std::map<Code, int> Load::codes() const {
  const std::lock_guard guard(lock_);
  return codes_;
}

void Load::expect_progress(std::uint64_t more, Milliseconds patience) {
  const std::uint64_t before = acknowledged();
  if (!eventually([&] { return acknowledged() >= before + more; }, patience))
    FAIL("callers are stuck: " << acknowledged() - before << " of " << more << " commands, "
                               << last_trouble());
}

void Load::check() {
  CHECK_MESSAGE(unsettled_ == 0, "commands without an outcome; " << last_trouble());
  for (const auto& keys : keys_) {
    for (const Key& key : keys) {
      INFO(key.name);
      CHECK(must(client_.ref<Counter>(key.name).ask(Get{})) == key.acknowledged);
      if (!options_.tell_on) continue;
      const auto told = [&] { return must(client_.ref<Counter>("told-" + key.name).ask(Get{})); };
      eventually([&] { return told() == key.acknowledged; }, 10s);
      CHECK(told() == key.acknowledged);
    }
  }
}

}  // namespace catga::testing
