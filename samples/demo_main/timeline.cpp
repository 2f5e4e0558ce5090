// Reading logs and printing lines.
#include "timeline.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <limits>

namespace demo {
namespace {

using namespace std::chrono_literals;

/// "2026-03-01T12:00:00.123456Z" → microseconds since 1970; 0 if it is something else.
std::int64_t unix_us_of(const std::string& text) {
  std::tm parts{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr || *rest != '.') return 0;
  std::int64_t us = 0;
  const char* end = text.c_str() + text.size();
  if (std::from_chars(rest + 1, end, us).ptr != rest + 7) return 0;
  return static_cast<std::int64_t>(timegm(&parts)) * 1'000'000 + us;
}

std::string text_in(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string summary(const std::string& what, const std::vector<double>& gaps) {
  if (std::ranges::all_of(gaps, [](double gap) { return std::isnan(gap); }))
    return fmt::format("{:>5} {} {}", gaps.size(), gaps.size() == 1 ? "shard " : "shards", what);
  return fmt::format("{:>5} {} {}: {:.1f} ms median, {:.1f} p99, {:.1f} longest", gaps.size(),
                     gaps.size() == 1 ? "shard " : "shards", what, percentile(gaps, 50),
                     percentile(gaps, 99), percentile(gaps, 100));
}

}  // namespace

std::optional<Event> event_in(std::string_view line) {
  if (line.find("\"event.name\"") == line.npos) return std::nullopt;  // most lines: not parsed
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  Event event;
  event.unix_us = unix_us_of(text_in(json, "timestamp"));
  event.name = text_in(json, "event.name");
  event.node = text_in(json, "catga.node.id");
  event.peer = text_in(json, "catga.peer.id");
  event.life = text_in(json, "catga.peer.incarnation");
  event.cause = text_in(json, "cause");
  event.from = text_in(json, "catga.node.from");
  event.to = text_in(json, "catga.node.to");
  event.mode = text_in(json, "mode");
  event.epoch = text_in(json, "catga.shard.epoch");
  if (const auto shard = json.find("catga.shard.id"); shard != json.end() && shard->is_number())
    event.shard = shard->get<std::int64_t>();
  if (const auto gap = json.find("unavailable_ms"); gap != json.end() && gap->is_number())
    event.unavailable_ms = gap->get<double>();
  return event;
}

double percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const double rank = std::ceil(percent / 100 * static_cast<double>(values.size()));
  return values[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

std::string with_commas(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

std::vector<Event> LogTail::fresh() {
  std::vector<Event> events;
  std::ifstream in(path_, std::ios::binary);
  if (!in || !in.seekg(static_cast<std::streamoff>(offset_))) return events;
  std::array<char, 65536> chunk{};
  while (in.read(chunk.data(), chunk.size()), in.gcount() > 0) {
    offset_ += static_cast<std::uint64_t>(in.gcount());
    partial_.append(chunk.data(), static_cast<std::size_t>(in.gcount()));
  }
  std::size_t begin = 0;
  for (auto end = partial_.find('\n'); end != partial_.npos; end = partial_.find('\n', begin)) {
    if (auto event = event_in(std::string_view(partial_).substr(begin, end - begin)))
      events.push_back(std::move(*event));
    begin = end + 1;
  }
  partial_.erase(0, begin);
  return events;
}

Timeline::Timeline(bool terminal) : terminal_(terminal) {}

std::vector<Event> Timeline::poll() {
  std::vector<Event> events;
  for (auto& tail : tails_) {
    auto fresh = tail.fresh();
    std::ranges::move(fresh, std::back_inserter(events));
  }
  std::ranges::stable_sort(events, {}, &Event::unix_us);
  std::erase_if(events, [this](const Event& event) { return !first_time(event); });
  for (const auto& event : events) show(event);
  for (auto& [what, group] : moves_) {
    if (group.gaps.empty() || Clock::now() - group.last < 300ms) continue;
    say(summary(what, std::exchange(group.gaps, {})));
  }
  return events;
}

void Timeline::flush_moves() {
  for (auto& [what, group] : moves_)
    if (!group.gaps.empty()) say(summary(what, std::exchange(group.gaps, {})));
}

bool Timeline::first_time(const Event& event) {
  if (event.shard >= 0 && !event.epoch.empty())
    return seen_.insert(fmt::format("{}|{}|{}", event.name, event.shard, event.epoch)).second;
  if (event.peer.empty()) return true;
  // Without an incarnation: once in five seconds.
  const auto life = event.life.empty() ? std::to_string(event.unix_us / 5'000'000) : event.life;
  return seen_.insert(fmt::format("{}|{}|{}", event.name, event.peer, life)).second;
}

void Timeline::show(const Event& event) {
  if (event.name == "catga.node.joined") {
    say(event.peer + " joined");
  } else if (event.name == "catga.node.suspected") {
    say(fmt::format("{} is suspected by {} ({})", event.peer, event.node, event.cause));
  } else if (event.name == "catga.node.left") {
    say(fmt::format("{} left ({})", event.peer, event.cause));
  } else if (event.name == "catga.node.draining") {
    if (!event.peer.empty()) say(event.peer + " gives its shards away");  // without: why it does
  } else if (event.name == "catga.shard.handoff.completed") {
    const auto what = fmt::format("{} -> {} ({}), unavailable",
                                  event.from.empty() ? "free" : event.from, event.to, event.mode);
    auto& group = moves_[what];
    group.gaps.push_back(event.unavailable_ms);
    group.last = Clock::now();
  } else if (event.name == "catga.shard.handoff.failed") {  // tried again, unless it ends
    auto& group = moves_["of " + event.node + " could not be handed over for now"];
    group.gaps.push_back(std::numeric_limits<double>::quiet_NaN());
    group.last = Clock::now();
  } else if (event.name == "catga.rebalance.stuck" || event.name == "catga.shard.ownership.lost") {
    const auto which = event.shard < 0 ? "several" : std::to_string(event.shard);
    say(fmt::format("{}: {} (shard {}) {}", event.node, event.name, which, event.cause));
  }
}

void Timeline::say(std::string_view text) {
  const std::chrono::duration<double> since = Clock::now() - began_;
  clear();
  fmt::print("{:7.2f} s  {}\n", since.count(), text);
  std::fflush(stdout);
}

void Timeline::progress(std::size_t ended, std::size_t all, double per_second) {
  const double share = all == 0 ? 1 : static_cast<double>(ended) / static_cast<double>(all);
  const auto speed = with_commas(static_cast<std::uint64_t>(per_second));
  if (!terminal_) {
    say(fmt::format("{:3.0f} %  {} commands/s", share * 100, speed));
    return;
  }
  const auto full = static_cast<std::size_t>(share * 40);
  std::string bar;
  for (std::size_t i = 0; i < 40; ++i) bar += i < full ? "█" : "░";
  fmt::print("\r\x1b[K  {} {:3.0f} %  {} commands/s", bar, share * 100, speed);
  std::fflush(stdout);
}

void Timeline::clear() {
  if (terminal_) fmt::print("\r\x1b[K");
}

}  // namespace demo
