// Breadth-first search of a model: every reachable state, the shortest way to a violation, and what
// can no longer end well.
//
// A model is a class with the types State, Packed and Step and these members:
//
//   State first() const                                   where everything begins
//   void steps(const State&, Steps<State, Step>&) const   all that may happen next
//   bool ended(const State&) const                        all operations have their answer
//   std::string tell(const Step&) const                   one step in words
//   std::string tell(const State&) const                  one state in words
//   pack(const State&), unpack(const Packed&)             Packed is an array of 64-bit words
//
// Progress is asked of the whole graph afterwards: from every state some way must lead to one that
// has ended. Only steps that may be relied upon count as a way (Happening::reliable): no fault, no
// request that runs late by luck.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace catga::model {

/// What the protocol promises, under the names a failure is reported with.
enum class Property : std::uint8_t {
  none,
  record_truth,        ///< I1: a handler runs under a token of its own incarnation.
  written_by_owner,    ///< I2: every write is the owner's.
  no_theft,            ///< I5: the record leaves a living owner only by its own transfer.
  applied_once,        ///< I6: no operation is applied twice.
  one_outcome,         ///< I6: all answers to one operation agree.
  not_applied_later,   ///< I6: what was reported as not applied is not applied afterwards.
  not_applied_before,  ///< I6: what was applied is not reported as not applied.
  told_when_stored,    ///< I7: a reported answer is in the store.
  kept_in_crash,       ///< I7: a crash loses no acknowledged change.
  kept_in_failover,    ///< I7: with WAIT, a failover loses none either.
  no_phantom,          ///< I7: no write is built on a state that is not in the store.
  split_held,          ///< A split of the network evicts nobody (T_hold).
  progress,            ///< Every operation can still get an answer.
};

template <class State, class Step>
struct Happening {
  State next;
  Step step;
  bool reliable = true;  ///< Progress may count on it.
  Property broken = Property::none;
};

template <class State, class Step>
using Steps = std::vector<Happening<State, Step>>;

struct Found {
  Property broken = Property::none;
  std::vector<std::string>
      trace;  ///< The shortest way there, one step a line; the last is a state.
  std::size_t states = 0;
  std::size_t transitions = 0;
};

template <class Model>
class Search {
  using State = typename Model::State;
  using Packed = typename Model::Packed;
  using Step = typename Model::Step;

 public:
  explicit Search(const Model& model) : model_(model), table_(1U << 16U, empty) {}

  Found run() {
    insert(model_.pack(model_.first()), none);
    Steps<State, Step> steps;
    for (std::uint32_t at = 0; at < states_.size(); ++at) {
      steps.clear();
      const State from = model_.unpack(states_[at]);
      model_.steps(from, steps);
      if (model_.ended(from)) ended_.push_back(at);
      for (const auto& [next, step, reliable, broken] : steps) {
        ++transitions_;
        if (broken != Property::none) return violation(at, step, broken);
        const std::uint32_t to = insert(model_.pack(next), at);
        if (reliable && to != at) edges_.push_back({at, to});
      }
    }
    return progress();
  }

 private:
  static constexpr std::uint32_t empty = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::uint32_t none = empty;

  struct Edge {
    std::uint32_t from, to;
  };

  /// The number of a state, new or known.
  std::uint32_t insert(const Packed& packed, std::uint32_t parent) {
    if (2 * states_.size() >= table_.size()) grow();
    std::uint32_t& place = table_[place_of(packed)];
    if (place == empty) {
      place = static_cast<std::uint32_t>(states_.size());
      states_.push_back(packed);
      parents_.push_back(parent);
    }
    return place;
  }

  std::size_t place_of(const Packed& packed) const {
    const std::size_t mask = table_.size() - 1;
    std::size_t place = hash(packed) & mask;
    while (table_[place] != empty && states_[table_[place]] != packed) place = (place + 1) & mask;
    return place;
  }

  void grow() {
    table_.assign(2 * table_.size(), empty);
    for (std::uint32_t i = 0; i < states_.size(); ++i) table_[place_of(states_[i])] = i;
  }

  static std::size_t hash(const Packed& packed) {
    std::uint64_t sum = 0;
    for (const std::uint64_t word : packed) {
      sum = (sum ^ word) * 0x9e3779b97f4a7c15U;
      sum ^= sum >> 29U;
    }
    return sum;
  }

