// One saga in memory: what it does when something happens to it. Pure: (state, event, time) → actions.
//
// entities/saga decides what a saga does next; this class decides when that may be asked and acted on:
//
//        request, timer, recovery
//   new ---------------------------> loading --journal--> ready <----------- OK ------------ committing
//    |                                  ^  ^                |  entries to write ----------------^  |
//    +--a start--> creating --- OK -----|--|---> ready      +--none: send what is open             |
//                      +---- EXISTS ----+  +---------------------- CONFLICT -----------------------+
//
// The rule of the journal: entries first, in one commit with whatever led to them; only when they are acknowledged are
// their tasks sent, their callers answered, their end told. One commit is in flight. What happens meanwhile (answers of
// steps side by side, signals) waits and shares the next one. A commit without an answer is sent again as it is, until
// its fate is known: the length of the journal and its last entry name it.
//
// All that is in memory follows from the journal, but: attempts and their back-off, who waits for the end. So an owner
// that crashes loses nothing, and its successor sends open steps again under the same operation ids.
//
// A *stand-in* carries sagas whose definition must not run: unknown here, drifted, or in a crash loop. It has no steps;
// it takes signals, cancels and verbs into the journal and asks for no decision.
#pragma once
#include "catga/entities/saga/answer.hpp"
#include "catga/entities/saga/calls.hpp"
#include "catga/entities/saga/decision.hpp"
#include "catga/entities/saga/requests.hpp"
#include "catga/persistence/saga_store.hpp"
#include "catga/runtime/envelope.hpp"
#include "catga/runtime/saga_trace.hpp"
#include "catga/sharding/token.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace catga {

/// All definitions that a node hosts. Immutable once the node has started.
using SagaDefinitions = std::vector<std::shared_ptr<const SagaDefinition>>;

struct SagaMachineLimits {
  SagaLimits decisions;
  std::chrono::milliseconds keep_finished = std::chrono::hours(24);  ///< the journal after the end
  std::chrono::milliseconds forget_after =
      std::chrono::minutes(10);       ///< participants, after the end
  std::uint64_t recoveries_max = 10;  ///< more in a row: parked before user code runs
};

/// Where the saga is and under which right.
struct SagaSeat {
  ShardId shard;
  OwnerToken token;
  EntityId saga;
};

/// How the saga stands, for its supervisor's register and for the log.
struct SagaStanding {
  SagaStatus status = SagaStatus::running;
  std::string cause;  ///< of a parked one
  std::uint32_t version = 0;
  std::int64_t created_ms = 0;  ///< cluster time; 0: not known
  friend bool operator==(const SagaStanding&, const SagaStanding&) = default;
};

/// What people are told, in the log and in figures. It has happened: it is committed.
struct SagaNews {
  enum class What {
    started,
    ended,
    stuck,
    resumed,
    overdue,    ///< the deadline passed behind the pivot
    half_full,  ///< of the journal
  } what = What::started;
  SagaStanding standing;
  std::string step;
  std::string text;
  std::uint32_t attempts =
      0;  ///< with stuck: of the step, by this owner; 0: not because of an answer
  std::int64_t lasted_ms = 0;  ///< with ended
  std::size_t entries = 0;     ///< with ended: of the journal
  bool failed = false;         ///< with ended: aborted, or an operator took an undo as done
};

namespace saga_action {
struct Create {
  SagaCreate create;
};
struct Load {
  SagaLoad load;
};
struct Write {  ///< answer by committed()
  SagaCommit commit;
};
struct Send {  ///< one attempt of a step; answer by answered()
  SagaTask task;
  std::uint32_t attempt = 1;
  StepCall call;
};
struct CallChild {  ///< start or cancel it; answer by answered()
  SagaTask task;
  std::uint32_t attempt = 1;
  EntityId child;
  std::string message;
  std::string payload;
};
struct
    Forget {  ///< the saga has been over for a while: a participant may forget these operations; answer by forgot()
  EntityId participant;
  std::vector<OperationId> operations;
};
struct Answer {
  Envelope to;
  Result<std::string> answer;
};
struct Timers {  ///< stand so in the store now
  std::vector<TimerWrite> timers;
};
struct Tidy {  ///< remove a timer that means nothing any more
  std::string member;
};
struct Outbox {  ///< was written; no ids: an earlier copy wrote it
  std::vector<std::string> entries;
  std::vector<std::string> ids;
};
struct Tell {
  SagaNews news;
};
struct Fenced {
  OwnerToken used;
};
}  // namespace saga_action

