// What Catga asks of a store: members, owner records, state. Bytes in, bytes out; nothing here knows what they mean.
//
// Every call is asynchronous. `then` is called exactly once, from the store's own thread or, by the in-memory
// store, before the call returns: it must be short and must not wait. Besides what a call documents, an
// answer may be one of these errors:
//   unknown      no answer came (connection lost, or silence for redis.command_timeout). The request may have
//                run, may run later, or never. All requests here are safe to repeat as they are.
//   unavailable  refused as a whole, nothing was written: not connected and never sent, loading, read-only,
//                short of replicas, disk full (MISCONF), queue full. Repeat later.
//   overloaded   as unavailable, because the store's memory is full (OOM) or our own queue is.
//   failed       the store answered with an error that no repeat will mend (a key of a wrong type).
#pragma once
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"
#include "catga/sharding/token.hpp"
#include "catga/sharding/view.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace catga {

template <class Value>
using Then = std::function<void(Result<Value>)>;

// ---- owner records -------------------------------------------------------------------------------------------

/// Compare-and-set of one owner record: the script OWN. ACQ (owner = me), XFER (owner = B), BUMP (expected and
/// owner mine) and REL (owner = none) are all this. Safe to repeat with the same nonce.
struct Exchange {
  ShardId shard;
  std::optional<OwnerToken> expected;  ///< none: the record must be free
  Incarnation owner;                   ///< none: release
  std::string nonce;                   ///< names this request; the same at each repeat
  ViewVersion view;                    ///< written as `rv`
  std::string trim_through{};  ///< outbox entries delivered so far: removed with it; "": none
};

/// `done`: this request (this nonce) wrote the record, now or at an earlier copy, and it still stands.
/// `quiet`: and the shard has no outbox entries, timers, active sagas or sources, so that a new owner need not read them.
struct Exchanged {
  bool done = false;
  OwnerRecord record;  ///< as it is now
  bool quiet = false;
};

class OwnerStore {
 public:
  virtual ~OwnerStore() = default;
  virtual void exchange(const Exchange& exchange, Then<Exchanged> then) = 0;
  virtual void read(ShardId shard, Then<OwnerRecord> then) = 0;
};

// ---- members -------------------------------------------------------------------------------------------------

struct Join {
  Member member;            ///< state warm or shadow
  std::string fingerprint;  ///< what must be equal on all nodes
  std::string cluster_id;   ///< the id this node knows; empty = none yet
  std::string new_id;       ///< the id to create an empty cluster with; empty = it must exist
  std::string telemetry;    ///< value of the session key
  std::chrono::milliseconds session_ttl{5000};
};
struct Joined {
  enum class Outcome { ok, empty, other, config, spent, name } outcome = Outcome::ok;
  MembershipView view;     ///< with ok
  std::string cluster_id;  ///< with ok and other: the id found
  std::string detail;      ///< with config: the fingerprint found
  Incarnation holder;      ///< with name: who has it
  unsigned strikes = 0;    ///< with ok: evictions of this name in the last 10 minutes
};
struct Renewed {
  bool alive = false;  ///< false: the session is gone, for ever
  ViewVersion version;
  unsigned votes = 0;         ///< against this member
  std::int64_t redis_us = 0;  ///< Redis TIME, microseconds since 1970
};
enum class NextState { up, leaving, gone };
struct StateChanged {
  enum class Outcome { ok, no_session, name, bad } outcome = Outcome::ok;
  ViewVersion version;  ///< with ok
  Incarnation holder;   ///< with name
};
enum class Evidence : char { quiet = 'q', no_responders = 'd' };
struct Evicted {
  enum class Outcome { evicted, voted, wait, brake, gone, no_session } outcome = Outcome::voted;
  ViewVersion version;                ///< with evicted, gone
  std::chrono::milliseconds wait{0};  ///< with wait
  std::string brake;                  ///< with brake: mass, voters or budget
  unsigned votes = 0, need = 0;       ///< with voted
};
struct Reaped {
  enum class Outcome { reaped, alive, gone } outcome = Outcome::reaped;
  ViewVersion version;
};

