// What makes a struct a message or plain data: its wire name and its fields.
#pragma once
#include <array>
#include <cstddef>
#include <string_view>
#include <tuple>
#include <type_traits>

/// Names the fields of plain data that travels or is stored: `CATGA_FIELDS(cents, owner);`
/// A field that is left out is not sent and not kept. Without arguments: data without fields.
#define CATGA_FIELDS(...)                                                        \
  auto catga_fields() { return std::tie(__VA_ARGS__); }                          \
  auto catga_fields() const { return std::tie(__VA_ARGS__); }                    \
  static constexpr std::string_view catga_field_names() { return #__VA_ARGS__; } \
  static_assert(true)

/// Makes a struct a message: name on the wire, then fields: `CATGA_MESSAGE(Deposit, cents);`
/// Renaming the struct later does not change the wire as long as this name stays.
#define CATGA_MESSAGE(Name, ...)                                           \
  static constexpr std::string_view catga_message_name() { return #Name; } \
  CATGA_FIELDS(__VA_ARGS__)

namespace catga {

/// The messages an entity handles: `using Handles = catga::Messages<Deposit, Withdraw>;`
template <class... Message>
struct Messages {};

namespace detail {

template <class Type>
concept HasFields = requires(Type& value, const Type& constant) {
  value.catga_fields();
  constant.catga_fields();
  Type::catga_field_names();
};

template <class Type>
concept HasWireName = requires {
  Type::catga_message_name();
};

template <class Type>
concept HasReply = requires {
  typename Type::Reply;
};

/// The text the preprocessor made of the fields, "cents, owner", cut into names.
template <std::size_t Count>
constexpr std::array<std::string_view, Count> split_names(std::string_view text) {
  std::array<std::string_view, Count> names{};
  for (std::string_view& name : names) {
    while (text.starts_with(' ')) text.remove_prefix(1);
    const std::size_t end = text.find(',');
    name = text.substr(0, end);
    while (name.ends_with(' ')) name.remove_suffix(1);
    text = end == text.npos ? std::string_view{} : text.substr(end + 1);
  }
  return names;
}

template <HasFields Type>
inline constexpr std::size_t field_count =
    std::tuple_size_v<decltype(std::declval<Type&>().catga_fields())>;

template <HasFields Type>
inline constexpr auto field_names = split_names<field_count<Type>>(Type::catga_field_names());

/// Says in a sentence what a message lacks. Instantiated wherever a message is used.
template <class Message>
struct CheckedMessage {
  static_assert(HasWireName<Message>,
                "catga: this message has no wire name: add CATGA_MESSAGE(Name, fields...); to it");
  static_assert(HasReply<Message>,
                "catga: this message has no reply type: add `using Reply = ...;` to it "
                "(catga::Done if there is nothing to say)");
  static constexpr bool ok = HasWireName<Message> && HasReply<Message>;
};

/// The same of an event: a message without a reply.
template <class Event>
struct CheckedEvent {
  static_assert(HasWireName<Event>,
                "catga: this event has no name: add CATGA_MESSAGE(Name, fields...); to it");
  static constexpr bool ok = HasWireName<Event>;
};

template <class List>
struct ListTraits {
  static constexpr bool is_list = false;
};

template <class... Message>
struct ListTraits<Messages<Message...>> {
  static constexpr bool is_list = true;
  template <class Wanted>
  static constexpr bool contains = (std::is_same_v<Wanted, Message> || ...);

  static constexpr bool names_differ() {
    const std::array<std::string_view, sizeof...(Message)> names{Message::catga_message_name()...};
    for (std::size_t i = 0; i < names.size(); ++i) {
      for (std::size_t j = i + 1; j < names.size(); ++j) {
        if (names[i] == names[j]) return false;
      }
    }
    return true;
  }
};

}  // namespace detail
}  // namespace catga
