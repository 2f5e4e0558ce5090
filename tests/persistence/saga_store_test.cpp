// What the store promises of sagas, in memory and in Redis alike: each outcome of each call, then random requests to both
// at once.
#include <catga/persistence/saga_store.hpp>

#include "both_stores.hpp"
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

namespace catga {
using namespace testing;
using namespace std::chrono_literals;

namespace {

const ShardId shard{5};
const EntityId order{"order", "17"};
constexpr std::int64_t start_ms = 1'800'000'000'000;

SagaCreate create_of(OwnerToken token, EntityId saga = order, std::int64_t now = start_ms) {
  SagaCreate create;
  create.shard = shard;
  create.token = token;
  create.saga = std::move(saga);
  create.now_ms = now;
  create.input_hash = "hash";
  create.input = "input";
  create.fields = {{"dv", "1"}};
  return create;
}
SagaCommit commit_of(OwnerToken token, std::optional<std::size_t> expected,
                     std::vector<std::string> entries, EntityId saga = order) {
  SagaCommit commit;
  commit.shard = shard;
  commit.token = token;
  commit.saga = std::move(saga);
  commit.expected = expected;
  commit.entries = std::move(entries);
  commit.now_ms = start_ms + 1;
  commit.journal_ttl = 1h;
  commit.header_ttl = 2h;
  return commit;
}

SagaCreated create(Stores& stores, const SagaCreate& wanted) {
  return must(ask<SagaCreated>([&](auto then) { stores.sagas().create(wanted, std::move(then)); }));
}
SagaCommitted commit(Stores& stores, const SagaCommit& wanted) {
  return must(
      ask<SagaCommitted>([&](auto then) { stores.sagas().commit(wanted, std::move(then)); }));
}
SagaLoaded load(Stores& stores, OwnerToken token, EntityId saga = order, bool after_crash = false,
                bool journal = true) {
  const SagaLoad wanted{shard, token, std::move(saga), after_crash, journal};
  return must(ask<SagaLoaded>([&](auto then) { stores.sagas().load(wanted, std::move(then)); }));
}
SagaPage list(Stores& stores, const SagaQuery& query) {
  return must(ask<SagaPage>([&](auto then) { stores.sagas().list(query, std::move(then)); }));
}
SagaOverview overview(Stores& stores, OwnerToken token) {
  return must(ask<SagaOverview>(
      [&](auto then) { stores.sagas().overview(shard, token, std::move(then)); }));
}
bool tidy(Stores& stores, OwnerToken token, SagaTidy::What what, std::string member) {
  const SagaTidy wanted{what, shard, token, std::move(member)};
  return must(ask<bool>([&](auto then) { stores.sagas().tidy(wanted, std::move(then)); }));
}
std::vector<std::string> names(const SagaPage& page) {
  std::vector<std::string> names;
  for (const SagaRow& row : page.rows) names.push_back(text_of(row.saga));
  return names;
}
SagaQuery query_of(OwnerToken token, SagaPlace place = SagaPlace::active) {
  SagaQuery query;
  query.shard = shard;
  query.token = token;
  query.place = place;
  return query;
}
SagaFields sorted(SagaFields fields) {
  std::sort(fields.begin(), fields.end());
  return fields;
}

}  // namespace

TEST_CASE("a saga is created once; the same input again finds it, another input is refused") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    CHECK(load(stores, token).outcome == SagaLoaded::Outcome::none);
    SagaCreate wanted = create_of(token);
    wanted.deadline_ms = start_ms + 500;
    CHECK(create(stores, wanted).outcome == SagaCreated::Outcome::ok);
    const SagaCreated again = create(stores, wanted);
    CHECK(again.outcome == SagaCreated::Outcome::exists);
    CHECK(again.status == "running");
    wanted.input_hash = "other";
    CHECK(create(stores, wanted).outcome == SagaCreated::Outcome::conflict);

