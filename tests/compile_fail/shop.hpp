// Correct messages and an entity for the mistakes to lean on.
#pragma once
#include <catga/entities/entity.hpp>

struct Stored {
  CATGA_FIELDS();
};
struct Reserve {
  using Reply = catga::Done;
  std::string article;
  CATGA_MESSAGE(Reserve, article);
};
struct Count {
  using Reply = std::int64_t;
  CATGA_MESSAGE(Count);
};
struct Stock {
  static constexpr std::string_view kind = "stock";
  using Handles = catga::Messages<Reserve>;
  Stored state;
  catga::Done on(const Reserve&) { return {}; }
};
