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

void Departures::left(const std::string& incarnation, Parting how, std::int64_t now) {
  const std::lock_guard guard(lock_);
  settle(now);
  const auto heard = halves_.find(incarnation);
  if (how != Parting::by_itself) {
    if (heard != halves_.end()) halves_.erase(heard);
    if (how == Parting::evicted) return over(incarnation, &Counts::evicted, "evicted");
    return over(incarnation, &Counts::expired, "expired");
  }
  if (heard == halves_.end()) {
    halves_[incarnation] = {now, true, true};
  } else if (!heard->second.left) {
    const bool complete = heard->second.complete;
    halves_.erase(heard);
    drained_and_left(incarnation, complete);
  }
}

void Departures::drained(const std::string& incarnation, bool complete, std::int64_t now) {
  const std::lock_guard guard(lock_);
  settle(now);
  const auto gone = halves_.find(incarnation);
  if (gone == halves_.end()) {
    halves_[incarnation] = {now, false, complete};
  } else if (gone->second.left) {
    halves_.erase(gone);
    drained_and_left(incarnation, complete);
  }
}

Departures::Counts Departures::counts(std::int64_t now) const {
  const std::lock_guard guard(lock_);
  settle(now);
  return counts_;
}

std::vector<std::pair<std::string, std::string_view>> Departures::news(std::int64_t now) {
  const std::lock_guard guard(lock_);
  settle(now);
  return std::exchange(news_, {});
}

/// What has waited long enough: a node without a last word had no reason to give one, and a word
/// without a departure is of one that this node never saw in a view.
void Departures::settle(std::int64_t now) const {
  std::erase_if(halves_, [&](const auto& entry) {
    if (now - entry.second.since < patience_ms) return false;
    if (entry.second.left) drained_and_left(entry.first, true);
    return true;
  });
}

void Departures::drained_and_left(const std::string& incarnation, bool complete) const {
  if (complete) return over(incarnation, &Counts::planned, "planned");
  over(incarnation, &Counts::incomplete, "incomplete");
}

void Departures::over(const std::string& incarnation, std::uint64_t Counts::*count,
                      std::string_view cause) const {
  counts_.*count += 1;
  news_.emplace_back(incarnation, cause);
}

}  // namespace catga
