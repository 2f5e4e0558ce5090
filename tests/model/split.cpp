// EVICT, called by both sides of a split.
#include "split.hpp"

#include <bit>
#include <utility>

namespace catga::model {
namespace {

std::size_t index(int number) { return static_cast<std::size_t>(number); }
int count(int bits) { return std::popcount(static_cast<unsigned>(bits)); }
bool has(int bits, int node) { return (bits >> node) % 2 == 1; }
bool apart(int a, int b) { return (a < smaller_side) != (b < smaller_side); }

bool all_voted(const SplitState& state) {
  for (int voter = 0; voter < split_nodes; ++voter) {
    for (int target = 0; target < split_nodes; ++target) {
      const bool votes = apart(voter, target) && !has(state.gone, voter);
      if (votes && !has(state.gone, target) && !has(state.votes[index(target)], voter)) {
        return false;
      }
    }
  }
  return true;
}

template <class Bits, class T>
void state_bits(Bits& bits, T& state) {
  for (auto& votes : state.votes) bits(votes, split_nodes);
  bits(state.condemned, split_nodes);
  bits(state.gone, split_nodes);
  bits(state.held, 1);
}

std::string names(int nodes) {
  std::string text;
  for (int node = 0; node < split_nodes; ++node) {
    if (has(nodes, node)) text += " " + std::to_string(node);
  }
  return text.empty() ? " none" : text;
}

}  // namespace

void Split::steps(const State& from, Steps<State, Step>& out) const {
  for (int voter = 0; voter < split_nodes; ++voter) {
    for (int target = 0; target < split_nodes; ++target) {
      const bool both = !has(from.gone, voter) && !has(from.gone, target);
      if (both && apart(voter, target)) vote(from, voter, target, out);
    }
  }
  if (!from.held && all_voted(from)) {
    State next = from;
    next.held = true;
    out.push_back({next, {}});
  }
}

/// The script, in its order.
void Split::vote(const State& from, int voter, int target, Steps<State, Step>& out) const {
  State next = from;
  const int members = split_nodes - count(from.gone);
  const int need = members > 2 ? 2 : 1;
  int& votes = next.votes[index(target)];
  votes |= 1 << voter;
  if (count(votes) < need) return out.push_back({next, {voter, target}});
  const int good = count(votes & ~from.condemned);
  next.condemned |= 1 << target;
  const bool mass = members > 2 && 2 * count(next.condemned) >= members;
  const bool waits = setting_.holds && !from.held;
  if (mass || good < need || waits) return out.push_back({next, {voter, target}});
  next.gone |= 1 << target;
  next.condemned &= ~(1 << target);
  for (int& others : next.votes) others &= ~(1 << target);
  votes = 0;
  const bool counts = target >= smaller_side || !setting_.larger_only;
  const Property broken = counts ? Property::split_held : Property::none;
  out.push_back({next, {voter, target, true}, true, broken});
}

Split::Packed Split::pack(const State& state) const {
  Writer<std::tuple_size_v<Packed>> bits;
  state_bits(bits, state);
  return bits.packed();
}

Split::State Split::unpack(const Packed& packed) const {
  State state;
  Reader<std::tuple_size_v<Packed>> bits(packed);
  state_bits(bits, state);
  return state;
}

std::string Split::tell(const Step& step) const {
  if (step.voter < 0) return "T_hold passes";
  const std::string text =
      "node " + std::to_string(step.voter) + " votes against node " + std::to_string(step.target);
  return step.evicts ? text + ", which is evicted" : text;
}

std::string Split::tell(const State& state) const {
  return "nodes 0 and 1 cut from 2, 3 and 4; condemned:" + names(state.condemned) +
         "; evicted:" + names(state.gone);
}

}  // namespace catga::model
