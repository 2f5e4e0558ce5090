// Stores that kill their process at a chosen commit, of a saga or of an entity: as a crash right before it, or right
// after it was written and before anybody has heard of that.
#pragma once
#include <catga/catga.hpp>
#include <catga/persistence/saga_store.hpp>
#include <catga/persistence/stores.hpp>

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace catga::testing {

/// Shared by the stores of a process and the entity that arms it.
struct Fuse {
  static Fuse& of_this_process() {
    static Fuse fuse;
    return fuse;
  }
  std::atomic<std::int64_t> left{0};  ///< commits until the crash; 0: none
  std::atomic<bool> before{false};

  /// One more commit: is it the one?
  bool burns() { return left.load() > 0 && left.fetch_sub(1) == 1; }
  [[noreturn]] static void crash() {
    ::kill(::getpid(), SIGKILL);
    while (true) ::pause();
  }
  template <class Value>
  static Then<Value> then_crash(Then<Value>) {
    return [](Result<Value>) { crash(); };
  }
};

/// From now on the n-th commit that begins in this process kills it.
struct Arm {
  using Reply = Done;
  std::int64_t commits = 0;
  bool before = false;
  CATGA_MESSAGE(Arm, commits, before);
};
class Bomb {
 public:
  static constexpr std::string_view kind = "bomb";
  using Handles = Messages<Arm>;
  struct State {
    std::int64_t armed = 0;
    CATGA_FIELDS(armed);
  } state;
  Done on(const Arm& arm) {
    state.armed += 1;
    Fuse::of_this_process().before = arm.before;
    Fuse::of_this_process().left = arm.commits;
    return {};
  }
};

class CrashingStores final : public Stores {
 public:
  explicit CrashingStores(std::unique_ptr<Stores> inner)
      : inner_(std::move(inner)), state_(inner_->state()), sagas_(inner_->sagas()) {}
  OwnerStore& owners() override { return inner_->owners(); }
  MemberStore& members() override { return inner_->members(); }
  StateStore& state() override { return state_; }
  SagaStore& sagas() override { return sagas_; }
  LetterStore* letters() override { return inner_->letters(); }

 private:
  template <class Request, class Value, class Run>
  static void commit(Request request, Then<Value> then, Run run) {
    Fuse& fuse = Fuse::of_this_process();
    if (!fuse.burns()) return run(std::move(request), std::move(then));
    if (fuse.before) Fuse::crash();
    run(std::move(request), Fuse::then_crash<Value>(std::move(then)));
  }

  class State final : public StateStore {
   public:
    explicit State(StateStore& inner) : inner_(inner) {}
    void load(const Load& load, Then<Loaded> then) override { inner_.load(load, std::move(then)); }
    void commit(Commit one, Then<Committed> then) override {
      if (one.entity.kind == Bomb::kind) return inner_.commit(std::move(one), std::move(then));
      CrashingStores::commit<Commit, Committed>(std::move(one), std::move(then),
                                                [this](Commit go, Then<Committed> with) {
                                                  inner_.commit(std::move(go), std::move(with));
                                                });
    }
    void read_outbox(ShardId shard, const OwnerToken& token, const std::string& after,
                     std::size_t limit, Then<OutboxPage> then) override {
      inner_.read_outbox(shard, token, after, limit, std::move(then));
    }
    void trim_outbox(ShardId shard, const OwnerToken& token, const std::string& through,
                     Then<bool> then) override {
      inner_.trim_outbox(shard, token, through, std::move(then));
    }
    void read_timers(ShardId shard, const OwnerToken& token, std::int64_t until_ms,
                     std::size_t limit, Then<TimerPage> then) override {
      inner_.read_timers(shard, token, until_ms, limit, std::move(then));
    }
    void first_seen(const FirstSeen& id, Then<Seen> then) override {
      inner_.first_seen(id, std::move(then));
    }

   private:
    StateStore& inner_;
  };

  class Sagas final : public SagaStore {
   public:
    explicit Sagas(SagaStore& inner) : inner_(inner) {}
    void create(SagaCreate one, Then<SagaCreated> then) override {
      CrashingStores::commit<SagaCreate, SagaCreated>(
          std::move(one), std::move(then), [this](SagaCreate go, Then<SagaCreated> with) {
            inner_.create(std::move(go), std::move(with));
          });
    }
    void load(const SagaLoad& load, Then<SagaLoaded> then) override {
      inner_.load(load, std::move(then));
    }
    void commit(SagaCommit one, Then<SagaCommitted> then) override {
      CrashingStores::commit<SagaCommit, SagaCommitted>(
          std::move(one), std::move(then), [this](SagaCommit go, Then<SagaCommitted> with) {
            inner_.commit(std::move(go), std::move(with));
          });
    }
    void list(const SagaQuery& query, Then<SagaPage> then) override {
      inner_.list(query, std::move(then));
    }
    void overview(ShardId shard, const OwnerToken& token, Then<SagaOverview> then) override {
      inner_.overview(shard, token, std::move(then));
    }
    void tidy(const SagaTidy& tidy, Then<bool> then) override {
      inner_.tidy(tidy, std::move(then));
    }

   private:
    SagaStore& inner_;
  };

  std::unique_ptr<Stores> inner_;
  State state_;
  Sagas sagas_;
};

}  // namespace catga::testing
