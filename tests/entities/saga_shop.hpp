// The order saga of the documents and its entities, and a journal written by hand, for the tests of
// sagas.
#pragma once
#include <catga/entities/codec.hpp>
#include <catga/entities/entity.hpp>
#include <catga/entities/saga/builder.hpp>
#include <catga/entities/saga/decision.hpp>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace shop {

using namespace std::chrono_literals;

struct Nothing {
  CATGA_FIELDS();
};
struct Reserved {
  std::string id;
  CATGA_FIELDS(id);
};
struct Charged {
  std::string payment;
  CATGA_FIELDS(payment);
};
struct Reserve {
  using Reply = Reserved;
  std::string order;
  std::int32_t quantity = 0;
  CATGA_MESSAGE(Reserve, order, quantity);
};
struct Release {
  using Reply = catga::Done;
  std::string reservation;
  CATGA_MESSAGE(Release, reservation);
};
struct Charge {
  using Reply = Charged;
  std::string order;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Charge, order, cents);
};
struct Refund {
  using Reply = catga::Done;
  std::string payment;
  CATGA_MESSAGE(Refund, payment);
};
struct Wrap {
  using Reply = catga::Done;
  std::string order;
  CATGA_MESSAGE(Wrap, order);
};
struct Ship {
  using Reply = catga::Done;
  std::string order;
  CATGA_MESSAGE(Ship, order);
};
struct Notify {
  using Reply = catga::Done;
  std::string text;
  CATGA_MESSAGE(Notify, text);
};
struct Approved {
  std::string by;
  CATGA_FIELDS(by);
};

struct Stock {
  static constexpr std::string_view kind = "stock";
  using Handles = catga::Messages<Reserve, Release>;
  Nothing state;
  Reserved on(const Reserve& reserve) { return {reserve.order}; }
  catga::Done on(const Release&) { return {}; }
};
struct Account {
  static constexpr std::string_view kind = "account";
  using Handles = catga::Messages<Charge, Refund>;
  Nothing state;
  Charged on(const Charge& charge) { return {charge.order}; }
  catga::Done on(const Refund&) { return {}; }
};
struct Shipping {
  static constexpr std::string_view kind = "shipping";
  using Handles = catga::Messages<Wrap, Ship>;
  Nothing state;
  catga::Done on(const Wrap&) { return {}; }
  catga::Done on(const Ship&) { return {}; }
};
struct Mailer {
  static constexpr std::string_view kind = "mailer";
  using Handles = catga::Messages<Notify>;
  Nothing state;
  catga::Done on(const Notify&) { return {}; }
};

struct Invoice {
  std::string order, number;
  CATGA_FIELDS(order, number);
};
struct Line {
  std::string sku, reservation;
  std::int32_t quantity = 0;
  CATGA_FIELDS(sku, reservation, quantity);
};
struct Order {
  std::string id, account, payment, approver;
  std::vector<Line> lines;
  std::int64_t cents = 0;
  bool gift = false;
  CATGA_FIELDS(id, account, payment, approver, lines, cents, gift);
};

inline catga::Saga<Invoice> invoice_saga() {
  return catga::saga<Invoice>("invoice", 1)
      .step("print", [](const Invoice& i) { return catga::to<Mailer>("shop", Notify{i.order}); })
      .build();
}

