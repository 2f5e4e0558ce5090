// expect: a handler must take its message by const reference, not by value
// expect: a handler must take its message by const reference, not by reference to mutable
#include "shop.hpp"

struct Copying {
  static constexpr std::string_view kind = "copying";
  using Handles = catga::Messages<Reserve>;
  Stored state;
  catga::Done on(catga::Turn&, Reserve) { return {}; }
};
struct Changing {
  static constexpr std::string_view kind = "changing";
  using Handles = catga::Messages<Reserve>;
  Stored state;
  catga::Done on(Reserve&) { return {}; }
};
catga::Kind copying() { return catga::kind_of<Copying>(); }
catga::Kind changing() { return catga::kind_of<Changing>(); }
