// Which Redis process is the primary, as this process knows it: shared by all its connections.
//
// A primary is known by its run id, which is new at each start: another run id is another history,
// perhaps a shorter one. Two things follow, and both are kept here.
//
// All connections of a process speak to the same primary. The knowledge has a term; a connection
// belongs to the term in which it was opened and is left when the term ends. A term ends when a
// connection meets another run id, or when a sentinel names another address. A connection that was
// being opened meanwhile may have followed the older knowledge, so it is refused and opened again.
//
// Who must check its memory against the store is told before the store is used again: `on_change`
// returns before any request of this process travels to the new primary.
#pragma once
#include "catga/persistence/redis/options.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

namespace catga {

/// Thread-safe. Shared by copies of RedisOptions, see RedisOptions::primary.
class PrimaryWatch {
 public:
  /// On a thread of the store, once for each change and never for the first primary. It holds up
  /// all connections that want to be opened: note, post and return. Must not call met().
  using OnChange =
      std::function<void(const std::string& run_id_old, const std::string& run_id_new)>;

  explicit PrimaryWatch(OnChange on_change = nullptr) : on_change_(std::move(on_change)) {}

  /// The run id of the primary met last; "" before the first.
  std::string primary_id() const;

  // ---- for connections --------------------------------------------------------------------------

  std::uint64_t term() const { return term_.load(); }
  /// A connection begun in term `began` has reached the primary `run_id`. The term it belongs to;
  /// none if the term ended meanwhile: ask again where the primary is.
  std::optional<std::uint64_t> met(const std::string& run_id, const RedisAddress& at,
                                   std::uint64_t began);

  // ---- with sentinels ---------------------------------------------------------------------------

  /// A sentinel names `address`. Ends the term if the connections of this term stand elsewhere;
  /// gives back whether it did.
  bool named(const RedisAddress& address);
  /// The place in the list of the sentinel to ask first: the last that led to a primary.
  std::size_t first_sentinel() const { return first_sentinel_.load(); }
  void trust_sentinel(std::size_t place) { first_sentinel_.store(place); }

 private:
  const OnChange on_change_;
  std::mutex telling_;  // held from the change until it is told, so that nobody overtakes the news
  mutable std::mutex mutex_;
  std::string run_id_;                  // guarded by mutex_, as the next
  std::optional<RedisAddress> at_;      // where the connections of this term are; none: nowhere yet
  std::atomic<std::uint64_t> term_{1};  // written under mutex_
  std::atomic<std::size_t> first_sentinel_{0};
};

}  // namespace catga
