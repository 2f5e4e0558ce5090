// Bytes <-> values. The bytes are msgpack; a struct is a map of its field names.
//
// Old and new nodes talk to each other, so decoding keeps the default of a field that is missing
// and skips one it does not know. What must fit, fits: a number out of the range of its C++ type is
// malformed, never cut. Bytes come from strangers: nesting and counts are limited before anything
// is allocated for them. Nothing here throws, and msgpack's own headers stay in codec.cpp: they
// cost every file that sees them a second.
#pragma once
#include "catga/entities/message.hpp"
#include "catga/sharding/result.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace catga {

/// What decoding does with a field the type does not have.
enum class UnknownField : std::uint8_t {
  skip,    ///< between nodes, which may be of different versions
  refuse,  ///< from people, who misspell
};

namespace detail {

/// Deeper than any sane message; shallow enough for the stack.
inline constexpr std::size_t nesting_max = 64;

/// Appends msgpack to a string.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  void nil();
  void boolean(bool value);
  void integer(std::int64_t value);
  void whole(std::uint64_t value);
  void real(float value);
  void real(double value);
  void text(std::string_view value);
  void array(std::size_t count);  ///< then write the elements
  void map(std::size_t count);    ///< then write key, value, key, value …

 private:
  std::string& out_;
};

/// One parsed msgpack value. Defined nowhere: codec.cpp knows what it is.
struct Value;

enum class Shape : std::uint8_t { nil, boolean, integer, whole, real, text, array, map, other };

Shape shape_of(const Value& value);
bool boolean_in(const Value& value);
std::int64_t integer_in(const Value& value);  ///< Shape::integer: below zero
std::uint64_t whole_in(const Value& value);   ///< Shape::whole: zero and up
double real_in(const Value& value);
std::string_view text_in(const Value& value);
std::size_t count_in(const Value& value);  ///< elements of an array, entries of a map
const Value& element_in(const Value& array, std::size_t index);
const Value& key_in(const Value& map, std::size_t index);
const Value& value_in(const Value& map, std::size_t index);

/// One decoding under way: its rules, and the first trouble with the place where it was.
class Decoding {
 public:
  explicit Decoding(UnknownField unknown) : unknown_(unknown) {}
  /// All three return false, so that a reader can return them.
  bool expected(std::string_view what, const Value& found);
  bool trouble(std::string words);
  bool unknown_field(std::string_view name, const std::string_view* known, std::size_t count);
  /// Says where the trouble was, from the inside out. Returns false.
  bool within(std::string_view field);
  bool within(std::size_t element);

  UnknownField unknown() const { return unknown_; }
  /// "lines[2].count: expected …"; what was decoded may get a name in front.
  std::string words(std::string_view name) const;

 private:
  UnknownField unknown_;
  std::string place_;
  std::string trouble_;
};

bool read_signed(const Value& value, std::int64_t low, std::int64_t high, std::int64_t& out,
                 Decoding& decoding);
bool read_unsigned(const Value& value, std::uint64_t high, std::uint64_t& out, Decoding& decoding);
bool read_real(const Value& value, double& out, Decoding& decoding);
bool read_text(const Value& value, std::string_view& out, Decoding& decoding);
/// A whole number that came as a JSON key, which can only be text.
bool read_number_text(std::string_view text, std::int64_t& out);
bool read_number_text(std::string_view text, std::uint64_t& out);

/// Parses `bytes` as one msgpack value and hands it to `read` while it lives. Errors: malformed.
Status parse(std::string_view bytes, std::string_view name, Decoding& decoding,
             const std::function<bool(const Value&)>& read);

template <class Type>
inline constexpr bool is_vector = false;
template <class Element>
inline constexpr bool is_vector<std::vector<Element>> = true;
template <class Type>
inline constexpr bool is_array = false;
template <class Element, std::size_t Count>
inline constexpr bool is_array<std::array<Element, Count>> = true;
template <class Type>
inline constexpr bool is_map = false;
template <class Key, class Mapped>
inline constexpr bool is_map<std::map<Key, Mapped>> = true;
template <class Type>
inline constexpr bool is_optional = false;
template <class Held>
inline constexpr bool is_optional<std::optional<Held>> = true;

template <class Type>
inline constexpr bool is_real = std::is_same_v<Type, float> || std::is_same_v<Type, double>;

