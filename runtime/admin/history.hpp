// What this node remembers of rebalances and of shards that moved, for people who look later. Thread-safe.
//
// A rebalance here is what follows one change of the view, told from this node: the shards it gave away and those it
// took. Nobody sees a whole one; the answers of all nodes, added up by the version of the view, are it.
#pragma once
#include "catga/sharding/ids.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

namespace catga::admin {

/// One shard that changed hands, as the node tells it that knows it first.
struct Move {
  std::uint32_t shard = 0;
  std::string from, to;    ///< node ids; from "-": nobody had it
  std::string mode;        ///< planned (told by the old owner), takeover or claim (by the new one)
  Epoch epoch;             ///< of the new owner's token
  std::int64_t at_ms = 0;  ///< Unix time
  std::int64_t pause_ms = 0;  ///< for so long nobody served it
  std::int64_t entities = 0;  ///< in memory when it left; 0 at a take-over
};

/// This node's part of one rebalance.
struct RebalancePart {
  std::string id;                          ///< version of the view that caused it
  std::string reason;                      ///< node_joined, node_left, node_draining
  std::int64_t began_ms = 0, last_ms = 0;  ///< Unix time; of the last move
  std::uint64_t moved = 0, failed = 0;
  std::uint64_t pending = 0;  ///< of this node's shards that are still to leave
  std::int64_t pause_ms_max = 0;
  std::map<std::tuple<std::string, std::string, std::string>, std::uint64_t>
      ways;  ///< from, to, mode → shards
};

class History {
 public:
  static constexpr std::size_t rebalances_kept = 50, moves_kept = 8192, moves_shown = 16;

  /// A view that somebody joined, left or is leaving.
  void began(std::string id, std::string reason, std::int64_t now_ms);
  /// Of the newest one.
  void pending(std::uint64_t shards);
  void failed();
  void moved(Move move);

  /// The newest first; without those in which nothing had to move here.
  std::vector<RebalancePart> rebalances() const;
  /// The newest first, at most moves_shown.
  std::vector<Move> moves_of(std::uint32_t shard) const;

 private:
  mutable std::mutex lock_;
  std::deque<RebalancePart> rebalances_;  // the newest last
  std::deque<Move> moves_;                // the same
};

}  // namespace catga::admin
