// Sagas over real entities: they complete, go back in reverse order, wait, and survive the death of whoever runs them;
// whatever happens, each effect is there once.
#include <catga/runtime/node_seams.hpp>

#include "crash_at_every_commit.hpp"
#include "sagas.hpp"

#include <algorithm>
#include <csignal>
#include <memory>

namespace catga::testing {
namespace {

/// So many commits of sagas end the actor that asks for them, so many lists of one shard its saga supervisor.
struct Faults {
  std::atomic<int> commits{0};
  std::atomic<int> lists{0};
  ShardId shard{shard_of("order", "17", 64)};
};

/// Stores with faults.
class FaultyStores final : public Stores {
 public:
  FaultyStores(std::unique_ptr<Stores> inner, std::shared_ptr<Faults> faults)
      : inner_(std::move(inner)), sagas_(inner_->sagas(), std::move(faults)) {}
  OwnerStore& owners() override { return inner_->owners(); }
  MemberStore& members() override { return inner_->members(); }
  StateStore& state() override { return inner_->state(); }
  SagaStore& sagas() override { return sagas_; }

 private:
  class Sagas final : public SagaStore {
   public:
    Sagas(SagaStore& inner, std::shared_ptr<Faults> faults)
        : inner_(inner), faults_(std::move(faults)) {}
    void create(SagaCreate one, Then<SagaCreated> then) override {
      inner_.create(std::move(one), std::move(then));
    }
    void load(const SagaLoad& load, Then<SagaLoaded> then) override {
      inner_.load(load, std::move(then));
    }
    void commit(SagaCommit one, Then<SagaCommitted> then) override {
      if (faults_->commits.fetch_sub(1) > 0) throw std::runtime_error("the test ends this actor");
      inner_.commit(std::move(one), std::move(then));
    }
    void list(const SagaQuery& query, Then<SagaPage> then) override {
      if (query.shard == faults_->shard && faults_->lists.fetch_sub(1) > 0) {
        throw std::runtime_error("the test ends this supervisor");
      }
      inner_.list(query, std::move(then));
    }
    void overview(ShardId shard, const OwnerToken& token, Then<SagaOverview> then) override {
      inner_.overview(shard, token, std::move(then));
    }
    void tidy(const SagaTidy& tidy, Then<bool> then) override {
      inner_.tidy(tidy, std::move(then));
    }

