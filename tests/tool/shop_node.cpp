// A node whose sagas get stuck behind their pivot, for the tool to help them.
#include <catga/catga.hpp>

#include "parcels.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<parcels::Depot>().host<parcels::Clerk>().host(parcels::parcel_saga());
  return node.run();
}
