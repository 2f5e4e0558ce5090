#include "catga/runtime/telemetry/event_feed.hpp"

#include "catga/persistence/named_thread.hpp"

#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace catga {

namespace {
/// A batch of ours is JSON, and each event in it has a line of its own.
constexpr std::string_view lines_begin = "[\n", next_line = ",\n";
constexpr std::string_view id_key = R"("catga.event.id":")";
constexpr std::size_t own_most = 16'384, batches_most = 512;
constexpr std::size_t batch_bytes = 200 * 1024;  // well below the server's max_payload
constexpr std::chrono::milliseconds gather{
    20};  // so that shards that move together travel together

/// While many shards move, every node reads what all others say of it: work that can wait for theirs.
constexpr int niceness = 10;
/// Of the calling thread. Linux has it per thread, and the main thread's children do not inherit it.
void step_back() { (void)setpriority(PRIO_PROCESS, 0, niceness); }

/// NATS brings our own batches back to us.
bool is_own(std::string_view batch, const std::string& own_process) {
  const std::size_t at = batch.find(id_key);
  return at != std::string_view::npos &&
         batch.substr(at + id_key.size()).starts_with(own_process + "-");
}

/// Of a batch that is laid out in another way, as older versions did.
std::deque<ClusterEvent> events_of_any(std::string_view batch) {
  std::deque<ClusterEvent> events;
  const auto json = nlohmann::json::parse(batch, nullptr, false);
  if (!json.is_array()) return events;
  for (const auto& one : json) {
    if (!one.is_object()) continue;
    const auto name = one.find("event.name"), id = one.find("catga.event.id");
    if (name == one.end() || id == one.end() || !name->is_string() || !id->is_string()) continue;
    events.push_back({name->get<std::string>(), id->get<std::string>(),
                      one.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)});
  }
  return events;
}

/// The text behind `key` up to the next quote: a string inside a value has backslashes before its quotes, so none is taken for a key.
std::string text_behind(std::string_view json, std::string_view key) {
  const std::size_t at = json.find(key);
  if (at == std::string_view::npos) return "";
  json.remove_prefix(at + key.size());
  return std::string(json.substr(0, json.find('"')));
}

/// What is no event of the table is left out.
void add_event(std::deque<ClusterEvent>& events, std::string_view json) {
  ClusterEvent event{text_behind(json, R"("event.name":")"), text_behind(json, id_key), ""};
  if (event.name.empty() || event.id.empty()) return;
  event.json = json;
  events.push_back(std::move(event));
}

/// Not looked at closely: it is what a node of this cluster wrote. It must not end the line it is sent on to browsers in.
bool is_one_line_object(std::string_view text) {
  return text.starts_with("{\"") && text.ends_with('}') &&
         std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

/// Of a batch of another node. While a node joins, all others hear of each shard
/// that moves: to parse all that and to write it anew was a sixth of what they did.
std::deque<ClusterEvent> events_of(std::string_view batch) {
  std::deque<ClusterEvent> events;
  if (!batch.starts_with(lines_begin) || !batch.ends_with(']')) return events_of_any(batch);
  std::string_view rest = batch.substr(lines_begin.size(), batch.size() - lines_begin.size() - 1);
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find(next_line));
    rest.remove_prefix(std::min(rest.size(), line.size() + next_line.size()));
    if (!is_one_line_object(line)) return events_of_any(batch);
    add_event(events, line);
  }
  return events;
}
}  // namespace

EventFeed::Subscription::Subscription(Subscription&& other) noexcept
    : feed_(std::exchange(other.feed_, nullptr)), number_(other.number_) {}

EventFeed::Subscription& EventFeed::Subscription::operator=(Subscription&& other) noexcept {
  std::swap(feed_, other.feed_);
  std::swap(number_, other.number_);
  return *this;
}

EventFeed::Subscription::~Subscription() {
  if (feed_ != nullptr) feed_->unsubscribe(number_);
}

EventFeed::EventFeed(std::string process) : process_(std::move(process)) {}

EventFeed::~EventFeed() { stop(); }

EventFeed::Subscription EventFeed::subscribe(Listener listener) {
  const std::lock_guard guard(listeners_lock_);
  listeners_.emplace(next_listener_, std::move(listener));
  return {this, next_listener_++};
}

void EventFeed::unsubscribe(std::uint64_t number) {
  const std::lock_guard guard(listeners_lock_);
  listeners_.erase(number);
}

void EventFeed::start(Publish publish) {
  publish_ = std::move(publish);
  thread_ = named_thread("catga.events", [this] { run(); });
}

void EventFeed::stop() {
  {
    const std::lock_guard guard(lock_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void EventFeed::take(const LogRecord& record) {
  if (!record.streamed) return;
  ClusterEvent event{std::string(record.event), std::string(record.event_id), json_line(record)};
  bool first = false;
  {
    const std::lock_guard guard(lock_);
    if (own_.size() >= own_most) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    first = own_.empty();
    own_.push_back(std::move(event));
  }
  if (first) wake_.notify_one();
}

void EventFeed::arrived(std::string_view batch) {
  if (is_own(batch, process_)) return;
  bool first = false;
  {
    const std::lock_guard guard(lock_);
    if (batches_.size() >= batches_most) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    first = batches_.empty();
    batches_.emplace_back(batch);
  }
  if (first) wake_.notify_one();
}

void EventFeed::run() {
  step_back();
  for (bool last = false; !last;) {
    std::deque<ClusterEvent> own;
    std::deque<std::string> batches;
    {
      std::unique_lock guard(lock_);
      const auto something = [this] { return stopping_ || !own_.empty() || !batches_.empty(); };
      // What could not be published is tried again without being asked.
      if (unpublished_.empty())
        wake_.wait(guard, something);
      else
        wake_.wait_for(guard, std::chrono::milliseconds(500), something);
      wake_.wait_for(guard, gather, [this] { return stopping_; });
      last = stopping_;
      own.swap(own_);
      batches.swap(batches_);
    }
    for (const ClusterEvent& event : own) {
      if (!publish_) break;
      if (unpublished_.size() >= own_most) {
        unpublished_.pop_front();
        dropped_.fetch_add(1, std::memory_order_relaxed);
      }
      unpublished_.push_back(event.json);
    }
    publish_some();
    hand_out(own);
    for (const std::string& batch : batches) {
      {
        const std::lock_guard guard(listeners_lock_);
        if (listeners_.empty()) break;
      }
      hand_out(events_of(batch));
    }
  }
}

void EventFeed::publish_some() {
  while (!unpublished_.empty()) {
    std::string batch{lines_begin};
    std::size_t count = 0;
    while (count < unpublished_.size() && batch.size() < batch_bytes) {
      if (count != 0) batch += next_line;
      batch += unpublished_[count++];
    }
    batch += ']';
    if (!publish_(batch).ok()) return;
    for (; count != 0; --count) unpublished_.pop_front();
  }
}

void EventFeed::hand_out(const std::deque<ClusterEvent>& events) {
  const std::lock_guard guard(listeners_lock_);
  for (const ClusterEvent& event : events)
    for (const auto& [number, listener] : listeners_) listener(event);
}

}  // namespace catga
