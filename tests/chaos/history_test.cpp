// The judge of histories: every kind of defect is found, and nothing that is right is blamed.
#include "../support/history.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace catga::testing {
namespace {

using Outcome = Call::Outcome;

Call append(std::uint64_t number, std::int64_t start, std::int64_t end, std::uint64_t position,
            std::uint64_t limit = 0) {
  return {"a", number, Call::Kind::append, Outcome::ok, start, end, position, limit};
}
Call not_acknowledged(std::uint64_t number, std::int64_t start, std::int64_t end, Outcome outcome,
                      std::uint64_t limit = 0) {
  return {"a", number, Call::Kind::append, outcome, start, end, 0, limit};
}
Call read(std::uint64_t number, std::int64_t start, std::int64_t end, std::uint64_t length) {
  return {"a", number, Call::Kind::read, Outcome::ok, start, end, length, 0};
}
History history(std::vector<Call> calls, std::vector<std::uint64_t> log) {
  return {std::move(calls), {{"a", 1000, 1001, std::move(log)}}};
}

TEST_CASE("a history in order is good, and counted") {
  const Verdict verdict =
      judge(history({append(11, 0, 5, 1), append(12, 6, 9, 2), read(13, 10, 11, 2),
                     not_acknowledged(14, 12, 13, Outcome::rejected, 2),
                     not_acknowledged(15, 12, 13, Outcome::refused),
                     not_acknowledged(16, 12, 13, Outcome::unknown)},
                    {11, 12}));
  CHECK(verdict.good());
  CHECK(verdict.examples.empty());
  CHECK(verdict.calls == 6);
  CHECK(verdict.acknowledged == 3);
  CHECK(verdict.rejected == 1);
  CHECK(verdict.refused == 1);
  CHECK(verdict.unknown == 1);
}

TEST_CASE("calls that overlap may take effect in either order") {
  CHECK(judge(history({append(11, 0, 9, 2), append(12, 1, 8, 1), read(13, 0, 9, 0),
                       read(14, 1, 9, 2), read(15, 1, 9, 1)},
                      {12, 11}))
            .good());
}

TEST_CASE("a call of unknown outcome may take effect long after its caller gave up, or never") {
  const std::vector<Call> calls{not_acknowledged(11, 0, 1, Outcome::unknown), read(12, 5, 6, 0),
                                append(13, 7, 8, 1)};
  CHECK(judge(history(calls, {13, 11})).good());
  CHECK(judge(history(calls, {13})).good());
}

TEST_CASE("but not before it began") {
  const Verdict verdict =
      judge(history({append(11, 0, 1, 2), not_acknowledged(12, 5, 6, Outcome::unknown)}, {12, 11}));
  CHECK(verdict.nonlinearizable == 1);
}

TEST_CASE("an acknowledged append that is not in the log is lost") {
  const Verdict verdict = judge(history({append(11, 0, 1, 1), append(12, 2, 3, 2)}, {11}));
  CHECK(verdict.lost == 1);
  CHECK_FALSE(verdict.good());
  CHECK(verdict.examples.at(0) == "a: append 12, told position 2 (2 to 3) is not in the log");
}

TEST_CASE("an acknowledged append at another position than it was told is lost") {
  const Verdict verdict = judge(history({append(11, 0, 1, 1), append(12, 0, 1, 1)}, {11, 12}));
  CHECK(verdict.lost == 1);
}

TEST_CASE("acknowledged appends to a log that nobody read back are lost") {
  CHECK(judge({{append(11, 0, 1, 1)}, {}}).lost == 1);
}

TEST_CASE("an append that is promised without a position may come late, but must be there") {
  const std::vector<Call> calls{append(11, 5, 6, 0), read(12, 7, 8, 0), append(13, 9, 10, 1)};
  CHECK(judge(history(calls, {13, 11})).good());
  CHECK(judge(history(calls, {13})).lost == 1);
  CHECK(judge(history(calls, {13, 11, 11})).applied_twice == 1);
  CHECK(judge(history({append(11, 5, 6, 0), read(12, 0, 1, 1)}, {11})).nonlinearizable == 1);
}

TEST_CASE("an entry of the log that repeats its call was applied twice") {
  const Verdict acknowledged =
      judge(history({append(11, 0, 1, 1), append(12, 2, 3, 2)}, {11, 12, 11, 11}));
  CHECK(acknowledged.applied_twice == 2);
  CHECK(acknowledged.lost == 0);
  CHECK(judge(history({not_acknowledged(11, 0, 1, Outcome::unknown)}, {11, 11})).applied_twice ==
        1);
}

TEST_CASE("a rejected or refused call must not be in the log") {
  CHECK(
      judge(history({not_acknowledged(11, 0, 1, Outcome::refused)}, {11})).applied_though_refused ==
      1);
  CHECK(judge(history({not_acknowledged(11, 0, 1, Outcome::rejected, 1)}, {11}))
            .applied_though_refused == 1);
}

TEST_CASE("an entry that nobody called for is unexplained, and so is a number used twice") {
  CHECK(judge(history({}, {11})).unexplained == 1);
  CHECK(judge(history({read(11, 0, 1, 0)}, {11})).unexplained == 1);
  CHECK(judge(history({append(11, 0, 1, 1), append(11, 0, 1, 1)}, {11})).unexplained == 1);
  History two_logs = history({append(11, 0, 1, 1)}, {11});
  two_logs.logs.push_back(two_logs.logs[0]);
  CHECK(judge(two_logs).unexplained == 1);
}

TEST_CASE("an append that ended before another began has the earlier position") {
  CHECK(judge(history({append(11, 0, 4, 2), append(12, 5, 6, 1)}, {12, 11})).nonlinearizable == 1);
  CHECK(judge(history({append(11, 0, 5, 2), append(12, 5, 6, 1)}, {12, 11})).good());
}

TEST_CASE("a read sees every append that was acknowledged before it began") {
  CHECK(judge(history({append(11, 0, 4, 1), read(12, 5, 6, 0)}, {11})).nonlinearizable == 1);
}

TEST_CASE("a read sees no append that began after it had ended") {
  CHECK(judge(history({read(12, 0, 4, 1), append(11, 5, 6, 1)}, {11})).nonlinearizable == 1);
  CHECK(judge(history({read(12, 0, 4, 1)}, {})).nonlinearizable == 1);
}

TEST_CASE("reads do not go back in time, even between calls under way") {
  CHECK(judge(history({append(11, 0, 9, 1), read(12, 1, 2, 1), read(13, 3, 4, 0)}, {11}))
            .nonlinearizable == 1);
  CHECK(judge(history({append(11, 0, 9, 1), read(12, 1, 2, 0), read(13, 3, 4, 1)}, {11})).good());
}

TEST_CASE("a rejection shows that the log was as long as the limit") {
  CHECK(judge(history({not_acknowledged(12, 0, 1, Outcome::rejected, 1)}, {})).nonlinearizable ==
        1);
  CHECK(
      judge(history({not_acknowledged(12, 0, 1, Outcome::rejected, 1), append(11, 5, 6, 1)}, {11}))
          .nonlinearizable == 1);
  CHECK(judge(history({not_acknowledged(12, 0, 1, Outcome::rejected, 1), read(13, 2, 3, 0),
                       append(11, 0, 6, 1)},
                      {11}))
            .nonlinearizable == 1);
  CHECK(judge(history({append(11, 0, 1, 1), append(12, 2, 3, 2),
                       not_acknowledged(13, 4, 5, Outcome::rejected, 1)},
                      {11, 12}))
            .good());
}

TEST_CASE("no append is acknowledged beyond its limit") {
  CHECK(
      judge(history({append(11, 0, 1, 1, 1), append(12, 2, 3, 2, 1)}, {11, 12})).nonlinearizable ==
      1);
}

TEST_CASE("where the tail may be lost it is counted and forgiven, and its positions given anew") {
  const History rolled_back =
      history({append(11, 0, 1, 1), append(12, 2, 3, 2), read(13, 4, 5, 2),
               not_acknowledged(14, 4, 5, Outcome::rejected, 2), append(15, 20, 21, 2)},
              {11, 15});
  CHECK_FALSE(judge(rolled_back).good());
  const Verdict verdict = judge(rolled_back, Tail::may_be_lost);
  CHECK(verdict.good(Tail::may_be_lost));
  CHECK(verdict.lost == 1);
}

TEST_CASE("where the tail may be lost, what survives must still be in order and there once") {
  const History swapped = history({append(11, 0, 4, 2), append(12, 5, 6, 1)}, {12, 11});
  CHECK_FALSE(judge(swapped, Tail::may_be_lost).good(Tail::may_be_lost));
  const History twice = history({append(11, 0, 4, 1)}, {11, 11});
  CHECK_FALSE(judge(twice, Tail::may_be_lost).good(Tail::may_be_lost));
  const History stale = history({append(11, 0, 4, 1), read(12, 5, 6, 0)}, {11});
  CHECK_FALSE(judge(stale, Tail::may_be_lost).good(Tail::may_be_lost));
}

TEST_CASE("accounts are judged one by one") {
  Call other = append(12, 2, 3, 1);
  other.account = "b";
  History two{{append(11, 0, 1, 1), other}, {{"a", 9, 9, {11}}, {"b", 9, 9, {12}}}};
  CHECK(judge(two).good());
  std::swap(two.logs[0].calls, two.logs[1].calls);
  const Verdict verdict = judge(two);
  CHECK(verdict.lost == 2);
  CHECK(verdict.unexplained == 2);
}

TEST_CASE("a call and a log survive being written as lines") {
  const History written = history({append(18'446'744'073'709'551'615u, -5, 1, 7, 256),
                                   not_acknowledged(2, 3, 4, Outcome::unknown), read(3, 5, 6, 0)},
                                  {18'446'744'073'709'551'615u, 2});
  History found;
  for (const Call& call : written.calls) CHECK(read_line(line_of(call) + '\n', found).ok());
  CHECK(read_line(line_of(written.logs[0]), found).ok());
  CHECK(found.calls == written.calls);
  CHECK(found.logs == written.logs);
  CHECK(read_line(line_of(written.calls[0]) + " further words", found).ok());
}

TEST_CASE("a line cut off in the middle, or of another kind, is malformed") {
  History found;
  const std::string whole = line_of(append(11, 0, 1, 1));
  for (std::size_t size = 0; size < whole.size() - 1; ++size)
    CHECK_FALSE(read_line(whole.substr(0, size), found).ok());
  CHECK_FALSE(read_line("call 0 1 a 11 append maybe 1 0", found).ok());
  CHECK_FALSE(read_line("log 0 1 a 11 x", found).ok());
  CHECK_FALSE(read_line("word 0 1 a 11", found).ok());
  CHECK(found.calls.empty());
  CHECK(found.logs.empty());
}

// A store that does everything right at a moment between start and end, with callers at random.
History right_by_construction(std::mt19937_64& random) {
  struct Moment {
    std::int64_t at;
    std::size_t call;
  };
  const auto below = [&random](std::int64_t bound) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(bound));
  };
  History made{{}, {{"a", 100'000, 100'001, {}}}};
  std::vector<Moment> moments;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const std::int64_t start = below(1000), at = start + below(60), end = at + below(60);
    Call call{"a",         i,     random() % 3 == 0 ? Call::Kind::read : Call::Kind::append,
              Outcome::ok, start, end,
              0,           0};
    if (random() % 8 == 0) call.outcome = Outcome::unknown;
    moments.push_back({call.outcome == Outcome::unknown ? at + below(500) : at, i});
    made.calls.push_back(call);
  }
  std::ranges::stable_sort(moments, {}, &Moment::at);
  auto& log = made.logs[0].calls;
  for (const Moment& moment : moments) {
    Call& call = made.calls[moment.call];
    if (call.kind == Call::Kind::append) log.push_back(call.number);
    if (call.outcome == Outcome::ok) call.position = log.size();
  }
  return made;
}

