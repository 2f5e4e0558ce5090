// The life of a node among nodes: join, prove that it is reachable, heartbeat, watch, accuse,
// leave. Pure: step().
//
//           JOIN ok            proof, STATE UP            leave(), or NATS lost for lost_grace
//     BOOT ---------> WARM ------------------------> UP ---------------------------> LEAVING --> GONE
//      ^                                             ^ |                                |
//      |                                             | +<--NATS is back: proof, STATE UP+
//      |                                             |
//      +---- FENCED: new incarnation, <---------- session lost, from any state
//            REAP(old), JOIN
//
// Two things are kept apart. The *table* of members is in Redis and changes only by scripts;
// everything this machine wants of it is a request with an answer, and every request is safe to
// repeat. *Suspicion* is this node's own opinion, made from heartbeats over NATS, and becomes a
// vote only after the node has doubted itself first:
//  * Evidence is silence (`q`) beyond what the node's rhythm explains, or the server's word that
//    nobody listens (`d`).
//  * A vote needs a good own record (score 0), a session, a PING to itself over NATS that came back
//    within 500 ms, and at least one target heard within 300 ms: who hears nobody is the one who is
//    cut off. Silence counts only if such a PING was sent, and came back, after the target had
//    fallen silent.
//  * A node is voted against only once it knows, by a view in its heartbeat, that we watch it, or
//    after 5 s.
//  * The script counts votes, holds them 250 ms and applies the brakes. We repeat our vote, and
//    take it back at the first sign of life.
// An incarnation that has ended, by any road, is never used again: the node is reborn under a new
// one.
//
// Time is milliseconds of any steady clock that counts while the machine sleeps, given to each
// step. Chance comes in as `spare` (the next incarnation) and `seed`. Which thread, which
// connection: runtime/cluster/membership_driver.
#pragma once
#include "catga/sharding/suspicion.hpp"
#include "catga/sharding/view.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace catga::membership {

/// Waits, in ms. Tests shrink them.
struct Times {
  std::int64_t heartbeat = 200;  ///< membership.heartbeat
  std::int64_t quiet = 600;      ///< membership.suspect_after
  std::int64_t quiet_most = 2000;
  std::int64_t late = 300;            ///< since the last sign of life: probe
  std::int64_t detect = 100;          ///< how often each watched node is looked at
  std::int64_t session_ttl = 5000;    ///< membership.session_ttl
  std::int64_t session_renew = 1000;  ///< membership.session_renew
  std::int64_t lost_grace = 2000;     ///< nats.lost_grace
  std::int64_t patience = 60000;      ///< start.patience
  std::int64_t retry =
      200;  ///< a request without an answer, a name in use, a proof without an answer
  std::int64_t tick = 50;         ///< how often the driver calls at the latest
  std::int64_t self_proof = 500;  ///< a vote needs a PING to oneself not older than this
  std::int64_t doubt = 1000;      ///< how long one bad observation of oneself counts in the score
  std::int64_t stranger =
      5000;  ///< a node that never said it knows us as its watcher is voted against after this
  /// Handlers run so long after a RENEW was sent.
  std::int64_t valid() const { return session_ttl - session_renew; }
};

// ---- what nodes say to each other ----

/// One message between drivers. Which fields mean something depends on the type; the rest stay as
/// they are here.
struct Frame {
  enum class Type : std::uint8_t {
    heartbeat,
    ack,
    ping,
    pong,
    suspect,
    refute,
    view
  } type = Type::heartbeat;
  Incarnation from;
  ViewVersion view;  ///< the sender's; of type view: the version after the change
  std::uint64_t number =
      0;  ///< heartbeat, refute: counts up. ack, pong: of what is answered. suspect: last one heard
  int score = 0;           ///< heartbeat: how much the sender doubts itself
  bool redis = true;       ///< heartbeat: the sender reaches Redis
  bool ping_back = false;  ///< ping: the receiver is asked for a PING of its own
  Incarnation about;       ///< suspect: who. view: whose row changed
  ViewVersion before;      ///< view: version before the change; 0: unknown, read the table
  std::string row;         ///< view: the new row of `about`; empty: it has ended
  friend bool operator==(const Frame&, const Frame&) = default;
};