/// Can `Type` travel? Looks one level deep; what is inside is checked where it is encoded.
template <class Type>
concept Encodable = std::is_integral_v<Type> || is_real<Type> || std::is_enum_v<Type> ||
    std::is_same_v<Type, std::string> || std::is_same_v<Type, Done> || is_vector<Type> ||
    is_array<Type> || is_map<Type> || is_optional<Type> || HasFields<Type>;

template <class Type>
void write(Writer& out, const Type& value) {
  static_assert(Encodable<Type>,
                "catga: this type cannot be encoded: give it CATGA_FIELDS(...), or use integers, "
                "float, double, "
                "bool, std::string, std::vector, std::array, std::map, std::optional, enums");
  if constexpr (std::is_same_v<Type, bool>) {
    out.boolean(value);
  } else if constexpr (std::is_enum_v<Type>) {
    write(out, static_cast<std::underlying_type_t<Type>>(value));
  } else if constexpr (std::is_integral_v<Type>) {
    if constexpr (std::is_signed_v<Type>) {
      out.integer(std::int64_t{value});
    } else {
      out.whole(std::uint64_t{value});
    }
  } else if constexpr (is_real<Type>) {
    out.real(value);
  } else if constexpr (std::is_same_v<Type, std::string>) {
    out.text(value);
  } else if constexpr (std::is_same_v<Type, Done>) {
    out.map(0);
  } else if constexpr (is_vector<Type>) {
    out.array(value.size());
    // The type is spelled out because std::vector<bool> has no real elements.
    for (const typename Type::value_type& element : value) write(out, element);
  } else if constexpr (is_array<Type>) {
    out.array(value.size());
    for (const auto& element : value) write(out, element);
  } else if constexpr (is_map<Type>) {
    out.map(value.size());
    for (const auto& [key, mapped] : value) {
      write(out, key);
      write(out, mapped);
    }
  } else if constexpr (is_optional<Type>) {
    if (value) {
      write(out, *value);
    } else {
      out.nil();
    }
  } else if constexpr (HasFields<Type>) {
    out.map(field_count<Type>);
    std::apply(
        [&out](const auto&... field) {
          [[maybe_unused]] std::size_t number = 0;
          ((out.text(field_names<Type>[number++]), write(out, field)), ...);
        },
        value.catga_fields());
  }
}

template <class Type>
bool read(const Value& value, Type& out, Decoding& decoding);

template <class Type>
bool read_integer(const Value& value, Type& out, Decoding& decoding) {
  using Limits = std::numeric_limits<Type>;
  if constexpr (std::is_signed_v<Type>) {
    std::int64_t wide = 0;
    if (!read_signed(value, Limits::min(), Limits::max(), wide, decoding)) return false;
    out = static_cast<Type>(wide);
  } else {
    std::uint64_t wide = 0;
    if (!read_unsigned(value, Limits::max(), wide, decoding)) return false;
    out = static_cast<Type>(wide);
  }
  return true;
}

template <class Type>
bool read_elements(const Value& value, Type& out, Decoding& decoding) {
  if (shape_of(value) != Shape::array) return decoding.expected("a list", value);
  const std::size_t count = count_in(value);
  if constexpr (is_array<Type>) {
    if (count != out.size()) {
      return decoding.trouble("expected a list of " + std::to_string(out.size()) +
                              ", found one of " + std::to_string(count));
    }
  } else {
    out.clear();
    out.reserve(count);
  }
  for (std::size_t i = 0; i < count; ++i) {
    typename Type::value_type element{};
    if (!read(element_in(value, i), element, decoding)) return decoding.within(i);
    if constexpr (is_array<Type>) {
      out[i] = std::move(element);
    } else {
      out.push_back(std::move(element));
    }
  }
  return true;
}

/// JSON has no keys but text, so there (and only there) a number may be spelled as text.
template <class Key>
bool read_key(const Value& value, Key& out, Decoding& decoding) {
  if constexpr (std::is_integral_v<Key> && !std::is_same_v<Key, bool>) {
    if (decoding.unknown() == UnknownField::refuse && shape_of(value) == Shape::text) {
      std::conditional_t<std::is_signed_v<Key>, std::int64_t, std::uint64_t> wide = 0;
      if (!read_number_text(text_in(value), wide) || !std::in_range<Key>(wide)) {
        return decoding.expected("a key that is an integer in range", value);
      }
      out = static_cast<Key>(wide);
      return true;
    }
    return read_integer(value, out, decoding);
  } else if constexpr (std::is_enum_v<Key>) {
    std::underlying_type_t<Key> number{};
    if (!read_key(value, number, decoding)) return false;
    out = static_cast<Key>(number);
    return true;
  } else {
    static_assert(std::is_same_v<Key, std::string>,
                  "catga: the keys of a std::map that travels are std::string, integers or enums");
    return read(value, out, decoding);
  }
}

