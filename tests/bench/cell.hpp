// The entity of the benchmark: as small as can be, so that what is measured is the runtime.
#pragma once
#include <catga/catga.hpp>

#include "spread.hpp"
#include "tally.hpp"

#include <cstdint>
#include <string_view>

namespace bench {

/// Pokes handled in this process. The runtime makes the entities, so nothing can be handed to them:
/// the one place of the benchmark where a function knows a global.
inline Tally& pokes_handled() {
  static Tally tally;
  return tally;
}

// clang-format off
struct Look  { using Reply = std::int64_t; CATGA_MESSAGE(Look); };
/// Told, not asked. Changes nothing, so nothing is committed: raw actors commit nothing either.
struct Poke  { using Reply = catga::Done; CATGA_MESSAGE(Poke); };
struct Add   { using Reply = std::int64_t; std::int64_t amount = 1; CATGA_MESSAGE(Add, amount); };
/// Leaves memory, so that the next message finds the entity cold.
struct Leave { using Reply = catga::Done; CATGA_MESSAGE(Leave); };
/// Looks at `times` of the first `peers` cells, one after the other, beginning with number `first`.
struct Chase { using Reply = std::int64_t; std::uint64_t first = 0; std::uint64_t times = 0; std::uint64_t peers = 1; CATGA_MESSAGE(Chase, first, times, peers); };
// clang-format on

class Cell {
 public:
  static constexpr std::string_view kind = "cell";
  using Handles = catga::Messages<Look, Poke, Add, Leave, Chase>;
  struct State {
    std::int64_t value = 0;
    CATGA_FIELDS(value);
  } state;

  std::int64_t on(const Look&) const { return state.value; }
  catga::Done on(const Poke&) const {
    pokes_handled().add();
    return {};
  }
  std::int64_t on(const Add& add) { return state.value += add.amount; }
  catga::Done on(catga::Turn& turn, const Leave&) {
    turn.passivate();
    return {};
  }
  catga::Task<std::int64_t> on(catga::Turn& turn, const Chase& chase) {
    const Chase wanted = chase;  // the message is gone after the first wait
    for (std::uint64_t i = 0; i < wanted.times; ++i) {
      const auto peer = turn.ref<Cell>(key_of(spread(wanted.first + i, wanted.peers)));
      const catga::Result<std::int64_t> seen = co_await turn.ask<Look>(peer);
      if (!seen) co_return seen.error();
    }
    co_return static_cast<std::int64_t>(wanted.times);
  }
};

}  // namespace bench
