// The world of one rehearsal: a store in memory, a clock that stands still, machines of sagas and entities, and
// everything that is to happen, in the order of its time.
//
// What runs is what a node runs: Activation and SagaMachine, over the in-memory store, which answers as the scripts in
// Redis do. Instead of threads there is an agenda. A crash throws away every machine and every thing that was to happen
// inside, but not what people outside do: they repeat themselves until they are answered, as callers do. Then the next
// owner, under a new token, reads what there is.
//
// Not installed: saga_test.hpp and entity_test.hpp are what users see.
#pragma once
#include "catga/entities/kind.hpp"
#include "catga/entities/saga/definition.hpp"
#include "catga/persistence/memory/memory_stores.hpp"
#include "catga/runtime/activation.hpp"
#include "catga/runtime/saga_machine.hpp"
#include "catga/runtime/test/observed.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace catga::test {

/// What becomes of the first attempts of a step.
struct Script {
  std::optional<std::string> reject;
  std::size_t lose = 0, fail = 0;
  std::int64_t delay = 0;
  bool twice = false;
};

/// What there is, and what is to go wrong. Must outlive its world.
struct Plan {
  SagaDefinitions sagas;
  std::map<std::string, Kind, std::less<>> kinds;
  EntityId root;  ///< the saga that the scripts are about
  std::map<std::string, Script> scripts;
  /// Becomes of itself nothing again: the crash after that is another one.
  std::optional<std::pair<std::size_t, Crash>> crash;
};

class World;

/// One entity in memory.
class Participant final : private ActivationHost {
 public:
  Participant(World& world, const Kind& kind, const EntityId& entity);
  Activation activation;

 private:
  std::int64_t now_ms() override;
  std::int64_t cluster_ms() override { return now_ms(); }
  std::uint32_t random() override { return ++random_; }
  bool may_run() override { return true; }
  void load(Load load) override;
  void commit(Commit commit) override;
  void answer(const Envelope& to, Result<std::string> answer) override;
  void outbox_written(std::vector<std::string> entries, std::vector<std::string> ids) override;
  void timers_written(std::vector<TimerWrite> timers) override;
  void timer_failed(const Envelope& timer, const Error& error) override;
  void timers_unsure(std::vector<std::string>) override {}
  void ask(Ask ask, std::uint64_t number) override;
  void fenced(OwnerToken) override {}
  void wake_at(std::int64_t at_ms) override;
  Epoch source_epoch(ShardId saga_shard) override;
  void raise_source(ShardId saga_shard, Epoch epoch) override;
  void troubled(const Error&) override {}
  void turn_begins(const std::string&) override {}
  void turn_ends(const std::string&) override {}

  World& world_;
  const EntityId entity_;
  std::uint32_t random_ = 0;
};

class World final : public Messenger {
 public:
  explicit World(const Plan& plan);

  // ---- from outside ----

  std::int64_t now() const { return now_; }
  /// Repeated, across crashes too, until it is answered for good. `heard` gets that answer.
  void say_until_heard(std::int64_t in_ms, const EntityId& to, const std::string& message,
                       const std::string& payload, const Answered& heard = {});
  /// Lets happen what is to happen until then; stops before the first thing at a time that is `enough`.
  void spin(std::int64_t until, const std::function<bool(std::int64_t)>& enough);
  /// Lets happen what is due now.
  void settle() {
    spin(now_, [](std::int64_t) { return false; });
  }
  /// The clock moves on, and what is due meanwhile happens.
  void pass(std::int64_t ms);
  /// The owner is gone with all it knew; the next one reads what there is.
  void die();
  /// Commits are counted from now on, and `before_commit` hears the number of each before it is made.
  void count_commits(std::function<void(std::size_t)> before_commit);
  std::size_t commits() const { return commits_; }
  /// The owner dies at this commit.
  void crash_at(std::size_t number, Crash when) { crash_.emplace(number, when); }

  /// Committed turns, in order.
  const std::vector<Handled>& turns() const { return turns_; }
  /// Events as a stream keeps them: each once.
  const std::vector<Published>& events() const { return events_; }
  /// Message and key → how often a command with a reply was committed there.
  const std::map<std::pair<std::string, std::string>, std::size_t>& took_effect() const {
    return took_effect_;
  }
  std::string state_of(const EntityId& entity);
  Result<SagaLoaded> stored_saga(const EntityId& saga);
  /// A machine of it is in memory and knows how it stands.
  const SagaMachine* machine_in_memory(const EntityId& saga) const;

  // ---- for participants ----

