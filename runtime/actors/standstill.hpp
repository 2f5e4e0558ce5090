// How long nobody could run messages of a shard, on the clock of one node.
//
// Of a planned move the old owner counts: from when it stops until the new one says that it serves. Of a take-over the
// new owner does: from when it knew that the old one was gone until it serves. What neither came to its end must not be
// counted into the next: a claim that another node won, a move whose last word was lost.
#pragma once
#include <cstdint>

namespace catga::actors {

/// boot_ms() throughout. One thread.
class Standstill {
 public:
  /// The queue stops here, or has come here from the old owner: whatever was before is over.
  void begins(std::int64_t now) {
    since_ = now;
    claiming_ = false;
  }
  /// The shard is claimed: since `known_since` this node knew that it may. Later tries of one claim change nothing.
  void claimed(std::int64_t known_since) {
    if (!claiming_) since_ = known_since;
    claiming_ = true;
  }
  /// It runs again, or it is another node's affair.
  void ends() {
    since_ = 0;
    claiming_ = false;
  }
  /// Since when; 0: it does not last.
  std::int64_t since() const { return since_; }
  std::int64_t lasted(std::int64_t now) const { return since_ == 0 ? 0 : now - since_; }

 private:
  std::int64_t since_ = 0;
  bool claiming_ = false;
};

}  // namespace catga::actors