    const SagaLoaded found = load(stores, token);
    CHECK(sorted(found.fields) ==
          SagaFields{{"dv", "1"}, {"ih", "hash"}, {"ra", "0"}, {"st", "running"}});
    CHECK(found.journal == std::vector<std::string>{"input"});
    CHECK(load(stores, token, order, false, false).journal.empty());
    CHECK(load(stores, token, order, false, false).length == 1);
    const TimerPage due = timers(stores, shard, token, start_ms + 500);
    REQUIRE(due.timers.size() == 1);
    CHECK(due.timers[0].member == "s|order/17|deadline");
    CHECK(due.timers[0].due_ms == start_ms + 500);
    CHECK(due.timers[0].message.empty());
  });
}

TEST_CASE(
    "entries of a saga go to the end of its journal, and a repeat of a commit changes nothing") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    create(stores, create_of(token));
    SagaCommit first = commit_of(token, 1, {"a", "b"});
    first.fields = {{"why", "so"}};
    first.timers = {{saga_timer_member(order, "sleep"), start_ms + 9}};
    first.outbox = {"event"};
    const SagaCommitted done = commit(stores, first);
    CHECK(done.outcome == SagaCommitted::Outcome::ok);
    CHECK(done.length == 3);
    CHECK(done.outbox.size() == 1);
    const SagaCommitted again = commit(stores, first);
    CHECK(again.outcome == SagaCommitted::Outcome::already);
    CHECK(again.length == 3);
    const SagaCommitted other = commit(stores, commit_of(token, 1, {"a", "c"}));
    CHECK(other.outcome == SagaCommitted::Outcome::conflict);
    CHECK(other.length == 3);
    CHECK(commit(stores, commit_of(token, 7, {"a"})).outcome == SagaCommitted::Outcome::conflict);
    CHECK(commit(stores, commit_of(token, 0, {"x"}, {"order", "none"})).outcome ==
          SagaCommitted::Outcome::none);

    CHECK(load(stores, token).journal == std::vector<std::string>{"input", "a", "b"});
    CHECK(find_field(load(stores, token).fields, "why") == "so");
    CHECK(find_field(load(stores, token).fields, "u") == std::to_string(start_ms + 1));
    CHECK(outbox(stores, shard, token).entries.size() == 1);
    CHECK(timers(stores, shard, token, start_ms + 9).timers.size() == 1);
    SagaCommit next = commit_of(token, 3, {"c"});
    next.timers = {{saga_timer_member(order, "sleep"), std::nullopt}};
    CHECK(commit(stores, next).outcome == SagaCommitted::Outcome::ok);
    CHECK(timers(stores, shard, token, start_ms + 9).timers.empty());
  });
}

TEST_CASE(
    "an ended saga leaves the active ones, loses its deadline, takes no entries, and expires") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    SagaCreate wanted = create_of(token);
    wanted.deadline_ms = start_ms + 500;
    create(stores, wanted);
    SagaCommit end = commit_of(token, 1, {"end"});
    end.place = SagaPlace::ended;
    end.fields = {{"st", "completed"}};
    end.journal_ttl = 1ms;
    end.header_ttl = 1h;
    CHECK(commit(stores, end).outcome == SagaCommitted::Outcome::ok);
    CHECK(list(stores, query_of(token)).rows.empty());
    CHECK(names(list(stores, query_of(token, SagaPlace::ended))) ==
          std::vector<std::string>{"order/17"});
    CHECK(timers(stores, shard, token, start_ms + 500).timers.empty());
    REQUIRE(eventually([&] { return load(stores, token).length == 0; }));
    const SagaLoaded header = load(stores, token);
    CHECK(header.outcome == SagaLoaded::Outcome::ok);
    CHECK(find_field(header.fields, "st") == "completed");
    const SagaCommitted late = commit(stores, commit_of(token, std::nullopt, {"more"}));
    CHECK(late.outcome == SagaCommitted::Outcome::ended);
    CHECK(late.status == "completed");
    CHECK(create(stores, create_of(token)).outcome == SagaCreated::Outcome::exists);
  });
}

