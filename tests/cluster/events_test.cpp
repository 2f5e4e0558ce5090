// Events on a real cluster: from a turn to the stream, and to whoever subscribed.
#include <catga/runtime/messaging/jetstream.hpp>

#include "event_kinds.hpp"
#include "scene.hpp"

#include <condition_variable>
#include <functional>
#include <set>

namespace catga::testing {
namespace {

const NatsServer::Options with_jetstream{.user = "", .password = "", .jetstream = true};

/// A node in this program, with Source and Follower.
std::unique_ptr<Node> node_with(Scene& scene, const std::string& name,
                                const std::function<void(Node&)>& set_up) {
  auto node = std::make_unique<Node>(scene.config(name));
  set_up(*node);
  must(node->start());
  return node;
}

Followed heard(Scene& scene, const std::string& key) {
  return must(scene.client().ref<Follower>(key).ask(WhatHeard{}));
}

void expect_heard(Scene& scene, const std::string& key, std::int64_t count) {
  eventually([&] { return heard(scene, key).count >= count; });
  const Followed told = heard(scene, key);
  CHECK(told.count == count);
  CHECK(told.disorders == 0);
  CHECK(told.misnumbered == 0);
}

std::int64_t emit(Scene& scene, const std::string& key, std::int64_t count, bool whisper = false) {
  return must(scene.client().ref<Source>(key).ask(Emit{count, whisper}));
}

/// Values with the name of who handled them, from any thread.
class Notes {
 public:
  void note(const std::string& who, std::int64_t value) {
    const std::lock_guard guard(lock_);
    all_.emplace_back(who, value);
  }
  std::vector<std::pair<std::string, std::int64_t>> all() const {
    const std::lock_guard guard(lock_);
    return all_;
  }
  std::size_t size() const { return all().size(); }

 private:
  mutable std::mutex lock_;
  std::vector<std::pair<std::string, std::int64_t>> all_;
};

}  // namespace

TEST_CASE(
    "any NATS client reads events: subject, headers and a msgpack body, in order per entity") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  const auto node = node_with(scene, "a", [](Node& one) { one.host<Source>(); });
  CHECK(emit(scene, "alice b", 3) == 3);
  CHECK(emit(scene, "alice b", 2) == 5);
  auto nats = must(connect(scene.config("x"), "test"));
  ConsumerOptions options;
  options.stream = "catga-test";
  options.name = "look";
  options.filter = "catga.test.ev.*.Counted.source.>";
  options.from_sequence = 1;
  std::mutex lock;
  std::condition_variable changed;
  std::vector<std::int64_t> values;
  std::set<std::string> ids;
  auto subscription = must(nats.subscribe("look.here", "", [&](NatsMessage message) {
    const std::lock_guard guard(lock);
    if (!pull_status(*message).empty()) return;
    values.push_back(must(decode<Counted>(body_of(*message))).value);
    ids.insert(header_of(*message, "Nats-Msg-Id"));
    CHECK(subject_of(*message).ends_with(".Counted.source.alice%20b"));
    CHECK(header_of(*message, "Catga-Source") == "source/alice%20b");
    CHECK(header_of(*message, "Catga-Number") == std::to_string(values.size()));
    CHECK(header_of(*message, "Catga-Name") == "Counted");
    changed.notify_all();
  }));
  REQUIRE(eventually([&] { return make_consumer(nats, options, false, 2s).ok(); }));
  must(nats.publish(pull_subject("catga-test", "look"), "look.here", pull_body(5, 10s)));
  std::unique_lock guard(lock);
  changed.wait_for(guard, 10s, [&] { return values.size() >= 5; });
  CHECK(values == std::vector<std::int64_t>{1, 2, 3, 4, 5});
  CHECK(ids.size() == 5);
}

