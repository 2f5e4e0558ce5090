// The sagas of a shard as its actor sees them: one supervisor, there while the shard is served.
#pragma once
#include "catga/runtime/actors/saga_messages.hpp"
#include "catga/runtime/actors/surroundings.hpp"

#include <caf/event_based_actor.hpp>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

namespace catga::actors {

/// Part of the shard actor. Without hosted sagas it does nothing.
class ShardSagas {
 public:
  ShardSagas(caf::event_based_actor& shard, Host& host, ShardId id)
      : shard_(shard), host_(host), id_(id) {}

  /// The shard has just been taken; `none`: without any saga in it.
  void taken(bool none) { none_ = none; }
  /// The shard is served, from now on or again. `crashed`: its owner before did not give it away.
  void serve(const OwnerToken& token, const std::shared_ptr<ShardGate>& gate, bool crashed);
  /// Is it for a saga? Then it is theirs, or it is answered.
  bool take(Envelope& envelope);
  /// Is it a timer of a saga?
  bool fire(const TimerEntry& timer);
  void retoken(const OwnerToken& token);
  void drain();
  bool drained() const { return !ending_; }
  /// What they had not handled; null: of an earlier life.
  std::vector<Envelope>* drained(const SagasDrained& message);
  void drop();

  enum class Death { not_ours, again, too_often };
  /// Somebody died. `again`: SagasAgain comes when it shall be replaced.
  Death died(const caf::down_msg& down);
  /// Replaces the one that died.
  void replace(const SagasAgain& message);

 private:
  void spawn(bool crashed);
  caf::actor shard_handle() { return caf::actor_cast<caf::actor>(&shard_); }

  caf::event_based_actor& shard_;
  Host& host_;
  const ShardId id_;
  OwnerToken token_;
  std::shared_ptr<ShardGate> gate_;
  caf::actor supervisor_;
  std::uint64_t life_ = 0;
  bool none_ = false;
  bool serving_ = false;
  bool ending_ = false;              // drains, even if the shard stays after all
  std::deque<std::int64_t> deaths_;  // boot_ms()
};

}  // namespace catga::actors
