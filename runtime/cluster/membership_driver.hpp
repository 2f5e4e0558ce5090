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
#include <vector>

namespace catga {

class Log;

/// What happened, for the node actor. Called on the driver's thread: post and return.
struct MembershipListener {
  /// A newer view was adopted. `self` is this node's incarnation in force and its state in the view (none if absent).
  std::function<void(std::shared_ptr<const MembershipView> view, Incarnation self)> on_view;
  /// The next on_view is without this member, which did not leave by itself: its session expired, or it was evicted.
  /// Not told where this node could not know.
  std::function<void(Incarnation node, bool expired)> on_ended;
  /// The session was lost (false) or a session is in force again (true), under this incarnation.
  std::function<void(bool in_force, Incarnation self)> on_session;
  /// This node can never join: why, in a sentence (another cluster's keys, another shard count, the name in use
  /// by a living node for start.patience, ...). The process should exit with `exit_code` (78, 69).
  std::function<void(std::string why, int exit_code)> on_refused;
  /// NATS (the heartbeat connection) is or is not there; Redis likewise.
  std::function<void(bool nats, bool redis)> on_links;
  /// Redis shows an older member table than it did: it has lost writes. Right after the on_view of that table.
  std::function<void(ViewVersion before, ViewVersion after)> on_rollback;
  /// Some Redis primary changed, say others or this process itself: flush routes, audit. Once for the word of
  /// others about a new primary, and once more when this process has moved to it.
  std::function<void()> on_primary_changed;
  /// The other nodes that are known not to reach Redis: no shard should be offered to them. Whenever that changes.
  std::function<void(std::vector<Incarnation> nodes)> on_impaired;
};

/// What the driver learns from the node it belongs to. Each may be empty. Called on the driver's thread, so
/// without waiting.
struct MembershipSources {
  /// Name of the Redis primary (or primaries) this node writes to, at most 1,024 bytes; "" while unknown.
  std::function<std::string()> primary;
  /// How busy this node is, in units of its own; goes into its heartbeats.
  std::function<std::uint32_t()> load;
  /// Has a task run by the scheduler that runs entities. Every 100 ms; a task that is never run is sickness.
  std::function<void(std::function<void()>)> post;
  /// Told of each renewal of the session: whether Redis confirmed it, and how long that took. On a thread of the store.
  std::function<void(bool ok, std::int64_t ms)> renewed;
  /// This node votes to evict another: for its silence, or because NATS says that nobody listens there. Driver's thread.
  std::function<void(bool silent)> suspected;
  Log* log = nullptr;  ///< outlives the driver
};

class MembershipDriver {
 public:
  /// Stores nothing heavy; start() connects. `members` must be of its own connection.
  MembershipDriver(const Config& config, MemberStore& members, NodeStanding& standing,
                   MembershipListener listener, MembershipSources sources = {});
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
  /// This process found another Redis primary than before at the other end of a connection. Tells everybody.
  /// May be called once per connection: what was said is not said again. Thread-safe.
  void primary_changed(std::string run_id_old, std::string run_id_new);
  void stop();

 private:
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga
