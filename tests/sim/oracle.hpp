// Sees everything and forgets nothing: what was committed, what callers were told, who ran what.
// Whatever contradicts an invariant of the protocol ends the run.
//
// It works on histories. Each change of an entity makes a new hash out of the one before, and the
// oracle keeps who came before whom: so a state in the store names every change that made it. From
// that alone follow "applied twice", "acknowledged and lost", "built on a state that is not there".
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
    bool clocks_stand_still = false;  ///< a freeze that the frozen clock does not see
    bool messages_repeat = false;     ///< then a refusal may be heard twice, and counts for two
    Moment session = 5 * second;      ///< how long a session lasts
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
  /// A commit was written by somebody whose token was `used`, while `stood` stood.
  void committed(const Commit& commit, const std::optional<OwnerToken>& stood);
  void trimmed(ShardId shard, const OwnerToken& used, const std::optional<OwnerToken>& stood);
  void fenced(const Commit& commit);
  /// Redis lost the end of its history.
  void rolled_back(const StoreEyes& store);

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
  void adopt(const EntityId& entity, Stored& stored, std::int64_t hash, std::int64_t count);
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
  std::unordered_map<std::int64_t, Promise> promises_;
  std::vector<std::int64_t> outside_tells_;
  std::map<std::string, std::set<Incarnation>> tokens_;  ///< minted ever: token -> nodes
  const StoreEyes* store_ = nullptr;
  std::map<Incarnation, Moment> not_a_member_;  ///< since when a handler ran there all the same
  Moment last_failover_ = -1'000'000 * second;
};

/// The node whose code runs now, for the oracle. Set by the machines of nodes.
NodeEyes* eyes_of(const Machine* machine);

}  // namespace catga::sim
