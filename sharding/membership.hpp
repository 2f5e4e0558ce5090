// The life of a node among nodes: join, prove that it is reachable, heartbeat, watch, accuse,
// leave. Pure: step().
//
//           JOIN ok      proof, strikes, STATE UP         leave(), or NATS lost for lost_grace
//     BOOT ---------> WARM ------------------------> UP ---------------------------> LEAVING --> GONE
//      ^  \                                         ^ ^ |                                |
//      |   +--------> SHADOW -----------------------+ | +<--NATS is back: proof, STATE UP+
//      |    name in use      the holder leaves, ends  |
//      |                                              |
//      +---- FENCED: new incarnation, <---------- session lost, from any state
//            REAP(old), JOIN
//
// WARM lasts the longer, the more often the name was evicted lately (its strikes): a flapping node
// must not pull shards to and fro. A shadow (node.shadow) stands behind a running node of its name;
// the script that takes the name's holder out of the ring puts the shadow in, so placement stays.
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
//
// *The reading right* turns the same rules round: until when can nobody have taken our place? A
// watcher that heard a heartbeat votes `late` after it at the earliest, and votes count 250 ms after
// they began. So a heartbeat that was *sent* at t, and acknowledged by those who may vote, gives the
// right to answer queries from memory until t + 500 ms. What that rests on:
//  * Who may vote: our watchers under the view of the heartbeat, and those who were it under an
//    older view and have not shown that they left it. Of more than four members one watcher may
//    stay silent, since two votes are needed.
//  * Whoever acknowledges has no vote against us in Redis, nor on the way there, and none that has
//    helped to evict us: a watcher keeps its acknowledgement back until its vote is taken back for
//    certain and the table, read after that, still has us. It begins no new vote before.
//  * While we know of a newer view than ours, no right is added; a view that went back (Redis lost
//    writes) or a changed primary ends the right at once, and for as long as others may be misled.
//  * Alone, there is nobody to vote: the session is right enough.
// A freeze between sending and hearing costs nothing but the right, as only the time of sending
// counts.
//
// *Doubt of oneself* (the score, 0 to 8) silences a voter and stretches its patience: late timers, a
// slow NATS or Redis, a CPU that is throttled, a scheduler that lets a small task (the canary) wait,
// two accusers. A canary that does not run for a second makes the node sick: two points more.
//
// *Two primaries* (R34): heartbeats name the Redis primary a node writes to. Nodes that disagree
// for more than a second belong to a Redis whose halves both believe to be it; the fewer behave as
// if they had no session until they agree again.
//
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
  std::int64_t reading = 500;  ///< late + the script's hold - 50: how long a heartbeat is trusted
  std::int64_t reading_pause =
      2000;  ///< no reading right after a Redis that lost writes, or changed its primary
  std::int64_t vote_unsure =
      2000;  ///< a vote without an answer may still arrive: nothing is acknowledged meanwhile
  std::int64_t canary = 100;         ///< how often a task is posted to the scheduler
  std::int64_t canary_late = 200;    ///< waiting longer, the node doubts itself
  std::int64_t canary_dead = 1000;   ///< waiting longer, it is sick
  std::int64_t disagreement = 1000;  ///< so long two primaries are taken for one that changes
  /// Handlers run so long after a RENEW was sent.
  std::int64_t valid() const { return session_ttl - session_renew; }
};

/// How a member ended, if it did not leave by itself.
enum class Ending : std::uint8_t { unknown, evicted, expired };

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
    view,
    primary
  } type = Type::heartbeat;
  Incarnation from;
  ViewVersion view;  ///< the sender's; of type view: the version after the change
  std::uint64_t number =
      0;  ///< heartbeat, refute: counts up. ack, pong: of what is answered. suspect: last one heard.
          ///< view: how `about` has ended, an Ending
  int score = 0;           ///< heartbeat: how much the sender doubts itself
  bool redis = true;       ///< heartbeat: the sender reaches Redis
  bool ping_back = false;  ///< ping: the receiver is asked for a PING of its own
  Incarnation about;       ///< suspect: who. view: whose row changed
  ViewVersion before;      ///< view: version before the change; 0: unknown, read the table
  std::string row;         ///< view: the new row of `about`; empty: it has ended
  std::uint32_t load = 0;  ///< heartbeat: how busy the sender is, in units of its own
  std::string primary;  ///< heartbeat, view: Redis primaries the sender writes to; empty: unknown.
                        ///< primary: the one in force now
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
struct CanaryRan {};  ///< the task of the last PostCanary
struct Throttled {};  ///< the system held our CPU back in the last second
/// What the next heartbeats say of this node besides what the machine knows.
struct OwnFacts {
  std::string primary;
  std::uint32_t load = 0;
};
/// This process finds that it writes to another Redis primary than before.
struct PrimaryChanged {
  std::string before, after;
};

