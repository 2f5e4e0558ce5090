// The entity of the chaos test: a log of calls, which removes no doubles by itself. What the
// product promises of it, tests/support/history.hpp can therefore check.
#pragma once
#include <catga/catga.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace catga::testing {

/// Adds a call; answers its position, from 1. Rejected once the log has `limit` entries; 0: never.
/// With `tell` that log is told to append `told`: with this call, or not at all.
struct Append {
  using Reply = std::uint64_t;
  std::uint64_t call = 0;
  std::uint64_t limit = 0;
  std::string tell;
  std::uint64_t told = 0;
  CATGA_MESSAGE(Append, call, limit, tell, told);
};
/// Answers how many entries there are.
struct Length {
  using Reply = std::uint64_t;
  CATGA_MESSAGE(Length);
};
struct Entries {
  std::vector<std::uint64_t> calls;
  CATGA_FIELDS(calls);
};
struct Everything {
  using Reply = Entries;
  CATGA_MESSAGE(Everything);
};

class Log {
 public:
  static constexpr std::string_view kind = "log";
  using Handles = Messages<Append, Length, Everything>;
  using State = Entries;
  State state;

  Result<std::uint64_t> on(Turn& turn, const Append& append) {
    if (append.limit != 0 && state.calls.size() >= append.limit) return reject("the log is full");
    state.calls.push_back(append.call);
    if (!append.tell.empty()) turn.tell<Log>(append.tell, Append{append.told, 0, {}, 0});
    return state.calls.size();
  }
  std::uint64_t on(const Length&) const { return state.calls.size(); }
  Entries on(const Everything&) const { return state; }
};

}  // namespace catga::testing
