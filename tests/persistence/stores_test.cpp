// What the stores promise, in memory and in Redis alike: each outcome of each call.
#include "both_stores.hpp"
#include <doctest/doctest.h>

namespace catga {
using namespace testing;
using namespace std::chrono_literals;

namespace {
const ShardId shard{3};
}

// ---- owner records
// -------------------------------------------------------------------------------

TEST_CASE("a free shard goes to one claimer, and the other learns who has it") {
  on_both([](Stores& stores) {
    CHECK(record_of(stores, shard) == OwnerRecord{});
    const Exchanged first = exchange(stores, shard, {}, node(1), "n1", 77);
    CHECK(first.done);
    CHECK(first.record.owner() == node(1));
    CHECK(first.record.written_under == ViewVersion{77});
    CHECK(first.record.token->epoch == first.record.epoch);
    CHECK(first.record.epoch.value >= 1'700'000'000'000ull * 1024);
    const Exchanged second = exchange(stores, shard, {}, node(2), "n2");
    CHECK_FALSE(second.done);
    CHECK(second.record == first.record);
    CHECK(record_of(stores, shard) == first.record);
  });
}

TEST_CASE(
    "a request repeated with its nonce is answered as done and changes nothing, in all four uses") {
  on_both([](Stores& stores) {
    const auto twice = [&stores](std::optional<OwnerToken> expected, Incarnation owner,
                                 const std::string& nonce) {
      const Exchanged first = exchange(stores, shard, expected, owner, nonce);
      const Exchanged again = exchange(stores, shard, expected, owner, nonce);
      CHECK(first.done);
      CHECK(again.done);
      CHECK(again.record == first.record);
      return first.record;
    };
    const OwnerRecord acquired = twice({}, node(1), "acq");
    const OwnerRecord bumped = twice(acquired.token, node(1), "bump");
    CHECK(bumped.epoch > acquired.epoch);
    const OwnerRecord moved = twice(bumped.token, node(2), "xfer");
    CHECK(moved.owner() == node(2));
    CHECK(moved.previous == node(1));
    const Exchanged released = exchange(stores, shard, moved.token, {}, "rel");
    CHECK(released.done);
    CHECK_FALSE(released.record.token.has_value());
    CHECK(released.record.epoch > moved.epoch);
    CHECK(released.record.previous == node(2));
    CHECK(exchange(stores, shard, moved.token, {}, "rel").done);
    CHECK_FALSE(exchange(stores, shard, moved.token, {}, "other").done);
    CHECK(exchange(stores, shard, {}, node(3), "acq2").record.epoch > released.record.epoch);
  });
}

TEST_CASE("a token that does not stand any more exchanges nothing") {
  on_both([](Stores& stores) {
    const OwnerToken old = claim(stores, shard, node(1));
    const Exchanged moved = exchange(stores, shard, old, node(2), "x");
    CHECK_FALSE(exchange(stores, shard, old, node(1), "y").done);
    CHECK_FALSE(exchange(stores, shard, old, {}, "z").done);
    CHECK(record_of(stores, shard) == moved.record);
  });
}

// ---- members
// -------------------------------------------------------------------------------------

TEST_CASE(
    "the first member makes the cluster, the table tells all of it, and a repeat changes nothing") {
  on_both([](Stores& stores) {
    const Joined first = join(stores, join_of(1, "a"));
    CHECK(first.outcome == Joined::Outcome::ok);
    CHECK(first.cluster_id == "cluster-id");
    CHECK(first.strikes == 0);
    REQUIRE(first.view.members.size() == 1);
    CHECK(first.view.members[0] == join_of(1, "a").member);
    CHECK(join(stores, join_of(1, "a")).view == first.view);
    CHECK(join(stores, join_of(2, "b")).view.version > first.view.version);
    CHECK(view_of(stores).members.size() == 2);
    CHECK(view_of(stores).find(node(2))->name == "b");
    const auto cluster = must(ask<std::pair<std::string, std::string>>(
        [&](auto then) { stores.members().read_cluster(std::move(then)); }));
    CHECK(cluster == std::pair<std::string, std::string>{"fp", "cluster-id"});
  });
}

TEST_CASE(
    "JOIN refuses an empty store, another cluster, another fingerprint, a name in use, a spent "
    "incarnation") {
  on_both([](Stores& stores) {
    Join may_not_create = join_of(1, "a");
    may_not_create.new_id.clear();
    CHECK(join(stores, may_not_create).outcome == Joined::Outcome::empty);
    Join knows_a_cluster = join_of(1, "a");
    knows_a_cluster.cluster_id = "mine";
    CHECK(join(stores, knows_a_cluster).outcome == Joined::Outcome::empty);
    CHECK(view_of(stores) == MembershipView{});

    CHECK(join(stores, join_of(1, "a")).outcome == Joined::Outcome::ok);
    const Joined other = join(stores, knows_a_cluster);
    CHECK(other.outcome == Joined::Outcome::other);
    CHECK(other.cluster_id == "cluster-id");
    Join config = join_of(2, "b");
    config.fingerprint = "other";
    CHECK(join(stores, config).outcome == Joined::Outcome::config);
    CHECK(join(stores, config).detail == "fp");
    const Joined name = join(stores, join_of(2, "a"));
    CHECK(name.outcome == Joined::Outcome::name);
    CHECK(name.holder == node(1));

    CHECK(set_state(stores, node(1), NextState::gone).outcome == StateChanged::Outcome::ok);
    CHECK(join(stores, join_of(1, "a")).outcome == Joined::Outcome::spent);
    CHECK(join(stores, join_of(2, "a")).outcome == Joined::Outcome::ok);
  });
}

TEST_CASE("a late copy of a JOIN does not revive a member whose session ended") {
  on_both([](Stores& stores) {
    Join short_lived = join_of(1, "a");
    short_lived.session_ttl = 20ms;
    CHECK(join(stores, short_lived).outcome == Joined::Outcome::ok);
    REQUIRE(eventually([&] { return reap(stores, node(1)).outcome == Reaped::Outcome::reaped; }));
    CHECK(join(stores, short_lived).outcome == Joined::Outcome::spent);
    CHECK_FALSE(renew(stores, node(1)).alive);
    CHECK(reap(stores, node(1)).outcome == Reaped::Outcome::gone);
  });
}

TEST_CASE("a session is extended, never made again, and tells the view, the votes and the time") {
  on_both([](Stores& stores) {
    CHECK_FALSE(renew(stores, node(1)).alive);
    const Joined joined = join(stores, join_of(1, "a"));
    join(stores, join_of(2, "b"));
    join(stores, join_of(3, "c"));
    const Renewed renewed = renew(stores, node(1));
    CHECK(renewed.alive);
    CHECK(renewed.version > joined.view.version);
    CHECK(renewed.votes == 0);
    CHECK(std::abs(renewed.redis_us / 1000 - wall_ms()) < 1000);
    CHECK(evict(stores, node(2), node(1), Evidence::quiet).outcome == Evicted::Outcome::voted);
    CHECK(renew(stores, node(1)).votes == 1);
    must(ask<Done>([&](Then<Done> then) {
      stores.members().withdraw_vote(node(2), node(1), std::move(then));
    }));
    CHECK(renew(stores, node(1)).votes == 0);
    const auto alive = must(ask<std::vector<bool>>([&](auto then) {
      stores.members().sessions({node(1), node(9), node(2)}, std::move(then));
    }));
    CHECK(alive == std::vector<bool>{true, false, true});
    CHECK(reap(stores, node(1)).outcome == Reaped::Outcome::alive);
    CHECK(renew(stores, node(1), 20ms).alive);
    REQUIRE(eventually([&] { return reap(stores, node(1)).outcome != Reaped::Outcome::alive; }));
    CHECK(view_of(stores).find(node(1)) == nullptr);
  });
}

TEST_CASE("states change in order: UP, LEAVING, back to UP, gone") {
  on_both([](Stores& stores) {
    CHECK(set_state(stores, node(1), NextState::up).outcome == StateChanged::Outcome::no_session);
    join(stores, join_of(1, "a"));
    CHECK(set_state(stores, node(1), NextState::leaving).outcome == StateChanged::Outcome::bad);
    const StateChanged up = set_state(stores, node(1), NextState::up);
    CHECK(up.outcome == StateChanged::Outcome::ok);
    CHECK(set_state(stores, node(1), NextState::up).version == up.version);
    CHECK(view_of(stores).find(node(1))->state == MemberState::up);
    CHECK(set_state(stores, node(1), NextState::leaving).version > up.version);
    CHECK(set_state(stores, node(1), NextState::up).outcome == StateChanged::Outcome::ok);
    CHECK(set_state(stores, node(1), NextState::gone).outcome == StateChanged::Outcome::ok);
    CHECK(set_state(stores, node(1), NextState::gone).outcome == StateChanged::Outcome::no_session);
    CHECK(view_of(stores).members.empty());
  });
}

TEST_CASE("a shadow takes its name over when the holder leaves or ends") {
  on_both([](Stores& stores) {
    join(stores, join_of(1, "a"));
    set_state(stores, node(1), NextState::up);
    CHECK(join(stores, join_of(2, "a", MemberState::shadow)).outcome == Joined::Outcome::ok);
    const Joined third = join(stores, join_of(3, "a", MemberState::shadow));
    CHECK(third.outcome == Joined::Outcome::name);
    CHECK(third.holder == node(2));
    const StateChanged early = set_state(stores, node(2), NextState::up);
    CHECK(early.outcome == StateChanged::Outcome::name);
    CHECK(early.holder == node(1));
    set_state(stores, node(1), NextState::leaving);
    CHECK(view_of(stores).find(node(2))->state == MemberState::up);
    CHECK(set_state(stores, node(1), NextState::up).outcome == StateChanged::Outcome::name);
    CHECK(join(stores, join_of(4, "a", MemberState::shadow)).outcome == Joined::Outcome::ok);
    set_state(stores, node(2), NextState::gone);
    CHECK(view_of(stores).find(node(4))->state == MemberState::up);
  });
}

TEST_CASE("two votes evict, one where there are two members, and the name has a strike") {
  for (std::uint64_t n : {2, 3, 4, 5, 7, 9}) {
    CAPTURE(n);
    on_both([n](Stores& stores) {
      for (std::uint64_t i = 1; i <= n; ++i) join(stores, join_of(i, "node-" + std::to_string(i)));
      const Evicted first = evict(stores, node(2), node(1), Evidence::no_responders);
      Evicted last = first;
      if (n > 2) {
        CHECK(first.outcome == Evicted::Outcome::voted);
        CHECK(first.votes == 1);
        CHECK(first.need == 2);
        CHECK(evict(stores, node(2), node(1), Evidence::no_responders).votes == 1);
        last = evict(stores, node(3), node(1), Evidence::no_responders);
      }
      CHECK(last.outcome == Evicted::Outcome::evicted);
      CHECK(view_of(stores).version == last.version);
      CHECK(view_of(stores).find(node(1)) == nullptr);
      CHECK_FALSE(renew(stores, node(1)).alive);
      CHECK(evict(stores, node(2), node(1), Evidence::quiet).outcome == Evicted::Outcome::gone);
      CHECK(evict(stores, node(1), node(2), Evidence::quiet).outcome ==
            Evicted::Outcome::no_session);
      CHECK(join(stores, join_of(1, "node-1")).outcome == Joined::Outcome::spent);
      CHECK(join(stores, join_of(11, "node-1")).strikes == 1);
    });
  }
}

TEST_CASE("an eviction waits until enough votes are as old as T_hold") {
  on_both([](Stores& stores) {
    for (std::uint64_t i = 1; i <= 3; ++i) join(stores, join_of(i, "node-" + std::to_string(i)));
    evict(stores, node(2), node(1), Evidence::quiet, 150ms);
    const Evicted wait = evict(stores, node(3), node(1), Evidence::quiet, 150ms);
    CHECK(wait.outcome == Evicted::Outcome::wait);
    CHECK(wait.wait > 0ms);
    CHECK(wait.wait <= 150ms);
    REQUIRE(eventually([&] {
      evict(stores, node(2), node(1), Evidence::quiet, 150ms);
      return evict(stores, node(3), node(1), Evidence::quiet, 150ms).outcome !=
             Evicted::Outcome::wait;
    }));
    CHECK(view_of(stores).find(node(1)) == nullptr);
  });
}

TEST_CASE("half of the members condemned at once is a network: nobody is evicted") {
  for (std::uint64_t n : {4, 5, 7, 9}) {
    CAPTURE(n);
    on_both([n](Stores& stores) {
      for (std::uint64_t i = 1; i <= n; ++i) join(stores, join_of(i, "node-" + std::to_string(i)));
      const std::uint64_t half = (n + 1) / 2;
      Evicted last;
      for (std::uint64_t target = 1; target <= half; ++target) {
        evict(stores, node(n), node(target), Evidence::no_responders, 900ms);
        last = evict(stores, node(n - 1), node(target), Evidence::no_responders, 900ms);
        if (target < half) CHECK(last.outcome == Evicted::Outcome::wait);
      }
      CHECK(last.outcome == Evicted::Outcome::brake);
      CHECK(last.brake == "mass");
      CHECK(view_of(stores).members.size() == n);
    });
  }
}

TEST_CASE("voters that are condemned themselves cannot evict") {
  on_both([](Stores& stores) {
    for (std::uint64_t i = 1; i <= 9; ++i) join(stores, join_of(i, "node-" + std::to_string(i)));
    for (std::uint64_t voter : {5, 6}) evict(stores, node(voter), node(1), Evidence::quiet, 900ms);
    evict(stores, node(1), node(2), Evidence::quiet);
    const Evicted braked = evict(stores, node(5), node(2), Evidence::quiet, 0ms);
    CHECK(braked.outcome == Evicted::Outcome::brake);
    CHECK(braked.brake == "voters");
    CHECK(evict(stores, node(6), node(2), Evidence::quiet, 0ms).outcome ==
          Evicted::Outcome::evicted);
  });
}

TEST_CASE("silence evicts at most a third in ten seconds, no responders are proof") {
  on_both([](Stores& stores) {
    for (std::uint64_t i = 1; i <= 7; ++i) join(stores, join_of(i, "node-" + std::to_string(i)));
    const auto both = [&stores](std::uint64_t target, Evidence evidence) {
      evict(stores, node(6), node(target), evidence);
      return evict(stores, node(7), node(target), evidence);
    };
    CHECK(both(1, Evidence::quiet).outcome == Evicted::Outcome::evicted);
    CHECK(both(2, Evidence::quiet).outcome ==
          Evicted::Outcome::evicted);  // of the 6 that are left: 2
    const Evicted third = both(3, Evidence::quiet);
    CHECK(third.outcome == Evicted::Outcome::brake);
    CHECK(third.brake == "budget");
    CHECK(both(3, Evidence::no_responders).outcome == Evicted::Outcome::evicted);
  });
}

// ---- state
// ---------------------------------------------------------------------------------------

TEST_CASE("a fresh commit is written, and a load under the token shows all of it") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    const Loaded empty = load(stores, load_of(shard, token, "alice"));
    CHECK_FALSE(empty.fenced);
    CHECK(empty.version.empty());
    CHECK(empty.whole);
    Commit first = commit_of(shard, token, "alice", "", "1.aa", std::string("st\0ate", 6));
    first.bookkeeping = "book";
    first.operations = {{operation(1), reply_record("done")}};
    CHECK(commit(stores, first).outcome == Committed::Outcome::ok);
    Load wanted = load_of(shard, token, "alice");
    wanted.wanted = {operation(1), operation(2)};
    const Loaded loaded = load(stores, wanted);
    CHECK(loaded.version == "1.aa");
    CHECK(loaded.state == std::string("st\0ate", 6));
    CHECK(loaded.bookkeeping == "book");
    CHECK(loaded.stored == 1);
    CHECK(loaded.whole);
    REQUIRE(loaded.newer.size() == 1);
    CHECK(loaded.newer[0].first == operation(1));
    CHECK(loaded.newer[0].second == reply_record("done"));
    REQUIRE(loaded.found.size() == 1);
    CHECK(loaded.found[0].second == reply_record("done"));
    CHECK(load(stores, load_of(shard, token, "bob")).version.empty());
  });
}

