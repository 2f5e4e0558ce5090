// Dead letters of tells on a real cluster: kept where their source lives, shown, sent again, thrown away.
#include <catga/persistence/keys.hpp>
#include <catga/runtime/messaging/jetstream.hpp>
#include <catga/runtime/outbox_entry.hpp>

#include "../support/http_client.hpp"
#include "scene.hpp"
#include <nlohmann/json.hpp>

namespace catga::testing {
namespace {

using nlohmann::json;

/// Two programs that do not agree on a message: what one tells, the other cannot read, until it is replaced.
namespace old_ones {
struct Note {
  using Reply = std::int64_t;
  std::int64_t text = 0;
  CATGA_MESSAGE(Note, text);
};
class Desk {
 public:
  static constexpr std::string_view kind = "desk";
  using Handles = Messages<Note>;
  struct State {
    std::vector<std::string> notes;
    CATGA_FIELDS(notes);
  } state;
  std::int64_t on(const Note& note) { return note.text; }
};
}  // namespace old_ones

struct Note {
  using Reply = std::int64_t;
  std::string text;
  CATGA_MESSAGE(Note, text);
};
struct Notes {
  using Reply = std::vector<std::string>;
  CATGA_MESSAGE(Notes);
};
class Desk {
 public:
  static constexpr std::string_view kind = "desk";
  using Handles = Messages<Note, Notes>;
  struct State {
    std::vector<std::string> notes;
    CATGA_FIELDS(notes);
  } state;
  std::int64_t on(const Note& note) {
    state.notes.push_back(note.text);
    return static_cast<std::int64_t>(state.notes.size());
  }
  std::vector<std::string> on(const Notes&) const { return state.notes; }
};

struct Write {
  using Reply = std::int64_t;
  std::string to, text;
  CATGA_MESSAGE(Write, to, text);
};
class Writer {
 public:
  static constexpr std::string_view kind = "writer";
  using Handles = Messages<Write>;
  struct State {
    std::int64_t written = 0;
    CATGA_FIELDS(written);
  } state;
  std::int64_t on(Turn& turn, const Write& write) {
    turn.tell<Desk>(write.to, Note{write.text});
    return ++state.written;
  }
};

/// As an operator asks: any node, over NATS.
json operators(NatsConnection& nats, const std::string& method, const std::string& path,
               const std::map<std::string, std::string>& query = {}) {
  const json asked{{"method", method}, {"path", "/api/v1/" + path}, {"query", query}};
  const auto answer = request(nats, "catga.test.admin", asked.dump(), 15s);
  return answer.ok() ? json::parse(*answer) : json{{"status", 0}, {"body", answer.error().text}};
}

/// The outbox of the shard of writer/<key>, as Redis says it.
std::string outbox_of(Scene& scene, const std::string& key) {
  const ShardId shard = shard_of("writer", key, Scene::shards);
  return redis_says(scene.servers.redis, {"EVAL", "return tostring(redis.call('XLEN',KEYS[1]))",
                                          "1", ShardKeys("test", shard).outbox()});
}

/// As if writer/<source> had told it to desk/<to> so long ago, and no node had lived since.
void told_long_ago(Scene& scene, const std::string& source, const std::string& to,
                   std::chrono::hours ago) {
  const auto now =
      std::chrono::duration_cast<Milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  PendingTell tell;
  tell.source = {"writer", source};
  tell.target = {"desk", to};
  tell.operation = new_operation_id();
  tell.at_ms = (now - ago).count();
  tell.message = "Note";
  tell.payload = encode(Note{"from " + source});
  const ShardId shard = shard_of("writer", source, Scene::shards);
  redis_says(scene.servers.redis,
             {"XADD", ShardKeys("test", shard).outbox(), "*", "b", bytes_of(tell)});
}

json sequences(NatsConnection& nats) {
  const json answer = operators(nats, "GET", "deadletters");
  return answer["status"] == 200 ? answer["body"]["sequences"] : json::array();
}

}  // namespace

TEST_CASE("a tell that its target refuses for ever is kept, and arrives once when it is retried") {
  if (!servers_here()) return;
  Scene scene({}, {.user = "", .password = "", .jetstream = true});
  Config config = scene.config("a");
  config.health.listen = "127.0.0.1:0";
  auto first = std::make_unique<Node>(config);
  first->host<Writer>().host<old_ones::Desk>();
  must(first->start());
  auto nats = must(connect(scene.config("x"), "test"));
  const std::map<std::string, std::string> alice{{"kind", "writer"}, {"key", "alice"}};
  const auto metrics = [&] {
    return http_ask(first->figures().health_port, "GET", "/metrics").body;
  };
  CHECK(metrics().find("catga_dead_letters{service=\"catga\",of=\"tells\"} 0\n") !=
        std::string::npos);

  for (const char* text : {"one", "two", "three"})
    must(scene.client().ref<Writer>("alice").ask(Write{"d", text}));
  must(scene.client().ref<Writer>("bob").ask(Write{"d", "bob's"}));
  REQUIRE(eventually([&] { return sequences(nats).size() == 2; }));
  REQUIRE(eventually([&] {
    for (const json& one : sequences(nats))
      if (one["key"] == "alice") return one["length"] == 3 && one["subscription"].is_null();
    return false;
  }));
  CHECK(eventually([&] {  // it looks again every few seconds, if somebody reads
    return metrics().find("of=\"tells\"} 4\n") != std::string::npos;
  }));
  const json letters = operators(nats, "GET", "deadletters/one", alice)["body"]["letters"];
  REQUIRE(letters.size() == 3);
  CHECK(letters[0]["event"] == "Note");
  CHECK(letters[0]["target"] == "desk/d");
  CHECK(letters[0]["why"].get<std::string>().starts_with("malformed"));
  const json still = operators(nats, "POST", "deadletters/retry", alice);
  CHECK(still["status"] == 400);
  CHECK(operators(nats, "GET", "deadletters/one", alice)["body"]["letters"].size() == 3);

  // Another node takes over, with the outbox and the letters, and one can read the notes.
  must(first->stop());
  first.reset();
  Node second(scene.config("b"));
  second.host<Writer>().host<Desk>();
  must(second.start());
  CHECK(
      eventually([&] { return sequences(nats).size() == 2; }));  // nothing was sent again by itself
  CHECK(must(scene.client().ref<Desk>("d").ask(Notes{})).empty());
  CHECK(operators(nats, "POST", "deadletters/discard", alice)["body"]["left"] == 2);
  CHECK(operators(nats, "POST", "deadletters/retry", alice)["body"]["done"] == 2);
  CHECK(operators(nats, "POST", "deadletters/retry", alice)["body"]["done"] == 0);
  CHECK(must(scene.client().ref<Desk>("d").ask(Notes{})) ==
        std::vector<std::string>{"two", "three"});
  CHECK(operators(nats, "POST", "deadletters/discard", alice)["status"] == 404);
  CHECK(sequences(nats).size() == 1);
}

TEST_CASE("letters of tells without room leave the tell in the outbox until there is some") {
  if (!servers_here()) return;
  Scene scene;
  Config config = scene.config("a");
  config.events.parked_max = 1;
  Node node(config);
  node.host<Writer>().host<old_ones::Desk>();
  must(node.start());
  auto nats = must(connect(scene.config("x"), "test"));
  for (const char* text : {"one", "two"})
    must(scene.client().ref<Writer>("alice").ask(Write{"d", text}));
  const auto outbox = [&] { return outbox_of(scene, "alice"); };
  REQUIRE(eventually([&] { return sequences(nats).size() == 1; }));
  CHECK_MESSAGE(outbox() == "1", outbox());
  const std::map<std::string, std::string> alice{{"kind", "writer"}, {"key", "alice"}};
  std::this_thread::sleep_for(2500ms);  // the shard trims meanwhile
  CHECK(outbox() == "1");
  CHECK(sequences(nats)[0]["length"] == 1);
  CHECK(operators(nats, "POST", "deadletters/discard", alice)["body"]["left"] == 0);
}

namespace {

/// A desk that can do nothing for the moment.
class ClosedDesk {
 public:
  static constexpr std::string_view kind = "desk";
  using Handles = Messages<Note>;
  struct State {
    std::int64_t notes = 0;
    CATGA_FIELDS(notes);
  } state;
  Result<std::int64_t> on(const Note&) { return Error{Code::unavailable, "closed"}; }
};

}  // namespace

TEST_CASE(
    "a tell that could not be delivered for 24 hours is a dead letter, a younger one is not") {
  if (!servers_here()) return;
  Scene scene;
  told_long_ago(scene, "old", "d", 25h);
  told_long_ago(scene, "young", "d", 23h);
  auto closed = std::make_unique<Node>(scene.config("a"));
  closed->host<Writer>().host<ClosedDesk>();
  must(closed->start());
  auto nats = must(connect(scene.config("x"), "test"));
  REQUIRE(eventually([&] { return sequences(nats).size() == 1; }));
  CHECK(sequences(nats)[0]["key"] == "old");
  const std::map<std::string, std::string> old{{"kind", "writer"}, {"key", "old"}};
  const json letters = operators(nats, "GET", "deadletters/one", old)["body"]["letters"];
  REQUIRE(letters.size() == 1);
  CHECK(letters[0]["why"].get<std::string>().find("closed") != std::string::npos);
  CHECK(outbox_of(scene, "old") == "0");
  CHECK(outbox_of(scene, "young") == "1");
  must(closed->stop());
  closed.reset();

  Node open(scene.config("b"));
  open.host<Writer>().host<Desk>();
  must(open.start());
  const auto notes = [&] { return must(scene.client().ref<Desk>("d").ask(Notes{})); };
  REQUIRE(eventually([&] { return !notes().empty(); }));
  CHECK(notes() == std::vector<std::string>{"from young"});
  CHECK(operators(nats, "POST", "deadletters/retry", old)["body"]["done"] == 1);
  CHECK(notes() == std::vector<std::string>{"from young", "from old"});
}

TEST_CASE("a tell older than what its target remembers is a letter, and runs when it is renewed") {
  if (!servers_here()) return;
  Scene scene;
  told_long_ago(scene, "alice", "d", 24h * 8);
  Node node(scene.config("a"));
  node.host<Writer>().host<Desk>();
  must(node.start());
  auto nats = must(connect(scene.config("x"), "test"));
  REQUIRE(eventually([&] { return sequences(nats).size() == 1; }));
  std::map<std::string, std::string> alice{{"kind", "writer"}, {"key", "alice"}};
  const json letters = operators(nats, "GET", "deadletters/one", alice)["body"]["letters"];
  REQUIRE(letters.size() == 1);
  CHECK(letters[0]["why"].get<std::string>().starts_with("expired"));
  const auto notes = [&] { return must(scene.client().ref<Desk>("d").ask(Notes{})); };
  CHECK(operators(nats, "POST", "deadletters/retry", alice)["status"] != 200);
  CHECK(notes().empty());
  CHECK(sequences(nats).size() == 1);
  alice["renew"] = "true";
  CHECK(operators(nats, "POST", "deadletters/retry", alice)["body"]["done"] == 1);
  CHECK(notes() == std::vector<std::string>{"from alice"});
  CHECK(sequences(nats).empty());
}

TEST_CASE("letters of tells take 4 MiB of a shard, and those behind follow when there is room") {
  if (!servers_here()) return;
  Scene scene;
  auto node = std::make_unique<Node>(scene.config("a"));
  node->host<Writer>().host<old_ones::Desk>();
  must(node->start());
  auto nats = must(connect(scene.config("x"), "test"));
  constexpr int tells = 12, fit = 8;
  const std::string half_a_megabyte(500'000, 'x');
  for (int i = 0; i < tells; ++i)
    must(scene.client().ref<Writer>("alice").ask(Write{"d", half_a_megabyte}));
  const auto parked = [&]() -> int {
    const json all = sequences(nats);
    return all.size() == 1 ? all[0]["length"].get<int>() : 0;
  };
  REQUIRE(eventually([&] { return parked() == fit; }));
  CHECK(outbox_of(scene, "alice") == std::to_string(tells - fit));
  const std::map<std::string, std::string> alice{{"kind", "writer"}, {"key", "alice"}};
  CHECK(operators(nats, "POST", "deadletters/discard", alice)["body"]["left"] == fit - 1);
  must(node->stop());  // the next owner tries again at once
  node = std::make_unique<Node>(scene.config("b"));
  node->host<Writer>().host<old_ones::Desk>();
  must(node->start());
  REQUIRE(eventually([&] { return parked() == fit; }));
  CHECK(eventually([&] { return outbox_of(scene, "alice") == std::to_string(tells - fit - 1); }));
}

namespace {

struct Sound {
  using Reply = std::int64_t;
  CATGA_MESSAGE(Sound);
};
struct SetAlarm {
  using Reply = Done;
  bool again = false;
  CATGA_MESSAGE(SetAlarm, again);
};
struct Mend {
  using Reply = Done;
  CATGA_MESSAGE(Mend);
};
/// Makes no sound before it is mended.
class Alarm {
 public:
  static constexpr std::string_view kind = "alarm";
  using Handles = Messages<Sound, SetAlarm, Mend>;
  struct State {
    bool mended = false;
    std::int64_t sounded = 0;
    CATGA_FIELDS(mended, sounded);
  } state;
  std::int64_t on(const Sound&) {
    if (!state.mended) throw std::runtime_error("the battery is flat");
    return ++state.sounded;
  }
  Done on(Turn& turn, const SetAlarm& set) {
    if (set.again)
      turn.every("daily", 100ms, Sound{});
    else
      turn.after(100ms, Sound{}, "wake");
    return {};
  }
  Done on(const Mend&) {
    state.mended = true;
    return {};
  }
};

}  // namespace

// Its ten attempts take eight and a half minutes.
TEST_CASE("a timer that fails ten times is a dead letter, and a reminder that does is not") {
  if (!servers_here()) return;
  Scene scene;
  Node node(scene.config("a"));
  node.host<Alarm>();
  must(node.start());
  auto nats = must(connect(scene.config("x"), "test"));
  const auto clock = [&](const std::string& key) { return node.ref<Alarm>(key); };
  must(clock("daily").ask(SetAlarm{true}));
  must(clock("once").ask(SetAlarm{false}));
  REQUIRE(eventually([&] { return sequences(nats).size() == 1; }, 10min));
  const std::map<std::string, std::string> once{{"kind", "alarm"}, {"key", "once"}};
  const json letters = operators(nats, "GET", "deadletters/one", once)["body"]["letters"];
  REQUIRE(letters.size() == 1);
  CHECK(letters[0]["event"] == "Sound");
  CHECK(letters[0]["target"] == "alarm/once");
  CHECK(letters[0]["attempts"] == 10);
  CHECK(letters[0]["why"] == "timer wake: failed: the handler threw: the battery is flat");
  const ShardId shard = shard_of("alarm", "once", Scene::shards);
  const auto due = [&] {
    return redis_says(scene.servers.redis,
                      {"ZSCORE", ShardKeys("test", shard).timers(), "e|alarm/once|wake"});
  };
  CHECK_MESSAGE(due().empty(), due());
  CHECK(operators(nats, "POST", "deadletters/retry", once)["status"] != 200);  // not mended yet
  for (const char* key : {"once", "daily"}) must(clock(key).ask(Mend{}));
  CHECK(operators(nats, "POST", "deadletters/retry", once)["body"]["done"] == 1);
  CHECK(must(clock("once").ask(Sound{})) == 2);  // it had sounded once
  CHECK(sequences(nats).empty());
  // The reminder goes on by itself.
  std::int64_t asked = 0;
  CHECK(eventually([&] { return must(clock("daily").ask(Sound{})) > ++asked; }, 6min));
}

}  // namespace catga::testing
