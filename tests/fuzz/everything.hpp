// A message with a field of every type that may travel, and an entity that takes it.
#pragma once
#include <catga/entities/entity.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace catga::fuzz {

enum class Colour : std::uint8_t { red, green = 7 };

struct Line {
  std::string article;
  std::uint32_t count = 1;
  CATGA_FIELDS(article, count);
};
struct Tree {
  std::vector<Tree> children;
  CATGA_FIELDS(children);
};
struct Everything {
  using Reply = Line;
  std::int64_t small = 0;
  std::uint64_t large = 0;
  std::int8_t tiny = 0;
  bool flag = false;
  float single = 0;
  double real = 0;
  std::string name;
  Colour colour = Colour::red;
  std::vector<Line> lines;
  std::vector<bool> bits;
  std::map<std::string, Line> by_name;
  std::map<std::int32_t, std::string> by_number;
  std::optional<Line> perhaps;
  std::array<std::int16_t, 3> three{};
  Tree tree;
  CATGA_MESSAGE(Everything, small, large, tiny, flag, single, real, name, colour, lines, bits,
                by_name, by_number, perhaps, three, tree);
};
struct Look {
  using Reply = Line;
  CATGA_MESSAGE(Look);
};

class Shop {
 public:
  static constexpr std::string_view kind = "shop";
  using Handles = Messages<Everything, Look>;
  struct State {
    CATGA_FIELDS();
  } state;
  Line on(const Everything&) { return {}; }
  Line on(const Look&) const { return {}; }
};

}  // namespace catga::fuzz
