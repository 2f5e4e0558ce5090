// The simulated world: one clock, one queue of happenings, one source of chance, one trace.
//
// Everything of a run happens on one thread, in the order of its simulated time. Whatever is
// decided by chance comes from one generator, so a seed names a run, byte for byte.
#pragma once
#include "deed.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga::sim {

/// Microseconds since the run began.
using Moment = std::int64_t;
constexpr Moment ms = 1000, second = 1000 * ms;
/// What plans, faults, load and networks take, in the time they are written down in. So much longer
/// it takes in a run: what happens stays the same, and lies further apart. Timers are then near those
/// of production instead of a half of them in the mean, and a second of a cluster holds less than
/// half of what it would.
constexpr std::int64_t stretched(std::int64_t wait) { return wait * 5 / 2; }
/// Redis' clock when a run begins, ms since 1970.
constexpr std::int64_t epoch_ms = 1'700'000'000'000;

using Happening = std::function<void()>;

/// Chance that follows from a seed.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits();
  /// 0 … n-1.
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : bits() % n; }
  std::int64_t between(std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(most - least + 1)));
  }
  bool chance(double probability) {
    return static_cast<double>(bits() >> 11) * 0x1.0p-53 < probability;
  }
  /// Mostly near `least`, now and then up to `most`: as waits in a network are.
  std::int64_t skewed(std::int64_t least, std::int64_t most);
  template <class Value>
  const Value& one_of(const std::vector<Value>& values) {
    return values[below(values.size())];
  }

 private:
  std::uint64_t state_;
};

/// What a run was made of: for `--stats`, so that plans can be compared.
struct Tally {
  std::uint64_t asks = 0;      ///< of the load, without repeats
  std::uint64_t faults = 0;    ///< planned leaves and joins included
  std::uint64_t moves = 0;     ///< shards given by their owner to another node
  std::uint64_t claims = 0;    ///< shards taken that nobody, or nobody any more, had
  std::uint64_t starts = 0;    ///< of processes
  std::uint64_t sessions = 0;  ///< that were lost
  std::uint64_t evictions = 0;
  std::uint64_t views = 0;  ///< adopted, by each node
  std::uint64_t held = 0;   ///< workers, by handlers that stand still
};

class Machine;

class World {
 public:
  explicit World(std::uint64_t seed) : dice(seed), later_dice(seed ^ later_salt) {}

  Moment now() const { return now_; }
  /// Something that happens to nobody in particular: the network, Redis, fate.
  void at(Moment when, Deed what) { keep(when, {std::move(what), nullptr, 0, false}); }
  void after(Moment wait, Deed what) { at(now_ + wait, std::move(what)); }
  /// The next happening. False: there is none before `end`.
  bool step(Moment end);
  /// Nothing of what was to come will happen.
  void clear();

  /// The machine whose code runs just now; none: the world itself.
  Machine* here = nullptr;
  /// What boot_ms() says to the code that runs just now.
  std::int64_t clock_ms() const;

  Dice dice;
  /// For what came into the simulator later: where none of it happens, a seed is the run it was.
  /// (The salt is one for which the seeds named in meson.build have none of it.)
  static constexpr std::uint64_t later_salt = 0x6c61746572050000ULL;
  Dice later_dice;

  // ---- trace ----
  bool tracing = false;
  /// A line of the trace: when, who, what. Kept if `tracing`; always part of the digest.
  void say(std::string_view who, const std::string& what);
  std::vector<std::string> lines;
  std::uint64_t digest = 14695981039346656037ULL;
  std::uint64_t happenings = 0;
  Tally tally;

  // ---- the first thing that must not be ----
  void fail(std::string what);
  bool failed() const { return !failure.empty(); }
  std::string failure;
  Moment failed_at = 0;

 private:
  friend class Machine;
  /// One of a machine happens there, to the life it was meant for.
  struct Coming {
    Deed what;
    Machine* machine;
    std::uint64_t life;
    bool network;
  };
  void keep(Moment when, Coming coming);

  struct Due {
    Moment when;
    std::uint64_t number;
    std::uint32_t slot;
    bool operator>(const Due& other) const {
      return when != other.when ? when > other.when : number > other.number;
    }
  };
  Moment now_ = 0;
  std::uint64_t next_number_ = 0, at_once_ = 0;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::deque<Coming> slots_;  // what happens stays where it is while others are added
  std::vector<std::uint32_t> free_;
};

/// A computer: its own clock, and it may stop for a while. One life of one process runs on it.
class Machine {
 public:
  Machine(World& world, std::string name);
  virtual ~Machine() = default;
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  World& world;
  const std::string name;

  /// This machine's CLOCK_BOOTTIME.
  std::int64_t boot_ms() const { return boot_us() / 1000; }
  std::int64_t boot_us() const;
  /// When, in the world's time, this machine's clock will show `boot_ms`.
  Moment when_clock_shows(std::int64_t boot_ms) const;
  /// From now on the clock runs at this rate.
  void set_clock_rate(double rate);

  /// Something happens here at this moment of the world, if the process still lives then; later if
  /// the machine is frozen.
  /// `network`: it came from outside and may get lost on the way in.
  void at(Moment when, Deed what, bool network = false) {
    world.keep(when, {std::move(what), this, life_, network});
  }
  void after(Moment wait, Deed what) { at(world.now() + wait, std::move(what)); }
  /// Now, as part of this machine.
  template <class What>
  void run(What&& what) {
    Machine* const before = std::exchange(world.here, this);
    what();
    if (before != this) settle();
    world.here = before;
  }

  /// Nothing happens here until `thaw`. With `clock_stops` even its own clock does not notice.
  void freeze(bool clock_stops);
  void thaw();
  bool frozen() const { return frozen_; }
  std::size_t waiting() const { return late_.size(); }
  /// What a slow consumer loses: drops late happenings that came over the network.
  void lose_late(double share);
  void say(const std::string& what) const { world.say(name, what); }

  bool alive() const { return alive_; }
  std::uint64_t life() const { return life_; }

 protected:
  void born() {
    alive_ = true;
    ++life_;
  }
  void died() {
    alive_ = false;
    ++life_;
    late_.clear();
    thaw();
  }
  /// After each happening: what it set in motion inside.
  virtual void settle() {}
  /// The clock runs at another rate: alarms for later are set for the wrong moment.
  virtual void retime() {}

 private:
  friend class World;
  void happen(World::Coming& coming);

  bool alive_ = false;
  std::uint64_t life_ = 0;
  bool frozen_ = false, clock_stopped_ = false;
  std::deque<World::Coming> late_;
  double rate_ = 1;
  Moment since_ = 0;          // the rate holds since then
  std::int64_t base_us_ = 0;  // what the clock showed then
};

/// Digits with a point: 12.345, in ms.
std::string text_of_moment(Moment at);

}  // namespace catga::sim
