// The sagas of one shard in memory: the twins of the saga scripts, without the fence. Not thread-safe; MemoryStores
// checks the token, holds the mutex, and applies what a commit says of timers and outbox.
#pragma once
#include "catga/persistence/saga_store.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace catga {

class SagaShelf {
 public:
  /// `clock_ms` is the store's own time, for what expires.
  SagaCreated create(const SagaCreate& create, std::int64_t clock_ms);
  SagaLoaded load(const SagaLoad& load, std::int64_t clock_ms);
  /// With ok the caller writes the timers and the outbox.
  SagaCommitted commit(const SagaCommit& commit, std::int64_t clock_ms);
  SagaPage list(const SagaQuery& query, std::int64_t clock_ms);
  void count(SagaOverview& overview) const;
  /// All but What::timer.
  void tidy(const SagaTidy& tidy);
  bool idle() const { return active_.empty(); }

 private:
  struct Saga {
    std::map<std::string, std::string> fields;
    std::vector<std::string> journal;
    std::optional<std::int64_t> fields_until_ms, journal_until_ms;
  };
  /// Member -> score, and the other way round.
  class Index {
   public:
    void set(const std::string& member, std::int64_t score);
    void set_if_new(const std::string& member, std::int64_t score);
    void erase(const std::string& member);
    void erase_up_to(std::int64_t score, std::size_t most);
    std::size_t size() const { return scores_.size(); }
    bool empty() const { return scores_.empty(); }
    const std::set<std::pair<std::int64_t, std::string>>& in_order() const { return order_; }

   private:
    std::map<std::string, std::int64_t> scores_;
    std::set<std::pair<std::int64_t, std::string>> order_;
  };

  Saga* find(const EntityId& saga, std::int64_t clock_ms);
  Index& list_of(SagaPlace place);

  std::map<EntityId, Saga> sagas_;
  Index active_, parked_, ended_;
};

}  // namespace catga
