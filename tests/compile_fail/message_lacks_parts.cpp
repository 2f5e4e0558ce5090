// expect: this message has no wire name: add CATGA_MESSAGE(Name, fields...)
// expect: this message has no reply type: add `using Reply = ...;`
// expect: two messages in Handles have the same wire name
#include "shop.hpp"

struct Nameless {
  using Reply = catga::Done;
};
struct Unanswered {
  CATGA_MESSAGE(Unanswered);
};
struct Twin {
  using Reply = catga::Done;
  CATGA_MESSAGE(Reserve);
};
template <class... Message>
struct Entity {
  static constexpr std::string_view kind = "entity";
  using Handles = catga::Messages<Message...>;
  Stored state;
  template <class Any>
  catga::Done on(const Any&) {
    return {};
  }
};
catga::Kind nameless() { return catga::kind_of<Entity<Nameless>>(); }
catga::Kind unanswered() { return catga::kind_of<Entity<Unanswered>>(); }
catga::Kind twins() { return catga::kind_of<Entity<Reserve, Twin>>(); }
