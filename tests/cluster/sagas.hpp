// The sagas of the cluster tests and the entities they change: a shop whose books must agree whatever dies.
#pragma once
#include <catga/catga.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace catga::testing {

/// Takes so much; more than there is is refused. Says how often it has been taken from.
struct Take {
  using Reply = std::int64_t;
  std::string order;
  std::int64_t amount = 0;
  CATGA_MESSAGE(Take, order, amount);
};
struct PutBack {
  using Reply = std::int64_t;
  std::string order;
  std::int64_t amount = 0;
  CATGA_MESSAGE(PutBack, order, amount);
};
struct Stock {
  using Reply = std::int64_t;
  std::int64_t amount = 0;
  CATGA_MESSAGE(Stock, amount);
};
struct Books {
  std::int64_t left = 0;
  std::vector<std::string> log;  ///< "take 17", "back 17", in the order they took effect
  CATGA_FIELDS(left, log);
};
struct Read {
  using Reply = Books;
  CATGA_MESSAGE(Read);
};

class Shelf {
 public:
  static constexpr std::string_view kind = "shelf";
  using Handles = Messages<Take, PutBack, Stock, Read>;
  Books state;

  Result<std::int64_t> on(const Take& take) {
    if (state.left < take.amount) return reject("only " + std::to_string(state.left) + " left");
    state.left -= take.amount;
    state.log.push_back("take " + take.order);
    return static_cast<std::int64_t>(state.log.size());
  }
  std::int64_t on(const PutBack& back) {
    state.log.push_back("back " + back.order);
    return state.left += back.amount;
  }
  std::int64_t on(const Stock& fill) { return state.left += fill.amount; }
  Books on(const Read&) const { return state; }
};

struct Approval {
  std::string by;
  CATGA_FIELDS(by);
};

/// What an order does beyond taking from two shelves is chosen by its fields.
struct TestOrder {
  std::string id;
  std::vector<std::string> shelves;  ///< each gives one, side by side
  std::string purse;                 ///< then pays
  std::int64_t price = 0;
  std::int64_t nap_ms = 0;  ///< 0: none
  bool asks = false;        ///< waits for "approval"
  bool with_child = false;  ///< prints an invoice
  std::string last;         ///< a shelf that gives one at the end; empty: none
  std::string round;        ///< goes into the names of the shelves below
  std::string approver, paid;
  std::vector<std::int64_t> taken;
  CATGA_FIELDS(id, shelves, purse, price, nap_ms, asks, with_child, last, round, approver, paid,
               taken);
};
struct TestInvoice {
  std::string order, shelf, number;
  CATGA_FIELDS(order, shelf, number);
};

inline const Saga<TestInvoice>& invoice_saga() {
  using namespace std::chrono_literals;
  static const Saga<TestInvoice> saga =
      catga::saga<TestInvoice>("invoice", 1)
          .step("print",
                [](const TestInvoice& i) {
                  return to<Shelf>(i.shelf, Take{i.order, 1});
                })
          .on_reply([](TestInvoice& i, const std::int64_t& n) { i.number = std::to_string(n); })
          .undo([](const TestInvoice& i) {
            return to<Shelf>(i.shelf, PutBack{i.order, 1});
          })
          .build();
  return saga;
}

inline const Saga<TestOrder>& order_saga() {
  using namespace std::chrono_literals;
  static const Saga<TestOrder> saga =
      catga::saga<TestOrder>("order", 1)
          .each(
              "line", [](const TestOrder& o) { return o.shelves.size(); },
              [](const TestOrder& o, std::size_t i) {
                return to<Shelf>(o.shelves[i], Take{o.id, 1});
              })
          .on_reply([](TestOrder& o, std::size_t, const std::int64_t& n) { o.taken.push_back(n); })
          .undo([](const TestOrder& o, std::size_t i) {
            return to<Shelf>(o.shelves[i], PutBack{o.id, 1});
          })
          .timeout(2s)
          .step("pay",
                [](const TestOrder& o) {
                  return to<Shelf>(o.purse, Take{o.id, o.price});
                })
          .on_reply([](TestOrder& o, const std::int64_t&) { o.paid = "yes"; })
          .undo([](const TestOrder& o) {
            return to<Shelf>(o.purse, PutBack{o.id, o.price});
          })
          .timeout(2s)
          .await_signal<Approval>("approval", 60s)
          .on_reply([](TestOrder& o, const Approval& a) { o.approver = a.by; })
          .when([](const TestOrder& o) { return o.asks; })
          .sleep("nap", 300ms)
          .when([](const TestOrder& o) { return o.nap_ms > 0; })
          .child("invoice", invoice_saga(),
                 [](const TestOrder& o) {
                   return TestInvoice{o.id, "paper" + o.round, ""};
                 })
          .when([](const TestOrder& o) { return o.with_child; })
          .undo([](const TestOrder& o) {
            return to<Shelf>("paper" + o.round, PutBack{o.id, 1});
          })
          .parallel()
          .step("mail",
                [](const TestOrder& o) {
                  return to<Shelf>("mails" + o.round, Take{o.id, 1});
                })
          .undo([](const TestOrder& o) {
            return to<Shelf>("mails" + o.round, PutBack{o.id, 1});
          })
          .step("count",
                [](const TestOrder& o) {
                  return to<Shelf>("counts" + o.round, Take{o.id, 1});
                })
          .undo([](const TestOrder& o) {
            return to<Shelf>("counts" + o.round, PutBack{o.id, 1});
          })
          .join()
          .step("last",
                [](const TestOrder& o) {
                  return to<Shelf>(o.last, Take{o.id, 1});
                })
          .when([](const TestOrder& o) { return !o.last.empty(); })
          .build();
  return saga;
}

/// Takes one from the shelf "tea<round>", and waits until it is told to go on. `other`: by another signal; `accepts`: in
/// the place of version 1 too.
inline Saga<TestOrder> slow_saga(std::uint32_t version = 1, bool other = false,
                                 bool accepts = false) {
  using namespace std::chrono_literals;
  auto begun = catga::saga<TestOrder>("slow", version)
                   .step("take",
                         [](const TestOrder& o) {
                           return to<Shelf>("tea" + o.round, Take{o.id, 1});
                         })
                   .undo([](const TestOrder& o) {
                     return to<Shelf>("tea" + o.round, PutBack{o.id, 1});
                   })
                   .await_signal<Approval>(other ? "consent" : "approval", 60s);
  if (!accepts) return std::move(begun).build();
  return std::move(begun).accepts(1).build();
}

}  // namespace catga::testing