TEST_CASE("the stream is made with the limits and replicas of the settings") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  auto nats = must(connect(scene.config("x"), "test"));
  const auto start = [&](const std::string& name, const std::string& stream,
                         std::uint32_t replicas) {
    Config config = scene.config(name);
    config.cluster.name = name;
    config.events.stream = stream;
    config.events.max_age = 2h;
    config.events.max_bytes = 3'000'000;
    config.events.replicas = replicas;
    auto node = std::make_unique<Node>(config);
    node->host<Source>();
    must(node->start());
    must(node->ref<Source>("alice").ask(Emit{}));
    return node;
  };
  const auto told = [&](const std::string& stream) {
    return must(request(nats, "$JS.API.STREAM.INFO." + stream, "", 5s));
  };
  const auto one = start("one", "limited", 1);
  CHECK(eventually([&] { return told("limited").find("\"messages\":1,") != std::string::npos; }));
  const std::string limits = told("limited");
  CHECK_MESSAGE(limits.find("\"max_age\":7200000000000,") != std::string::npos, limits);
  CHECK(limits.find("\"max_bytes\":3000000,") != std::string::npos);
  CHECK(limits.find("\"num_replicas\":1,") != std::string::npos);
  // One NATS server cannot keep three copies: it is asked to, there is no stream, and the event waits.
  std::mutex lock;
  std::string asked;
  const auto listening =
      must(nats.subscribe("$JS.API.STREAM.CREATE.thrice", "", [&](NatsMessage message) {
        const std::lock_guard guard(lock);
        asked = body_of(*message);
      }));
  must(request(nats, "$JS.API.INFO", "", 5s));  // so the subscription is known to the server
  const auto three = start("three", "thrice", 3);
  CHECK(eventually([&] {
    const std::lock_guard guard(lock);
    return asked.find("\"num_replicas\":3") != std::string::npos;
  }));
  CHECK(told("thrice").find("stream not found") != std::string::npos);
  CHECK(must(three->ref<Source>("alice").ask(Emit{})) == 2);
}

TEST_CASE("events of sagas reach subscribers like those of entities: once, numbered, in order") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  Notes notes;
  const auto node = node_with(scene, "a", [&notes](Node& one) {
    one.host<Source>().host(telling_saga());
    one.subscribe<Whispered>("listeners",
                             [&notes](const Whispered& whispered, const EventInfo& event) {
                               notes.note(
                                   text_of(event.source()) + ' ' + std::to_string(event.number()),
                                   whispered.value);
                             },
                             {.from = From::first()});
  });
  const auto told = must(node->start(telling_saga(), "17", Telling{"alice", 0}));
  CHECK(must(told.wait(20s)).status == SagaStatus::completed);
  CHECK(eventually([&] { return notes.size() >= 2; }));
  CHECK(notes.all() == std::vector<std::pair<std::string, std::int64_t>>{{"telling/17 1", 2},
                                                                         {"telling/17 2", 102}});
}

TEST_CASE(
    "a subscriber's commands take effect once each, in order, when nodes come and are killed") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  scene.program = "catga-test-events";
  for (const char* name : {"a", "b"}) scene.launch(name);
  for (const char* name : {"a", "b"}) scene.expect_ready(name);
  scene.expect_up(2);
  for (int i = 0; i < 20; ++i) emit(scene, "s" + std::to_string(i), 10);
  scene.start("c");
  for (int i = 0; i < 20; ++i) emit(scene, "s" + std::to_string(i), 10);
  Scene::let_them_meet();
  scene.node("a").kill9();
  for (int i = 0; i < 20; ++i) emit(scene, "s" + std::to_string(i), 10);
  for (int i = 0; i < 20; ++i) {
    INFO(i);
    expect_heard(scene, "s" + std::to_string(i), 30);
  }
}

TEST_CASE("without JetStream entities work, events wait in the outbox, and the log says why") {
  if (!servers_here()) return;
  Scene scene;
  scene.program = "catga-test-events";
  scene.start("a");
  CHECK(emit(scene, "alice", 3) == 3);
  CHECK(emit(scene, "alice", 1) == 4);
  CHECK(scene.node("a").says("start it with -js", 10s));
  CHECK(heard(scene, "alice").count == 0);
}

TEST_CASE("of a queue group one node handles each event, and another one what the first cannot") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  Notes notes;
  const SubscribeOptions options{Spread::group, From::first()};
  const auto team = [&](const std::string& name, bool able) {
    return node_with(scene, name, [&](Node& node) {
      node.host<Source>();
      node.subscribe<Whispered>(
          "team",
          [&notes, name, able](const Whispered& event) -> Status {
            if (!able && event.value % 10 == 0) return Error{Code::failed, "not me"};
            notes.note(name, event.value);
            return Done{};
          },
          options);
    });
  };
  const auto a = team("a", false), b = team("b", true);
  emit(scene, "alice", 200, true);
  emit(scene, "alice", 200, true);
  REQUIRE(eventually([&] { return notes.size() >= 400; }));
  std::set<std::int64_t> values;
  std::set<std::string> who;
  for (const auto& [name, value] : notes.all()) {
    who.insert(name);
    CHECK_MESSAGE(values.insert(value).second, value);  // nobody was slow: none came twice
  }
  CHECK(values.size() == 400);
  CHECK(who.size() == 2);
}