TEST_CASE("a parked saga stays active and keeps the time since when it is parked") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    create(stores, create_of(token));
    SagaCommit park = commit_of(token, 1, {"parked"});
    park.place = SagaPlace::parked;
    commit(stores, park);
    park.expected = 2;
    park.now_ms = start_ms + 50;
    commit(stores, park);
    const SagaPage parked = list(stores, query_of(token, SagaPlace::parked));
    REQUIRE(parked.rows.size() == 1);
    CHECK(parked.rows[0].at_ms == start_ms + 1);
    CHECK(list(stores, query_of(token)).rows[0].at_ms == start_ms + 50);
    CHECK(overview(stores, token).parked == 1);
    commit(stores, commit_of(token, 3, {"resumed"}));
    CHECK(list(stores, query_of(token, SagaPlace::parked)).rows.empty());
    CHECK(list(stores, query_of(token)).rows.size() == 1);
  });
}

TEST_CASE("an operator's entry goes to a journal of any length") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    create(stores, create_of(token));
    commit(stores, commit_of(token, 1, {"a"}));
    SagaCommit abort = commit_of(token, std::nullopt, {"abort"});
    abort.place = SagaPlace::ended;
    abort.fields = {{"st", "aborted"}};
    CHECK(commit(stores, abort).outcome == SagaCommitted::Outcome::ok);
    CHECK(commit(stores, abort).outcome == SagaCommitted::Outcome::ended);
    CHECK(load(stores, token).length == 3);
  });
}

TEST_CASE("loads after a crash are counted, and the next commit may start the count again") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    create(stores, create_of(token));
    CHECK(find_field(load(stores, token, order, true).fields, "ra") == "1");
    CHECK(find_field(load(stores, token, order, true).fields, "ra") == "2");
    CHECK(find_field(load(stores, token, order, false).fields, "ra") == "2");
    SagaCommit next = commit_of(token, 1, {"a"});
    next.fields = {{"ra", "0"}};
    commit(stores, next);
    CHECK(find_field(load(stores, token).fields, "ra") == "0");
  });
}

TEST_CASE("nothing of a saga is read or written under a token that does not stand") {
  on_both([](Stores& stores) {
    const OwnerToken old = claim(stores, shard, node(1));
    create(stores, create_of(old));
    const OwnerToken now = *exchange(stores, shard, old, node(2), "move").record.token;
    CHECK(create(stores, create_of(old, {"order", "2"})).outcome == SagaCreated::Outcome::fenced);
    CHECK(create(stores, create_of(old)).token == now);
    CHECK(commit(stores, commit_of(old, 1, {"a"})).outcome == SagaCommitted::Outcome::fenced);
    CHECK(commit(stores, commit_of(old, 1, {"a"})).token == now);
    CHECK(load(stores, old, order, true).outcome == SagaLoaded::Outcome::fenced);
    CHECK(list(stores, query_of(old)).fenced);
    CHECK(overview(stores, old).fenced);
    CHECK_FALSE(tidy(stores, old, SagaTidy::What::active, "order/17"));
    CHECK(load(stores, now).length == 1);
    CHECK(find_field(load(stores, now).fields, "ra") == "0");
    CHECK(list(stores, query_of(now)).rows.size() == 1);
  });
}

