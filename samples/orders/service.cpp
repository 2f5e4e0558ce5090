// catga-order-service: a node that hosts the entities of the order system and runs its sagas. Start
// as many as you like. Settings by flags, CATGA_* variables or a file; see --help.
#include <catga/catga.hpp>

#include "orders.hpp"

int main(int argc, char** argv) {
  catga::Node node{catga::Config::from(argc, argv)};
  node.host<orders::Inventory>()
      .host<orders::Payment>()
      .host<orders::Order>()
      .host<orders::Mailbox>()
      .host(orders::purchase_saga());
  return node.run();  // until SIGTERM, then hands its shards and sagas over
}