class MemberStore {
 public:
  virtual ~MemberStore() = default;
  virtual void join(const Join& join, Then<Joined> then) = 0;
  virtual void renew(Incarnation node, const std::string& telemetry, std::chrono::milliseconds ttl,
                     Then<Renewed> then) = 0;
  virtual void set_state(Incarnation node, NextState state, Then<StateChanged> then) = 0;
  virtual void evict(Incarnation voter, Incarnation target, Evidence evidence,
                     std::chrono::milliseconds hold, Then<Evicted> then) = 0;
  virtual void withdraw_vote(Incarnation voter, Incarnation target, Then<Done> then) = 0;
  virtual void reap(Incarnation target, Then<Reaped> then) = 0;
  virtual void read_view(Then<MembershipView> then) = 0;
  /// For each node whether its session key exists.
  virtual void sessions(const std::vector<Incarnation>& nodes, Then<std::vector<bool>> then) = 0;
  /// The fingerprint and id of the cluster, {"", ""} if there is none yet: for programs that only call.
  virtual void read_cluster(Then<std::pair<std::string, std::string>> then) = 0;
};

// ---- state ---------------------------------------------------------------------------------------------------

/// One remembered operation. As bytes: 1 type (R reply, J rejection, X tombstone), 8 request hash, 6 time
/// (ms, big-endian), then the reply.
struct OperationRecord {
  enum class Type : char { reply = 'R', rejection = 'J', tombstone = 'X' } type = Type::reply;
  std::uint64_t request_hash = 0;
  std::int64_t time_ms = 0;
  std::string reply;
  friend bool operator==(const OperationRecord&, const OperationRecord&) = default;
};
std::string bytes_of(const OperationRecord& record);
Result<OperationRecord> parse_record(std::string_view bytes);

/// entity_load: writes nothing.
struct Load {
  ShardId shard;
  OwnerToken token;
  EntityId entity;
  std::vector<OperationId>
      wanted;                    ///< ids waiting to run: looked up whatever the size of the tables
  std::size_t whole_up_to = 64;  ///< return all ids when at most this many are stored
};
struct Loaded {
  bool fenced = false;
  std::optional<OwnerToken> token;  ///< with fenced: the token that stands there
  std::string version;              ///< empty: never committed
  std::string state;                ///< empty: never written
  std::string bookkeeping;          ///< field `g`
  std::size_t stored = 0;           ///< ids stored in both generations
  std::size_t saga_stored = 0;      ///< ids of saga steps stored
  bool whole = false;               ///< `newer`, `older` and `saga` hold all of them
  std::vector<std::pair<OperationId, OperationRecord>> newer, older, saga;
  std::vector<std::pair<OperationId, OperationRecord>>
      found;  ///< of `wanted`, those that are stored
};

/// Sets (or with an empty due time cancels) one timer. `member` is `e|<kind>/<key>|<name>`.
struct TimerWrite {
  std::string member;
  std::optional<std::int64_t> due_ms;  ///< cluster time; none: cancel
  std::string message;                 ///< opaque
};

/// The write of one or many turns of one entity: all or nothing, under the token and at the expected version.
struct Commit {
  ShardId shard;
  OwnerToken token;
  EntityId entity;
  std::string expected;              ///< version; empty: never committed
  std::string next;                  ///< version; names this commit, so that it may be sent again
  std::optional<std::string> state;  ///< none: unchanged
  std::optional<std::string> bookkeeping;  ///< none: unchanged
  std::optional<std::chrono::milliseconds>
      expire_in;        ///< none: leave as it is; 0: never expires; else TTL of the state
  bool rotate = false;  ///< drop the older generation of ids; the newer becomes the older
  std::optional<std::chrono::milliseconds> operations_ttl;
  std::vector<std::pair<OperationId, OperationRecord>> operations;
  std::vector<TimerWrite> timers;
  std::vector<std::string> outbox;  ///< opaque entries, in order
  /// Timers whose turns are in it, with their due times. Each must be stored so before `timers` is
  /// written: a timer that is gone, or due at another time, has fired already.
  std::vector<std::pair<std::string, std::int64_t>> fired{};
  /// Steps of sagas, their undos and tombstones: a table of their own, of which only sagas forget.
  std::vector<std::pair<OperationId, OperationRecord>> saga_operations{};
  std::vector<OperationId> forgotten{};  ///< steps of sagas to forget; may be unknown
  std::optional<std::chrono::milliseconds> saga_ttl{};
  std::vector<std::pair<ShardId, Epoch>>
      sources{};  ///< saga shard -> epoch, written to the shard's `src`
};
struct Committed {
  enum class Outcome { ok, already, conflict, duplicate, fenced, timer_gone } outcome = Outcome::ok;
  std::string version;              ///< with conflict: what stands there
  std::optional<OwnerToken> token;  ///< with fenced: what stands there
  std::vector<std::pair<OperationId, OperationRecord>> recorded;  ///< with duplicate
  std::vector<std::string> outbox;  ///< with ok: the stream ids of the entries
  std::string timer{};              ///< with timer_gone: the first of `fired` that is not there so
};