TEST_CASE("the same commit again is ALREADY, another is CONFLICT or DUP, and none of them writes") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    Commit first = commit_of(shard, token, "alice", "", "1.aa", "one");
    first.operations = {{operation(1), reply_record("one")}};
    first.outbox = {"tell"};
    CHECK(commit(stores, first).outbox.size() == 1);
    CHECK(commit(stores, first).outcome == Committed::Outcome::already);

    const Committed stale = commit(stores, commit_of(shard, token, "alice", "", "1.bb", "two"));
    CHECK(stale.outcome == Committed::Outcome::conflict);
    CHECK(stale.version == "1.aa");
    const Committed nonce = commit(stores, commit_of(shard, token, "alice", "1.cc", "2.cc", "two"));
    CHECK(nonce.outcome == Committed::Outcome::conflict);

    Commit repeat = commit_of(shard, token, "alice", "1.aa", "2.aa", "two");
    repeat.operations = {{operation(2), reply_record("two")},
                         {operation(1), reply_record("other")}};
    repeat.outbox = {"tell"};
    repeat.timers = {{"e|account/alice|t", 5, "m"}};
    const Committed duplicate = commit(stores, repeat);
    CHECK(duplicate.outcome == Committed::Outcome::duplicate);
    REQUIRE(duplicate.recorded.size() == 1);
    CHECK(duplicate.recorded[0].first == operation(1));
    CHECK(duplicate.recorded[0].second == reply_record("one"));

    CHECK(load(stores, load_of(shard, token, "alice")).state == "one");
    CHECK(load(stores, load_of(shard, token, "alice")).stored == 1);
    CHECK(outbox(stores, shard, token).entries.size() == 1);
    CHECK(timers(stores, shard, token, 100).timers.empty());
  });
}

