// What a subscription is: a name, the events it wants, how they are spread, and what it does with each.
//
//   node.subscribe<Emptied>("mailer", [](const Emptied& emptied, const catga::EventInfo& event) {
//     return catga::to<Mailer>(event.source().key, Write{emptied.cents});   // effect once
//   });
//   node.subscribe<Emptied>("audit", [](const Emptied& emptied) { print(emptied); });  // at least once
//
// A handler that returns catga::to<Kind>(key, Message) makes the event a command to that entity, which remembers it: it
// takes effect once, whatever is delivered twice. It must not do anything else. Any other handler runs at least once per
// event. It may return nothing, a Status (an error: not handled, try again), or std::optional of a To (none: nothing to
// do). A handler that throws has not handled the event.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/entities/message.hpp"
#include "catga/entities/to.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace catga {

/// What is known of an event beside its fields.
class EventInfo {
 public:
  struct Facts {
    OperationId id;
    EntityId source;
    std::uint64_t number = 0;
    Epoch epoch;
    std::int64_t at_ms = 0;
    std::string name;
    std::uint64_t sequence = 0;
    bool replayed = false;
    std::uint32_t attempt = 1;
  };
  explicit EventInfo(Facts facts) : facts_(std::move(facts)) {}

  /// Names this event for ever: the idempotency key for systems outside.
  OperationId id() const { return facts_.id; }
  /// The entity that published it.
  const EntityId& source() const { return facts_.source; }
  /// Of the source's events, dense, from 1. (epoch, number) only grows; a number that falls inside a
  /// higher epoch says that Redis lost acknowledged writes.
  std::uint64_t number() const { return facts_.number; }
  std::uint64_t epoch() const { return facts_.epoch.value; }
  /// Cluster time of the turn that published it.
  std::chrono::system_clock::time_point time() const {
    return std::chrono::system_clock::time_point(std::chrono::milliseconds(facts_.at_ms));
  }
  const std::string& name() const { return facts_.name; }
  /// Its place in the stream.
  std::uint64_t sequence() const { return facts_.sequence; }
  /// It was published before this subscription was first started: keep effects off the outside.
  bool replayed() const { return facts_.replayed; }
  /// From 1. Counts what this node knows of.
  std::uint32_t attempt() const { return facts_.attempt; }

 private:
  Facts facts_;
};

/// How the events of a subscription are spread over the nodes that have it.
enum class Spread : std::uint8_t {
  ordered,    ///< one node at a time handles a source's events, one after another, in order
  group,      ///< one of the nodes handles each event; no order
  broadcast,  ///< every node handles each event; no order
};

/// Where a subscription begins when it is started for the first time. Later it goes on where it was.
class From {
 public:
  static From now() { return From{Kind::now, 0}; }
  /// The oldest event that the stream still has.
  static From first() { return From{Kind::sequence, 1}; }
  static From sequence(std::uint64_t number) { return From{Kind::sequence, number}; }
  static From time(std::chrono::system_clock::time_point time) {
    return From{Kind::time,
                static_cast<std::uint64_t>(
                    std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch())
                        .count())};
  }
  enum class Kind : std::uint8_t { now, sequence, time };
  Kind kind() const { return kind_; }
  std::uint64_t value() const { return value_; }  ///< sequence, or Unix ms

 private:
  From(Kind kind, std::uint64_t value) : kind_(kind), value_(value) {}
  Kind kind_;
  std::uint64_t value_;
};

struct SubscribeOptions {
  Spread spread = Spread::ordered;
  From from = From::now();
};

/// The events of one source that a subscription could not handle, or that come behind one that it could not.
struct ParkedEvents {
  EntityId source;
  std::uint64_t length = 0;
  std::chrono::system_clock::time_point since;
};
/// One of them, for people.
struct DeadEvent {
  std::string event;  ///< its name
  std::uint64_t number = 0;
  std::uint64_t sequence = 0;
  std::chrono::system_clock::time_point time;
  std::uint32_t attempts = 0;  ///< 0: it was never tried, it is behind one that failed
  std::string why;
};

/// What a handler makes of an event: a command to an entity, or nothing more to do.
struct EventCommand {
  EntityId entity;
  std::string message;
  std::string payload;
};

/// A subscription with its types rubbed out, as the runtime sees it.
struct Subscription {
  std::string name;
  std::string event;
  SubscribeOptions options;
  /// Thread-safe if the user's handler is. Never throws. Errors: malformed (the event cannot be decoded), any other
  /// (the handler did not handle it).
  std::function<Result<std::optional<EventCommand>>(const EventInfo&, std::string_view payload)>
      handle;
};

namespace detail {

template <class Event, class Handler>
decltype(auto) call_handler(const Handler& handler, const Event& event, const EventInfo& info) {
  if constexpr (std::invocable<const Handler&, const Event&, const EventInfo&>) {
    return handler(event, info);
  } else {
    return handler(event);
  }
}

template <class Entity, class Message>
Result<std::optional<EventCommand>> outcome(const To<Entity, Message>& to) {
  return std::optional(EventCommand{EntityId{std::string(Entity::kind), to.key},
                                    std::string(Message::catga_message_name()),
                                    encode(to.message)});
}
template <class Entity, class Message>
Result<std::optional<EventCommand>> outcome(const std::optional<To<Entity, Message>>& to) {
  if (!to) return std::optional<EventCommand>();
  return outcome(*to);
}
inline Result<std::optional<EventCommand>> outcome(const Status& status) {
  if (!status.ok()) return status.error();
  return std::optional<EventCommand>();
}

}  // namespace detail

template <class Event, class Handler>
Subscription make_subscription(std::string name, Handler handler, SubscribeOptions options) {
  static_assert(detail::CheckedEvent<Event>::ok);
  static_assert(std::is_default_constructible_v<Event>,
                "catga: an event must be default constructible: decoding keeps the defaults of "
                "missing fields");
  static_assert(std::invocable<const Handler&, const Event&, const EventInfo&> ||
                    std::invocable<const Handler&, const Event&>,
                "catga: a handler takes (const Event&) or (const Event&, const catga::EventInfo&), "
                "and is const");
  Subscription made{std::move(name), std::string(Event::catga_message_name()), options, {}};
  made.handle = [handler = std::move(handler)](
                    const EventInfo& info,
                    std::string_view payload) -> Result<std::optional<EventCommand>> {
    try {
      const Result<Event> event = decode<Event>(payload);
      if (!event.ok()) return Error{Code::malformed, event.error().text};
      using Returned = decltype(detail::call_handler<Event>(handler, *event, info));
      if constexpr (std::is_void_v<Returned>) {
        detail::call_handler<Event>(handler, *event, info);
        return std::optional<EventCommand>();
      } else {
        return detail::outcome(detail::call_handler<Event>(handler, *event, info));
      }
    } catch (const std::exception& trouble) {
      return Error{Code::failed, trouble.what()};
    } catch (...) {
      return Error{Code::failed, "the handler threw something that is no std::exception"};
    }
  };
  return made;
}

}  // namespace catga
