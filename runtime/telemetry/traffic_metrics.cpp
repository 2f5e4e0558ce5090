#include "catga/runtime/telemetry/traffic_metrics.hpp"

#include <algorithm>
#include <bit>

namespace catga {

namespace {

constexpr std::string_view other = "_other";
constexpr std::array<std::string_view, 3> pattern_names{"ask", "tell", "event"};
constexpr std::array<std::string_view, 3> outcome_names{"ok", "rejected", "failed"};

std::size_t size_of_message() { return outcome_names.size() * HistogramAt::slots(Buckets::quick); }

}  // namespace

TrafficMetrics::TrafficMetrics(const std::map<std::string, Kind, std::less<>>& kinds)
    : entries_([&kinds] {
        std::vector<Entry> entries;
        std::uint32_t next = 0;
        const auto kind_of = [&](const std::string& name,
                                 const std::vector<MessageInfo>& messages) {
          const std::uint32_t kind = next;
          next += size_of_kind;
          const auto message_of = [&](const std::string& message) {
            entries.push_back({name, message, {kind, next}});
            next += static_cast<std::uint32_t>(size_of_message());
          };
          for (const MessageInfo& message : messages) message_of(message.name);
          message_of("");
        };
        for (const auto& [name, kind] : kinds) kind_of(name, kind.messages);
        kind_of(std::string(other), {});
        return entries;
      }()),
      by_names_(std::bit_ceil(2 * entries_.size()), nullptr),
      sheet_(entries_.back().place.message + size_of_message()) {
  for (const Entry& entry : entries_) {
    std::size_t at = hash_of(entry.kind, entry.message);
    while (by_names_[at & (by_names_.size() - 1)] != nullptr) ++at;
    by_names_[at & (by_names_.size() - 1)] = &entry;
  }
}

std::size_t TrafficMetrics::hash_of(std::string_view kind, std::string_view message) noexcept {
  const auto mix = [](std::string_view text) {
    if (text.empty()) return std::size_t{7};
    const auto first = static_cast<unsigned char>(text.front());
    const auto last = static_cast<unsigned char>(text.back());
    return text.size() * 5 + first * 31U + last * 131U;
  };
  return mix(kind) * 17 + mix(message);
}

const TrafficMetrics::Entry* TrafficMetrics::find(std::string_view kind,
                                                  std::string_view message) const noexcept {
  for (std::size_t at = hash_of(kind, message);; ++at) {
    const Entry* const entry = by_names_[at & (by_names_.size() - 1)];
    if (entry == nullptr || (entry->kind == kind && entry->message == message)) return entry;
  }
}

TrafficMetrics::Place TrafficMetrics::place_of(std::string_view kind,
                                               std::string_view message) const noexcept {
  const Entry* entry = find(kind, message);
  if (entry == nullptr) entry = find(kind, "");
  return entry != nullptr ? entry->place : entries_.back().place;
}

void TrafficMetrics::answered(Place place, const Error* error, std::int64_t ns) noexcept {
  const std::size_t outcome = error == nullptr ? 0 : error->code == Code::rejected ? 1 : 2;
  const HistogramAt times{place.message + outcome * HistogramAt::slots(Buckets::quick),
                          Buckets::quick};
  times.record(sheet_.stripe(), ns < 0 ? 0 : static_cast<std::uint64_t>(ns));
}

void TrafficMetrics::write(Exposition& to) const {
  for (const Entry& entry : entries_) {
    const std::string_view message =
        entry.message.empty() ? other : std::string_view(entry.message);
    for (std::size_t outcome = 0; outcome < outcomes; ++outcome)
      to.add(metric("catga_ask_duration_seconds"), {entry.kind, message, outcome_names[outcome]},
             sheet_,
             HistogramAt{entry.place.message + outcome * HistogramAt::slots(Buckets::quick),
                         Buckets::quick});
    if (!entry.message.empty()) continue;  // once per kind
    for (std::size_t pattern = 0; pattern < patterns; ++pattern) {
      const std::size_t at = entry.place.kind + 2 * pattern;
      const auto sent = metric("catga_messages_sent_total");
      to.add(sent, {entry.kind, pattern_names[pattern], "local"}, sheet_.sum(at));
      to.add(sent, {entry.kind, pattern_names[pattern], "remote"}, sheet_.sum(at + 1));
    }
    to.add(metric("catga_messages_received_total"), {entry.kind, "event"},
           sheet_.sum(entry.place.kind + received_events));
    to.add(metric("catga_retry_attempts_total"), {entry.kind},
           sheet_.sum(entry.place.kind + repeats));
  }
  to.add(metric("catga_store_pipeline_depth"), {}, trips_);
  to.add(metric("catga_nats_batch_size"), {}, batches_);
}

}  // namespace catga
