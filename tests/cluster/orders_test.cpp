// The saga of samples/orders on a real cluster: its node dies at every single commit, of the saga and of the entities
// that take part, right before it and right after it. Stock, charge and order must agree each time.
#include "../../samples/orders/orders.hpp"

#include "crashing_stores.hpp"
#include "lone_node.hpp"
#include "scene.hpp"

namespace catga::testing {
namespace {

struct Case {
  std::int64_t quantity = 2, stock = 10, limit = 1'000'000;
  SagaStatus end = SagaStatus::completed;
  int reserved = 1, charged = 1;  ///< how often; and as often back, if it is refused
};

constexpr std::int64_t price = 700;

template <class Entity, class Message>
void say(Client& client, const std::string& key, const Message& message) {
  REQUIRE(eventually([&] { return client.ref<Entity>(key).ask(message).ok(); }));
}

void check_flow(const orders::Flow& flow, const std::string& order, int times, std::int64_t amount,
                bool stays) {
  CHECK(flow.times_out == times);
  CHECK(flow.times_back == (stays ? 0 : times));
  CHECK(flow.out == times * amount);
  CHECK(flow.back == (stays ? 0 : times * amount));
  const std::uint64_t trace = static_cast<std::uint64_t>(times * amount) * orders::number_of(order);
  CHECK(flow.trace == (stays ? trace : 0));
}

void check_books(Client& client, const std::string& round, const Case& one) {
  const bool stays = one.end == SagaStatus::completed;
  const auto goods = must(client.ref<orders::Inventory>(round).ask(orders::LookAtGoods{}));
  check_flow(goods.reserved, round, one.reserved, one.quantity, stays);
  CHECK(goods.left == one.stock - (stays ? one.quantity : 0));
  const auto account = must(client.ref<orders::Payment>(round).ask(orders::LookAtAccount{}));
  check_flow(account.charged, round, one.charged, one.quantity * price, stays);
  const auto order = must(client.ref<orders::Order>(round).ask(orders::LookAtOrder{}));
  CHECK(order.created == (stays ? 1 : 0));
  if (stays) CHECK(order.cents == one.quantity * price);
}

/// One purchase after the other, each with its own goods and account; each time the node dies at another commit.
void crash_at_every_commit(const Case& one) {
  if (!servers_here()) return;
  Scene scene;
  scene.program = "catga-test-orders";
  LoneNode node(scene);
  Client& client = scene.client();  // waits until there is a cluster
  int crashes = 0;
  for (const bool before : {true, false}) {
    bool crashed = true;
    for (std::int64_t n = 1; crashed; ++n) {
      const std::string round = std::string(before ? "before-" : "after-") + std::to_string(n);
      INFO("crash " << round);
      say<orders::Inventory>(client, round, orders::StockUp{one.stock, price});
      say<orders::Payment>(client, round, orders::SetLimit{one.limit});
      say<Bomb>(client, "b", Arm{n, before});
      const orders::Purchase purchase{round, round, {{round, one.quantity}}, 0};
      (void)client.start(orders::purchase_saga(), round, purchase);
      const auto saga = client.saga(orders::purchase_saga(), round);
      const auto ended = [&] {
        const auto report = saga.status();
        return report.ok() && has_ended(report->status);
      };
      REQUIRE(eventually([&] { return !node.process().running() || ended(); }));
      crashed = !node.process().running();
      if (crashed) {
        node.launch();
        ++crashes;
      } else {
        say<Bomb>(client, "b", Arm{0, before});
      }
      // The start may have died with its node: whoever starts it says so again.
      REQUIRE(
          eventually([&] { return client.start(orders::purchase_saga(), round, purchase).ok(); }));
      const auto end = must(saga.wait(30s));
      CHECK_MESSAGE(end.status == one.end, std::string(name_of(end.status)) << ": " << end.text);
      check_books(client, round, one);
    }
  }
  MESSAGE("crashed at " << crashes << " commits");
  CHECK(crashes > 8);
}

}  // namespace

TEST_CASE("whatever commit the node dies at, an order is reserved, charged and created once") {
  crash_at_every_commit({});
}

TEST_CASE("whatever commit the node dies at, goods that cannot be paid come back once") {
  crash_at_every_commit({.limit = 10, .end = SagaStatus::compensated, .charged = 0});
}

TEST_CASE(
    "whatever commit the node dies at, a charge for an order that is refused is refunded once") {
  crash_at_every_commit({.quantity = 1000, .stock = 2000, .end = SagaStatus::compensated});
}

}  // namespace catga::testing
