// Sees everything and forgets nothing: what was committed, what callers were told, who ran what.
// Whatever contradicts an invariant of the protocol ends the run.
//
// It works on histories. Each change of an entity makes a new hash out of the one before, and the
// oracle keeps who came before whom: so a state in the store names every change that made it. From
// that alone follow "applied twice", "acknowledged and lost", "built on a state that is not there".
//
// While two Redis primaries take writes there are two histories. The new primary's is the one that
// counts; the old one's is checked by itself, and all it adds counts as lost by a failover.
//
// Which check stands for which invariant of protocol.md (chapter 13):
//   I1   handler_runs: before the session's deadline, as a member, of a shard this process was named
//        the owner of. Outvoted among two primaries (R34), no handler begins.
//   I2   committed, trimmed: the token in the record is the writer's, at the moment of the write.
//   I3   record_written, committed, trimmed: a token names the node it was made for, for that shard;
//        every write accepted under it comes from the process that lived as that node.
//   I4   record_written: epochs grow.
//   I5   record_written: a record leaves only its owner, or one that is no member.
//   I6   adopt, answered: no change twice, answers agree with the store.
//   I7   adopt, answered, rolled_back: no answer without its change; a state continues the one before.
//   I8   trimmed: what leaves an outbox has happened, or its target may have forgotten that it has;
//        missing, at the end of converging runs: what a commit promised has happened, outboxes empty.
//        Excused is a tell older than what its target remembers (plans shrink that memory): it is given
//        up, with a line in the log.
//   I9   Inbox::heard (node.cpp) counts hops.
//   I10  Patrol (cluster.cpp), ten times a second: pending asks, held-back bytes, lanes, pipelines. The
//        bounds per shard and per entity show as `overloaded` only; an overflow that is no answer is
//        an ask that never ends, which converging runs find.
//   I11  table_changed: after each write to the table its version has grown, and a node that is no
//        member any more never is one again. Member: a node adopts a lower version only after a
//        failover. Patrol: who has no session is reaped within a session by any node fit to do so.
//   I12  handler_runs: no compare-and-set is open, that is, without an answer to any of its copies
//        (D67).
//   I13  answered: a query shows a state that was the newest one since it was asked.
//   I14  not_converged (cluster.cpp).
#pragma once
#include <catga/persistence/stores.hpp>

#include "kinds.hpp"
#include "world.hpp"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace catga::sim {

/// What the handlers' checks ask of the node they run on.
struct NodeEyes {
  virtual ~NodeEyes() = default;
  virtual bool session_ok() const = 0;
  /// The process may still own this shard for all the world knows: it has a token and no
  /// compare-and-set is open.
  virtual std::string why_not_run(ShardId shard) const = 0;
  virtual Incarnation incarnation() const = 0;
  /// Among two Redis primaries this node's is that of the fewer, and has been for so long that it
  /// must have stopped; "" if not.
  virtual std::string why_outvoted() const = 0;
};

/// What the store looks like to somebody who may see everything.
struct StoreEyes {
  virtual ~StoreEyes() = default;
  virtual std::string state_of(ShardId shard, const EntityId& entity) const = 0;
  virtual bool is_member(Incarnation node) const = 0;
};

class Oracle {
 public:
  struct Rules {
    std::uint32_t shards = 16;
    bool replicated = false;  ///< answers wait for the replica: a failover loses nothing told
    bool reads_linearizable = true;
    bool timers_once = true;        ///< also those of commits without an answer
    bool failovers_noticed = true;  ///< tells and timers that came back are sent again
    bool calm = false;              ///< nothing goes wrong: then nobody hears that it does
    bool redis_time_jumps = false;
    bool messages_repeat = false;  ///< then a refusal may be heard twice, and counts for two
    Moment session = 5 * second;   ///< how long a session lasts
    std::int64_t retention_ms = 3'600'000;  ///< older operations are refused: nobody remembers them
  };
  Oracle(World& world, Rules rules);
  ~Oracle();
  /// The oracle of this thread's run.
  static Oracle& here();

  void watch(const StoreEyes& store) { store_ = &store; }

  // ---- from the entities ----
  void handler_runs(const EntityId& entity);
  /// The hash of the history after `change`.
  std::int64_t change_made(const EntityId& entity, std::int64_t change, std::int64_t before,
                           std::int64_t count);
  struct Promise {
    std::int64_t change;
    EntityId entity;
    std::int64_t wait_ms;
  };
  /// If `change` is committed, so must this be in the end, once.
  void promised(std::int64_t change, Promise promise);

