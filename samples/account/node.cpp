// A cluster node that hosts accounts. Settings by flags, CATGA_* variables or a file; see --help.
#include <catga/catga.hpp>

#include "account.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<bank::Account>();
  return node.run();  // until SIGTERM, then hands its shards over
}
