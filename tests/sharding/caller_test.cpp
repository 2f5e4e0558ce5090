// One ask at its caller: when it is sent again, and what may be reported in the end.
#include <catga/sharding/caller.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

using namespace catga;
using Kind = CallerAction::Kind;

namespace {

const CallerTimes times;
const Error full{Code::overloaded, "full", std::chrono::milliseconds(100)};
const Error nobody{Code::unavailable, "nobody"};
const Error fenced{Code::unknown, "fenced"};

Caller ask_until(std::int64_t deadline) {
  Caller caller;
  caller.deadline = deadline;
  return caller;
}
/// Waits until the caller sends again; the waiting time.
std::int64_t wait_for_send(Caller& caller, std::int64_t& now, std::int64_t random = 0) {
  const std::int64_t since = now;
  for (;;) {
    now = std::max(now + 1, caller.next_at);
    const CallerAction action = caller::tick(caller, times, now, random);
    if (action.kind == Kind::send) return now - since;
    REQUIRE(action.kind == Kind::wait);
  }
}
CallerAction finish(Caller& caller) { return caller::tick(caller, times, caller.deadline, 0); }
bool not_applied(Code code) { return code == Code::unavailable || code == Code::overloaded; }

}  // namespace

TEST_CASE("answers that end an ask are replies, rejections, and what no repeat will mend") {
  for (const Code code :
       {Code::expired, Code::rejected, Code::failed, Code::malformed, Code::not_found})
    CHECK(caller::is_final(code));
  for (const Code code : {Code::unavailable, Code::overloaded, Code::timeout, Code::unknown})
    CHECK_FALSE(caller::is_final(code));
}