  // ---- from the store ----
  void record_written(const Machine* by, ShardId shard, const OwnerRecord& before,
                      const OwnerRecord& after, const std::set<Incarnation>& lives_of_writer,
                      const StoreEyes& store);
  /// Whose write it is, and whether it went to a primary that was deposed and does not know.
  struct Writer {
    const Machine& machine;
    const std::set<Incarnation>& lives;
    bool behind = false;
  };
  /// A commit was written by somebody whose token was `used`, while `stood` stood.
  void committed(const Commit& commit, const std::optional<OwnerToken>& stood,
                 const Writer& writer);
  /// The outbox lost its first entries; `tells` are the changes that these would have made.
  void trimmed(ShardId shard, const OwnerToken& used, const std::optional<OwnerToken>& stood,
               const std::vector<std::int64_t>& tells, const Writer& writer);
  void fenced(const Commit& commit);
  /// Redis lost the end of its history.
  void rolled_back(const StoreEyes& store);
  /// From here on, before rolled_back(): the history as it stands goes on at the old primary, too.
  void splits();
  void split_ends();
  /// The table of members, after it was written.
  void table_changed(const MembershipView& table);

  // ---- from the callers ----
  struct Question {
    EntityId entity;
    std::int64_t change = 0;  ///< 0: a query
    Moment asked = 0;
    bool own_id = false, repeated = false;
    std::string what;
  };
  void answered(const Question& question, const Result<Page>& answer);
  void told_outside(std::int64_t change) { outside_tells_.push_back(change); }

  // ---- at the end ----
  /// What is still missing before all that was promised has happened; "" if nothing.
  std::string missing() const;
  bool applied(std::int64_t change) const { return applied_.contains(change); }
  std::uint64_t commits = 0, answers = 0, good_answers = 0, failovers = 0, handlers = 0;
  const Rules& rules() const { return rules_; }

 private:
  struct Change {
    std::int64_t before = 0;
    std::int64_t change = 0;
    std::int64_t count = 0;
  };
  struct Seen {
    std::int64_t hash;
    Moment from, until;
  };
  struct Stored {
    std::int64_t hash = 0, count = 0;
    std::vector<Seen> past;  ///< of the last seconds, for queries
  };
  struct Place {
    EntityId entity;
    std::int64_t count = 0, hash = 0;
  };
  using Steps = std::vector<std::pair<std::int64_t, Change>>;
  /// The changes from what was kept to `hash`; none, and a failure, if they are not known.
  std::optional<Steps> steps_to(const EntityId& entity, const Stored& kept, std::int64_t hash,
                                std::int64_t count);
  void adopt(const EntityId& entity, Stored& stored, std::int64_t hash, std::int64_t count);
  void adopt_behind(const EntityId& entity, Stored& stored, std::int64_t hash, std::int64_t count);
  void write_past(Stored& kept, const Steps& fresh, std::int64_t hash, std::int64_t count) const;
  bool shown(const std::map<EntityId, Stored>& stored, const Question& question,
             std::int64_t hash) const;
  /// What a caller was told may come from the history that goes, or has just gone.
  bool told_by_two() const {
    return (split_ || world_.now() - split_ended_ <= rules_.session) && !rules_.replicated;
  }
  void check_token(ShardId shard, const OwnerToken& token, const Writer& writer);
  void given_up(std::int64_t change, ShardId shard);
  void fail(const std::string& what) { world_.fail(what); }
  Stored& stored(const EntityId& entity) { return stored_[entity]; }

  World& world_;
  const Rules rules_;
  Oracle* const before_;
  std::unordered_map<std::int64_t, Change> changes_;  ///< by hash
  std::map<EntityId, Stored> stored_;
  std::unordered_map<std::int64_t, Place> applied_;          ///< by change
  std::unordered_set<std::int64_t> cut_;                     ///< applied, and lost by a failover
  std::unordered_map<std::int64_t, std::uint64_t> told_no_;  ///< rejected: failovers until then
  std::unordered_set<std::int64_t> told_refused_;
  std::unordered_set<std::int64_t> acknowledged_;
  struct Owed {
    Promise promise;
    std::int64_t at_ms = 0;  ///< by the world's clock
  };
  std::unordered_map<std::int64_t, Owed> promises_;  ///< by the change that promised
  std::unordered_set<std::int64_t> too_old_;         ///< tells, and right to be given up
  std::unordered_map<EntityId, std::int64_t>
      floors_;  ///< cluster time: of older ids nothing is known
  std::vector<std::int64_t> outside_tells_;
  std::map<std::string, Incarnation> tokens_;  ///< minted ever: shard and epoch.node -> for whom
  // The old primary's history, while there are two, and for queries a while after.
  bool split_ = false;
  std::map<EntityId, Stored> behind_;
  std::unordered_set<std::int64_t> applied_behind_;  ///< with what both histories have
  std::unordered_set<std::int64_t> added_behind_;
  Moment split_ended_ = -1'000'000 * second;
  ViewVersion table_version_;
  std::vector<catga::Member> table_;
  std::set<Incarnation> ended_;
  const StoreEyes* store_ = nullptr;
  std::map<Incarnation, Moment> not_a_member_;  ///< since when a handler ran there all the same
};

/// The node whose code runs now, for the oracle. Set by the machines of nodes.
NodeEyes* eyes_of(const Machine* machine);

}  // namespace catga::sim
