// Runs the pure membership machine: its own thread, its own NATS and Redis connections, so that heartbeats and
// session renewal never queue behind traffic.
#pragma once
#include "catga/persistence/stores.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/standing.hpp"
#include "catga/sharding/view.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace catga {

/// What happened, for the node actor. Called on the driver's thread: post and return.
struct MembershipListener {
  /// A newer view was adopted. `self` is this node's incarnation in force and its state in the view (none if absent).
  std::function<void(std::shared_ptr<const MembershipView> view, Incarnation self)> on_view;
  /// The session was lost (false) or a session is in force again (true), under this incarnation.
  std::function<void(bool in_force, Incarnation self)> on_session;
  /// This node can never join: why, in a sentence (another cluster's keys, another shard count, the name in use
  /// by a living node for start.patience, ...). The process should exit with `exit_code` (78, 69).
  std::function<void(std::string why, int exit_code)> on_refused;
  /// NATS (the heartbeat connection) is or is not there; Redis likewise.
  std::function<void(bool nats, bool redis)> on_links;
};

class MembershipDriver {
 public:
  /// Stores nothing heavy; start() connects. `members` must be of its own connection.
  MembershipDriver(const Config& config, MemberStore& members, NodeStanding& standing,
                   MembershipListener listener);
  ~MembershipDriver();

  /// Begins to join: BOOT → WARM → UP. Returns at once. `incarnation` is this process's first one; the node inbox for
  /// it is already subscribed. `renew_incarnation` is called (on the driver's thread) when a session was lost and a
  /// new incarnation is about to join: it must subscribe the inbox of the new one before it returns.
  void start(Incarnation incarnation, std::function<void(Incarnation next)> renew_incarnation);
  /// STATE LEAVING, then the view says so. GONE by gone(). Both return at once.
  void leave();
  void gone(std::function<void()> done);
  /// Any message from a node counts as a sign of life. `seen` is the view version it carried. Thread-safe.
  void sign_of_life(Incarnation from, ViewVersion seen);
  /// A publication to this node's inbox found no responders. Thread-safe.
  void no_responders(Incarnation node);
  void stop();

 private:
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga
