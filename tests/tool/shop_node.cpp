// A node whose sagas get stuck behind their pivot, for the tool to help them.
#include <catga/catga.hpp>

#include <string>

namespace {

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

/// Packs whatever it is given, and posts nothing before it was opened.
class Depot {
 public:
  static constexpr std::string_view kind = "depot";
  using Handles = catga::Messages<Pack, Post, Open>;
  struct State {
    bool open = false;
    std::uint32_t posted = 0;
    CATGA_FIELDS(open, posted);
  } state;
  catga::Done on(const Pack&) { return {}; }
  catga::Result<catga::Done> on(const Post&) {
    if (!state.open) return catga::reject("the depot is closed");
    state.posted += 1;
    return catga::Done{};
  }
  catga::Done on(const Open&) {
    state.open = true;
    return {};
  }
};

struct Parcel {
  std::string depot, order;
  CATGA_FIELDS(depot, order);
};

const catga::Saga<Parcel>& parcel_saga() {
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

}  // namespace

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<Depot>().host<Clerk>().host(parcel_saga());
  return node.run();
}
