// Whether a node has more to do than it can do in time: then it refuses what is new. Pure.
//
// Asks that wait too long are worse than asks refused: their callers repeat them, then give up, and the node does work
// that nobody hears of. So the bound is in time, not in number. Each queue of the node says how many wait and how many it
// has ever taken; what waits, divided by the pace of late, is how long the next one will wait. That is known at once,
// while a measured wait tells of those who came long ago.
//
// The pace is what the queue can do, not what it was given: a look at which everything taken had waited before tells it,
// any other only that it can do at least so much. A look that comes late (the process was frozen) tells nothing. So a burst
// after a quiet time, when nobody knows yet how fast the queue is, is no reason to refuse: only a queue that has not been
// through with what waited for some looks in a row is.
//
// Queries wait for workers, commands for workers and for Redis. A Redis that takes nothing at all is lost, not slow, and
// workers that take nothing are held by handlers: both have their own answers and are no reason to refuse.
#pragma once
#include <chrono>
#include <cstdint>

namespace catga {

struct Backlog {
  std::uint64_t waiting = 0;
  std::uint64_t taken = 0;  ///< since the start
};

class Admission {
 public:
  struct Waits {
    std::chrono::milliseconds query{0}, command{0};
  };
  /// Call every few ms. How long what comes now will wait.
  Waits look(std::int64_t now_ms, const Backlog& workers, const Backlog& store);

  /// Beyond this a node refuses. Below the time after which callers send again (500 ms).
  static constexpr std::chrono::milliseconds too_long{300};
  /// What those who are refused are told. An answer that asks for so much patience is passed on to the user.
  static constexpr std::chrono::milliseconds retry_after{1000};

 private:
  struct Pace {
    Backlog last;
    double per_ms = 0;            // of late
    std::int64_t moved_at = 0;    // when one was taken, or none waited
    std::int64_t through_at = 0;  // when all that had waited at the look before was taken
  };
  double wait_for(std::int64_t now_ms, Pace& pace, const Backlog& now) const;

  std::int64_t looked_at_ = 0;
  Pace workers_, store_;
};

}  // namespace catga
