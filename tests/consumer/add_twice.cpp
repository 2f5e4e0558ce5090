// The program's other file: what Catga's headers define is defined in two objects, and still links.
#include "counter.hpp"

#include <chrono>
#include <string>

using namespace std::chrono_literals;

std::int64_t add_twice(catga::Node& node, std::string_view key, std::int64_t value) {
  auto counter = node.ref<Counter>(std::string(key));
  if (!counter.ask(Add{value}, 2s).ok()) return -1;
  const auto count = counter.ask(Add{value}, 2s);
  return count.ok() ? count->value : -1;
}
