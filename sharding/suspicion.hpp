// How long a node may be silent before its silence means something. Pure arithmetic.
//
// A fixed limit is wrong twice: on a calm network it is longer than it need be, on a slow machine
// it suspects the living. So each watcher keeps the gaps between the last heartbeats of a node and
// allows the mean plus 5.6 standard deviations (one false alarm in about 10^8 if gaps were normal,
// which they are not: hence the floors), between a floor, `suspect_after`, and a ceiling. A watcher
// that has reason to doubt itself multiplies by 1 + its score. A profile says what is normal on the
// machines the cluster runs on; it moves the floor.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace catga {

/// The gaps between the last 32 heartbeats of one node, in ms.
class Rhythm {
 public:
  static constexpr std::size_t window = 32;

  void heard(std::int64_t now_ms);
  std::size_t gaps() const { return count_; }
  double mean() const;
  /// Standard deviation of the gaps in the window; 0 with fewer than two.
  double deviation() const;

 private:
  std::array<std::int64_t, window> gaps_{};
  std::size_t count_ = 0;  // how many of gaps_ are filled
  std::size_t next_ = 0;   // where the next one goes
  std::int64_t last_ = 0;
  bool any_ = false;
};

struct QuietLimits {
  std::int64_t floor = 600;     ///< membership.suspect_after, ms
  std::int64_t ceiling = 2000;  ///< ms; a floor above it wins
};

/// How patient watchers are. Machines with less CPU, or of which others take their share, stop for
/// longer without being dead.
enum class DetectorProfile : std::uint8_t { fast, normal, cloud };

/// The profile for so many cores' worth of CPU quota; 0: no quota.
DetectorProfile profile_for(double quota_cores);
/// The floor: `suspect_after` as it is, times 2.5, times 5. With 600 ms: 0.6, 1.5 and 3 s.
std::int64_t quiet_floor(std::int64_t suspect_after, DetectorProfile profile);

/// Silence above this many ms is evidence: max(floor, mean + 5.6·max(sd, 50)), at most the ceiling,
/// times 1 + score.
std::int64_t quiet_limit(double mean, double deviation, int score, QuietLimits limits = {});

}  // namespace catga
