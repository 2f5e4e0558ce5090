// SIGHUP: the settings are read again, and what can change while the node runs is changed.
#pragma once
#include "catga/runtime/config.hpp"

#include <string>
#include <vector>

namespace catga {

struct Reload {
  std::vector<std::string> applied;        ///< keys whose new value is in force from now on
  std::vector<std::string> needs_restart;  ///< keys that have a new value, of no effect until then
};

/// What differs, by key. Secrets are not compared: they are masked.
Reload difference(const Config& running, const Config& read_again);

}  // namespace catga
