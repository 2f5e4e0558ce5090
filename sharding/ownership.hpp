// The life of one shard on one node: claim it, own it, give it away, lose it. Pure.
//
//        NONE, FORWARDING --claim allowed: ACQ or BUMP--> CLAIMING --+
//                                                                    | mine; outbox and timers read
//        NONE, FORWARDING --offer accepted: READY-------> INCOMING --+
//                                                HANDOVER complete   |
//                                                                    v
//        SUSPENDED <--------session deadline passed-------------- OWNED <--------------+
//          |   |                                                     |                 |
//          |   +--session back------------------------------> OWNED  | OFFER, READY    | T_drain or
//          |                                                         v                 | B ended:
//          +--new incarnation: ACQ with the old token          DRAINING(to B) ---------+ ABORT
//                      |                                             | all commits answered: XFER
//                      v                                             v
//               IN_DOUBT(readopt) --mine--> OWNED             IN_DOUBT(transfer)
//                                                                    | B owns: HANDOVER
//        NONE <-------------------T_fwd, or B left---------- FORWARDING(to B)
//
//        From every state that holds the shard: fenced, or the audit names another -> NONE.
//
// The ring says who should own a shard; the owner record in Redis says who may write it. So:
//  * Handlers run only in OWNED and DRAINING, states entered after reading or writing a record
//    with our token.
//  * While a compare-and-set on the own record is outstanding (CLAIMING, IN_DOUBT) no handler
//    runs, no commit is sent, messages queue; a missing answer is asked for again with the same
//    nonce, and only a definite answer of the record ends the state. That one rule makes every
//    lost answer and every late request harmless.
//  * A shard is claimed only if its record is free or names an incarnation that has ended: absent
//    from a view at least as new as the one its writer knew (`rv`), because ended incarnations
//    never come back.
//  * A transfer goes straight from owner to owner, after all answers of the shard's commits are
//    known: there is no ownerless moment, and no commit of ours can run behind it.
//
// Not here: where a message goes meanwhile (routing.hpp), who may be moved now (rebalance.hpp),
// queues and entities (runtime/actors/shard_actor). Specification: the shard table of the protocol,
// with its timers.
#pragma once
#include "catga/sharding/ids.hpp"
#include "catga/sharding/token.hpp"
#include "catga/sharding/view.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace catga {

enum class ShardState : std::uint8_t {
  none,
  claiming,
  incoming,
  owned,
  suspended,
  draining,
  in_doubt,
  forwarding
};
std::string_view name_of(ShardState state);

/// Waits of the shard protocol, in ms. Tests shrink them.
struct ShardTimes {
  std::int64_t ready = 500;           ///< OFFER without READY: stay, back off
  std::int64_t drain = 5000;          ///< a slow handler aborts the move
  std::int64_t handover = 1000;       ///< our record but no HANDOVER: take over what is there
  std::int64_t incoming_max = 10000;  ///< an offer that leads to nothing is forgotten
  std::int64_t forward = 30000;
  std::int64_t fallback = 3000;  ///< per rank: the preferred claimer did not come
  std::int64_t audit = 5000;
  std::int64_t want = 2000;  ///< T_settle + 1 s: remind the owner that we are the target
  std::int64_t cas_first = 100, cas_most = 1000;
  std::int64_t backoff_most = 60000;
};

/// What the shard must know of its node and cluster at this moment.
struct Surroundings {
  Incarnation self;
  bool session_ok = false;  ///< before the session deadline: handlers may run
  bool may_own = false;     ///< UP, session_ok, NATS connected: may claim and accept
  bool leaving = false;     ///< LEAVING: gives shards away
  const MembershipView* view = nullptr;
  Incarnation target;          ///< target_V(s)
  std::uint32_t rank = 0;      ///< position of self in preference_V(s)
  bool claims_allowed = true;  ///< first boot waits for cluster.min_members
  /// T_first: Redis was away, or changed its primary, or this node's session was lost. Whoever had a
  /// shard before may be back in a moment, with its memory: only what a former incarnation of this
  /// node had is claimed.
  bool only_former = false;
  const std::vector<Incarnation>* former = nullptr;  ///< lives of this process that have ended
  bool target_impaired = false;  ///< the target does not reach Redis: it gets nothing now
};

// ---- what happens to a shard
// ---------------------------------------------------------------------------------
struct ViewAdopted {};
struct Woken {};  ///< the time given by next_wake() has come
struct RecordRead {
  std::uint64_t number = 0;
  Result<OwnerRecord> record;
};  ///< number: of its AskRecord
struct CasAnswered {
  std::string nonce;
  bool answered = false;
  bool done = false;
  OwnerRecord record;
  bool quiet = false;  ///< with done: outbox and timers are empty
};
struct Hydrated {
  bool answered = false;
  bool fenced = false;
};  ///< outbox and timers were read
struct Offered {
  Incarnation from;
  std::uint64_t move = 0;
};
struct MoveGranted {
  std::uint64_t move = 0;
};  ///< the rebalancer lets this shard go to its target
struct Readied {
  Incarnation from;
  std::uint64_t move = 0;
};
struct Refused {
  Incarnation from;
  std::uint64_t move = 0;
};
struct Aborted {
  Incarnation from;
  std::uint64_t move = 0;
};
struct HandoverComplete {
  Incarnation from;
  Epoch epoch;
  bool quiet = false;  ///< its transfer found outbox and timers empty
};
struct DrainEnded {};  ///< no handler runs, no commit unanswered, the queue is back at the shard
struct WasFenced {
  OwnerToken used;
};                       ///< a write under `used` was refused
struct SessionEnded {};  ///< the deadline passed, or the session is lost
struct SessionResumed {
};  ///< in force again: the same incarnation, or `around.self` is a new one and UP
struct RouteHeard {
  Incarnation owner;
  Epoch epoch;
};  ///< OWN, MOVED, a reply
struct WantReceived {};
struct LookUpWanted {};  ///< a message needs the record as it is after now
struct ReleaseNow {};    ///< T_leave passed, or NATS is lost: give the shard up through Redis
struct PrimaryChanged {
};  ///< another server answers for Redis, or its table went back: it may have lost its last writes
using ShardEvent = std::variant<ViewAdopted, Woken, RecordRead, CasAnswered, Hydrated, Offered,
                                MoveGranted, Readied, Refused, Aborted, HandoverComplete,
                                DrainEnded, WasFenced, SessionEnded, SessionResumed, RouteHeard,
                                WantReceived, LookUpWanted, ReleaseNow, PrimaryChanged>;

