#include "catga/runtime/telemetry/reporter.hpp"

#include "catga/sharding/hash.hpp"

#include <string>

namespace catga {

Incarnation reporter_of(const MembershipView& view) {
  constexpr std::uint64_t domain = 50;
  Incarnation reporter;
  std::uint64_t highest = 0;
  for (const Member& member : view.members) {
    if (member.state != MemberState::up) continue;
    const std::uint64_t hash =
        hash64(domain, std::to_string(view.version.value) + ' ' + member.name);
    if (reporter && hash < highest) continue;
    highest = hash;
    reporter = member.incarnation;
  }
  return reporter;
}

}  // namespace catga
