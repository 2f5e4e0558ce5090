// The entities of the cluster tests: one that counts and can misbehave in every way, one that asks
// others and so can wait for itself.
#pragma once
#include <catga/catga.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace catga::testing {

struct Add {
  using Reply = std::int64_t;
  std::int64_t amount = 0;
  CATGA_MESSAGE(Add, amount);
};
struct Get {
  using Reply = std::int64_t;
  CATGA_MESSAGE(Get);
};
/// Adds 1 here, and tells counter/<to> to add 1 there.
struct Pass {
  using Reply = std::int64_t;
  std::string to;
  CATGA_MESSAGE(Pass, to);
};
/// Adds 1 after so many ms.
struct Remind {
  using Reply = std::int64_t;
  std::int64_t after_ms = 0;
  CATGA_MESSAGE(Remind, after_ms);
};
/// Makes the state, or the reply, so large.
struct Fill {
  using Reply = std::string;
  std::int64_t state_bytes = 0;
  std::int64_t reply_bytes = 0;
  std::string ballast;
  CATGA_MESSAGE(Fill, state_bytes, reply_bytes, ballast);
};
/// Counts, then throws these words, or says no with them.
struct Break {
  using Reply = std::int64_t;
  std::string words;
  bool politely = false;
  CATGA_MESSAGE(Break, words, politely);
};
/// Keeps its worker thread busy so long; a negative number: for ever.
struct Busy {
  using Reply = std::int64_t;
  std::int64_t for_ms = 0;
  CATGA_MESSAGE(Busy, for_ms);
};

class Counter {
 public:
  static constexpr std::string_view kind = "counter";
  using Handles = Messages<Add, Get, Pass, Remind, Fill, Break, Busy>;
  struct State {
    std::int64_t total = 0;
    std::string filling;
    CATGA_FIELDS(total, filling);
  } state;

  std::int64_t on(const Add& add) { return state.total += add.amount; }
  std::int64_t on(const Get&) const { return state.total; }
  std::int64_t on(Turn& turn, const Pass& pass) {
    turn.tell<Counter>(pass.to, Add{1});
    return ++state.total;
  }
  std::int64_t on(Turn& turn, const Remind& remind) {
    turn.after(std::chrono::milliseconds(remind.after_ms), Add{1}, "reminder");
    return state.total;
  }
  std::string on(const Fill& fill) {
    state.filling = std::string(static_cast<std::size_t>(fill.state_bytes), 's');
    return std::string(static_cast<std::size_t>(fill.reply_bytes), 'r');
  }
  Result<std::int64_t> on(Turn& turn, const Break& broken) {
    state.total += 1000;
    turn.tell<Counter>("must not hear of it", Add{1000});
    if (broken.politely) return reject(broken.words);
    throw std::runtime_error(broken.words);
  }
  std::int64_t on(const Busy& busy) {
    const auto nap = std::chrono::milliseconds(busy.for_ms < 0 ? 3'600'000 : busy.for_ms);
    std::this_thread::sleep_for(nap);
    return state.total;
  }
};

/// Sets `count` timers, the first after `first_ms`, then one every `spacing_ms`.
struct Wind {
  using Reply = std::int64_t;
  std::int64_t count = 0, first_ms = 0, spacing_ms = 0;
  CATGA_MESSAGE(Wind, count, first_ms, spacing_ms);
};
struct Ring {
  using Reply = std::int64_t;
  std::int64_t due_ms = 0;
  CATGA_MESSAGE(Ring, due_ms);
};
/// Rings again every `period_ms`.
struct Chime {
  using Reply = std::int64_t;
  std::int64_t period_ms = 0;
  CATGA_MESSAGE(Chime, period_ms);
};
struct Heard {
  std::int64_t rung = 0, early = 0, worst_ms = 0;
  std::vector<std::int64_t> late;  ///< due times of those that rang over a second late
  CATGA_FIELDS(rung, early, worst_ms, late);
};
struct Listen {
  using Reply = Heard;
  CATGA_MESSAGE(Listen);
};

/// Keeps how late its timers ring.
class Bell {
 public:
  static constexpr std::string_view kind = "bell";
  using Handles = Messages<Wind, Ring, Chime, Listen>;
  struct State {
    Heard heard;
    CATGA_FIELDS(heard);
  } state;

  std::int64_t on(Turn& turn, const Wind& wind) {
    const std::int64_t now = ms_of(turn);
    for (std::int64_t i = 0; i < wind.count; ++i) {
      const std::int64_t delay = wind.first_ms + i * wind.spacing_ms;
      turn.after(std::chrono::milliseconds(delay), Ring{now + delay}, "t" + std::to_string(i));
    }
    return wind.count;
  }
  std::int64_t on(Turn& turn, const Ring& ring) {
    const std::int64_t late = ms_of(turn) - ring.due_ms;
    Heard& heard = state.heard;
    heard.rung += 1;
    heard.early += late < 0 ? 1 : 0;
    heard.worst_ms = std::max(heard.worst_ms, late);
    if (late > 1000) heard.late.push_back(ring.due_ms);
    return heard.rung;
  }
  std::int64_t on(Turn& turn, const Chime& chime) {
    if (chime.period_ms == 0) {
      state.heard.rung += 1;
    } else {
      turn.every("chime", std::chrono::milliseconds(chime.period_ms), Chime{0});
    }
    return state.heard.rung;
  }
  Heard on(const Listen&) const { return state.heard; }

 private:
  static std::int64_t ms_of(const Turn& turn) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(turn.now().time_since_epoch())
        .count();
  }
};

/// Asks the first of `path` to walk the rest, and gives back what it heard with its own name in
/// front. `rest_ms`: how long counter/<key> is kept busy first.
struct Walk {
  using Reply = std::string;
  std::vector<std::string> path;
  std::int64_t rest_ms = 0;
  CATGA_MESSAGE(Walk, path, rest_ms);
};

class Walker {
 public:
  static constexpr std::string_view kind = "walker";
  using Handles = Messages<Walk>;
  struct State {
    std::int64_t walks = 0;
    CATGA_FIELDS(walks);
  } state;

  Task<std::string> on(Turn& turn, const Walk& walk) {
    state.walks += 1;
    if (walk.rest_ms > 0) {
      const Ref<Counter> bed = turn.ref<Counter>("bed of " + turn.key());
      const Result<std::int64_t> rested = co_await turn.ask<Busy>(bed, walk.rest_ms);
      if (!rested) co_return rested.error();
    }
    if (walk.path.empty()) co_return turn.key();
    const Ref<Walker> next = turn.ref<Walker>(walk.path.front());
    const Walk rest{{walk.path.begin() + 1, walk.path.end()}, 0};
    const Result<std::string> further = co_await turn.ask(next, rest);
    if (!further) co_return further.error();
    co_return turn.key() + " " + *further;
  }
};

}  // namespace catga::testing