TEST_CASE("of a broadcast every node handles each event") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  Notes notes;
  const auto listener = [&](const std::string& name) {
    return node_with(scene, name, [&](Node& node) {
      node.host<Source>();
      node.subscribe<Whispered>(
          "all", [&notes, name](const Whispered& event) { notes.note(name, event.value); },
          {Spread::broadcast, From::first()});
    });
  };
  const auto a = listener("a"), b = listener("b.2");
  emit(scene, "alice", 50, true);
  REQUIRE(eventually([&] { return notes.size() >= 100; }));
  std::map<std::string, std::set<std::int64_t>> values;
  for (const auto& [name, value] : notes.all()) values[name].insert(value);
  CHECK(values["a"].size() == 50);
  CHECK(values["b.2"].size() == 50);
}

TEST_CASE(
    "programs that host nothing hear broadcasts, share groups, and turn events into commands") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  const auto node = node_with(scene, "a", [](Node& one) { one.host<Source>().host<Follower>(); });
  Notes notes;
  const auto listener = [&](const std::string& name) {
    auto client = std::make_unique<Client>(scene.config(name));
    client->subscribe<Whispered>(
        "all", [&notes, name](const Whispered& event) { notes.note(name, event.value); },
        {Spread::broadcast, From::first()});
    client->subscribe<Whispered>("team",
                                 [](const Whispered& event) {
                                   return to<Follower>("all", Follow{event.value, 0, false});
                                 },
                                 {Spread::group, From::first()});
    must(client->connect());
    return client;
  };
  auto left = listener("left"), right = listener("right");
  emit(scene, "alice", 60, true);
  REQUIRE(eventually([&] { return notes.size() >= 120; }));
  scene.servers.nats.restart();  // and they find their places again
  REQUIRE(eventually([&] { return scene.client().ref<Source>("alice").ask(Emit{0, true}).ok(); }));
  emit(scene, "alice", 40, true);
  REQUIRE(eventually([&] { return heard(scene, "all").count == 100 && notes.size() >= 200; }));
  left->close();  // its place in the group is the other's
  emit(scene, "alice", 20, true);
  REQUIRE(eventually([&] { return heard(scene, "all").count == 120; }));
  std::map<std::string, std::set<std::int64_t>> values;
  for (const auto& [name, value] : notes.all()) values[name].insert(value);
  CHECK(values["left"].size() == 100);
  CHECK(eventually([&] { return notes.size() >= 220; }));
}

TEST_CASE("an ordered subscription of a program that hosts nothing is refused") {
  Config config;
  Client client(config);
  client.subscribe<Whispered>("team", [](const Whispered&) {}, {});
  const Status refused = client.connect();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::malformed);
  CHECK(refused.error().text.find("team") != std::string::npos);
}

TEST_CASE("what cannot be handled is parked with all behind it, and flows when it is retried") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  const EntityId alice{"source", "alice"};
  const auto start = [&scene](const std::string& name) {
    Config config = scene.config(name);
    config.events.attempts = 2;
    auto node = std::make_unique<Node>(config);
    follow(*node);
    must(node->start());
    return node;
  };
  auto node = start("a");
  const auto fail_at = [&](std::int64_t value) {
    must(scene.client().ref<Follower>("alice").ask(FailAt{value}));
  };
  const auto length = [&] {
    const auto parked = node->parked("followers");
    return parked.ok() && parked->size() == 1 ? parked->front().length : 0;
  };
  REQUIRE(eventually([&] { return node->parked("followers").ok(); }));
  CHECK(must(node->parked("followers")).empty());
  fail_at(5);
  emit(scene, "alice", 8);
  emit(scene, "bob", 8);
  expect_heard(scene, "bob", 8);  // other sources go on
  REQUIRE(eventually([&] { return length() == 4; }));
  expect_heard(scene, "alice", 4);
  CHECK(must(node->parked("followers")).front().source == alice);
  const std::vector<DeadEvent> dead = must(node->show_parked("followers", alice));
  REQUIRE(dead.size() == 4);
  CHECK(dead[0].event == "Counted");
  CHECK(dead[0].number == 5);
  CHECK(dead[0].attempts == 2);
  CHECK(dead[0].why.find("told to fail") != std::string::npos);
  CHECK(dead[3].number == 8);
  CHECK(dead[3].attempts == 0);

  must(node->stop());  // what is parked belongs to the part, not to the node
  node = start("b");
  REQUIRE(eventually([&] { return length() == 4; }));
  emit(scene, "alice", 1);
  REQUIRE(eventually([&] { return length() == 5; }));
  const auto failed = node->retry_parked("followers", alice);
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().text.find("told to fail") != std::string::npos);
  fail_at(0);
  CHECK(must(node->retry_parked("followers", alice)) == 5);
  CHECK(must(node->parked("followers")).empty());
  emit(scene, "alice", 1);
  expect_heard(scene, "alice", 10);

  fail_at(11);
  emit(scene, "alice", 2);
  REQUIRE(eventually([&] { return length() == 2; }));
  CHECK(must(node->discard_parked("followers", alice)) == 1);
  CHECK(must(node->retry_parked("followers", alice)) == 1);
  CHECK(heard(scene, "alice").last == 12);
  CHECK(heard(scene, "alice").count == 11);
  CHECK(node->discard_parked("followers", alice).error().code == Code::not_found);
  CHECK(node->parked("nobody").error().code == Code::unavailable);
}