// ---- what happens ----

/// What Redis said, or that it said nothing (`answered` false; `trouble` says why).
template <class Value>
struct Answer {
  bool answered = false;
  Value value{};
  std::string trouble;
};

struct Begin {};  ///< start to join as Membership::self
struct Tick {};
struct Heard {
  Frame frame;
};
struct SignOfLife {
  Incarnation from;
  ViewVersion seen;
};  ///< any other message of a node
struct NoResponders {
  Incarnation node;
};  ///< what was sent to it found nobody
struct NatsBack {};
struct NatsLost {
  std::string why;
};
struct Leave {};
struct Gone {};

struct JoinReply {
  enum class Outcome { ok, name, spent, refused } outcome = Outcome::ok;
  MembershipView view;     ///< ok
  std::string cluster_id;  ///< ok
  Incarnation holder;      ///< name
  std::string why;         ///< refused: a sentence for people
};
struct JoinAnswer {
  Incarnation self;
  Answer<JoinReply> answer;
};
struct RenewReply {
  bool alive = false;
  ViewVersion version;
  unsigned votes = 0;
};
struct RenewAnswer {
  Incarnation self;
  Answer<RenewReply> answer;
};
enum class NextState { up, leaving, gone };
struct StateReply {
  enum class Outcome { ok, no_session, name, bad } outcome = Outcome::ok;
  Incarnation holder;  ///< name
};
struct StateAnswer {
  Incarnation self;
  NextState wanted;
  Answer<StateReply> answer;
};
enum class Evidence { quiet, no_responders };
struct EvictReply {
  enum class Outcome { evicted, voted, wait, brake, gone, no_session } outcome = Outcome::voted;
  std::int64_t wait = 0;  ///< wait: ms
};
struct EvictAnswer {
  Incarnation self, target;
  Answer<EvictReply> answer;
};
enum class ReapReply { reaped, alive, gone };
struct ReapAnswer {
  Incarnation target;
  Answer<ReapReply> answer;
};
struct ViewAnswer {
  Answer<MembershipView> answer;
};
struct SessionsAnswer {
  std::vector<Incarnation> nodes;
  Answer<std::vector<bool>> answer;
};

using Event = std::variant<Begin, Tick, Heard, SignOfLife, NoResponders, NatsBack, NatsLost, Leave,
                           Gone, JoinAnswer, RenewAnswer, StateAnswer, EvictAnswer, ReapAnswer,
                           ViewAnswer, SessionsAnswer>;

// ---- what is to be done ----

struct AskJoin {
  Incarnation self;
  std::string cluster_id;
};  ///< cluster_id: the one known, or empty
struct AskRenew {
  Incarnation self;
};
struct AskState {
  Incarnation self;
  NextState wanted;
};
struct AskEvict {
  Incarnation self, target;
  Evidence evidence;
};
struct AskWithdraw {
  Incarnation self, target;
};
struct AskReap {
  Incarnation target;
};
struct AskView {};
struct AskSessions {
  std::vector<Incarnation> nodes;
};
struct Send {
  Incarnation to;
  Frame frame;
};  ///< with a reply subject, so that "nobody listens" comes back
struct Publish {
  Frame frame;
};  ///< to all
/// `rolled_back`: Redis shows an older table than it did before; it has lost writes.
struct ViewAdopted {
  std::shared_ptr<const MembershipView> view;
  Incarnation self;
  bool rolled_back = false;
};
/// Handlers may run before `deadline`. Comes with every renewal, not only at changes.
struct Session {
  bool in_force = false;
  Incarnation self;
  std::int64_t deadline = 0;
};
/// From here on the node is `next`; what follows is asked and sent in its name.
struct Reborn {
  Incarnation old_one, next;
};
struct Links {
  bool nats = false, redis = false;
};
/// This node cannot join, and trying on is of no use.
struct Refused {
  std::string why;
  int exit_code = 0;
};
struct Left {};  ///< not a member any more, on its own wish

