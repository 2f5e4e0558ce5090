// What the answer to a step, a settlement or an undo leads to.
#include <catga/entities/saga/answer.hpp>

#include "saga_shop.hpp"
#include <doctest/doctest.h>

using namespace catga;
using namespace shop;

namespace {

struct Asked {
  explicit Asked(const Told& told)
      : saga(order_saga()),
        progress(saga.definition(), "17", told.entries()),
        now_ms(told.now_ms()),
        task(next(progress, now_ms).tasks.at(0)) {}

  SagaAnswer get(const Result<StepReply>& reply, std::uint32_t attempt = 1,
                 std::int64_t later = 0) {
    return answered(progress, task, reply, {attempt, now_ms + later, 0.5});
  }
  SagaAnswer get(Code code, std::uint32_t attempt = 1, std::int64_t later = 0) {
    return get(Result<StepReply>(Error{code, "words"}), attempt, later);
  }
  /// "" if it is to be tried again.
  std::string entries(Code code, std::uint32_t attempt = 1) {
    return words_of(get(code, attempt).entries);
  }

  Saga<Order> saga;
  SagaProgress progress;
  std::int64_t now_ms;
  SagaTask task;
};

ParkNote note_of(const SagaAnswer& answer) {
  return decode<ParkNote>(answer.entries.at(0).data).value();
}

Told stuck_charge() {
  Told told;
  told.reserved();
  return told;
}
Told undoing() {
  Told told;
  told.reserved()
      .done("charge", Charged{"p1"})
      .says(EntryKind::cancel, "", "no")
      .says(EntryKind::absent, "approval");
  return told;
}
Told settling() {
  Told told;
  told.reserved().says(EntryKind::gave_up, "charge", "timeout");
  return told;
}

}  // namespace

TEST_CASE("a value is done, with the reply and the wish to be told of the end") {
  Asked asked(stuck_charge());
  const SagaAnswer answer = asked.get(StepReply{encode(Charged{"p1"}), true, false});
  REQUIRE(words_of(answer.entries) == "done charge");
  const DoneNote note = decode<DoneNote>(answer.entries[0].data).value();
  CHECK(decode<Charged>(note.reply)->payment == "p1");
  CHECK(note.forget);
  CHECK_FALSE(answer.again_ms);
}

TEST_CASE("each code of a step leads where the specification says") {
  Asked asked(stuck_charge());
  CHECK(asked.entries(Code::rejected) == "rejected charge");
  for (const Code code :
       {Code::timeout, Code::unavailable, Code::unknown, Code::overloaded, Code::failed}) {
    CHECK(asked.entries(code) == "");
    CHECK(asked.get(code).again_ms == asked.now_ms + 100);
    CHECK(asked.get(code, 3).again_ms == asked.now_ms + 400);
    CHECK(asked.entries(code, 9) == "");
    CHECK(asked.entries(code, 10) == "gave_up charge");
    CHECK_FALSE(asked.get(code, 10).again_ms);
  }
  for (const Code code : {Code::malformed, Code::not_found, Code::expired}) {
    CHECK(asked.entries(code) == "parked charge");
    CHECK(note_of(asked.get(code)).cause == "poison");
  }
}

TEST_CASE("a step is given up when its window is over, however few attempts this owner made") {
  Asked asked(stuck_charge());
  const std::int64_t window = window_of(asked.saga.definition().stages[1][0]).count();
  CHECK(words_of(asked.get(Code::timeout, 1, window - 101).entries) == "");
  CHECK(words_of(asked.get(Code::timeout, 1, window - 100).entries) == "gave_up charge");
}

TEST_CASE("an overloaded participant is asked again no sooner than it wants") {
  Asked asked(stuck_charge());
  const Error error{Code::overloaded, "full", 700ms};
  CHECK(asked.get(Result<StepReply>(error)).again_ms == asked.now_ms + 700);
}

TEST_CASE("behind the pivot nothing is given up") {
  Told told;
  told.shipped().says(EntryKind::done, "cool-off").done("invoice", Invoice{});
  Asked asked(told);
  CHECK(asked.task.step == "mail");
  CHECK(asked.get(Code::timeout, 1'000'000, 1000).again_ms == asked.now_ms + 1000 + 300'000);
  CHECK(asked.entries(Code::rejected) == "rejected mail");
}

TEST_CASE("a settlement tells done or absent, and parks when nobody answers") {
  Asked asked(settling());
  REQUIRE(asked.task.verb == TaskVerb::settle);
  CHECK(words_of(asked.get(StepReply{encode(Charged{"p1"}), false, false}).entries) ==
        "done charge");
  CHECK(words_of(asked.get(StepReply{"", false, true}).entries) == "absent charge");
  CHECK(asked.entries(Code::rejected) == "absent charge");
  CHECK(asked.get(Code::timeout).again_ms == asked.now_ms + 1000);
  CHECK(note_of(asked.get(Code::timeout, 10)).cause == "compensation_stuck");
  CHECK_FALSE(note_of(asked.get(Code::timeout, 10)).undo);
}

TEST_CASE("an undo is undone; rejected or out of attempts it parks and is never given up") {
  Asked asked(undoing());
  REQUIRE(asked.task.verb == TaskVerb::undo);
  CHECK(words_of(asked.get(StepReply{}).entries) == "undone charge");
  const ParkNote refused = note_of(asked.get(Code::rejected));
  CHECK(refused.cause == "compensation_stuck");
  CHECK(refused.undo);
  CHECK(refused.refused);
  const ParkNote tired = note_of(asked.get(Code::timeout, 10));
  CHECK(tired.cause == "compensation_stuck");
  CHECK(tired.undo);
  CHECK_FALSE(tired.refused);
  CHECK(words_of(asked.get(Code::timeout, 1, 15 * 60'000).entries) == "parked charge");
  CHECK(note_of(asked.get(Code::expired)).cause == "poison");
}

TEST_CASE("an answer nobody asks for any more is not written") {
  Asked asked(stuck_charge());
  asked.progress.apply({EntryKind::cancel, "", asked.now_ms, "no", "caller"});
  CHECK(words_of(asked.get(Code::rejected).entries) == "");  // the settlement will say it
  CHECK_FALSE(asked.get(Code::timeout).again_ms);
  Asked parked(stuck_charge());
  parked.progress.apply(park_entry(ParkCause::crash_loop, "", {.text = "died"}, parked.now_ms));
  CHECK(parked.get(StepReply{encode(Charged{"p1"}), false, false}).entries.empty());
}

TEST_CASE("a reply that cannot be read is not journaled as done, but parks as poison") {
  Asked asked(stuck_charge());
  CHECK(note_of(asked.get(StepReply{"\xc1", false, false})).cause == "poison");
  CHECK(note_of(asked.get(StepReply{std::string(70'000, 'x'), false, false})).text.find("65536") !=
        std::string::npos);
  CHECK(note_of(asked.get(StepReply{"", false, true})).cause == "poison");
}

TEST_CASE("a child that was started is waited for, not asked again") {
  Told told;
  told.shipped().says(EntryKind::done, "cool-off");
  Asked asked(told);
  REQUIRE(asked.task.step == "invoice");
  CHECK(asked.get(StepReply{}).entries.empty());
  CHECK_FALSE(asked.get(StepReply{}).again_ms);
}

TEST_CASE("words of strangers do not make an entry too large") {
  Asked asked(stuck_charge());
  const SagaAnswer answer =
      asked.get(Result<StepReply>(Error{Code::rejected, std::string(1 << 20, 'x')}));
  CHECK(decode_entry(encode_entry(answer.entries.at(0))).ok());
}
