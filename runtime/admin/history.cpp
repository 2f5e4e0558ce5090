#include "catga/runtime/admin/history.hpp"

#include <algorithm>
#include <utility>

namespace catga::admin {

void History::began(std::string id, std::string reason, std::int64_t now_ms) {
  const std::lock_guard guard(lock_);
  if (!rebalances_.empty()) rebalances_.back().pending = 0;  // what is left moves under the new one
  RebalancePart part;
  part.id = std::move(id);
  part.reason = std::move(reason);
  part.began_ms = part.last_ms = now_ms;
  rebalances_.push_back(std::move(part));
  if (rebalances_.size() > rebalances_kept) rebalances_.pop_front();
}

void History::pending(std::uint64_t shards) {
  const std::lock_guard guard(lock_);
  if (!rebalances_.empty()) rebalances_.back().pending = shards;
}

void History::failed() {
  const std::lock_guard guard(lock_);
  if (!rebalances_.empty()) rebalances_.back().failed += 1;
}

void History::moved(Move move) {
  const std::lock_guard guard(lock_);
  if (!rebalances_.empty()) {
    RebalancePart& part = rebalances_.back();
    part.moved += 1;
    part.last_ms = std::max(part.last_ms, move.at_ms);
    part.pause_ms_max = std::max(part.pause_ms_max, move.pause_ms);
    part.ways[{move.from, move.to, move.mode}] += 1;
  }
  moves_.push_back(std::move(move));
  if (moves_.size() > moves_kept) moves_.pop_front();
}

std::vector<RebalancePart> History::rebalances() const {
  const std::lock_guard guard(lock_);
  std::vector<RebalancePart> parts;
  for (auto part = rebalances_.rbegin(); part != rebalances_.rend(); ++part)
    if (part->moved + part->failed + part->pending > 0) parts.push_back(*part);
  return parts;
}

std::vector<Move> History::moves_of(std::uint32_t shard) const {
  const std::lock_guard guard(lock_);
  std::vector<Move> moves;
  for (auto move = moves_.rbegin(); move != moves_.rend() && moves.size() < moves_shown; ++move)
    if (move->shard == shard) moves.push_back(*move);
  return moves;
}

}  // namespace catga::admin
