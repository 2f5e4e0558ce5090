// One entity in memory: which command may run, what a commit carries, and which answer waits for which commit. Pure.
//
// THE GATE. One message handled is one turn: the change of state, the reply, and everything sent. The turn's write
// goes to the store as one fenced script, and nothing leaves before that write is acknowledged: no reply, no rejection,
// no answer of a query that could have seen the change. So a crash at any moment leaves either all of a turn or
// nothing of it, and nobody has heard of what was lost.
//
// PIPELINING. The next command does not wait for the write of the one before. It runs on the new state at once; its
// outputs join the *forming* commit while another is *under way*. When that is acknowledged the forming one goes out:
// one write with the last state, all operation records and all outputs of its turns. A hot entity is thus not limited to
// one command per Redis trip.
//
//      queue --run--> forming (m turns, queries) --no commit under way--> under way (k turns, queries) --OK--> answers leave
//
// If a write cannot be made good (fenced, conflict), everything behind the gate is answered `unknown`, or `unavailable`
// when it is certain that nothing was written, and the memory is dropped. A write without an answer is sent again as it
// is, for ever: its version names it, so a copy that ran meanwhile answers ALREADY. Until its fate is known no turn starts.
//
// REMEMBERING. The outcome of an operation id is part of the write. Before a command runs, its id is looked up: among the
// turns behind the gate (it joins), in memory, in the store. One outcome per id, whatever copies arrive. Ids are forgotten
// by generations; a floor rises with them, and an id at or below the floor is `expired`, never run.
#pragma once
#include "catga/entities/kind.hpp"
#include "catga/persistence/stores.hpp"
#include "catga/runtime/bookkeeping.hpp"
#include "catga/runtime/envelope.hpp"
#include "catga/runtime/saga_memory.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/token.hpp"

#include <cassert>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace catga {

/// First in, first out. Unlike std::deque, which takes 600 bytes, it takes nothing while it is empty:
/// an entity is mostly idle.
template <class Element>
using Waitlist = std::list<Element>;

/// Bounds and times of an activation; ms and bytes.
struct ActivationLimits {
  std::size_t turns_uncommitted =
      512;  ///< so a commit has up to half as many: half a millisecond of Redis
  std::size_t bytes_held = 1 << 20;
  std::uint64_t state_max = 1 << 20;
  std::size_t reply_max = 64 * 1024;
  std::size_t outputs_max = 256;
  std::size_t output_bytes_max = 1 << 20;
  std::size_t event_max = 256 * 1024;  ///< of one event: it must fit the NATS server's max_payload
  std::size_t ids_in_memory = 512;
  std::uint32_t ids_per_entity = 1024;
  std::uint64_t id_bytes_per_entity = 8ull << 20;
  std::uint64_t saga_bytes_per_entity = 8ull << 20;
  std::uint64_t saga_steps_many = 1000;  ///< beyond it sagas are asked to tell when they are over
  std::int64_t retention = 7ll * 24 * 3600 * 1000;
  std::int64_t ahead_max = 2000;         ///< an operation's time may be ahead of ours by this
  std::int64_t load_refused_for = 1000;  ///< then those who wait for a load are told so
  std::int64_t refused_for = 2000;       ///< a refused write is repeated for so long
  std::int64_t coroutine_max = 30000;
};

/// What an activation asks of its surroundings. The actor does it with CAF, the simulator with its own clock.
class ActivationHost {
 public:
  virtual ~ActivationHost() = default;
  virtual std::int64_t now_ms() = 0;      ///< boot_ms()
  virtual std::int64_t cluster_ms() = 0;  ///< cluster time
  virtual std::uint32_t random() = 0;
  virtual bool may_run() = 0;  ///< before the session deadline, and the shard not paused

