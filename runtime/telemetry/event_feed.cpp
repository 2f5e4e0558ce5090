#include "catga/runtime/telemetry/event_feed.hpp"

#include <nlohmann/json.hpp>
#include <signal.h>

#include <chrono>
#include <utility>

namespace catga {

namespace {
constexpr std::size_t own_most = 16'384, batches_most = 512;
constexpr std::size_t batch_bytes = 200 * 1024;  // well below the server's max_payload
constexpr std::chrono::milliseconds gather{
    20};  // so that shards that move together travel together

/// Of a batch of another node; what is no event of the table is left out.
std::deque<ClusterEvent> events_of(const std::string& batch, const std::string& own_process) {
  std::deque<ClusterEvent> events;
  const auto json = nlohmann::json::parse(batch, nullptr, false);
  if (!json.is_array()) return events;
  for (const auto& one : json) {
    if (!one.is_object()) continue;
    const auto name = one.find("event.name"), id = one.find("catga.event.id");
    if (name == one.end() || id == one.end() || !name->is_string() || !id->is_string()) continue;
    ClusterEvent event{name->get<std::string>(), id->get<std::string>(), ""};
    if (event.id.starts_with(own_process + "-")) return {};  // our own comes back to us
    event.json = one.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    events.push_back(std::move(event));
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
  sigset_t all;
  sigset_t before;
  sigfillset(&all);  // SIGTERM is for the thread that waits for it
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
      hand_out(events_of(batch, process_));
    }
  }
}

void EventFeed::publish_some() {
  while (!unpublished_.empty()) {
    std::string batch = "[";
    std::size_t count = 0;
    while (count < unpublished_.size() && batch.size() < batch_bytes) {
      if (count != 0) batch += ',';
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
