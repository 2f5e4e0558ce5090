// What a saga does next, case by case: chapter 5 of the specification as a table.
#include <catga/entities/saga/decision.hpp>
#include <catga/entities/saga/ending.hpp>

#include "saga_shop.hpp"
#include <doctest/doctest.h>

#include <stdexcept>

using namespace catga;
using namespace shop;

namespace {

constexpr std::int64_t second = 1000, minute = 60 * second, hour = 60 * minute;

/// The saga of the documents, and what it decides on a journal `later` than its newest entry.
struct Decided {
  explicit Decided(const Told& told, std::int64_t later = 0, const Saga<Order>& of = order_saga())
      : saga(of),
        progress(saga.definition(), "17", told.entries()),
        decision(next(progress, told.now_ms() + later)) {}
  std::string tasks() const { return words_of(decision.tasks); }
  std::string entries() const { return words_of(decision.entries); }
  std::string cause() const { return progress.parked() ? progress.parked()->note.cause : ""; }

  Saga<Order> saga;
  SagaProgress progress;
  SagaDecision decision;
};

}  // namespace

TEST_CASE("a saga begins with its first stage: the count is written, then its elements run") {
  const Decided at_start{Told{}};
  CHECK(at_start.entries() == "choice line");
  CHECK(at_start.decision.entries[0].data == "2");
  CHECK(at_start.tasks() == "run line#0, run line#1");
  CHECK(at_start.decision.status == SagaStatus::running);
}

TEST_CASE("a stage runs until all of it is done, then the next one") {
  Told told;
  told.choice("line", "2").done("line#1", Reserved{"r1"});
  CHECK(Decided{told}.tasks() == "run line#0");
  told.done("line#0", Reserved{"r0"});
  CHECK(Decided{told}.tasks() == "run charge");
}

TEST_CASE("an each of nothing is skipped") {
  Order order = an_order();
  order.lines.clear();
  const Decided decided{Told{order}};
  CHECK(decided.entries() == "choice line");
  CHECK(decided.decision.entries[0].data == "no");
  CHECK(decided.tasks() == "run charge");
}

TEST_CASE("an each over 1,000 parks as poison") {
  Order order = an_order();
  order.lines.assign(1001, Line{});
  const Decided decided{Told{order}};
  CHECK(decided.cause() == "poison");
  CHECK(decided.tasks() == "");
  order.lines.resize(1000);
  CHECK(Decided{Told{order}}.decision.tasks.size() == 16);  // of an each, at most 16 at once
}

TEST_CASE("a step is left out when the state says so, and the choice is made once") {
  Told plain, gift{[] {
    Order order = an_order();
    order.gift = true;
    return order;
  }()};
  for (Told* told : {&plain, &gift}) {
    told->reserved().done("charge", Charged{"p1"}).done("approval", Approved{"bob"});
  }
  CHECK(Decided{plain}.entries() == "choice wrap");
  CHECK(Decided{plain}.tasks() == "run ship");
  CHECK(Decided{gift}.tasks() == "run wrap");
  gift.choice("wrap", "no");  // whatever the lambda says now
  CHECK(Decided{gift}.tasks() == "run ship");
}

TEST_CASE("a signal may come before it is awaited, and is taken when the saga gets there") {
  Told told;
  told.signal("approval", "a", encode(Approved{"bob"})).reserved().done("charge", Charged{"p1"});
  const Decided decided{told};
  CHECK(decided.entries() == "done approval, choice wrap");
  CHECK(decided.tasks() == "run ship");
  CHECK(decided.progress.signals().waiting() == 0);
}

TEST_CASE("a signal that does not come in time is a rejection, counted from the entry before") {
  Told told;
  told.reserved().done("charge", Charged{"p1"});
  const Decided waiting{told};
  CHECK(waiting.tasks() == "");
  REQUIRE(waiting.decision.wake_ms);
  CHECK(*waiting.decision.wake_ms == told.now_ms() + 48 * hour);
  CHECK(Decided(told, 48 * hour - 1).entries() == "");
  const Decided late(told, 48 * hour);
  CHECK(late.entries() == "rejected approval");
  CHECK(late.tasks() == "undo charge");
  CHECK(late.decision.status == SagaStatus::compensating);
}