// Looks at every pair, as the definition has it.
bool some_pair_is_wrong(const History& history) {
  const auto& log = history.logs[0].calls;
  const auto place = [&log](const Call& call) -> std::uint64_t {
    if (call.kind == Call::Kind::read) return 2 * call.position + 1;
    return 2 * static_cast<std::uint64_t>(std::ranges::find(log, call.number) - log.begin() + 1);
  };
  for (const Call& a : history.calls)
    for (const Call& b : history.calls)
      if (a.outcome == Outcome::ok && a.end < b.start && place(a) > place(b) &&
          (b.outcome == Outcome::ok || b.kind == Call::Kind::append))
        return true;
  return false;
}

TEST_CASE("histories of a store that is right are good, whatever the interleaving") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Verdict verdict = judge(right_by_construction(random));
    CHECK_MESSAGE(verdict.good(), (verdict.examples.empty() ? "" : verdict.examples[0]));
  }
}

TEST_CASE("one answer moved is found exactly when some pair of calls cannot be ordered") {
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    History history = right_by_construction(random);
    std::vector<Call*> reads;
    for (Call& call : history.calls)
      if (call.kind == Call::Kind::read && call.outcome == Outcome::ok) reads.push_back(&call);
    Call& moved = *reads[random() % reads.size()];
    moved.position = random() % (history.logs[0].calls.size() + 1);
    const bool wrong = some_pair_is_wrong(history);
    CHECK((judge(history).nonlinearizable != 0) == wrong);
    found += wrong ? 1 : 0;
  }
  CHECK(found > 100);
  CHECK(found < 1000);
}

}  // namespace
}  // namespace catga::testing
