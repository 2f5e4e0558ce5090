// A node with the small sagas that can be told to die at a commit.
#include <catga/catga.hpp>
#include <catga/runtime/node_seams.hpp>

#include "crashing_stores.hpp"
#include "small_sagas.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<Account>().host(transfer_saga);
  node.host<parcels::Depot>().host<parcels::Clerk>().host(parcels::parcel_saga());
  node.host<catga::testing::Source>().host(catga::testing::telling_saga());
  node.host<catga::testing::Shelf>().host(catga::testing::slow_saga());
  node.host<catga::testing::Bomb>();
  catga::NodeSeams::wrap_stores(node, [](std::unique_ptr<catga::Stores> plain) {
    return std::make_unique<catga::testing::CrashingStores>(std::move(plain));
  });
  return node.run();
}
