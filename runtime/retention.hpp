// Whether operation ids are remembered for longer than anybody repeats them. Pure.
#pragma once
#include "catga/sharding/result.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace catga {

/// Somebody repeats an operation for so long.
struct RetryWindow {
  std::string setting;  ///< by which it can be changed, or what it is
  std::chrono::milliseconds window{0};
};

/// The retention must exceed each of them by an hour: a repeat that comes later may run a second time. Errors: malformed,
/// naming both settings, a line for each window that is too long.
Status check_retention(std::chrono::milliseconds retention,
                       const std::vector<RetryWindow>& windows);

/// An undelivered tell is repeated for so long; then it is a dead letter.
constexpr std::chrono::hours tell_window{24};

}  // namespace catga
