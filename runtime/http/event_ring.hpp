// The last events of the cluster, for streams: bounded, and readable from where a reader stopped. Thread-safe.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace catga::http {

struct StreamEvent {
  std::uint64_t number = 0;  ///< of this ring, from 1 on
  std::string name;          ///< of the event table
  std::string json;          ///< one object on one line
};

class EventRing {
 public:
  /// `owner` is the incarnation of the node that serves it: ids of other nodes mean nothing here.
  EventRing(std::string owner, std::size_t most);

  /// The oldest goes when there is no room.
  void push(std::string name, std::string json);
  /// What came after `number`, at most `most`; waits for it, `patience` at most. `number` 0: from the oldest there is.
  std::vector<StreamEvent> after(std::uint64_t number, std::size_t most,
                                 std::chrono::milliseconds patience);
  /// Wakes who waits, and nobody waits any more.
  void close();

  std::string id_of(std::uint64_t number) const { return owner_ + '-' + std::to_string(number); }
  /// Where a reader that has seen `id` goes on; none: the id is of another node, or what followed it is gone.
  std::optional<std::uint64_t> place_of(std::string_view id) const;
  std::uint64_t newest() const;

 private:
  const std::string owner_;
  const std::size_t most_;
  mutable std::mutex lock_;
  std::condition_variable news_;
  std::deque<StreamEvent> events_;
  std::uint64_t newest_ = 0;
  bool closed_ = false;
};

/// What one reader of a stream gets, as server-sent events: `retry`, a reset if its id is of no use, events, and a
/// comment when it was quiet for 10 s. One thread.
class EventStream {
 public:
  /// `last_id`: of the header Last-Event-ID; empty: only what comes from now on.
  EventStream(EventRing& ring, std::string_view last_id, std::int64_t now_ms);
  /// The next bytes to send, perhaps none; waits 100 ms at most.
  std::string next(std::int64_t now_ms);

  static constexpr std::int64_t quiet_most_ms = 10'000;

 private:
  EventRing& ring_;
  std::uint64_t seen_ = 0;
  std::int64_t sent_at_;
  std::string first_;
};

}  // namespace catga::http
