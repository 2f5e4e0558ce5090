// The membership view: an immutable table of members with a version, and what changed between two.
#pragma once
#include "catga/sharding/ids.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace catga {

enum class MemberState : std::uint8_t { warm, shadow, up, leaving };

/// "WARM", "SHADOW", "UP", "LEAVING": as the rows in Redis say it.
std::string_view name_of(MemberState state);

/// One row of the table. Only UP members are in the ring.
struct Member {
  Incarnation incarnation;
  MemberState state = MemberState::warm;
  std::string name;            ///< node.id: stable, places shards
  std::uint32_t weight = 1;    ///< 1–16
  std::string app_version;     ///< no spaces; "-" if unknown
  std::string host;            ///< no spaces
  std::int64_t joined_ms = 0;  ///< Unix time, for people
  friend bool operator==(const Member&, const Member&) = default;
};

/// `<STATE> <name> <weight> <app version> <host> <joined ms>`.
std::string row_of(const Member& member);
/// The part of a row behind the name, without leading space: what JOIN is given.
std::string row_rest_of(const Member& member);
/// Reads a row. Errors: malformed.
Result<Member> parse_row(Incarnation incarnation, std::string_view row);

/// Equal versions mean equal tables along one Redis history.
struct MembershipView {
  ViewVersion version;
  std::vector<Member> members;  ///< sorted by incarnation

  /// The member with this incarnation, or nullptr: it has ended, or is newer than this view.
  const Member* find(Incarnation incarnation) const;
  friend bool operator==(const MembershipView&, const MembershipView&) = default;
};

/// Who came, went or changed state, for logs and for callers that wait for a node.
struct ViewChange {
  std::vector<Member> joined;   ///< newly UP
  std::vector<Member> leaving;  ///< newly LEAVING
  std::vector<Member> ended;    ///< in the old view and not in the new one
};
ViewChange changes(const MembershipView& before, const MembershipView& after);

}  // namespace catga
