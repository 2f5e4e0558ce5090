// What the order system consists of: goods, accounts, orders, mailboxes, and the saga that makes an order of them.
//
// Every entity keeps counts from which an audit can tell, to the unit, whether each order took effect exactly once: how
// much went out and came back, and a trace, the sum of amount x number_of(order), of what is out. Lists of orders would
// tell the same, and grow with every order; a sum of random-looking 64-bit numbers does not, and no loss and no double
// hide each other in it.
#pragma once
#include <catga/catga.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orders {

/// A number that looks random, the same for the same order (FNV-1a of 64 bits).
constexpr std::uint64_t number_of(std::string_view order) {
  std::uint64_t number = 0xcbf29ce484222325;
  for (const char c : order) {
    number ^= static_cast<unsigned char>(c);
    number *= 0x100000001b3;
  }
  return number;
}

/// What went out for orders and came back.
struct Flow {
  std::int64_t out = 0, back = 0;              ///< units or cents
  std::int64_t times_out = 0, times_back = 0;  ///< commands that took effect
  std::uint64_t trace = 0;                     ///< modulo 2^64, of what is out and not back
  CATGA_FIELDS(out, back, times_out, times_back, trace);

  void give(std::string_view order, std::int64_t amount) {
    out += amount;
    times_out += 1;
    trace += static_cast<std::uint64_t>(amount) * number_of(order);
  }
  void take_back(std::string_view order, std::int64_t amount) {
    back += amount;
    times_back += 1;
    trace -= static_cast<std::uint64_t>(amount) * number_of(order);
  }
};

// ---- goods: inventory/<sku> ----

/// Sets how much there was at first, and the price of one. What is reserved stays so.
struct StockUp {
  using Reply = catga::Done;
  std::int64_t quantity = 0, cents = 0;
  CATGA_MESSAGE(StockUp, quantity, cents);
};
struct Reserve {
  using Reply = std::int64_t;  ///< what it costs, in cents
  std::string order;
  std::int64_t quantity = 0;
  CATGA_MESSAGE(Reserve, order, quantity);
};
struct Release {
  using Reply = catga::Done;
  std::string order;
  std::int64_t quantity = 0;
  CATGA_MESSAGE(Release, order, quantity);
};
struct Goods {
  std::int64_t stocked = 0, left = 0, cents = 0;
  Flow reserved;
  CATGA_FIELDS(stocked, left, cents, reserved);
};
struct LookAtGoods {
  using Reply = Goods;
  CATGA_MESSAGE(LookAtGoods);
};

class Inventory {
 public:
  static constexpr std::string_view kind = "inventory";
  using Handles = catga::Messages<StockUp, Reserve, Release, LookAtGoods>;
  Goods state;

  catga::Done on(const StockUp& up) {
    state.left += up.quantity - state.stocked;
    state.stocked = up.quantity;
    state.cents = up.cents;
    return {};
  }
  catga::Result<std::int64_t> on(const Reserve& reserve) {
    if (reserve.quantity > state.left)
      return catga::reject("only " + std::to_string(state.left) + " left");
    state.left -= reserve.quantity;
    state.reserved.give(reserve.order, reserve.quantity);
    return reserve.quantity * state.cents;
  }
  catga::Done on(const Release& release) {
    state.left += release.quantity;
    state.reserved.take_back(release.order, release.quantity);
    return {};
  }
  Goods on(const LookAtGoods&) const { return state; }
};

// ---- money: payment/<customer> ----

/// How much a customer may spend in all.
struct SetLimit {
  using Reply = catga::Done;
  std::int64_t cents = 0;
  CATGA_MESSAGE(SetLimit, cents);
};
struct Charge {
  using Reply = catga::Done;
  std::string order;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Charge, order, cents);
};
struct Refund {
  using Reply = catga::Done;
  std::string order;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Refund, order, cents);
};
struct Account {
  std::int64_t limit = 0;
  Flow charged;
  CATGA_FIELDS(limit, charged);
};
struct LookAtAccount {
  using Reply = Account;
  CATGA_MESSAGE(LookAtAccount);
};

class Payment {
 public:
  static constexpr std::string_view kind = "payment";
  using Handles = catga::Messages<SetLimit, Charge, Refund, LookAtAccount>;
  Account state;

