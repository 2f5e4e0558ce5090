// The short way past a shard's actor, on a node in this process.
#include <catga/catga.hpp>
#include <catga/entities/codec.hpp>
#include <catga/entities/operation.hpp>
#include <catga/persistence/memory/memory_stores.hpp>
#include <catga/runtime/actors/node_actor.hpp>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace catga {
namespace {

// clang-format off
struct Note { using Reply = Done; std::int64_t number = 0; bool leave = false; CATGA_MESSAGE(Note, number, leave); };
struct Count { using Reply = std::int64_t; CATGA_MESSAGE(Count); };
// clang-format on

/// Entities are made by the runtime, so what they saw is kept here.
std::atomic<std::int64_t> seen{0}, out_of_order{0};

/// Takes notes of one sender, and leaves memory when told to: the next note finds it cold.
class Reader {
 public:
  static constexpr std::string_view kind = "reader";
  using Handles = Messages<Note, Count>;
  struct State {
    std::int64_t last = 0;
    CATGA_FIELDS(last);
  } state;

  Done on(Turn& turn, const Note& note) {
    if (note.number <= state.last) out_of_order.fetch_add(1);
    state.last = note.number;
    seen.fetch_add(1);
    if (note.leave) turn.passivate();
    return {};
  }
  std::int64_t on(const Count&) const { return state.last; }
};

/// A node of one shard whose actors run, and whose time passes, when told to. `hot` is in memory.
class StillNode {
 public:
  StillNode() {
    config_.cluster.shards = 1;
    config_.entity.mailbox = 4;
    settings_.set("scheduler.policy", caf::atom("testing"));
    standing.live_as(self);
    give_rights();
    RouterOptions options;
    options.process = self;
    options.shards = 1;
    router_ = std::make_unique<Router>(std::move(options), standing, stores_.owners(), nullptr);
    system_ = std::make_unique<caf::actor_system>(settings_);
    workers_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
    std::map<std::string, Kind, std::less<>> kinds;
    kinds.emplace("reader", kind_of<Reader>());
    host_.reset(new actors::Host{config_,
                                 {},
                                 {},
                                 std::move(kinds),
                                 stores_,
                                 *router_,
                                 nullptr,
                                 standing,
                                 log_,
                                 watch_,
                                 "n1",
                                 system_->scheduler(),
                                 {},
                                 {},
                                 {}});
    host_->node = system_->spawn<actors::NodeActor>(std::ref(*host_));
    auto view = std::make_shared<MembershipView>();
    view->version = ViewVersion{1};
    view->members.push_back(Member{self, MemberState::up, "n1", 1, "-", "-", 0});
    tell_node(actors::ViewNews{view, self});
    tell_node(actors::SessionNews{true, self});
    seen = out_of_order = 0;
    deliver("hot");
    run();
    REQUIRE(seen == 1);
  }
  ~StillNode() {
    caf::anon_send_exit(host_->node, caf::exit_reason::kill);
    run();
    host_->forget_actors();
    router_.reset();
  }
  const Incarnation self{1, 11}, next{2, 22};
  NodeStanding standing;

  void give_rights() {
    standing.session_deadline_ms = now_ + 3'600'000;
    standing.reading_until_ms = now_ + 3'600'000;
  }
  actors::Host& host() { return *host_; }
  void listen(LogTap& tap) { log_.add(tap); }
  actors::Doorway& door() { return *host_->doors[0]; }
  void run() { workers_->run(); }
  void wait(std::int64_t ms) {
    now_ += ms;
    workers_->advance_time(std::chrono::milliseconds(ms));
    run();
  }
  template <class News>
  void tell_node(News news) {
    caf::anon_send(host_->node, std::move(news));
    run();
  }
  void tell_shard(ShardEvent event) {
    caf::anon_send(door().actor(),
                   actors::Happened{std::make_shared<ShardEvent>(std::move(event))});
    run();
  }
  /// As whoever brings a message: runs when the actors run.
  void deliver(const std::string& key) { host_->deliver(ShardId{0}, note_to(key)); }
  /// Whether the next message would pass the shard's actor by. It does then.
  bool passes(const std::string& key = "hot") {
    Envelope note = note_to(key);
    return door().pass(note);
  }
  Envelope note_to(const std::string& key) {
    Envelope note;
    note.kind = MessageClass::tell;
    note.entity = {"reader", key};
    note.message = Note::catga_message_name();
    note.payload = encode(Note{++number_, false});
    note.operation = new_operation_id();
    note.operation_ms = standing.cluster_now();
    note.deadline_ms = now_ + 60'000;
    return note;
  }

