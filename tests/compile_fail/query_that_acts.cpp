// expect: a const handler is a query and sends nothing: it must take `const catga::Turn&`
// expect: a const handler is a query and cannot wait: only commands may return catga::Task
// expect: this message has two handlers
#include "shop.hpp"

struct Sending {
  static constexpr std::string_view kind = "sending";
  using Handles = catga::Messages<Count>;
  Stored state;
  std::int64_t on(catga::Turn&, const Count&) const { return 0; }
};
struct Waiting {
  static constexpr std::string_view kind = "waiting";
  using Handles = catga::Messages<Count>;
  Stored state;
  catga::Task<std::int64_t> on(const Count&) const { co_return 0; }
};
struct Both {
  static constexpr std::string_view kind = "both";
  using Handles = catga::Messages<Count>;
  Stored state;
  std::int64_t on(const Count&) const { return 0; }
  std::int64_t on(const Count&) { return 1; }
};
catga::Kind sending() { return catga::kind_of<Sending>(); }
catga::Kind waiting() { return catga::kind_of<Waiting>(); }
catga::Kind both() { return catga::kind_of<Both>(); }
