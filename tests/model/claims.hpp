// The second exhaustive model: two claimers whose views are of any age (races R1, R38, R44).
//
// The member table is in one Redis slot, the owner record in another. Two nodes, each with two
// incarnations, join, are evicted and return. Each acts by a view that may be older than the table;
// views only grow. A claim is decided by the node's view and the record as read then; its
// compare-and-set runs at any later time, or never. So does a JOIN whose first copy was answered.
// What must never happen: the record leaves an incarnation that is a member, other than by its own
// XFER (I5). Nothing fails over here.
//
// Progress: from every state somebody can come to own the shard who is a member.
//
// Left out: names, states between WARM and UP, sessions that end without EVICT (an expired session
// that REAP has not seen yet is still a member: the table decides).
#pragma once
#include "search.hpp"

#include <array>
#include <cstdint>
#include <string>

namespace catga::model {

struct ClaimSetting {
  bool one_shot_sessions = true;  ///< false: RENEW makes an ended session anew, and its member.
  bool rv_check = true;           ///< false: the view of the record's writer is not asked for.
  bool gone_in_join = true;       ///< false: a late JOIN brings an ended incarnation back.
};

inline constexpr int most_lives = 2;  ///< Incarnations of a node.
inline constexpr int most_views = 7;  ///< Each life begins once, and each but the last may end.
inline constexpr int most_gifts = 2;  ///< Planned moves.

/// What a node does about the record: a compare-and-set that has not run.
struct Claim {
  bool sent = false;
  int expected = 0;   ///< Number of the record's write that it has seen: the token.
  int heir = 0;       ///< incarnation
  bool gift = false;  ///< XFER, not ACQ.
  int rv = 0;
};

struct ClaimNode {
  int life = 0;       ///< Incarnations begun; 0: has not joined yet.
  int view = 0;       ///< Its view's number.
  int late_join = 0;  ///< The life for which a copy of JOIN may still run; 0: none.
  Claim claim;
};

struct ClaimState {
  int views = 0;                        ///< Number of the newest view.
  std::array<int, most_views> table{};  ///< Members of each view: one bit per incarnation.
  int owner = 0;                        ///< Incarnation + 1; 0: free.
  int token = 0;                        ///< Counts the writes of the record.
  int rv = 0;
  int gifts = 0;
  std::array<ClaimNode, 2> nodes;
};

enum class ClaimDeed : std::uint8_t {
  join,
  join_twice,
  late_join,
  evict,
  revive,
  look,
  claim,
  give,
  cas_runs,
};

struct ClaimStep {
  ClaimDeed deed;
  int node = 0;
  int detail = 0;
};

class Claims {
 public:
  using State = ClaimState;
  using Step = ClaimStep;
  using Packed = std::array<std::uint64_t, 3>;

  explicit Claims(const ClaimSetting& setting) : setting_(setting) {}
  State first() const { return {}; }
  void steps(const State& from, Steps<State, Step>& out) const;
  bool ended(const State& state) const;
  Packed pack(const State& state) const;
  State unpack(const Packed& packed) const;
  std::string tell(const Step& step) const;
  std::string tell(const State& state) const;

 private:
  ClaimSetting setting_;
};

}  // namespace catga::model
