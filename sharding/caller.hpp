// One ask at its caller: when to send it again, and what to report in the end. Pure.
//
// All attempts carry one operation id, so sending again is always safe. What may be reported is narrower: "not applied"
// (`unavailable`, `overloaded`) only if *every* attempt was refused so; if one ended without such an answer, it may yet
// be applied, and the report is `timeout` or `unknown`. Answers do not say which attempt they belong to, and may come
// twice: a refusal is counted for the newest attempt, once, so that it never stands for an older one that still waits.
#pragma once
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <optional>

namespace catga {

struct CallerTimes {
  std::int64_t try_first = 500,
               try_most = 4000;  ///< an attempt without an answer is repeated after this, doubling
  std::int64_t again_first = 20, again_most = 500;  ///< after `unknown`, or while nobody listens
  /// An `overloaded` that asks for so much patience comes from a node with too much to do, and is passed on: repeats by
  /// everybody would keep it so.
  std::int64_t patience = 1000;
};

/// The state of one ask. Times in ms of one clock.
struct Caller {
  std::int64_t deadline = 0;
  bool outside_id =
      false;  ///< the id came from the user: earlier calls count as attempts without an answer
  std::uint32_t attempts = 0;  ///< sent so far
  std::uint32_t refusals = 0;  ///< of these, answered "not applied" while they were the newest
  bool open = false;           ///< the newest attempt has no answer yet
  std::int64_t next_at = 0;    ///< when to do something; the deadline at the latest
  std::int64_t try_wait = 0, again_wait = 0;
  bool quick = false;         ///< the next attempt follows a known trouble, not a silence
  std::optional<Error> last;  ///< the newest answer that was not final; of `timeout` only the first
};

/// What to do now. `finish`: report `error` (the final answer itself, when there was one, is the caller's to pass on).
struct CallerAction {
  enum class Kind : std::uint8_t { wait, send, look_up, finish } kind = Kind::wait;
  Error error;
};

namespace caller {
CallerAction start(Caller& caller, const CallerTimes& times, std::int64_t now, std::int64_t random);
/// An answer that is an error. Replies, rejections and other final answers finish the ask at once.
CallerAction refused(Caller& caller, const Error& error, const CallerTimes& times, std::int64_t now,
                     std::int64_t random);
/// NATS says that nobody listens where the newest attempt went: that copy was not delivered. Look up the record.
CallerAction nobody_there(Caller& caller, const CallerTimes& times, std::int64_t now);
/// Where the newest attempt went has left the view: that copy may or may not have run. Send again.
CallerAction owner_left(Caller& caller, const CallerTimes& times, std::int64_t now,
                        std::int64_t random);
/// Could not be sent: no member to send it to, or the way there is full. Counts as no attempt.
CallerAction not_sent(Caller& caller, const Error& error, const CallerTimes& times,
                      std::int64_t now);
CallerAction tick(Caller& caller, const CallerTimes& times, std::int64_t now, std::int64_t random);
/// Whether an answer with this code ends the ask, whatever other attempts may say.
bool is_final(Code code);
}  // namespace caller

}  // namespace catga