TEST_CASE(
    "a commit hears of all its operations that were recorded before, in the order it names them") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    Commit first = commit_of(shard, token, "alice", "", "1.aa", "one");
    first.operations = {{operation(1), reply_record("one")}};
    commit(stores, first);
    Commit second = commit_of(shard, token, "alice", "1.aa", "2.aa", "two");
    second.rotate = true;  // the first is among the older ones from here on
    second.operations = {{operation(2), reply_record("two")}};
    commit(stores, second);

    Commit repeat = commit_of(shard, token, "alice", "2.aa", "3.aa", "three");
    for (const std::uint64_t number : {3, 2, 4, 1, 5})
      repeat.operations.emplace_back(operation(number), reply_record("other"));
    const Committed duplicate = commit(stores, repeat);
    CHECK(duplicate.outcome == Committed::Outcome::duplicate);
    REQUIRE(duplicate.recorded.size() == 2);
    CHECK(duplicate.recorded[0].first == operation(2));
    CHECK(duplicate.recorded[0].second == reply_record("two"));
    CHECK(duplicate.recorded[1].first == operation(1));
    CHECK(duplicate.recorded[1].second == reply_record("one"));

    repeat.operations.erase(repeat.operations.begin() + 3);
    repeat.operations.erase(repeat.operations.begin() + 1);
    CHECK(commit(stores, repeat).outcome == Committed::Outcome::ok);
    CHECK(load(stores, load_of(shard, token, "alice")).stored == 5);
  });
}

