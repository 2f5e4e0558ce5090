// The node process of the chaos test.
#include <catga/catga.hpp>

#include "log_entity.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<catga::testing::Log>();
  return node.run();
}
