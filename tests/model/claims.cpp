// What can happen between the member table, the owner record and two claimers.
#include "claims.hpp"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace catga::model {
namespace {

using State = ClaimState;
using Step = ClaimStep;

std::size_t index(int number) { return static_cast<std::size_t>(number); }
int node_of(int incarnation) { return incarnation / most_lives; }
int incarnation_of(int node, int life) { return node * most_lives + life - 1; }
int current(const State& state, int node) {
  return incarnation_of(node, state.nodes[index(node)].life);
}
bool has(int table, int incarnation) { return (table >> incarnation) % 2 == 1; }
bool member(const State& state, int incarnation) {
  return has(state.table[index(state.views)], incarnation);
}
/// A member whose node has not begun another life.
bool living(const State& state, int incarnation) {
  const bool latest = current(state, node_of(incarnation)) == incarnation;
  return latest && member(state, incarnation);
}
bool joined(const State& state, int node) { return state.nodes[index(node)].life > 0; }

/// Is the node a member as far as it knows?
bool sees_itself(const State& state, int node) {
  const ClaimNode& me = state.nodes[index(node)];
  return joined(state, node) && has(state.table[index(me.view)], current(state, node));
}

/// A new view; false if the model has no room for it.
bool change(State& state, int table) {
  if (state.views + 1 >= most_views) return false;
  const int before = state.table[index(state.views)];
  if (before == table) return false;
  state.table[index(++state.views)] = table;
  return true;
}

class Next {
 public:
  Next(const ClaimSetting& setting, const State& from, Steps<State, Step>& out)
      : setting_(setting), from_(from), out_(out) {}

  void all() {
    for (int node = 0; node < 2; ++node) {
      membership(node);
      look(node);
      claim(node);
      give(node);
      request(node);
    }
  }

 private:
  void membership(int node);
  void look(int node);
  void claim(int node);
  void give(int node);
  void request(int node);
  int table() const { return from_.table[index(from_.views)]; }
  void emit(const State& next, Step step, bool reliable = true, Property broken = Property::none) {
    out_.push_back({next, step, reliable, broken});
  }

  const ClaimSetting& setting_;
  const State& from_;
  Steps<State, Step>& out_;
};

void Next::membership(int node) {
  const ClaimNode& me = from_.nodes[index(node)];
  const bool in = joined(from_, node) && member(from_, current(from_, node));
  State next = from_;
  ClaimNode& then = next.nodes[index(node)];
  // The first JOIN, or RENEW answered 0.
  if (!in && me.life < most_lives &&
      change(next, table() | 1 << incarnation_of(node, me.life + 1))) {
    ++then.life;
    then.view = next.views;
    emit(next, {ClaimDeed::join, node});
    then.late_join = then.life;
    emit(next, {ClaimDeed::join_twice, node}, false);
  }
  next = from_;
  // With its last life a node stays, so that somebody can own the shard in the end.
  if (in && me.life < most_lives && change(next, table() & ~(1 << current(from_, node)))) {
    emit(next, {ClaimDeed::evict, node}, false);
  }
  next = from_;
  if (joined(from_, node) && !in && !setting_.one_shot_sessions &&
      change(next, table() | 1 << current(from_, node))) {
    emit(next, {ClaimDeed::revive, node}, false);
  }
  if (me.late_join > 0) {
    next = from_;
    then.late_join = 0;
    const int incarnation = incarnation_of(node, me.late_join);
    // A row that is there is answered OK; one that has ended is SPENT.
    if (!setting_.gone_in_join) change(next, table() | 1 << incarnation);
    emit(next, {ClaimDeed::late_join, node}, false);
  }
}

/// A view of any age, but newer than the last.
void Next::look(int node) {
  if (!joined(from_, node)) return;
  for (int view = from_.nodes[index(node)].view + 1; view <= from_.views; ++view) {
    State next = from_;
    next.nodes[index(node)].view = view;
    emit(next, {ClaimDeed::look, node, view});
  }
}

void Next::claim(int node) {
  const ClaimNode& me = from_.nodes[index(node)];
  if (me.claim.sent || !sees_itself(from_, node)) return;
  const int self = current(from_, node);
  const int owner = from_.owner - 1;
  const bool free = from_.owner == 0;
  const bool mine = !free && node_of(owner) == node && owner != self;  // of an earlier life
  const bool ended = !free && node_of(owner) != node && !has(from_.table[index(me.view)], owner) &&
                     (from_.rv <= me.view || !setting_.rv_check);
  if (!free && !mine && !ended) return;
  State next = from_;
  next.nodes[index(node)].claim = {true, from_.token, self, false, me.view};
  emit(next, {ClaimDeed::claim, node, me.view});
}

void Next::give(int node) {
  const ClaimNode& me = from_.nodes[index(node)];
  const int other = 1 - node;
  if (me.claim.sent || from_.gifts == most_gifts || !sees_itself(from_, node)) return;
  if (from_.owner - 1 != current(from_, node) || !joined(from_, other)) return;
  const int heir = current(from_, other);
  if (!has(from_.table[index(me.view)], heir)) return;
  State next = from_;
  ++next.gifts;
  next.nodes[index(node)].claim = {true, from_.token, heir, true, me.view};
  emit(next, {ClaimDeed::give, node, me.view}, false);
}

void Next::request(int node) {
  const Claim& claim = from_.nodes[index(node)].claim;
  if (!claim.sent) return;
  State next = from_;
  next.nodes[index(node)].claim = {};
  Property broken = Property::none;
  if (claim.expected == from_.token) {
    const int before = from_.owner - 1;
    const bool taken = from_.owner != 0 && !claim.gift && before != claim.heir;
    if (taken && living(from_, before)) broken = Property::no_theft;
    next.owner = claim.heir + 1;
    next.rv = claim.rv;
    ++next.token;
  }
  emit(next, {ClaimDeed::cas_runs, node}, true, broken);
}

template <class Bits, class T>
void state_bits(Bits& bits, T& state) {
  bits(state.views, 4);
  for (int i = 1; i <= state.views; ++i) bits(state.table[index(i)], 2 * most_lives);
  bits(state.owner, 3);
  bits(state.token, 4);
  bits(state.rv, 4);
  bits(state.gifts, 2);
  for (auto& node : state.nodes) {
    bits(node.life, 2);
    bits(node.view, 4);
    bits(node.late_join, 2);
    bits(node.claim.sent, 1);
    if (!node.claim.sent) continue;
    bits(node.claim.expected, 4);
    bits(node.claim.heir, 3);
    bits(node.claim.gift, 1);
    bits(node.claim.rv, 4);
  }
}

/// Views that nobody holds any more, and before the record's, are all the same.
void forget_old_views(State& state) {
  int oldest = state.views;
  for (int node = 0; node < 2; ++node) {
    if (joined(state, node)) oldest = std::min(oldest, state.nodes[index(node)].view);
  }
  for (int i = 1; i < oldest; ++i) state.table[index(i)] = 0;
}

std::string name(int node) { return node == 0 ? "A" : "B"; }
std::string incarnation_name(int incarnation) {
  return name(node_of(incarnation)) + std::to_string(incarnation % most_lives);
}

}  // namespace

