#include "catga/runtime/telemetry/departures.hpp"

#include <nlohmann/json.hpp>

namespace catga {

std::optional<DrainTold> drain_told_by(const std::string& json) {
  const auto event = nlohmann::json::parse(json, nullptr, false);
  if (!event.is_object()) return std::nullopt;
  const auto who = event.find("catga.node.incarnation"), how = event.find("outcome");
  if (who == event.end() || how == event.end() || !who->is_string() || !how->is_string())
    return std::nullopt;
  return DrainTold{who->get<std::string>(), *how == "ok"};
}

void Departures::left(const std::string& incarnation, bool leaving, std::int64_t now) {
  const std::lock_guard guard(lock_);
  settle(now);
  const auto heard = halves_.find(incarnation);
  if (!leaving) {
    counts_.evicted += 1;
  } else if (heard == halves_.end()) {
    halves_[incarnation] = {now, true, true};
  } else if (!heard->second.left) {
    (heard->second.complete ? counts_.planned : counts_.incomplete) += 1;
    halves_.erase(heard);
  }
}

void Departures::drained(const std::string& incarnation, bool complete, std::int64_t now) {
  const std::lock_guard guard(lock_);
  settle(now);
  const auto gone = halves_.find(incarnation);
  if (gone == halves_.end()) {
    halves_[incarnation] = {now, false, complete};
  } else if (gone->second.left) {
    (complete ? counts_.planned : counts_.incomplete) += 1;
    halves_.erase(gone);
  }
}

Departures::Counts Departures::counts(std::int64_t now) const {
  const std::lock_guard guard(lock_);
  settle(now);
  return counts_;
}

/// What has waited long enough: a node without a last word had no reason to give one, and a word
/// without a departure is of one that this node never saw in a view.
void Departures::settle(std::int64_t now) const {
  std::erase_if(halves_, [&](const auto& entry) {
    if (now - entry.second.since < patience_ms) return false;
    if (entry.second.left) counts_.planned += 1;
    return true;
  });
}

}  // namespace catga
