// The stream of cluster events as every node can read it: its own and, over NATS, those of all others.
#pragma once
#include "catga/runtime/telemetry/log.hpp"
#include "catga/sharding/result.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace catga {

/// One event as it is shown: `json` is one flat object, the log line's keys and values, on one line.
struct ClusterEvent {
  std::string name;  ///< of event_table
  std::string id;    ///< catga.event.id, "<incarnation>-<sequence>": the same at every node
  std::string json;
};

/// Thread-safe. Nobody waits for it: what is beyond its bounds is dropped and counted.
class EventFeed final : public LogTap {
 public:
  using Listener = std::function<void(const ClusterEvent&)>;
  /// Sends one JSON array of events to all other nodes.
  using Publish = std::function<Status(const std::string& batch)>;

  /// `process`: the incarnation in the ids of this process's events.
  explicit EventFeed(std::string process);
  ~EventFeed() override;

  /// Ends the subscription when it is destroyed; then the listener neither runs nor will run.
  class Subscription {
   public:
    Subscription() = default;
    Subscription(Subscription&&) noexcept;
    Subscription& operator=(Subscription&&) noexcept;
    ~Subscription();

   private:
    friend class EventFeed;
    Subscription(EventFeed* feed, std::uint64_t number) : feed_(feed), number_(number) {}
    EventFeed* feed_ = nullptr;
    std::uint64_t number_ = 0;
  };
  /// Every event from now on, own and others', in the order of each node. `listener` runs on the feed's thread, one event at
  /// a time: take it and return. It must not subscribe or end a subscription itself. The feed outlives the subscription.
  [[nodiscard]] Subscription subscribe(Listener listener);

  /// Begins to deliver. `publish` may be empty: an embedded node. What is not published (NATS is away) is tried again, in
  /// order, as long as there is room for it.
  void start(Publish publish);
  /// Publishes what waits, once, and ends.
  void stop();

  /// A batch of some node, from NATS; rubbish is dropped.
  void arrived(std::string_view batch);
  void take(const LogRecord& record) override;
  /// Events of this process, and of others, that found no room.
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  void run();
  void hand_out(const std::deque<ClusterEvent>& events);
  void unsubscribe(std::uint64_t number);
  void publish_some();

  const std::string process_;
  Publish publish_;
  std::mutex lock_;
  std::condition_variable wake_;
  std::deque<ClusterEvent> own_;         ///< not handed out yet
  std::deque<std::string> batches_;      ///< of others, not read yet
  std::deque<std::string> unpublished_;  ///< the feed's thread's
  std::atomic<std::uint64_t> dropped_{0};
  std::mutex listeners_lock_;
  std::map<std::uint64_t, Listener> listeners_;
  std::uint64_t next_listener_ = 1;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace catga
