// Names and numbers that cannot be mixed up: shards, epochs, incarnations, operations, entities.
#pragma once
#include "catga/sharding/result.hpp"

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace catga {

/// A number with a meaning. Two ids of different tags do not compare or convert.
template <class Tag, class Number>
struct Id {
  Number value{};
  friend auto operator<=>(const Id&, const Id&) = default;
};

/// 0 … S-1.
using ShardId = Id<struct ShardTag, std::uint32_t>;
/// The number in an owner token: orders hints about routes along one Redis history. Below 2^53.
using Epoch = Id<struct EpochTag, std::uint64_t>;
/// The version of the membership view, max(V+1, Redis ms x 1024). 0 = none seen yet.
using ViewVersion = Id<struct ViewVersionTag, std::uint64_t>;

/// 128 bits; 32 lower-case hex digits as text. All zero means "none".
template <class Tag>
struct WideId {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend auto operator<=>(const WideId&, const WideId&) = default;
  explicit operator bool() const { return high != 0 || low != 0; }
};

/// One life of a node: random, new at each start and after each lost session. Owns shards.
using Incarnation = WideId<struct IncarnationTag>;
/// The caller's name for one command, the same at every repeat.
using OperationId = WideId<struct OperationTag>;

namespace detail {
std::string wide_text(std::uint64_t high, std::uint64_t low);
bool parse_wide(std::string_view text, std::uint64_t& high, std::uint64_t& low);
}  // namespace detail

template <class Tag>
std::string text_of(const WideId<Tag>& id) {
  return detail::wide_text(id.high, id.low);
}

/// Reads 32 hex digits (either case). Errors: malformed.
template <class Wide>
Result<Wide> parse_wide_id(std::string_view text) {
  Wide id;
  if (!detail::parse_wide(text, id.high, id.low))
    return Error{Code::malformed, "an id is not 32 hex digits"};
  return id;
}

/// 16 bytes, big-endian: how ids stand in Redis fields and on the wire.
template <class Tag>
std::string bytes_of(const WideId<Tag>& id) {
  std::string out(16, '\0');
  for (int i = 0; i < 8; ++i) {
    out[static_cast<std::size_t>(i)] = static_cast<char>(id.high >> (56 - 8 * i));
    out[static_cast<std::size_t>(i + 8)] = static_cast<char>(id.low >> (56 - 8 * i));
  }
  return out;
}

/// The inverse of bytes_of. Errors: malformed, when not 16 bytes.
template <class Wide>
Result<Wide> wide_id_from_bytes(std::string_view bytes) {
  if (bytes.size() != 16) return Error{Code::malformed, "an id is not 16 bytes"};
  Wide id;
  for (std::size_t i = 0; i < 8; ++i) {
    id.high = id.high << 8 | static_cast<unsigned char>(bytes[i]);
    id.low = id.low << 8 | static_cast<unsigned char>(bytes[i + 8]);
  }
  return id;
}

/// A decimal number without sign. Errors: malformed.
Result<std::uint64_t> parse_number(std::string_view text);

/// `account/alice`: what a caller names. The kind has no '/'; the key may.
struct EntityId {
  std::string kind;
  std::string key;
  friend auto operator<=>(const EntityId&, const EntityId&) = default;
};

inline std::string text_of(const EntityId& entity) { return entity.kind + '/' + entity.key; }

}  // namespace catga

template <class Tag, class Number>
struct std::hash<catga::Id<Tag, Number>> {
  std::size_t operator()(const catga::Id<Tag, Number>& id) const noexcept {
    return std::hash<Number>{}(id.value);
  }
};
template <class Tag>
struct std::hash<catga::WideId<Tag>> {
  // Both halves are random bits already.
  std::size_t operator()(const catga::WideId<Tag>& id) const noexcept {
    return static_cast<std::size_t>(id.low ^ (id.high * 31));
  }
};
template <>
struct std::hash<catga::EntityId> {
  // Not noexcept: so libstdc++ keeps the hash beside the key and does not hash its neighbours' text
  // again at every look-up.
  std::size_t operator()(const catga::EntityId& id) const {
    return std::hash<std::string>{}(id.key) * 31 + std::hash<std::string>{}(id.kind);
  }
};