TEST_CASE("pages of active sagas come oldest first, with headers, and leave nobody out") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    for (int i = 0; i < 30; ++i) {  // three of each millisecond
      create(stores, create_of(token, {i % 5 == 0 ? "refund" : "order", std::to_string(100 + i)},
                               start_ms + i / 3));
    }
    SagaQuery query = query_of(token);
    query.limit = 7;
    query.fields = {"st", "none", "dv"};
    std::vector<std::string> seen;
    std::int64_t last = 0;
    int pages = 0;
    do {
      const SagaPage page = list(stores, query);
      for (const SagaRow& row : page.rows) {
        CHECK(row.at_ms >= last);
        last = row.at_ms;
        CHECK(row.fields == SagaFields{{"st", "running"}, {"dv", "1"}});
        seen.push_back(text_of(row.saga));
      }
      query.after = page.next;
      ++pages;
    } while (!query.after.empty());
    CHECK(seen.size() == 30);
    CHECK(pages >= 4);
    std::sort(seen.begin(), seen.end());
    CHECK(std::unique(seen.begin(), seen.end()) == seen.end());

    query = query_of(token);
    query.type = "refund";
    CHECK(list(stores, query).rows.size() == 6);
    query.type = "ref";
    CHECK(list(stores, query).rows.empty());
    const SagaOverview all = overview(stores, token);
    CHECK(all.active == 30);
    CHECK(all.parked == 0);
    CHECK(all.sources.empty());
  });
}

TEST_CASE("what is left of sagas that are gone can be tidied up, any number of times") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    SagaCreate wanted = create_of(token);
    wanted.deadline_ms = start_ms + 5;
    create(stores, wanted);
    for (int twice = 0; twice < 2; ++twice) {
      CHECK(tidy(stores, token, SagaTidy::What::timer, "s|order/17|deadline"));
      CHECK(tidy(stores, token, SagaTidy::What::active, "order/17"));
    }
    CHECK(timers(stores, shard, token, start_ms + 5).timers.empty());
    CHECK(overview(stores, token).active == 0);
    SagaCommit end = commit_of(token, 1, {"end"});
    end.place = SagaPlace::ended;
    commit(stores, end);
    CHECK(tidy(stores, token, SagaTidy::What::ended, std::to_string(start_ms)));
    CHECK(overview(stores, token).ended == 1);
    CHECK(tidy(stores, token, SagaTidy::What::ended, std::to_string(start_ms + 1)));
    CHECK(overview(stores, token).ended == 0);
  });
}

TEST_CASE("a shard with an active saga is not handed on as one with nothing to read") {
  on_both([](Stores& stores) {
    const OwnerToken first = claim(stores, shard, node(1));
    const Exchanged empty = exchange(stores, shard, first, node(1), "bump");
    CHECK(empty.quiet);
    create(stores, create_of(*empty.record.token));
    CHECK_FALSE(exchange(stores, shard, empty.record.token, node(2), "move").quiet);
  });
}

TEST_CASE("names of saga timers are read back, whatever stands in the id") {
  for (const EntityId& saga : {EntityId{"order", "17"}, EntityId{"order", "a/b|c"}}) {
    const auto timer = parse_saga_timer(saga_timer_member(saga, "sleep-1"));
    REQUIRE(timer);
    CHECK(timer->saga == saga);
    CHECK(timer->name == "sleep-1");
  }
  CHECK_FALSE(parse_saga_timer("e|order/17|x"));
  CHECK_FALSE(parse_saga_timer("s|order/17"));
  CHECK_FALSE(parse_saga_timer("s|order|x"));
  CHECK_FALSE(parse_saga_timer("s|"));
}

