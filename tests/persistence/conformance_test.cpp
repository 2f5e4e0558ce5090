// The scripts in Redis and their twins in memory: the same random requests, equal answers and equal
// data.
//
// Numbers that follow the clock (epochs, versions of the view, stream ids) differ by the
// milliseconds between the two. They are compared by a table of pairs: a number of Redis always
// meets the same number of the twin, and both orders agree. The clock of the twin is that of this
// machine, where Redis runs too, read after each request.
#include "both_stores.hpp"
#include <doctest/doctest.h>

#include <cstdlib>
#include <map>
#include <random>

namespace catga {
using namespace testing;
using namespace std::chrono_literals;

namespace {

/// Pairs of numbers that mean the same.
class Pairs {
 public:
  bool match(std::uint64_t in_redis, std::uint64_t in_memory) {
    const auto [found, fresh] = pairs_.try_emplace(in_redis, in_memory);
    if (found->second != in_memory) return false;
    const bool above = found == pairs_.begin() || std::prev(found)->second < in_memory;
    const bool below = std::next(found) == pairs_.end() || std::next(found)->second > in_memory;
    return above && below;
  }

 private:
  std::map<std::uint64_t, std::uint64_t> pairs_{{0, 0}};
};

std::uint64_t new_seed() {
  const char* given = std::getenv("CATGA_TEST_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  MESSAGE("seed " << seed << " (CATGA_TEST_SEED repeats it)");
  return seed;
}

struct World {
  explicit World(const std::string& cluster, const RedisServer& server)
      : redis(options_of(server, cluster)), memory([this] { return twin_now_ms; }) {}

  RedisStores redis;
  std::int64_t twin_now_ms = wall_ms();
  MemoryStores memory;
  Pairs numbers;
  std::mt19937_64 random;

  std::uint64_t below(std::uint64_t n) { return random() % n; }
  void follow_clock() { twin_now_ms = wall_ms(); }  // Redis runs on this machine

  using TwoTokens = std::pair<std::optional<OwnerToken>, std::optional<OwnerToken>>;
  bool same(const std::optional<OwnerToken>& in_redis, const std::optional<OwnerToken>& in_memory) {
    if (in_redis.has_value() != in_memory.has_value()) return false;
    return !in_redis || (in_redis->incarnation == in_memory->incarnation &&
                         numbers.match(in_redis->epoch.value, in_memory->epoch.value));
  }
  /// `epochs`: of this shard. Two shards may mint one epoch in one millisecond.
  bool same(const OwnerRecord& in_redis, const OwnerRecord& in_memory, Pairs& epochs) {
    return in_redis.token.has_value() == in_memory.token.has_value() &&
           in_redis.owner() == in_memory.owner() &&
           (!in_redis.token || in_redis.token->epoch == in_redis.epoch) &&
           (!in_memory.token || in_memory.token->epoch == in_memory.epoch) &&
           epochs.match(in_redis.epoch.value, in_memory.epoch.value) &&
           in_redis.written_under == in_memory.written_under &&
           in_redis.previous == in_memory.previous;
  }
};

/// One request to both, answered by both.
#define ON_BOTH(in_redis, in_memory, call) \
  auto in_redis = call(world.redis, 0);    \
  world.follow_clock();                    \
  auto in_memory = call(world.memory, 1)

}  // namespace

TEST_CASE("owner records: random exchanges end the same in Redis and in memory") {
  if (!redis_here()) return;
  RedisServer server({.append_only = false, .password = "", .more = {}});
  World world("owners", server);
  world.random.seed(new_seed());
  std::map<std::uint64_t, Pairs> epochs;
  std::map<std::uint64_t, std::vector<World::TwoTokens>> seen;  // tokens of each shard, old and new
  for (int step = 0; step < 1500; ++step) {
    CAPTURE(step);
    const std::uint64_t s = world.below(5);
    auto& tokens = seen[s];
    World::TwoTokens expected;  // mostly the newest, sometimes an old one or none
    if (!tokens.empty() && world.below(5) > 0)
      expected = world.below(3) ? tokens.back() : tokens[world.below(tokens.size())];
    const Incarnation owner = world.below(4) ? node(1 + world.below(4)) : Incarnation{};
    const std::string nonce = std::to_string(world.below(40));
    const std::uint64_t view = world.below(100);
    const auto call = [&](Stores& stores, int twin) {
      return exchange(stores, ShardId{static_cast<std::uint32_t>(s)},
                      twin ? expected.second : expected.first, owner, nonce, view);
    };
    ON_BOTH(in_redis, in_memory, call);
    REQUIRE(in_redis.done == in_memory.done);
    REQUIRE(world.same(in_redis.record, in_memory.record, epochs[s]));
    if (in_redis.record.token) tokens.emplace_back(in_redis.record.token, in_memory.record.token);
    const auto read = [&](Stores& stores, int) {
      return record_of(stores, ShardId{static_cast<std::uint32_t>(s)});
    };
    ON_BOTH(redis_record, memory_record, read);
    REQUIRE(world.same(redis_record, memory_record, epochs[s]));
  }
}

TEST_CASE("members: random joins, states, votes and reaps end the same in Redis and in memory") {
  if (!redis_here()) return;
  RedisServer server({.append_only = false, .password = "", .more = {}});
  const std::uint64_t seed = new_seed();
  for (std::uint64_t round = 0; round < 40; ++round) {
    World world("members-" + std::to_string(round), server);
    world.random.seed(seed + round);
    CAPTURE(seed + round);
    for (int step = 0; step < 60; ++step) {
      CAPTURE(step);
      const std::uint64_t who = 1 + world.below(9), other = 1 + world.below(9);
      switch (world.below(8)) {
        case 0:
        case 1: {
          // Names and numbers go together, except for shadows and intruders, so that "who has it"
          // has one answer.
          const bool shadow = world.below(5) == 0;
          Join wanted = join_of(shadow ? who + 20 : who,
                                "node-" + std::to_string(world.below(9) ? who : other),
                                shadow ? MemberState::shadow : MemberState::warm);
          if (world.below(12) == 0) wanted.fingerprint = "other";
          if (world.below(12) == 0) wanted.cluster_id = "unknown";
          if (world.below(12) == 0) wanted.new_id.clear();
          const auto call = [&](Stores& stores, int) { return join(stores, wanted); };
          ON_BOTH(in_redis, in_memory, call);
          REQUIRE(in_redis.outcome == in_memory.outcome);
          REQUIRE(in_redis.cluster_id == in_memory.cluster_id);
          REQUIRE(in_redis.detail == in_memory.detail);
          REQUIRE(in_redis.strikes == in_memory.strikes);
          REQUIRE(in_redis.view.members == in_memory.view.members);
          REQUIRE(world.numbers.match(in_redis.view.version.value, in_memory.view.version.value));
          break;
        }
        case 2:
        case 3: {
          const auto next = static_cast<NextState>(world.below(8) ? world.below(2) : 2);
          const Incarnation target = node(world.below(4) ? who : who + 20);
          const auto call = [&](Stores& stores, int) { return set_state(stores, target, next); };
          ON_BOTH(in_redis, in_memory, call);
          REQUIRE(in_redis.outcome == in_memory.outcome);
          REQUIRE(in_redis.holder == in_memory.holder);
          REQUIRE(world.numbers.match(in_redis.version.value, in_memory.version.value));
          break;
        }
        case 4:
        case 5: {
          const Evidence evidence = world.below(2) ? Evidence::quiet : Evidence::no_responders;
          const auto call = [&](Stores& stores, int) {
            return evict(stores, node(who), node(1 + other % 3), evidence, 0ms);
          };
          ON_BOTH(in_redis, in_memory, call);
          REQUIRE(in_redis.outcome == in_memory.outcome);
          REQUIRE(in_redis.brake == in_memory.brake);
          REQUIRE(in_redis.votes == in_memory.votes);
          REQUIRE(in_redis.need == in_memory.need);
          REQUIRE(world.numbers.match(in_redis.version.value, in_memory.version.value));
          break;
        }
        case 6: {
          if (world.below(2)) {
            const auto call = [&](Stores& stores, int) {
              return must(ask<Done>([&](Then<Done> then) {
                stores.members().withdraw_vote(node(who), node(1 + other % 3), std::move(then));
              }));
            };
            ON_BOTH(in_redis, in_memory, call);
            REQUIRE(in_redis == in_memory);
          }
          const auto call = [&](Stores& stores, int) { return renew(stores, node(1 + other % 3)); };
          ON_BOTH(in_redis, in_memory, call);
          REQUIRE(in_redis.alive == in_memory.alive);
          REQUIRE(in_redis.votes == in_memory.votes);
          REQUIRE(world.numbers.match(in_redis.version.value, in_memory.version.value));
          break;
        }
        default: {
          const auto call = [&](Stores& stores, int) { return reap(stores, node(who)); };
          ON_BOTH(in_redis, in_memory, call);
          REQUIRE(in_redis.outcome == in_memory.outcome);
          REQUIRE(world.numbers.match(in_redis.version.value, in_memory.version.value));
        }
      }
      const auto table = [&](Stores& stores, int) { return view_of(stores); };
      ON_BOTH(redis_view, memory_view, table);
      REQUIRE(redis_view.members == memory_view.members);
      REQUIRE(world.numbers.match(redis_view.version.value, memory_view.version.value));
    }
  }
}

TEST_CASE(
    "state: random commits, loads, timers and outbox reads end the same in Redis and in memory") {
  if (!redis_here()) return;
  RedisServer server({.append_only = false, .password = "", .more = {}});
  World world("state", server);
  world.random.seed(new_seed());
  const ShardId shard{1};
  std::vector<World::TwoTokens> tokens;
  std::vector<std::pair<std::string, std::string>> streamed{{"", ""}};  // ids of one entry in both
  std::map<std::string, std::vector<std::string>> versions;
  const auto two = [&](int twin, const World::TwoTokens& token) {
    return twin ? *token.second : *token.first;
  };
  const auto move_on = [&] {
    const World::TwoTokens now = tokens.empty() ? World::TwoTokens{} : tokens.back();
    const auto call = [&](Stores& stores, int twin) {
      return exchange(stores, shard, twin ? now.second : now.first, node(1),
                      "n" + std::to_string(tokens.size()));
    };
    ON_BOTH(in_redis, in_memory, call);
    REQUIRE(in_redis.done);
    REQUIRE(in_memory.done);
    tokens.emplace_back(in_redis.record.token, in_memory.record.token);
  };
  move_on();
  const auto sorted = [](auto operations) {
    std::sort(operations.begin(), operations.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    return operations;
  };
  for (int step = 0; step < 2500; ++step) {
    CAPTURE(step);
    if (world.below(60) == 0) move_on();
    const World::TwoTokens token =
        world.below(15) ? tokens.back() : tokens[world.below(tokens.size())];
    const std::string key = std::string(1, static_cast<char>('a' + world.below(4)));
    auto& known = versions[key];
    switch (world.below(6)) {
      case 0:
      case 1:
      case 2: {
        Commit wanted = commit_of(shard, {}, key, "", "", std::to_string(step));
        if (!known.empty())
          wanted.expected = world.below(12) ? known.back() : known[world.below(known.size())];
        const bool old = !known.empty() && world.below(12) == 0;
        wanted.next = old ? known[world.below(known.size())] : std::to_string(step) + ".x";
        if (wanted.next == wanted.expected) wanted.next += 'y';
        if (world.below(4) == 0) wanted.state.reset();
        if (world.below(2)) wanted.bookkeeping = "g" + std::to_string(step);
        if (world.below(10) == 0) wanted.expire_in = world.below(2) ? 0ms : 1h;
        wanted.rotate = world.below(10) == 0;
        if (world.below(5) == 0) wanted.operations_ttl = 1h;
        for (auto n = world.below(4); n > 0; --n) {
          // Mostly new ids, sometimes one that may be known. Never one twice in a commit.
          const std::uint64_t id =
              world.below(10) ? 1000 + static_cast<std::uint64_t>(step) * 4 + n : n;
          wanted.operations.emplace_back(operation(id), reply_record(std::to_string(step)));
        }
        for (auto n = world.below(3); n > 0; --n) {  // ids of steps of sagas: other numbers
          const std::uint64_t id =
              world.below(8) ? 500'000 + static_cast<std::uint64_t>(step) * 4 + n : 400'000 + n;
          wanted.saga_operations.emplace_back(operation(id), reply_record(std::to_string(step)));
          wanted.saga_ttl = 1h;
        }
        for (auto n = world.below(3); n > 0; --n) {
          wanted.forgotten.push_back(operation(world.below(2) ? 400'000 + n : 500'001 + n));
          wanted.sources.emplace_back(ShardId{static_cast<std::uint32_t>(n)},
                                      Epoch{static_cast<std::uint64_t>(step)});
        }
        for (auto n = world.below(3); n > 0; --n) {
          const std::string member =
              "e|account/" + key + "|" + std::to_string(world.below(6)) + std::to_string(n);
          const auto due = static_cast<std::int64_t>(world.below(1000)) + 1'800'000'000'000;
          wanted.timers.push_back({member, world.below(3) ? std::optional(due) : std::nullopt,
                                   "m" + std::to_string(step)});
        }
        for (auto n = world.below(3); n > 0; --n)
          wanted.outbox.push_back("o" + std::to_string(step) + '.' + std::to_string(n));
        const auto call = [&](Stores& stores, int twin) {
          Commit mine = wanted;
          mine.token = two(twin, token);
          return commit(stores, mine);
        };
        ON_BOTH(in_redis, in_memory, call);
        REQUIRE(in_redis.outcome == in_memory.outcome);
        REQUIRE(in_redis.version == in_memory.version);
        REQUIRE(world.same(in_redis.token, in_memory.token));
        REQUIRE(sorted(in_redis.recorded) == sorted(in_memory.recorded));
        REQUIRE(in_redis.outbox.size() == in_memory.outbox.size());
        for (std::size_t i = 0; i < in_redis.outbox.size(); ++i)
          streamed.emplace_back(in_redis.outbox[i], in_memory.outbox[i]);
        if (in_redis.outcome == Committed::Outcome::ok) known.push_back(wanted.next);
        break;
      }
      case 3: {
        const auto call = [&](Stores& stores, int twin) {
          Load wanted = load_of(shard, two(twin, token), key);
          wanted.whole_up_to = static_cast<std::size_t>(step) % 40;
          wanted.wanted = {operation(1), operation(2), operation(400'001),
                           operation(1001 + static_cast<std::uint64_t>(step) * 2)};
          return load(stores, wanted);
        };
        ON_BOTH(in_redis, in_memory, call);
        REQUIRE(in_redis.fenced == in_memory.fenced);
        REQUIRE(world.same(in_redis.token, in_memory.token));
        REQUIRE(in_redis.version == in_memory.version);
        REQUIRE(in_redis.state == in_memory.state);
        REQUIRE(in_redis.bookkeeping == in_memory.bookkeeping);
        REQUIRE(in_redis.stored == in_memory.stored);
        REQUIRE(in_redis.saga_stored == in_memory.saga_stored);
        REQUIRE(in_redis.whole == in_memory.whole);
        REQUIRE(sorted(in_redis.saga) == sorted(in_memory.saga));
        REQUIRE(sorted(in_redis.newer) == sorted(in_memory.newer));
        REQUIRE(sorted(in_redis.older) == sorted(in_memory.older));
        REQUIRE(sorted(in_redis.found) == sorted(in_memory.found));
        break;
      }
      case 4: {
        const auto place = streamed[world.below(streamed.size())];
        const std::size_t limit = 1 + world.below(20);
        if (world.below(4) == 0 && !place.first.empty()) {
          const auto call = [&](Stores& stores, int twin) {
            return trim(stores, shard, two(twin, token), twin ? place.second : place.first);
          };
          ON_BOTH(in_redis, in_memory, call);
          REQUIRE(in_redis == in_memory);
        }
        const auto call = [&](Stores& stores, int twin) {
          return outbox(stores, shard, two(twin, token), twin ? place.second : place.first, limit);
        };
        ON_BOTH(in_redis, in_memory, call);
        REQUIRE(in_redis.fenced == in_memory.fenced);
        REQUIRE(in_redis.entries.size() == in_memory.entries.size());
        for (std::size_t i = 0; i < in_redis.entries.size(); ++i)
          REQUIRE(in_redis.entries[i].bytes == in_memory.entries[i].bytes);
        break;
      }
      default: {
        const auto see = [&](Stores& stores, int twin) {
          return must(ask<SagaOverview>([&](auto then) {
            stores.sagas().overview(shard, two(twin, token), std::move(then));
          }));
        };
        ON_BOTH(seen_in_redis, seen_in_memory, see);
        REQUIRE(seen_in_redis.fenced == seen_in_memory.fenced);
        REQUIRE(seen_in_redis.sources == seen_in_memory.sources);
        const auto until = static_cast<std::int64_t>(world.below(1000)) + 1'800'000'000'000;
        const std::size_t limit = 1 + world.below(20);
        const auto call = [&](Stores& stores, int twin) {
          return timers(stores, shard, two(twin, token), until, limit);
        };
        ON_BOTH(in_redis, in_memory, call);
        REQUIRE(in_redis.fenced == in_memory.fenced);
        REQUIRE(in_redis.timers.size() == in_memory.timers.size());
        for (std::size_t i = 0; i < in_redis.timers.size(); ++i) {
          REQUIRE(in_redis.timers[i].member == in_memory.timers[i].member);
          REQUIRE(in_redis.timers[i].due_ms == in_memory.timers[i].due_ms);
          REQUIRE(in_redis.timers[i].message == in_memory.timers[i].message);
        }
      }
    }
  }
}

}  // namespace catga
