// The clock of a node's actors: what they send with a delay waits here, kept by one thread that mostly sleeps.
//
// CAF's own clock is woken by every message it is to keep, and nearly all are for later than the first: a shard that
// moves sets its alarm at every step. With 1,000 shards on their way that was a sixth of a node's work. Here the thread
// wakes for what comes before all others, and sends what is due within a millisecond in one go.
#pragma once
#include <caf/detail/thread_safe_actor_clock.hpp>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace catga::actors {

/// Thread-safe. It keeps no timeouts of CAF's own (receive, request) and no messages to groups: no actor here uses them, and
/// setting one is an error.
class AlarmClock final : public caf::detail::thread_safe_actor_clock {
 public:
  AlarmClock();
  ~AlarmClock() override;

  /// Sends at `at` or up to a millisecond later; what is due in the same one in the order of scheduling. Holds the
  /// receiver until then. Dropped after stop().
  void schedule_message(time_point at, caf::strong_actor_ptr receiver,
                        caf::mailbox_element_ptr content) override;
  /// Drops what waits, and with it the receivers.
  void stop();

  void set_ordinary_timeout(time_point, caf::abstract_actor*, caf::atom_value,
                            std::uint64_t) override;
  void set_multi_timeout(time_point, caf::abstract_actor*, caf::atom_value, std::uint64_t) override;
  void set_request_timeout(time_point, caf::abstract_actor*, caf::message_id) override;
  void schedule_message(time_point, caf::group, caf::strong_actor_ptr, caf::message) override;
  // Every actor that ends calls this; it has set none.
  void cancel_ordinary_timeout(caf::abstract_actor*, caf::atom_value) override {}
  void cancel_request_timeout(caf::abstract_actor*, caf::message_id) override {}
  void cancel_timeouts(caf::abstract_actor*) override {}
  void cancel_all() override {}

 private:
  struct Alarm {
    std::int64_t at_ms = 0;
    std::uint64_t number = 0;
    caf::strong_actor_ptr receiver;
    caf::mailbox_element_ptr content;
    /// The order of a heap whose front is the first to be sent.
    bool operator<(const Alarm& other) const {
      return at_ms != other.at_ms ? at_ms > other.at_ms : number > other.number;
    }
  };

  void run();
  std::vector<Alarm> due(std::int64_t now_ms);

  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<Alarm> alarms_;  ///< a heap
  std::uint64_t next_number_ = 0;
  std::int64_t looks_at_ms_ =
      0;  ///< the thread looks again then, without being woken; 0: it is awake
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace catga::actors
