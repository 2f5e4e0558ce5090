// How long to wait before trying to connect again.
#pragma once
#include <algorithm>
#include <chrono>

namespace catga {

constexpr std::chrono::milliseconds first_backoff{10};
constexpr std::chrono::milliseconds longest_backoff{500};

/// The wait after `failures` attempts in a row that failed: none, 10, 20, 40 … 500 ms. Pure: the
/// queue in front of a pipeline spreads the load, so chance is not needed.
constexpr std::chrono::milliseconds backoff(unsigned failures) {
  if (failures == 0) return std::chrono::milliseconds{0};
  const unsigned doublings =
      std::min(failures - 1, 6u);  // 10 ms x 2^6 is beyond the longest wait already
  return std::min(first_backoff * (1 << doublings), longest_backoff);
}

}  // namespace catga
