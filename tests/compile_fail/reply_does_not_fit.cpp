// expect: the reply type does not fit: a handler must return the message's Reply
// expect: the Reply of this message cannot be encoded: add CATGA_FIELDS(...) to it
#include "shop.hpp"

struct Mumbling {
  static constexpr std::string_view kind = "mumbling";
  using Handles = catga::Messages<Count>;
  Stored state;
  std::string on(const Count&) const { return "three"; }
};
struct Bare {};
struct Question {
  using Reply = Bare;
  CATGA_MESSAGE(Question);
};
struct Speechless {
  static constexpr std::string_view kind = "speechless";
  using Handles = catga::Messages<Question>;
  Stored state;
  Bare on(const Question&) const { return {}; }
};
catga::Kind mumbling() { return catga::kind_of<Mumbling>(); }
catga::Kind speechless() { return catga::kind_of<Speechless>(); }
