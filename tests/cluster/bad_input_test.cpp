// What is not as it should be, from typed callers, from JSON callers and from anybody who can reach
// a node's inbox, gets a clear error or is dropped; the node serves on.
#include <catga/runtime/messaging/wire.hpp>
#include <catga/runtime/standing.hpp>

#include "json_caller.hpp"
#include "scene.hpp"

#include <random>

namespace catga::testing {

/// Versions of the counter as other programs may know it.
namespace elsewhere {

struct Subtract {
  using Reply = std::int64_t;
  std::int64_t amount = 0;
  CATGA_MESSAGE(Subtract, amount);
};
struct Add {
  using Reply = std::int64_t;
  std::string amount;
  CATGA_MESSAGE(Add, amount);
};
class Counter {
 public:
  static constexpr std::string_view kind = "counter";
  using Handles = Messages<Subtract, Add>;
  struct State {
    std::int64_t total = 0;
    CATGA_FIELDS(total);
  } state;
  std::int64_t on(const Subtract&) { return 0; }
  std::int64_t on(const Add&) { return 0; }
};
class Stranger {
 public:
  static constexpr std::string_view kind = "stranger";
  using Handles = Messages<Add>;
  struct State {
    std::int64_t total = 0;
    CATGA_FIELDS(total);
  } state;
  std::int64_t on(const Add&) { return 0; }
};

}  // namespace elsewhere

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// Two nodes in this program, up and balanced.
struct TwoNodes {
  TwoNodes() {
    for (Node* node : {&a, &b}) node->host<Counter>();
    must(a.start());
    must(b.start());
    scene.expect_up(2);
    REQUIRE(eventually([&] {
      return a.figures().shards_serving + b.figures().shards_serving == Scene::shards &&
             b.figures().shards_serving > 0;
    }));
  }
  Scene scene;
  Node a{scene.config("a")}, b{scene.config("b")};
};

}  // namespace

TEST_CASE("an unknown kind, an unknown message and fields that do not fit are told by name") {
  if (!servers_here()) return;
  TwoNodes nodes;
  Client& client = nodes.scene.client();
  for (const char* key : {"alice", "bob", "carol", "dave"}) {  // on either node
    const auto kind = client.ref<elsewhere::Stranger>(key).ask(elsewhere::Add{"1"});
    REQUIRE_FALSE(kind.ok());
    CHECK(kind.error().code == Code::not_found);
    CHECK(contains(kind.error().text, "stranger"));
    const auto message = client.ref<elsewhere::Counter>(key).ask(elsewhere::Subtract{1});
    REQUIRE_FALSE(message.ok());
    CHECK(message.error().code == Code::not_found);
    CHECK(contains(message.error().text, "Subtract"));
    const auto field = client.ref<elsewhere::Counter>(key).ask(elsewhere::Add{"one"});
    REQUIRE_FALSE(field.ok());
    CHECK(field.error().code == Code::malformed);
    CHECK(contains(field.error().text, "amount"));
    CHECK(must(client.ref<Counter>(key).ask(Add{1})) == 1);
  }
}

TEST_CASE(
    "what is too large is refused, as a message, as a state and as a reply, and changes nothing") {
  if (!servers_here()) return;
  TwoNodes nodes;
  const Ref<Counter> counter = nodes.scene.counter("alice");
  CHECK(must(counter.ask(Add{1})) == 1);
  const auto message = counter.ask(Fill{0, 0, std::string(600 * 1024, 'b')});
  REQUIRE_FALSE(message.ok());
  CHECK(message.error().code == Code::malformed);
  CHECK(contains(message.error().text, "ask.payload_max"));
  const auto state = counter.ask(Fill{2 * 1024 * 1024, 0, ""});
  REQUIRE_FALSE(state.ok());
  CHECK(state.error().code == Code::failed);
  INFO(state.error().text);
  CHECK(contains(state.error().text, "state"));
  CHECK(contains(state.error().text, "1048576"));
  const auto reply = counter.ask(Fill{10, 65 * 1024, ""});
  REQUIRE_FALSE(reply.ok());
  CHECK(reply.error().code == Code::failed);
  INFO(reply.error().text);
  CHECK(contains(reply.error().text, "reply"));
  CHECK(contains(reply.error().text, "65536"));
  CHECK(must(counter.ask(Fill{500 * 1024, 60 * 1024, std::string(400 * 1024, 'b')})).size() ==
        60 * 1024);
  CHECK(must(counter.ask(Add{1})) == 2);
}

