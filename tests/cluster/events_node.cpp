// The node process of the tests of events.
#include <catga/catga.hpp>

#include "event_kinds.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  catga::testing::follow(node);
  return node.run();
}
