// Who watches whom: a pure function of the view, so that every node knows who hears it and whom it
// must hear.
//
// All watch all while that is cheap. Above, k rings: on ring i the members stand in the order of a
// hash of their own, and each watches the first one after itself that it does not watch yet. Rings
// of different order spread the watchers of one node over the cluster, so that no single machine
// holds all who could notice its end.
#pragma once
#include "catga/sharding/view.hpp"

#include <cstdint>
#include <vector>

namespace catga {

constexpr std::size_t all_watch_all_up_to = 8;  ///< members; above: rings

/// Whom each member watches, in the order of view.members; the members of a row are sorted.
std::vector<std::vector<Incarnation>> watch_table(const MembershipView& view, std::uint32_t rings);

/// Both sides of one member. Empty for an incarnation that is not in the view.
struct WatchDuty {
  std::vector<Incarnation> targets;   ///< whom it watches
  std::vector<Incarnation> watchers;  ///< who watches it
};
WatchDuty watch_duty(const MembershipView& view, Incarnation member, std::uint32_t rings);

}  // namespace catga
