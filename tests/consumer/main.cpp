// A program of somebody else's: built against the installed library, by CMake and by Meson.
#include "counter.hpp"

#include <catga/version.hpp>
#include <chrono>
#include <iostream>

using namespace std::chrono_literals;

int main() {
  catga::Node node{catga::Config::embedded()};
  node.host<Counter>();
  if (const auto started = node.start(); !started.ok()) {
    std::cerr << started.error().text << '\n';
    return 1;
  }
  const auto added = add_twice(node, "visits", 21);
  const auto read = node.ref<Counter>("visits").ask(Read{}, 2s);
  if (!read.ok() || read->value != added) return 1;
  std::cout << "catga " << CATGA_VERSION_TEXT << " counted " << added << '\n';
}