/// As in the specification, chapter 5.1.
inline catga::Saga<Order> order_saga() {
  return catga::saga<Order>("order", 1)
      .each(
          "line", [](const Order& o) { return o.lines.size(); },
          [](const Order& o, std::size_t i) {
            return catga::to<Stock>(o.lines[i].sku, Reserve{o.id, o.lines[i].quantity});
          })
      .on_reply([](Order& o, std::size_t i, const Reserved& r) { o.lines[i].reservation = r.id; })
      .undo([](const Order& o, std::size_t i) {
        return catga::to<Stock>(o.lines[i].sku, Release{o.lines[i].reservation});
      })
      .timeout(5s)
      .retries({.first = 100ms, .factor = 2, .cap = 30s, .attempts = 8})
      .step("charge",
            [](const Order& o) {
              return catga::to<Account>(o.account, Charge{o.id, o.cents});
            })
      .on_reply([](Order& o, const Charged& c) { o.payment = c.payment; })
      .undo([](const Order& o) { return catga::to<Account>(o.account, Refund{o.payment}); })
      .await_signal<Approved>("approval", 48h)
      .on_reply([](Order& o, const Approved& a) { o.approver = a.by; })
      .step("wrap", [](const Order& o) { return catga::to<Shipping>(o.id, Wrap{o.id}); })
      .when([](const Order& o) { return o.gift; })
      .step("ship", [](const Order& o) { return catga::to<Shipping>(o.id, Ship{o.id}); })
      .pivot()
      .sleep("cool-off", 10min)
      .child("invoice", invoice_saga(),
             [](const Order& o) {
               return Invoice{o.id, ""};
             })
      .parallel()
      .step("mail", [](const Order& o) { return catga::to<Mailer>(o.account, Notify{"shipped"}); })
      .step("count", [](const Order& o) { return catga::to<Mailer>("shop", Notify{o.id}); })
      .join()
      .deadline(72h)
      .build();
}

inline Order an_order() {
  Order order;
  order.id = "17";
  order.account = "alice";
  order.lines = {{"tea", "", 2}, {"cup", "", 1}};
  order.cents = 500;
  return order;
}

/// A journal as one would tell it. Each entry is one second later than the one before.
class Told {
 public:
  static constexpr std::int64_t start_ms = 1'700'000'000'000;

  explicit Told(const Order& order = an_order()) {
    entries_.push_back({catga::EntryKind::input, "", start_ms, catga::encode(order), "test"});
  }

  Told& says(catga::EntryKind kind, std::string step = {}, std::string data = {}) {
    entries_.push_back({kind, std::move(step), now_ms() + 1000, std::move(data), "test"});
    return *this;
  }
  Told& choice(std::string step, std::string data) {
    return says(catga::EntryKind::choice, std::move(step), std::move(data));
  }
  template <class Reply>
  Told& done(std::string step, const Reply& reply) {
    return says(catga::EntryKind::done, std::move(step),
                catga::encode(catga::DoneNote{catga::encode(reply), false, ""}));
  }
  Told& parked(catga::ParkCause cause, std::string step, catga::ParkNote note) {
    entries_.push_back(catga::park_entry(cause, std::move(step), std::move(note), now_ms() + 1000));
    return *this;
  }
  Told& resumed(std::string step = {}, catga::ResumeNote note = {}) {
    return says(catga::EntryKind::resumed, std::move(step), catga::encode(note));
  }
  Told& signal(std::string name, std::string id, std::string payload) {
    return says(catga::EntryKind::signal, std::move(name),
                catga::encode(catga::SignalNote{std::move(id), std::move(payload)}));
  }

  /// Both lines reserved.
  Told& reserved() {
    return choice("line", "2").done("line#0", Reserved{"r0"}).done("line#1", Reserved{"r1"});
  }
  /// Everything until the pivot is under way.
  Told& approved() {
    return reserved()
        .done("charge", Charged{"p1"})
        .done("approval", Approved{"bob"})
        .choice("wrap", "no");
  }
  /// Everything until the pivot is done.
  Told& shipped() { return approved().done("ship", catga::Done{}); }

  std::int64_t now_ms() const { return entries_.back().at_ms; }
  const std::vector<catga::JournalEntry>& entries() const { return entries_; }

 private:
  std::vector<catga::JournalEntry> entries_;
};

/// "run line#0, run line#1"
inline std::string words_of(const std::vector<catga::SagaTask>& tasks) {
  std::string words;
  for (const catga::SagaTask& task : tasks) {
    words += (words.empty() ? "" : ", ") + std::string(catga::name_of(task.verb)) + ' ' + task.step;
  }
  return words;
}
/// "choice wrap, end"
inline std::string words_of(const std::vector<catga::JournalEntry>& entries) {
  std::string words;
  for (const catga::JournalEntry& entry : entries) {
    words += (words.empty() ? "" : ", ") + std::string(catga::name_of(entry.kind));
    if (!entry.step.empty()) words += ' ' + entry.step;
  }
  return words;
}

}  // namespace shop
