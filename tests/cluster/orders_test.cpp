// The saga of samples/orders on a real cluster: its node dies at every single commit, of the saga and of the entities
// that take part, right before it and right after it. Stock, charge and order must agree each time.
#include "../../samples/orders/orders.hpp"

#include "crash_at_every_commit.hpp"

namespace catga::testing {
namespace {

struct Case {
  std::int64_t quantity = 2, stock = 10, limit = 1'000'000;
  SagaStatus end = SagaStatus::completed;
  int reserved = 1, charged = 1;  ///< how often; and as often back, if it is refused
};

constexpr std::int64_t price = 700;

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
  const auto client = [&]() -> Client& { return scene.client(); };
  CrashStory story;
  story.commits = 4;
  story.prepare = [&](const std::string& round) {
    say<orders::Inventory>(client(), round, orders::StockUp{one.stock, price});
    say<orders::Payment>(client(), round, orders::SetLimit{one.limit});
  };
  story.begin = [&](const std::string& round) -> Status {
    const orders::Purchase purchase{round, round, {{round, one.quantity}}, 0};
    const auto begun = client().start(orders::purchase_saga(), round, purchase);
    return begun.ok() ? Status(Done{}) : begun.error();
  };
  story.over = [&](const std::string& round) {
    return has_come_to(client(), orders::purchase_saga(), round, one.end);
  };
  story.check = [&](const std::string& round) { check_books(client(), round, one); };
  crash_at_every_commit(scene, story);
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
