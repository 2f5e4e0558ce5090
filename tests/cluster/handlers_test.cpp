// Handlers that throw, block, wait for themselves or are asked too much; and what turns leave
// behind: tells, timers, entities without work.
#include "scene.hpp"

#include <algorithm>
#include <csignal>
#include <future>

namespace catga::testing {
namespace {

template <class Entity, class Message>
auto begin_ask(const Ref<Entity>& ref, const Message& message, AskOptions options = {}) {
  using Reply = Result<typename Message::Reply>;
  auto promise = std::make_shared<std::promise<Reply>>();
  auto answer = promise->get_future();
  ref.ask_then(
      message, [promise](Reply reply) { promise->set_value(std::move(reply)); }, options);
  return answer;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// What holds in a cluster and embedded.
void throwing_changes_nothing(const Ref<Counter>& counter, const Ref<Counter>& bystander) {
  CHECK(must(counter.ask(Add{1})) == 1);
  const auto broken = counter.ask(Break{"the roof is on fire", false});
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().code == Code::failed);
  CHECK(contains(broken.error().text, "the roof is on fire"));
  const auto refused = counter.ask(Break{"not today", true});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::rejected);
  CHECK(contains(refused.error().text, "not today"));
  CHECK(must(counter.ask(Get{})) == 1);
  CHECK(must(counter.ask(Add{1})) == 2);
  CHECK(must(bystander.ask(Get{})) == 0);
}

void cycle_names_its_path(const Ref<Walker>& first) {
  Milliseconds fastest = 1h;  // another program may have the processor once, not three times
  for (int round = 0; round < 3; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    const auto answer = first.ask(Walk{{"b", "c", "a"}, 0});
    fastest = std::min(fastest, since(begin));
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code == Code::failed);
    INFO(answer.error().text);
    CHECK(contains(answer.error().text, "walker/a → walker/b → walker/c → walker/a"));
  }
  CHECK(fastest < 50ms);
  CHECK(must(first.ask(Walk{{"b", "c"}, 0})) == "a b c");
}

void of_two_head_on_one_goes_on(const Ref<Walker>& left, const Ref<Walker>& right) {
  const auto begin = std::chrono::steady_clock::now();
  const auto now = std::chrono::system_clock::now();  // both began in the same millisecond
  auto one = begin_ask(left, Walk{{right.key()}, 50}, AskOptions{2s, new_operation_id(), now});
  auto other = begin_ask(right, Walk{{left.key()}, 50}, AskOptions{2s, new_operation_id(), now});
  const Result<std::string> first = one.get(), second = other.get();
  CHECK(since(begin) < 1s);
  REQUIRE(first.ok() != second.ok());
  const Error& error = first.ok() ? second.error() : first.error();
  CHECK(error.code == Code::failed);
  CHECK(contains(error.text, "cycle"));
  CHECK(must(left.ask(Walk{{right.key()}, 0})) == left.key() + " " + right.key());
  CHECK(must(right.ask(Walk{{left.key()}, 0})) == right.key() + " " + left.key());
}

}  // namespace

TEST_CASE("a handler that throws is failed with its words and changes nothing") {
  if (!servers_here()) return;
  Scene scene;
  scene.start("a");
  throwing_changes_nothing(scene.counter("alice"), scene.counter("must not hear of it"));
}

TEST_CASE("a call cycle is answered at once with its path") {
  if (!servers_here()) return;
  Scene scene;
  Node a{scene.config("a")}, b{scene.config("b")};
  for (Node* node : {&a, &b}) node->host<Counter>().host<Walker>();
  must(a.start());
  must(b.start());
  scene.expect_up(2);
  Client& client = scene.client();
  CHECK(must(client.ref<Walker>("a").ask(Walk{{"b", "c"}, 0})) == "a b c");  // all in memory
  cycle_names_its_path(client.ref<Walker>("a"));
  const auto alone = client.ref<Walker>("a").ask(Walk{{"a"}, 0});
  REQUIRE_FALSE(alone.ok());
  CHECK(contains(alone.error().text, "walker/a → walker/a"));
}