TEST_CASE("what a queue group gives up is kept, and is retried or discarded at any of its nodes") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  const EntityId alice{"source", "alice"};
  Notes notes;
  std::atomic<bool> able{false};
  const auto member = [&](const std::string& name) {
    Config config = scene.config(name);
    config.events.attempts = 2;
    auto node = std::make_unique<Node>(config);
    node->host<Source>();
    node->subscribe<Whispered>("team",
                               [&notes, &able, name](const Whispered& event) -> Status {
                                 if (!able && event.value % 2 == 0)
                                   return Error{Code::failed, "told to fail"};
                                 notes.note(name, event.value);
                                 return Done{};
                               },
                               {Spread::group, From::first()});
    must(node->start());
    return node;
  };
  auto a = member("a");
  const auto b = member("b");
  const auto length = [&] {
    const auto parked = b->parked("team");
    return parked.ok() && parked->size() == 1 ? parked->front().length : 0;
  };
  REQUIRE(eventually([&] { return b->parked("team").ok(); }));
  CHECK(must(b->parked("team")).empty());
  emit(scene, "alice", 8, true);
  REQUIRE(eventually([&] { return length() == 4; }));
  CHECK(notes.size() == 4);  // there is no order: the others were handled
  CHECK(must(b->parked("team")).front().source == alice);
  const std::vector<DeadEvent> dead = must(b->show_parked("team", alice));
  REQUIRE(dead.size() == 4);
  CHECK(dead[0].event == "Whispered");
  CHECK(dead[0].attempts >= 2);
  CHECK(dead[0].why.find("told to fail") != std::string::npos);

  must(a->stop());  // letters belong to the group, not to a node
  const auto failed = b->retry_parked("team", alice);
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().text.find("told to fail") != std::string::npos);
  CHECK(length() == 4);
  CHECK(must(b->discard_parked("team", alice)) == 3);
  able = true;
  CHECK(must(b->retry_parked("team", alice)) == 3);
  CHECK(must(b->parked("team")).empty());
  CHECK(notes.size() == 7);
  CHECK(b->discard_parked("team", alice).error().code == Code::not_found);
}

TEST_CASE("what a broadcast gives up is kept for its node, within bounds, rubbish too") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  const EntityId alice{"source", "alice"};
  std::atomic<bool> able{false};
  const auto member = [&](const std::string& name, bool good) {
    Config config = scene.config(name);
    config.events.attempts = 1;
    config.events.parked_max = 2;
    auto node = std::make_unique<Node>(config);
    node->host<Source>();
    node->subscribe<Whispered>(
        "news",
        [&able, good](const Whispered&) -> Status {
          return good || able ? Status(Done{}) : Error{Code::failed, "told to fail"};
        },
        {Spread::broadcast, From::first()});
    must(node->start());
    return node;
  };
  const auto a = member("a", false), b = member("b", true);
  const auto length = [&] {
    const auto parked = b->parked("news-a");
    return parked.ok() && parked->size() == 1 ? parked->front().length : 0;
  };
  emit(scene, "alice", 3, true);
  REQUIRE(eventually([&] { return length() == 2; }));
  CHECK(eventually([&] { return must(b->parked("news-b")).empty(); }));
  CHECK(b->parked("news").error().code == Code::unavailable);  // each node has its own letters
  // The third finds no room, stays in hand, and takes the place of what is handled.
  able = true;
  std::uint64_t done = 0;
  REQUIRE(eventually(
      [&] {
        done += must(b->retry_parked("news-a", alice));
        return done == 3;
      },
      30s));
  auto nats = must(connect(scene.config("x"), "test"));
  must(nats.publish("catga.test.ev.3.Whispered.source.x", "", "rubbish"));
  REQUIRE(eventually([&] { return length() == 1; }));
  const EntityId source = must(b->parked("news-a")).front().source;
  CHECK(source.kind == "?");
  CHECK(must(b->discard_parked("news-a", source)) == 0);
}