  virtual void load(Load load) = 0;        ///< answer by loaded()
  virtual void commit(Commit commit) = 0;  ///< answer by committed()
  virtual void answer(const Envelope& to, Result<std::string> answer) = 0;
  /// Around the answers of one commit: so many answer() follow.
  virtual void answers_begin(std::size_t count) { (void)count; }
  virtual void answers_end() {}
  /// A repeat gets the answer that was remembered, and nothing runs.
  virtual void repeated() {}
  /// The commit's outbox is in the store. `ids` is empty when they are not known (an earlier copy wrote them).
  virtual void outbox_written(std::vector<std::string> entries, std::vector<std::string> ids) = 0;
  virtual void timers_written(std::vector<TimerWrite> timers) = 0;
  /// A turn of a timer ended without success: try again later (`failed`) or never (`rejected`).
  virtual void timer_failed(const Envelope& timer, const Error& error) = 0;
  /// What became of writes to these timers is not known: the store must be read again.
  virtual void timers_unsure(std::vector<std::string> members) = 0;
  virtual void ask(Ask ask, std::uint64_t number) = 0;  ///< of a suspended turn; answer by asked()
  virtual void fenced(OwnerToken used) = 0;             ///< the shard decides: retoken() or drop()
  virtual void wake_at(std::int64_t at_ms) = 0;         ///< call woken() then
  /// Steps of a saga in this shard are refused below this epoch.
  virtual Epoch source_epoch(ShardId saga_shard) = 0;
  virtual void raise_source(ShardId saga_shard, Epoch epoch) = 0;
  virtual void troubled(
      const Error&
          error) = 0;  ///< state cannot be loaded or decoded, a write half done: for the log
  /// What runs next belongs to the turn of this message; said before turn_begins().
  virtual void turn_of(const Envelope& envelope) { (void)envelope; }
  /// The turn of a timer is written; nobody waits for its answer.
  virtual void timer_answered(const Envelope& timer, const Result<std::string>& answer) {
    (void)timer, (void)answer;
  }
  virtual void turn_begins(const std::string& message) = 0;  ///< for the watchdog
  virtual void turn_ends(const std::string& message) = 0;
};

class Activation {
 public:
  Activation(ActivationHost& host, const Kind& kind, Messenger& messenger,
             const ActivationLimits& limits, ShardId shard, EntityId entity, OwnerToken token);
  ~Activation();

  /// Of replies that are in memory, 100 more for each.
  std::size_t remembered_bytes() const {
    assert(remembered_bytes_ == records_bytes_ + 100 * records_.size());
    return remembered_bytes_;
  }

  // ---- what happens to it ----
  void arrived(Envelope&& envelope);
  void loaded(Result<Loaded> answer);
  void committed(const std::string& version, OwnerToken token, Result<Committed> answer);
  void asked(std::uint64_t number, Result<std::string> answer);
  void woken();
  /// The shard is ours under another token: go on under it.
  void retoken(OwnerToken token);
  /// Run what may run: the session is in force again.
  void resume();
  /// Start nothing new. done_draining() becomes true when nothing runs and no write is unanswered.
  void drain();
  /// Everything held is answered `unknown`; take what has not run with take_queue().
  void drop();

  // ---- what it is ----
  bool drained() const { return draining_ && settled(); }
  /// Nothing queued, suspended, held or unanswered: it may be passivated.
  bool idle() const { return settled() && queue_.empty() && !load_sent_; }
  /// The entity asked to leave memory, or its memory is of no use.
  bool wants_to_leave() const { return passivate_ && idle(); }
  Waitlist<Envelope> take_queue() { return std::move(queue_); }
  const EntityId& entity() const { return entity_; }
  std::size_t queued() const { return queue_.size(); }
  bool committing() const { return commit_ != nullptr; }
  /// The handler that turn_begins() is about: its number in the kind, and when its message arrived (boot_ns(); 0: it
  /// goes on after a wait). For whoever counts.
  struct Begun {
    std::size_t handler = 0;
    std::int64_t arrived_ns = 0;
  };
  const Begun& begun() const { return begun_; }

 private:
  struct Waiting {  ///< somebody who gets an answer when the commit is through
    Envelope envelope;
    Result<std::string> answer;
    bool reads_only = false;  ///< a query, or a failed turn: `unavailable` if the commit fails
  };
  struct Batch {  ///< turns that share a commit
    std::size_t turns = 0;
    std::size_t bytes = 0;
    bool state_changed = false;
    bool erased = false;
    std::vector<Waiting> waiting;
    std::vector<std::pair<OperationId, OperationRecord>> operations;
    std::vector<std::string> outbox;
    std::vector<TimerWrite> timers;
    std::vector<std::pair<std::string, std::int64_t>> fired;
    SagaWrites saga;
  };
  struct Pending {                   ///< an operation that is running, or behind the gate
    std::uint64_t request_hash = 0;  ///< 0: a tombstone, for any request
    std::vector<Envelope> joined;    ///< further copies: they get the same answer
  };
  struct Running;  ///< the turn being run, suspended or not

