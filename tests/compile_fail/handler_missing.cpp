// expect: a message in Handles has no handler: add a public on(const Message&)
#include "shop.hpp"

class Forgetful {
 public:
  static constexpr std::string_view kind = "forgetful";
  using Handles = catga::Messages<Reserve, Count>;
  Stored state;
  catga::Done on(const Reserve&) { return {}; }

 private:
  std::int64_t on(const Count&) const { return 0; }
};
catga::Kind forgetful() { return catga::kind_of<Forgetful>(); }