using Action =
    std::variant<AskJoin, AskRenew, AskState, AskEvict, AskWithdraw, AskReap, AskView, AskSessions,
                 Send, Publish, ViewAdopted, Session, Reborn, Links, Refused, Left>;

// ---- the state ----

/// A request to Redis that is sent again until it is answered, one at a time.
struct Ask {
  bool open = false;
  std::int64_t due = 0;   ///< not before this
  std::int64_t sent = 0;  ///< when the open or the last one was sent
};

/// One node as this watcher sees it.
struct Watched {
  std::int64_t since = 0;  ///< when the watch began
  ViewVersion since_view;  ///< the first of the views without a gap in which we watch it
  std::int64_t life = 0;   ///< last sign of life; the beginning of the watch, if none
  bool knows = false;      ///< it said that it knows a view in which we watch it
  Rhythm rhythm;
  std::uint64_t number = 0;  ///< newest heartbeat
  std::int64_t probed = 0;   ///< when the open probe was sent; 0: none is open
  bool nobody = false;       ///< no responders, since the last sign of life
  bool voted = false;
  bool vote_open = false;  ///< a vote is on its way
  std::int64_t vote_due = 0;
  int no_session = 0;  ///< how often in a row its session was missing
};

/// What one other member has shown of the way to it and back.
struct ProofOf {
  bool answered = false;  ///< PONG: it hears us and we hear it
  bool asked = false;     ///< its own PING came
  bool nobody = false;    ///< no responders
};

/// When this node last had a reason to doubt itself.
struct Doubts {
  static constexpr std::int64_t never = -1'000'000'000;
  std::int64_t timers = never, nats = never, redis = never, accused = never;
};

struct Membership {
  // Given before Begin.
  Times times;
  Incarnation self;         ///< the incarnation in force, or about to join
  Incarnation spare;        ///< the next one; the driver refills it when it is empty
  std::uint64_t seed = 0;   ///< chooses whom to prove the connection with
  std::uint32_t rings = 5;  ///< membership.watchers
  std::string name;         ///< node.id, for sentences

  // Kept by step(). Reading is fine.
  bool begun = false, joined = false, ever_joined = false, over = false;
  NextState wish = NextState::up;
  MemberState row = MemberState::warm;  ///< own state as far as known
  std::shared_ptr<const MembershipView> view;
  std::string cluster_id;

  bool nats = false, redis = false;
  std::int64_t nats_lost = 0;
  bool away = false;  ///< without NATS for too long: LEAVING until the connection is proven again
  std::string trouble;
  std::int64_t begun_at = 0;

  Ask join, renew, state, read, sessions;
  Incarnation in_the_way;  ///< who holds our name: an older life of ours, or another node
  std::optional<std::int64_t> name_taken_at;  ///< when JOIN first said so
  std::int64_t deadline = 0;
  bool in_force = false;

  bool read_wanted = false, announce = false;
  ViewVersion version_at_join, version_at_read, version_at_renew;  ///< what we had when we asked
  ViewVersion hearsay;          ///< newest version named by others
  ViewVersion hearsay_at_read;  ///< the same, when we asked
  ViewVersion disbelieved;      ///< hearsay up to here was checked against Redis, and is not there

  bool proven = false;
  std::int64_t proof_due = 0;
  std::map<Incarnation, ProofOf> proof;

  std::uint64_t number = 0;  ///< of the last heartbeat
  std::int64_t heartbeat_due = 0, detect_due = 0, last_tick = 0;
  std::vector<Incarnation> watchers;
  std::map<Incarnation, Watched> watched;
  std::int64_t self_heard =
      Doubts::never;  ///< when the newest PING to myself that came back was sent
  std::map<std::uint64_t, std::int64_t> self_pings;  ///< number -> when sent; a few
  Doubts doubts;
};

/// How much the node doubts itself: 0 (not) to 4.
int score(const Membership& node, std::int64_t now);
/// Whether it may accuse anybody now.
bool may_vote(const Membership& node, std::int64_t now);
/// When to call with a Tick at the latest.
std::int64_t next_wake(const Membership& node);

/// One event at `now`; what is to be done, in this order.
std::vector<Action> step(Membership& node, const Event& event, std::int64_t now);

}  // namespace catga::membership
