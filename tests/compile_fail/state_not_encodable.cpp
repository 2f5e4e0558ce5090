// expect: the state of this entity cannot be encoded: add CATGA_FIELDS(...) to it
// expect: this type cannot be encoded: give it CATGA_FIELDS(...)
#include "shop.hpp"

struct Bare {
  int number = 0;
};
struct Outer {
  Bare inner;
  CATGA_FIELDS(inner);
};
template <class State>
struct Entity {
  static constexpr std::string_view kind = "entity";
  using Handles = catga::Messages<>;
  State state;
};
catga::Kind bare() { return catga::kind_of<Entity<Bare>>(); }
catga::Kind outer() { return catga::kind_of<Entity<Outer>>(); }
