// A message and where it goes: what a saga's steps and a subscription's handlers return.
#pragma once
#include "catga/entities/handler.hpp"
#include "catga/entities/message.hpp"

#include <string>
#include <type_traits>
#include <utility>

namespace catga {

template <class Entity, class Message>
struct To {
  std::string key;
  Message message;
};

/// `catga::to<Stock>(key, Reserve{...})`
template <class Entity, class Message>
auto to(std::string key, Message&& message) {
  using Plain = std::remove_cvref_t<Message>;
  if constexpr (detail::CheckedSend<Entity, Plain>::ok) {
    static_assert(
        !detail::is_query<Entity, Plain>,
        "catga: catga::to sends a command; this message is handled by a const handler, a query");
  }
  // Returned even if it may not be sent: one mistake is one error.
  if constexpr (detail::CheckedMessage<Plain>::ok) {
    return To<Entity, Plain>{std::move(key), std::forward<Message>(message)};
  }
}

}  // namespace catga
