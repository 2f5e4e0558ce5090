#include "catga/runtime/reload.hpp"

#include "catga/runtime/settings.hpp"

#include <cassert>

namespace catga {

namespace {
bool can_change(const std::string& key) { return key == "log.level" || key.starts_with("hot."); }
}  // namespace

Reload difference(const Config& running, const Config& read_again) {
  Reload found;
  const std::vector<SettingLine> before = settings_of(running), after = settings_of(read_again);
  assert(before.size() == after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i].value == after[i].value) continue;
    (can_change(before[i].key) ? found.applied : found.needs_restart).push_back(before[i].key);
  }
  return found;
}

}  // namespace catga
