// Compiles: what the other files do wrong, done right.
#include "shop.hpp"

struct Clerk {
  static constexpr std::string_view kind = "clerk-2";
  using Handles = catga::Messages<Reserve, Count>;
  Stored state;
  catga::Task<catga::Done> on(catga::Turn& turn, const Reserve& reserve) {
    const catga::Ref<Stock> stock = turn.ref<Stock>("pens");
    const catga::Result<catga::Done> first = co_await turn.ask(stock, reserve);
    if (!first) co_return first.error();
    (void)co_await turn.ask<Reserve>(stock, "ink");
    co_return catga::Done{};
  }
  catga::Result<std::int64_t> on(const catga::Turn&, const Count&) const noexcept { return 1; }
};

/// Handlers may come from a base class.
struct Senior : Clerk {
  static constexpr std::string_view kind = "senior";
};

catga::Kind clerk() { return catga::kind_of<Clerk>(); }
catga::Kind senior() { return catga::kind_of<Senior>(); }
catga::Result<std::int64_t> count(catga::Ref<Clerk> clerk) { return clerk.ask(Count{}); }
