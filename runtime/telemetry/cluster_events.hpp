// The agreed names of what happens in a cluster: one table for the log, the event stream and whoever lists them.
//
// An EventName can only be made of a name in the table, and that is decided by the compiler; a test
// looks for rows that nobody uses. What an event means is never said anywhere else.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace catga {

enum class Severity : std::uint8_t { trace, debug, info, warn, error };

/// One row: `level` is the usual one; help says when it is another.
struct EventRow {
  std::string_view name;
  Severity level;
  std::string_view fields;  ///< its own, besides those that every event has; comma separated
  std::string_view help;
};

/// Fields of every event, wherever it is shown.
inline constexpr std::string_view common_event_fields =
    "timestamp,severity,message,logger,event.name,catga.cluster.name,catga.node.id,"
    "catga.node.incarnation,catga.event.id,catga.view.version";

// clang-format off
inline constexpr std::array event_table{
    EventRow{"catga.node.joined", Severity::info, "catga.peer.id,catga.peer.incarnation,nodes,version,weight", "a view with a new UP node is adopted; the stream has it once, from the reporter"},
    EventRow{"catga.node.suspected", Severity::warn, "catga.peer.id,catga.peer.incarnation,cause,votes,needed,silence_ms", "heartbeats are missing (heartbeat), or NATS says that nobody listens there (no_responders): a vote to evict; votes: how many stand against it, as far as this node has heard"},
    EventRow{"catga.node.cleared", Severity::info, "catga.peer.id,catga.peer.incarnation,silence_ms", "a suspicion is refuted"},
    EventRow{"catga.node.left", Severity::info, "catga.peer.id,catga.peer.incarnation,cause,shards,uptime_s", "a view without the node is adopted, and why is known: planned, incomplete (shards released at the deadline), evicted, expired; WARN unless cause is planned; the stream has it once, from the reporter"},
    EventRow{"catga.node.draining", Severity::info, "catga.peer.id,catga.peer.incarnation,cause,shards,entities,deadline_s", "a node enters LEAVING; with a cause: said by that node itself"},
    EventRow{"catga.node.drained", Severity::info, "outcome,shards_left,duration_ms", "the drain ends; ERROR if shards are left"},
    EventRow{"catga.rebalance.planned", Severity::info, "catga.rebalance.id,reason,moves,takeovers,by_node", "shards that this node has, or that nobody has any more, belong elsewhere now; each node tells its own part"},
    EventRow{"catga.rebalance.completed", Severity::info, "catga.rebalance.id,reason,outcome,moved,taken,failed,duration_ms,unavailable_ms_max", "this node's part is done (ok, partial), or a newer plan replaces it (superseded)"},
    EventRow{"catga.rebalance.stuck", Severity::warn, "catga.rebalance.id,shards,catga.node.from,catga.node.to,step,waited_ms", "no move of this node has ended for long while some are pending; repeated every minute"},
    EventRow{"catga.shard.handoff.started", Severity::debug, "catga.rebalance.id,catga.shard.id,catga.node.from,catga.node.to,mode", "the owner offers a shard (planned), or a new owner begins to take it (takeover, readopt)"},
    EventRow{"catga.shard.handoff.completed", Severity::debug, "catga.rebalance.id,catga.shard.id,catga.node.from,catga.node.to,mode,catga.shard.epoch,entities,queued,duration_ms,drain_ms,transfer_ms,unavailable_ms,acquire_ms", "the new owner serves the shard; the stream has it from the old one (planned) or the new one (takeover, readopt); the log of a new one has planned moves too, with acquire_ms"},
    EventRow{"catga.shard.handoff.failed", Severity::debug, "catga.rebalance.id,catga.shard.id,catga.node.from,catga.node.to,mode,step,error,retry_in_ms", "a move is given up; the shard stays where it is and is offered again, unless it was lost meanwhile (retry_in_ms 0); catga.rebalance.completed counts them and is WARN then"},
    EventRow{"catga.shard.ownership.lost", Severity::warn, "catga.shard.id,catga.shard.epoch,shards,cause,held", "this node may no longer write a shard it served (fenced, rollback), or for now none of its shards (session_expired, redis_down: once for all, with their count)"},
    EventRow{"catga.saga.started", Severity::debug, "catga.saga.type,catga.saga.id,catga.saga.step,cause,error", "a saga begins"},
    EventRow{"catga.saga.completed", Severity::debug, "catga.saga.type,catga.saga.id,outcome,duration_ms", "a saga reached its end"},
    EventRow{"catga.saga.compensated", Severity::info, "catga.saga.type,catga.saga.id,outcome,duration_ms", "a saga undid what it had done"},
    EventRow{"catga.saga.aborted", Severity::info, "catga.saga.type,catga.saga.id,outcome,duration_ms", "an operator ended a saga as it was"},
    EventRow{"catga.saga.stuck", Severity::error, "catga.saga.type,catga.saga.id,catga.saga.step,cause,error,attempts", "a saga parks and waits for an operator; attempts: of the step that parked it, by this owner"},
    EventRow{"catga.saga.resumed", Severity::info, "catga.saga.type,catga.saga.id,catga.saga.step,cause,verb", "an operator's verb un-parks a saga"},
    EventRow{"catga.redis.lost", Severity::error, "server.address,error", "Redis does not answer, or its connection broke"},
    EventRow{"catga.redis.restored", Severity::info, "outage_ms,pending", "Redis answers again"},
    EventRow{"catga.redis.rolled_back", Severity::error, "run_id_old,run_id_new,view_old,view_new,shards_audited,shards_lost", "the primary changed and acknowledged data may be gone; told when every shard of this node was taken anew, or after 5 s: shards_lost are those that did not come back"},
    EventRow{"catga.nats.lost", Severity::error, "server.address,error", "this node is disconnected from NATS"},
    EventRow{"catga.nats.restored", Severity::info, "outage_ms", "NATS is connected again"},
    EventRow{"catga.hot.shard", Severity::warn, "catga.shard.id,share,rate", "one shard takes more than hot.share of the node's messages, more than hot.min_rate a second, for hot.window; again after a minute"},
    EventRow{"catga.hot.entity", Severity::warn, "catga.entity.kind,catga.entity.key,catga.shard.id,share,rate,mailbox,wait_ms", "the same for one entity; its key as telemetry.entity_keys says"},
    EventRow{"catga.overload.started", Severity::warn, "limit,value,refused", "the first message is refused because this node has too much to do"},
    EventRow{"catga.overload.ended", Severity::info, "limit,duration_ms,refused", "nothing was refused for 10 s"},
    EventRow{"catga.config.reloaded", Severity::info, "changed,needs_restart", "SIGHUP: the settings were read again; what changed, and what will at the next start"},
    EventRow{"catga.admin.action", Severity::info, "verb,target,outcome,client.address", "an order of an operator, by the node that carries it out: ok or refused; of an entity the kind alone"},
    EventRow{"catga.entity.activation_failed", Severity::error, "catga.entity.kind,catga.entity.key,catga.shard.id,error", "the state of an entity cannot be loaded or decoded; its key as telemetry.entity_keys says"},
};
// clang-format on

/// Where the event stands in the table; its size if there is no such event. (A number, because the sanitizers of g++ 12
/// do not compare addresses in constant expressions.)
constexpr std::size_t place_of_event(std::string_view name) {
  std::size_t place = 0;
  while (place != event_table.size() && event_table[place].name != name) ++place;
  return place;
}

/// The name of an event of the table, or none (""). Any other text does not compile.
class EventName {
 public:
  consteval EventName(const char* name)
      : place_(place_of_event(name)) {  // NOLINT: reads as the name
    if (place_ == event_table.size() && *name != '\0') throw "this event is not in event_table";
  }
  constexpr explicit operator bool() const { return place_ != event_table.size(); }
  constexpr std::string_view text() const { return *this ? event_table[place_].name : ""; }
  /// Not for the stream: another node tells it there for all.
  constexpr EventName in_log_only() const {
    EventName copy = *this;
    copy.streamed_ = false;
    return copy;
  }
  constexpr bool streamed() const { return *this && streamed_; }

 private:
  std::size_t place_;
  bool streamed_ = true;
};

}  // namespace catga
