// What a test sees of a turn: what it answered, and what left with its commit.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace catga::test {

/// Where an owner dies.
enum class Crash {
  before_commit,  ///< nothing of it is written
  after_commit,   ///< it is written, and nobody has heard of that
};

/// A tell, or the start of a saga ("$saga.start", to <type>/<id>).
struct Told {
  EntityId to;
  std::string message;
  std::string payload;
};

/// An event as the stream would get it.
struct Published {
  EntityId source;
  std::string event;
  std::string payload;
  std::uint64_t number = 0;  ///< of the source's events, from 1
};

/// A timer that a turn set or took back.
struct TimerSet {
  std::string name;  ///< empty: unnamed
  bool cancelled = false;
  std::chrono::milliseconds after{0};   ///< from the turn on
  std::chrono::milliseconds period{0};  ///< 0: it fires once
  std::string message;
  std::string payload;
};

namespace detail {

/// Those of a type, decoded. What does not decode is no such message.
template <class Message, class List, class Name>
std::vector<Message> of_type(const List& list, Name name_of_one) {
  std::vector<Message> found;
  for (const auto& one : list) {
    if (name_of_one(one) != Message::catga_message_name()) continue;
    Result<Message> message = decode<Message>(one.payload);
    if (message) found.push_back(std::move(*message));
  }
  return found;
}

}  // namespace detail

/// One committed turn.
struct Handled {
  EntityId entity;
  std::string message;
  bool rejected = false;
  std::string why;  ///< of a rejection
  std::vector<Told> tells;
  std::vector<Published> events;
  std::vector<TimerSet> timers;
  bool passivates = false, erases = false;

  /// Messages of this type that it told anybody, or only the entity with this key.
  template <class Message>
  std::vector<Message> told() const {
    return detail::of_type<Message>(tells, [](const Told& tell) { return tell.message; });
  }
  template <class Message>
  std::vector<Message> told(const std::string& key) const {
    std::vector<Told> to_it;
    for (const Told& tell : tells) {
      if (tell.to.key == key) to_it.push_back(tell);
    }
    return detail::of_type<Message>(to_it, [](const Told& tell) { return tell.message; });
  }
  /// Events of this type that it published.
  template <class Event>
  std::vector<Event> published() const {
    return detail::of_type<Event>(events, [](const Published& event) { return event.event; });
  }
};

}  // namespace catga::test