TEST_CASE("a sleep is due from the journal, so it neither drifts nor restarts") {
  Told told;
  told.shipped();
  CHECK(*Decided{told}.decision.wake_ms == told.now_ms() + 10 * minute);
  CHECK(*Decided(told, 9 * minute).decision.wake_ms == told.now_ms() + 10 * minute);
  const Decided woken(told, 10 * minute);
  CHECK(woken.entries() == "done cool-off");
  CHECK(woken.tasks() == "run invoice");
}

TEST_CASE("a child is started, and its end arrives as a signal with its id") {
  Told told;
  told.shipped().says(EntryKind::done, "cool-off");
  const Decided started{told};
  REQUIRE(started.tasks() == "run invoice");
  const StepCall call = call_of(started.progress, started.decision.tasks[0]).value();
  CHECK(call.entity == EntityId{"invoice", "17.invoice"});
  CHECK(decode<Invoice>(call.payload)->order == "17");

  Told stranger = told;
  stranger.signal("invoice", "16.invoice", encode(ChildEnd{"completed", encode(Invoice{}), ""}));
  CHECK(Decided{stranger}.tasks() == "run invoice");
  told.signal("invoice", "17.invoice", encode(ChildEnd{"completed", encode(Invoice{}), ""}));
  CHECK(Decided{told}.entries() == "done invoice");
  CHECK(Decided{told}.tasks() == "run mail, run count");
}

TEST_CASE("a child that went back is a rejection; behind the pivot that parks") {
  Told told;
  told.shipped().says(EntryKind::done, "cool-off");
  told.signal("invoice", "17.invoice", encode(ChildEnd{"compensated", "", "no paper"}));
  const Decided decided{told};
  CHECK(decided.entries() == "rejected invoice, parked invoice");
  CHECK(decided.cause() == "forward_stuck");
  CHECK(decided.progress.parked()->note.text.find("no paper") != std::string::npos);
}

TEST_CASE("steps side by side end in any order, and the saga is completed with the last") {
  Told told;
  told.shipped().says(EntryKind::done, "cool-off").done("invoice", Invoice{});
  Told other = told;
  told.done("count", Done{}).done("mail", Done{});
  other.done("mail", Done{}).done("count", Done{});
  CHECK(Decided{told}.entries() == "end");
  CHECK(Decided{told}.decision.entries == Decided{other}.decision.entries);
  CHECK(Decided{told}.decision.status == SagaStatus::completed);
  told.says(EntryKind::end, "", encode(EndNote{"completed", ""}));
  CHECK(Decided{told}.entries() == "");
  CHECK(Decided{told}.tasks() == "");
}

TEST_CASE("a rejection goes back, newest stage first, the elements of one side by side") {
  Told told;
  told.reserved().says(EntryKind::rejected, "charge", "no money");
  CHECK(Decided{told}.tasks() == "undo line#0, undo line#1");
  told.says(EntryKind::undone, "line#1");
  CHECK(Decided{told}.tasks() == "undo line#0");
  told.says(EntryKind::undone, "line#0");
  const Decided over{told};
  CHECK(over.entries() == "end");
  CHECK(over.decision.status == SagaStatus::compensated);
  CHECK(decode<EndNote>(over.decision.entries[0].data)->reason ==
        "step 'charge' was rejected: no money");
}

TEST_CASE("what may have been applied is settled before anything is undone") {
  Told told;
  told.reserved().says(EntryKind::gave_up, "charge", "timeout");
  CHECK(Decided{told}.tasks() == "settle charge");
  Told absent = told, applied = told;
  absent.says(EntryKind::absent, "charge");
  CHECK(Decided{absent}.tasks() == "undo line#0, undo line#1");
  CHECK(Decided{absent}.decision.tasks.at(0).operation_ms == absent.now_ms());
  applied.done("charge", Charged{"p1"});
  CHECK(Decided{applied}.tasks() == "undo charge");
  CHECK(Decided{applied}.entries() == "");  // what follows was never begun: nothing to settle there
  applied.says(EntryKind::undone, "charge");
  CHECK(Decided{applied}.tasks() == "undo line#0, undo line#1");
}

TEST_CASE("one failure settles the siblings") {
  Told told;
  told.choice("line", "2").says(EntryKind::rejected, "line#0", "none left");
  CHECK(Decided{told}.tasks() == "settle line#1");
}

TEST_CASE("a settlement asks about the operation that was sent") {
  Told told;
  told.reserved();
  const SagaTask run = Decided{told}.decision.tasks.at(0);
  told.says(EntryKind::cancel, "", "changed my mind");
  const SagaTask settle = Decided{told}.decision.tasks.at(0);
  CHECK(settle.verb == TaskVerb::settle);
  CHECK(settle.operation == run.operation);
  CHECK(settle.operation_ms == run.operation_ms);
  told.done("charge", Charged{"p1"});
  CHECK(Decided{told}.decision.tasks.at(0).operation != run.operation);
}

TEST_CASE("a cancel while a signal or a sleep is awaited settles it without asking anybody") {
  Told told;
  told.reserved().done("charge", Charged{"p1"}).says(EntryKind::cancel, "", "changed my mind");
  const Decided decided{told};
  CHECK(decided.entries() == "absent approval");
  CHECK(decided.tasks() == "undo charge");
}

TEST_CASE("a cancel while a child runs waits for what becomes of it") {
  const auto saga_with_child =
      saga<Order>("order", 1)
          .child("invoice", invoice_saga(),
                 [](const Order& o) {
                   return Invoice{o.id, ""};
                 })
          .undo([](const Order& o) { return to<Mailer>(o.account, Notify{"void"}); })
          .build();
  Told told;
  told.says(EntryKind::cancel, "", "changed my mind");
  CHECK(Decided(told, 0, saga_with_child).tasks() == "settle invoice");
  Told undone = told, completed = told;
  undone.signal("invoice", "17.invoice", encode(ChildEnd{"compensated", "", ""}));
  CHECK(Decided(undone, 0, saga_with_child).entries() == "absent invoice, end");
  completed.signal("invoice", "17.invoice", encode(ChildEnd{"completed", encode(Invoice{}), ""}));
  CHECK(Decided(completed, 0, saga_with_child).entries() == "done invoice");
  CHECK(Decided(completed, 0, saga_with_child).tasks() == "undo invoice");
}

TEST_CASE("the pivot is settled like others; found applied, the cancel is void") {
  Told told;
  told.approved().says(EntryKind::cancel, "", "changed my mind");
  CHECK(Decided{told}.tasks() == "settle ship");
  Told applied = told, absent = told;
  applied.done("ship", Done{});
  CHECK(Decided{applied}.decision.status == SagaStatus::running);
  CHECK(Decided{applied}.tasks() == "");
  CHECK(Decided(applied, 10 * minute).tasks() == "run invoice");
  absent.says(EntryKind::absent, "ship");
  CHECK(Decided{absent}.tasks() == "undo charge");
  CHECK(Decided{absent}.decision.status == SagaStatus::compensating);
}

TEST_CASE(
    "behind the pivot a rejection parks, and is tried again slowly under a new operation id") {
  Told told;
  told.shipped().says(EntryKind::done, "cool-off").done("invoice", Invoice{});
  const SagaTask mail = Decided{told}.decision.tasks.at(0);
  CHECK(mail.for_ever);
  told.says(EntryKind::rejected, "mail", "no such address");
  const Decided parked{told};
  CHECK(parked.entries() == "parked mail");
  CHECK(parked.cause() == "forward_stuck");
  CHECK(parked.tasks() == "");
  told.parked(ParkCause::forward_stuck, "mail", {.text = "rejected", .refused = true});
  CHECK(*Decided{told}.decision.wake_ms == told.now_ms() + 30 * minute);
  CHECK(Decided(told, 30 * minute - 1).entries() == "");
  const Decided again(told, 30 * minute);
  CHECK(again.entries() == "resumed mail");
  CHECK(again.tasks() == "run mail, run count");
  CHECK(again.decision.tasks[0].operation != mail.operation);
  CHECK(again.decision.tasks[0].round == 1);
}

