// The stores of a cluster in one Redis primary.
//
// Owner records and members go over a pipeline of their own and never queue behind commits; state
// goes over RedisOptions::connections pipelines, a shard keeps to one, so that its commits share
// calls. What Redis is asked is in scripts.hpp, where it is kept in keys.hpp, what becomes of a
// request without an answer in pipeline.hpp.
//
// All calls are thread-safe. `then` runs on a thread of the store, or before the call returns when
// the queue is full. Nothing is repeated here except what Redis surely did not run (NOSCRIPT):
// `unknown` and `unavailable` go to the caller, whose requests are all safe to repeat.
//
// With RedisOptions::sentinels the primary is looked for at every connect (connection.hpp) and
// checked twice a second (sentinel_patrol.hpp); that all connections speak to the same one, and who
// is told when it is another, is in primary_watch.hpp.
#pragma once
#include "catga/persistence/letters.hpp"
#include "catga/persistence/redis/options.hpp"
#include "catga/persistence/saga_store.hpp"
#include "catga/persistence/stores.hpp"

#include <memory>
#include <string>

namespace catga {

class RedisStores final : public Stores {
 public:
  /// Begins to connect and goes on trying; requests wait for it, at most command_timeout.
  explicit RedisStores(RedisOptions options);
  ~RedisStores() override;

  OwnerStore& owners() override;
  MemberStore& members() override;
  StateStore& state() override;
  SagaStore& sagas() override;
  LetterStore* letters() override;

  /// What must be right before a node starts, by a connection of its own; blocks for a few seconds
  /// at most. Errors: unavailable (not reachable, loading, a replica: try again), malformed
  /// (password, version, eviction policy or clock: no use trying again). The text says what to do.
  Status check_boot() const;

  /// The run id of the Redis process that was the primary when one was last met; "" before the
  /// first. Nodes compare it to notice that they write to different primaries.
  std::string primary_id() const;

 private:
  struct Private;
  std::unique_ptr<Private> private_;
};

/// The members alone, over a pipeline of their own: for the driver of the membership.
std::unique_ptr<MemberStore> make_redis_member_store(const RedisOptions& options);

}  // namespace catga
