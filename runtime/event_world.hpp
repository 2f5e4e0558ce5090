// What all readers of events of one node share. Outlives them.
#pragma once
#include "catga/entities/event.hpp"
#include "catga/entities/messenger.hpp"
#include "catga/persistence/letters.hpp"
#include "catga/persistence/stores.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/dead_letter.hpp"
#include "catga/runtime/messaging/event_message.hpp"
#include "catga/runtime/messaging/jetstream.hpp"
#include "catga/runtime/standing.hpp"
#include "catga/runtime/telemetry/log.hpp"
#include "catga/runtime/telemetry/tracer.hpp"
#include "catga/runtime/telemetry/traffic_metrics.hpp"
#include "catga/runtime/worker_threads.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

namespace catga {

struct EventWorld {
  const Config& config;
  NatsConnection& nats;
  Stores& stores;
  Messenger& messenger;
  NodeStanding& standing;
  Log& log;
  StreamOptions stream;
  std::string prefix;                ///< "catga.<cluster>."
  std::string process;               ///< a token that no other process uses
  Tracer* tracer = nullptr;          ///< null: nobody traces
  TrafficMetrics* counts = nullptr;  ///< null: nobody counts
  WorkerThreads loop;                ///< one thread: all decisions
  WorkerThreads chores;              ///< calls to JetStream that block
  WorkerThreads handlers;            ///< users' handlers
  std::uint64_t inboxes = 0;         ///< made so far; on the loop

  std::string new_inbox() { return prefix + "sb." + process + '.' + std::to_string(++inboxes); }
};

/// What one delivery came to.
struct Handled {
  enum class Kind { done, again, hopeless } kind = Kind::done;
  std::string why;
  bool counts =
      false;  ///< with again: as an attempt. Else the world is to blame, and it is tried for ever
};

/// What a handler is told of a parked event.
EventInfo::Facts facts_of(const DeadLetter& letter, bool replayed, std::uint32_t attempt);

/// Runs the handler on a thread for handlers, sends the command it may want, and says what came of it, on any thread.
/// `first_ms`: the time of the command's operation. `trace`: the traceparent of the event, or empty; the handler's span
/// is a child of that one.
void handle_event(EventWorld& world, const Subscription& subscription, EventInfo::Facts facts,
                  std::string payload, std::string trace, std::int64_t first_ms,
                  std::function<void(Handled)> then);

/// The wait before the next attempt, ms.
std::int64_t event_retry_ms(std::uint32_t attempt);

}  // namespace catga
