// Timers that fire again and again: each tick is a turn whose commit sets the next one.
#include <catga/runtime/activation.hpp>

#include "../support/scene.hpp"
#include <doctest/doctest.h>

using namespace catga;
using namespace catga::testing;

namespace {

const TimerWrite* said(const Scene& scene, const std::string& name) {
  for (const TimerWrite& write : scene.commits.back().commit.timers) {
    if (write.member == timer_member(scene.entity, name)) return &write;
  }
  return nullptr;
}

/// The shard's timer fires, as it stands in the store.
void tick(Scene& scene, const TimerWrite& timer, const std::string& what = {}) {
  const TimerMessage message = parse_timer_message(timer.message).value();
  Envelope envelope;
  envelope.kind = MessageClass::timer;
  envelope.entity = scene.entity;
  envelope.message = message.message;
  envelope.payload = what.empty() ? message.payload : encode(Act{what, 0, "bill"});
  envelope.operation = OperationId{2, static_cast<std::uint64_t>(*timer.due_ms)};
  envelope.operation_ms = *timer.due_ms;
  envelope.timer = timer.member;
  envelope.repeat = message.repeat;
  scene.arrive(envelope);
}

/// A reminder `bill` every second, set and committed.
TimerWrite reminder(Scene& scene, const std::string& how = "every") {
  scene.warm();
  scene.ask(Act{how, 1000, "bill"});
  const TimerWrite* const set = said(scene, "bill");
  REQUIRE(set != nullptr);
  const TimerWrite copy = *set;
  scene.commit();
  return copy;
}

}  // namespace

TEST_CASE("A reminder is due after one period, and each tick sets the next one with its commit") {
  Scene scene;
  TimerWrite timer = reminder(scene);
  CHECK(timer.due_ms == scene.cluster() + 1000);
  for (int i = 1; i <= 3; ++i) {
    scene.advance(1000 + 7);  // always a little late; it does not drift
    const std::int64_t due = *timer.due_ms;
    tick(scene, timer);
    const TimerWrite* const next = said(scene, "bill");
    REQUIRE(next != nullptr);
    CHECK(next->due_ms == due + 1000);
    CHECK(scene.commits.back().commit.fired ==
          std::vector<std::pair<std::string, std::int64_t>>{{timer.member, due}});
    timer = *next;
    scene.commit();
    CHECK(scene.told(scene.ask(Get{})) == std::to_string(i));
  }
}

TEST_CASE("Ticks that were missed are one, or each of them, as the reminder was set") {
  for (const bool all : {false, true}) {
    Scene scene;
    const TimerWrite timer = reminder(scene, all ? "every, all" : "every");
    scene.advance(4500);
    tick(scene, timer);
    CHECK(said(scene, "bill")->due_ms == *timer.due_ms + (all ? 1000 : 4000));
  }
}

TEST_CASE("A tick that says no is over, and the next one comes; one that throws is tried again") {
  Scene scene;
  const TimerWrite timer = reminder(scene);
  scene.advance(1000);
  tick(scene, timer, "throw");
  REQUIRE(scene.failed_timers.size() == 1);
  CHECK(scene.failed_timers[0].second == Code::failed);
  CHECK(scene.commits.size() == 1);
  tick(scene, timer, "reject");
  REQUIRE(scene.commits.size() == 2);
  CHECK(said(scene, "bill")->due_ms == *timer.due_ms + 1000);
}

TEST_CASE("A reminder that is cancelled in its own tick, or by a command, does not come again") {
  for (const bool in_tick : {true, false}) {
    Scene scene;
    const TimerWrite timer = reminder(scene);
    scene.advance(1000);
    if (in_tick) {
      tick(scene, timer, "cancel");
    } else {
      scene.ask(Act{"cancel", 0, "bill"});
    }
    const TimerWrite* const word = said(scene, "bill");
    REQUIRE(word != nullptr);
    CHECK_FALSE(word->due_ms);
    scene.settle();
    tick(scene, timer);  // a shot that was on its way
    CHECK(scene.commits.size() == 2);
  }
}