struct OutboxEntry {
  std::string id;  ///< stream id `<ms>-<seq>`
  std::string bytes;
};
struct TimerEntry {
  std::string member;
  std::int64_t due_ms = 0;
  std::string message;
};
/// One page of the outbox, oldest first; `fenced` if the token no longer stands.
struct OutboxPage {
  bool fenced = false;
  std::vector<OutboxEntry> entries;
};
struct TimerPage {
  bool fenced = false;
  std::vector<TimerEntry> timers;
};

/// first_seen: a time for an operation id that came without one, shared by all its repeats.
struct FirstSeen {
  ShardId shard;
  OwnerToken token;
  OperationId id;
  std::int64_t now_ms = 0;                 ///< cluster time: what a new id gets
  std::chrono::milliseconds retention{0};  ///< ids are kept for so long, by whole days
  std::size_t cap = 100'000;               ///< ids of one day in this shard
};
struct Seen {
  enum class Outcome { ok, full, fenced } outcome = Outcome::ok;
  std::int64_t at_ms = 0;           ///< with ok
  std::optional<OwnerToken> token;  ///< with fenced
};
/// The days whose tables may know an id: first the one that is written, then the one after it (another clock may be
/// ahead), then the older ones.
std::vector<std::int64_t> seen_days(std::int64_t now_ms, std::chrono::milliseconds retention);
/// How long a table lives from its first id on: ids of its last moment, too, for the retention.
std::chrono::milliseconds seen_ttl(std::chrono::milliseconds retention);

class StateStore {
 public:
  virtual ~StateStore() = default;
  virtual void load(const Load& load, Then<Loaded> then) = 0;
  /// At most one commit per entity is under way at a time. Thread-safe.
  virtual void commit(Commit commit, Then<Committed> then) = 0;
  /// Entries after `after` ("" = from the start), at most `limit`.
  virtual void read_outbox(ShardId shard, const OwnerToken& token, const std::string& after,
                           std::size_t limit, Then<OutboxPage> then) = 0;
  /// Removes all entries up to and including `through`. false: fenced, nothing removed.
  virtual void trim_outbox(ShardId shard, const OwnerToken& token, const std::string& through,
                           Then<bool> then) = 0;
  /// Timers due up to `until_ms`, in due order, at most `limit`.
  virtual void read_timers(ShardId shard, const OwnerToken& token, std::int64_t until_ms,
                           std::size_t limit, Then<TimerPage> then) = 0;
  virtual void first_seen(const FirstSeen& id, Then<Seen> then) = 0;

  /// Commits that were not sent yet, and how many ever were. Thread-safe.
  struct Waiting {
    std::uint64_t now = 0;
    std::uint64_t sent = 0;
  };
  virtual Waiting waiting() const { return {}; }
};

class LetterStore;  // letters.hpp
class SagaStore;  // saga_store.hpp

/// All stores of one cluster.
class Stores {
 public:
  virtual ~Stores() = default;
  virtual OwnerStore& owners() = 0;
  virtual MemberStore& members() = 0;
  virtual StateStore& state() = 0;
  virtual SagaStore& sagas() = 0;
  virtual LetterStore* letters() { return nullptr; }  ///< null: it keeps none (simulated)
};

}  // namespace catga
