// One active entity: carries out what its Activation decides. Owned by its shard's actor.
//
// There may be hundreds of thousands in a node, most of them idle. So it is an actor without CAF's
// actor classes, which take 1.7 KiB each: CAF's workers run it, as they run every resumable, and its
// mailbox is a word (D40). One worker at a time is in resume(); all but post() and gauge() belongs to it.
#pragma once
#include "catga/runtime/actors/answers.hpp"
#include "catga/runtime/actors/mailbox.hpp"
#include "catga/runtime/actors/messages.hpp"
#include "catga/runtime/actors/surroundings.hpp"
#include "catga/runtime/actors/turn_spans.hpp"

#include <caf/ref_counted.hpp>
#include <caf/resumable.hpp>

#include <variant>

namespace catga::actors {

struct EntityStart {
  ShardId shard;
  EntityId entity;
  OwnerToken token;
  std::uint64_t serial = 0;  ///< tells two activations of one entity apart
  caf::actor shard_actor;
  std::shared_ptr<ShardGate> gate;
};

// ---- what an entity is told; an Envelope is a message for it ----
struct LoadAnswered {
  Result<Loaded> answer;
};
struct CommitAnswered {
  std::string version;
  OwnerToken token;
  Result<Committed> answer;
};
struct AskAnswered {
  std::uint64_t number = 0;
  Result<std::string> answer;
};
struct NewToken {
  OwnerToken token;
};
struct Resume {};  ///< the session is in force again
struct DrainNow {};
struct DropNow {};
struct LeaveIfIdle {
  bool crowded = false;  ///< it leaves to make room
};
struct EntityTick {
  std::int64_t at_ms =
      0;  ///< the alarm in force has this time; 0: look whether the session is back
};
struct End {};  ///< the node closes: end without a word

using EntityMail = std::variant<Envelope, LoadAnswered, CommitAnswered, AskAnswered, NewToken,
                                Resume, DrainNow, DropNow, LeaveIfIdle, EntityTick, End>;

class EntityActor final : public caf::ref_counted, public caf::resumable, private ActivationHost {
 public:
  EntityActor(Host& host, const Kind& kind, EntityStart start);
  ~EntityActor() override;

  /// Any thread. Dropped if the entity has ended.
  template <class Message>
  void post(Message&& message) {
    static_assert(!std::is_lvalue_reference_v<Message>, "what is posted is moved");
    const Put put = mailbox_.put(std::forward<Message>(message));
    if (std::is_same_v<Message, Envelope> && put != Put::closed) counts_.posted();
    if (put == Put::wakes) wake();
  }
  const Gauge& gauge() const { return gauge_; }

  // caf::resumable
  subtype_t subtype() const override { return function_object; }
  resume_result resume(caf::execution_unit* unit, std::size_t most) override;
  void intrusive_ptr_add_ref_impl() override { ref(); }
  void intrusive_ptr_release_impl() override { deref(); }

 private:
  // ActivationHost
  std::int64_t now_ms() override { return now_; }
  std::int64_t cluster_ms() override {
    return now_ + host_.standing.cluster_offset_ms.load(std::memory_order_relaxed);
  }
  std::uint32_t random() override;
  bool may_run() override;
  void load(Load load) override;
  void commit(Commit commit) override;
  void answer(const Envelope& to, Result<std::string> answer) override;
  void answers_begin(std::size_t count) override;
  void answers_end() override;
  void repeated() override { counts_.repeated(); }
  void outbox_written(std::vector<std::string> entries, std::vector<std::string> ids) override;
  void timers_written(std::vector<TimerWrite> timers) override;
  void timer_failed(const Envelope& timer, const Error& error) override;
  void timers_unsure(std::vector<std::string> members) override;
  void ask(Ask ask, std::uint64_t number) override;
  void fenced(OwnerToken used) override;
  void wake_at(std::int64_t at_ms) override;
  Epoch source_epoch(ShardId saga_shard) override;
  void raise_source(ShardId saga_shard, Epoch epoch) override;
  void troubled(const Error& error) override;
  void turn_of(const Envelope& envelope) override;
  void timer_answered(const Envelope& timer, const Result<std::string>& answer) override;
  void turn_begins(const std::string& message) override;
  void turn_ends(const std::string& message) override;

  void take(Envelope& envelope);
  void take(LoadAnswered& message);
  void take(CommitAnswered& message);
  void take(AskAnswered& message);
  void take(NewToken& message);
  void take(Resume&);
  void take(DrainNow&);
  void take(DropNow&);
  void take(LeaveIfIdle& message);
  void take(EntityTick& tick);
  void take(End&);

  void wake();
  void read_clock() {
    now_ns_ = boot_ns();
    now_ = now_ns_ / 1'000'000;
  }
  void after_each();
  void count_load();
  void empty_out();
  void break_off(const char* why);
  void end();
  void settle_hold();
  void store_refused(const Error& error);
  caf::intrusive_ptr<EntityActor> self_handle() { return this; }
  const EntityId& entity() const { return activation_.entity(); }
  template <class Message>
  void tell_shard(Message message);
  void alarm(std::int64_t in_ms, std::int64_t at_ms);

  Host& host_;
  const ShardId shard_;
  const std::uint64_t serial_;
  caf::actor shard_actor_;  ///< empty when ended: they hold each other
  const std::shared_ptr<ShardGate> gate_;
  Mailbox<EntityMail> mailbox_;
  Gauge gauge_;
  // What every message needs stands together and in front, in the activation too: see WorkerQueue::fetch().
  KindMetrics& counts_;
  std::uint64_t open_asks_ = 0;  ///< received and not answered
  OwnerToken token_;
  caf::execution_unit* unit_ = nullptr;  ///< while it runs
  std::int64_t now_ = 0;  ///< boot_ms(), read when a mail is taken and when a handler has returned
  std::int64_t now_ns_ = 0;    ///< the same in ns
  std::int64_t since_ns_ = 0;  ///< when it was made; then, when the commit under way was sent
  std::uint64_t received_ = 0;
  std::uint64_t outbox_hold_ = 0;
  std::int64_t wake_at_ = 0;
  std::unique_ptr<TurnSpans> spans_;     ///< null while nobody traces
  caf::intrusive_ptr<Answers> answers_;  ///< of the commit being answered, if there are many
  bool draining_ = false;
  bool left_ = false;
  bool retry_armed_ = false;
  bool loaded_ = false;
  std::uint64_t remembered_ = 0;                    ///< bytes, as last counted
  Passivation why_leaving_ = Passivation::failure;  ///< unless somebody says why
  Activation activation_;
};

}  // namespace catga::actors