TEST_CASE("an old, a foreign and a released token write and read nothing") {
  on_both([](Stores& stores) {
    const OwnerToken old = claim(stores, shard, node(1));
    Commit first = commit_of(shard, old, "alice", "", "1.aa", "one");
    first.outbox = {"x"};
    const Committed written = commit(stores, first);
    const auto fenced = [&stores, &written](const OwnerToken& token,
                                            std::optional<OwnerToken> standing) {
      const Committed refused =
          commit(stores, commit_of(shard, token, "alice", "1.aa", "2.aa", "two"));
      CHECK(refused.outcome == Committed::Outcome::fenced);
      CHECK(refused.token == standing);
      const Loaded loaded = load(stores, load_of(shard, token, "alice"));
      CHECK(loaded.fenced);
      CHECK(loaded.token == standing);
      CHECK(loaded.state.empty());
      CHECK(outbox(stores, shard, token).fenced);
      CHECK(timers(stores, shard, token, 1).fenced);
      CHECK_FALSE(trim(stores, shard, token, written.outbox[0]));
    };
    const OwnerToken now = *exchange(stores, shard, old, node(1), "bump").record.token;
    fenced(old, now);
    fenced(OwnerToken{now.epoch, node(2)}, now);
    CHECK(exchange(stores, shard, now, {}, "rel").done);
    fenced(now, std::nullopt);
    const OwnerToken next = claim(stores, shard, node(2), "again");
    CHECK(load(stores, load_of(shard, next, "alice")).state == "one");
    CHECK(outbox(stores, shard, next).entries.size() == 1);
  });
}

