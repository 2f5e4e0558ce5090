// Fate: what goes wrong, when, and for how long.
#pragma once
#include "node.hpp"

#include <memory>
#include <vector>

namespace catga::sim {

class Faults {
 public:
  Faults(const Scenery& scenery, std::vector<std::unique_ptr<Node>>& nodes,
         std::vector<std::unique_ptr<Caller>>& callers);
  void start();
  /// Everything heals; what should run runs again.
  void stop();

 private:
  void next();
  void next_later();
  void split_redis();
  void happen(Fault fault);
  Node* some_node(bool up_only);
  std::size_t running() const;
  void say(const std::string& what) { scenery_.world.say("fate", what); }
  void later(Moment wait, Happening what);

  const Scenery scenery_;
  std::vector<std::unique_ptr<Node>>& nodes_;
  std::vector<std::unique_ptr<Caller>>& callers_;
  bool running_ = false;
};

}  // namespace catga::sim
