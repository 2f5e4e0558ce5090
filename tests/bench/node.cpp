// A node that hosts cells.
#include "cell.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<bench::Cell>();
  return node.run();
}
