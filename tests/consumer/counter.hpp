// An entity in a header that two files of one program include.
#pragma once
#include <catga/catga.hpp>

#include <cstdint>
#include <string_view>

// clang-format off
struct Count { std::int64_t value = 0; CATGA_FIELDS(value); };
struct Add   { using Reply = Count; std::int64_t value = 0; CATGA_MESSAGE(Add, value); };
struct Read  { using Reply = Count; CATGA_MESSAGE(Read); };
// clang-format on

class Counter {
 public:
  static constexpr std::string_view kind = "counter";
  using Handles = catga::Messages<Add, Read>;
  Count state;

  Count on(const Add& add) {
    state.value += add.value;
    return state;
  }
  Count on(const Read&) const { return state; }
};

/// Adds twice; what the counter has then, or -1.
std::int64_t add_twice(catga::Node& node, std::string_view key, std::int64_t value);