TEST_CASE("an event that cannot even be read is parked by itself, and others flow") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  const auto node = node_with(scene, "a", [](Node& one) { follow(one); });
  REQUIRE(eventually([&] { return node->parked("followers").ok(); }));
  emit(scene, "alice", 1);
  expect_heard(scene, "alice", 1);
  auto nats = must(connect(scene.config("x"), "test"));
  must(nats.publish("catga.test.ev.3.Counted.source.x", "", "rubbish"));
  std::vector<ParkedEvents> parked;
  REQUIRE(eventually([&] {
    parked = must(node->parked("followers"));
    return parked.size() == 1;
  }));
  CHECK(parked.front().source.kind == "?");
  CHECK(must(node->show_parked("followers", parked.front().source)).size() == 1);
  CHECK(must(node->discard_parked("followers", parked.front().source)) == 0);
  emit(scene, "alice", 1);
  expect_heard(scene, "alice", 2);
}

TEST_CASE("a new subscription replays from the first event, a sequence or a time, or begins now") {
  if (!servers_here()) return;
  Scene scene({}, with_jetstream);
  {
    const auto node = node_with(scene, "a", [](Node& one) { follow(one); });
    REQUIRE(eventually([&] { return node->parked("followers").ok(); }));
    emit(scene, "alice", 3);
    expect_heard(scene, "alice", 3);
    std::this_thread::sleep_for(50ms);  // so that a time lies between them
    must(node->stop());
  }
  const auto between = std::chrono::system_clock::now();
  const std::vector<std::pair<std::string, From>> wanted{{"first", From::first()},
                                                         {"sequence", From::sequence(3)},
                                                         {"time", From::time(between)},
                                                         {"now", From::now()}};
  {
    const auto node = node_with(scene, "a", [](Node& one) { one.host<Source>().host<Follower>(); });
    std::this_thread::sleep_for(50ms);
    emit(scene, "alice", 3);
    auto nats = must(connect(scene.config("x"), "test"));
    REQUIRE(eventually([&] {
      const auto last = last_sequence(nats, "catga-test", 2s);
      return last.ok() && *last == 6;
    }));
    must(node->stop());
  }
  std::map<std::string, Notes> notes;
  for (const auto& [name, from] : wanted) notes[name];
  const auto node = node_with(scene, "a", [&](Node& one) {
    one.host<Source>().host<Follower>();
    for (const auto& [name, from] : wanted) {
      one.subscribe<Counted>(name,
                             [&kept = notes[name]](const Counted& counted, const EventInfo& event) {
                               kept.note(event.replayed() ? "old" : "new", counted.value);
                             },
                             {Spread::ordered, from});
    }
  });
  for (const auto& [name, from] : wanted)
    REQUIRE(eventually([&, name = name] { return node->parked(name).ok(); }));
  emit(scene, "alice", 1);
  const auto expect = [&notes](const std::string& name, std::int64_t from) {
    INFO(name);
    std::string all, told;
    for (std::int64_t value = from; value <= 6; ++value)
      all += "old " + std::to_string(value) + ' ';
    all += "new 7 ";
    eventually([&] {
      told.clear();
      for (const auto& [age, value] : notes[name].all())
        told += age + ' ' + std::to_string(value) + ' ';
      return told.size() >= all.size();
    });
    CHECK(told == all);
  };
  expect("first", 1);
  expect("sequence", 3);
  expect("time", 4);
  expect("now", 7);
}

TEST_CASE("a node with wrong subscriptions does not start, and says why") {
  const auto start = [](const std::vector<std::string>& names) {
    Node node{Config::embedded()};
    for (const std::string& name : names) node.subscribe<Counted>(name, [](const Counted&) {});
    return node.start().error().text;
  };
  CHECK(start({"a", "a"}).find("two subscriptions are named a") != std::string::npos);
  CHECK(start({"a b"}).find("a b") != std::string::npos);
  CHECK(start({"a"}).find("embedded") != std::string::npos);
}

}  // namespace catga::testing