TEST_CASE("what a commit does not name stays as it is") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    Commit first = commit_of(shard, token, "alice", "", "1.aa", "state");
    first.bookkeeping = "book";
    commit(stores, first);
    Commit second = commit_of(shard, token, "alice", "1.aa", "2.aa", "");
    second.state.reset();
    CHECK(commit(stores, second).outcome == Committed::Outcome::ok);
    const Loaded loaded = load(stores, load_of(shard, token, "alice"));
    CHECK(loaded.version == "2.aa");
    CHECK(loaded.state == "state");
    CHECK(loaded.bookkeeping == "book");
  });
}

TEST_CASE("rotation keeps the newer generation as the older one and drops what was older") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    std::string version;
    const auto turn = [&](std::uint64_t number, bool rotate) {
      Commit next = commit_of(shard, token, "alice", version, std::to_string(number) + ".aa", "s");
      next.rotate = rotate;
      next.operations_ttl = 1h;
      next.operations = {{operation(number), reply_record(std::to_string(number))}};
      version = next.next;
      CHECK(commit(stores, next).outcome == Committed::Outcome::ok);
    };
    turn(1, false);
    turn(2, true);
    Loaded loaded = load(stores, load_of(shard, token, "alice"));
    REQUIRE(loaded.older.size() == 1);
    CHECK(loaded.older[0].first == operation(1));
    CHECK(loaded.newer[0].first == operation(2));
    turn(3, true);
    loaded = load(stores, load_of(shard, token, "alice"));
    CHECK(loaded.stored == 2);
    CHECK(loaded.older[0].first == operation(2));
    Load some = load_of(shard, token, "alice");
    some.whole_up_to = 1;
    some.wanted = {operation(1), operation(2), operation(3)};
    loaded = load(stores, some);
    CHECK_FALSE(loaded.whole);
    CHECK(loaded.newer.empty());
    CHECK(loaded.found.size() == 2);
  });
}