template <class Type>
bool read_entries(const Value& value, Type& out, Decoding& decoding) {
  if (shape_of(value) != Shape::map) return decoding.expected("a map", value);
  out.clear();
  for (std::size_t i = 0; i < count_in(value); ++i) {
    typename Type::key_type key{};
    if (!read_key(key_in(value, i), key, decoding)) return decoding.within(i);
    if (!read(value_in(value, i), out[std::move(key)], decoding)) return decoding.within(i);
  }
  return true;
}

template <class Type>
bool read_fields(const Value& value, Type& out, Decoding& decoding) {
  constexpr const auto& names = field_names<Type>;
  if (shape_of(value) != Shape::map) return decoding.expected("a map of fields", value);
  [[maybe_unused]] auto fields = out.catga_fields();
  for (std::size_t i = 0; i < count_in(value); ++i) {
    std::string_view name;
    if (!read_text(key_in(value, i), name, decoding)) return false;
    [[maybe_unused]] const Value& found = value_in(value, i);
    bool good = true;
    const bool known = [&]<std::size_t... Number>(std::index_sequence<Number...>) {
      return ((names[Number] == name &&
               (good = read(found, std::get<Number>(fields), decoding), true)) ||
              ...);
    }
    (std::make_index_sequence<names.size()>{});
    if (!good) return decoding.within(name);
    if (!known && decoding.unknown() == UnknownField::refuse) {
      return decoding.unknown_field(name, names.data(), names.size());
    }
  }
  return true;
}

template <class Type>
bool read(const Value& value, Type& out, Decoding& decoding) {
  static_assert(Encodable<Type>, "catga: this type cannot be decoded: give it CATGA_FIELDS(...)");
  if constexpr (std::is_same_v<Type, bool>) {
    if (shape_of(value) != Shape::boolean) return decoding.expected("true or false", value);
    out = boolean_in(value);
    return true;
  } else if constexpr (std::is_enum_v<Type>) {
    std::underlying_type_t<Type> number{};
    if (!read(value, number, decoding)) return false;
    out = static_cast<Type>(number);
    return true;
  } else if constexpr (std::is_integral_v<Type>) {
    return read_integer(value, out, decoding);
  } else if constexpr (is_real<Type>) {
    double wide = 0;
    if (!read_real(value, wide, decoding)) return false;
    if (std::isfinite(wide) && std::abs(wide) > double{std::numeric_limits<Type>::max()}) {
      return decoding.expected("a smaller number", value);
    }
    out = static_cast<Type>(wide);
    return true;
  } else if constexpr (std::is_same_v<Type, std::string>) {
    std::string_view text;
    if (!read_text(value, text, decoding)) return false;
    out = text;
    return true;
  } else if constexpr (std::is_same_v<Type, Done>) {
    return shape_of(value) == Shape::map || decoding.expected("an empty map", value);
  } else if constexpr (is_vector<Type> || is_array<Type>) {
    return read_elements(value, out, decoding);
  } else if constexpr (is_map<Type>) {
    return read_entries(value, out, decoding);
  } else if constexpr (is_optional<Type>) {
    out.reset();
    return shape_of(value) == Shape::nil || read(value, out.emplace(), decoding);
  } else if constexpr (HasFields<Type>) {
    return read_fields(value, out, decoding);
  }
}

template <class Type>
constexpr std::string_view name_in_errors() {
  if constexpr (HasWireName<Type>) {
    return Type::catga_message_name();
  } else {
    return {};
  }
}

}  // namespace detail

/// The bytes of a value. Equal values give equal bytes.
template <class Type>
std::string encode(const Type& value) {
  std::string bytes;
  detail::Writer writer(bytes);
  detail::write(writer, value);
  return bytes;
}

/// The value in `bytes`. Errors: malformed, saying which field is wrong and how.
template <class Type>
Result<Type> decode(std::string_view bytes, UnknownField unknown = UnknownField::skip) {
  Type value{};
  detail::Decoding decoding(unknown);
  Status parsed = detail::parse(bytes, detail::name_in_errors<Type>(), decoding,
                                [&value, &decoding](const detail::Value& root) {
                                  return detail::read(root, value, decoding);
                                });
  if (!parsed) return std::move(parsed).error();
  return value;
}

}  // namespace catga