struct JoinReply {
  enum class Outcome { ok, name, spent, refused } outcome = Outcome::ok;
  MembershipView view;     ///< ok
  std::string cluster_id;  ///< ok
  Incarnation holder;      ///< name
  std::string why;         ///< refused: a sentence for people
  unsigned strikes = 0;    ///< ok: evictions of this name in the last 10 minutes
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
  std::int64_t wait = 0;         ///< wait: ms
  std::string brake{};           ///< brake: which
  unsigned votes = 0, need = 0;  ///< voted
};
struct EvictAnswer {
  Incarnation self, target;
  Answer<EvictReply> answer;
};
struct WithdrawAnswer {
  Incarnation self, target;
  Answer<bool> answer;  ///< whether it was answered is all
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

using Event =
    std::variant<Begin, Tick, Heard, SignOfLife, NoResponders, NatsBack, NatsLost, Leave, Gone,
                 JoinAnswer, RenewAnswer, StateAnswer, EvictAnswer, ReapAnswer, ViewAnswer,
                 SessionsAnswer, WithdrawAnswer, CanaryRan, Throttled, OwnFacts, PrimaryChanged>;

// ---- what is to be done ----

struct AskJoin {
  Incarnation self;
  std::string cluster_id;
  bool shadow = false;  ///< as SHADOW, not WARM
};                      ///< cluster_id: the one known, or empty
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
  ViewVersion before;  ///< what was known until now
  std::map<Incarnation, Ending>
      endings{};  ///< of members that it does not have any more, as far as known
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
/// Before `until`, and while the session is in force, queries may be answered from memory. Comes
/// when it changes; also down, then before anything is sent that others could rely on.
struct ReadingRight {
  std::int64_t until = 0;
};
/// Have a small task run by the scheduler of the entities, and CanaryRan come when it did.
struct PostCanary {};
/// Those among the watched that say they do not reach Redis. All of them, whenever that changes.
struct Impaired {
  std::vector<Incarnation> nodes;
};
/// Some Redis primary changed: flush routes, audit. Once for what others say of a new primary, and
/// once more when this process itself has moved to it.
struct NewPrimary {
  std::string before, after;
};
/// Something people want to read about.
struct Note {
  enum class What {
    suspected,   ///< `about` is voted against; ms: its silence; text: quiet or no_responders
    cleared,     ///< it gave a sign of life; ms: its silence
    evicted,     ///< by our vote
    braked,      ///< text: the brake that holds our vote back
    name_taken,  ///< `about` has our name; we wait
    shadowing,   ///< `about` has our name; we join behind it
    strikes,     ///< this name was evicted lately; text: how often; ms: how long it stays WARM
    sick,        ///< the scheduler does not run our canary
    well,        ///< it does again; ms: how long it did not
    split,       ///< our primary is that of the fewer; text: which one the others have
    agreed,      ///< not any more
  } what = What::suspected;
  Incarnation about;
  std::int64_t ms = 0;
  std::string text;
  unsigned votes = 0;  ///< suspected: watchers that accuse `about` now, as far as heard; with ours
};

using Action = std::variant<AskJoin, AskRenew, AskState, AskEvict, AskWithdraw, AskReap, AskView,
                            AskSessions, Send, Publish, ViewAdopted, Session, Reborn, Links,
                            Refused, Left, ReadingRight, PostCanary, Impaired, NewPrimary, Note>;

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
  int no_session = 0;         ///< how often in a row its session was missing
  bool unseen = false;        ///< the table has not been read since our vote was taken back
  std::uint64_t seen_by = 0;  ///< which read will show it; 0: not asked for yet
  std::map<Incarnation, std::int64_t> accusers;  ///< other watchers that suspect it: when heard
  bool vote_stands = false;   ///< a vote of ours may be in Redis, or on its way there
  Ask withdraw;               ///< taking it back, once `voted` is over
  std::int64_t unsure = 0;    ///< nothing is acknowledged before this
  std::string brake;          ///< what held our vote back, as far as said to people
  bool redis = true;          ///< it reaches Redis, says its newest heartbeat
  std::string primary;        ///< where it writes to, says that one
  std::int64_t beat_at = -1;  ///< when that one was heard; -1: never
  std::uint32_t load = 0;
};

