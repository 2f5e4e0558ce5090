// Publishes committed events to the cluster's stream and says when JetStream has them.
//
// Publications and their acknowledgements are plain NATS messages: nobody waits. One thread makes the stream when the
// first event is there (a cluster without events needs no JetStream), and answers what got no acknowledgement in time.
// While there is no stream, events are answered `unavailable` and stay in the outbox; the relay offers them again.
#pragma once
#include "catga/runtime/messaging/event_message.hpp"
#include "catga/runtime/messaging/jetstream.hpp"
#include "catga/runtime/messaging/publisher.hpp"
#include "catga/runtime/telemetry/log.hpp"

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace catga {

class StreamPublisher final : public EventPublisher {
 public:
  /// `prefix`: "catga.<cluster>."; `acks`: a token that no other process uses. The connection must outlive it.
  StreamPublisher(NatsConnection& nats, Log& log, StreamOptions stream, std::string prefix,
                  const std::string& acks);
  ~StreamPublisher() override;
  /// Answers what is open, and all that comes later, `unavailable`. From here on the connection is left alone.
  void close();
  void publish(ShardId shard, RelayEntry event, std::function<void(Status)> then) override;

 private:
  using Then = std::function<void(Status)>;
  struct Waiting {
    EventMessage message;
    Then then;
  };
  struct Open {
    Then then;
    std::int64_t until_ms = 0;
  };
  void work();
  void send(EventMessage message, Then then);
  void acknowledged(const natsMsg& message);
  void make_stream();
  void expire();

  NatsConnection& nats_;
  Log& log_;
  const StreamOptions stream_;
  const std::string prefix_, acks_;
  std::shared_mutex sending_;  ///< shared while the connection is used; close() waits for that
  std::mutex lock_;
  std::condition_variable changed_;
  bool ready_ = false;  ///< the stream was there when we last looked
  bool stopping_ = false;
  bool listening_ = false;
  std::int64_t look_at_ms_ = 0;  ///< not before
  std::int64_t said_at_ms_ = 0;
  std::vector<Waiting> waiting_;  ///< for the first look
  std::unordered_map<std::uint64_t, Open> open_;
  std::uint64_t next_ = 1;
  NatsSubscription subscription_;
  std::thread thread_;
};

}  // namespace catga