// ---- what the runtime does for it
// ----------------------------------------------------------------------------
enum class LossCause : std::uint8_t { fenced, audit, released };
struct AskCas {
  std::optional<OwnerToken> expected;
  Incarnation owner;
  std::string nonce;
};  ///< rv = view in force
struct AskRecord {
  std::uint64_t number;
};
struct AskView {
  ViewVersion at_least;
};  ///< the record's writer knew a newer view: read it
struct Hydrate {
  OwnerToken token;
  bool quiet = false;
};  ///< read outbox and timers (quiet: they are known to be empty), answer Hydrated
struct Serve {
  OwnerToken token;
  bool fresh = true;
};  ///< run queue and messages; fresh: tell all (OWN)
struct Retoken {
  OwnerToken token;
};                ///< the same owner under a new token: commits go on under it
struct Pause {};  ///< start nothing new (SUSPENDED)
struct Drain {};  ///< end what runs, give the rest back, then DrainEnded
struct DropMemory {
  LossCause cause;
};                  ///< answer held work `unknown`, forget entities
struct Reroute {};  ///< everything queued here is routed anew
struct SendOffer {
  Incarnation to;
  std::uint64_t move;
  Epoch epoch;
};
struct SendReady {
  Incarnation to;
  std::uint64_t move;
};
struct SendRefuse {
  Incarnation to;
  std::uint64_t move;
  std::string_view reason;
};
struct SendAbort {
  Incarnation to;
  std::uint64_t move;
};
struct SendHandover {
  Incarnation to;
  Epoch epoch;
  bool quiet = false;  ///< outbox and timers are empty: the new owner need not read them
};
struct SendWant {
  Incarnation to;
};
struct LearnRoute {
  Incarnation owner;
  Epoch epoch;
  bool from_redis;
};  ///< owner none: free
struct MoveEnded {
  bool moved;
  std::int64_t again_in = 0;  ///< ms until it is offered again at the earliest; 0: it is not
};                            ///< the rebalancer's slot is free again
using ShardAction = std::variant<AskCas, AskRecord, AskView, Hydrate, Serve, Retoken, Pause, Drain,
                                 DropMemory, Reroute, SendOffer, SendReady, SendRefuse, SendAbort,
                                 SendHandover, SendWant, LearnRoute, MoveEnded>;
using ShardActions = std::vector<ShardAction>;

enum class CasPurpose : std::uint8_t { claim, transfer, readopt, release };

/// One shard as its node sees it. Change it through step() only.
struct Shard {
  ShardId id;
  ShardTimes times;
  std::uint64_t seed = 1;  ///< for nonces; from the node, so that equal seeds give equal runs
  ShardState state = ShardState::none;
  OwnerToken token;        ///< ours; meaningful from CLAIMING's answer on, until lost
  bool hydrating = false;  ///< record is ours, outbox and timers are being read
  CasPurpose purpose = CasPurpose::claim;
  AskCas request;  ///< the compare-and-set outstanding
  std::int64_t cas_wait = 0, cas_again_at = 0;
  bool reading = false;           ///< AskRecord outstanding
  std::uint64_t read_number = 0;  ///< answers of older reads are ignored
  std::int64_t read_again_at = 0;
  std::int64_t hydrate_again_at = 0;
  Incarnation peer;  ///< INCOMING: A; OWNED with offer, DRAINING, INDOUBT(xfer): B
  std::uint64_t move = 0;
  bool offered = false;      ///< OWNED: an OFFER waits for READY
  std::int64_t since = 0;    ///< of the state, or of the last news in INCOMING
  std::int64_t entered = 0;  ///< INCOMING: when it began
  Incarnation known_owner;   ///< last heard or read; none: free or unknown
  Epoch known_epoch;
  std::int64_t claimable_since =
      0;                      ///< seen without a living owner; 0: it has one, as far as we know
  std::int64_t claim_at = 0;  ///< when we may look whether to claim; 0: not waiting
  std::int64_t next_audit = 0;
  std::int64_t want_at = 0;
  std::int64_t move_backoff = 0, move_not_before = 0;

  bool runs_handlers() const { return state == ShardState::owned || state == ShardState::draining; }
  bool holds() const {
    return state != ShardState::none && state != ShardState::forwarding &&
           state != ShardState::incoming;
  }
  /// OWNED here, but another member should have it, and nothing speaks against trying now.
  bool wants_to_move(const Surroundings& around, std::int64_t now) const;
};

/// When step() wants a Woken at the latest; ms like `now_ms`, or the largest number.
std::int64_t next_wake(const Shard& shard, const Surroundings& around);

ShardActions step(Shard& shard, const ShardEvent& event, const Surroundings& around,
                  std::int64_t now_ms);

}  // namespace catga