using SagaAction = std::variant<saga_action::Create, saga_action::Load, saga_action::Write,
                                saga_action::Send, saga_action::CallChild, saga_action::Forget,
                                saga_action::Answer, saga_action::Timers, saga_action::Tidy,
                                saga_action::Outbox, saga_action::Tell, saga_action::Fenced>;
using SagaActions = std::vector<SagaAction>;

/// When something happens: cluster time, boot_ms() for deadlines of callers, and a number from [0, 1).
struct SagaMoment {
  std::int64_t now_ms = 0;
  std::int64_t boot_ms = 0;
  double chance = 0.5;
};

class SagaMachine {
 public:
  /// What the machine is made for: a request that came, a timer, or after a crash (counted in the store). `looping`:
  /// its actor has died too often; it parks before user code runs.
  struct Origin {
    bool after_crash = false;
    bool looping = false;
  };
  SagaMachine(const SagaDefinitions& definitions, SagaMachineLimits limits, SagaSeat seat,
              Origin origin);
  ~SagaMachine();
  SagaMachine(const SagaMachine&) = delete;
  SagaMachine& operator=(const SagaMachine&) = delete;

  // ---- what happens to it ----
  /// Load it and go on.
  SagaActions recover(const SagaMoment& moment);
  SagaActions arrived(Envelope envelope, const SagaMoment& moment);
  /// A saga that is made from now on says in its header that it stands there. None: nobody traces it.
  void start_in(SagaTrace trace) { start_in_ = std::move(trace); }
  SagaActions fired(std::string timer, const SagaMoment& moment);
  SagaActions created(Result<SagaCreated> answer, const SagaMoment& moment);
  SagaActions loaded(Result<SagaLoaded> answer, const SagaMoment& moment);
  SagaActions committed(Result<SagaCommitted> answer, const SagaMoment& moment);
  SagaActions answered(const SagaTask& task, std::uint32_t attempt, const Result<StepReply>& reply,
                       const SagaMoment& moment);
  /// What became of one Forget: whether its participant said that it is done.
  SagaActions forgot(bool done);
  /// The time of wake_ms() has come, or the right to act is back.
  SagaActions woken(const SagaMoment& moment);
  SagaActions retoken(const OwnerToken& token, const SagaMoment& moment);
  /// Starts nothing more; drained() when no write is without an answer. Requests that have not led to anything are
  /// given back by take_requests().
  void drain() { draining_ = true; }
  /// The shard is lost: everything held is answered.
  SagaActions drop();

  // ---- what it is ----
  /// When to call woken(), in cluster time, if nothing comes first.
  std::optional<std::int64_t> wake_ms() const { return wake_ms_; }
  bool drained() const { return draining_ && !write_ && !create_; }
  /// Nothing is under way, and what it waits for brings it back: it may leave memory.
  bool idle() const;
  bool writing() const { return write_ != nullptr; }
  std::vector<Envelope> take_requests();
  /// Known once it is loaded or created; none: no such saga.
  std::optional<SagaStanding> standing() const;
  /// Loaded or created, and first decisions were carried out.
  bool settled() const { return settled_; }
  const EntityId& saga() const { return seat_.saga; }
  /// As its header says; none: nobody traces it.
  SagaTrace trace() const;
  /// Cluster time; 0: not known.
  std::int64_t created_ms() const;

 private:
  enum class Phase { fresh, creating, loading, ready, absent };
  struct Attempt {
    std::uint32_t number = 1;
    bool under_way = false;
    bool delivered = false;  ///< the child runs; its end comes as a signal
    std::int64_t again_ms = 0;
    bool cancelling = false;  ///< of a child to be settled: started, now being cancelled
  };
  struct Held {
    Envelope envelope;
    Result<std::string> answer;
  };
  struct StepAnswer {
    SagaTask task;
    std::uint32_t attempt = 1;
    Result<StepReply> reply;
  };
  using AttemptKey = std::pair<TaskVerb, OperationId>;

