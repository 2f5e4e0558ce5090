// One node at a time, quick to notice that the one before is gone: for tests that kill it at every commit.
#pragma once
#include "scene.hpp"

#include <string>

namespace catga::testing {

class LoneNode {
 public:
  explicit LoneNode(Scene& scene) : scene_(scene) { launch(); }
  NodeProcess& process() { return scene_.node(name_); }
  void launch() {
    name_ = "n" + std::to_string(++lives_);
    scene_.launch(name_, {"--membership-session-ttl", "1200ms", "--membership-session-renew",
                          "200ms", "--redis-command-timeout", "1000ms"});
  }

 private:
  Scene& scene_;
  std::string name_;
  int lives_ = 0;
};

}  // namespace catga::testing
