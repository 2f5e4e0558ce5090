// Ways into a node that only tests use. Not installed.
#pragma once
#include "catga/persistence/stores.hpp"

#include <functional>
#include <memory>

namespace catga {

class Node;

struct NodeSeams {
  using Wrap = std::function<std::unique_ptr<Stores>(std::unique_ptr<Stores>)>;
  /// Before start(): the node's actors will use what `wrap` makes of its stores.
  static void wrap_stores(Node& node, Wrap wrap);
  /// Before start(): what counts as hot.
};

}  // namespace catga
