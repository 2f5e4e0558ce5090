// The order saga, rehearsed: its owner dies at every commit, answers are lost, and the books agree.
#include "../../samples/orders/orders.hpp"

#include <catga/runtime/test/saga_test.hpp>

#include <doctest/doctest.h>

#include <functional>

using catga::test::Crash;
using catga::test::SagaRun;
using catga::test::SagaTest;

namespace {

orders::Purchase a_purchase() {
  orders::Purchase purchase;
  purchase.order = "17";
  purchase.customer = "ann";
  purchase.lines = {{"tea", 2}, {"cup", 1}};
  return purchase;
}

struct Shop {
  explicit Shop(std::int64_t cups = 5, std::int64_t limit = 100'000'000,
                std::int64_t cents_of_tea = 300)
      : test(orders::purchase_saga(), a_purchase(), "17") {
    test.host<orders::Inventory>().host<orders::Payment>().host<orders::Order>();
    test.given<orders::Inventory>("tea", orders::StockUp{10, cents_of_tea});
    test.given<orders::Inventory>("cup", orders::StockUp{cups, 1000});
    test.given<orders::Payment>("ann", orders::SetLimit{limit});
  }
  SagaTest test;
};

void at_every_commit(SagaTest& test, const std::function<void(const SagaRun&)>& check) {
  const SagaRun first = test.run();
  REQUIRE(first.commits > 4);
  check(first);
  for (std::size_t n = 0; n < first.commits; ++n) {
    for (const Crash crash : {Crash::before_commit, Crash::after_commit}) {
      const SagaRun run = test.crash_at(n, crash).run();
      INFO((crash == Crash::before_commit ? "before" : "after")
           << " commit " << n << ": " << run.status << ' ' << run.text);
      check(run);
    }
  }
}

void expect_done(const SagaRun& run) {
  CHECK(run.status == "completed");
  CHECK(run.applied<orders::Reserve>("tea") == 1);
  CHECK(run.applied<orders::Reserve>("cup") == 1);
  CHECK(run.applied<orders::Charge>("ann") == 1);
  CHECK(run.applied<orders::Create>("17") == 1);
  CHECK(run.applied<orders::Release>("tea") == 0);
  CHECK(run.applied<orders::Refund>("ann") == 0);
  CHECK(run.state<orders::Purchase>().cents == 1600);
}

}  // namespace

TEST_CASE("an order is reserved, charged and created once, whatever commit its owner dies at") {
  Shop shop;
  at_every_commit(shop.test, expect_done);
}

TEST_CASE("goods that are not there: what was reserved is released once and nothing is charged") {
  Shop shop(0);
  at_every_commit(shop.test, [](const SagaRun& run) {
    CHECK(run.status == "compensated");
    CHECK(run.applied<orders::Reserve>("cup") == 0);
    CHECK(run.applied<orders::Release>("cup") == 0);
    CHECK(run.applied<orders::Reserve>("tea") == run.applied<orders::Release>("tea"));
    CHECK(run.applied<orders::Charge>("ann") == 0);
    CHECK(run.text.find("only 0 left") != std::string::npos);
  });
}

TEST_CASE("a charge over the limit: all goods are released once and nothing is refunded") {
  Shop shop(5, 1599);
  at_every_commit(shop.test, [](const SagaRun& run) {
    CHECK(run.status == "compensated");
    CHECK(run.applied<orders::Release>("tea") == 1);
    CHECK(run.applied<orders::Release>("cup") == 1);
    CHECK(run.applied<orders::Charge>("ann") == 0);
    CHECK(run.applied<orders::Refund>("ann") == 0);
    CHECK(run.applied<orders::Create>("17") == 0);
  });
}

TEST_CASE("an order that is refused last is refunded and released once each") {
  Shop shop(5, 100'000'000, orders::online_limit_cents);
  at_every_commit(shop.test, [](const SagaRun& run) {
    CHECK(run.status == "compensated");
    CHECK(run.applied<orders::Charge>("ann") == 1);
    CHECK(run.applied<orders::Refund>("ann") == 1);
    CHECK(run.applied<orders::Release>("tea") == 1);
    CHECK(run.applied<orders::Release>("cup") == 1);
    CHECK(run.applied<orders::Create>("17") == 0);
  });
}

TEST_CASE("answers that are lost, doubled or late change nothing in an order") {
  Shop shop;
  shop.test.lose_reply("reserve#1", 3).lose_reply("charge", 5).twice("create").fail("reserve#0", 4);
  at_every_commit(shop.test, expect_done);
}

TEST_CASE("a flow tells what is out, and a loss and a double do not hide each other in it") {
  orders::Flow right, wrong;
  right.give("a", 2);
  right.give("b", 2);
  wrong.give("a", 2);
  wrong.give("a", 2);
  CHECK(right.out == wrong.out);
  CHECK(right.trace != wrong.trace);
  right.take_back("b", 2);
  right.take_back("a", 2);
  CHECK(right.trace == 0);
  CHECK(right.out - right.back == 0);
  static_assert(orders::number_of("") == 0xcbf29ce484222325);
  static_assert(orders::number_of("a") == 0xaf63dc4c8601ec8c);  // as published for FNV-1a
}
