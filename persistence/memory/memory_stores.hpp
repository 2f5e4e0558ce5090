// All stores of one cluster in memory: embedded mode, tests, and the model the simulator runs
// against.
//
// Each method is the twin of a script in redis/scripts.cpp: same order of checks, same outcomes,
// same numbers. A test runs both on random sequences and compares. Nothing survives the object. One
// object is one cluster; nodes of one process share it by reference.
//
// Thread-safe by one mutex. `then` is called before the call returns and after the mutex is
// released, so it may call the store again.
#pragma once
#include "catga/persistence/letters.hpp"
#include "catga/persistence/saga_store.hpp"
#include "catga/persistence/stores.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace catga {

class MemoryStores final : public Stores {
 public:
  /// `now_ms` takes the place of Redis TIME: milliseconds since 1970. Called with the mutex held.
  explicit MemoryStores(std::function<std::int64_t()> now_ms);
  ~MemoryStores() override;

  OwnerStore& owners() override;
  MemberStore& members() override;
  StateStore& state() override;
  SagaStore& sagas() override;
  LetterStore* letters() override;

  // ---- for simulations ----
  /// What a replica does at a full synchronisation: holds what `other` holds. Its clock stays.
  void become(const MemoryStores& other);
  /// What stands there, whoever owns it: version, state and bookkeeping.
  Loaded peek(ShardId shard, const EntityId& entity) const;
  /// Entries in the outbox of a shard, and timers.
  std::pair<std::size_t, std::size_t> outputs(ShardId shard) const;
  std::optional<std::int64_t> first_timer(ShardId shard) const;  ///< when the first one is due
  bool has_member(Incarnation node) const;
  /// A planted bug: an ended incarnation is a member again, unless its name has another holder.
  bool revive(Incarnation node, std::int64_t session_ms);
  /// Calls made within `call` see this time.
  template <class Call>
  auto at_time(std::int64_t now_ms, Call call) {
    pretend(now_ms);
    auto result = call();
    pretend(std::nullopt);
    return result;
  }

 private:
  void pretend(std::optional<std::int64_t> now_ms);
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga
