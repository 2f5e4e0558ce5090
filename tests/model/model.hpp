// The small exhaustive model of the shard protocol: one shard with one entity, two nodes, one
// caller with two or three operations, and faults of which each run allows a few.
//
// What is modelled. Redis holds the owner record and the entity: version, log of applied
// operations, operation records, floor. Every request of a node (a commit; a compare-and-set,
// "CAS", of the owner record) first runs, then is answered, and anything may happen in between. A
// connection may be lost: what had not run may then still run at any later time, or never; of what
// had run the answer is lost; the node sends the same bytes again. A failover puts the slot back to
// what it was at some earlier moment ("the replica stops" marks the moment). With `wait_replicas`
// no answer passes while the store is ahead of the replica. A node may be evicted without having
// failed: it goes on until it learns of it, returns under a new incarnation, and takes back what
// nobody took. A node may crash for good. One shard may be moved as planned. The caller repeats at
// will; copies of an operation stay on their way as long as they like.
//
// What is left out, and why it may be.
// * A message lost is a message that stays on its way for ever; so nothing loses messages.
// * Copies waiting at a node, in its buffer or on their way to it, are one set: HANDOVER brings the
//   token only, and the old owner sends its queue on copy by copy. An answer arrives at once or
//   never.
// * `unknown` tells the caller no more than silence; only `refused` is an answer of its own.
// * Loading an entity is one step with the turn that asked for it: between the two nothing else
//   reads what was loaded, and its age shows when the commit arrives.
// * One turn a commit. What gathers behind a commit under way is in runtime/activation_model_test.
// * SUSPENDED (session in doubt, nobody evicted) is OWNED that does nothing. Handlers here run
//   whatever the session's deadline: more than the protocol allows. An evicted node learns of it
//   and asks for its shard again in one step.
// * Epochs are old + 1, as if all happened within one millisecond: the worst case for equal tokens.
// * FORWARDING ends when the other node does, or by the audit: after T_fwd the cached route, whose
//   epoch is higher, would do the same.
// * Nodes see the members as they are. Views of any age are the other model (claims.hpp).
// * Queries and the reading right (I13) need clocks: the simulator plants `no_reading_right`
//   (tests/sim/breaks.cpp). T_hold needs more nodes: split.hpp. One-shot sessions, `rv` and
//   `{c}:gone` are in claims.hpp; the simulator plants the first two again (`revived_session`,
//   `no_rv_check`).
#pragma once
#include "search.hpp"

#include <array>
#include <cstdint>
#include <string>

