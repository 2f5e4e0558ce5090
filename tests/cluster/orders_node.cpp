// A node of samples/orders that can be told to die at a commit.
#include <catga/catga.hpp>
#include <catga/runtime/node_seams.hpp>

#include "../../samples/orders/orders.hpp"
#include "crashing_stores.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<orders::Inventory>()
      .host<orders::Payment>()
      .host<orders::Order>()
      .host<catga::testing::Bomb>()
      .host(orders::purchase_saga());
  catga::NodeSeams::wrap_stores(node, [](std::unique_ptr<catga::Stores> plain) {
    return std::make_unique<catga::testing::CrashingStores>(std::move(plain));
  });
  return node.run();
}
