// What can happen to one shard, two nodes and one caller; model.hpp says what is left out.
#include "model.hpp"

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <utility>

namespace catga::model {
namespace {

std::size_t index(int number) { return static_cast<std::size_t>(number); }
int node_of(int incarnation) { return incarnation / 4; }
int incarnation_of(const State& state, int node) {
  return node * 4 + state.nodes[index(node)].generation;
}
/// Is this incarnation in the view? Once it is not, it never is again.
bool living(const State& state, int incarnation) {
  const Node& node = state.nodes[index(node_of(incarnation))];
  return node.member && incarnation_of(state, node_of(incarnation)) == incarnation;
}
bool alive(const Node& node) { return node.status != Status::gone; }
bool holds_token(const Node& node) {
  return node.status == Status::owned || node.status == Status::draining ||
         node.status == Status::indoubt;
}
bool open(Call call) { return call < Call::given_up; }
Call call_of(Outcome outcome) {
  return static_cast<Call>(static_cast<int>(Call::rejected) + static_cast<int>(outcome) - 1);
}

/// All that may happen in one state.
class Next {
 public:
  Next(const Setting& setting, const State& from, Steps<State, Step>& out)
      : setting_(setting), rules_(setting.rules), from_(from), out_(out) {}

  void all() {
    calls();
    for (int node = 0; node < 2; ++node) {
      if (!alive(from_.nodes[index(node)])) continue;
      turns(node);
      answers(node);
      ownership(node);
      moves(node);
      node_faults(node);
    }
    requests();
    redis_faults();
  }

 private:
  // The caller.
  void calls();
  bool routed(int node) const;
  void send(int node, int operation);
  void give_up(int operation);
  // A node and its entity.
  void turns(int node);
  void turn(int node, int operation);
  void propose(State next, int node, int operation, Outcome outcome);
  void answers(int node);
  void commit_answered(int node);
  // A node and its shard.
  void ownership(int node);
  void claim(int node);
  void audit(int node);
  void cas_answered(int node);
  void moves(int node);
  void rejoin(int node);
  // Redis.
  void requests();
  void redis_faults();
  Property run(State& state, Commit& commit) const;
  Property write(State& state, const Commit& commit) const;
  Property run(State& state, Cas& cas) const;
  // Faults of nodes and their connections.
  void node_faults(int node);
  void crash(int node, bool loses);

  bool same(const Token& a, const Token& b) const {
    return a.epoch == b.epoch && (a.incarnation == b.incarnation || !rules_.incarnation_in_token);
  }
  bool replicated() const {
    return !rules_.wait_replicas || !from_.replica_stopped || from_.slot == from_.replica;
  }

  void ask(State& state, int node, Token expected, int heir, bool transfer) const;
  void own(State& state, int node, Token token) const;
  void lose(State& state, int node, std::optional<int> owner) const;
  void keep_late(State& state, const Commit& commit) const;
  void keep_late(State& state, const Cas& cas) const;
  int fresh_nonce(const State& state, int count) const;
  int fresh_cas_nonce(const State& state) const;
  /// The answer reaches the caller, or gets lost.
  void answer(const State& next, Step step, Outcome outcome);
  Property report(State& state, int operation, Outcome outcome) const;

  void emit(const State& next, Step step, Property broken = Property::none) {
    const bool watched = broken != setting_.not_watched;
    out_.push_back({next, step, true, watched ? broken : Property::none});
  }
  void emit_fault(const State& next, Step step, Property broken = Property::none) {
    emit(next, step, broken);
    out_.back().reliable = false;
  }

