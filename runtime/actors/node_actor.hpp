// One node's actors: adopts views and tells the shards, lets shards move, watches the session. Supervises the shards.
#pragma once
#include "catga/runtime/actors/messages.hpp"
#include "catga/runtime/actors/surroundings.hpp"
#include "catga/runtime/telemetry/rebalance_part.hpp"
#include "catga/sharding/rebalance.hpp"

#include <caf/event_based_actor.hpp>

#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace catga::actors {

class NodeActor final : public caf::event_based_actor {
 public:
  NodeActor(caf::actor_config& config, Host& host);
  caf::behavior make_behavior() override;
  void on_exit() override;
  const char* name() const override { return "node"; }

 private:
  void view_came(const ViewNews& news);
  void view_adopted(const ViewNews& news);
  void say_what_changed(const Standing* was, const MembershipView& after, Incarnation self);
  void tell_departures();
  void count_change(const ViewChange& change, bool seen_before);
  void count_rebalance(bool look);
  void count_moves(std::int64_t now);
  void session_changed(const SessionNews& news);
  void tell_suspended(std::string_view why);
  void situation_changed();
  void hold_claims();
  void live_on_as(Incarnation self);
  void tick();
  std::int64_t next_tick() const;
  void arm();
  void grant_moves();
  void new_part(const ViewChange& change, const MembershipView& before,
                const MembershipView& after);
  void tell_takeovers(const std::string& of);
  void tell_moves();
  void tell_end(std::string_view outcome);
  void tell_if_over();
  void tell_if_stuck();
  void tell_audit();
  void tell_shards(ShardEvent event);
  void shard_down(const caf::down_msg& down);

  Host& host_;
  std::vector<caf::actor> shards_;
  Situation situation_;
  std::shared_ptr<const Situation> current_;
  Rebalance rebalance_;
  /// Each view costs a ring and a message to every shard; while a hundred nodes start, each of them
  /// hears two hundred views. So one that only adds members waits a little for the next.
  std::optional<ViewNews> waiting_view_;
  std::int64_t next_view_at_ = 0;
  bool session_ok_ = false;
  bool had_session_ = false;  ///< in this process; from then on Redis may be away and come back
  std::int64_t only_former_until_ = 0;
  bool nats_ = true, redis_ = true;
  std::int64_t nats_lost_at_ = 0;
  bool releasing_ = false;       ///< shards are given up through Redis until none is left
  bool wants_to_leave_ = false;  ///< was told to; the table may not say so yet
  bool told_to_leave_ = false;   ///< for good
  bool enough_members_ = false;  ///< cluster.min_members were up together once
  std::int64_t started_at_;
  std::int64_t armed_at_ = 0;  ///< when the tick comes that was set last
  std::uint64_t next_move_ = 1;

  /// Who is out of the view and not told yet: why it went is known a moment later, by its own last word.
  struct Gone {
    Member member;
    std::int64_t shards = 0;
    bool ours_to_publish = false;
  };
  std::map<std::string, Gone> gone_;        ///< by incarnation
  std::map<Incarnation, Parting> endings_;  ///< of those that the next view does not have

  RebalancePart part_;       ///< being told
  bool moves_told_ = false;  ///< of it

  // the same for metrics
  bool counting_ = false;  ///< this node is the view's reporter, and its rebalance is not over
  NodeMetrics::Reason counted_reason_ = NodeMetrics::Reason::joined;
  std::int64_t counted_at_ = 0, looked_at_ = 0;
  std::int64_t moves_seen_ = 0, moves_seen_at_ = 0;
};

}  // namespace catga::actors
