// Signals, cancels and the verbs of operators.
#include <catga/entities/saga/requests.hpp>

#include "saga_shop.hpp"
#include <doctest/doctest.h>

using namespace catga;
using namespace shop;

namespace {

struct Running {
  explicit Running(const Told& told)
      : saga(order_saga()),
        progress(saga.definition(), "17", told.entries()),
        now_ms(told.now_ms()) {
    decide();
  }
  void decide() { decision = next(progress, now_ms); }
  Result<SagaEntries> operate(OperatorVerb verb, std::string payload = {}, std::string step = {}) {
    return catga::operate(
        progress, {verb, "it stood there", "olga", std::move(step), std::move(payload)}, now_ms);
  }
  /// What the verb leads to: "undo_skipped charge, resumed -> undo line#0".
  std::string after(OperatorVerb verb, std::string payload = {}) {
    const Result<SagaEntries> entries = operate(verb, std::move(payload));
    if (!entries) return "no: " + entries.error().text;
    for (const JournalEntry& entry : *entries) progress.apply(entry);
    decide();
    return words_of(*entries) + " -> " + words_of(decision.tasks);
  }

  Saga<Order> saga;
  SagaProgress progress;
  std::int64_t now_ms;
  SagaDecision decision;
};

Told stuck_undo(bool refused) {
  Told told;
  told.reserved()
      .done("charge", Charged{"p1"})
      .says(EntryKind::cancel, "", "no")
      .says(EntryKind::absent, "approval");
  told.parked(ParkCause::compensation_stuck, "charge",
              {.text = "no", .undo = true, .refused = refused});
  return told;
}
Told stuck_mail(bool refused) {
  Told told;
  told.shipped().says(EntryKind::done, "cool-off").done("invoice", Invoice{});
  if (refused) told.says(EntryKind::rejected, "mail", "no such address");
  told.parked(ParkCause::forward_stuck, "mail", {.text = "no", .refused = refused});
  return told;
}
Told poisoned_charge() {
  Told told;
  told.reserved().parked(ParkCause::poison, "charge", {.text = "threw"});
  return told;
}

SignalRequest approval(std::string id) {
  return {"approval", std::move(id), encode(Approved{"bob"}), "bob"};
}

}  // namespace

TEST_CASE("a signal is journaled once, however often it is sent") {
  Running running(Told().reserved());
  const Result<SagaEntries> first = receive_signal(running.progress, approval("a"), running.now_ms);
  REQUIRE(first.ok());
  CHECK(words_of(*first) == "signal approval");
  running.progress.apply(first->at(0));
  CHECK(receive_signal(running.progress, approval("a"), running.now_ms)->empty());
  CHECK(receive_signal(running.progress, approval("b"), running.now_ms)->size() == 1);
}

TEST_CASE(
    "a signal is refused when it is not what is awaited, when too many wait, and after the end") {
  Running running(Told().reserved());
  const auto refused = [&running](const SignalRequest& request) {
    const Result<SagaEntries> entries = receive_signal(running.progress, request, running.now_ms);
    return entries ? "ok" : std::string(name_of(entries.error().code));
  };
  CHECK(refused({"approval", "a", "\x01", "bob"}) == "malformed");
  CHECK(refused({"charge", "a", "", "bob"}) == "malformed");
  CHECK(refused({"approval", "", "", "bob"}) == "malformed");
  CHECK(refused({"approval", "a", std::string(70'000, 'x'), "bob"}) == "malformed");
  CHECK(refused({"gossip", "a", "anything", "bob"}) == "ok");
  for (int i = 0; i < 256; ++i) {
    CHECK(refused(approval(std::to_string(i))) == "ok");
    const Result<SagaEntries> entries =
        receive_signal(running.progress, approval(std::to_string(i)), 1);
    running.progress.apply(entries->at(0));
  }
  CHECK(refused(approval("x")) == "overloaded");
  CHECK(refused(approval("7")) == "ok");  // known
  running.progress.apply(abort_entry("enough", "olga", 1));
  CHECK(refused(approval("x")) == "not_found");
}

TEST_CASE("a cancel is safe twice, and too late behind the pivot and after the end") {
  Running running(Told().reserved());
  const Result<SagaEntries> cancel = request_cancel(running.progress, "changed my mind", "bob", 1);
  REQUIRE(cancel.ok());
  CHECK(words_of(*cancel) == "cancel");
  running.progress.apply(cancel->at(0));
  CHECK(request_cancel(running.progress, "again", "bob", 1)->empty());
  Running shipped(Told().shipped());
  CHECK(request_cancel(shipped.progress, "late", "bob", 1).error().code == Code::rejected);
  running.progress.apply(abort_entry("enough", "olga", 1));
  Running aborted(Told().shipped());
  aborted.progress.apply(abort_entry("enough", "olga", 1));
  CHECK(request_cancel(aborted.progress, "late", "bob", 1).error().text.find("aborted") !=
        std::string::npos);
}

TEST_CASE("every verb needs a reason and a name, and none is needed when nothing is parked") {
  Running running(Told().reserved());
  CHECK(operate(running.progress, {OperatorVerb::retry, "", "olga", "", ""}, 1).error().code ==
        Code::malformed);
  CHECK(operate(running.progress, {OperatorVerb::retry, "why", "", "", ""}, 1).error().code ==
        Code::malformed);
  for (const OperatorVerb verb : {OperatorVerb::retry, OperatorVerb::skip, OperatorVerb::replace,
                                  OperatorVerb::force_complete}) {
    CHECK(running.operate(verb)->empty());
  }
}

TEST_CASE("a verb sent twice does not hit the next stuck step") {
  Running running(stuck_undo(false));
  CHECK(running.operate(OperatorVerb::skip, "", "line#0").error().code == Code::rejected);
  CHECK(running.operate(OperatorVerb::skip, "", "charge").ok());
}

TEST_CASE(
    "retry asks again: under the old operation id when the outcome is unknown, else under a new "
    "one") {
  Running unknown(stuck_undo(false)), refused(stuck_undo(true));
  CHECK(unknown.after(OperatorVerb::retry) == "resumed -> undo charge");
  CHECK(unknown.decision.tasks[0].round == 0);
  CHECK(refused.after(OperatorVerb::retry) == "resumed -> undo charge");
  CHECK(refused.decision.tasks[0].round == 1);
  Running mail(stuck_mail(true)), slow(stuck_mail(false));
  CHECK(mail.after(OperatorVerb::retry) == "resumed mail -> run mail, run count");
  CHECK(mail.decision.tasks[0].round == 1);
  CHECK(slow.after(OperatorVerb::retry) == "resumed -> run mail, run count");
  CHECK(slow.decision.tasks[0].round == 0);
  CHECK(Running(poisoned_charge()).after(OperatorVerb::retry) == "resumed -> run charge");
}

TEST_CASE("skip takes an undo as done, and the end says so") {
  Running running(stuck_undo(true));
  CHECK(running.after(OperatorVerb::skip) ==
        "undo_skipped charge, resumed -> undo line#0, undo line#1");
  CHECK(running.progress.undo_was_skipped());
  CHECK(running.progress.journal().at(running.progress.journal().size() - 2).by == "olga");
  CHECK(Running(stuck_mail(true)).after(OperatorVerb::skip).find("only an undo can be skipped") !=
        std::string::npos);
}

TEST_CASE("force-complete says that it happened") {
  Running undo(stuck_undo(true));
  CHECK(undo.after(OperatorVerb::force_complete) ==
        "undone charge, resumed -> undo line#0, undo line#1");
  Running mail(stuck_mail(true));
  CHECK(mail.after(OperatorVerb::force_complete) == "done mail, resumed -> run count");
  Running charge(poisoned_charge());
  CHECK(charge.after(OperatorVerb::force_complete).find("must be the reply") != std::string::npos);
  CHECK(charge.after(OperatorVerb::force_complete, encode(Charged{"p7"})) ==
        "done charge, resumed -> ");
  CHECK(charge.progress.state()->bytes().find("p7") != std::string::npos);
}

TEST_CASE("replace settles the old operation, then sends the new message under a new id") {
  Running running(poisoned_charge());
  const OperationId old = step_operation(running.progress.name(), StepSide::forward, "charge", 0);
  CHECK(running.after(OperatorVerb::replace, encode(Charge{"17", 1})) ==
        "resumed charge -> settle charge");
  CHECK(running.decision.tasks[0].operation == old);
  running.progress.apply({EntryKind::absent, "charge", running.now_ms, "", "saga"});
  running.decide();
  REQUIRE(words_of(running.decision.tasks) == "run charge");
  CHECK(running.decision.tasks[0].operation != old);
  CHECK(decode<Charge>(call_of(running.progress, running.decision.tasks[0])->payload)->cents == 1);
}

TEST_CASE("replace finds out when the old operation had been applied, and sends nothing then") {
  Running running(poisoned_charge());
  (void)running.after(OperatorVerb::replace, encode(Charge{"17", 1}));
  running.progress.apply({EntryKind::done, "charge", running.now_ms,
                          encode(DoneNote{encode(Charged{"p1"}), false, ""}), "saga"});
  running.decide();
  CHECK(running.decision.tasks.empty());  // the approval is awaited
}

TEST_CASE("a rejected undo that is replaced needs no settling; one of unknown outcome does") {
  Running refused(stuck_undo(true)), unknown(stuck_undo(false));
  CHECK(refused.after(OperatorVerb::replace, encode(Refund{"p2"})) == "resumed -> undo charge");
  CHECK(refused.decision.tasks[0].round == 1);
  CHECK(decode<Refund>(call_of(refused.progress, refused.decision.tasks[0])->payload)->payment ==
        "p2");
  CHECK(unknown.after(OperatorVerb::replace, encode(Refund{"p2"})) ==
        "resumed -> settle_undo charge");
  unknown.progress.apply({EntryKind::absent, "charge", unknown.now_ms, "", "saga"});
  unknown.decide();
  CHECK(words_of(unknown.decision.tasks) == "undo charge");
  CHECK(unknown.decision.tasks[0].round == 1);
}

TEST_CASE("abort ends a saga in any state, undoes nothing, and is safe twice") {
  for (const Told& told :
       {Told().reserved(), stuck_undo(true), stuck_mail(true), poisoned_charge()}) {
    Running running(told);
    CHECK(running.after(OperatorVerb::abort) == "end -> ");
    CHECK(running.progress.status() == SagaStatus::aborted);
    CHECK(running.operate(OperatorVerb::abort)->empty());
    CHECK(running.operate(OperatorVerb::retry).error().code == Code::rejected);
  }
}

TEST_CASE("a saga without its definition waits for it; verbs but abort are of no use") {
  Told told;
  told.reserved()
      .says(EntryKind::done, "gift-card")
      .parked(ParkCause::definition_drift, "", {.text = "x"});
  Running running(told);
  CHECK(running.operate(OperatorVerb::retry).error().text.find("right definition") !=
        std::string::npos);
  CHECK(running.operate(OperatorVerb::abort).ok());
}

TEST_CASE("verbs have the names the tool uses") {
  for (const char* name : {"retry", "replace", "skip", "force-complete", "cancel", "abort"}) {
    CHECK(name_of(parse_operator_verb(name).value()) == name);
  }
  CHECK_FALSE(parse_operator_verb("delete").ok());
}
