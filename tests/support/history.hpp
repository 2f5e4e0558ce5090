// Judges a recorded history: what callers were told, against what is stored in the end.
//
// The model. Each account is a log to which calls are appended. `Append{call}` is answered with the
// position the call got, counted from 1; with a limit it is rejected once the log is that long. A
// read is answered with the length. When everything is over, the whole log of each account is
// read: a list of call numbers. A call has one number in all of a history, kept at each of its
// repeats, and the entity itself removes no doubles: so whatever is lost or done twice shows.
//
// The final list fixes the order in which appends took effect, and with it everything else. Give
// the append at position p the place 2p, and a read that was answered v the place 2v + 1, after
// the append it saw last and before the next. The history is linearizable exactly if no call that
// ended before another began has the later place, which one sweep over begins and ends finds.
//
// Pure: no clock, no files. Times are numbers of any unit, of one clock.
#pragma once
#include <catga/sharding/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace catga::testing {

/// What one caller knows of one call.
struct Call {
  enum class Kind : std::uint8_t { append, read };
  enum class Outcome : std::uint8_t {
    ok,
    rejected,  ///< by the handler: the log was as long as `limit`
    refused,   ///< with a code that promises "not applied": must not be in the log
    unknown,   ///< may have been applied, once, at any time after its start
  };
  std::string account;
  std::uint64_t number = 0;  ///< unique in the history, the same for repeats
  Kind kind = Kind::append;
  Outcome outcome = Outcome::unknown;
  std::int64_t start = 0;  ///< before the first attempt
  std::int64_t end = 0;    ///< when the caller knew; of no meaning if the outcome is unknown
  /// ok only. Append: its place from 1; 0 if it was not told, and will be there some time, as what a
  /// turn tells. Read: the length.
  std::uint64_t position = 0;
  std::uint64_t limit = 0;  ///< appends only; 0: none
  friend bool operator==(const Call&, const Call&) = default;
};

/// All of one account, read after everything.
struct FinalLog {
  std::string account;
  std::int64_t start = 0;
  std::int64_t end = 0;
  std::vector<std::uint64_t> calls;
  friend bool operator==(const FinalLog&, const FinalLog&) = default;
};

struct History {
  std::vector<Call> calls;
  std::vector<FinalLog> logs;  ///< one per account
};

/// What the store promises about acknowledged changes.
enum class Tail {
  kept,
  may_be_lost,  ///< a failover without WAIT: the newest may vanish, the rest must still be right
};

struct Verdict {
  std::uint64_t calls = 0, acknowledged = 0, rejected = 0, refused = 0, unknown = 0;
  std::uint64_t lost = 0;                    ///< acknowledged, and not at the position it was told
  std::uint64_t applied_twice = 0;           ///< entries of a log beyond the first of their call
  std::uint64_t nonlinearizable = 0;         ///< calls that no order in real time explains
  std::uint64_t applied_though_refused = 0;  ///< rejected or refused, and in the log
  std::uint64_t unexplained = 0;      ///< entries nobody called for; numbers or logs given twice
  std::vector<std::string> examples;  ///< the first few of each defect, for people

  /// With Tail::may_be_lost what is lost is counted and forgiven.
  bool good(Tail tail = Tail::kept) const {
    return (lost == 0 || tail == Tail::may_be_lost) && applied_twice == 0 && nonlinearizable == 0 &&
           applied_though_refused == 0 && unexplained == 0;
  }
};

/// n log n in the number of calls.
Verdict judge(const History& history, Tail tail = Tail::kept);

/// A history as text, a line each; accounts have no white space:
///   call <start> <end> <account> <number> append|read ok|rejected|refused|unknown <position> <limit>
///   log <start> <end> <account> <number>...
std::string line_of(const Call& call);
std::string line_of(const FinalLog& log);
/// Adds what a line says; further words of a call are for others. Errors: malformed.
Status read_line(std::string_view line, History& into);

}  // namespace catga::testing
