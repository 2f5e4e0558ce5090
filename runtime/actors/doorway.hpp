// The way to one shard: its actor, and for entities in memory a shorter one that leaves the actor out.
//
// While a shard serves and nothing of it waits, its actor would only look an entity up and pass the message on. So
// whoever brings a message (a caller's thread, NATS, another entity) does that itself, under the door's lock: one job
// less per message. The shard's actor opens the door when it has settled in OWNED and closes it before it acts on
// anything else; so a message that went through it ran, for everybody, just before.
//
// Order: what one thread sends to one entity arrives in that order, for the door stays shut until the shard's actor has
// handled everything that was sent to it.
//
// Under the lock nothing runs but the look-up and the push: no handler, no answer, no refusal. Those may lead back to this
// door, or to the router's locks, on the same thread.
//
// Only the shard's actor changes which entities there are, and only under the lock; it may look without.
#pragma once
#include "catga/runtime/actors/entity_table.hpp"
#include "catga/runtime/envelope.hpp"
#include "catga/runtime/standing.hpp"
#include "catga/sharding/ownership.hpp"

#include <caf/actor.hpp>
#include <caf/intrusive_ptr.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace catga::actors {

class EntityActor;

class Doorway {
 public:
  struct Active {
    caf::intrusive_ptr<EntityActor> actor;
    std::uint64_t serial = 0;
    std::uint64_t sent = 0;         ///< under the lock
    std::uint64_t handled = 0;      ///< when it was last looked at; it was more by now, never less
    bool leaving = false;           ///< told to drain: gives back what has not run and ends
    std::vector<Envelope> backlog;  ///< what came since
  };
  using Entities = EntityTable<Active>;

  /// `mailbox`: messages an entity may have waiting (entity.mailbox).
  Doorway(const NodeStanding& standing, const std::atomic<std::uint64_t>& primary_changes,
          std::uint32_t mailbox);
  ~Doorway();
  Doorway(const Doorway&) = delete;
  Doorway& operator=(const Doorway&) = delete;

  // ---- any thread ----
  /// True: the message is in its entity's mailbox, and `envelope` is moved from.
  bool pass(Envelope& envelope);
  /// pass(), else to the shard's actor.
  void deliver(Envelope&& envelope);
  /// To the shard's actor. `seen`: the view their sender knew.
  void deliver(std::vector<Envelope> envelopes, ViewVersion seen);
  caf::actor actor() const;
  /// How the shard stands, for people: what its actor last said, and what is in memory.
  struct Look {
    ShardState state = ShardState::none;
    Epoch epoch;                 ///< of the token, while the shard is held
    std::uint32_t held = 0;      ///< messages that wait for the shard
    std::uint32_t entities = 0;  ///< in memory
    std::uint64_t messages = 0;  ///< given to entities since the node started
  };
  Look look() const;
  /// `see` is called with each entity in memory, under the lock: short, and without a call back.
  template <class See>
  void for_each_entity(See see) const {
    const std::lock_guard guard(lock_);
    for (const auto& [entity, active] : entities_) see(entity, active);
  }
  /// An entity of which nothing waits is told to leave memory. False: it is not there, or busy.
  bool passivate(const EntityId& entity);

  // ---- the node's actor ----
  void lead_to(caf::actor actor);

  // ---- the shard's actor ----
  /// One sending of deliver() has been handled.
  void handled();
  /// Messages may pass until close(), until Redis' primary has changed more often than so, or until another life of the
  /// node has begun (NodeStanding::life).
  void open(std::uint64_t primary_changes, std::uint64_t life);
  void close();
  const Entities& entities() const { return entities_; }
  std::unique_lock<std::mutex> lock() { return std::unique_lock(lock_); }
  Entities& entities() { return entities_; }
  void stands(ShardState state, Epoch epoch, std::size_t held) {
    state_.store(state, std::memory_order_relaxed);
    epoch_.store(epoch.value, std::memory_order_relaxed);
    held_.store(static_cast<std::uint32_t>(held), std::memory_order_relaxed);
  }
  /// One more message for `active`. Under the lock.
  void count(Active& active) {
    active.sent += 1;
    messages_ += 1;
  }
  /// Messages that `active` has not handled. Under the lock.
  static std::uint64_t waiting(const Active& active);

 private:
  bool passes(Envelope& envelope);
  bool is_full(Active& active) const;

  const NodeStanding& standing_;
  const std::atomic<std::uint64_t>& primary_changes_now_;
  const std::uint32_t mailbox_;
  mutable std::mutex lock_;
  bool open_ = false;
  std::uint64_t primary_changes_ = 0, life_ = 0;  // as of open()
  std::uint32_t on_way_ = 0;                      // sent to the shard's actor and not handled by it
  Entities entities_;
  caf::actor actor_;
  std::uint64_t messages_ = 0;
  // said by the shard's actor, read by who shows it: each for itself
  std::atomic<ShardState> state_{ShardState::none};
  std::atomic<std::uint64_t> epoch_{0};
  std::atomic<std::uint32_t> held_{0};
};

}  // namespace catga::actors
