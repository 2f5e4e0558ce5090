// Where a message for a shard goes: run it here, hold it, send it on, look up the record, or refuse
// it.
//
// Every hop must raise the known epoch, so a message cannot run in circles: a node sends on only
// along a route with a higher epoch than the one the message came by. One exception: a record read
// from Redis after the message arrived may be followed whatever its epoch (Redis was rolled back).
// Beyond 4 hops the message is refused.
#pragma once
#include "catga/sharding/ownership.hpp"

#include <cstdint>

namespace catga {

constexpr std::uint8_t hops_max = 4;

enum class Verdict : std::uint8_t {
  run,      ///< deliver to the entity
  hold,     ///< the shard is on its way to or from us: buffer, in order
  forward,  ///< send to the owner, hops + 1, with its epoch
  look_up,  ///< read the record (one read for all that wait), then ask again with `fresh`
  refuse,   ///< unavailable
};
struct Route {
  Verdict verdict = Verdict::refuse;
  Incarnation to;  ///< with forward
  Epoch epoch;     ///< with forward
};

/// `route_epoch` and `hops`: of the message. `fresh`: the record was read after the message arrived.
/// `session_ok`: before the session deadline. `behind`: its sender knows a newer view than this node. Then the owner known
/// here may be the very one that has ended: the message waits for the view instead of following it. Pure.
Route route(const Shard& shard, const Surroundings& around, Epoch route_epoch, std::uint8_t hops,
            bool fresh, bool session_ok, bool behind = false);

}  // namespace catga
