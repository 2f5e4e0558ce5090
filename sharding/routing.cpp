#include "catga/sharding/routing.hpp"

namespace catga {

namespace {

Route forward_or_refuse(Incarnation to, Epoch epoch, std::uint8_t hops) {
  if (hops >= hops_max) return {Verdict::refuse, to, epoch};
  return {Verdict::forward, to, epoch};
}

}  // namespace

Route route(const Shard& shard, const Surroundings& around, Epoch route_epoch, std::uint8_t hops,
            bool fresh, bool session_ok, bool behind) {
  switch (shard.state) {
    case ShardState::owned:
      return {shard.hydrating || !session_ok ? Verdict::hold : Verdict::run, {}, {}};
    case ShardState::claiming:
    case ShardState::incoming:
    case ShardState::suspended:
    case ShardState::draining:
    case ShardState::in_doubt:
      return {Verdict::hold, {}, {}};
    case ShardState::none:
    case ShardState::forwarding:
      break;
  }
  if (behind) return {Verdict::hold, {}, {}};
  const bool known = shard.known_owner && shard.known_owner != around.self;
  const bool lives =
      known && around.view != nullptr && around.view->find(shard.known_owner) != nullptr;
  if (lives && (shard.known_epoch > route_epoch || fresh)) {
    return forward_or_refuse(shard.known_owner, shard.known_epoch, hops);
  }
  if (!fresh) return {Verdict::look_up, {}, {}};
  return {Verdict::hold, {}, {}};  // free, or its owner ended: somebody claims it soon, perhaps we
}

}  // namespace catga
