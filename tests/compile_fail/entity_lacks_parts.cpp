// expect: this entity has no public kind: add `static constexpr std::string_view kind
// expect: the kind of an entity must be static constexpr
// expect: the kind of an entity must not be empty and may have letters, digits, '_' and '-' only
// expect: this entity does not say what it handles: add public `using Handles
// expect: this entity has no public `state`
#include "shop.hpp"

struct Kindless {
  using Handles = catga::Messages<>;
  Stored state;
};
struct Changing {
  static inline std::string_view kind = "changing";
  using Handles = catga::Messages<>;
  Stored state;
};
struct Slashed {
  static constexpr std::string_view kind = "a/b";
  using Handles = catga::Messages<>;
  Stored state;
};
struct Unlisted {
  static constexpr std::string_view kind = "unlisted";
  Stored state;
};
struct Stateless {
  static constexpr std::string_view kind = "stateless";
  using Handles = catga::Messages<>;
};
catga::Kind kindless() { return catga::kind_of<Kindless>(); }
catga::Kind changing() { return catga::kind_of<Changing>(); }
catga::Kind slashed() { return catga::kind_of<Slashed>(); }
catga::Kind unlisted() { return catga::kind_of<Unlisted>(); }
catga::Kind stateless() { return catga::kind_of<Stateless>(); }