TEST_CASE("an erased entity is gone after its time, unless a later commit clears it") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    for (const std::string key : {"alice", "bob"}) {
      Commit erase = commit_of(shard, token, key, "", "1.aa", "");
      erase.expire_in = key == "alice" ? 30ms : 1h;
      commit(stores, erase);
    }
    Commit back = commit_of(shard, token, "bob", "1.aa", "2.aa", "back");
    back.expire_in = 0ms;
    commit(stores, back);
    CHECK(eventually([&] { return load(stores, load_of(shard, token, "alice")).version.empty(); }));
    CHECK(load(stores, load_of(shard, token, "bob")).state == "back");
  });
}

TEST_CASE("a transfer takes delivered tells along and says whether anything waits in the shard") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    Commit many = commit_of(shard, token, "alice", "", "1.aa", "s");
    for (int i = 0; i < 3; ++i) many.outbox.push_back(std::to_string(i));
    const Committed written = commit(stores, many);
    const auto move = [&](const OwnerToken& from, Incarnation to, const char* nonce,
                          const std::string& through) {
      const Exchange wanted{shard, from, to, nonce, ViewVersion{1}, through};
      return ask<Exchanged>(
          [&](Then<Exchanged> then) { stores.owners().exchange(wanted, std::move(then)); });
    };
    const Exchanged part = must(move(token, node(2), "x1", written.outbox[1]));
    CHECK(part.done);
    CHECK_FALSE(part.quiet);
    CHECK(outbox(stores, shard, *part.record.token).entries.size() == 1);
    // Who has lost the shard removes nothing from it.
    CHECK_FALSE(must(move(token, node(1), "late", written.outbox[2])).done);
    CHECK(outbox(stores, shard, *part.record.token).entries.size() == 1);
    const Exchanged all = must(move(*part.record.token, node(1), "x2", written.outbox[2]));
    CHECK(all.done);
    CHECK(all.quiet);
    Commit timer = commit_of(shard, *all.record.token, "alice", "1.aa", "2.bb", "s");
    timer.timers.push_back({"e|account/alice|t", 5, "m"});
    commit(stores, timer);
    CHECK_FALSE(must(move(*all.record.token, node(2), "x3", "")).quiet);
    CHECK(move(*all.record.token, node(2), "x4", "nonsense").error().code == Code::malformed);
  });
}