TEST_CASE("behind the pivot an hour without success is listed as stuck, but still tried") {
  Told told;
  told.shipped().says(EntryKind::done, "cool-off").done("invoice", Invoice{});
  CHECK(Decided(told, hour - 1).entries() == "");
  const Decided stuck(told, hour);
  CHECK(stuck.entries() == "parked mail");
  CHECK(stuck.decision.status == SagaStatus::parked);
  CHECK(stuck.tasks() == "run mail, run count");
  told.parked(ParkCause::forward_stuck, "mail", {.text = "no success"}).done("mail", Done{});
  CHECK(Decided{told}.entries() == "resumed");
  CHECK(Decided{told}.tasks() == "run count");
}

TEST_CASE("an undo sees the state as its own step left it") {
  Told told;
  told.reserved()
      .done("charge", Charged{"p1"})
      .says(EntryKind::cancel, "", "no")
      .says(EntryKind::absent, "approval");
  const Decided decided{told};
  REQUIRE(decided.tasks() == "undo charge");
  CHECK(decode<Refund>(call_of(decided.progress, decided.decision.tasks[0])->payload)->payment ==
        "p1");
  told.says(EntryKind::undone, "charge");
  const Decided lines{told};
  REQUIRE(lines.tasks() == "undo line#0, undo line#1");
  const StepCall release = call_of(lines.progress, lines.decision.tasks[1]).value();
  CHECK(release.entity == EntityId{"stock", "cup"});
  CHECK(decode<Release>(release.payload)->reservation == "r1");
}

TEST_CASE("a success said twice is folded once") {
  const auto counting =
      saga<Order>("order", 1)
          .step("pay",
                [](const Order& o) {
                  return to<Account>(o.account, Charge{o.id, 1});
                })
          .on_reply([](Order& o, const Charged& c) { o.payment += c.payment; })
          .step("tell", [](const Order& o) { return to<Mailer>(o.account, Notify{o.payment}); })
          .build();
  Told told;
  told.done("pay", Charged{"p1"}).done("pay", Charged{"p2"});
  const Decided decided(told, 0, counting);
  CHECK(decode<Order>(decided.progress.state()->bytes())->payment == "p1");
  CHECK(decode<Notify>(call_of(decided.progress, decided.decision.tasks.at(0))->payload)->text ==
        "p1");
}

TEST_CASE("the newest state does not reach an older undo") {
  const auto overwritten =
      saga<Order>("order", 1)
          .step("first",
                [](const Order& o) {
                  return to<Account>(o.account, Charge{o.id, 1});
                })
          .on_reply([](Order& o, const Charged& c) { o.payment = c.payment; })
          .undo([](const Order& o) { return to<Account>(o.account, Refund{o.payment}); })
          .step("second",
                [](const Order& o) {
                  return to<Account>(o.account, Charge{o.id, 2});
                })
          .on_reply([](Order& o, const Charged& c) { o.payment = c.payment; })
          .build();
  Told told;
  told.done("first", Charged{"p1"}).done("second", Charged{"p2"});
  told.says(EntryKind::cancel, "", "no");
  const Decided decided(told, 0, overwritten);
  REQUIRE(decided.tasks() == "undo first");
  CHECK(decode<Refund>(call_of(decided.progress, decided.decision.tasks[0])->payload)->payment ==
        "p1");
}

TEST_CASE("a call sees the state as its stage began, so a sibling's reply does not change it") {
  const auto side_by_side =
      saga<Order>("order", 1)
          .parallel()
          .step("pay",
                [](const Order& o) {
                  return to<Account>(o.account, Charge{o.id, 1});
                })
          .on_reply([](Order& o, const Charged& c) { o.payment = c.payment; })
          .step("tell",
                [](const Order& o) { return to<Mailer>(o.account, Notify{"paid: " + o.payment}); })
          .join()
          .build();
  Told told;
  const Decided before(told, 0, side_by_side);
  const StepCall first = call_of(before.progress, before.decision.tasks.at(1)).value();
  told.done("pay", Charged{"p1"});
  const Decided after(told, 0, side_by_side);
  CHECK(call_of(after.progress, after.decision.tasks.at(0)).value() == first);
}

