// Which cells are met, and in which order: the same for ceilings and what is measured against them.
#pragma once
#include <cstdint>
#include <string>

namespace bench {

inline std::string key_of(std::uint64_t number) { return "e" + std::to_string(number); }

/// Visits `count` keys in an order that meets neighbours far apart. Prime, so that it visits all.
inline std::uint64_t spread(std::uint64_t number, std::uint64_t count) {
  return number * 7919 % count;
}

/// How far a sender may be ahead of the receivers of its tells.
constexpr std::uint64_t tells_ahead = 20'000;

}  // namespace bench