TEST_CASE("the outbox keeps its order, is read in pages and trimmed up to and including an entry") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    Commit many = commit_of(shard, token, "alice", "", "1.aa", "s");
    for (int i = 0; i < 5; ++i) many.outbox.push_back(std::to_string(i));
    const Committed written = commit(stores, many);
    REQUIRE(written.outbox.size() == 5);
    const OutboxPage first = outbox(stores, shard, token, "", 3);
    REQUIRE(first.entries.size() == 3);
    CHECK(first.entries[2].id == written.outbox[2]);
    CHECK(first.entries[2].bytes == "2");
    const OutboxPage second = outbox(stores, shard, token, first.entries[2].id, 3);
    REQUIRE(second.entries.size() == 2);
    CHECK(second.entries[0].bytes == "3");
    CHECK(trim(stores, shard, token, written.outbox[3]));
    CHECK(outbox(stores, shard, token).entries.size() == 1);
    CHECK(trim(stores, shard, token, written.outbox[4]));
    CHECK(outbox(stores, shard, token).entries.empty());
    const auto malformed = ask<bool>(
        [&](Then<bool> then) { stores.state().trim_outbox(shard, token, "x", std::move(then)); });
    CHECK(malformed.error().code == Code::malformed);
  });
}

TEST_CASE("a commit of a timer's turn needs the timer to be stored as it fired") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    const std::string name = "e|account/alice|t";
    Commit set = commit_of(shard, token, "alice", "", "1.aa", "s");
    set.timers = {{name, 5000, "m"}};
    commit(stores, set);
    Commit early = commit_of(shard, token, "alice", "1.aa", "2.bb", "x");
    early.fired = {{name, 4999}};
    early.timers = {{name, std::nullopt, ""}};
    early.outbox = {"tell"};
    const Committed refused = commit(stores, early);
    CHECK(refused.outcome == Committed::Outcome::timer_gone);
    CHECK(refused.timer == name);
    CHECK(timers(stores, shard, token, 9999).timers.size() == 1);
    CHECK(outbox(stores, shard, token).entries.empty());
    Commit shot = early;
    shot.fired = {{name, 5000}};
    CHECK(commit(stores, shot).outcome == Committed::Outcome::ok);
    CHECK(timers(stores, shard, token, 9999).timers.empty());
    CHECK(commit(stores, shot).outcome == Committed::Outcome::already);
    Commit again = commit_of(shard, token, "alice", "2.bb", "3.cc", "y");
    again.fired = shot.fired;
    CHECK(commit(stores, again).outcome == Committed::Outcome::timer_gone);
  });
}

TEST_CASE("timers are read in due order, replaced by name and cancelled") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    Commit set = commit_of(shard, token, "alice", "", "1.aa", "s");
    const std::int64_t day = 1'800'000'000'123;
    set.timers = {{"e|account/alice|b", day + 2, "two"},
                  {"e|account/alice|a", day + 1, "one"},
                  {"e|account/alice|c", day + 3, "three"}};
    commit(stores, set);
    const TimerPage due = timers(stores, shard, token, day + 2);
    REQUIRE(due.timers.size() == 2);
    CHECK(due.timers[0].member == "e|account/alice|a");
    CHECK(due.timers[0].due_ms == day + 1);
    CHECK(due.timers[1].message == "two");
    CHECK(timers(stores, shard, token, day + 9, 1).timers.size() == 1);
    Commit change = commit_of(shard, token, "alice", "1.aa", "2.aa", "s");
    change.timers = {{"e|account/alice|a", std::nullopt, ""},
                     {"e|account/alice|b", day + 5, "later"}};
    commit(stores, change);
    const TimerPage after = timers(stores, shard, token, day + 9);
    REQUIRE(after.timers.size() == 2);
    CHECK(after.timers[0].member == "e|account/alice|c");
    CHECK(after.timers[1].message == "later");
  });
}