  MemoryStores& store() { return store_; }
  const OwnerToken& token() const { return token_; }
  /// Inside: gone with the owner.
  void later(std::int64_t in_ms, std::function<void()> what);
  /// Counts a commit and crashes at the chosen one. `run` writes; what it gives to `then` is not heard after a crash.
  template <class Value>
  void commit(const std::function<void(Then<Value>)>& run, Then<Value> then);
  void ask(Ask ask, Answered answered) override;
  Status tell(Ask) override { return Error{Code::failed, "nobody tells here"}; }
  void answer(const Envelope& to, Result<std::string> answer);
  void outbox(const std::vector<std::string>& entries);
  void timers(const std::vector<TimerWrite>& writes);
  void timer_failed(const std::string& member);
  Epoch& source(ShardId saga_shard) { return sources_[saga_shard.value]; }
  /// The turns that this commit is made of.
  std::vector<Handled> take_turns(const Commit& commit);
  void written(const std::vector<Handled>& turns);
  void effective(const EntityId& entity,
                 const std::vector<std::pair<OperationId, OperationRecord>>& operations);

 private:
  struct Machine {
    std::unique_ptr<SagaMachine> machine;
    std::int64_t armed_at = std::numeric_limits<std::int64_t>::max();
  };
  using Time = std::pair<std::int64_t, std::uint64_t>;
  /// What is repeated until it is answered.
  struct Said {
    EntityId to;
    std::string message, payload;
    OperationId operation;
    std::int64_t since = 0;
    Answered heard;
  };

  void add(std::int64_t in_ms, std::function<void()> what);
  void own();
  void recover();
  void deliver(const Envelope& envelope);
  void finish(std::uint64_t number, Result<std::string> answer);
  void relay(const PendingTell& tell);
  void fire(const std::string& member, std::int64_t due);
  void say(std::int64_t in_ms, const std::shared_ptr<const Said>& said);
  void repeat_after_crash(std::uint64_t life, const std::shared_ptr<bool>& heard,
                          const std::function<void()>& again);

  SagaMoment moment() const { return {now_, now_, 0.5}; }
  Machine& machine_of(const EntityId& saga, bool after_crash);
  void drive(const EntityId& saga, SagaActions actions);
  void arm(const EntityId& saga);
  /// The store's answer, as a thing that happens later.
  template <class Value, class Tell>
  Then<Value> to_machine(const EntityId& saga, Tell tell);
  void act(const EntityId& saga, saga_action::Create& action);
  void act(const EntityId& saga, saga_action::Load& action);
  void act(const EntityId& saga, saga_action::Write& action);
  void act(const EntityId& saga, saga_action::Send& action);
  void act(const EntityId& saga, saga_action::CallChild& action);
  void act(const EntityId& saga, saga_action::Forget& action);
  void act(const EntityId& saga, saga_action::Answer& action);
  void act(const EntityId& saga, saga_action::Timers& action);
  void act(const EntityId& saga, saga_action::Tidy& action);
  void act(const EntityId& saga, saga_action::Outbox& action);
  void act(const EntityId&, saga_action::Tell&) {}
  void act(const EntityId& saga, saga_action::Fenced& action);

  const Plan& plan_;
  std::map<std::string, Kind, std::less<>> kinds_;  ///< watched
  std::map<std::string, Script> scripts_;
  std::int64_t now_;
  MemoryStores store_;
  OwnerToken token_;
  std::uint64_t owners_ = 0, life_ = 0, added_ = 0, asks_made_ = 0, said_ = 0;
  bool crashed_ = false, counting_ = false;
  std::size_t commits_ = 0;
  std::optional<std::pair<std::size_t, Crash>> crash_;
  std::function<void(std::size_t)> before_commit_;
  std::map<Time, std::function<void()>> agenda_;
  std::map<EntityId, std::vector<std::pair<OperationId, Handled>>> ran_;  ///< and not committed yet
  std::map<EntityId, std::unique_ptr<Participant>> entities_;
  std::map<EntityId, Machine> machines_;
  std::map<std::uint64_t, Answered> waiting_;
  std::map<std::string, TimerEntry> timers_;
  std::map<std::string, unsigned> timer_failures_;  ///< since it was set
  std::map<std::uint32_t, Epoch> sources_;
  std::map<std::pair<EntityId, OperationId>, std::string> messages_;
  std::map<std::pair<std::string, std::string>, std::size_t> took_effect_;
  std::vector<Handled> turns_;
  std::vector<Published> events_;
  std::set<OperationId> event_ids_;
};

}  // namespace catga::test