TEST_CASE("an ask is sent at once and again after 500 ms, doubling to 4 s, within a fifth") {
  for (const std::int64_t random : {0LL, 12345LL, 0x7fffffffLL, -1LL}) {
    Caller caller = ask_until(100'000);
    CHECK(caller::start(caller, times, 1000, random).kind == Kind::send);
    std::int64_t now = 1000;
    for (const std::int64_t expected : {500, 1000, 2000, 4000, 4000}) {
      const std::int64_t waited = wait_for_send(caller, now, random);
      CHECK(waited >= expected * 4 / 5);
      CHECK(waited <= expected * 6 / 5);
    }
    CHECK(caller.attempts == 6);
  }
}

TEST_CASE("an ask whose deadline has passed is not sent, and was not applied") {
  Caller caller = ask_until(1000);
  const CallerAction action = caller::start(caller, times, 1000, 0);
  CHECK(action.kind == Kind::finish);
  CHECK(action.error.code == Code::unavailable);
}

TEST_CASE("an ask without any answer ends as timeout at its deadline") {
  Caller caller = ask_until(3000);
  (void)caller::start(caller, times, 1000, 0);
  CHECK(caller.next_at <= 3000);
  const CallerAction action = finish(caller);
  CHECK(action.kind == Kind::finish);
  CHECK(action.error.code == Code::timeout);
  CHECK_FALSE(action.error.text.empty());
}

TEST_CASE("after `unknown` the ask is sent again almost at once, and a little later each time") {
  Caller caller = ask_until(100'000);
  (void)caller::start(caller, times, 1000, 0);
  std::int64_t now = 1000, before = 0;
  for (int round = 0; round < 10; ++round) {
    CHECK(caller::refused(caller, fenced, times, now, 0).kind == Kind::wait);
    const std::int64_t waited = wait_for_send(caller, now);
    if (round == 0) CHECK(waited <= 20);
    CHECK(waited >= before);
    CHECK(waited <= 500);
    before = waited;
  }
}

TEST_CASE("after `overloaded` the ask is not sent before the time that was given") {
  for (const std::int64_t random : {0LL, 12345LL, 0x7fffffffLL, -1LL}) {
    Caller caller = ask_until(100'000);
    (void)caller::start(caller, times, 1000, 0);
    (void)caller::refused(caller, full, times, 1010, random);
    CHECK(caller.next_at - 1010 >= 100);
    CHECK(caller.next_at - 1010 <= 140);
  }
}

TEST_CASE("`overloaded` of a whole node is passed on, unless the ask may have been applied") {
  const Error busy{Code::overloaded, "too much to do", std::chrono::milliseconds(1000)};
  Caller caller = ask_until(100'000);
  (void)caller::start(caller, times, 1000, 0);
  const CallerAction end = caller::refused(caller, busy, times, 1010, 0);
  CHECK(end.kind == Kind::finish);
  CHECK(end.error.code == Code::overloaded);
  CHECK(end.error.retry_after == std::chrono::milliseconds(1000));

  Caller unsure = ask_until(100'000);
  (void)caller::start(unsure, times, 1000, 0);
  (void)caller::tick(unsure, times, unsure.next_at, 0);  // of the first copy nothing was heard
  const std::int64_t now = unsure.next_at - 10;
  CHECK(caller::refused(unsure, busy, times, now, 0).kind == Kind::wait);
  CHECK(unsure.next_at >= now + 1000);

  Caller outside = ask_until(100'000);
  outside.outside_id = true;
  (void)caller::start(outside, times, 1000, 0);
  CHECK(caller::refused(outside, busy, times, 1010, 0).kind == Kind::wait);
}

TEST_CASE(
    "a refusal that comes twice does not speak for an attempt that may still wait somewhere") {
  Caller caller = ask_until(100'000);
  (void)caller::start(caller, times, 1000, 0);
  std::int64_t now = 1000;
  (void)wait_for_send(caller, now);  // of the first copy nothing was heard: it may wait in a queue
  (void)caller::refused(caller, nobody, times, now + 1, 0);
  (void)caller::refused(caller, nobody, times, now + 2, 0);  // the same answer, again
  CHECK(finish(caller).error.code == Code::timeout);

  Caller unsure = ask_until(100'000);
  (void)caller::start(unsure, times, 1000, 0);
  (void)caller::refused(unsure, fenced, times, 1001, 0);  // may have been applied
  (void)caller::refused(unsure, nobody, times, 1002, 0);
  CHECK_FALSE(not_applied(finish(unsure).error.code));
}

TEST_CASE("an owner that saw the deadline pass does not hide why there was no answer before") {
  const Error late{Code::timeout, "the deadline passed on the way"};
  Caller caller = ask_until(2000);
  (void)caller::start(caller, times, 1000, 0);
  (void)caller::refused(caller, full, times, 1010, 0);
  std::int64_t now = 1010;
  (void)wait_for_send(caller, now);
  (void)caller::refused(caller, late, times, 1999, 0);
  const Error told = finish(caller).error;
  CHECK(told.code == Code::timeout);
  CHECK(told.text.find("(last heard: full)") != std::string::npos);

  Caller silent = ask_until(2000);
  (void)caller::start(silent, times, 1000, 0);
  (void)caller::refused(silent, late, times, 1999, 0);
  CHECK(finish(silent).error.text.find("(last heard: the deadline") != std::string::npos);
}

TEST_CASE("after `unavailable` the ask waits as if there had been no answer") {
  Caller caller = ask_until(100'000);
  (void)caller::start(caller, times, 1000, 0);
  CHECK(caller::refused(caller, nobody, times, 1010, 0).kind == Kind::wait);
  CHECK(caller.next_at - 1010 >= 400);
  CHECK(caller.next_at - 1010 <= 4800);
}

TEST_CASE(
    "when nobody listens the record is looked up, and the ask sent again soon if that helps not") {
  Caller caller = ask_until(100'000);
  (void)caller::start(caller, times, 1000, 0);
  CHECK(caller::nobody_there(caller, times, 1010).kind == Kind::look_up);
  std::int64_t now = 1010;
  CHECK(wait_for_send(caller, now) <= 50);
}

TEST_CASE("when the owner leaves the view the ask is sent again at once") {
  Caller caller = ask_until(100'000);
  (void)caller::start(caller, times, 1000, 0);
  CHECK(caller::owner_left(caller, times, 1010, 0).kind == Kind::send);
  CHECK(caller.attempts == 2);
  CHECK(caller::owner_left(caller, times, 100'000, 0).kind == Kind::finish);
}

TEST_CASE("nothing is done later than the deadline") {
  Caller caller = ask_until(1100);
  (void)caller::start(caller, times, 1000, 0);
  CHECK(caller.next_at == 1100);
  (void)caller::refused(caller, {Code::overloaded, "full", std::chrono::milliseconds(900)}, times,
                        1010, 0);
  CHECK(caller.next_at == 1100);
  CHECK(finish(caller).kind == Kind::finish);
}

TEST_CASE("`not applied` is reported if every attempt was refused, with the last refusal's words") {
  Caller caller = ask_until(100'000);
  (void)caller::start(caller, times, 1000, 0);
  std::int64_t now = 1010;
  (void)caller::refused(caller, nobody, times, now, 0);
  (void)wait_for_send(caller, now);
  (void)caller::nobody_there(caller, times, now);
  (void)wait_for_send(caller, now);
  (void)caller::not_sent(caller, nobody, times, now);
  (void)wait_for_send(caller, now);
  (void)caller::refused(caller, full, times, now, 0);
  CHECK(finish(caller).error == full);
}

TEST_CASE("one attempt without a refusal, whichever, makes the report `timeout` or `unknown`") {
  for (int silent = 0; silent < 4; ++silent) {
    for (const bool unknown : {false, true}) {
      Caller caller = ask_until(100'000);
      (void)caller::start(caller, times, 1000, 0);
      std::int64_t now = 1000;
      for (int attempt = 0; attempt < 4; ++attempt) {
        if (attempt != 0) (void)wait_for_send(caller, now);
        if (attempt != silent)
          (void)caller::refused(caller, nobody, times, now, 0);
        else if (unknown)
          (void)caller::refused(caller, fenced, times, now, 0);
      }
      const Code code = finish(caller).error.code;
      CHECK((code == Code::timeout || code == Code::unknown));
    }
  }
}

TEST_CASE("an attempt whose owner left may have run: its report is not `not applied`") {
  Caller caller = ask_until(100'000);
  (void)caller::start(caller, times, 1000, 0);
  (void)caller::owner_left(caller, times, 1010, 0);
  (void)caller::refused(caller, nobody, times, 1020, 0);
  CHECK(finish(caller).error.code == Code::timeout);
}

TEST_CASE("with an operation id from outside, refusals of this ask say nothing of earlier ones") {
  Caller caller = ask_until(100'000);
  caller.outside_id = true;
  (void)caller::start(caller, times, 1000, 0);
  (void)caller::refused(caller, nobody, times, 1010, 0);
  CHECK(finish(caller).error.code == Code::timeout);
  Caller late = ask_until(1000);
  late.outside_id = true;
  CHECK(caller::start(late, times, 1000, 0).error.code == Code::timeout);
}

TEST_CASE("whatever the attempts meet, the report and the repeats follow from them") {
  for (std::uint64_t seed = 1; seed <= 20000; ++seed) {
    std::mt19937_64 random(seed);
    const auto wrong = [seed](const std::string& what) { FAIL("seed " << seed << ": " << what); };
    Caller caller = ask_until(1000 + static_cast<std::int64_t>(random() % 20000));
    caller.outside_id = random() % 8 == 0;
    std::vector<bool> refused;  // of each attempt, whether it was answered "not applied"
    std::vector<std::size_t> open;
    bool in_time = true;             // each refusal came while its attempt was the newest
    const auto calm = random() % 3;  // 0: mostly refusals
    std::int64_t now = 1000;
    bool newest_open = false;
    CallerAction action = caller::start(caller, times, now, static_cast<std::int64_t>(random()));
    for (int steps = 0; action.kind != Kind::finish; ++steps) {
      if (steps > 20000) wrong("it never ends");
      if (action.kind == Kind::send) {
        open.push_back(refused.size());
        refused.push_back(false);
        newest_open = true;
      }
      if (caller.attempts != refused.size()) wrong("attempts are counted wrongly");
      if (caller.next_at > caller.deadline) wrong("a wait beyond the deadline");
      const auto jitter = static_cast<std::int64_t>(random());
      const bool answer = !open.empty() && (calm == 0 ? random() % 16 != 0 : random() % 2 == 0);
      if (!answer) {
        now = std::max(now + 1, caller.next_at);
        action = caller::tick(caller, times, now, jitter);
        if (action.kind == Kind::wait && now >= caller.deadline) wrong("it waits at the deadline");
        continue;
      }
      now += static_cast<std::int64_t>(random() % 5);
      const bool newest = newest_open && random() % 2 == 0;
      const std::size_t which = newest ? open.size() - 1 : random() % open.size();
      const std::size_t attempt = open[which];
      if (attempt + 1 == refused.size())
        newest_open = false;
      else
        in_time = false;
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
      switch (random() % 6) {
        case 0:
          refused[attempt] = true;
          action = caller::refused(caller, nobody, times, now, jitter);
          break;
        case 1:
          refused[attempt] = true;
          action = caller::refused(caller, full, times, now, jitter);
          break;
        case 2:
          if (calm == 0)
            action = {};
          else
            action = caller::refused(caller, fenced, times, now, jitter);
          break;
        case 3:
          if (!newest) {
            action = {};
            break;
          }
          refused[attempt] = true;
          action = caller::nobody_there(caller, times, now);
          if (action.kind != Kind::look_up) wrong("no look-up");
          break;
        case 4:
          if (!newest) {
            action = {};
            break;
          }
          refused[attempt] = true;
          action = caller::not_sent(caller, nobody, times, now);
          break;
        default:
          if (calm == 0 || !newest)
            action = {};
          else
            action = caller::owner_left(caller, times, now, jitter);
          break;
      }
    }
    const bool all = std::all_of(refused.begin(), refused.end(), [](bool one) { return one; });
    const bool said_so = not_applied(action.error.code);
    if (said_so && (!all || caller.outside_id)) wrong("`not applied` although it may have been");
    if (!said_so && all && in_time && !caller.outside_id) wrong("every attempt was refused");
    if (!not_applied(action.error.code) && action.error.code != Code::timeout &&
        action.error.code != Code::unknown)
      wrong("a report of another kind");
    if (now < caller.deadline) wrong("given up before the deadline");
  }
}

TEST_CASE("quick repeats after a known trouble do not make the wait for a silent owner longer") {
  const CallerTimes times;
  Caller caller;
  caller.deadline = 100'000;
  (void)caller::start(caller, times, 0, 0);
  for (std::int64_t now = 1; now < 6; ++now) {
    CHECK(caller::owner_left(caller, times, now, 0).kind == CallerAction::Kind::send);
  }
  CHECK(caller.next_at <= 5 + times.try_first * 12 / 10);
}