TEST_CASE("random requests about sagas get the same answers in Redis and in memory") {
  if (!redis_here()) return;
  const char* given = std::getenv("CATGA_TEST_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  MESSAGE("seed " << seed << " (CATGA_TEST_SEED repeats it)");
  std::mt19937_64 random(seed);
  const auto below = [&random](std::uint64_t n) { return random() % n; };
  RedisServer server({.append_only = false, .password = "", .more = {}});
  RedisStores redis(options_of(server));
  MemoryStores memory(wall_ms);
  const OwnerToken in_redis = claim(redis, shard, node(1));
  const OwnerToken in_memory = claim(memory, shard, node(1));
  const auto both = [&](const auto& call) {
    const auto one = call(static_cast<Stores&>(redis), in_redis);
    const auto two = call(static_cast<Stores&>(memory), in_memory);
    return std::pair{one, two};
  };
  std::int64_t now = start_ms;
  for (int step = 0; step < 3000; ++step) {
    now += static_cast<std::int64_t>(below(3));
    const EntityId saga{below(2) ? "order" : "refund", std::to_string(below(8))};
    CAPTURE(step);
    switch (below(6)) {
      case 0: {
        const bool deadline = below(2), other = below(4) == 0;
        const auto [a, b] = both([&](Stores& stores, OwnerToken token) {
          SagaCreate wanted = create_of(token, saga, now);
          if (deadline) wanted.deadline_ms = now + 10;
          if (other) wanted.input_hash = "other";
          return create(stores, wanted);
        });
        REQUIRE(a.outcome == b.outcome);
        REQUIRE(a.status == b.status);
        break;
      }
      case 1:
      case 2:
      case 3: {
        const std::size_t length = load(memory, in_memory, saga).length;
        std::optional<std::size_t> expected;
        if (below(8)) expected = below(5) ? length : below(6);
        const auto place = static_cast<SagaPlace>(below(8) < 6 ? 0 : 1 + below(2));
        const bool timer = below(2), cancel = below(2);
        std::vector<std::string> entries(1 + below(3));
        for (std::string& entry : entries)
          entry = std::string(1, static_cast<char>('a' + below(3)));
        const auto [a, b] = both([&](Stores& stores, OwnerToken token) {
          SagaCommit wanted = commit_of(token, expected, entries, saga);
          wanted.now_ms = now;
          wanted.place = place;
          if (place == SagaPlace::ended) wanted.fields = {{"st", "aborted"}};
          if (timer) {
            wanted.timers = {
                {saga_timer_member(saga, "sleep"), cancel ? std::nullopt : std::optional(now + 5)}};
          }
          if (cancel) wanted.outbox = {"event"};
          wanted.journal_ttl = wanted.header_ttl = 1h;
          return commit(stores, wanted);
        });
        REQUIRE(a.outcome == b.outcome);
        REQUIRE(a.length == b.length);
        REQUIRE(a.status == b.status);
        REQUIRE(a.outbox.size() == b.outbox.size());
        break;
      }
      case 4: {
        const bool crash = below(2), journal = below(2);
        const auto [a, b] = both([&](Stores& stores, OwnerToken token) {
          return load(stores, token, saga, crash, journal);
        });
        REQUIRE(a.outcome == b.outcome);
        REQUIRE(sorted(a.fields) == sorted(b.fields));
        REQUIRE(a.journal == b.journal);
        REQUIRE(a.length == b.length);
        break;
      }
      default: {
        const auto place = static_cast<SagaPlace>(below(3));
        const std::size_t limit = 1 + below(6);
        const std::string after =
            below(2) ? "" : std::to_string(now - static_cast<std::int64_t>(below(40)));
        const std::string type = below(2) ? "" : "order";
        const auto [a, b] = both([&](Stores& stores, OwnerToken token) {
          SagaQuery query = query_of(token, place);
          query.limit = limit;
          query.after = after;
          query.type = type;
          query.fields = {"st", "u"};
          return list(stores, query);
        });
        REQUIRE(a.rows == b.rows);
        REQUIRE(a.next == b.next);
        const auto [c, d] =
            both([](Stores& stores, OwnerToken token) { return overview(stores, token); });
        REQUIRE(c.active == d.active);
        REQUIRE(c.parked == d.parked);
        REQUIRE(c.ended == d.ended);
        const auto [e, f] = both([&](Stores& stores, OwnerToken token) {
          return timers(stores, shard, token, now + 100);
        });
        REQUIRE(e.timers.size() == f.timers.size());
        for (std::size_t i = 0; i < e.timers.size(); ++i)
          REQUIRE(e.timers[i].member == f.timers[i].member);
      }
    }
  }
}

}  // namespace catga