  const Setting& setting_;
  const Rules& rules_;
  const State& from_;
  Steps<State, Step>& out_;
};

// ---- The caller ----

void Next::calls() {
  for (int operation = 0; operation < setting_.operations; ++operation) {
    if (!open(from_.calls[index(operation)]) || setting_.copies_everywhere) continue;
    for (int node = 0; node < 2; ++node) {
      if (routed(node)) send(node, operation);
    }
    if (setting_.refusals) give_up(operation);
  }
}

/// May the caller's route be this node? It begins as A. From 503, VIEW, OWN, MOVED and REPLY the
/// caller learns of others, soon or late: so it may be any node that has the shard or had it.
bool Next::routed(int node) const {
  if (node == 0) return true;
  const Status status = from_.nodes[index(node)].status;
  const bool had = status != Status::none && status != Status::incoming;
  const bool named = node_of(from_.slot.token.incarnation) == node;
  return rules_.look_up && (had || named || !alive(from_.nodes[index(1 - node)]));
}

void Next::send(int node, int operation) {
  State next = from_;
  Call& call = next.calls[index(operation)];
  if (!alive(from_.nodes[index(node)])) {
    if (setting_.refusals && call == Call::fresh) {
      call = Call::refused;  // no responders: this copy was not delivered
      emit(next, {Deed::sent_in_vain, node, operation});
    }
    return;
  }
  bool& waiting = next.waiting[index(node)][index(operation)];
  const bool again = call == Call::one_attempt;
  if (waiting && (!again || !setting_.refusals)) return;
  waiting = true;
  if (setting_.refusals && call < Call::many) call = again ? Call::many : Call::one_attempt;
  emit(next, {Deed::send, node, operation});
}

/// CL3: "not applied" is said only if every attempt was refused.
void Next::give_up(int operation) {
  State next = from_;
  Call& call = next.calls[index(operation)];
  if (call == Call::fresh) return;
  const bool refused = call == Call::refused || !rules_.unknown_is_unknown;
  call = refused ? Call::not_applied : Call::given_up;
  const bool applied = refused && from_.slot.log.has(operation);
  emit_fault(next, {Deed::give_up, 0, operation, refused},
             applied ? Property::not_applied_before : Property::none);
}

Property Next::report(State& state, int operation, Outcome outcome) const {
  Call& call = state.calls[index(operation)];
  const bool cut = state.cut_off[index(operation)];
  if (call >= Call::rejected) {
    return call == call_of(outcome) || cut ? Property::none : Property::one_outcome;
  }
  if (!open(call)) return Property::none;  // it has stopped listening
  call = call_of(outcome);
  const bool recorded = state.slot.records[index(operation)] != Outcome::none ||
                        operation < state.slot.floor || !rules_.records_in_store;
  const bool stored = outcome == Outcome::rejected ? recorded : state.slot.log.has(operation);
  return stored || cut ? Property::none : Property::told_when_stored;
}

void Next::answer(const State& next, Step step, Outcome outcome) {
  emit(next, step);
  const Call call = next.calls[index(step.operation)];
  if (call == call_of(outcome)) return;
  State told = next;
  step.told = true;
  const Property broken = report(told, step.operation, outcome);
  emit(told, step, broken);
  // It may have repeated the operation just before: the answer took its time.
  bool& waiting = told.waiting[index(step.node)][index(step.operation)];
  if (broken != Property::none || !open(call) || waiting || setting_.copies_everywhere) return;
  waiting = true;
  step.repeated = true;
  emit(told, step);
}

// ---- A node and its entity ----

void Next::turns(int node) {
  const Node& me = from_.nodes[index(node)];
  for (int operation = 0; operation < setting_.operations; ++operation) {
    const bool waits = from_.waiting[index(node)][index(operation)];
    if (!waits && !setting_.copies_everywhere) continue;
    if (me.status == Status::owned && me.commit.phase == Phase::none) turn(node, operation);
    if (waits && me.status == Status::forwarding && alive(from_.nodes[index(node_of(me.peer))])) {
      State next = from_;
      next.waiting[index(node)][index(operation)] = false;
      next.waiting[index(node_of(me.peer))][index(operation)] = true;
      emit(next, {Deed::forward, node, operation});
    }
    if (setting_.refusals) {
      State next = from_;
      next.waiting[index(node)][index(operation)] = false;
      emit(next, {Deed::refuse, node, operation});
      // Only the sole attempt's refusal says that nothing of it is under way.
      if (from_.calls[index(operation)] == Call::one_attempt) {
        next.calls[index(operation)] = Call::refused;
        emit(next, {Deed::refuse, node, operation, true});
      }
    }
  }
}

void Next::turn(int node, int operation) {
  State next = from_;
  Node& me = next.nodes[index(node)];
  Memory& memory = me.memory;
  if (!me.loaded) {
    if (rules_.token_check && !same(from_.slot.token, me.token)) {
      lose(next, node, std::nullopt);
      return emit(next, {Deed::turn_fenced, node, operation});
    }
    me.loaded = true;
    memory = {from_.slot.version, from_.slot.log, from_.slot.records, from_.slot.floor};
  }
  next.waiting[index(node)][index(operation)] = false;
  if (memory.records[index(operation)] != Outcome::none) {
    return answer(next, {Deed::turn_answers, node, operation}, memory.records[index(operation)]);
  }
  if (operation < memory.floor) {
    emit(next, {Deed::turn_expired, node, operation});
    if (!open(next.calls[index(operation)])) return;
    next.calls[index(operation)] = Call::expired;
    return emit(next, {Deed::turn_expired, node, operation, true});
  }
  const bool rejected = setting_.second_needs_first && operation == 1 && !memory.log.has(0);
  if (rejected && !rules_.rejections_recorded) {
    return answer(next, {Deed::turn_rejects, node, operation}, Outcome::rejected);
  }
  const auto position = static_cast<Outcome>(2 + memory.log.size());
  propose(next, node, operation, rejected ? Outcome::rejected : position);
}

/// The turn is done; its commit is sent.
void Next::propose(State next, int node, int operation, Outcome outcome) {
  Node& me = next.nodes[index(node)];
  const Memory& memory = me.memory;
  const bool truth = me.token.incarnation == incarnation_of(next, node);
  Commit commit{Phase::sent, me.token, memory.version, {}, memory.log, operation, outcome};
  if (outcome != Outcome::rejected) commit.log = memory.log.with(operation);
  commit.next.count = memory.version.count + 1;
  if (rules_.nonce_in_version) commit.next.nonce = fresh_nonce(next, commit.next.count);
  me.commit = commit;
  const Property broken = truth ? Property::none : Property::record_truth;
  if (rules_.answer_waits_for_commit) {
    emit(next, {Deed::turn, node, operation}, broken);
  } else {
    answer(next, {Deed::turn, node, operation}, outcome);
  }
  const bool remembers = memory.records != Records{};
  if (next.left.forgotten > 0 && remembers) {
    me.commit.forgets = true;
    --next.left.forgotten;
    emit_fault(next, {Deed::turn_forgets, node, operation}, broken);
  }
}

void Next::answers(int node) {
  const Node& me = from_.nodes[index(node)];
  if (me.commit.phase == Phase::run && replicated()) commit_answered(node);
  if (me.cas.phase == Phase::run && (replicated() || !rules_.claims_wait)) cas_answered(node);
}

void Next::commit_answered(int node) {
  State next = from_;
  Node& me = next.nodes[index(node)];
  const Commit commit = std::exchange(me.commit, Commit{});
  const Step step{Deed::commit_answered, node, commit.operation};
  switch (commit.answer) {
    case Answer::ok:
    case Answer::already:
      me.memory.version = commit.next;
      me.memory.log = commit.log;
      if (commit.forgets) {
        for (int i = 0; i < most_operations; ++i) {
          if (me.memory.records[index(i)] != Outcome::none && rules_.floor) {
            me.memory.floor = std::max(me.memory.floor, i + 1);
          }
        }
        me.memory.records = {};
      }
      me.memory.records[index(commit.operation)] = commit.outcome;
      return answer(next, step, commit.outcome);
    case Answer::duplicate:
      next.waiting[index(node)][index(commit.operation)] = !setting_.copies_everywhere;
      me.loaded = false;
      return emit(next, step);
    case Answer::conflict:
      me.loaded = false;  // the caller is told `unknown`
      return emit(next, step);
    case Answer::fenced:
      if (me.status == Status::indoubt) {  // the CAS will say under which token it is sent again
        me.commit = commit;
        me.commit.phase = Phase::held;
      } else if (commit.token != me.token) {
        me.commit = commit;
        me.commit.token = me.token;
        me.commit.phase = Phase::sent;
      } else {
        lose(next, node, std::nullopt);
      }
      return emit(next, step);
  }
}

// ---- A node and its shard ----

/// Sends a CAS of the owner record.
void Next::ask(State& state, int node, Token expected, int heir, bool transfer) const {
  const int nonce = fresh_cas_nonce(state);
  state.nodes[index(node)].cas = {Phase::sent, transfer, expected, heir, nonce, false, {}};
}

void Next::own(State& state, int node, Token token) const {
  Node& me = state.nodes[index(node)];
  me.status = Status::owned;
  me.token = token;
  me.cas = {};
  if (me.commit.phase == Phase::held) {
    me.commit.phase = Phase::sent;
    me.commit.token = token;
  }
}

/// The shard is somebody else's, of `owner` if known. A commit under way may still run.
void Next::lose(State& state, int node, std::optional<int> owner) const {
  Node& me = state.nodes[index(node)];
  if (me.commit.phase == Phase::sent) keep_late(state, me.commit);
  if (state.ready == node + 1) state.ready = 0;
  const bool known = owner && node_of(*owner) != node;
  me.status = known ? Status::forwarding : Status::none;
  me.peer = known ? *owner : 0;
  me.loaded = false;
  me.commit = {};
  me.cas = {};
}

void Next::ownership(int node) {
  const Node& me = from_.nodes[index(node)];
  if (me.status == Status::none || me.status == Status::forwarding) claim(node);
  if (rules_.audit) audit(node);
  if (!me.member) rejoin(node);
}

/// NONE and FORWARDING: who owns the shard now?
void Next::claim(int node) {
  const Node& me = from_.nodes[index(node)];
  const bool forwards = me.status == Status::forwarding;
  const auto& waiting = from_.waiting[index(node)];
  // Without the audit only a message or a view makes a node read the record.
  const bool asked = !forwards && waiting != std::array<bool, most_operations>{};
  const bool peer_ended = forwards && !living(from_, me.peer);
  const bool reads = rules_.audit || asked || peer_ended;
  if (!reads) return;
  State next = from_;
  const Token token = from_.slot.token;
  const int mine = incarnation_of(from_, node);
  const bool named = token.incarnation == mine;
  if (named || !living(from_, token.incarnation)) {
    if (!named && !me.member) return;  // the view that shows the owner's end shows its own
    ask(next, node, token, mine, false);
    next.nodes[index(node)].status = Status::claiming;
    emit(next, {named ? Deed::bump : Deed::claim, node});
  } else if (!forwards || me.peer != token.incarnation) {
    next.nodes[index(node)].status = Status::forwarding;
    next.nodes[index(node)].peer = token.incarnation;
    emit(next, {Deed::route, node});
  }
}

/// The record is read again: is the shard still mine, and the memory still what is stored?
void Next::audit(int node) {
  const Node& me = from_.nodes[index(node)];
  if (me.status != Status::owned && me.status != Status::draining) return;
  State next = from_;
  if (!same(from_.slot.token, me.token)) {
    lose(next, node, from_.slot.token.incarnation);
    emit(next, {Deed::audit_drops, node});
  } else if (me.loaded && me.commit.phase == Phase::none &&
             me.memory.version != from_.slot.version) {
    next.nodes[index(node)].loaded = false;
    emit(next, {Deed::audit_reloads, node});
  }
}

void Next::cas_answered(int node) {
  State next = from_;
  Node& me = next.nodes[index(node)];
  const Cas cas = me.cas;
  const int mine = incarnation_of(from_, node);
  if (cas.transfer && cas.done) {
    next.handover = cas.seen;
    lose(next, node, cas.heir);
  } else if (cas.transfer) {
    lose(next, node, cas.seen.incarnation);
  } else if (cas.seen.incarnation == mine) {
    own(next, node, cas.seen);
  } else if (node_of(cas.seen.incarnation) == node) {  // a former incarnation of mine: again
    me.cas = {};
    ask(next, node, cas.seen, mine, false);
  } else {
    lose(next, node, cas.seen.incarnation);
  }
  emit(next, {Deed::cas_answered, node});
}

void Next::moves(int node) {
  const int other = 1 - node;
  const Node& me = from_.nodes[index(node)];
  const Node& peer = from_.nodes[index(other)];
  const bool free = peer.status == Status::none || peer.status == Status::forwarding;
  State next = from_;
  Node& then = next.nodes[index(node)];
  if (from_.left.moves > 0 && me.status == Status::owned && free && peer.member) {
    --next.left.moves;
    next.ready = node + 1;
    then.peer = incarnation_of(from_, other);
    next.nodes[index(other)].status = Status::incoming;
    emit_fault(next, {Deed::offer, node});
  } else if (from_.ready == node + 1 && me.status == Status::owned) {
    next.ready = 0;
    then.status = Status::draining;
    emit(next, {Deed::ready, node});
  }
  if (me.status == Status::draining) {
    next = from_;
    then.status = Status::owned;
    emit(next, {Deed::abort, node});
    if (me.commit.phase == Phase::none) {
      next = from_;
      then.status = Status::indoubt;
      ask(next, node, me.token, me.peer, true);
      emit(next, {Deed::transfer, node});
    }
  }
  if (me.status == Status::incoming) {
    next = from_;
    const int mine = incarnation_of(from_, node);
    const bool named = from_.slot.token.incarnation == mine;
    then.status = named ? Status::claiming : Status::none;
    if (named) ask(next, node, from_.slot.token, mine, false);
    emit(next, {Deed::incoming_ends, node, 0, named});
  }
  if (from_.handover.epoch != 0 && node_of(from_.handover.incarnation) == node) {
    next = from_;
    next.handover = {};
    const bool fits =
        me.status == Status::incoming && from_.handover.incarnation == incarnation_of(from_, node);
    if (fits) own(next, node, from_.handover);
    emit(next, {Deed::handover, node, 0, fits});
  }
}

/// RENEW answered 0: a new incarnation, which asks for the shard under its old token.
void Next::rejoin(int node) {
  State next = from_;
  Node& me = next.nodes[index(node)];
  ++me.generation;
  me.member = true;
  if (me.status == Status::incoming) me.status = Status::none;
  if (me.status == Status::owned || me.status == Status::draining) {
    if (next.ready == node + 1) next.ready = 0;
    me.status = Status::indoubt;
    ask(next, node, me.token, incarnation_of(next, node), false);
  }
  emit(next, {Deed::rejoin, node});
}

// ---- Redis ----

void Next::requests() {
  for (int node = 0; node < 2; ++node) {
    const Node& me = from_.nodes[index(node)];
    if (me.commit.phase == Phase::sent) {
      State next = from_;
      const Property broken = run(next, next.nodes[index(node)].commit);
      emit(next, {Deed::commit_runs, node, me.commit.operation}, broken);
    }
    if (me.cas.phase == Phase::sent) {
      State next = from_;
      const Property broken = run(next, next.nodes[index(node)].cas);
      emit(next, {Deed::cas_runs, node}, broken);
    }
  }
  for (std::size_t i = 0; i < from_.late.size(); ++i) {
    if (from_.late[i].kind == Late::Kind::none) continue;
    State next = from_;
    Late late = std::exchange(next.late[i], Late{});
    const bool commit = late.kind == Late::Kind::commit;
    const Property broken = commit ? run(next, late.commit) : run(next, late.cas);
    const int node = node_of(commit              ? late.commit.token.incarnation
                             : late.cas.transfer ? late.cas.expected.incarnation
                                                 : late.cas.heir);
    emit_fault(next, {Deed::late_runs, node, late.commit.operation, commit}, broken);
  }
}

/// `shard_commit`.
Property Next::run(State& state, Commit& commit) const {
  commit.phase = Phase::run;
  const Slot& slot = state.slot;
  const Outcome record = slot.records[index(commit.operation)];
  if (rules_.token_check && !same(slot.token, commit.token)) {
    commit.answer = Answer::fenced;
  } else if (slot.version == commit.next) {
    commit.answer = Answer::already;
  } else if (rules_.version_check && slot.version != commit.base) {
    commit.answer = Answer::conflict;
  } else if (record != Outcome::none) {
    commit.answer = Answer::duplicate;
  } else {
    commit.answer = Answer::ok;
    return write(state, commit);
  }
  return Property::none;
}

Property Next::write(State& state, const Commit& commit) const {
  Slot& slot = state.slot;
  const Log before = slot.log;
  const bool applies = commit.outcome != Outcome::rejected;
  const Log base = applies ? commit.log.without_last() : commit.log;
  slot.version = commit.next;
  slot.log = commit.log;
  if (commit.forgets) {
    for (int i = 0; i < most_operations; ++i) {
      if (slot.records[index(i)] != Outcome::none && rules_.floor) {
        slot.floor = std::max(slot.floor, i + 1);
      }
    }
    slot.records = {};
  }
  if (rules_.records_in_store) slot.records[index(commit.operation)] = commit.outcome;
  if (slot.token.incarnation != commit.token.incarnation) return Property::written_by_owner;
  if (base != before) return Property::no_phantom;
  if (applies && before.has(commit.operation)) return Property::applied_once;
  const bool denied = state.calls[index(commit.operation)] == Call::not_applied;
  if (applies && denied) return Property::not_applied_later;
  return Property::none;
}

/// `OWN`: ACQ, XFER and BUMP.
Property Next::run(State& state, Cas& cas) const {
  Slot& slot = state.slot;
  cas.phase = Phase::run;
  if (!same(slot.token, cas.expected)) {
    cas.done = slot.cas_nonce == cas.nonce && slot.token.incarnation == cas.heir;
    cas.seen = slot.token;
    return Property::none;
  }
  const int before = slot.token.incarnation;
  const bool theft = !cas.transfer && before != cas.heir && living(state, before);
  slot.token = {slot.token.epoch + 1, cas.heir};
  slot.cas_nonce = cas.nonce;
  cas.done = true;
  cas.seen = slot.token;
  return theft ? Property::no_theft : Property::none;
}

void Next::redis_faults() {
  if (!from_.replica_stopped) {
    if (from_.left.failovers == 0) return;
    State next = from_;
    next.replica_stopped = true;
    next.replica = from_.slot;
    --next.left.failovers;
    return emit_fault(next, {Deed::replica_stops});
  }
  State next = from_;
  next.replica_stopped = false;
  ++next.left.failovers;
  emit(next, {Deed::replica_follows});

  --next.left.failovers;
  Property broken = Property::none;
  next.slot = from_.replica;
  for (int i = 0; i < setting_.operations; ++i) {
    const Slot& old = from_.slot;
    const bool cut = (old.log.has(i) && !next.slot.log.has(i)) ||
                     (old.records[index(i)] != Outcome::none && i >= next.slot.floor &&
                      next.slot.records[index(i)] == Outcome::none);
    if (!cut) continue;
    const bool told = from_.calls[index(i)] >= Call::rejected;
    if (setting_.durable && told) broken = Property::kept_in_failover;
    if (!setting_.durable) next.cut_off[index(i)] = true;
  }
  for (Node& node : next.nodes) {  // all connections end with the old primary
    if (node.cas.phase == Phase::run) node.cas.phase = Phase::sent;
    if (node.commit.phase == Phase::run) {
      node.commit.phase = node.status == Status::indoubt ? Phase::held : Phase::sent;
    }
  }
  emit_fault(next, {Deed::failover}, broken);
}

// ---- Faults of nodes and their connections ----

void Next::node_faults(int node) {
  const Node& me = from_.nodes[index(node)];
  State next = from_;
  if (from_.left.lost_connections > 0) {
    --next.left.lost_connections;
    if (me.commit.phase == Phase::sent || me.commit.phase == Phase::run) {
      if (me.commit.phase == Phase::sent) keep_late(next, me.commit);
      const bool holds = me.status == Status::indoubt;
      next.nodes[index(node)].commit.phase = holds ? Phase::held : Phase::sent;
      emit_fault(next, {Deed::lose_commit, node, me.commit.operation});
    }
    if (me.cas.phase != Phase::none) {
      next = from_;
      --next.left.lost_connections;
      if (me.cas.phase == Phase::sent) keep_late(next, me.cas);
      next.nodes[index(node)].cas.phase = Phase::sent;
      emit_fault(next, {Deed::lose_cas, node});
    }
  }
  if (from_.left.evictions > 0 && me.member) {
    next = from_;
    --next.left.evictions;
    next.nodes[index(node)].member = false;
    emit_fault(next, {Deed::evict, node});
  }
  if (from_.left.crashes > 0 && alive(from_.nodes[index(1 - node)])) {
    crash(node, false);
    if (!rules_.answer_waits_for_commit) crash(node, true);
  }
}

/// The node ends; its requests may still run, or are lost with it.
void Next::crash(int node, bool loses) {
  State next = from_;
  --next.left.crashes;
  const Node& me = from_.nodes[index(node)];
  if (me.commit.phase == Phase::sent && !loses) keep_late(next, me.commit);
  if (me.cas.phase == Phase::sent && !loses) keep_late(next, me.cas);
  next.nodes[index(node)] = {};
  next.nodes[index(node)].status = Status::gone;
  next.nodes[index(node)].member = false;
  next.waiting[index(node)] = {};
  if (next.ready == node + 1) next.ready = 0;
  if (node_of(next.handover.incarnation) == node) next.handover = {};
  Property broken = Property::none;
  const Commit& other = from_.nodes[index(1 - node)].commit;
  for (int i = 0; i < setting_.operations; ++i) {
    if (from_.calls[index(i)] < Call::replied_0 || from_.slot.log.has(i)) continue;
    bool comes = from_.cut_off[index(i)] || (other.phase != Phase::none && other.operation == i);
    for (const Late& late : next.late) {
      comes = comes || (late.kind == Late::Kind::commit && late.commit.operation == i);
    }
    if (!comes) broken = Property::kept_in_crash;
  }
  emit_fault(next, {loses ? Deed::crash_loses : Deed::crash, node}, broken);
}

/// With all places taken the request is one that never runs.
void Next::keep_late(State& state, const Commit& commit) const {
  for (Late& late : state.late) {
    if (late.kind != Late::Kind::none) continue;
    late = {Late::Kind::commit, {}, commit};
    return;
  }
}
void Next::keep_late(State& state, const Cas& cas) const {
  for (Late& late : state.late) {
    if (late.kind != Late::Kind::none) continue;
    late = {Late::Kind::cas, cas, {}};
    return;
  }
}

/// A nonce that nobody anywhere holds at this count: as good as a random one, and few of them.
int Next::fresh_nonce(const State& state, int count) const {
  for (int nonce = 0;; ++nonce) {
    const Version version{count, nonce};
    bool used = state.slot.version == version ||
                (state.replica_stopped && state.replica.version == version);
    for (const Node& node : state.nodes) {
      used = used || (node.loaded && node.memory.version == version) ||
             (node.commit.phase != Phase::none &&
              (node.commit.base == version || node.commit.next == version));
    }
    for (const Late& late : state.late) {
      used = used || (late.kind == Late::Kind::commit &&
                      (late.commit.base == version || late.commit.next == version));
    }
    if (!used) return nonce;
  }
}

int Next::fresh_cas_nonce(const State& state) const {
  for (int nonce = 0;; ++nonce) {
    bool used = state.slot.cas_nonce == nonce ||
                (state.replica_stopped && state.replica.cas_nonce == nonce);
    for (const Node& node : state.nodes) {
      used = used || (node.cas.phase != Phase::none && node.cas.nonce == nonce);
    }
    for (const Late& late : state.late) {
      used = used || (late.kind == Late::Kind::cas && late.cas.nonce == nonce);
    }
    if (!used) return nonce;
  }
}

// ---- Packing ----

template <class Bits, class T>
void token_bits(Bits& bits, T& token) {
  bits(token.epoch, 4);
  bits(token.incarnation, 3);
}

template <class Bits, class T>
void version_bits(Bits& bits, T& version) {
  bits(version.count, 3);
  bits(version.nonce, 3);
}

template <class Bits, class T>
void entity_bits(Bits& bits, T& entity) {
  version_bits(bits, entity.version);
  bits(entity.log.digits, 7);
  for (auto& record : entity.records) bits(record, 3);
  bits(entity.floor, 2);
}

template <class Bits, class T>
void slot_bits(Bits& bits, T& slot) {
  token_bits(bits, slot.token);
  bits(slot.cas_nonce, 3);
  entity_bits(bits, slot);
}

template <class Bits, class T>
void cas_bits(Bits& bits, T& cas) {
  bits(cas.transfer, 1);
  token_bits(bits, cas.expected);
  bits(cas.heir, 3);
  bits(cas.nonce, 3);
}

template <class Bits, class T>
void commit_bits(Bits& bits, T& commit) {
  token_bits(bits, commit.token);
  version_bits(bits, commit.base);
  version_bits(bits, commit.next);
  bits(commit.log.digits, 7);
  bits(commit.operation, 2);
  bits(commit.outcome, 3);
  bits(commit.forgets, 1);
}

template <class Bits, class T>
void late_bits(Bits& bits, T& late) {
  bits(late.kind, 2);
  if (late.kind == Late::Kind::cas) cas_bits(bits, late.cas);
  if (late.kind == Late::Kind::commit) commit_bits(bits, late.commit);
}

/// What does not matter in a state of the node is not packed, and so forgotten.
template <class Bits, class T>
void node_bits(Bits& bits, T& node, bool offered) {
  bits(node.status, 3);
  if (node.status == Status::gone) {
    bits(node.member, 1);
    return;
  }
  bits(node.member, 1);
  bits(node.generation, 2);
  const bool peer = node.status == Status::forwarding || node.status == Status::draining ||
                    node.status == Status::indoubt;
  if (peer || offered) bits(node.peer, 3);
  if (holds_token(node)) {
    token_bits(bits, node.token);
    bits(node.loaded, 1);
    if (node.loaded) entity_bits(bits, node.memory);
    bits(node.commit.phase, 2);
    if (node.commit.phase != Phase::none) commit_bits(bits, node.commit);
    if (node.commit.phase == Phase::run) bits(node.commit.answer, 3);
  }
  bits(node.cas.phase, 2);
  if (node.cas.phase != Phase::none) cas_bits(bits, node.cas);
  if (node.cas.phase == Phase::run) {
    bits(node.cas.done, 1);
    token_bits(bits, node.cas.seen);
  }
}

template <class Bits, class T>
void state_bits(Bits& bits, T& state) {
  slot_bits(bits, state.slot);
  bits(state.replica_stopped, 1);
  if (state.replica_stopped) slot_bits(bits, state.replica);
  bits(state.ready, 2);
  for (int node = 0; node < 2; ++node) {
    node_bits(bits, state.nodes[index(node)], state.ready == node + 1);
  }
  for (auto& late : state.late) late_bits(bits, late);
  for (auto& call : state.calls) bits(call, 4);
  for (auto& cut : state.cut_off) bits(cut, 1);
  for (auto& copies : state.waiting) {
    for (auto& copy : copies) bits(copy, 1);
  }
  token_bits(bits, state.handover);
  bits(state.left.lost_connections, 2);
  bits(state.left.evictions, 2);
  bits(state.left.crashes, 1);
  bits(state.left.failovers, 2);
  bits(state.left.moves, 1);
  bits(state.left.forgotten, 1);
}

/// Can the record hold this token, now or later? A failover may bring back the replica's; other
/// tokens are minted with a higher epoch than what may be there then, and only for whom is asked.
bool possible(const State& state, Token token) {
  if (token == state.slot.token) return true;
  if (state.replica_stopped && token == state.replica.token) return true;
  int oldest = state.slot.token.epoch;
  if (state.replica_stopped) oldest = std::min(oldest, state.replica.token.epoch);
  if (token.epoch <= oldest) return false;
  bool asked = incarnation_of(state, node_of(token.incarnation)) == token.incarnation;
  for (const Node& node : state.nodes) {
    asked = asked || (node.cas.phase != Phase::none && node.cas.heir == token.incarnation);
  }
  for (const Late& late : state.late) {
    asked = asked || (late.kind == Late::Kind::cas && late.cas.heir == token.incarnation);
  }
  return asked;
}

/// Can this request still do anything?
bool dead(const State& state, const Late& late) {
  if (late.kind == Late::Kind::cas) return !possible(state, late.cas.expected);
  int oldest = state.slot.version.count;
  if (state.replica_stopped) oldest = std::min(oldest, state.replica.version.count);
  return !possible(state, late.commit.token) || late.commit.base.count < oldest;
}

/// Late requests are a set, so they are sorted; dead ones are dropped. And a route to a node that
/// has ended is none, as is any route where nothing is forwarded.
void tidy(State& state, const Setting& setting) {
  const Rules& rules = setting.rules;
  const bool strict = rules.token_check && rules.version_check && rules.incarnation_in_token;
  std::array<std::uint64_t, late_requests> keys{};
  for (std::size_t i = 0; i < state.late.size(); ++i) {
    Late& late = state.late[i];
    if (late.kind == Late::Kind::none) continue;
    if (strict && dead(state, late)) {
      late = {};
      continue;
    }
    Writer<1> bits;
    late_bits(bits, late);
    keys[i] = bits.packed()[0];
  }
  for (std::size_t i = 1; i < keys.size(); ++i) {
    for (std::size_t j = i; j > 0 && keys[j - 1] < keys[j]; --j) {
      std::swap(keys[j - 1], keys[j]);
      std::swap(state.late[j - 1], state.late[j]);
    }
  }
  for (Node& node : state.nodes) {
    if (node.status != Status::forwarding || !rules.audit) continue;
    if (setting.copies_everywhere || !living(state, node.peer)) node.status = Status::none;
  }
}

// ---- Words ----

std::string name(int node) { return node == 0 ? "A" : "B"; }
std::string operation_name(int operation) { return "operation " + std::to_string(operation); }
std::string words(Token token) {
  std::string text = std::to_string(token.epoch) + "." + name(node_of(token.incarnation));
  return text + std::to_string(token.incarnation % 4);
}
std::string words(Version version) {
  return std::to_string(version.count) + "." + std::to_string(version.nonce);
}
std::string words(Log log) {
  std::string text = "]";
  for (int rest = log.digits; rest > 1; rest /= 4) {
    text = (rest / 4 > 1 ? " " : "") + std::to_string(rest % 4) + text;
  }
  return "[" + text;
}
std::string words(Status status) {
  switch (status) {
    case Status::gone:
      return "gone";
    case Status::none:
      return "NONE";
    case Status::claiming:
      return "CLAIMING";
    case Status::incoming:
      return "INCOMING";
    case Status::owned:
      return "OWNED";
    case Status::draining:
      return "DRAINING";
    case Status::indoubt:
      return "INDOUBT";
    case Status::forwarding:
      return "FORWARDING";
  }
  return {};
}
std::string words(Call call) {
  constexpr std::array<const char*, 11> all{
      "open",         "refused",          "open",
      "open",         "reported unknown", "reported not applied",
      "expired",      "rejected",         "replied to 0",
      "replied to 1", "replied to 2"};
  return all[static_cast<std::size_t>(call)];
}

std::string node_words(const State& state, int number) {
  const Node& node = state.nodes[index(number)];
  std::string text = name(number) + std::to_string(node.generation) + " " + words(node.status);
  if (node.status == Status::gone) return text;
  if (holds_token(node)) text += " " + words(node.token);
  if (node.status == Status::forwarding) text += " to " + name(node_of(node.peer));
  if (!node.member) text += ", evicted";
  if (holds_token(node) && node.loaded) {
    text += ", remembers " + words(node.memory.log) + " at " + words(node.memory.version);
  }
  if (node.commit.phase != Phase::none) text += ", a commit unanswered";
  if (node.cas.phase != Phase::none) text += ", a CAS unanswered";
  for (int i = 0; i < most_operations; ++i) {
    if (state.waiting[index(number)][index(i)])
      text += ", a copy of " + operation_name(i) + " waits";
  }
  return text;
}

}  // namespace

int Log::size() const {
  int count = 0;
  for (int rest = digits; rest > 1; rest /= 4) ++count;
  return count;
}

bool Log::has(int operation) const {
  for (int rest = digits; rest > 1; rest /= 4) {
    if (rest % 4 == operation) return true;
  }
  return false;
}

State Shard::first() const {
  State state;
  state.slot.token = {1, 0};
  state.nodes[0].status = Status::owned;
  state.nodes[0].token = state.slot.token;
  state.left = setting_.faults;
  return state;
}

void Shard::steps(const State& from, Steps<State, Step>& out) const {
  Next(setting_, from, out).all();
}

bool Shard::ended(const State& state) const {
  for (int i = 0; i < setting_.operations; ++i) {
    if (open(state.calls[index(i)])) return false;
  }
  return true;
}

Shard::Packed Shard::pack(const State& state) const {
  State clean = state;
  tidy(clean, setting_);
  Writer<std::tuple_size_v<Packed>> bits;
  state_bits(bits, std::as_const(clean));
  if (bits.overflow()) {
    std::fprintf(stderr, "the model's bounds are too narrow for this state:\n%s\n",
                 tell(state).c_str());
    std::abort();
  }
  return bits.packed();
}

State Shard::unpack(const Packed& packed) const {
  State state;
  Reader<std::tuple_size_v<Packed>> bits(packed);
  state_bits(bits, state);
  return state;
}

std::string Shard::tell(const Step& step) const {
  const std::string node = name(step.node);
  const std::string other = name(1 - step.node);
  const std::string operation = operation_name(step.operation);
  const std::string heard = step.repeated ? "; the caller hears it, having sent another copy"
                            : step.told   ? "; the caller hears it"
                                          : "; the answer is lost";
  switch (step.deed) {
    case Deed::send:
      return "the caller sends " + operation + " to " + node;
    case Deed::sent_in_vain:
      return "the caller sends " + operation + " to " + node + ": 503";
    case Deed::give_up:
      return "the caller reports " + operation + (step.told ? " as not applied" : " as unknown");
    case Deed::turn:
      return node + " runs " + operation + " and sends its commit" + (step.told ? heard : "");
    case Deed::turn_forgets:
      return node + " runs " + operation + " and sends its commit, which forgets older operations";
    case Deed::turn_answers:
      return node + " answers " + operation + " from its records" + heard;
    case Deed::turn_rejects:
      return node + " rejects " + operation + ", unrecorded" + heard;
    case Deed::turn_expired:
      return node + " calls " + operation + " expired" + heard;
    case Deed::turn_fenced:
      return node + " loads for " + operation + " and is FENCED";
    case Deed::commit_runs:
      return "Redis runs the commit of " + operation + " from " + node;
    case Deed::commit_answered:
      return node + " gets the answer to its commit of " + operation + (step.told ? heard : "");
    case Deed::cas_runs:
      return "Redis runs the CAS from " + node;
    case Deed::cas_answered:
      return node + " gets the answer to its CAS";
    case Deed::claim:
      return node + " finds that the owner has ended, and sends ACQ";
    case Deed::bump:
      return node + " finds that the record names it, and sends BUMP";
    case Deed::audit_drops:
      return node + " finds that the record does not name it, and drops the shard";
    case Deed::audit_reloads:
      return node + " finds its memory is not what is stored, and drops it";
    case Deed::route:
      return node + " reads the record, and will forward to " + other;
    case Deed::forward:
      return node + " forwards " + operation + " to " + other;
    case Deed::refuse:
      return node + " refuses " + operation + (step.told ? "; the caller hears it" : "; unheard");
    case Deed::offer:
      return node + " offers the shard to " + other + ", which is ready";
    case Deed::ready:
      return node + " hears that " + other + " is ready, and drains";
    case Deed::transfer:
      return node + " sends XFER to " + other;
    case Deed::abort:
      return node + " gives up the move";
    case Deed::incoming_ends:
      return node + (step.told ? " misses HANDOVER, finds itself owner and sends BUMP"
                               : " awaits the shard no longer");
    case Deed::handover:
      return node + " gets HANDOVER" + (step.told ? " and owns the shard" : ", too late");
    case Deed::rejoin:
      return node + " learns of its eviction and joins as a new incarnation";
    case Deed::lose_commit:
      return node + " loses the connection with its commit of " + operation +
             ", and sends it again";
    case Deed::lose_cas:
      return node + " loses the connection with its CAS, and sends it again";
    case Deed::evict:
      return node + " is evicted, and does not know";
    case Deed::crash:
      return node + " crashes";
    case Deed::crash_loses:
      return node + " crashes, and its requests with it";
    case Deed::replica_stops:
      return "the replica stops following Redis";
    case Deed::replica_follows:
      return "the replica follows Redis again";
    case Deed::failover:
      return "Redis fails over to the replica";
    case Deed::late_runs:
      return "Redis runs a late " + (step.told ? "commit of " + operation : std::string("CAS")) +
             " from " + node;
  }
  return {};
}

std::string Shard::tell(const State& state) const {
  std::string text = "record " + words(state.slot.token) + ", stored " + words(state.slot.log) +
                     " at " + words(state.slot.version);
  for (int node = 0; node < 2; ++node) text += "; " + node_words(state, node);
  for (int i = 0; i < setting_.operations; ++i) {
    text += "; " + operation_name(i) + " " + words(state.calls[index(i)]);
  }
  return text;
}

}  // namespace catga::model
