// The node process of the cluster tests.
#include <catga/catga.hpp>
#include <catga/runtime/node_seams.hpp>

#include "crashing_stores.hpp"
#include "kinds.hpp"
#include "sagas.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<catga::testing::Counter>().host<catga::testing::Walker>().host<catga::testing::Bell>();
  node.host<catga::testing::Shelf>()
      .host<catga::testing::Bomb>()
      .host(catga::testing::order_saga())
      .host(catga::testing::invoice_saga());
  catga::NodeSeams::wrap_stores(node, [](std::unique_ptr<catga::Stores> plain) {
    return std::make_unique<catga::testing::CrashingStores>(std::move(plain));
  });
  return node.run();
}