TEST_CASE("the deadline is a cancel; behind the pivot it is only told") {
  Told told;
  told.reserved()
      .done("charge", Charged{"p1"})
      .done("approval", Approved{"bob"})
      .choice("wrap", "no");
  const std::int64_t left = Told::start_ms + 72 * hour - told.now_ms();
  CHECK(Decided(told, left - 1).entries() == "");
  const Decided cancelled(told, left);
  CHECK(cancelled.entries() == "cancel");
  CHECK(cancelled.decision.entries[0].by == "deadline");
  CHECK(cancelled.tasks() == "settle ship");
  told.done("ship", Done{}).says(EntryKind::done, "cool-off").done("invoice", Invoice{});
  const Decided late(told, left);
  CHECK(late.decision.overdue);
  CHECK(late.entries() == "parked mail");  // three days are more than an hour without success
  CHECK_FALSE(Decided{told}.decision.overdue);
}

TEST_CASE("a parked saga does nothing, and has nothing to wake for but the slow retry") {
  Told told;
  told.reserved().parked(ParkCause::poison, "charge", {.text = "threw"});
  CHECK(Decided(told, 100 * hour).entries() == "");
  CHECK(Decided{told}.tasks() == "");
  CHECK_FALSE(Decided{told}.decision.wake_ms);
  told.says(EntryKind::cancel, "", "no");
  CHECK(Decided{told}.decision.status == SagaStatus::parked);
  told.resumed();
  CHECK(Decided{told}.tasks() == "settle charge");
}

TEST_CASE("a stuck undo holds back the older ones, and is tried again slowly") {
  Told told;
  told.reserved()
      .done("charge", Charged{"p1"})
      .says(EntryKind::cancel, "", "no")
      .says(EntryKind::absent, "approval");
  const SagaTask undo = Decided{told}.decision.tasks.at(0);
  Told unknown = told;
  unknown.parked(ParkCause::compensation_stuck, "charge", {.text = "no answer", .undo = true});
  CHECK(Decided{unknown}.tasks() == "");
  CHECK(Decided(unknown, 30 * minute).entries() == "resumed");
  CHECK(Decided(unknown, 30 * minute).decision.tasks.at(0).operation == undo.operation);
  Told refused = told;
  refused.parked(ParkCause::compensation_stuck, "charge",
                 {.text = "no", .undo = true, .refused = true});
  CHECK(Decided(refused, 30 * minute).decision.tasks.at(0).operation != undo.operation);
}

TEST_CASE("a saga parked for want of its definition goes on where that is known") {
  Told told;
  told.reserved().parked(ParkCause::definition_drift, "", {.text = "other steps"});
  CHECK(Decided{told}.entries() == "resumed");
  CHECK(Decided{told}.tasks() == "run charge");
}

TEST_CASE("a journal the definition does not fit parks as drift, once") {
  Told told;
  told.reserved().says(EntryKind::done, "gift-card");
  const Decided decided{told};
  CHECK(decided.cause() == "definition_drift");
  CHECK(decided.progress.parked()->note.text.find("'gift-card'") != std::string::npos);
  told.parked(ParkCause::definition_drift, "gift-card", {.text = "other steps"});
  for (int recovery = 0; recovery < 1000; ++recovery) {
    CHECK(Decided(told, recovery).entries() == "");
  }
}

TEST_CASE("user code that throws parks the saga as poison with its words") {
  const auto broken =
      saga<Order>("order", 1)
          .step("wrap", [](const Order& o) { return to<Shipping>(o.id, Wrap{o.id}); })
          .when([](const Order&) -> bool { throw std::runtime_error("out of paper"); })
          .build();
  const Decided decided(Told{}, 0, broken);
  CHECK(decided.cause() == "poison");
  CHECK(decided.progress.parked()->note.text == "the choice of step 'wrap' threw: out of paper");

  const auto broken_call =
      saga<Order>("order", 1)
          .step("wrap", [](const Order& o) { return to<Shipping>(o.lines.at(7).sku, Wrap{}); })
          .build();
  const Decided calling(Told{}, 0, broken_call);
  REQUIRE(calling.tasks() == "run wrap");
  const Result<StepCall> call = call_of(calling.progress, calling.decision.tasks[0]);
  REQUIRE_FALSE(call.ok());
  CHECK(call.error().text.starts_with("the message of step 'wrap' threw: "));
}