TEST_CASE("of two asks that meet head-on one is refused as a cycle and the other goes on") {
  if (!servers_here()) return;
  Scene scene;
  Node a{scene.config("a")}, b{scene.config("b")};
  for (Node* node : {&a, &b}) node->host<Counter>().host<Walker>();
  must(a.start());
  must(b.start());
  scene.expect_up(2);
  Client& client = scene.client();
  for (int round = 0; round < 10; ++round) {
    const std::string number = std::to_string(round);
    of_two_head_on_one_goes_on(client.ref<Walker>("l" + number), client.ref<Walker>("r" + number));
  }
}

TEST_CASE(
    "a handler that never returns is named in the log; others go on; SIGTERM still ends the node") {
  if (!servers_here()) return;
  Scene scene;
  NodeProcess& node = scene.start("a", {"--drain-timeout", "1s", "--entity-turn-warn", "50ms"});
  auto stuck = begin_ask(scene.counter("stuck"), Busy{-1}, AskOptions{.timeout = 1s});
  CHECK(node.says("a handler of counter/#", 5s));
  CHECK(node.has_said("\"catga.entity.key\":\""));
  CHECK_FALSE(node.has_said("stuck"));  // a key may be personal data
  for (int i = 0; i < 200; ++i)
    CHECK(must(scene.counter("k" + std::to_string(i)).ask(Add{1})) == 1);
  const Result<std::int64_t> answer = stuck.get();
  REQUIRE_FALSE(answer.ok());
  CHECK(answer.error().code == Code::timeout);
  node.signal(SIGTERM);
  CHECK(node.exit_code(10s) == 75);
}

TEST_CASE("more than an entity's mailbox holds is overloaded, with a time to come again") {
  if (!servers_here()) return;
  Scene scene;
  Config config = scene.config("a");
  config.entity.mailbox = 10;
  Node node{config};
  node.host<Counter>();
  must(node.start());
  const Ref<Counter> counter = node.ref<Counter>("hot");
  auto busy = begin_ask(counter, Busy{1500});
  std::vector<std::future<Result<std::int64_t>>> patient, hasty;
  for (int i = 0; i < 10; ++i) patient.push_back(begin_ask(counter, Add{1}));
  for (int i = 0; i < 90; ++i)
    hasty.push_back(begin_ask(counter, Add{1}, AskOptions{.timeout = 700ms}));
  // The runtime repeats what is refused. Whose time ends in the middle of a repeat hears `timeout`, with the refusal.
  int overloaded = 0, full = 0;
  for (auto& answer : hasty) {
    const Result<std::int64_t> got = answer.get();
    REQUIRE_FALSE(got.ok());
    full += contains(got.error().text, "entity.mailbox") ? 1 : 0;
    if (got.error().code != Code::overloaded) continue;
    overloaded += 1;
    CHECK(got.error().retry_after > 0ms);
    CHECK(contains(got.error().text, "entity.mailbox"));
  }
  CHECK(full >= 88);  // the first may come while Busy is not taken yet
  CHECK(overloaded >= 45);
  CHECK(must(scene.counter("cool").ask(Add{1})) == 1);
  must(busy.get());
  for (auto& answer : patient) must(answer.get());
  // What waited with a deadline that passed was not run: nobody would have heard of it.
  CHECK(must(counter.ask(Add{1})) >= 11);
  CHECK(must(counter.ask(Get{})) <= 11 + 90 - full);
}

TEST_CASE("idle entities leave memory, and their state is back at the next ask") {
  if (!servers_here()) return;
  Scene scene;
  Config config = scene.config("a");
  config.entity.idle_timeout = 200ms;
  Node node{config};
  node.host<Counter>();
  must(node.start());
  for (int i = 0; i < 100; ++i) must(node.ref<Counter>("k" + std::to_string(i)).ask(Add{i}));
  CHECK(node.figures().entities > 0);
  CHECK(eventually([&] { return node.figures().entities == 0; }));
  for (int i = 0; i < 100; ++i)
    CHECK(must(node.ref<Counter>("k" + std::to_string(i)).ask(Get{})) == i);
}

