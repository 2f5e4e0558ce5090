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
#include "catga/persistence/stores.hpp"

#include <cstdint>
#include <functional>
#include <memory>

namespace catga {

class MemoryStores final : public Stores {
 public:
  /// `now_ms` takes the place of Redis TIME: milliseconds since 1970. Called with the mutex held.
  explicit MemoryStores(std::function<std::int64_t()> now_ms);
  ~MemoryStores() override;

  OwnerStore& owners() override;
  MemberStore& members() override;
  StateStore& state() override;

 private:
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga
