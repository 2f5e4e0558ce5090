// The bookkeeping behind the outbox relay.
#include "catga/runtime/relay.hpp"

#include "catga/runtime/outbox_entry.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <string_view>

namespace catga {

Result<RelayEntry> relay_entry(std::string stream_id, std::string_view bytes, bool first_delivery) {
  RelayEntry entry;
  entry.stream_id = std::move(stream_id);
  entry.first_delivery = first_delivery;
  if (is_event(bytes)) {
    PendingEvent event = CATGA_TRY(parse_event(bytes));
    entry.event = true;
    entry.source = std::move(event.source);
    entry.operation = event.id;
    entry.time_ms = event.at_ms;
    entry.message = std::move(event.name);
    entry.payload = std::move(event.payload);
    entry.number = event.number;
    entry.epoch = event.epoch;
    entry.trace = std::move(event.trace);
    return entry;
  }
  PendingTell tell = CATGA_TRY(parse_tell(bytes));
  entry.source = std::move(tell.source);
  entry.target = std::move(tell.target);
  entry.operation = tell.operation;
  entry.time_ms = tell.at_ms;
  entry.message = std::move(tell.message);
  entry.payload = std::move(tell.payload);
  if (tell.trace) entry.trace = tell.trace.traceparent();
  return entry;
}

Relay::Relay(std::size_t in_flight) : in_flight_(in_flight) { assert(in_flight > 0); }

std::vector<const RelayEntry*> Relay::due(std::int64_t now_ms) {
  free_blocked(now_ms);
  std::vector<const RelayEntry*> entries;
  for (Lane& lane : lanes_) {
    while (lane.under_way < in_flight_ && !lane.ready.empty()) {
      const auto [id, pair] = *lane.ready.begin();
      take_out_of_line(pair);
      pair->second.under_way = id;
      ++lane.under_way;
      RelayEntry& entry = open_.at(id);
      if (++entry.attempts > 1) entry.first_delivery = false;
      entries.push_back(&entry);
    }
  }
  return entries;
}

void Relay::add(RelayEntry entry) {
  const auto id = parse(entry.stream_id);
  assert(id);
  if (!id || open_.contains(*id) || done_.contains(*id)) return;
  const auto pair = pairs_.try_emplace(key_of(entry)).first;
  take_out_of_line(pair);
  pair->second.entries.insert(*id);
  newest_ = std::max(newest_, *id);
  open_.emplace(*id, std::move(entry));
  put_in_line(pair);
}

void Relay::answered(const std::string& stream_id, Verdict verdict, std::int64_t retry_at_ms) {
  const auto id = parse(stream_id);
  if (!id) return;
  const auto found = open_.find(*id);
  if (found == open_.end()) return;
  const auto pair = pairs_.find(key_of(found->second));
  assert(pair != pairs_.end());
  const bool was_under_way = pair->second.under_way == *id;
  if (verdict == Verdict::again && !was_under_way) return;
  take_out_of_line(pair);
  if (was_under_way) {
    pair->second.under_way.reset();
    --lane_of(pair->first).under_way;
  }
  if (verdict == Verdict::again) {
    pair->second.retry_at_ms = retry_at_ms;
  } else {
    // If the pair waited, it was for the retry of its oldest entry.
    if (*pair->second.entries.begin() == *id) pair->second.retry_at_ms.reset();
    pair->second.entries.erase(*id);
    finish(*id);
  }
  put_in_line(pair);
}

void Relay::free_blocked(std::int64_t now_ms) {
  while (!blocked_.empty() && blocked_.begin()->first <= now_ms) {
    const auto pair = pairs_.find(blocked_.begin()->second);
    assert(pair != pairs_.end());
    take_out_of_line(pair);
    pair->second.retry_at_ms.reset();
    put_in_line(pair);
  }
}

void Relay::finish(StreamId id) {
  open_.erase(id);
  // An entry added after its id was trimmed is gone from the stream already.
  if (id > trimmed_) done_.insert(id);
}

void Relay::put_in_line(Pairs::iterator pair) {
  const Pair& state = pair->second;
  if (state.entries.empty()) {
    pairs_.erase(pair);
  } else if (state.under_way) {
    return;
  } else if (state.retry_at_ms) {
    blocked_.emplace(*state.retry_at_ms, pair->first);
  } else {
    lane_of(pair->first).ready.emplace(*state.entries.begin(), pair);
  }
}

void Relay::take_out_of_line(Pairs::iterator pair) {
  const Pair& state = pair->second;
  if (state.entries.empty() || state.under_way) return;
  if (state.retry_at_ms) {
    blocked_.erase({*state.retry_at_ms, pair->first});
  } else {
    lane_of(pair->first).ready.erase(*state.entries.begin());
  }
}

bool Relay::known(const std::string& stream_id) const {
  const auto id = parse(stream_id);
  return id && (open_.contains(*id) || done_.contains(*id));
}

std::uint64_t Relay::hold() {
  holds_.emplace(next_hold_, newest_);
  return next_hold_++;
}

void Relay::release(std::uint64_t hold) { holds_.erase(hold); }

const RelayEntry* Relay::open(const std::string& stream_id) const {
  const std::optional<StreamId> id = parse(stream_id);
  const auto entry = id ? open_.find(*id) : open_.end();
  return entry == open_.end() ? nullptr : &entry->second;
}

unsigned Relay::attempts(const std::string& stream_id) const {
  const RelayEntry* const entry = open(stream_id);
  return entry == nullptr ? 0 : entry->attempts;
}

std::string Relay::trim_through() const {
  auto end = open_.empty() ? done_.end() : done_.lower_bound(open_.begin()->first);
  if (!holds_.empty()) {
    const StreamId through = holds_.begin()->second;
    if (end == done_.end() || *end > through) end = done_.upper_bound(through);
  }
  if (end == done_.begin()) return {};
  const StreamId last = *std::prev(end);
  return std::to_string(last.ms) + '-' + std::to_string(last.sequence);
}

void Relay::trimmed(const std::string& stream_id) {
  const auto id = parse(stream_id);
  assert(id);
  if (!id) return;
  trimmed_ = std::max(trimmed_, *id);
  done_.erase(done_.begin(), done_.upper_bound(*id));
}

std::optional<std::int64_t> Relay::oldest_ms() const {
  std::optional<std::int64_t> oldest;
  for (const auto& [id, entry] : open_) {
    if (!oldest || entry.time_ms < *oldest) oldest = entry.time_ms;
  }
  return oldest;
}

std::optional<std::int64_t> Relay::next_retry_ms() const {
  if (blocked_.empty()) return std::nullopt;
  return blocked_.begin()->first;
}

void Relay::clear() {
  // Numbers of holds go on, so that an old one cannot end a new one.
  const std::uint64_t next_hold = next_hold_;
  *this = Relay(in_flight_);
  next_hold_ = next_hold;
}

std::optional<Relay::StreamId> Relay::parse(const std::string& stream_id) {
  const std::string_view text = stream_id;
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto ms = parse_number(text.substr(0, dash));
  const auto sequence = parse_number(text.substr(dash + 1));
  if (!ms || !sequence) return std::nullopt;
  return StreamId{*ms, *sequence};
}

}  // namespace catga