TEST_CASE("many commits at once, of one shard and of many, are each answered for themselves") {
  on_both([](Stores& stores) {
    const OwnerToken token = claim(stores, shard, node(1));
    const OwnerToken second = claim(stores, ShardId{4}, node(1));
    commit(stores, commit_of(shard, token, "7", "", "1.zz", "there"));
    std::vector<Pending<Committed>> pending;
    const OwnerToken foreign{Epoch{1}, node(9)};
    for (int i = 0; i < 300; ++i) {
      const ShardId where = i % 3 == 1 ? ShardId{4} : shard;
      const OwnerToken with = i % 3 == 2 ? foreign : (i % 3 == 1 ? second : token);
      const Commit one =
          commit_of(where, with, i == 3 ? "7" : "k" + std::to_string(i), "", "1.aa", "s");
      pending.emplace_back(
          [&](Then<Committed> then) { stores.state().commit(one, std::move(then)); });
    }
    for (std::size_t i = 0; i < pending.size(); ++i) {
      const auto expected = i % 3 == 2
                                ? Committed::Outcome::fenced
                                : (i == 3 ? Committed::Outcome::conflict : Committed::Outcome::ok);
      CHECK(must(pending[i].get()).outcome == expected);
    }
    for (int i : {0, 6, 297})
      CHECK(load(stores, load_of(shard, token, "k" + std::to_string(i))).version == "1.aa");
    CHECK(load(stores, load_of(shard, token, "k2")).version.empty());
  });
}

TEST_CASE("a callback may call the store again") {
  MemoryStores stores(wall_ms);
  bool answered = false;
  stores.owners().read(shard, [&](Result<OwnerRecord>) {
    stores.members().read_view([&](Result<MembershipView> view) { answered = view.ok(); });
  });
  CHECK(answered);
}

// ---- keys of clients ------------------------------------------------------------------------------------------

TEST_CASE("a key of a client gets a time once: repeats share it, on the next days too") {
  on_both([](Stores& stores) {
    constexpr std::int64_t day = 24 * 3600 * 1000, noon = 20'000 * day + day / 2;
    FirstSeen wanted;
    wanted.shard = shard;
    wanted.token = claim(stores, shard, node(1));
    wanted.id = operation(1);
    wanted.now_ms = noon;
    wanted.retention = std::chrono::milliseconds{2 * day};
    CHECK(first_seen(stores, wanted).at_ms == noon);
    for (const std::int64_t later : {std::int64_t{1}, day, 2 * day}) {
      wanted.now_ms = noon + later;
      CHECK(first_seen(stores, wanted).at_ms == noon);
    }
    wanted.now_ms = noon - day;  // a clock behind, after one that was ahead
    CHECK(first_seen(stores, wanted).at_ms == noon);
    wanted.id = operation(2);
    CHECK(first_seen(stores, wanted).at_ms == noon - day);
    wanted.now_ms = noon + 3 * day;  // older than anybody remembers
    wanted.id = operation(1);
    CHECK(first_seen(stores, wanted).at_ms == noon + 3 * day);
  });
}

TEST_CASE("a full table of keys takes no new ones, and an old token none at all") {
  on_both([](Stores& stores) {
    FirstSeen wanted;
    wanted.shard = shard;
    wanted.token = claim(stores, shard, node(1));
    wanted.now_ms = 1'700'000'000'000;
    wanted.retention = 1h;
    wanted.cap = 2;
    for (const std::uint64_t number : {1u, 2u}) {
      wanted.id = operation(number);
      CHECK(first_seen(stores, wanted).outcome == Seen::Outcome::ok);
    }
    wanted.id = operation(3);
    CHECK(first_seen(stores, wanted).outcome == Seen::Outcome::full);
    wanted.id = operation(2);
    CHECK(first_seen(stores, wanted).outcome == Seen::Outcome::ok);
    wanted.id = operation(3);
    wanted.now_ms += 24 * 3600 * 1000;  // the next day has a table of its own
    CHECK(first_seen(stores, wanted).outcome == Seen::Outcome::ok);
    const OwnerToken now = *exchange(stores, shard, wanted.token, node(2), "m").record.token;
    CHECK(first_seen(stores, wanted).outcome == Seen::Outcome::fenced);
    CHECK(first_seen(stores, wanted).token == now);
  });
}

TEST_CASE("the days that may know a key begin with today, and reach back for the retention") {
  constexpr std::int64_t day = 24 * 3600 * 1000;
  CHECK(seen_days(10 * day, 1h) == std::vector<std::int64_t>{10, 11, 9});
  CHECK(seen_days(11 * day - 1, std::chrono::milliseconds{2 * day}) ==
        std::vector<std::int64_t>{10, 11, 9, 8});
  CHECK(seen_days(10 * day, std::chrono::milliseconds{2 * day + 1}).back() == 7);
  CHECK(seen_ttl(48h) >= 48h + 24h);
}

}  // namespace catga