   private:
    SagaStore& inner_;
    std::shared_ptr<Faults> faults_;
  };
  std::unique_ptr<Stores> inner_;
  Sagas sagas_;
};

/// Starts sagas in its turns.
struct Accept {
  using Reply = Done;
  TestOrder order;
  bool refuse = false;
  CATGA_MESSAGE(Accept, order, refuse);
};
class Clerk {
 public:
  static constexpr std::string_view kind = "clerk";
  using Handles = Messages<Accept>;
  struct State {
    std::int64_t accepted = 0;
    CATGA_FIELDS(accepted);
  } state;
  Result<Done> on(Turn& turn, const Accept& accept) {
    turn.start(order_saga(), accept.order.id, accept.order);
    state.accepted += 1;
    if (accept.refuse) return reject("on second thoughts");
    return Done{};
  }
};

/// A node in this program without servers.
std::unique_ptr<Node> a_shop(std::shared_ptr<Faults> faulty = nullptr,
                             std::uint32_t max_active = 100) {
  Config config = Config::embedded();
  config.saga.max_active = max_active;
  config.cluster.shards = 64;
  config.log.level = "off";
  auto node = std::make_unique<Node>(config);
  node->host<Shelf>().host(order_saga()).host(invoice_saga());
  if (faulty) {
    NodeSeams::wrap_stores(*node, [faulty](std::unique_ptr<Stores> plain) {
      return std::make_unique<FaultyStores>(std::move(plain), faulty);
    });
  }
  must(node->start());
  return node;
}

template <class World>
void stock(World& world, const std::string& shelf, std::int64_t amount) {
  must(world.template ref<Shelf>(shelf).ask(Stock{amount}));
}

template <class World>
void stock_all(World& world, std::int64_t amount) {
  for (const char* shelf : {"tea", "cup", "purse", "paper", "mails", "counts", "gifts"}) {
    stock(world, shelf, amount);
  }
}

template <class World>
Books books(World& world, const std::string& shelf) {
  return must(world.template ref<Shelf>(shelf).ask(Read{}));
}

TestOrder an_order(std::string id) {
  TestOrder order;
  order.id = std::move(id);
  order.shelves = {"tea", "cup"};
  order.purse = "purse";
  order.price = 5;
  return order;
}

using Words = std::vector<std::string>;

std::string text(const Result<SagaReport>& report) {
  if (!report) return std::string(name_of(report.error().code)) + ": " + report.error().text;
  return std::string(name_of(report->status)) + ' ' + report->cause + ' ' + report->text;
}

/// What a story with this order is about.
struct Orders {
  TestOrder order;
  SagaStatus end = SagaStatus::completed;
  std::map<std::string, Words> log = {};  ///< what each shelf must say
  int commits = 10;
  bool approved = false, cancelled = false;  ///< said while it waits
};

/// The order of one round, on shelves that only this round knows: their logs are this round's.
TestOrder order_of(const Orders& all, const std::string& round) {
  const auto named = [&](std::string& shelf) { shelf += shelf.empty() ? "" : '-' + round; };
  TestOrder one = all.order;
  one.id = round;
  for (std::string& shelf : one.shelves) named(shelf);
  named(one.purse);
  named(one.last);
  one.round = '-' + round;
  return one;
}

/// The same order again and again; each time its node dies at another commit.
void crash_at_every_commit(const Orders& all) {
  if (!servers_here()) return;
  Scene scene;
  const auto client = [&]() -> Client& { return scene.client(); };
  CrashStory story;
  story.commits = all.commits;
  story.prepare = [&](const std::string& round) {
    for (const auto& [shelf, words] : all.log)
      if (shelf != all.order.last || !words.empty())
        say<Shelf>(client(), shelf + '-' + round, Stock{10});
  };
  story.begin = [&](const std::string& round) -> Status {
    const auto begun = client().start(order_saga(), round, order_of(all, round));
    return begun.ok() ? Status(Done{}) : begun.error();
  };
  story.over = [&](const std::string& round) {
    const auto saga = client().saga(order_saga(), round);
    const auto state = saga.state();
    const bool waits = state.ok() && state->paid == "yes" && state->approver.empty();
    if (waits && all.approved) (void)saga.signal("approval", "1", Approval{"bob"});
    if (waits && all.cancelled) (void)saga.cancel("on second thoughts");
    return has_come_to(client(), order_saga(), round, all.end);
  };
  story.look = [&](const std::string& round) { return look_at_saga(client(), "order", round); };
  story.check = [&](const std::string& round) {
    for (const auto& [shelf, words] : all.log) {
      Words wanted;
      for (const std::string& word : words) wanted.push_back(word + " " + round);
      CHECK_MESSAGE(books(client(), shelf + '-' + round).log == wanted, shelf);
    }
    if (all.approved) CHECK(must(client().saga(order_saga(), round).state()).approver == "bob");
  };
  crash_at_every_commit(scene, story);
}

/// Many orders of all sorts, started by a client while nodes come and go; at the end the books must agree.
class Rush {
 public:
  explicit Rush(Client& client) : client_(client) {
    for (const char* shelf : {"purse", "paper", "mails", "counts"}) stock(client_, shelf, 100'000);
    for (const std::string& shelf : shelves_) stock(client_, shelf, 100'000);
  }

  /// Every third is refused at its last step and goes back.
  void start(int count) {
    for (int i = 0; i < count; ++i) {
      TestOrder order;
      order.id = "r" + std::to_string(orders_.size());
      const std::size_t place = orders_.size();
      order.shelves = {shelves_[place % shelves_.size()], shelves_[(place + 3) % shelves_.size()]};
      order.purse = "purse";
      order.price = 5;
      order.nap_ms = place % 2 == 0 ? 1 : 0;
      order.with_child = place % 4 == 1;
      order.asks = place % 5 == 2;
      if (place % 3 == 0) order.last = "nothing";
      begin(order);
      orders_.push_back(order);
    }
  }

  /// Says what those who ask wait for, then waits for all.
  void finish(Milliseconds patience) {
    for (const TestOrder& order : orders_) {
      if (!order.asks) continue;
      const auto saga = client_.saga(order_saga(), order.id);
      INFO(order.id);
      REQUIRE(eventually([&] { return saga.signal("approval", "s", Approval{"ann"}).ok(); }));
    }
    const auto end = std::chrono::steady_clock::now() + patience;
    for (const TestOrder& order : orders_) {
      const auto saga = client_.saga(order_saga(), order.id);
      const auto left =
          std::chrono::duration_cast<Milliseconds>(end - std::chrono::steady_clock::now());
      const Result<SagaReport> report = saga.wait(std::max(left, Milliseconds(1)));
      const SagaStatus expected =
          goes_back(order) ? SagaStatus::compensated : SagaStatus::completed;
      CHECK_MESSAGE((report.ok() && report->status == expected), (order.id + ": " + text(report)));
    }
  }

  /// Each effect once, and none of what was undone is left.
  void check() {
    std::map<std::string, std::map<std::string, int>> takes, backs;
    for (const TestOrder& order : orders_) {
      for (std::string shelf : touched(order)) {
        takes[shelf][order.id] += 1;
        if (goes_back(order)) backs[shelf][order.id] += 1;
      }
    }
    for (const auto& [shelf, orders] : takes) {
      const Books found = books(client_, shelf);
      std::map<std::string, int> took, gave;
      for (const std::string& line : found.log) {
        (line.starts_with("take ") ? took : gave)[line.substr(5)] += 1;
      }
      CHECK_MESSAGE(took == orders, shelf);
      CHECK_MESSAGE(gave == backs[shelf], shelf);
    }
  }

 private:
  static bool goes_back(const TestOrder& order) { return !order.last.empty(); }
  static Words touched(const TestOrder& order) {
    Words all = order.shelves;
    for (const char* shelf : {"purse", "mails", "counts"}) all.emplace_back(shelf);
    if (order.with_child) all.emplace_back("paper");
    return all;
  }
  void begin(const TestOrder& order) {
    INFO(order.id);
    std::string why;
    const bool begun = eventually([&] {
      const auto started = client_.start(order_saga(), order.id, order);
      if (!started) why = started.error().text;
      return started.ok();
    });
    REQUIRE_MESSAGE(begun, why);
  }

  Client& client_;
  const Words shelves_{"s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"};
  std::vector<TestOrder> orders_;
};

}  // namespace

TEST_CASE("an order saga completes and each of its steps has taken effect once") {
  const auto shop = a_shop();
  stock_all(*shop, 10);
  const auto order = must(shop->start(order_saga(), "17", an_order("17")));
  const auto end = order.wait(10s);
  CHECK_MESSAGE((end.ok() && end->status == SagaStatus::completed), text(end));
  for (const char* shelf : {"tea", "cup", "purse", "mails", "counts"}) {
    CHECK_MESSAGE(books(*shop, shelf).log == Words{"take 17"}, shelf);
  }
  CHECK(books(*shop, "paper").log.empty());
  const TestOrder state = must(order.state());
  CHECK(state.paid == "yes");
  CHECK(state.taken.size() == 2);
  CHECK(must(order.status()).status == SagaStatus::completed);
}

TEST_CASE("a repeated start finds the saga, one with another input is refused") {
  const auto shop = a_shop();
  stock_all(*shop, 10);
  must(must(shop->start(order_saga(), "17", an_order("17"))).wait(10s));
  must(must(shop->start(order_saga(), "17", an_order("17"))).wait(10s));
  CHECK(books(*shop, "tea").log == Words{"take 17"});
  TestOrder other = an_order("17");
  other.price = 6;
  const auto refused = shop->start(order_saga(), "17", other);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::malformed);
  const auto unknown = shop->saga(order_saga(), "nobody").status();
  REQUIRE_FALSE(unknown.ok());
  CHECK(unknown.error().code == Code::not_found);
}

TEST_CASE("a rejected step makes a saga go back in reverse order") {
  const auto shop = a_shop();
  stock_all(*shop, 10);
  TestOrder order = an_order("17");
  order.last = "nothing";  // an empty shelf: the last step is refused
  order.shelves = {"tea", "purse"};
  const auto end = must(shop->start(order_saga(), "17", order)).wait(20s);
  CHECK_MESSAGE((end.ok() && end->status == SagaStatus::compensated), text(end));
  CHECK(text(end).find("only 0 left") != std::string::npos);
  CHECK(books(*shop, "tea").log == Words{"take 17", "back 17"});
  // Line, then payment; payment, then line.
  CHECK(books(*shop, "purse").log == Words{"take 17", "take 17", "back 17", "back 17"});
  for (const char* shelf : {"tea", "purse", "mails", "counts"})
    CHECK(books(*shop, shelf).left == 10);
}

TEST_CASE(
    "a saga waits for its signal; one that comes early is kept, one that comes twice counts once") {
  const auto shop = a_shop();
  stock_all(*shop, 10);
  TestOrder order = an_order("early");
  order.asks = true;
  order.nap_ms = 1;
  const auto early = must(shop->start(order_saga(), "early", order));
  must(early.signal("approval", "s1", Approval{"bob"}));
  must(early.signal("approval", "s1", Approval{"eve"}));
  CHECK_MESSAGE(must(early.wait(10s)).status == SagaStatus::completed, "early");
  CHECK(must(early.state()).approver == "bob");

  order.id = "late";
  const auto late = must(shop->start(order_saga(), "late", order));
  REQUIRE(eventually([&] { return books(*shop, "purse").log.size() == 2; }));
  CHECK(late.wait(100ms).error().code == Code::timeout);
  must(late.signal("approval", "s1", Approval{"ann"}));
  CHECK(must(late.wait(10s)).status == SagaStatus::completed);
  const auto after = late.signal("approval", "s2", Approval{"ann"});
  REQUIRE_FALSE(after.ok());
  CHECK(after.error().code == Code::not_found);
}

TEST_CASE("a cancelled saga goes back, and one that has ended cannot be cancelled") {
  const auto shop = a_shop();
  stock_all(*shop, 10);
  TestOrder order = an_order("17");
  order.asks = true;
  const auto saga = must(shop->start(order_saga(), "17", order));
  REQUIRE(eventually([&] { return books(*shop, "purse").log.size() == 1; }));
  must(saga.cancel("the customer changed her mind"));
  const auto end = saga.wait(20s);
  CHECK_MESSAGE((end.ok() && end->status == SagaStatus::compensated), text(end));
  for (const char* shelf : {"tea", "cup", "purse"}) {
    CHECK(books(*shop, shelf).log == Words{"take 17", "back 17"});
  }
  must(saga.cancel("again"));  // it is so already
  const auto done = must(shop->start(order_saga(), "18", an_order("18")));
  must(done.wait(10s));
  const auto late = done.cancel("too late");
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().code == Code::rejected);
}

TEST_CASE("a child runs as a saga of its own, and its end goes into the state of its parent") {
  const auto shop = a_shop();
  stock_all(*shop, 10);
  TestOrder order = an_order("17");
  order.with_child = true;
  order.nap_ms = 1;
  const auto saga = must(shop->start(order_saga(), "17", order));
  const auto end = saga.wait(10s);
  CHECK_MESSAGE((end.ok() && end->status == SagaStatus::completed), text(end));
  CHECK(books(*shop, "paper").log == Words{"take 17"});
  CHECK(must(shop->saga(invoice_saga(), "17.invoice").status()).status == SagaStatus::completed);

  // A child that is refused makes its parent go back.
  stock(*shop, "paper", -9);
  order.id = "18";
  const auto refused = must(shop->start(order_saga(), "18", order)).wait(20s);
  CHECK_MESSAGE((refused.ok() && refused->status == SagaStatus::compensated), text(refused));
  CHECK(books(*shop, "tea").left == 9);
}

TEST_CASE("operators list sagas, count them by version, read a journal and abort one") {
  const auto shop = a_shop();
  stock_all(*shop, 1000);
  TestOrder order = an_order("");
  order.asks = true;
  for (int i = 0; i < 20; ++i) {
    order.id = "o" + std::to_string(i);
    must(shop->start(order_saga(), order.id, order));
  }
  must(must(shop->start(order_saga(), "done", an_order("done"))).wait(10s));
  const Sagas sagas = shop->sagas();
  CHECK(must(sagas.list({.type = "order"})).sagas.size() == 20);
  CHECK(must(sagas.list({.type = "order", .status = SagaStatus::completed})).sagas.size() == 1);
  CHECK(must(sagas.list({.type = "invoice"})).sagas.empty());
  const SagaCounts counts = must(sagas.count());
  const std::map<SagaStatus, std::size_t> twenty{{SagaStatus::running, 20}};
  CHECK(counts.by_version.at({"order", 1}) == twenty);
  const SagaStory story = must(sagas.show("order", "done"));
  CHECK(story.journal.front().kind == EntryKind::input);
  CHECK(story.journal.back().kind == EntryKind::end);

  const Status nameless =
      sagas.operate("order", "o3", OperatorRequest{OperatorVerb::abort, "", "", "", ""});
  REQUIRE_FALSE(nameless.ok());
  CHECK(nameless.error().code == Code::malformed);
  must(sagas.operate("order", "o3", OperatorRequest{OperatorVerb::abort, "a test", "ann", "", ""}));
  CHECK(must(shop->saga(order_saga(), "o3").status()).status == SagaStatus::aborted);
  CHECK(must(sagas.list({.type = "order"})).sagas.size() == 19);
  CHECK(eventually([&] { return shop->saga_figures()["order"].active == 19; }));
  CHECK(shop->saga_figures()["order"].started == 21);
  const auto born =
      std::ranges::min(must(sagas.list({.type = "order"})).sagas, {}, &SagaLine::created);
  const std::chrono::milliseconds oldest(shop->saga_figures()["order"].oldest_ms);
  CHECK(std::chrono::system_clock::time_point(oldest) == born.created);
  CHECK(shop->saga_figures()["order"].finished["completed"] == 1);
}

TEST_CASE("beyond saga.max_active new sagas are overloaded, until those that only wait have left") {
  const auto shop = a_shop(nullptr, 3);
  stock_all(*shop, 1000);
  TestOrder order = an_order("");
  order.asks = true;
  int overloaded = 0;
  for (int i = 0; i < 8; ++i) {
    order.id = "o" + std::to_string(i);
    CHECK(eventually([&] {
      const auto started = shop->start(order_saga(), order.id, order);
      const bool refused = !started.ok() && started.error().code == Code::overloaded;
      if (refused) {
        CHECK(started.error().text.find("saga.max_active") != std::string::npos);
        overloaded += 1;
      }
      return started.ok();
    }));
  }
  CHECK(overloaded > 0);
  CHECK(must(shop->sagas().list({.type = "order"})).sagas.size() == 8);
  for (int i = 0; i < 8; ++i) {
    const auto saga = shop->saga(order_saga(), "o" + std::to_string(i));
    must(saga.signal("approval", "1", Approval{"bob"}));
    CHECK(must(saga.wait(10s)).status == SagaStatus::completed);
  }
}

TEST_CASE("the actor of a saga that dies starts again from the journal") {
  auto faulty = std::make_shared<Faults>();
  faulty->commits = 3;
  const auto shop = a_shop(faulty);
  stock_all(*shop, 10);
  const auto order = must(shop->start(order_saga(), "17", an_order("17")));
  const auto end = order.wait(20s);
  CHECK_MESSAGE((end.ok() && end->status == SagaStatus::completed), text(end));
  CHECK(faulty->commits.load() <= 0);
  CHECK(shop->saga_figures()["order"].restarts == 3);
  for (const char* shelf : {"tea", "cup", "purse", "mails", "counts"}) {
    CHECK_MESSAGE(books(*shop, shelf).log == Words{"take 17"}, shelf);
  }
}

TEST_CASE(
    "a saga supervisor that dies three times makes its shard be taken anew, and its sagas go on") {
  auto faulty = std::make_shared<Faults>();
  const auto shop = a_shop(faulty);
  stock_all(*shop, 10);
  TestOrder order = an_order("17");
  order.asks = true;
  const auto saga = must(shop->start(order_saga(), "17", order));
  REQUIRE(eventually([&] { return books(*shop, "purse").log.size() == 1; }));
  faulty->lists = 4;  // each reading of a list is repeated by who asked, or by the next supervisor
  CHECK(eventually([&] {
    (void)shop->sagas().list({.type = "order"});
    return faulty->lists.load() <= 0;
  }));
  REQUIRE(eventually([&] { return saga.signal("approval", "s", Approval{"ann"}).ok(); }));
  const auto end = saga.wait(20s);
  CHECK_MESSAGE((end.ok() && end->status == SagaStatus::completed), text(end));
  for (const char* shelf : {"tea", "cup", "purse", "mails", "counts"}) {
    CHECK_MESSAGE(books(*shop, shelf).log == Words{"take 17"}, shelf);
  }
}

TEST_CASE(
    "a saga whose actor dies again and again is parked, and goes on when an operator says so") {
  auto faulty = std::make_shared<Faults>();
  faulty->commits = 5;
  const auto shop = a_shop(faulty);
  stock_all(*shop, 10);
  const auto order = must(shop->start(order_saga(), "17", an_order("17")));
  const auto stuck = [&] {
    const auto report = order.status();
    return report.ok() && report->status == SagaStatus::parked;
  };
  REQUIRE(eventually(stuck));
  CHECK(must(order.status()).cause == "crash_loop");
  CHECK(must(shop->sagas().list({.status = SagaStatus::parked})).sagas.size() == 1);
  CHECK(shop->saga_figures()["order"].stuck["crash_loop"] == 1);
  must(shop->sagas().operate("order", "17",
                             OperatorRequest{OperatorVerb::retry, "mended", "ann", "", ""}));
  const auto end = order.wait(20s);
  CHECK_MESSAGE((end.ok() && end->status == SagaStatus::completed), text(end));
  CHECK(books(*shop, "tea").log == Words{"take 17"});
}

TEST_CASE(
    "a saga is parked where its definition is another one, and goes on where it is right or "
    "accepted") {
  if (!servers_here()) return;
  Scene scene;
  const Saga<TestOrder> first = slow_saga(1, false, false), drifted = slow_saga(1, true, false),
                        second = slow_saga(2, false, false), third = slow_saga(3, false, true);
  int lives = 0;
  const auto with = [&](const Saga<TestOrder>& saga) {
    auto node = std::make_unique<Node>(scene.config("v" + std::to_string(++lives)));
    node->host<Shelf>().host(saga);
    must(node->start());
    return node;
  };
  const auto is = [](Node& node, const Saga<TestOrder>& saga, SagaStatus status,
                     std::string cause) {
    return eventually([&] {
      const auto report = node.saga(saga, "17").status();
      return report.ok() && report->status == status && report->cause == cause;
    });
  };
  {
    const auto node = with(first);
    must(node->ref<Shelf>("tea").ask(Stock{10}));
    must(node->start(first, "17", an_order("17")));
    REQUIRE(eventually([&] { return books(*node, "tea").log.size() == 1; }));
    CHECK(is(*node, first, SagaStatus::running, ""));
    must(node->stop());
  }
  {
    const auto node = with(drifted);
    CHECK(is(*node, drifted, SagaStatus::parked, "definition_drift"));
    must(node->stop());
  }
  {
    const auto node = with(second);
    CHECK(is(*node, second, SagaStatus::parked, "definition_drift"));  // parked is parked
    must(node->saga(second, "17").signal("approval", "early", Approval{"bob"}));  // and is kept
    must(node->stop());
  }
  {
    const auto node = with(third);
    CHECK(is(*node, third, SagaStatus::completed, ""));
    CHECK(must(node->saga(third, "17").status()).version == 3);
    CHECK(books(*node, "tea").log == Words{"take 17"});
    must(node->stop());
  }
}

TEST_CASE("a saga nobody here has the definition of is parked until somebody has it") {
  if (!servers_here()) return;
  Scene scene;
  int lives = 0;
  const auto with = [&](const Saga<TestOrder>& saga) {
    auto node = std::make_unique<Node>(scene.config("v" + std::to_string(++lives)));
    node->host<Shelf>().host(saga);
    must(node->start());
    return node;
  };
  const Saga<TestOrder> first = slow_saga(1), second = slow_saga(2);
  {
    const auto node = with(first);
    must(node->ref<Shelf>("tea").ask(Stock{10}));
    must(node->start(first, "17", an_order("17")));
    REQUIRE(eventually([&] { return books(*node, "tea").log.size() == 1; }));
    must(node->stop());
  }
  {
    const auto node = with(second);
    REQUIRE(eventually([&] {
      const auto parked = node->sagas().list({.type = "slow", .status = SagaStatus::parked});
      return parked.ok() && parked->sagas.size() == 1 &&
             parked->sagas.front().cause == "no_definition";
    }));
    must(node->stop());
  }
  const auto node = with(first);
  REQUIRE(eventually(
      [&] { return node->saga(first, "17").signal("approval", "s", Approval{"ann"}).ok(); }));
  CHECK(must(node->saga(first, "17").wait(20s)).status == SagaStatus::completed);
  CHECK(books(*node, "tea").log == Words{"take 17"});
}

TEST_CASE("a saga that waits beyond its deadline goes back") {
  Config config = Config::embedded();
  config.log.level = "off";
  Node node(config);
  const Saga<TestOrder> hasty = catga::saga<TestOrder>("hasty", 1)
                                    .step("take",
                                          [](const TestOrder& o) {
                                            return to<Shelf>("tea", Take{o.id, 1});
                                          })
                                    .undo([](const TestOrder& o) {
                                      return to<Shelf>("tea", PutBack{o.id, 1});
                                    })
                                    .await_signal<Approval>("approval", 60s)
                                    .deadline(300ms)
                                    .build();
  node.host<Shelf>().host(hasty);
  must(node.start());
  stock(node, "tea", 10);
  const auto begin = std::chrono::steady_clock::now();
  const auto end = must(must(node.start(hasty, "17", an_order("17"))).wait(20s));
  CHECK(end.status == SagaStatus::compensated);
  CHECK(since(begin) > 290ms);  // by the clock of the cluster it was 300
  CHECK(books(node, "tea").log == Words{"take 17", "back 17"});
}

namespace {

struct Lend {
  using Reply = Done;
  CATGA_MESSAGE(Lend);
};
struct GiveBack {
  using Reply = Done;
  std::string how;
  CATGA_MESSAGE(GiveBack, how);
};
struct ShowCard {
  using Reply = Words;
  CATGA_MESSAGE(ShowCard);
};
/// Takes back nothing that is wet, until it has been told twice.
class Library {
 public:
  static constexpr std::string_view kind = "library";
  using Handles = Messages<Lend, GiveBack, ShowCard>;
  struct State {
    Words card;
    CATGA_FIELDS(card);
  } state;
  Done on(const Lend&) {
    state.card.push_back("lent");
    return {};
  }
  Result<Done> on(const GiveBack& back) {
    if (back.how == "wet") return reject("it is wet");
    state.card.push_back(back.how);
    return Done{};
  }
  Words on(const ShowCard&) const { return state.card; }
};

/// A saga that goes back, and whose undo is refused.
Saga<TestOrder> loan_saga() {
  return catga::saga<TestOrder>("loan", 1)
      .step("lend", [](const TestOrder& o) { return to<Library>(o.id, Lend{}); })
      .undo([](const TestOrder& o) { return to<Library>(o.id, GiveBack{"wet"}); })
      .step("read", [](const TestOrder&) { return to<Library>("none", GiveBack{"wet"}); })
      .build();
}

}  // namespace

TEST_CASE("an operator sends a saga on whose undo is refused, and the journal says who and why") {
  Config config = Config::embedded();
  config.log.level = "off";
  Node node(config);
  node.host<Library>().host(loan_saga());
  must(node.start());
  const Sagas sagas = node.sagas();
  struct Order {
    OperatorVerb verb;
    std::string payload;
    SagaStatus end;
    Words card;
  };
  const std::vector<Order> orders{
      {OperatorVerb::replace, encode(GiveBack{"dry"}), SagaStatus::compensated, {"lent", "dry"}},
      {OperatorVerb::skip, "", SagaStatus::compensated, {"lent"}},
      {OperatorVerb::force_complete, encode(Done{}), SagaStatus::compensated, {"lent"}},
      {OperatorVerb::abort, "", SagaStatus::aborted, {"lent"}}};
  for (const Order& order : orders) {
    const std::string id(name_of(order.verb));
    INFO(id);
    const auto loan = must(node.start(loan_saga(), id, an_order(id)));
    REQUIRE(eventually([&] { return must(loan.status()).status == SagaStatus::parked; }));
    CHECK(must(loan.status()).cause == "compensation_stuck");
    must(sagas.operate("loan", id, OperatorRequest{OperatorVerb::retry, "perhaps", "ann", "", ""}));
    REQUIRE(eventually([&] {  // refused again
      const SagaStory story = must(sagas.show("loan", id));
      return story.report.status == SagaStatus::parked &&
             std::ranges::count(story.journal, EntryKind::parked, &JournalEntry::kind) == 2;
    }));
    must(sagas.operate("loan", id,
                       OperatorRequest{order.verb, "a good reason", "bob", "", order.payload}));
    CHECK(must(loan.wait(20s)).status == order.end);
    CHECK(must(node.ref<Library>(id).ask(ShowCard{})) == order.card);
    const SagaStory story = must(sagas.show("loan", id));
    CHECK(std::ranges::any_of(story.journal, [](const JournalEntry& entry) {
      return entry.by == "bob" && entry.data.find("a good reason") != std::string::npos;
    }));
  }
}

TEST_CASE("a turn starts a saga with its commit") {
  Config config = Config::embedded();
  config.log.level = "off";
  Node node(config);
  node.host<Shelf>().host<Clerk>().host(order_saga()).host(invoice_saga());
  must(node.start());
  stock_all(node, 10);
  must(node.ref<Clerk>("ann").ask(Accept{an_order("17"), false}));
  const auto saga = node.saga(order_saga(), "17");
  REQUIRE(eventually([&] {
    const auto report = saga.status();
    return report.ok() && report->status == SagaStatus::completed;
  }));
  const auto refused = node.ref<Clerk>("ann").ask(Accept{an_order("18"), true});
  CHECK_FALSE(refused.ok());
  must(node.ref<Clerk>("ann").ask(Accept{an_order("19"), false}));
  must(node.saga(order_saga(), "19").wait(10s));
  CHECK(node.saga(order_saga(), "18").status().error().code == Code::not_found);
}

TEST_CASE("a node that runs sagas is killed: others recover them and each effect is there once") {
  if (!servers_here()) return;
  Scene scene;
  for (const char* name : {"a", "b", "c"}) scene.launch(name);
  for (const char* name : {"a", "b", "c"}) scene.expect_ready(name);
  scene.expect_up(3);
  Rush rush(scene.client());
  scene.let_them_meet();
  rush.start(60);
  scene.node("b").kill9();
  rush.start(30);
  rush.finish(60s);
  rush.check();
}

TEST_CASE(
    "whatever commit a saga's node dies at, the saga completes and each effect is there once") {
  Orders all{.order = an_order("o")};
  all.order.shelves = {"tea"};
  all.order.nap_ms = 1;
  all.order.with_child = true;
  for (const char* shelf : {"tea", "purse", "paper", "mails", "counts"}) all.log[shelf] = {"take"};
  crash_at_every_commit(all);
}

TEST_CASE("whatever commit a saga's node dies at, the saga goes back and each undo is there once") {
  Orders all{.order = an_order("o"), .end = SagaStatus::compensated};
  all.order.shelves = {"tea"};
  all.order.with_child = true;
  all.order.last = "nothing";
  for (const char* shelf : {"tea", "purse", "paper", "mails", "counts"})
    all.log[shelf] = {"take", "back"};
  all.log["nothing"] = {};
  crash_at_every_commit(all);
}

TEST_CASE("whatever commit a saga's node dies at, a saga that is told to go on does so once") {
  Orders all{.order = an_order("o"), .approved = true};
  all.order.asks = true;
  all.order.last = "gifts";
  for (const char* shelf : {"tea", "cup", "purse", "mails", "counts", "gifts"})
    all.log[shelf] = {"take"};
  crash_at_every_commit(all);
}

TEST_CASE("whatever commit a saga's node dies at, a cancelled saga goes back once") {
  Orders all{
      .order = an_order("o"), .end = SagaStatus::compensated, .commits = 8, .cancelled = true};
  all.order.asks = true;
  for (const char* shelf : {"tea", "cup", "purse"}) all.log[shelf] = {"take", "back"};
  for (const char* shelf : {"mails", "counts"}) all.log[shelf] = {};
  crash_at_every_commit(all);
}

TEST_CASE("all nodes are replaced while sagas run, and each effect is there once") {
  if (!servers_here()) return;
  Scene scene;
  for (const char* name : {"a", "b", "c"}) scene.launch(name);
  for (const char* name : {"a", "b", "c"}) scene.expect_ready(name);
  scene.expect_up(3);
  Rush rush(scene.client());
  for (const char* name : {"a", "b", "c"}) {
    INFO(name);
    rush.start(20);
    scene.node(name).signal(SIGTERM);
    CHECK(scene.node(name).exit_code(20s) == 0);
    scene.start(name);
  }
  rush.finish(60s);
  rush.check();
}

TEST_CASE("the whole cluster is killed in the middle of sagas; the next one ends them") {
  if (!servers_here()) return;
  Scene scene;
  for (const char* name : {"a", "b"}) scene.launch(name);
  for (const char* name : {"a", "b"}) scene.expect_ready(name);
  scene.expect_up(2);
  Rush rush(scene.client());
  rush.start(40);
  for (const char* name : {"a", "b"}) scene.node(name).kill9();
  for (const char* name : {"a", "b"}) scene.launch(name);
  for (const char* name : {"a", "b"}) scene.expect_ready(name, 30s);
  rush.finish(60s);
  rush.check();
}

}  // namespace catga::testing
