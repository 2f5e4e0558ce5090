// What a saga is, how it is declared, and what is wrong with it.
#include <catga/entities/saga/definition.hpp>
#include <catga/entities/saga/limits.hpp>

#include "saga_shop.hpp"
#include <doctest/doctest.h>

using namespace catga;
using namespace shop;

namespace {

auto notify = [](const Order& o) { return to<Mailer>("shop", Notify{o.id}); };

std::string mistake_in(const Saga<Order>& saga) {
  const Status status = check(saga.definition());
  return status ? "" : status.error().text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

}  // namespace

TEST_CASE("a saga is declared as stages of named steps") {
  const Saga<Order> saga = order_saga();
  const SagaDefinition& definition = saga.definition();
  CHECK(mistake_in(saga) == "");
  REQUIRE(definition.stages.size() == 8);
  const auto step = [&definition](std::size_t stage, std::size_t position = 0) {
    return definition.stages[stage][position];
  };
  CHECK(step(0).name == "line");
  CHECK(step(0).sort == StepSort::each);
  CHECK(step(0).timeout == 5s);
  CHECK(step(0).retries.attempts == 8);
  CHECK(step(1).target == "account");
  CHECK(step(1).message == "Charge");
  CHECK(step(1).undo_message == "Refund");
  CHECK(step(1).timeout == 10s);
  CHECK(step(1).retries.attempts == 10);
  CHECK(step(2).sort == StepSort::signal);
  CHECK(step(2).timeout == 48h);
  CHECK(step(3).has_choice());
  CHECK(step(4).pivot);
  CHECK(step(5).sort == StepSort::sleep);
  CHECK(step(6).target == "invoice");
  CHECK(definition.stages[7].size() == 2);
  CHECK(step(7, 1).name == "count");
  CHECK(definition.deadline == 72h);
  CHECK(find_step(definition, "line#7") == StepPlace{0, 0});
  CHECK(find_step(definition, "count") == StepPlace{7, 1});
  CHECK_FALSE(find_step(definition, "nobody"));
}

TEST_CASE("a step turns state into a call, and a reply into state") {
  const Saga<Order> keeps_it = order_saga();
  const StepDefinition& line = keeps_it.definition().stages[0][0];
  auto state = keeps_it.definition().decode_state(encode(an_order()));
  REQUIRE(state.ok());
  CHECK(line.count(**state) == 2);
  const StepCall call = line.call(**state, 1);
  CHECK(call.entity == EntityId{"stock", "cup"});
  CHECK(call.message == "Reserve");
  CHECK(decode<Reserve>(call.payload)->quantity == 1);
  REQUIRE(line.fold(**state, 1, encode(Reserved{"r1"})).ok());
  CHECK(decode<Release>(line.undo(**state, 1).payload)->reservation == "r1");
  CHECK_FALSE(line.fold(**state, 1, "no reply").ok());
}

TEST_CASE("the fingerprint is golden, and knows steps but not code") {
  const auto build = [](auto change) { return fingerprint(change().definition()); };
  const std::uint64_t plain =
      build([] { return saga<Order>("o", 1).step("a", notify).step("b", notify).build(); });
  CHECK(fingerprint(order_saga().definition()) == 4074983804068459923U);
  CHECK(plain == build([] {
          return saga<Order>("other", 2)
              .step("a", notify)
              .timeout(1s)
              .retries({.attempts = 1})
              .when([](const Order& o) { return o.gift; })
              .step("b", notify)
              .deadline(1h)
              .build();
        }));
  CHECK(plain !=
        build([] { return saga<Order>("o", 1).step("b", notify).step("a", notify).build(); }));
  CHECK(plain != build([] {
          return saga<Order>("o", 1).step("a", notify).step("b", notify).pivot().build();
        }));
  CHECK(plain != build([] {
          return saga<Order>("o", 1).step("a", notify).undo(notify).step("b", notify).build();
        }));
  CHECK(plain !=
        build([] { return saga<Order>("o", 1).step("a", notify).sleep("b", 1s).build(); }));
  CHECK(plain != build([] {
          return saga<Order>("o", 1).parallel().step("a", notify).step("b", notify).join().build();
        }));
}

TEST_CASE("what the compiler cannot see is told in words when a node hosts the saga") {
  const auto good = [] { return saga<Order>("o", 1).step("a", notify); };
  CHECK(mistake_in(good().build()) == "");
  CHECK(contains(mistake_in(good().step("a", notify).build()), "two steps are named 'a'"));
  CHECK(contains(mistake_in(good().step("b#1", notify).build()), "without '#'"));
  CHECK(contains(mistake_in(good().step("", notify).build()), "needs a name"));
  CHECK(contains(mistake_in(saga<Order>("o", 1)
                                .parallel()
                                .step("a", notify)
                                .pivot()
                                .step("b", notify)
                                .join()
                                .build()),
                 "pivot in parallel()"));
  CHECK(contains(
      mistake_in(saga<Order>("o", 1)
                     .each(
                         "a", [](const Order& o) { return o.lines.size(); },
                         [](const Order&, std::size_t) { return to<Mailer>("x", Notify{}); })
                     .pivot()
                     .build()),
      "of an each()"));
  CHECK(contains(mistake_in(good().pivot().step("b", notify).undo(notify).build()),
                 "behind the pivot"));
  CHECK(contains(mistake_in(good().pivot().step("b", notify).pivot().build()), "second pivot"));
  CHECK(contains(mistake_in(good().pivot().when([](const Order& o) { return o.gift; }).build()),
                 "pivot with when()"));
  CHECK(contains(mistake_in(saga<Order>("o", 1).build()), "no steps"));
  CHECK(contains(mistake_in(saga<Order>("", 0).step("a", notify).build()), "versions start at 1"));
  CHECK(contains(mistake_in(good().join().build()), "join() without parallel()"));
  CHECK(contains(mistake_in(good().parallel().step("b", notify).build()),
                 "parallel() without join()"));
  CHECK(contains(mistake_in(good().parallel().join().build()), "nothing between"));
  CHECK(contains(mistake_in(good().parallel().parallel().step("b", notify).join().build()),
                 "inside"));
  CHECK(contains(mistake_in(good().timeout(0s).build()), "longer than nothing"));
  CHECK(contains(mistake_in(good().retries({.attempts = 0}).build()), "at least 1 attempt"));
  CHECK(contains(mistake_in(good().accepts(1).build()), "older than its own"));
  CHECK(contains(mistake_in(saga<Order>("o", 2).accepts(1).step("a", notify).deadline(0s).build()),
                 "deadline"));
}

TEST_CASE("sagas and kinds of entities share one space of names") {
  const Saga<Order> order = order_saga();
  const Saga<Invoice> invoice = invoice_saga();
  const std::vector<const SagaDefinition*> both{&order.definition(), &invoice.definition()};
  const std::vector<const SagaDefinition*> twice{&order.definition(), &order.definition()};
  CHECK(check_names(both, std::vector<std::string>{"account"}).ok());
  CHECK_FALSE(check_names(both, std::vector<std::string>{"invoice"}).ok());
  CHECK_FALSE(check_names(twice, {}).ok());
}

TEST_CASE("waits double up to the cap, and are shaken by a fifth") {
  const Retries retries;
  CHECK(retry_delay(retries, 1, 0.5) == 100ms);
  CHECK(retry_delay(retries, 2, 0.5) == 200ms);
  CHECK(retry_delay(retries, 1, 0.0) == 80ms);
  CHECK(retry_delay(retries, 9, 0.5) == 25'600ms);
  CHECK(retry_delay(retries, 10, 0.5) == 30s);
  CHECK(retry_delay(retries, 1'000'000'000, 0.5) == 30s);
}

TEST_CASE("the window of a step is its time-outs and longest waits added up") {
  StepDefinition step;
  step.timeout = 1s;
  step.retries = {.first = 100ms, .factor = 2, .cap = 300ms, .attempts = 5, .jitter = 0};
  CHECK(window_of(step) == 5s + 100ms + 200ms + 300ms + 300ms);
  step.retries = {.first = 1ms, .factor = 1.1, .cap = 4ms, .attempts = 3, .jitter = 0};
  CHECK(window_of(step) == 3s + 1ms + 1ms);
  step.retries.attempts = 1;
  CHECK(window_of(step) == 1s);
  CHECK(longest_window(order_saga().definition()) ==
        window_of(order_saga().definition().stages[1][0]));
  step.sort = StepSort::sleep;
  CHECK(window_of(step) == 0s);
}

TEST_CASE("a node does not start when a step can be repeated for longer than it is remembered") {
  const Saga<Order> order = order_saga();
  CHECK(check_limits(order.definition(), SagaLimits{}).ok());
  const std::chrono::milliseconds window = window_of(order.definition().stages[1][0]);
  SagaLimits limits;
  limits.compensation_window = 1min;
  limits.retention = 2 * window + 1h;
  CHECK(check_limits(order.definition(), limits).ok());
  limits.retention -= 1ms;
  const Status status = check_limits(order.definition(), limits);
  REQUIRE_FALSE(status.ok());
  CHECK(contains(status.error().text, "idempotency.retention"));
  CHECK(contains(status.error().text, "step 'charge' of saga 'order'"));
  limits.retention = 2h;
  limits.compensation_window = 1h + 1ms;
  CHECK(
      contains(check_limits(order.definition(), limits).error().text, "saga.compensation_window"));
}
