#include "catga/runtime/http/event_ring.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

namespace catga::http {

EventRing::EventRing(std::string owner, std::size_t most)
    : owner_(std::move(owner)), most_(std::max<std::size_t>(1, most)) {}

void EventRing::push(std::string name, std::string json) {
  {
    const std::lock_guard guard(lock_);
    if (events_.size() >= most_) events_.pop_front();
    events_.push_back({++newest_, std::move(name), std::move(json)});
  }
  news_.notify_all();
}

std::vector<StreamEvent> EventRing::after(std::uint64_t number, std::size_t most,
                                          std::chrono::milliseconds patience) {
  std::unique_lock guard(lock_);
  news_.wait_for(guard, patience, [&] { return newest_ > number || closed_; });
  const auto first = std::ranges::upper_bound(events_, number, {}, &StreamEvent::number);
  const auto there = static_cast<std::size_t>(std::distance(first, events_.end()));
  return {first, std::next(first, static_cast<std::ptrdiff_t>(std::min(most, there)))};
}

void EventRing::close() {
  {
    const std::lock_guard guard(lock_);
    closed_ = true;
  }
  news_.notify_all();
}

std::optional<std::uint64_t> EventRing::place_of(std::string_view id) const {
  const std::lock_guard guard(lock_);
  if (!id.starts_with(owner_) || id.size() <= owner_.size() || id[owner_.size()] != '-')
    return std::nullopt;
  const std::string_view digits = id.substr(owner_.size() + 1);
  std::uint64_t number = 0;
  const auto [end, trouble] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (trouble != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  const std::uint64_t oldest = newest_ + 1 - events_.size();
  if (number > newest_ || number + 1 < oldest) return std::nullopt;
  return number;
}

std::uint64_t EventRing::newest() const {
  const std::lock_guard guard(lock_);
  return newest_;
}

EventStream::EventStream(EventRing& ring, std::string_view last_id, std::int64_t now_ms)
    : ring_(ring), seen_(ring.newest()), sent_at_(now_ms), first_("retry: 2000\n\n") {
  if (last_id.empty()) return;
  if (const auto place = ring.place_of(last_id)) {
    seen_ = *place;
  } else {
    seen_ = 0;
    first_ += "event: catga.stream.reset\ndata: {}\n\n";
  }
}

std::string EventStream::next(std::int64_t now_ms) {
  constexpr std::size_t at_once = 256;
  std::string out = std::exchange(first_, {});
  const std::chrono::milliseconds patience(out.empty() ? 100 : 0);
  for (const StreamEvent& event : ring_.after(seen_, at_once, patience)) {
    seen_ = event.number;
    out += "id: " + ring_.id_of(event.number) + "\nevent: " + event.name + "\ndata: " + event.json +
           "\n\n";
  }
  if (out.empty() && now_ms - sent_at_ >= quiet_most_ms) out = ": still here\n\n";
  if (!out.empty()) sent_at_ = now_ms;
  return out;
}

}  // namespace catga::http