 private:
  std::int64_t now_ = 1'000'000, number_ = 0;
  const PretendedTime time_{[this] { return now_; }};
  Config config_ = Config::embedded();
  MemoryStores stores_{[this] { return now_; }};
  Log log_{quiet(), "test", "n1"};
  actors::TurnWatch watch_;
  caf::actor_system_config settings_;
  // In this order: actors outlive their system for a moment, and look at the host when they go.
  std::unique_ptr<Router> router_;
  std::unique_ptr<actors::Host> host_;
  std::unique_ptr<caf::actor_system> system_;
  caf::scheduler::test_coordinator* workers_ = nullptr;

  static Config::Log quiet() {
    Config::Log settings;
    settings.level = "off";
    return settings;
  }
};

/// Keeps what is told of one event.
struct Told final : LogTap {
  explicit Told(std::string of) : event(std::move(of)) {}
  void take(const LogRecord& record) override {
    if (record.event == event) lines.push_back(json_line(record));
  }
  bool last_says(const std::string& part) const {
    return !lines.empty() && lines.back().find(part) != std::string::npos;
  }
  const std::string event;
  std::vector<std::string> lines;
};

}  // namespace

TEST_CASE("a node whose session lapses tells once that it lost its shards, however it notices") {
  Told losses("catga.shard.ownership.lost");  // before the node, whose log it outlives
  StillNode node;
  node.listen(losses);
  node.standing.session_deadline_ms = 1;
  node.wait(500);
  REQUIRE(losses.lines.size() == 1);
  for (const char* part : {"\"cause\":\"session_expired\"", "\"shards\":1", "\"held\":0"})
    CHECK_MESSAGE(losses.last_says(part), losses.lines[0]);
  node.tell_node(actors::SessionNews{false, node.self});  // of what has lapsed already
  CHECK(losses.lines.size() == 1);

  node.give_rights();
  node.tell_node(actors::SessionNews{true, node.self});
  node.wait(500);
  REQUIRE(node.door().look().state == ShardState::owned);
  node.tell_node(actors::LinkNews{true, false});
  node.tell_node(actors::SessionNews{false, node.self});
  REQUIRE(losses.lines.size() == 2);
  CHECK(losses.last_says("\"cause\":\"redis_down\""));
}

TEST_CASE("why a node has left is told: it drained, or not all, or was evicted, or expired") {
  Told left("catga.node.left");
  StillNode node;
  node.listen(left);
  std::uint64_t version = 1;
  const auto view = [&](std::optional<Member> peer) {
    auto out = std::make_shared<MembershipView>();
    out->version = ViewVersion{++version};
    out->members.push_back(Member{node.self, MemberState::up, "n1", 1, "-", "-", 0});
    if (peer) out->members.push_back(*peer);
    node.tell_node(actors::ViewNews{out, node.self});
    node.wait(1000);  // a view that only adds members waits for the next
  };
  Member peer{Incarnation{7, 7}, MemberState::up, "n2", 1, "-", "-", 0};

  view(peer);
  view({});
  CHECK(left.last_says("\"cause\":\"evicted\""));

  peer.incarnation = {8, 8};
  view(peer);
  node.tell_node(actors::EndedNews{peer.incarnation, true});
  view({});
  CHECK(left.last_says("\"cause\":\"expired\""));

  peer = {Incarnation{9, 9}, MemberState::leaving, "n2", 1, "-", "-", 0};
  view(peer);
  view({});
  CHECK(left.lines.size() == 2);  // its last word is awaited
  node.host().metrics.drained(text_of(peer.incarnation), false);
  node.wait(200);
  CHECK(left.last_says("\"cause\":\"incomplete\""));

  peer.incarnation = {10, 10};
  view(peer);
  node.host().metrics.drained(text_of(peer.incarnation), true);
  view({});
  CHECK(left.last_says("\"cause\":\"planned\""));
  CHECK(left.last_says("\"severity\":\"INFO\""));

  peer.incarnation = {11, 11};  // killed while it gave its shards away
  view(peer);
  node.tell_node(actors::EndedNews{peer.incarnation, false});
  view({});
  CHECK(left.last_says("\"cause\":\"evicted\""));
  CHECK(left.lines.size() == 5);
}

