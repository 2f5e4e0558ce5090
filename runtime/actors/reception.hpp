// What arrives at a node's inbox, on its way to the shard actors.
#pragma once
#include "catga/runtime/actors/surroundings.hpp"
#include "catga/runtime/envelope.hpp"
#include "catga/runtime/messaging/wire.hpp"
#include "catga/sharding/ownership.hpp"

#include <vector>

namespace catga::actors {

/// Thread-safe. Posts and returns.
class Reception {
 public:
  explicit Reception(Host& host) : host_(host) {}
  /// Messages for entities; `seen`: the view their sender knew.
  void messages(ViewVersion seen, std::vector<Envelope> envelopes);
  /// Anything else one node says to another about a shard.
  void record(Incarnation sender, const wire::Record& record);

 private:
  void happen(ShardId shard, ShardEvent event);
  void take(Incarnation, const wire::Message&) {}
  void take(Incarnation, const wire::Reply&) {}
  void take(Incarnation, const wire::Owns& owns);
  void take(Incarnation, const wire::Want& want);
  void take(Incarnation sender, const wire::Offer& offer);
  void take(Incarnation sender, const wire::Ready& ready);
  void take(Incarnation sender, const wire::Refuse& refuse);
  void take(Incarnation sender, const wire::Abort& abort);
  void take(Incarnation sender, const wire::Handover& handover);
  void take(Incarnation, const wire::HandoverAck& ack);

  Host& host_;
};

}  // namespace catga::actors
