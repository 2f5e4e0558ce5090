// The map of a node: who supervises whom, and every message between its actors.
//
//      node_actor                one per node: adopts views, lets shards move, ticks
//         | monitors, restarts
//      shard_actor  x S          owns the shard's state machine, its queue, its relay and its timers
//         | owns
//      entity_actor x active     one entity in memory: an Activation and the user's object
//
//   NATS thread --Deliver, Heard--> shard_actor --envelope--> entity_actor --commit, load--> Redis threads
//   Redis thread --answers--> shard_actor, entity_actor
//
// What an entity_actor is told stands in entity_actor.hpp. Nothing here leaves the process, so messages are plain
// structs without serialization. Big ones travel behind a shared_ptr and are moved from by their only receiver.
#pragma once
#include "catga/persistence/letters.hpp"
#include "catga/persistence/saga_store.hpp"
#include "catga/persistence/stores.hpp"
#include "catga/runtime/envelope.hpp"
#include "catga/runtime/messaging/routes.hpp"
#include "catga/sharding/ownership.hpp"

#include <caf/allowed_unsafe_message_type.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace catga::actors {

struct ShardGate;

/// What every actor of a node must know of the cluster: sent by the node_actor after each change.
struct Situation {
  std::shared_ptr<const Standing> standing;
  Incarnation self;
  bool up = false;  ///< this node is UP and NATS is connected
  bool leaving = false;
  bool claims_allowed = true;
  std::uint64_t rebalance = 0;        ///< the version of the view that caused the one under way
  bool only_former = false;           ///< T_first: only shards of our own earlier lives are claimed
  std::vector<Incarnation> former;    ///< earlier lives of this process
  std::vector<Incarnation> impaired;  ///< members that do not reach Redis: they get no shard
};

// ---- to a shard_actor ----
struct Deliver {
  std::shared_ptr<std::vector<Envelope>> envelopes;
  ViewVersion seen;  ///< the view their sender knows
};
struct DeliverOne {
  Envelope envelope;
};
struct Adopt {
  std::shared_ptr<const Situation> situation;
};
struct Happened {
  std::shared_ptr<ShardEvent> event;
};
struct HandoverArrived {
  std::shared_ptr<std::vector<Envelope>> envelopes;
  Incarnation from;
  Epoch epoch;
  std::uint32_t chunk = 0;
  bool last = false;
  bool quiet = false;
};
struct HandoverHeard {
  Epoch epoch;
  std::uint32_t chunk = 0;
};
struct OutboxRead {
  std::uint64_t reading = 0;
  OwnerToken token;
  std::shared_ptr<Result<OutboxPage>> page;
};
struct LookAtPrimary {};  ///< Host::primary_changes has grown
struct ProofRead {
  std::shared_ptr<Result<OwnerRecord>> record;
};
struct TimersRead {
  std::uint64_t reading = 0;
  std::int64_t until_ms = 0;
  std::shared_ptr<Result<TimerPage>> page;
};
struct SourcesRead {
  std::uint64_t reading = 0;
  std::shared_ptr<Result<SagaOverview>> overview;
};
struct TimeGiven {  ///< to an ask that came without the time of its operation
  std::shared_ptr<Envelope> envelope;
  OwnerToken token;
  std::shared_ptr<Result<Seen>> seen;
};
struct Trimmed {
  std::string through;
  OwnerToken token;
  bool answered = false;
  bool fenced = false;
};
struct TellAnswered {
  std::string stream_id;
  std::uint64_t generation = 0;
  std::shared_ptr<Result<std::string>> answer;
};
struct TellParked {
  std::string stream_id;
  std::uint64_t generation = 0;
  OwnerToken token;
  std::shared_ptr<Result<LetterAnswer>> answer;
};
struct EventStored {
  std::string stream_id;
  std::uint64_t generation = 0;
  std::shared_ptr<Status> stored;  ///< ok: JetStream has it
};
struct TimersWritten {
  std::shared_ptr<ShardGate> gate;  ///< as in OutboxGrew
  std::shared_ptr<std::vector<TimerWrite>> timers;
};
struct TimerFailed {
  std::shared_ptr<ShardGate> gate;  ///< as in OutboxGrew
  std::string member;
  bool ours = true;
  std::string why;
};
struct TimerParked {
  std::string member;
  std::int64_t due_ms = 0;
  std::uint64_t generation = 0;
  OwnerToken token;
  std::shared_ptr<Result<LetterAnswer>> answer;
};
struct TimersUnsure {
  std::shared_ptr<ShardGate> gate;  ///< as in OutboxGrew
  std::shared_ptr<std::vector<std::string>> members;
};
struct OutboxGrew {
  std::shared_ptr<ShardGate> gate;  ///< of the life of the shard it happened in
  bool unknown = false;             ///< an earlier copy wrote the entries: read the stream
  std::uint64_t hold = 0;           ///< ends when that is read
};                                  ///< unknown: an earlier copy wrote, read the stream
struct MayLeave {
  EntityId entity;
  std::uint64_t serial = 0;
  std::uint64_t seen = 0;
};  ///< idle after so many messages
struct Emptied {
  EntityId entity;
  std::uint64_t serial = 0;
  std::shared_ptr<std::vector<Envelope>> rest;
};  ///< after Drain or Drop
struct EntityBroke {
  EntityId entity;
  std::uint64_t serial = 0;
  std::string why;
};  ///< its code threw (ours: handlers' exceptions are caught)
struct EntityAlarm {
  EntityId entity;
  std::uint64_t serial = 0;
  std::int64_t at_ms = 0;
};  ///< for that entity, if it is still in memory
struct ShardTick {
  std::int64_t at_ms = 0;  ///< the alarm in force has this time; others are stale
};

