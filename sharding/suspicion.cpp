// How long a node may be silent, computed.
#include "catga/sharding/suspicion.hpp"

#include <algorithm>
#include <cmath>

namespace catga {

void Rhythm::heard(std::int64_t now_ms) {
  if (any_) {
    gaps_[next_] = std::max<std::int64_t>(now_ms - last_, 0);
    next_ = (next_ + 1) % window;
    count_ = std::min(count_ + 1, window);
  }
  any_ = true;
  last_ = now_ms;
}

double Rhythm::mean() const {
  if (count_ == 0) return 0;
  double sum = 0;
  for (std::size_t i = 0; i < count_; ++i) sum += static_cast<double>(gaps_[i]);
  return sum / static_cast<double>(count_);
}

double Rhythm::deviation() const {
  if (count_ < 2) return 0;
  const double middle = mean();
  double sum = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    const double apart = static_cast<double>(gaps_[i]) - middle;
    sum += apart * apart;
  }
  return std::sqrt(sum / static_cast<double>(count_));
}

DetectorProfile profile_for(double quota_cores) {
  const bool scarce = quota_cores > 0 && quota_cores < 2;
  return scarce ? DetectorProfile::normal : DetectorProfile::fast;
}

std::int64_t quiet_floor(std::int64_t suspect_after, DetectorProfile profile) {
  switch (profile) {
    case DetectorProfile::fast:
      break;
    case DetectorProfile::normal:
      return suspect_after * 5 / 2;
    case DetectorProfile::cloud:
      return suspect_after * 5;
  }
  return suspect_after;
}

std::int64_t quiet_limit(double mean, double deviation, int score, QuietLimits limits) {
  const auto expected =
      static_cast<std::int64_t>(std::llround(mean + 5.6 * std::max(deviation, 50.0)));
  const std::int64_t most = std::max(limits.ceiling, limits.floor);
  return std::clamp(expected, limits.floor, most) * (1 + score);
}

}  // namespace catga