  catga::Done on(const SetLimit& limit) {
    state.limit = limit.cents;
    return {};
  }
  catga::Result<catga::Done> on(const Charge& charge) {
    const std::int64_t spent = state.charged.out - state.charged.back;
    if (spent + charge.cents > state.limit) return catga::reject("over the customer's limit");
    state.charged.give(charge.order, charge.cents);
    return catga::Done{};
  }
  catga::Done on(const Refund& refund) {
    state.charged.take_back(refund.order, refund.cents);
    return {};
  }
  Account on(const LookAtAccount&) const { return state; }
};

// ---- orders: order/<id> ----

struct Line {
  std::string sku;
  std::int64_t quantity = 0;
  CATGA_FIELDS(sku, quantity);
};
/// Published when an order is created.
struct OrderPlaced {
  std::string order, customer;
  std::int64_t cents = 0;
  CATGA_MESSAGE(OrderPlaced, order, customer, cents);
};
struct Create {
  using Reply = catga::Done;
  std::string customer;
  std::vector<Line> lines;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Create, customer, lines, cents);
};
struct OrderSheet {
  std::int64_t created = 0;  ///< how often; 0: there is no such order
  std::string customer;
  std::vector<Line> lines;
  std::int64_t cents = 0;
  CATGA_FIELDS(created, customer, lines, cents);
};
struct LookAtOrder {
  using Reply = OrderSheet;
  CATGA_MESSAGE(LookAtOrder);
};

/// Above it somebody has to telephone: an order that is refused late, when goods and money are taken already.
constexpr std::int64_t online_limit_cents = 100'000;

class Order {
 public:
  static constexpr std::string_view kind = "order";
  using Handles = catga::Messages<Create, LookAtOrder>;
  OrderSheet state;

  catga::Result<catga::Done> on(catga::Turn& turn, const Create& create) {
    if (create.cents > online_limit_cents)
      return catga::reject("an order of this size is made by telephone");
    state = {state.created + 1, create.customer, create.lines, create.cents};
    turn.publish(OrderPlaced{turn.key(), create.customer, create.cents});
    return catga::Done{};
  }
  OrderSheet on(const LookAtOrder&) const { return state; }
};

// ---- mails to customers: mailbox/<customer>, filled by NotificationService ----

struct Mail {
  using Reply = catga::Done;
  std::string order;
  CATGA_MESSAGE(Mail, order);
};
struct Mails {
  Flow mails;
  CATGA_FIELDS(mails);
};
struct LookAtMails {
  using Reply = Mails;
  CATGA_MESSAGE(LookAtMails);
};

class Mailbox {
 public:
  static constexpr std::string_view kind = "mailbox";
  using Handles = catga::Messages<Mail, LookAtMails>;
  Mails state;

  catga::Done on(const Mail& mail) {
    state.mails.give(mail.order, 1);
    return {};
  }
  Mails on(const LookAtMails&) const { return state; }
};

// ---- the saga: purchase/<order id> ----

struct Purchase {
  std::string order, customer;
  std::vector<Line> lines;
  std::int64_t cents = 0;  ///< found out by the reservations
  CATGA_FIELDS(order, customer, lines, cents);
};

/// Reserves the goods side by side, charges them, creates the order. Refused anywhere, it goes back.
inline const catga::Saga<Purchase>& purchase_saga() {
  using namespace std::chrono_literals;
  // Patient, as a purchase shall outlive a failover; short attempts, as most of them are lost, not slow.
  constexpr catga::Retries patient{.first = 50ms, .factor = 2, .cap = 400ms, .attempts = 150};
  static const catga::Saga<Purchase> saga =
      catga::saga<Purchase>("purchase", 1)
          .each(
              "reserve", [](const Purchase& p) { return p.lines.size(); },
              [](const Purchase& p, std::size_t i) {
                return catga::to<Inventory>(p.lines[i].sku, Reserve{p.order, p.lines[i].quantity});
              })
          .on_reply([](Purchase& p, std::size_t, const std::int64_t& cents) { p.cents += cents; })
          .undo([](const Purchase& p, std::size_t i) {
            return catga::to<Inventory>(p.lines[i].sku, Release{p.order, p.lines[i].quantity});
          })
          .timeout(2s)
          .retries(patient)
          .step("charge",
                [](const Purchase& p) {
                  return catga::to<Payment>(p.customer, Charge{p.order, p.cents});
                })
          .undo([](const Purchase& p) {
            return catga::to<Payment>(p.customer, Refund{p.order, p.cents});
          })
          .timeout(2s)
          .retries(patient)
          .step("create",
                [](const Purchase& p) {
                  return catga::to<Order>(p.order, Create{p.customer, p.lines, p.cents});
                })
          .pivot()
          .timeout(2s)
          .retries(patient)
          .build();
  return saga;
}

}  // namespace orders