TEST_CASE("a hand-made message without meaning is answered malformed by the node it was sent to") {
  if (!servers_here()) return;
  TwoNodes nodes;
  JsonCaller stranger(nodes.scene.servers.nats.url());
  natsConnection* ears = nullptr;
  natsSubscription* inbox = nullptr;
  REQUIRE(natsConnection_ConnectTo(&ears, nodes.scene.servers.nats.url().c_str()) == NATS_OK);
  const Incarnation me{0x1234, 0x5678};
  const std::string mine = "catga.test.n." + text_of(me);
  REQUIRE(natsConnection_SubscribeSync(&inbox, ears, mine.c_str()) == NATS_OK);
  REQUIRE(natsConnection_FlushTimeout(ears, 2000) == NATS_OK);
  Envelope envelope;
  envelope.entity = {"counter", "alice"};
  envelope.message = "Add";
  envelope.payload = "\xc1 this is no msgpack";
  envelope.operation = new_operation_id();
  envelope.deadline_ms = boot_ms() + 5000;
  envelope.reply_to = me;
  envelope.correlation = 77;
  const std::string body = wire::encode(envelope, boot_ms());
  std::string batch = wire::header(me, ViewVersion{});
  wire::append(batch, wire::Message{body});
  stranger.publish("catga.test.n." + text_of(nodes.scene.members().front().incarnation), batch);
  std::string answered;
  while (answered.empty()) {
    natsMsg* message = nullptr;
    REQUIRE(natsSubscription_NextMsg(&message, inbox, 5000) == NATS_OK);
    const std::string bytes(natsMsg_GetData(message),
                            static_cast<std::size_t>(natsMsg_GetDataLength(message)));
    natsMsg_Destroy(message);
    const Result<wire::Batch> replies = wire::read(bytes);
    REQUIRE(replies.ok());
    for (const wire::Record& record : replies->records) {
      const auto* reply = std::get_if<wire::Reply>(&record);
      if (reply == nullptr) continue;  // OWN: where the shard is
      CHECK(reply->correlation == 77);
      CHECK_FALSE(reply->ok);
      CHECK(reply->code == Code::malformed);
      answered = reply->bytes;
    }
  }
  INFO(answered);
  CHECK(contains(answered, "Add"));
  natsSubscription_Destroy(inbox);
  natsConnection_Destroy(ears);
  CHECK(must(nodes.scene.counter("alice").ask(Add{1})) == 1);
}

