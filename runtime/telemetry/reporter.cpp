#include "catga/runtime/telemetry/reporter.hpp"

#include "catga/sharding/hash.hpp"

#include <string>

namespace catga {

Incarnation reporter_of(const MembershipView& view) { return reporter_of(view, Incarnation{}); }

/// Not by the view's version: nodes may skip versions, and would choose differently.
Incarnation reporter_of(const MembershipView& view, Incarnation about) {
  constexpr std::uint64_t domain = 50;
  Incarnation reporter;
  std::uint64_t highest = 0;
  for (const Member& member : view.members) {
    if (member.state != MemberState::up) continue;
    const std::uint64_t hash =
        member.incarnation == about ? 0 : hash64(domain, text_of(about) + ' ' + member.name);
    if (reporter && hash <= highest) continue;
    highest = hash;
    reporter = member.incarnation;
  }
  return reporter;
}

}  // namespace catga