namespace catga::model {

inline constexpr int most_operations = 3;
inline constexpr int late_requests = 3;

/// What a run leaves out of the protocol, for the negative variants. As it stands: nothing.
struct Rules {
  bool token_check = true;
  bool records_in_store = true;  ///< false: operations are remembered in memory only.
  bool version_check = true;
  bool nonce_in_version = true;
  bool incarnation_in_token = true;  ///< false: a token is its epoch, and epochs only count.
  bool answer_waits_for_commit = true;
  bool wait_replicas = false;
  bool claims_wait = true;  ///< With wait_replicas: false: only commits wait, no CAS does.
  bool rejections_recorded = true;
  bool unknown_is_unknown = true;  ///< CL3; false: a call without an answer was "not applied".
  bool floor = true;
  bool audit = true;
  bool look_up = true;  ///< of the route, by the caller.
};

/// How often each may happen in one history.
struct Faults {
  int lost_connections = 0;
  int evictions = 0;
  int crashes = 0;
  int failovers = 0;
  int moves = 0;
  int forgotten = 0;  ///< Commits that drop the older generation of operation records.
  friend bool operator==(const Faults&, const Faults&) = default;
};

struct Setting {
  int operations = 2;
  Faults faults{};
  Rules rules{};
  bool second_needs_first = false;  ///< Operation 1 is rejected where operation 0 is not applied.
  bool refusals = false;  ///< Nodes may refuse copies, and the caller may give up on an operation.
  /// Copies are not counted: one of each operation may come to any node at any time, as if the
  /// caller had sent them everywhere before it heard an answer. Saves a factor of 16, and hides
  /// routing.
  bool copies_everywhere = false;
  bool durable = false;                   ///< Acknowledged changes must survive failovers.
  Property not_watched = Property::none;  ///< Shows earlier what another property is to show.
};

struct Token {
  int epoch = 0;
  int incarnation = 0;
  friend bool operator==(const Token&, const Token&) = default;
};

struct Version {
  int count = 0;
  int nonce = 0;
  friend bool operator==(const Version&, const Version&) = default;
};

/// The state of the entity: which operations were applied, in order. Digits to the base 4 after a
/// 1.
struct Log {
  int digits = 1;
  int size() const;
  bool has(int operation) const;
  Log with(int operation) const { return {digits * 4 + operation}; }
  Log without_last() const { return {digits / 4}; }
  friend bool operator==(const Log&, const Log&) = default;
};

/// What an operation came to: nothing yet, rejected, or a reply: its position in the log.
enum class Outcome : std::uint8_t { none, rejected, position_0, position_1, position_2 };
using Records = std::array<Outcome, most_operations>;

/// The slot of the shard in Redis.
struct Slot {
  Token token;
  int cas_nonce = 0;
  Version version;
  Log log;
  Records records{};
  int floor = 0;  ///< Operations with a lower number may have been forgotten.
  friend bool operator==(const Slot&, const Slot&) = default;
};

enum class Phase : std::uint8_t {
  none,
  sent,  ///< Has not run yet.
  run,   ///< Has run; the answer is on its way.
  held,  ///< A commit that waits for a CAS: not sent.
};

/// A compare-and-set of the owner record.
struct Cas {
  Phase phase = Phase::none;
  bool transfer = false;
  Token expected;
  int heir = 0;  ///< incarnation
  int nonce = 0;
  bool done = false;  ///< The answer: by this request (or a copy of it), and the token then.
  Token seen;
};

enum class Answer : std::uint8_t { ok, already, conflict, duplicate, fenced };

struct Commit {
  Phase phase = Phase::none;
  Token token;
  Version base;
  Version next;
  Log log;
  int operation = 0;
  Outcome outcome = Outcome::none;
  bool forgets = false;
  Answer answer = Answer::ok;
};

/// The activation: what its owner remembers of the entity.
struct Memory {
  Version version;
  Log log;
  Records records{};
  int floor = 0;
};

enum class Status : std::uint8_t {
  gone,
  none,
  claiming,
  incoming,
  owned,
  draining,
  indoubt,
  forwarding,
};

struct Node {
  Status status = Status::none;
  bool member = true;
  int generation = 0;
  Token token;
  int peer = 0;  ///< The incarnation it gives to, awaits from, or forwards to.
  bool loaded = false;
  Memory memory;
  Cas cas;
  Commit commit;
};

/// A request on a lost connection: it may run at any time, or never.
struct Late {
  enum class Kind : std::uint8_t { none, cas, commit };
  Kind kind = Kind::none;
  Cas cas;
  Commit commit;
};

/// Where the caller stands with an operation.
enum class Call : std::uint8_t {
  fresh,
  refused,      ///< Every attempt was refused.
  one_attempt,  ///< One attempt is under way, all before it were refused.
  many,         ///< Some attempt has ended without an answer.
  given_up,     ///< Reported as unknown.
  not_applied,  ///< Reported as not applied.
  expired,
  rejected,  ///< From here on an outcome was reported.
  replied_0,
  replied_1,
  replied_2,
};

enum class Deed : std::uint8_t {
  send,
  sent_in_vain,
  give_up,
  turn,
  turn_forgets,
  turn_answers,
  turn_rejects,
  turn_expired,
  turn_fenced,
  commit_runs,
  commit_answered,
  cas_runs,
  cas_answered,
  claim,
  bump,
  audit_drops,
  audit_reloads,
  route,
  forward,
  refuse,
  offer,
  ready,
  transfer,
  abort,
  incoming_ends,
  handover,
  rejoin,
  lose_commit,
  lose_cas,
  evict,
  crash,
  crash_loses,
  replica_stops,
  replica_follows,
  failover,
  late_runs,
};

struct Step {
  Deed deed;
  int node = 0;
  int operation = 0;
  bool told = false;      ///< The caller got the answer,
  bool repeated = false;  ///< and had sent another copy before.
};

struct State {
  Slot slot;
  bool replica_stopped = false;
  Slot replica;  ///< What a failover brings back, if the replica has stopped.
  std::array<Node, 2> nodes;
  std::array<Late, late_requests> late;
  std::array<Call, most_operations> calls{};
  std::array<bool, most_operations> cut_off{};  ///< A failover undid its record.
  std::array<std::array<bool, most_operations>, 2>
      waiting{};   ///< Copies at, or on the way to, a node.
  int ready = 0;   ///< READY is on its way to node `ready - 1`.
  Token handover;  ///< HANDOVER is on its way; no epoch: it is not.
  Faults left;
};

/// The model itself; see search.hpp for what the members are for.
class Shard {
 public:
  using State = model::State;
  using Step = model::Step;
  using Packed = std::array<std::uint64_t, 8>;

  explicit Shard(const Setting& setting) : setting_(setting) {}
  State first() const;
  void steps(const State& from, Steps<State, Step>& out) const;
  bool ended(const State& state) const;
  Packed pack(const State& state) const;
  State unpack(const Packed& packed) const;
  std::string tell(const Step& step) const;
  std::string tell(const State& state) const;

 private:
  Setting setting_;
};

}  // namespace catga::model