  SagaActions go_on(const SagaMoment& moment);
  void begin(SagaActions& actions, const SagaMoment& moment);
  void create(const Envelope& envelope, SagaActions& actions, const SagaMoment& moment);
  void load(SagaActions& actions, bool after_crash);
  void turn(SagaActions& actions, const SagaMoment& moment);
  std::vector<JournalEntry> take_answers(const SagaMoment& moment);
  void take_requests_in(std::vector<JournalEntry>& entries, const SagaMoment& moment);
  Result<std::string> handle(const Envelope& envelope, std::vector<JournalEntry>& entries,
                             const SagaMoment& moment);
  Result<SagaEntries> entries_for(const Envelope& envelope, const SagaMoment& moment);
  void write(std::vector<JournalEntry> entries, SagaActions& actions, const SagaMoment& moment);
  Result<std::vector<std::string>> events_of(const std::vector<JournalEntry>& entries) const;
  void park_instead(const std::string& why, SagaActions& actions, const SagaMoment& moment);
  void hold_no_more();
  void written(const SagaCommitted& answer, SagaActions& actions, const SagaMoment& moment);
  void tell_what_changed(SagaActions& actions);
  void carry_out(const SagaDecision& decision, SagaActions& actions, const SagaMoment& moment);
  void call_child(const SagaTask& task, Attempt& attempt, const StepCall& call,
                  SagaActions& actions);
  std::optional<std::string> tell_parent(const ChildEnd& end, const SagaMoment& moment) const;
  SagaActions serve_from_header(SagaLoaded answer, const SagaMoment& moment);
  bool abort_unread(Envelope& envelope, SagaActions& actions, const SagaMoment& moment);
  void written_unread(const SagaCommit& commit, SagaActions& actions);
  void settle_timers(SagaActions& actions, const SagaMoment& moment);
  void forget_operations(SagaActions& actions, const SagaMoment& moment);
  std::map<EntityId, std::vector<OperationId>> operations_to_forget() const;
  void answer_waiters(SagaActions& actions, const SagaMoment& moment);
  void refuse_late(SagaActions& actions, const SagaMoment& moment);
  void refuse_all(SagaActions& actions, const Error& error);
  void open_journal(SagaLoaded answer, const SagaMoment& moment);
  void stand_in(const std::vector<JournalEntry>& journal);
  void plan_wake(const SagaMoment& moment);
  std::map<std::string, std::int64_t> timers_wanted() const;
  SagaLook look(const LookAtSaga& what) const;
  std::string member(std::string_view timer) const;
  std::int64_t back_off(const SagaMoment& moment);
  bool busy() const { return phase_ != Phase::ready || write_ || fenced_; }

  const SagaDefinitions& definitions_;
  const SagaMachineLimits limits_;
  SagaSeat seat_;
  Origin origin_;

  Phase phase_ = Phase::fresh;
  bool draining_ = false;
  bool fenced_ = false;  ///< waits for another token
  bool settled_ = false;
  SagaTrace start_in_;
  OperationId creator_;  ///< of the start that made it, if it was made here

  // what the store has
  std::shared_ptr<const SagaDefinition> definition_;  ///< or the stand-in
  bool standing_in_ = false;
  std::optional<SagaProgress> progress_;  ///< none: fresh, absent, or only the header is left
  SagaFields header_;
  std::size_t length_ = 0;
  std::map<std::string, std::int64_t> timers_;  ///< name → due
  std::optional<SagaStanding> told_;            ///< as last committed
  std::string unreadable_;                      ///< why the journal cannot be read; empty: it can

  // what is on its way to the store
  std::unique_ptr<SagaCreate> create_;
  std::unique_ptr<SagaCommit> write_;
  bool load_open_ = false;
  bool header_load_ = false;         ///< the load under way is of the header alone
  std::uint32_t load_failures_ = 0;  ///< of loads with the journal, in a row
  std::string load_error_;
  std::map<std::string, std::int64_t> timers_next_;
  std::vector<Held> held_;     ///< answers that leave when it is written
  std::int64_t again_ms_ = 0;  ///< the request to the store is sent again then; 0: it is under way
  std::int64_t wait_ms_ = 0;

  // what has come and waits
  std::vector<JournalEntry>
      first_;  ///< of the definition's choice: to be written with the first decision
  std::vector<Envelope> requests_;
  std::vector<StepAnswer> answers_;
  std::vector<Envelope> waiters_;  ///< for the end
  std::set<std::string> fired_;
  std::map<AttemptKey, Attempt> attempts_;
  std::uint32_t parked_after_ = 0;  ///< attempts of the step that parked it, until that is told
  std::optional<std::int64_t> wake_ms_;
  std::optional<std::int64_t> decision_wake_ms_;
  bool told_overdue_ = false, told_half_full_ = false;
  std::size_t forgetting_ = 0;  ///< Forgets without an answer
  bool forget_failed_ = false;  ///< one of them
};

}  // namespace catga
