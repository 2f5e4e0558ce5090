#include "catga/runtime/event_reader.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace catga {

bool EventReader::arrived(std::uint64_t sequence, EntityId source) {
  if (sequence <= newest()) return false;
  newest_ = sequence;
  std::set<std::uint64_t>& line = by_source_[source];
  if (line.empty()) ready_.insert(sequence);
  line.insert(sequence);
  open_.emplace(sequence, Open{std::move(source), 0, false});
  return true;
}

std::vector<EventReader::Step> EventReader::due(std::int64_t now_ms) {
  while (!blocked_.empty() && blocked_.begin()->first <= now_ms) {
    ready_.insert(blocked_.begin()->second);
    blocked_.erase(blocked_.begin());
  }
  std::vector<Step> steps;
  for (const std::uint64_t sequence : std::exchange(ready_, {})) {
    Open& event = open_.at(sequence);
    event.in_work = true;
    steps.push_back({sequence, ++event.attempts, parked_.contains(event.source)});
  }
  return steps;
}

void EventReader::finished(std::uint64_t sequence, Verdict verdict, std::int64_t retry_at_ms) {
  const auto found = open_.find(sequence);
  if (found == open_.end() || !found->second.in_work) return;
  if (verdict == Verdict::again) {
    found->second.in_work = false;
    blocked_.emplace(retry_at_ms, sequence);
    return;
  }
  const auto line = by_source_.find(found->second.source);
  assert(line != by_source_.end() && *line->second.begin() == sequence);
  line->second.erase(sequence);
  if (line->second.empty())
    by_source_.erase(line);
  else
    ready_.insert(*line->second.begin());
  open_.erase(found);
  position_ = open_.empty() ? newest() : std::max(position_, open_.begin()->first - 1);
}

std::optional<std::int64_t> EventReader::next_retry_ms() const {
  if (blocked_.empty()) return std::nullopt;
  return blocked_.begin()->first;
}

}  // namespace catga
