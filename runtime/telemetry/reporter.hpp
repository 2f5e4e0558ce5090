// Who tells what all nodes know.
#pragma once
#include "catga/sharding/view.hpp"

namespace catga {

/// The UP member that speaks for the cluster in this view; every node computes the same one, nobody elects it. None:
/// nobody is UP.
Incarnation reporter_of(const MembershipView& view);
/// The UP member that tells for all what happened to `about`: every node computes the same one, nobody elects it, and it is
/// not `about` itself unless that is alone. None: nobody is UP.
Incarnation reporter_of(const MembershipView& view, Incarnation about);

}  // namespace catga