TEST_CASE("a message passes to an entity in memory while its shard serves, and to no other") {
  StillNode node;
  CHECK(node.passes());
  CHECK_FALSE(node.passes("cold"));
  CHECK(seen == 1);
  node.run();
  CHECK(seen == 2);
}

TEST_CASE("a message waits for those that went to its shard's actor before it") {
  StillNode node;
  node.deliver("cold");
  CHECK_FALSE(node.passes());
  node.run();
  CHECK(node.passes());
}

TEST_CASE("a step of the shard out of OWNED closes its door") {
  StillNode node;
  node.tell_node(actors::SessionNews{false, node.self});
  CHECK(node.standing.may_read());  // so only the shard's own word counts
  CHECK_FALSE(node.passes());
  node.tell_node(actors::SessionNews{true, node.self});
  CHECK(node.passes());
}

TEST_CASE("no message passes by without the right to read from memory") {
  StillNode node;
  node.standing.reading_until_ms = 0;
  CHECK_FALSE(node.passes());
  node.give_rights();
  CHECK(node.passes());
}

TEST_CASE(
    "no message passes by once another Redis primary was met, until the shard is taken anew") {
  StillNode node;
  node.host().primary_changes += 1;
  CHECK_FALSE(node.passes());
  node.deliver("hot");  // its shard sees it, and takes everything anew
  node.run();
  CHECK(node.passes());
}

TEST_CASE("an entity that leaves memory, or is full, gets no mail by the short way") {
  StillNode node;
  node.door().entities().begin()->second.leaving = true;
  CHECK_FALSE(node.passes());
  node.door().entities().begin()->second.leaving = false;
  for (int i = 0; i < 4; ++i) CHECK(node.passes());
  CHECK_FALSE(node.passes());
}

TEST_CASE("a client's id without a time goes to the shard's actor, which gives it one") {
  StillNode node;
  Envelope note = node.note_to("hot");
  note.operation_ms = 0;
  CHECK_FALSE(node.door().pass(note));
}

TEST_CASE("no message overtakes one that its shard holds") {
  StillNode node;
  node.standing.session_deadline_ms = 0;  // for a moment, and the shard does not hear of it
  node.deliver("hot");
  node.run();
  CHECK(seen == 1);
  node.give_rights();
  node.tell_shard(WantReceived{});  // any step: the shard settles, and still holds the message
  CHECK_FALSE(node.passes());
  node.wait(250);  // looks at what it holds again
  CHECK(seen == 2);
  CHECK(node.passes());
}

TEST_CASE("the rights of a node's next life are not those of what its life before left running") {
  StillNode node;
  REQUIRE(node.passes());  // lies in the mailbox of an entity that did not run yet
  // The node is reborn and has a session and the reading right again, while all workers were busy:
  // the shard's actor has not heard of it, and somebody else may have had the shard meanwhile.
  node.standing.live_as(node.next);
  CHECK(node.standing.may_read());
  CHECK_FALSE(node.passes());
  node.deliver("hot");
  node.run();
  CHECK(seen == 1);
  CHECK(node.host().buffered_bytes != 0);  // the shard's actor holds it
  node.standing.live_as(node.self);
  node.wait(250);
  CHECK(seen == 3);
}

TEST_CASE("what one thread tells one entity arrives in order, in memory or not") {
  seen = out_of_order = 0;
  Config config = Config::embedded();
  config.cluster.shards = 16;
  Node node{config};
  node.host<Reader>();
  const Status started = node.start();
  INFO((started.ok() ? "" : started.error().text));
  REQUIRE(started.ok());
  constexpr std::int64_t each = 3000;
  constexpr int readers = 8;
  std::vector<std::thread> senders;
  for (int i = 0; i < readers; ++i) {
    senders.emplace_back([&node, i] {
      const auto reader = node.ref<Reader>("r" + std::to_string(i));
      for (std::int64_t number = 1; number <= each; ++number) {
        while (!reader.tell(Note{number, number % 7 == i % 7}).ok()) std::this_thread::yield();
        if (number % 100 == 0) (void)reader.ask(Count{});  // does not run too far ahead
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  for (int i = 0; i < readers; ++i) {
    const auto last = node.ref<Reader>("r" + std::to_string(i)).ask(Count{});
    REQUIRE(last.ok());
    CHECK(*last == each);
  }
  CHECK(seen == each * readers);
  CHECK(out_of_order == 0);
}

}  // namespace catga