/// A heartbeat sent under the view in force, as long as it can give the reading right.
struct Beat {
  std::int64_t sent = 0;
  std::vector<Incarnation> missing;  ///< who has not acknowledged it
  std::size_t spared = 0;            ///< so many need not
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
  std::int64_t timers = never, nats = never, redis = never, accused = never, throttled = never,
               scheduler = never;
};

struct Membership {
  // Given before Begin.
  Times times;
  Incarnation self;         ///< the incarnation in force, or about to join
  Incarnation spare;        ///< the next one; the driver refills it when it is empty
  std::uint64_t seed = 0;   ///< chooses whom to prove the connection with
  std::uint32_t rings = 5;  ///< membership.watchers
  std::string name;         ///< node.id: who else has it, and for sentences
  bool shadow = false;      ///< node.shadow: may stand behind a running node of this name
  bool canary = false;      ///< somebody carries PostCanary out

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
  bool behind = false;          ///< the next JOIN asks for SHADOW: the name's holder lives
  std::int64_t warm_until = 0;  ///< strikes
  std::int64_t deadline = 0;
  bool in_force = false;

  bool read_wanted = false, announce = false;
  std::uint64_t reads = 0;       ///< of the table, asked for
  std::uint64_t sure_after = 0;  ///< which reading shows the table of a new primary; 0: known
  ViewVersion version_at_join, version_at_read, version_at_renew;  ///< what we had when we asked
  ViewVersion hearsay;          ///< newest version named by others
  ViewVersion hearsay_at_read;  ///< the same, when we asked
  std::map<Incarnation, Ending>
      endings;              ///< heard of, and still in the view; told with the one without them
  ViewVersion disbelieved;  ///< hearsay up to here was checked against Redis, and is not there

  std::int64_t reading_until = 0, no_reading_before = 0;
  std::map<std::uint64_t, Beat> beats;        ///< number -> heartbeat, those sent lately
  std::map<Incarnation, ViewVersion> former;  ///< watchers until this view, not known to have it

  std::int64_t canary_posted = 0, canary_due = 0;  ///< posted: 0 if none is waiting
  bool sick = false;

  std::string primary;  ///< where this node writes to
  std::uint32_t load = 0;
  std::string moved_to;                      ///< the last change of the primary this process saw
  std::vector<std::string> replaced;         ///< primaries that others are said to have left
  std::vector<std::string> primaries_heard;  ///< of these NewPrimary was told; the last few
  std::optional<std::int64_t> outvoted_at;   ///< since when our primary is that of the fewer
  std::int64_t outvoted_last = 0;
  std::vector<Incarnation> companions;  ///< who wrote to our primary when we were outvoted last
  bool split = false;                   ///< and for more than `disagreement`: as without a session
  std::vector<Incarnation> impaired;    ///< as told

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

/// How much the node doubts itself: 0 (not) to 8.
int score(const Membership& node, std::int64_t now);
/// Whether it may accuse anybody now.
bool may_vote(const Membership& node, std::int64_t now);
/// When to call with a Tick at the latest.
std::int64_t next_wake(const Membership& node);

/// One event at `now`; what is to be done, in this order.
std::vector<Action> step(Membership& node, const Event& event, std::int64_t now);

}  // namespace catga::membership
