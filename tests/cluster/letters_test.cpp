// Dead letters of tells on a real cluster: kept where their source lives, shown, sent again, thrown away.
#include <catga/persistence/keys.hpp>
#include <catga/runtime/messaging/jetstream.hpp>

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

json sequences(NatsConnection& nats) {
  const json answer = operators(nats, "GET", "deadletters");
  return answer["status"] == 200 ? answer["body"]["sequences"] : json::array();
}

}  // namespace

TEST_CASE("a tell that its target refuses for ever is kept, and arrives once when it is retried") {
  if (!servers_here()) return;
  Scene scene({}, {.user = "", .password = "", .jetstream = true});
  auto first = std::make_unique<Node>(scene.config("a"));
  first->host<Writer>().host<old_ones::Desk>();
  must(first->start());
  auto nats = must(connect(scene.config("x"), "test"));
  const std::map<std::string, std::string> alice{{"kind", "writer"}, {"key", "alice"}};

  for (const char* text : {"one", "two", "three"})
    must(scene.client().ref<Writer>("alice").ask(Write{"d", text}));
  must(scene.client().ref<Writer>("bob").ask(Write{"d", "bob's"}));
  REQUIRE(eventually([&] { return sequences(nats).size() == 2; }));
  REQUIRE(eventually([&] {
    for (const json& one : sequences(nats))
      if (one["key"] == "alice") return one["length"] == 3 && one["subscription"].is_null();
    return false;
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
  const ShardId shard = shard_of("writer", "alice", Scene::shards);
  const auto outbox = [&] {
    return redis_says(scene.servers.redis, {"EVAL", "return tostring(redis.call('XLEN',KEYS[1]))",
                                            "1", ShardKeys("test", shard).outbox()});
  };
  REQUIRE(eventually([&] { return sequences(nats).size() == 1; }));
  CHECK_MESSAGE(outbox() == "1", outbox());
  const std::map<std::string, std::string> alice{{"kind", "writer"}, {"key", "alice"}};
  std::this_thread::sleep_for(2500ms);  // the shard trims meanwhile
  CHECK(outbox() == "1");
  CHECK(sequences(nats)[0]["length"] == 1);
  CHECK(operators(nats, "POST", "deadletters/discard", alice)["body"]["left"] == 0);
}

}  // namespace catga::testing
