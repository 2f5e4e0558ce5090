// The small sagas of samples and tests, as those of the shop and of samples/orders: their node dies at every commit.
#include "small_sagas.hpp"

#include <catga/runtime/messaging/jetstream.hpp>

#include "crash_at_every_commit.hpp"

#include <mutex>
#include <set>
#include <tuple>

namespace catga::testing {
namespace {

struct SmallScene : Scene {
  explicit SmallScene(NatsServer::Options nats = {}) : Scene({}, std::move(nats)) {
    program = "catga-test-small-sagas";
  }
};

template <class S>
Status begun(const Result<SagaHandle<S>>& saga) {
  return saga.ok() ? Status(Done{}) : saga.error();
}

/// Money from one account to another; `end` says whether it fits there.
void transfer(std::int64_t cents, SagaStatus end) {
  if (!servers_here()) return;
  SmallScene scene;
  const auto client = [&]() -> Client& { return scene.client(); };
  CrashStory story;
  story.commits = end == SagaStatus::completed ? 5 : 7;
  story.prepare = [&](const std::string& round) {
    // Under a key, for a repeat must not add to it.
    const AskOptions once{.idempotency_key = round};
    const auto give = [&](const std::string& name, std::int64_t has) {
      std::string error;
      const bool given = eventually([&] {
        const auto answer = client().ref<Account>(name + round).ask(Deposit{has}, once);
        if (!answer.ok()) error = answer.error().text;
        return answer.ok();
      });
      REQUIRE_MESSAGE(given, error);
    };
    give("alice-", 27'000);
    give("bob-", 20'000);
  };
  story.begin = [&](const std::string& round) {
    return begun(
        client().start(transfer_saga, round, Transfer{"alice-" + round, "bob-" + round, cents}));
  };
  story.over = [&](const std::string& round) {
    return has_come_to(client(), transfer_saga, round, end);
  };
  story.check = [&](const std::string& round) {
    const std::int64_t moved = end == SagaStatus::completed ? cents : 0;
    CHECK(say<Account>(client(), "alice-" + round, Deposit{0}) == 27'000 - moved);
    CHECK(say<Account>(client(), "bob-" + round, Deposit{0}) == 20'000 + moved);
  };
  crash_at_every_commit(scene, story);
}

}  // namespace

TEST_CASE("whatever commit its node dies at, money is moved once") {
  transfer(5'000, SagaStatus::completed);
}

TEST_CASE("whatever commit its node dies at, money that cannot arrive comes back once") {
  transfer(12'000, SagaStatus::compensated);
}

TEST_CASE(
    "whatever commit its node dies at, a parcel is stuck behind its pivot until an operator sends "
    "it on, and is posted once") {
  if (!servers_here()) return;
  SmallScene scene;
  const auto client = [&]() -> Client& { return scene.client(); };
  CrashStory story;
  story.commits = 9;
  story.prepare = [](const std::string&) {};
  story.begin = [&](const std::string& round) -> Status {  // by a turn, with its commit
    const AskOptions once{.idempotency_key = round};
    const auto taken = client().ref<parcels::Clerk>(round).ask(parcels::Order{round, round}, once);
    return taken.ok() ? Status(Done{}) : taken.error();
  };
  story.over = [&](const std::string& round) {
    const auto parcel = client().saga(parcels::parcel_saga(), round);
    const auto report = parcel.status();
    if (report.ok() && report->status == SagaStatus::parked) {
      CHECK(report->cause == "forward_stuck");
      (void)client().ref<parcels::Depot>(round).ask(parcels::Open{});
      (void)client().sagas().operate(
          "parcel", round, OperatorRequest{OperatorVerb::retry, "it is open now", "ann", "", ""});
    }
    return report.ok() && report->status == SagaStatus::completed;
  };
  story.check = [&](const std::string& round) {
    const auto done = say<parcels::Depot>(client(), round, parcels::Count{});
    CHECK(done.packed == 1);
    CHECK(done.posted == 1);
  };
  crash_at_every_commit(scene, story);
}

TEST_CASE("whatever commit its node dies at, a saga that waits is told once, and takes once") {
  if (!servers_here()) return;
  SmallScene scene;
  const auto client = [&]() -> Client& { return scene.client(); };
  static const Saga<TestOrder> saga = slow_saga();
  CrashStory story;
  story.commits = 4;
  story.prepare = [&](const std::string& round) { say<Shelf>(client(), "tea" + round, Stock{10}); };
  story.begin = [&](const std::string& round) {
    TestOrder order;
    order.id = order.round = round;
    return begun(client().start(saga, round, order));
  };
  story.over = [&](const std::string& round) {
    (void)client().saga(saga, round).signal("approval", "1", Approval{"bob"});
    return has_come_to(client(), saga, round, SagaStatus::completed);
  };
  story.check = [&](const std::string& round) {
    const Books books = say<Shelf>(client(), "tea" + round, Read{});
    CHECK(books.log == std::vector<std::string>{"take " + round});
  };
  crash_at_every_commit(scene, story);
}

TEST_CASE(
    "whatever commit its node dies at, the events of a saga and of its entities are in the stream "
    "once") {
  if (!servers_here()) return;
  SmallScene scene({.user = "", .password = "", .jetstream = true});
  const auto client = [&]() -> Client& { return scene.client(); };
  using Told = std::tuple<std::string, std::uint64_t, std::int64_t>;  // source, number, value
  std::set<Told> wanted, told;
  std::mutex lock;
  CrashStory story;
  story.commits = 3;
  story.prepare = [](const std::string&) {};
  story.begin = [&](const std::string& round) {
    return begun(client().start(telling_saga(), round, Telling{round, 0}));
  };
  story.over = [&](const std::string& round) {
    return has_come_to(client(), telling_saga(), round, SagaStatus::completed);
  };
  story.check = [&](const std::string& round) {
    CHECK(say<Source>(client(), round, Emit{0, false}) == 2);
    wanted.insert({{"source/" + round, 1, 1},
                   {"source/" + round, 2, 2},
                   {"telling/" + round, 1, 2},
                   {"telling/" + round, 2, 102}});
  };
  crash_at_every_commit(scene, story);

  Client reader(scene.config("reader"));
  const auto note = [&](std::int64_t value, const EventInfo& event) {
    const std::lock_guard guard(lock);
    told.emplace(text_of(event.source()), event.number(), value);
  };
  const SubscribeOptions all{Spread::broadcast, From::first()};
  reader.subscribe<Counted>(
      "counted", [&](const Counted& one, const EventInfo& event) { note(one.value, event); }, all);
  reader.subscribe<Whispered>(
      "whispered", [&](const Whispered& one, const EventInfo& event) { note(one.value, event); },
      all);
  must(reader.connect());
  const auto told_so_far = [&] {
    const std::lock_guard guard(lock);
    return told;
  };
  CHECK(eventually([&] { return told_so_far() == wanted; }));
  CHECK(told_so_far() == wanted);
  reader.close();
  auto nats = must(connect(scene.config("x"), "test"));
  CHECK(must(last_sequence(nats, "catga-test", 2s)) == wanted.size());  // none of them twice
}

}  // namespace catga::testing
