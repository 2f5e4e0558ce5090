// Everything waiting for one node goes as one NATS message, the moment the previous publish returned: no timer, no added
// latency, and the more there is to say, the more rides together.
//
// push() appends to the lane of a node and wakes the one sending thread. That thread takes all lanes that have
// something, publishes each as a batch, and looks again: while it publishes, the lanes fill. Actors never wait for NATS.
// Each batch carries a reply subject that names it, so that "no responders" tells which asks were not delivered.
#pragma once
#include "catga/runtime/messaging/carrier.hpp"
#include "catga/runtime/messaging/wire.hpp"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace catga {

class NatsConnection;

struct LaneLimits {
  std::size_t batch_bytes = 256 * 1024;  ///< of one NATS message
  std::size_t lane_bytes = 8 << 20;      ///< waiting for one node; beyond it push() refuses
};

/// What the sending thread needs and tells. Called on that thread (undelivered: on NATS's): short, no waiting.
struct LaneCallbacks {
  std::function<Incarnation()> self;
  std::function<ViewVersion()> version;
  std::function<void(Incarnation to, std::vector<std::uint64_t> asks)>
      undelivered;  ///< nobody listens there
  std::function<void(std::vector<std::uint64_t> asks)>
      unsent;                                        ///< NATS is not connected; nothing was sent
  std::function<void(std::size_t records)> batch{};  ///< one NATS message leaves; may be empty
};

/// Thread-safe.
class Lanes final : public Carrier {
 public:
  /// `prefix`: `catga.<cluster>.`; `process`: this process's own inbox, where "no responders" comes back.
  Lanes(std::string prefix, Incarnation process, LaneLimits limits, LaneCallbacks callbacks);
  ~Lanes() override;
  /// `nats` must outlive stop().
  void start(NatsConnection& nats);
  void stop();

  /// While it lives, what its thread pushes waits for the end of it, or for somebody else's push, and leaves together: for
  /// a thread that handles many answers, each of which may lead to the next ask. One at a time per thread.
  class Gathering {
   public:
    explicit Gathering(Lanes& lanes);
    ~Gathering();
    Gathering(const Gathering&) = delete;
    Gathering& operator=(const Gathering&) = delete;

   private:
    Lanes& lanes_;
  };

  using Carrier::push;
  Status push(Incarnation to, const wire::Record& record, std::uint64_t ask) override;
  void announce(const wire::Owns& owns) override;
  /// A "no responders" came back with this subject.
  void no_responders(std::string_view subject);
  /// Waits until all that was pushed before has been published, at most `patience`.
  void flush(std::chrono::milliseconds patience);
  /// Records that wait to be sent. Thread-safe.
  std::size_t waiting() const;

 private:
  struct Chunk {
    std::string bytes;
    std::vector<std::uint64_t> asks;
    std::size_t records = 0;
  };
  struct Lane {
    std::string subject;
    Incarnation to;
    std::deque<Chunk> chunks;
    std::size_t bytes = 0;
    bool queued = false;
  };
  struct Sent {
    std::uint64_t batch;
    std::int64_t at_ms;
    Incarnation to;
    std::vector<std::uint64_t> asks;
  };
  Lane& lane_of(Incarnation to);
  bool must_wake();
  bool append(Lane& lane, const wire::Record& record, std::uint64_t ask);
  void send_all();
  void publish(const Lane& lane, Chunk chunk);

  const std::string prefix_;
  const std::string return_subject_;
  const LaneLimits limits_;
  const LaneCallbacks callbacks_;
  NatsConnection* nats_ = nullptr;
  mutable std::mutex lock_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::unordered_map<Incarnation, std::unique_ptr<Lane>> lanes_;
  Lane route_lane_;
  std::vector<Lane*> waiting_;
  bool sending_ = false;
  bool woken_ = false;                      ///< told to send, and has not begun yet
  std::uint64_t appended_ = 0, taken_ = 0;  ///< records: to a lane, from there to be sent
  bool urgent_ = false;                     ///< something of the shard protocol waits
  bool stopping_ = false;
  std::mutex sent_lock_;
  std::deque<Sent> sent_;
  std::uint64_t next_batch_ = 1;
  std::thread thread_;
};

}  // namespace catga