  bool settled() const;
  bool unsure() const { return commit_ && maybe_written_; }
  bool passes(Envelope& envelope);
  void let_pass();
  void pump();
  bool may_start() const;
  void process(Envelope&& envelope);
  void run_query(Envelope&& envelope, std::size_t message);
  void run_command(Envelope&& envelope, std::size_t message);
  std::optional<Error> refuse(const Envelope& envelope);
  bool cycle(const Envelope& envelope);
  bool remembered(Envelope& envelope);
  bool superseded(const Envelope& timer) const;
  void say(const TimerWrite& write);
  void finish(HandlerEnd end);
  void fail_turn(Envelope envelope, Error error);
  std::optional<Error> too_much(const HandlerEnd& end, const TurnScope& scope,
                                const std::string& state) const;
  std::optional<Error> add_outputs(const Envelope& envelope, TurnScope& scope, Batch& to);
  void roll_back();
  void hold(Waiting waiting);
  void answer_now(Waiting waiting);
  void send_commit();
  void repeat_commit();
  void written(Committed answer);
  void run_again(Committed answer);
  void give_up(bool certainly_not_written);
  void answer_lost(Batch batch, bool certainly_not_written);
  std::unique_ptr<Running> abandon_turn();
  void arm();
  void reload();
  void begin_load();
  void restore(Loaded answer);
  void looked_up(Loaded answer);
  void notice_expired(std::size_t stored);
  void load_failed(const Error& error);
  void refuse_queue(const Error& error);
  void remember(OperationId id, OperationRecord record);
  void count_remembered() { remembered_bytes_ = records_bytes_ + 100 * records_.size(); }
  bool saga_done(Envelope& envelope);
  void settle(Envelope envelope);
  void forget_steps(Envelope envelope);
  void reply(const Envelope& to, Result<std::string> answer);
  void drop_forgotten(const std::vector<OperationId>& steps);
  void send_asks();
  bool uncommitted() const { return commit_ || forming_.turns != 0; }

  // What a query needs stands first and together: entities are far apart in memory, and each line of it that is not in
  // the cache costs more than the work.
  ActivationHost& host_;
  const Kind& kind_;
  Messenger& messenger_;
  const ActivationLimits& limits_;
  const ShardId shard_;
  bool loading_ = true;  ///< a load is under way or due
  bool load_sent_ = false;
  bool load_stale_ =
      false;  ///< the answer on its way is of no use: the memory was dropped meanwhile
  bool maybe_written_ = false;  ///< a copy of the commit under way ended without an answer
  bool fenced_ = false;         ///< the shard's word is awaited
  bool commit_fenced_ = false;  ///< by the commit, not by a load beside it
  bool draining_ = false;
  bool passivate_ = false;
  bool dropped_ = false;
  std::unique_ptr<Instance> instance_;
  std::unique_ptr<Running> running_;
  std::unique_ptr<Commit> commit_;  ///< the one under way, to be sent again
  std::optional<OperationId> looking_up_;
  Waitlist<Envelope> queue_;
  Begun begun_;
  EntityId entity_;
  std::size_t remembered_bytes_ = 0;
  Batch forming_, under_way_;

  OwnerToken token_;
  std::unique_ptr<Instance> shadow_;  ///< answers queries while a turn is suspended
  std::string state_bytes_;           ///< of the newest finished turn
  std::string version_;               ///< of the newest commit sent or acknowledged
  std::uint64_t count_ = 0;
  Generations generations_;  ///< field `g`

  OwnerToken load_token_;  ///< the load was sent under
  std::int64_t load_wait_ = 0, load_again_at_ = 0, load_failing_since_ = 0;
  std::string refusal_;  ///< what the store said to the commit under way
  std::int64_t loaded_at_ = 0;

  std::unordered_map<OperationId, OperationRecord> records_;
  Waitlist<OperationId> records_order_;
  std::int64_t known_since_ = 0;  ///< ids younger than this and not in records_ were never recorded
  std::optional<OperationId> looked_up_;  ///< and not found: it may run
  std::size_t records_bytes_ = 0;
  std::unordered_map<std::string, std::optional<std::int64_t>>
      timers_said_;  ///< newest words of our turns; none: ended
  Waitlist<std::string> timers_order_;

  std::int64_t refused_since_ = 0, commit_again_at_ = 0, commit_wait_ = 0;

  std::unordered_map<OperationId, Pending> pending_;
  std::vector<std::pair<Ask, std::uint64_t>> asks_held_;
  std::unordered_map<std::uint64_t, Answered> asks_open_;
  std::uint64_t next_ask_ = 1;
};

}  // namespace catga