TEST_CASE("timers fire once, although the node that set them is killed before they are due") {
  if (!servers_here()) return;
  Scene scene;
  scene.launch("a");
  scene.launch("b");
  scene.expect_ready("a");
  scene.expect_ready("b");
  scene.expect_up(2);
  scene.let_them_meet();
  const std::vector<std::string> keys = Scene::key_per_shard();
  // Some are due before the kill, some while nobody owns the shard, some after.
  std::vector<std::future<Result<std::int64_t>>> set;
  for (std::size_t i = 0; i < keys.size(); ++i)
    set.push_back(begin_ask(scene.counter(keys[i]),
                            Remind{static_cast<std::int64_t>(100 + i * 2000 / keys.size())}));
  for (auto& answer : set) must(answer.get());
  std::this_thread::sleep_for(300ms);
  scene.node("a").kill9();
  const auto total = [&] {
    std::int64_t sum = 0;
    for (const std::string& key : keys) sum += must(scene.counter(key).ask(Get{}));
    return sum;
  };
  CHECK(eventually([&] { return total() >= static_cast<std::int64_t>(keys.size()); }, 10s));
  std::this_thread::sleep_for(1s);  // for those that would fire again
  for (const std::string& key : keys) CHECK(must(scene.counter(key).ask(Get{})) == 1);
}

TEST_CASE("embedded, without any server, the same holds: one node, stores in memory") {
  Config config = Config::embedded();
  config.log.level = "off";
  config.entity.idle_timeout = 200ms;
  config.entity.mailbox = 10;
  Node node{config};
  node.host<Counter>().host<Walker>();
  must(node.start());
  throwing_changes_nothing(node.ref<Counter>("alice"), node.ref<Counter>("must not hear of it"));
  must(node.ref<Walker>("a").ask(Walk{{"b", "c"}, 0}));
  cycle_names_its_path(node.ref<Walker>("a"));
  of_two_head_on_one_goes_on(node.ref<Walker>("l"), node.ref<Walker>("r"));
  CHECK(must(node.ref<Counter>("bob").ask(Pass{"carol"})) == 1);
  CHECK(eventually([&] { return must(node.ref<Counter>("carol").ask(Get{})) == 1; }));
  must(node.ref<Counter>("dave").ask(Remind{50}));
  CHECK(eventually([&] { return must(node.ref<Counter>("dave").ask(Get{})) == 1; }));
  const AskOptions twice{1s, new_operation_id(), std::chrono::system_clock::now()};
  CHECK(must(node.ref<Counter>("erin").ask(Add{1}, twice)) == 1);
  CHECK(must(node.ref<Counter>("erin").ask(Add{1}, twice)) == 1);
  CHECK(eventually([&] { return node.figures().entities == 0; }));
  CHECK(must(node.ref<Counter>("alice").ask(Get{})) == 2);
  must(node.stop());
}

TEST_CASE("a command with a key of the caller's takes effect once, however often it is sent") {
  Config config = Config::embedded();
  config.log.level = "off";
  Node node{config};
  node.host<Counter>();
  must(node.start());
  const AskOptions order{.idempotency_key = "order-17"};
  const Ref<Counter> alice = node.ref<Counter>("alice"), bob = node.ref<Counter>("bob");
  for (int i = 0; i < 4; ++i) CHECK(must(alice.ask(Add{5}, order)) == 5);
  CHECK(alice.ask(Add{6}, order).error().code == Code::malformed);
  CHECK(must(bob.ask(Add{7}, order)) == 7);
  CHECK(must(alice.ask(Add{1}, {.idempotency_key = "order-18"})) == 6);
  must(node.stop());
}

}  // namespace catga::testing