void Claims::steps(const State& from, Steps<State, Step>& out) const {
  Next(setting_, from, out).all();
}

bool Claims::ended(const State& state) const {
  return state.owner != 0 && living(state, state.owner - 1);
}

Claims::Packed Claims::pack(const State& state) const {
  State tidy = state;
  forget_old_views(tidy);
  Writer<std::tuple_size_v<Packed>> bits;
  state_bits(bits, std::as_const(tidy));
  if (bits.overflow()) {
    std::fprintf(stderr, "the model's bounds are too narrow for this state:\n%s\n",
                 tell(state).c_str());
    std::abort();
  }
  return bits.packed();
}

Claims::State Claims::unpack(const Packed& packed) const {
  State state;
  Reader<std::tuple_size_v<Packed>> bits(packed);
  state_bits(bits, state);
  return state;
}

std::string Claims::tell(const Step& step) const {
  const std::string node = name(step.node);
  const std::string view = "view " + std::to_string(step.detail);
  switch (step.deed) {
    case ClaimDeed::join:
      return node + " joins under a new incarnation";
    case ClaimDeed::join_twice:
      return node + " joins under a new incarnation; a copy of the JOIN is still on its way";
    case ClaimDeed::late_join:
      return "Redis runs the late JOIN from " + node;
    case ClaimDeed::evict:
      return node + " is evicted, and does not know";
    case ClaimDeed::revive:
      return node + " renews its ended session";
    case ClaimDeed::look:
      return node + " learns " + view;
    case ClaimDeed::claim:
      return node + " claims the shard by " + view;
    case ClaimDeed::give:
      return node + " gives the shard away by " + view;
    case ClaimDeed::cas_runs:
      return "Redis runs the CAS from " + node;
  }
  return {};
}

std::string Claims::tell(const State& state) const {
  std::string text = "view " + std::to_string(state.views) + " with";
  for (int i = 0; i < 2 * most_lives; ++i) {
    if (member(state, i)) text += " " + incarnation_name(i);
  }
  text += "; record names ";
  text += state.owner == 0 ? "nobody" : incarnation_name(state.owner - 1);
  text += ", written in view " + std::to_string(state.rv);
  for (int node = 0; node < 2; ++node) {
    const ClaimNode& me = state.nodes[index(node)];
    text += "; " + (me.life == 0 ? name(node) : incarnation_name(current(state, node)));
    text += " at view " + std::to_string(me.view);
  }
  return text;
}

}  // namespace catga::model
