// The node process of the cluster tests.
#include <catga/catga.hpp>

#include "kinds.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<catga::testing::Counter>().host<catga::testing::Walker>().host<catga::testing::Bell>();
  return node.run();
}