// ---- to the node_actor ----
struct ViewNews {
  std::shared_ptr<const MembershipView> view;
  Incarnation self;
};
/// A member that the next view does not have did not leave by itself.
struct EndedNews {
  Incarnation node;
  bool expired = false;  ///< its session; else it was evicted
};
struct SessionNews {
  bool in_force = false;
  Incarnation self;
};
struct LinkNews {
  bool nats = true;
  bool redis = true;
};
/// Another server answers for Redis, or its table of members went back: Host::primary_changes has grown.
struct PrimaryNews {};
/// Shows that the workers still run what they are given.
struct Canary {
  std::shared_ptr<std::function<void()>> sing;
};
struct ImpairedNews {
  std::vector<Incarnation> nodes;  ///< all that do not reach Redis now
};
struct WantsToMove {
  ShardId shard;
};
struct MoveOver {
  ShardId shard;
  bool moved = false;
  std::int64_t gap_ms = 0;  ///< without anybody, on the old owner's clock
};
/// A shard that another node had is served here; `gap_ms` without anybody.
struct TakenOver {
  ShardId shard;
  std::int64_t gap_ms = 0;
};
struct NodeTick {
  std::int64_t at = 0;  ///< when it was to come; one that is not the alarm set last is stale
};
struct LeaveSoon {};  ///< the node was told to leave; the table may not say so yet
struct LeaveNow {};

}  // namespace catga::actors

#define CATGA_LOCAL_MESSAGE(Type) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(catga::actors::Type)
CATGA_LOCAL_MESSAGE(Deliver)
CATGA_LOCAL_MESSAGE(DeliverOne)
CATGA_LOCAL_MESSAGE(Adopt)
CATGA_LOCAL_MESSAGE(Happened)
CATGA_LOCAL_MESSAGE(HandoverArrived)
CATGA_LOCAL_MESSAGE(HandoverHeard)
CATGA_LOCAL_MESSAGE(OutboxRead)
CATGA_LOCAL_MESSAGE(TimersRead)
CATGA_LOCAL_MESSAGE(SourcesRead)
CATGA_LOCAL_MESSAGE(TimeGiven)
CATGA_LOCAL_MESSAGE(LookAtPrimary)
CATGA_LOCAL_MESSAGE(ProofRead)
CATGA_LOCAL_MESSAGE(Trimmed)
CATGA_LOCAL_MESSAGE(TellAnswered)
CATGA_LOCAL_MESSAGE(TellParked)
CATGA_LOCAL_MESSAGE(EventStored)
CATGA_LOCAL_MESSAGE(TimersWritten)
CATGA_LOCAL_MESSAGE(TimerFailed)
CATGA_LOCAL_MESSAGE(TimerParked)
CATGA_LOCAL_MESSAGE(TimersUnsure)
CATGA_LOCAL_MESSAGE(OutboxGrew)
CATGA_LOCAL_MESSAGE(MayLeave)
CATGA_LOCAL_MESSAGE(Emptied)
CATGA_LOCAL_MESSAGE(EntityBroke)
CATGA_LOCAL_MESSAGE(EntityAlarm)
CATGA_LOCAL_MESSAGE(ShardTick)
CATGA_LOCAL_MESSAGE(ViewNews)
CATGA_LOCAL_MESSAGE(EndedNews)
CATGA_LOCAL_MESSAGE(SessionNews)
CATGA_LOCAL_MESSAGE(LinkNews)
CATGA_LOCAL_MESSAGE(PrimaryNews)
CATGA_LOCAL_MESSAGE(Canary)
CATGA_LOCAL_MESSAGE(ImpairedNews)
CATGA_LOCAL_MESSAGE(WantsToMove)
CATGA_LOCAL_MESSAGE(MoveOver)
CATGA_LOCAL_MESSAGE(TakenOver)
CATGA_LOCAL_MESSAGE(NodeTick)
CATGA_LOCAL_MESSAGE(LeaveSoon)
CATGA_LOCAL_MESSAGE(LeaveNow)
#undef CATGA_LOCAL_MESSAGE
