#include "catga/sharding/caller.hpp"

#include <algorithm>
#include <utility>

namespace catga::caller {

namespace {

/// ±20 %, so that callers that failed together do not return together.
std::int64_t jitter(std::int64_t wait, std::int64_t random) {
  const std::int64_t span = std::max<std::int64_t>(1, wait * 2 / 5);
  return wait - span / 2 + (random & 0x7fffffff) % span;
}

CallerAction wait_until(Caller& caller, std::int64_t at) {
  caller.next_at = std::min(at, caller.deadline);
  return {CallerAction::Kind::wait, {}};
}

/// Silence doubles the wait for the next answer; an attempt after a known trouble does not, or a few quick ones would
/// leave a lost copy unnoticed for seconds.
CallerAction send(Caller& caller, const CallerTimes& times, std::int64_t now, std::int64_t random) {
  caller.attempts += 1;
  caller.open = true;
  if (caller.try_wait == 0)
    caller.try_wait = times.try_first;
  else if (!caller.quick)
    caller.try_wait = std::min(caller.try_wait * 2, times.try_most);
  caller.quick = false;
  caller.next_at = std::min(now + jitter(caller.try_wait, random), caller.deadline);
  return {CallerAction::Kind::send, {}};
}

CallerAction soon(Caller& caller, const CallerTimes& times, std::int64_t now) {
  caller.quick = true;
  caller.again_wait = caller.again_wait == 0 ? times.again_first
                                             : std::min(caller.again_wait * 2, times.again_most);
  return wait_until(caller, now + caller.again_wait);
}

void count_refusal(Caller& caller) {
  if (std::exchange(caller.open, false)) caller.refusals += 1;
}

Error report(const Caller& caller) {
  const bool all_refused = caller.attempts == caller.refusals && !caller.outside_id;
  if (all_refused && caller.last) return *caller.last;
  if (all_refused) return Error{Code::unavailable, "nobody could be asked before the deadline"};
  if (caller.last && caller.last->code == Code::unknown) return *caller.last;
  std::string text = "no answer after " + std::to_string(caller.attempts) +
                     " attempts; ask again with the same operation id";
  if (caller.last) text += " (last heard: " + caller.last->text + ")";
  return Error{Code::timeout, std::move(text)};
}

}  // namespace

bool is_final(Code code) {
  switch (code) {
    case Code::unavailable:
    case Code::overloaded:
    case Code::timeout:
    case Code::unknown:
      return false;
    case Code::expired:
    case Code::rejected:
    case Code::failed:
    case Code::malformed:
    case Code::not_found:
      return true;
  }
  return true;
}

CallerAction start(Caller& caller, const CallerTimes& times, std::int64_t now,
                   std::int64_t random) {
  if (now >= caller.deadline) return {CallerAction::Kind::finish, report(caller)};
  return send(caller, times, now, random);
}

CallerAction refused(Caller& caller, const Error& error, const CallerTimes& times, std::int64_t now,
                     std::int64_t random) {
  // That the time is over the caller knows by itself: why it was over is what was heard before.
  if (error.code != Code::timeout || !caller.last) caller.last = error;
  if (error.code == Code::overloaded || error.code == Code::unavailable)
    count_refusal(caller);
  else
    caller.open = false;  // answered, and may be applied
  const bool not_applied = caller.attempts == caller.refusals && !caller.outside_id;
  if (error.code == Code::overloaded && error.retry_after.count() >= times.patience && not_applied)
    return {CallerAction::Kind::finish, error};
  if (error.code == Code::overloaded) {
    const std::int64_t after = std::max<std::int64_t>(error.retry_after.count(), times.again_first);
    return wait_until(caller,
                      now + after + (random & 0x7fffffff) % (after * 2 / 5 + 1));  // never earlier
  }
  if (error.code == Code::unavailable)
    return wait_until(caller, now + jitter(times.try_first, random));
  return soon(caller, times, now);  // unknown, or the owner saw the deadline pass
}

CallerAction nobody_there(Caller& caller, const CallerTimes& times, std::int64_t now) {
  count_refusal(caller);
  caller.last = Error{Code::unavailable, "the owner of the shard is not there"};
  soon(caller, times, now);  // should the look-up bring nothing
  return {CallerAction::Kind::look_up, {}};
}

CallerAction owner_left(Caller& caller, const CallerTimes& times, std::int64_t now,
                        std::int64_t random) {
  if (now >= caller.deadline) return {CallerAction::Kind::finish, report(caller)};
  caller.quick = true;
  return send(caller, times, now, random);
}

CallerAction not_sent(Caller& caller, const Error& error, const CallerTimes& times,
                      std::int64_t now) {
  count_refusal(caller);
  caller.last = error;
  return soon(caller, times, now);
}

CallerAction tick(Caller& caller, const CallerTimes& times, std::int64_t now, std::int64_t random) {
  if (now >= caller.deadline) return {CallerAction::Kind::finish, report(caller)};
  if (now < caller.next_at) return {CallerAction::Kind::wait, {}};
  return send(caller, times, now, random);
}

}  // namespace catga::caller
