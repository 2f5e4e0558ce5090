// The third exhaustive model: NATS is cut between nodes that all reach Redis, and everybody votes.
//
// Each node votes by EVICT against each node beyond the cut, in any order, again and again. All
// have voted once before the first vote is T_hold old: one event is noticed by all within 250 ms.
// That, the count of votes, and the brakes on mass and on condemned voters are the script's; votes
// stay fresh, and the evidence is "no responders", which the third brake does not limit.
// What must not happen: a split of two and three evicts somebody.
#pragma once
#include "search.hpp"

#include <array>
#include <cstdint>
#include <string>

namespace catga::model {

struct SplitSetting {
  bool holds = true;  ///< false: T_hold is left out.
  /// An eviction from the smaller side is no violation: to show that the larger is not safe either.
  bool larger_only = false;
};

inline constexpr int split_nodes = 5;
inline constexpr int smaller_side = 2;  ///< Nodes 0 and 1.

struct SplitState {
  std::array<int, split_nodes> votes{};  ///< Against each node: one bit per voter.
  int condemned = 0;                     ///< One bit per node.
  int gone = 0;                          ///< One bit per node.
  bool held = false;                     ///< T_hold has passed.
};

struct SplitStep {
  int voter = -1;  ///< None: T_hold passes.
  int target = 0;
  bool evicts = false;
};

class Split {
 public:
  using State = SplitState;
  using Step = SplitStep;
  using Packed = std::array<std::uint64_t, 1>;

  explicit Split(const SplitSetting& setting) : setting_(setting) {}
  State first() const { return {}; }
  void steps(const State& from, Steps<State, Step>& out) const;
  /// Nothing has to come about here.
  bool ended(const State&) const { return true; }
  Packed pack(const State& state) const;
  State unpack(const Packed& packed) const;
  std::string tell(const Step& step) const;
  std::string tell(const State& state) const;

 private:
  void vote(const State& from, int voter, int target, Steps<State, Step>& out) const;
  SplitSetting setting_;
};

}  // namespace catga::model
