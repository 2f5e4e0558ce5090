// Which handlers a class has, and whether one is a query. No runtime code: all of this is gone
// after compiling.
#pragma once
#include "catga/entities/message.hpp"
#include "catga/entities/task.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <type_traits>

namespace catga {

class Turn;

namespace detail {

template <class Entity, class Message>
concept QueryAlone = requires(const Entity& entity, const Message& message) {
  entity.on(message);
};
template <class Entity, class Message>
concept QueryWithTurn = requires(const Entity& entity, const Turn& turn, const Message& message) {
  entity.on(turn, message);
};
template <class Entity, class Message>
concept ConstWithMutableTurn = requires(const Entity& entity, Turn& turn, const Message& message) {
  entity.on(turn, message);
};
template <class Entity, class Message>
concept CallableAlone = requires(Entity& entity, const Message& message) {
  entity.on(message);
};
template <class Entity, class Message>
concept CallableWithTurn = requires(Entity& entity, Turn& turn, const Message& message) {
  entity.on(turn, message);
};
template <class Entity, class Message>
concept WantsToChangeMessage = requires(Entity& entity, Turn& turn, Message& message) {
  entity.on(message);
}
|| requires(Entity& entity, Turn& turn, Message& message) { entity.on(turn, message); };

enum class HandlerForm : std::uint8_t {
  none,
  changes_message,          ///< mistake: on(Message&)
  const_with_mutable_turn,  ///< mistake: on(Turn&, const Message&) const
  query,                    ///< on(const Message&) const
  query_with_turn,          ///< on(const Turn&, const Message&) const
  command,                  ///< on(const Message&)
  command_with_turn,        ///< on(Turn&, const Message&)
};

/// A const handler can be called on a mutable entity too, so the queries are looked for first.
template <class Entity, class Message>
constexpr HandlerForm find_form() {
  if constexpr (QueryAlone<Entity, Message>) {
    return HandlerForm::query;
  } else if constexpr (QueryWithTurn<Entity, Message>) {
    return HandlerForm::query_with_turn;
  } else if constexpr (ConstWithMutableTurn<Entity, Message>) {
    return HandlerForm::const_with_mutable_turn;
  } else if constexpr (CallableAlone<Entity, Message>) {
    return HandlerForm::command;
  } else if constexpr (CallableWithTurn<Entity, Message>) {
    return HandlerForm::command_with_turn;
  } else if constexpr (WantsToChangeMessage<Entity, Message>) {
    return HandlerForm::changes_message;
  } else {
    return HandlerForm::none;
  }
}

template <class Entity, class Message>
inline constexpr HandlerForm handler_form = find_form<Entity, Message>();

template <class Entity, class Message>
inline constexpr bool is_query = handler_form<Entity, Message> == HandlerForm::query ||
                                 handler_form<Entity, Message> == HandlerForm::query_with_turn;

/// The type a handler of this form returns; calls it the way the runtime will.
template <class Entity, class Message>
auto returned_by_handler() {
  constexpr HandlerForm form = handler_form<Entity, Message>;
  if constexpr (form == HandlerForm::query) {
    return std::type_identity<decltype(std::declval<const Entity&>().on(
        std::declval<const Message&>()))>{};
  } else if constexpr (form == HandlerForm::query_with_turn) {
    return std::type_identity<decltype(std::declval<const Entity&>().on(
        std::declval<const Turn&>(), std::declval<const Message&>()))>{};
  } else if constexpr (form == HandlerForm::command) {
    return std::type_identity<decltype(std::declval<Entity&>().on(
        std::declval<const Message&>()))>{};
  } else if constexpr (form == HandlerForm::command_with_turn) {
    return std::type_identity<decltype(std::declval<Entity&>().on(
        std::declval<Turn&>(), std::declval<const Message&>()))>{};
  } else {
    return std::type_identity<void>{};
  }
}

template <class Entity, class Message>
using Returned = typename decltype(returned_by_handler<Entity, Message>())::type;

/// Is there a handler written exactly with `const Message&`? One that takes a copy can be called in
/// the same way, so only its signature tells them apart.
template <class Entity, class Message>
constexpr bool takes_const_reference() {
  using R = Returned<Entity, Message>;
  constexpr HandlerForm form = handler_form<Entity, Message>;
  if constexpr (form == HandlerForm::query) {
    return requires { static_cast<R (Entity::*)(const Message&) const>(&Entity::on); };
  } else if constexpr (form == HandlerForm::query_with_turn) {
    return requires { static_cast<R (Entity::*)(const Turn&, const Message&) const>(&Entity::on); };
  } else if constexpr (form == HandlerForm::command) {
    return requires { static_cast<R (Entity::*)(const Message&)>(&Entity::on); };
  } else if constexpr (form == HandlerForm::command_with_turn) {
    return requires { static_cast<R (Entity::*)(Turn&, const Message&)>(&Entity::on); };
  } else {
    return true;
  }
}

/// Two handlers for one message: the caller could not know which one runs.
template <class Entity, class Message>
constexpr bool handled_twice() {
  if constexpr (is_query<Entity, Message>) {
    using Plain = std::type_identity<Returned<Entity, Message>>;
    using R = typename Plain::type;
    return (QueryAlone<Entity, Message> && QueryWithTurn<Entity, Message>) || requires {
      static_cast<R (Entity::*)(const Message&)>(&Entity::on);
    }
    || requires { static_cast<R (Entity::*)(Turn&, const Message&)>(&Entity::on); };
  } else {
    return CallableAlone<Entity, Message> && CallableWithTurn<Entity, Message>;
  }
}

template <class Type>
inline constexpr bool is_task = false;
template <class Value>
inline constexpr bool is_task<Task<Value>> = true;

/// May somebody send `Message` to `Entity`? Says in a sentence why not.
template <class Entity, class Message>
struct CheckedSend {
  static constexpr bool defined = requires { typename Entity::Handles; };
  static_assert(defined,
                "catga: the receiver must be a defined entity class with `using Handles = "
                "catga::Messages<...>;` "
                "(a forward declaration is not enough here)");
  static constexpr bool handled() {
    if constexpr (defined) {
      return ListTraits<typename Entity::Handles>::template contains<Message>;
    } else {
      return true;
    }
  }
  static_assert(handled(),
                "catga: the receiver does not handle this message: it is not in its Handles");
  static constexpr bool ok = CheckedMessage<Message>::ok && defined && handled();
};

}  // namespace detail
}  // namespace catga