TEST_CASE("a reply or an input that cannot be read parks as poison") {
  Told told;
  told.reserved().says(EntryKind::done, "charge", encode(DoneNote{"\xc1", false, ""}));
  CHECK(Decided{told}.cause() == "poison");
  CHECK(Decided{told}.progress.parked()->note.text.find("on_reply of step 'charge'") !=
        std::string::npos);
  const std::vector<JournalEntry> journal{{EntryKind::input, "", 1, "\x01", ""}};
  const Saga<Order> saga = order_saga();
  CHECK(words_of(next(saga.definition(), "17", journal, 2).entries) == "parked");
}

TEST_CASE("a step open for half of the retention is not repeated, but parks as poison") {
  const auto long_signal = order_saga();
  Told told;
  told.reserved();
  SagaLimits limits;
  limits.retention = std::chrono::hours(2);
  SagaProgress fresh(long_signal.definition(), "17", told.entries());
  CHECK(next(fresh, told.now_ms() + hour - 1, limits).entries.empty());
  CHECK(words_of(next(fresh, told.now_ms() + hour, limits).entries) == "parked charge");
  // Asked and forbidden it may be for as long as its participant remembers.
  told.says(EntryKind::cancel, "", "no");
  SagaProgress back(long_signal.definition(), "17", told.entries());
  CHECK(next(back, told.now_ms() + hour, limits).entries.empty());
  CHECK(words_of(next(back, told.now_ms() + 2 * hour, limits).entries) == "parked charge");
}

TEST_CASE("a full journal parks, unless the saga ends with its next entry") {
  Told told;
  while (told.entries().size() < journal_entries_max - 1) told.signal("gossip", "g", "");
  CHECK(Decided{told}.cause() == "journal_full");
  CHECK(Decided{told}.entries() == "choice line, parked");
  CHECK(Decided{told}.decision.half_full);
  Told last;
  last.shipped().says(EntryKind::done, "cool-off").done("invoice", Invoice{}).done("mail", Done{});
  while (last.entries().size() < journal_entries_max) last.signal("gossip", "g", "");
  last.done("count", Done{});
  CHECK(Decided{last}.entries() == "end");
}

TEST_CASE(
    "attempts are counted from when a step could first be sent, or from when it was resumed") {
  Told told;
  told.reserved();
  const std::int64_t ready = told.now_ms();
  CHECK(Decided(told, hour).decision.tasks.at(0).operation_ms == ready);
  CHECK(Decided(told, hour).decision.tasks.at(0).since_ms == ready);
  told.parked(ParkCause::crash_loop, "", {.text = "died"}).resumed();
  CHECK(Decided{told}.decision.tasks.at(0).operation_ms == ready);
  CHECK(Decided{told}.decision.tasks.at(0).since_ms == told.now_ms());
}

TEST_CASE("an empty journal decides nothing, and one that does not begin with an input is poison") {
  const Saga<Order> saga = order_saga();
  const SagaDecision nothing = next(saga.definition(), "17", {}, 1);
  CHECK(nothing.entries.empty());
  CHECK(nothing.tasks.empty());
  const std::vector<JournalEntry> odd{{EntryKind::cancel, "", 1, "no", "x"}};
  CHECK(words_of(next(saga.definition(), "17", odd, 2).entries) == "parked");
}

TEST_CASE("a child that ended tells its parent how, with its state or the reason") {
  Told told;
  told.reserved().says(EntryKind::rejected, "charge", "no money");
  told.says(EntryKind::undone, "line#0").says(EntryKind::undone, "line#1");
  const ChildEnd back = child_end(Decided{told}.progress);
  CHECK(back.status == "compensated");
  CHECK(back.state == "");
  CHECK(back.reason == "step 'charge' was rejected: no money");
  Told good;
  good.shipped().says(EntryKind::done, "cool-off").done("invoice", Invoice{});
  good.done("mail", Done{}).done("count", Done{});
  const ChildEnd completed = child_end(Decided{good}.progress);
  CHECK(completed.status == "completed");
  CHECK(decode<Order>(completed.state)->payment == "p1");
}