TEST_CASE("random bytes on a node's inbox harm nobody and are said once a second") {
  if (!servers_here()) return;
  Scene scene;
  scene.start("a");
  Load load(scene.client(), {.callers = 2});
  load.expect_progress(50);
  const std::uint64_t seed = std::random_device{}();
  MESSAGE("seed " << seed);
  std::mt19937_64 random(seed);
  JsonCaller stranger(scene.servers.nats.url());
  const Incarnation node = scene.members().front().incarnation;
  const std::vector<std::string> subjects{"catga.test.n." + text_of(node), "catga.test.route"};
  const auto begin = std::chrono::steady_clock::now();
  for (int frame = 0; frame < 5000; ++frame) {
    std::string bytes(random() % 300, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    // Half of them begin well, half of these go on with a record whose length is right.
    if (frame % 2 == 0) {
      std::string record;
      if (frame % 4 == 0) {
        record.push_back(static_cast<char>(1 + random() % 10));
        for (unsigned shift = 0; shift < 32; shift += 8)
          record.push_back(static_cast<char>(bytes.size() >> shift));
      }
      bytes = wire::header(Incarnation{random(), random()}, ViewVersion{}) + record + bytes;
    }
    stranger.publish(subjects[static_cast<std::size_t>(frame) % 2], bytes);
  }
  stranger.flush();
  load.expect_progress(200);
  CHECK(scene.node("a").says("\"dropped\":", 2s));
  const auto seconds = static_cast<std::size_t>(since(begin).count() / 1000);
  load.stop();
  CHECK(scene.node("a").running());
  const std::size_t said = scene.node("a").times_said("\"dropped\":");
  CHECK(said >= 1);
  CHECK(said <= seconds + 2);
  CHECK_MESSAGE(load.troubles() == 0, load.last_trouble());
  load.check();
}

TEST_CASE("JSON calls are answered with JSON; one repeated under its operation id applies once") {
  if (!servers_here()) return;
  TwoNodes nodes;
  JsonCaller caller(nodes.scene.servers.nats.url());
  CHECK(caller.call("counter.alice.Add", R"({"amount":5})").json == "5");
  CHECK(caller.call("counter.alice.Get", "").json == "5");
  CHECK(must(nodes.scene.counter("alice").ask(Get{})) == 5);
  CHECK(caller.call("counter.a%2Fb%20%C3%A9.Add", R"({"amount":1})").json == "1");
  CHECK(must(nodes.scene.counter("a/b \xC3\xA9").ask(Get{})) == 1);
  for (const std::string& id :
       {std::string("0123456789abcdef0123456789abcdef"), std::string("order 7")}) {
    const std::string first = caller.call("counter.bob.Add", R"({"amount":1})", id).json;
    CHECK_FALSE(first.empty());
    for (int repeat = 0; repeat < 6; ++repeat)  // the queue group gives them to either node
      CHECK(caller.call("counter.bob.Add", R"({"amount":1})", id).json == first);
  }
  CHECK(must(nodes.scene.counter("bob").ask(Get{})) == 2);
  must(nodes.b.stop());  // another moment, surely another node, perhaps another owner
  CHECK(caller.call("counter.bob.Add", R"({"amount":1})", "order 7").json == "2");
  CHECK(must(nodes.scene.counter("bob").ask(Get{})) == 2);
  CHECK(caller.call("counter.bob.Add", R"({"amount":1})", "order 8").json == "3");
}

TEST_CASE("JSON that does not fit is answered with a code and a sentence") {
  if (!servers_here()) return;
  TwoNodes nodes;
  JsonCaller caller(nodes.scene.servers.nats.url());
  struct Wrong {
    std::string path, json, code, names;
  };
  const std::vector<Wrong> all{
      {"counter.alice.Add", "{\"amount\":", "malformed", "JSON"},
      {"counter.alice.Add", "[1,2]", "malformed", ""},
      {"counter.alice.Add", "\xff\xfe", "malformed", "JSON"},
      {"counter.alice.Add", R"({"amuont":1})", "malformed", "amuont"},
      {"counter.alice.Add", R"({"amount":"much"})", "malformed", "amount"},
      {"counter.alice.Add", R"({"amount":1.5})", "malformed", "amount"},
      {"counter.alice.Add", R"({"amount":99999999999999999999})", "malformed", "amount"},
      {"counter.alice.Add", std::string(100'000, '['), "malformed", ""},
      {"stranger.alice.Add", R"({"amount":1})", "not_found", "stranger"},
      {"counter.alice.Subtract", R"({"amount":1})", "not_found", "Subtract"},
      {"counter.al%ZZice.Add", R"({"amount":1})", "malformed", "percent"},
      {"counter.alice%2.Add", R"({"amount":1})", "malformed", "percent"},
      {"counter.alice.Fill", R"({"ballast":")" + std::string(600'000, 'b') + "\"}", "malformed",
       "ask.payload_max"},
      {"counter.alice.Break", R"({"words":"no money","politely":true})", "rejected", "no money"},
  };
  for (const Wrong& wrong : all) {
    INFO(wrong.path << " " << wrong.json.substr(0, 40));
    const JsonCaller::Answer answer = caller.call(wrong.path, wrong.json);
    INFO(answer.json);
    CHECK(answer.error_code == wrong.code);
    CHECK(contains(answer.json, "\"code\":\"" + wrong.code + "\""));
    CHECK(contains(answer.json, "\"text\":\""));
    CHECK(contains(answer.json, wrong.names));
  }
  CHECK(caller.call("counter.alice.Add", R"({"amount":1})").json == "1");
}

}  // namespace catga::testing
