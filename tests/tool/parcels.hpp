// Parcels: a saga that gets stuck behind its pivot while its depot is closed.
#pragma once
#include <catga/catga.hpp>

#include <cstdint>
#include <string>

namespace parcels {

struct Pack {
  using Reply = catga::Done;
  std::string order;
  CATGA_MESSAGE(Pack, order);
};
struct Post {
  using Reply = catga::Done;
  std::string order;
  CATGA_MESSAGE(Post, order);
};
struct Open {
  using Reply = catga::Done;
  CATGA_MESSAGE(Open);
};
struct Ledger {
  std::uint32_t packed = 0, posted = 0;
  CATGA_FIELDS(packed, posted);
};
struct Count {
  using Reply = Ledger;
  CATGA_MESSAGE(Count);
};

/// Packs whatever it is given, and posts nothing before it was opened.
class Depot {
 public:
  static constexpr std::string_view kind = "depot";
  using Handles = catga::Messages<Pack, Post, Open, Count>;
  struct State {
    bool open = false;
    Ledger done;
    CATGA_FIELDS(open, done);
  } state;
  catga::Done on(const Pack&) {
    state.done.packed += 1;
    return {};
  }
  catga::Result<catga::Done> on(const Post&) {
    if (!state.open) return catga::reject("the depot is closed");
    state.done.posted += 1;
    return catga::Done{};
  }
  catga::Done on(const Open&) {
    state.open = true;
    return {};
  }
  Ledger on(const Count&) const { return state.done; }
};

struct Parcel {
  std::string depot, order;
  CATGA_FIELDS(depot, order);
};

inline const catga::Saga<Parcel>& parcel_saga() {
  static const catga::Saga<Parcel> saga =
      catga::saga<Parcel>("parcel", 1)
          .step("pack", [](const Parcel& p) { return catga::to<Depot>(p.depot, Pack{p.order}); })
          .pivot()
          .step("post", [](const Parcel& p) { return catga::to<Depot>(p.depot, Post{p.order}); })
          .build();
  return saga;
}

struct Order {
  using Reply = catga::Done;
  std::string id, depot;
  CATGA_MESSAGE(Order, id, depot);
};

class Clerk {
 public:
  static constexpr std::string_view kind = "clerk";
  using Handles = catga::Messages<Order>;
  struct State {
    std::uint32_t orders = 0;
    CATGA_FIELDS(orders);
  } state;
  catga::Done on(catga::Turn& turn, const Order& order) {
    turn.start(parcel_saga(), order.id, Parcel{order.depot, order.id});
    state.orders += 1;
    return {};
  }
};

}  // namespace parcels
