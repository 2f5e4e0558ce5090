// Where a message goes: each state of the shard, the epoch that must rise, and the limit of hops.
#include <catga/sharding/routing.hpp>

#include <doctest/doctest.h>

#include <random>
#include <vector>

using namespace catga;

namespace {

const Incarnation me{1, 1}, ann{2, 1}, bob{3, 1}, ended{4, 1};

struct Bench {
  Shard shard;
  MembershipView view;
  Surroundings around;

  Bench() {
    view.version = ViewVersion{100};
    for (const Incarnation who : {me, ann, bob}) {
      Member row;
      row.incarnation = who;
      row.state = MemberState::up;
      row.name = text_of(who);
      view.members.push_back(row);
    }
    around.self = me;
    around.session_ok = around.may_own = true;
    around.view = &view;
    around.target = ann;
    around.rank = 1;
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  void known(Incarnation owner, std::uint64_t epoch, ShardState state = ShardState::forwarding) {
    shard.state = state;
    shard.known_owner = owner;
    shard.known_epoch = Epoch{epoch};
  }
  Route ask(std::uint64_t epoch, std::uint8_t hops = 0, bool fresh = false,
            bool session_ok = true) {
    return route(shard, around, Epoch{epoch}, hops, fresh, session_ok);
  }
};

}  // namespace

TEST_CASE("an owner runs the message, whatever its epoch and hops") {
  Bench bench;
  bench.shard.state = ShardState::owned;
  bench.shard.token = {Epoch{10}, me};
  for (const std::uint64_t epoch : {0, 9, 10, 11}) CHECK(bench.ask(epoch).verdict == Verdict::run);
  CHECK(bench.ask(0, hops_max).verdict == Verdict::run);
}

TEST_CASE("an owner whose session is in doubt holds the message") {
  Bench bench;
  bench.shard.state = ShardState::owned;
  CHECK(bench.ask(0, 0, false, false).verdict == Verdict::hold);
}

TEST_CASE("a shard that comes or goes holds the message") {
  for (const ShardState state : {ShardState::claiming, ShardState::incoming, ShardState::suspended,
                                 ShardState::draining, ShardState::in_doubt}) {
    Bench bench;
    bench.known(ann, 50, state);  // even if a way onward seems to be known
    for (const bool fresh : {false, true}) CHECK(bench.ask(1, 0, fresh).verdict == Verdict::hold);
  }
}

TEST_CASE("a message is sent on to an owner of a higher epoch, and takes that epoch") {
  for (const ShardState state : {ShardState::forwarding, ShardState::none}) {
    Bench bench;
    bench.known(bob, 20, state);
    const Route where = bench.ask(19);
    CHECK(where.verdict == Verdict::forward);
    CHECK(where.to == bob);
    CHECK(where.epoch == Epoch{20});
  }
}

TEST_CASE("without a higher epoch the record is looked up before the message is sent on") {
  for (const ShardState state : {ShardState::forwarding, ShardState::none}) {
    Bench bench;
    bench.known(bob, 20, state);
    CHECK(bench.ask(20).verdict == Verdict::look_up);
    CHECK(bench.ask(21).verdict == Verdict::look_up);
    const Route where =
        bench.ask(21, 0, true);  // read after the message came: Redis was rolled back
    CHECK(where.verdict == Verdict::forward);
    CHECK(where.to == bob);
    CHECK(where.epoch == Epoch{20});
  }
}

TEST_CASE("a message for a shard of which nothing is known is looked up") {
  Bench bench;
  CHECK(bench.ask(0).verdict == Verdict::look_up);
}

TEST_CASE("a message is not sent to a node that is not in the view, nor to oneself") {
  Bench bench;
  bench.known(ended, 20);
  CHECK(bench.ask(10).verdict == Verdict::look_up);
  CHECK(bench.ask(10, 0, true).verdict == Verdict::hold);
  bench.known(me, 20);
  CHECK(bench.ask(10).verdict == Verdict::look_up);
  CHECK(bench.ask(10, 0, true).verdict == Verdict::hold);
}

TEST_CASE("a shard found without an owner holds the message until somebody claims it") {
  Bench bench;
  bench.known(Incarnation{}, 20, ShardState::none);
  CHECK(bench.ask(10).verdict == Verdict::look_up);
  CHECK(bench.ask(10, 0, true).verdict == Verdict::hold);
}

TEST_CASE("a message is sent on four times and then refused") {
  Bench bench;
  bench.known(bob, 20);
  for (std::uint8_t hops = 0; hops < hops_max; ++hops)
    CHECK(bench.ask(10, hops).verdict == Verdict::forward);
  const Route where = bench.ask(10, hops_max);
  CHECK(where.verdict == Verdict::refuse);
  CHECK(where.to == bob);  // with what the record said
  CHECK(bench.ask(10, 255).verdict == Verdict::refuse);
}

TEST_CASE(
    "among nodes with any routes, a message takes at most four hops, each to a higher epoch") {
  for (std::uint64_t seed = 1; seed <= 20000; ++seed) {
    std::mt19937_64 random(seed);
    const std::vector<Incarnation> all{me, ann, bob};
    std::vector<Bench> nodes(all.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      nodes[i].around.self = all[i];
      nodes[i].known(all[random() % all.size()], random() % 12,
                     random() % 2 == 0 ? ShardState::forwarding : ShardState::none);
    }
    std::size_t here = random() % nodes.size();
    Epoch epoch;
    std::uint8_t hops = 0;
    for (;;) {
      const Route where = route(nodes[here].shard, nodes[here].around, epoch, hops, false, true);
      if (where.verdict != Verdict::forward) {
        if (where.verdict == Verdict::run)
          FAIL("seed " << seed << ": run by a node that does not own");
        break;
      }
      if (where.epoch <= epoch) FAIL("seed " << seed << ": a hop that does not raise the epoch");
      if (where.to == all[here]) FAIL("seed " << seed << ": a message to oneself");
      epoch = where.epoch;
      if (++hops > hops_max) FAIL("seed " << seed << ": too many hops");
      for (std::size_t i = 0; i < all.size(); ++i)
        if (all[i] == where.to) here = i;
    }
  }
}

TEST_CASE(
    "a message whose sender knows a newer view waits for it and does not follow an old route") {
  // The owner known here may be the one whose end the sender has heard of: what is sent there would be lost.
  const Incarnation me{1, 1}, owner{2, 2};
  MembershipView view;
  view.version = ViewVersion{1};
  for (const Incarnation node : {me, owner}) {
    Member member;
    member.incarnation = node;
    member.state = MemberState::up;
    member.name = text_of(node);
    view.members.push_back(member);
  }
  Shard shard;
  shard.known_owner = owner;
  shard.known_epoch = Epoch{7};
  Surroundings around;
  around.self = me;
  around.session_ok = around.may_own = true;
  around.view = &view;
  for (const bool fresh : {false, true}) {
    CHECK(route(shard, around, Epoch{1}, 0, fresh, true, false).verdict == Verdict::forward);
    CHECK(route(shard, around, Epoch{1}, 0, fresh, true, true).verdict == Verdict::hold);
  }
}