  Found violation(std::uint32_t at, const Step& step, Property broken) {
    Found found{broken, trace(at), states_.size(), transitions_};
    found.trace.push_back(model_.tell(step));
    found.trace.push_back("Before that: " + model_.tell(model_.unpack(states_[at])));
    return found;
  }

  /// Backward from the states that have ended. What is not reached is stuck; the first of these by
  /// number is the nearest to the beginning.
  Found progress() {
    std::vector<std::uint32_t> first(states_.size() + 1, 0);
    for (const Edge& edge : edges_) ++first[edge.to + 1];
    for (std::size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
    std::vector<std::uint32_t> sources(edges_.size());
    std::vector<std::uint32_t> filled(first.begin(), first.end() - 1);
    for (const Edge& edge : edges_) sources[filled[edge.to]++] = edge.from;

    std::vector<bool> good(states_.size(), false);
    for (const std::uint32_t i : ended_) good[i] = true;
    std::vector<std::uint32_t> open = ended_;
    while (!open.empty()) {
      const std::uint32_t to = open.back();
      open.pop_back();
      for (std::uint32_t i = first[to]; i < first[to + 1]; ++i) {
        if (good[sources[i]]) continue;
        good[sources[i]] = true;
        open.push_back(sources[i]);
      }
    }
    const auto stuck = std::find(good.begin(), good.end(), false);
    Found found{Property::none, {}, states_.size(), transitions_};
    if (stuck == good.end()) return found;
    const auto at = static_cast<std::uint32_t>(stuck - good.begin());
    found.broken = Property::progress;
    found.trace = trace(at);
    found.trace.push_back("There: " + model_.tell(model_.unpack(states_[at])));
    return found;
  }

  /// The steps from the beginning. Only parents are kept, so each step is looked for again.
  std::vector<std::string> trace(std::uint32_t at) {
    std::vector<std::string> lines;
    Steps<State, Step> steps;
    for (; parents_[at] != none; at = parents_[at]) {
      steps.clear();
      model_.steps(model_.unpack(states_[parents_[at]]), steps);
      const auto step = std::find_if(steps.begin(), steps.end(), [this, at](const auto& some) {
        return model_.pack(some.next) == states_[at];
      });
      lines.push_back(model_.tell(step->step));
    }
    std::reverse(lines.begin(), lines.end());
    return lines;
  }

  const Model& model_;
  std::vector<std::uint32_t> table_;  // open addressing; numbers of states
  std::vector<Packed> states_;
  std::vector<std::uint32_t> parents_;
  std::vector<Edge> edges_;
  std::vector<std::uint32_t> ended_;
  std::size_t transitions_ = 0;
};

/// Writes numbers of few bits one after the other. The same list of fields serves Writer and
/// Reader.
template <std::size_t words>
class Writer {
 public:
  template <class Value>
  void operator()(const Value& value, unsigned width) {
    const auto bits = static_cast<std::uint64_t>(value);
    if (bits >> width != 0) overflow_ = true;
    const std::size_t word = at_ / 64;
    const unsigned shift = at_ % 64;
    if (word + (shift + width > 64 ? 1 : 0) >= words) {
      overflow_ = true;
      return;
    }
    packed_[word] |= bits << shift;
    if (shift + width > 64) packed_[word + 1] |= bits >> (64 - shift);
    at_ += width;
  }
  const std::array<std::uint64_t, words>& packed() const { return packed_; }
  /// A number did not fit: the model's bounds are too narrow, and its results worthless.
  bool overflow() const { return overflow_; }

 private:
  std::array<std::uint64_t, words> packed_{};
  unsigned at_ = 0;
  bool overflow_ = false;
};

template <std::size_t words>
class Reader {
 public:
  explicit Reader(const std::array<std::uint64_t, words>& packed) : packed_(packed) {}
  template <class Value>
  void operator()(Value& value, unsigned width) {
    const std::size_t word = at_ / 64;
    const unsigned shift = at_ % 64;
    std::uint64_t bits = packed_[word] >> shift;
    if (shift + width > 64) bits |= packed_[word + 1] << (64 - shift);
    value = static_cast<Value>(bits & ((std::uint64_t{1} << width) - 1));
    at_ += width;
  }

 private:
  const std::array<std::uint64_t, words>& packed_;
  unsigned at_ = 0;
};

}  // namespace catga::model
