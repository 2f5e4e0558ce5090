#include "catga/sharding/ownership.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace catga {

std::string_view name_of(ShardState state) {
  switch (state) {
    case ShardState::none:
      return "none";
    case ShardState::claiming:
      return "claiming";
    case ShardState::incoming:
      return "incoming";
    case ShardState::owned:
      return "owned";
    case ShardState::suspended:
      return "suspended";
    case ShardState::draining:
      return "draining";
    case ShardState::in_doubt:
      return "in_doubt";
    case ShardState::forwarding:
      return "forwarding";
  }
  return "?";
}

bool Shard::wants_to_move(const Surroundings& around, std::int64_t now) const {
  return state == ShardState::owned && !hydrating && !offered && around.target &&
         around.target != around.self && !around.target_impaired && now >= move_not_before;
}

namespace {

/// Shards we hold, forward or should own: their records are read every 5 s, for a Redis that lost
/// its last writes tells nobody.
bool audited(const Shard& shard, const Surroundings& around) {
  // Reborn, and not UP again yet: as a shadow, or with strikes, that may take long.
  const bool of_former_life =
      shard.state == ShardState::suspended && shard.token.incarnation != around.self;
  return of_former_life || shard.state == ShardState::owned ||
         shard.state == ShardState::forwarding ||
         (shard.state == ShardState::none && around.target == around.self);
}

/// One step in the making: the shard, what it knows, and the actions collected so far.
class Step {
 public:
  Step(Shard& shard, const Surroundings& around, std::int64_t now)
      : shard_(shard), around_(around), now_(now) {}
  ShardActions take() && { return std::move(actions_); }

  // ---- events ----

  void on(const ViewAdopted&) {
    // An actor that did not run while the session ended and another began was told of the end only
    // when it saw the new one in force, and went on under the token of the life before.
    const bool of_former_life = shard_.token.incarnation != around_.self;
    if (of_former_life &&
        (shard_.state == ShardState::owned || shard_.state == ShardState::draining))
      on(SessionEnded{});
    switch (shard_.state) {
      case ShardState::forwarding:
        if (!is_member(shard_.known_owner)) enter(ShardState::none);
        [[fallthrough]];
      case ShardState::none:
        consider_claim();
        break;
      case ShardState::incoming:
        if (!is_member(shard_.peer)) read();
        break;
      case ShardState::owned:
        if (shard_.offered && (!is_member(shard_.peer) || around_.target != shard_.peer))
          withdraw_offer();
        break;
      case ShardState::draining:
        if (!is_member(shard_.peer)) abort_drain();
        break;
      case ShardState::suspended:
        resume();  // UP, or NATS is back, after the session
        break;
      case ShardState::claiming:
      case ShardState::in_doubt:
        break;
    }
  }

  void on(const Woken&) {
    if (shard_.reading && now_ >= shard_.read_again_at) ask_record();
    const bool cas_open = shard_.state == ShardState::in_doubt ||
                          (shard_.state == ShardState::claiming && !shard_.hydrating);
    if (cas_open && now_ >= shard_.cas_again_at) repeat_cas();
    if (shard_.hydrating && shard_.hydrate_again_at != 0 && now_ >= shard_.hydrate_again_at) {
      shard_.hydrate_again_at = 0;
      act(Hydrate{shard_.token});
    }
    if (shard_.state == ShardState::incoming && !shard_.hydrating) {
      if (now_ - shard_.entered >= shard_.times.incoming_max) return give_up_incoming();
      if (now_ - shard_.since >= shard_.times.handover) {
        shard_.since = now_;
        read();
      }
    }
    if (shard_.state == ShardState::owned && shard_.offered &&
        now_ - shard_.since >= shard_.times.ready) {
      withdraw_offer();
    }
    if (shard_.state == ShardState::draining && now_ - shard_.since >= shard_.times.drain)
      abort_drain();
    if (shard_.state == ShardState::forwarding && now_ - shard_.since >= shard_.times.forward) {
      enter(ShardState::none);
    }
    const bool elsewhere =
        shard_.state == ShardState::none || shard_.state == ShardState::forwarding;
    if (elsewhere && shard_.claim_at != 0 && now_ >= shard_.claim_at) {
      shard_.claim_at = 0;
      read();
    }
    if (elsewhere && shard_.want_at != 0 && now_ >= shard_.want_at) remind_owner();
    if (now_ >= shard_.move_not_before) shard_.move_not_before = 0;  // nothing to wake up for
    if (audited(shard_, around_) && now_ >= shard_.next_audit) {
      shard_.next_audit = now_ + shard_.times.audit;
      read();
    }
  }

  void on(const RecordRead& event) {
    if (!shard_.reading || event.number != shard_.read_number) return;  // of an older read
    if (!event.record.ok()) {
      shard_.read_again_at = now_ + shard_.times.cas_first;
      return;
    }
    shard_.reading = false;
    const OwnerRecord& record = *event.record;
    switch (shard_.state) {
      case ShardState::none:
      case ShardState::forwarding:
        return settle_elsewhere(record);
      case ShardState::incoming:
        return settle_incoming(record);
      case ShardState::owned:
      case ShardState::draining:
        // The audit. A record that names us under another token is one of our own earlier requests
        // or a rolled back history: what is in memory may not fit it, so we take it anew.
        if (!shard_.hydrating && record.token != shard_.token) lose(LossCause::audit, record);
        return;
      case ShardState::suspended:
        // Of a former life, and somebody else has it since: there is nothing to come back to.
        if (shard_.token.incarnation != around_.self && record.owner() != around_.self &&
            record.token != shard_.token && !was_ours(record.owner()))
          lose(LossCause::audit, record);
        return;
      case ShardState::claiming:
      case ShardState::in_doubt:
        return;  // the outstanding compare-and-set, or the session, decides
    }
  }

  void on(const CasAnswered& event) {
    const bool open = shard_.state == ShardState::in_doubt ||
                      (shard_.state == ShardState::claiming && !shard_.hydrating);
    if (!open || event.nonce != shard_.request.nonce) return;  // of an older request
    if (!event.answered) {
      shard_.cas_again_at = now_ + shard_.cas_wait;
      shard_.cas_wait = std::min(shard_.cas_wait * 2, shard_.times.cas_most);
      return;
    }
    if (event.done) return cas_done(event.record, event.quiet);
    cas_refused(event.record);
  }

  void on(const Hydrated& event) {
    if (!shard_.hydrating) return;
    if (!event.answered) {
      shard_.hydrate_again_at = now_ + shard_.times.cas_first;
      return;
    }
    shard_.hydrating = false;
    if (event.fenced) {
      act(DropMemory{LossCause::fenced});
      act(Reroute{});
      enter(ShardState::none);
      return read();
    }
    if (shard_.token.incarnation != around_.self) {  // won in a life that has ended meanwhile
      enter(ShardState::suspended);
      act(Pause{});
      return resume();
    }
    serve_or_suspend(true);
  }

  void on(const Offered& event) {
    if (shard_.state == ShardState::incoming && shard_.peer == event.from && !shard_.hydrating) {
      shard_.move = event.move;  // the owner repeats itself; so do we
      shard_.since = now_;
      return act(SendReady{event.from, event.move});
    }
    const bool free = shard_.state == ShardState::none || shard_.state == ShardState::forwarding;
    if (!free) return act(SendRefuse{event.from, event.move, "busy"});
    if (!around_.may_own) return act(SendRefuse{event.from, event.move, why_not_ours()});
    if (around_.target != around_.self) return act(SendRefuse{event.from, event.move, "view"});
    enter(ShardState::incoming);
    shard_.entered = now_;
    shard_.peer = event.from;
    shard_.move = event.move;
    act(SendReady{event.from, event.move});
  }

  void on(const MoveGranted& event) {
    if (!shard_.wants_to_move(around_, now_)) return act(MoveEnded{false});
    shard_.offered = true;
    shard_.peer = around_.target;
    shard_.move = event.move;
    shard_.since = now_;
    act(SendOffer{shard_.peer, shard_.move, shard_.token.epoch});
  }

  void on(const Readied& event) {
    const bool ours = shard_.offered && shard_.peer == event.from && shard_.move == event.move;
    if (shard_.state != ShardState::owned || !ours) return;
    shard_.offered = false;
    enter(ShardState::draining);
    act(Drain{});
  }

  void on(const Refused& event) {
    if (shard_.state == ShardState::owned && shard_.offered && shard_.peer == event.from &&
        shard_.move == event.move) {
      shard_.offered = false;
      back_off();
      act(MoveEnded{false, shard_.move_backoff});
    }
  }

  void on(const Aborted& event) {
    if (shard_.state == ShardState::incoming && shard_.peer == event.from &&
        shard_.move == event.move && !shard_.hydrating) {
      shard_.move = 0;  // the owner's last word on this move: nothing more will come of it
      read();
    }
  }

  void on(const HandoverComplete& event) {
    if (shard_.state != ShardState::incoming || shard_.hydrating || shard_.peer != event.from)
      return;
    take(OwnerToken{event.epoch, around_.self}, event.quiet);
  }

  void on(const DrainEnded&) {
    if (shard_.state != ShardState::draining) return;
    ask_cas(CasPurpose::transfer, shard_.token, shard_.peer);
    enter(ShardState::in_doubt);
  }

  void on(const WasFenced& event) {
    const bool serving = shard_.state == ShardState::owned ||
                         shard_.state == ShardState::draining ||
                         shard_.state == ShardState::suspended;
    if (!serving || event.used != shard_.token) return;  // under an older token: not news
    lose(LossCause::fenced, std::nullopt);
  }

  void on(const SessionEnded&) {
    if (shard_.state == ShardState::owned || shard_.state == ShardState::draining) {
      if (shard_.state == ShardState::draining) {
        act(SendAbort{shard_.peer, shard_.move});
        act(MoveEnded{false});
      } else if (shard_.offered) {
        withdraw_offer();
      }
      shard_.hydrating = false;
      enter(ShardState::suspended);
      act(Pause{});
    }
  }

  void on(const SessionResumed&) {
    if (shard_.state == ShardState::suspended) return resume();
    const bool elsewhere =
        shard_.state == ShardState::none || shard_.state == ShardState::forwarding;
    if (elsewhere) return consider_claim();
    if (shard_.state == ShardState::incoming && !shard_.hydrating) give_up_incoming();
  }

  void on(const RouteHeard& event) {
    if (event.owner == around_.self || event.epoch <= shard_.known_epoch) return;
    shard_.known_owner = event.owner;
    shard_.known_epoch = event.epoch;
    act(LearnRoute{event.owner, event.epoch, false});
    const bool elsewhere =
        shard_.state == ShardState::none || shard_.state == ShardState::forwarding;
    if (elsewhere) consider_claim();
  }

  void on(const WantReceived&) {
    const bool elsewhere =
        shard_.state == ShardState::none || shard_.state == ShardState::forwarding;
    if (elsewhere) read();  // the record may name us although we do not know
  }

  void on(const LookUpWanted&) {
    ask_record();  // a new one: what an older read says may be older than the message
  }

  void on(const ReleaseNow&) {
    switch (shard_.state) {
      case ShardState::draining:
        act(SendAbort{shard_.peer, shard_.move});
        act(MoveEnded{false});
        [[fallthrough]];
      case ShardState::owned:
      case ShardState::suspended:
        if (shard_.offered) withdraw_offer();
        act(DropMemory{LossCause::released});
        ask_cas(CasPurpose::release, shard_.token, Incarnation{});
        enter(ShardState::in_doubt);
        return;
      case ShardState::incoming:
        if (!shard_.hydrating) give_up_incoming();
        return;
      default:
        return;
    }
  }

  /// What is in memory may be ahead of the store, or promised by writes that are gone. So it is
  /// dropped, and what the record still gives us is taken anew: under a new token no late write of
  /// the lost history fits, and outbox and timers are read again.
  void on(const PrimaryChanged&) {
    switch (shard_.state) {
      case ShardState::owned:
      case ShardState::draining:
      case ShardState::suspended:
        shard_.reading = false;  // what an open read says may be of the server before
        return lose(LossCause::audit, std::nullopt);
      case ShardState::in_doubt:
        if (shard_.purpose == CasPurpose::readopt) {
          act(DropMemory{LossCause::audit});
          shard_.purpose = CasPurpose::claim;  // the same request; its answer finds no memory
        }
        return;
      case ShardState::claiming:
      case ShardState::incoming:
        if (!shard_.hydrating) return;
        shard_.hydrating = false;
        act(DropMemory{LossCause::audit});
        act(Reroute{});
        enter(ShardState::none);
        [[fallthrough]];
      case ShardState::none:
      case ShardState::forwarding:
        shard_.known_owner = Incarnation{};  // heard of a history that may not have happened
        shard_.known_epoch = Epoch{};
        return ask_record();
    }
  }

 private:
  void act(ShardAction action) { actions_.push_back(std::move(action)); }
  std::string_view why_not_ours() const {
    if (around_.leaving) return "leaving";
    return around_.session_ok ? "not up" : "session";
  }
  /// Redis lost the eviction that had made this shadow UP: it may stay one for long.
  bool stands_by() const {
    const Member* self = around_.view != nullptr ? around_.view->find(around_.self) : nullptr;
    return around_.session_ok && self != nullptr && self->state == MemberState::shadow;
  }
  bool is_member(Incarnation node) const {
    return node && around_.view != nullptr && around_.view->find(node) != nullptr;
  }

  void enter(ShardState state) {
    shard_.state = state;
    shard_.since = now_;
    if (state == ShardState::none) shard_.peer = Incarnation{};
    if (state != ShardState::none && state != ShardState::forwarding) {
      shard_.claim_at = shard_.want_at = shard_.claimable_since = 0;
    }
  }

  // ---- reading the record ----

  void read() {
    if (shard_.reading) return;
    ask_record();
  }
  void ask_record() {
    shard_.reading = true;
    shard_.read_again_at = now_ + shard_.times.cas_most;
    act(AskRecord{++shard_.read_number});
  }

  void learn(const OwnerRecord& record) {
    shard_.known_owner = record.owner();
    shard_.known_epoch = record.epoch;
    act(LearnRoute{record.owner(), record.epoch, true});
  }

  // ---- claiming ----

  /// Whether and when this node should look if the shard needs an owner, after something changed.
  void consider_claim() {
    if (is_member(shard_.known_owner) && shard_.known_owner != around_.self) {
      shard_.claim_at = shard_.claimable_since = 0;
      if (around_.target != around_.self)
        shard_.want_at = 0;
      else if (shard_.want_at == 0)
        shard_.want_at = now_ + shard_.times.want;
      return;
    }
    if (!around_.may_own || !around_.claims_allowed) return;
    if (shard_.known_owner) {
      if (our_turn()) read();
    } else if (around_.rank == 0) {  // nobody is known: look, the preferred claimers first
      read();
    } else if (shard_.claim_at == 0) {
      shard_.claim_at = now_ + shard_.times.fallback * around_.rank;
    }
  }

  /// The shard has no living owner. Rank 0 claims at once, each further rank 3 s later.
  bool our_turn() {
    if (shard_.claimable_since == 0) shard_.claimable_since = now_;
    const std::int64_t due = shard_.claimable_since + shard_.times.fallback * around_.rank;
    shard_.claim_at = now_ >= due ? 0 : due;
    return shard_.claim_at == 0;
  }

  void remind_owner() {
    shard_.want_at = 0;
    if (around_.target != around_.self || !around_.may_own || !is_member(shard_.known_owner))
      return;
    act(SendWant{shard_.known_owner});
    shard_.want_at = now_ + shard_.times.want;
  }

  /// NONE or FORWARDING, and the record is known as of now.
  void settle_elsewhere(const OwnerRecord& record) {
    learn(record);
    if (record.owner() == around_.self) {
      if (around_.may_own) return claim(record.token);
      if (around_.leaving || stands_by()) {  // nobody else claims it while its owner lives
        ask_cas(CasPurpose::release, record.token, Incarnation{});
        enter(ShardState::in_doubt);
      }
      return;
    }
    if (is_member(record.owner())) {
      if (shard_.state == ShardState::none) shard_.peer = record.owner();
      return consider_claim();
    }
    if (!around_.may_own || !around_.claims_allowed || around_.view == nullptr) return;
    if (record.token && record.written_under > around_.view->version)
      return act(AskView{record.written_under});
    if (around_.only_former && !was_ours(record.owner())) return;  // its end comes with Adopt
    if (our_turn()) claim(record.token);
  }
  bool was_ours(Incarnation owner) const {
    return around_.former != nullptr && std::find(around_.former->begin(), around_.former->end(),
                                                  owner) != around_.former->end();
  }

  void claim(const std::optional<OwnerToken>& expected) {
    enter(ShardState::claiming);
    shard_.hydrating = false;
    ask_cas(CasPurpose::claim, expected, around_.self);
  }
  /// SUSPENDED, and something changed for the better, perhaps enough.
  void resume() {
    if (shard_.token.incarnation != around_.self) {
      if (around_.may_own) readopt();
    } else if (around_.session_ok) {  // nobody can have taken it
      enter(ShardState::owned);
      act(Serve{shard_.token, false});
    }
  }
  void readopt() {
    ask_cas(CasPurpose::readopt, shard_.token, around_.self);
    enter(ShardState::in_doubt);
  }
  void serve_or_suspend(bool fresh) {
    enter(around_.session_ok ? ShardState::owned : ShardState::suspended);
    shard_.next_audit = now_ + shard_.times.audit;
    act(LearnRoute{around_.self, shard_.token.epoch, true});
    if (around_.session_ok)
      act(Serve{shard_.token, fresh});
    else
      act(Pause{});
  }

  // ---- compare-and-set ----

  void ask_cas(CasPurpose purpose, std::optional<OwnerToken> expected, Incarnation owner) {
    shard_.purpose = purpose;
    shard_.request = AskCas{expected, owner, next_nonce()};
    shard_.cas_wait = shard_.times.cas_first;
    shard_.cas_again_at =
        now_ + 4 * shard_.times.cas_most;  // the store's answer, or its silence, comes before
    act(shard_.request);
  }
  void repeat_cas() {
    shard_.cas_again_at = now_ + 4 * shard_.times.cas_most;
    act(shard_.request);
  }
  std::string next_nonce() {  // splitmix64: unique enough beside the incarnation the record names
    std::uint64_t words[2];
    for (std::uint64_t& word : words) {
      word = (shard_.seed += 0x9e3779b97f4a7c15ULL);
      word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
      word = (word ^ (word >> 27)) * 0x94d049bb133111ebULL;
      word ^= word >> 31;
    }
    return bytes_of(OperationId{words[0], words[1]});
  }

  void cas_done(const OwnerRecord& record, bool quiet) {
    if (shard_.state == ShardState::claiming) return take(*record.token, quiet);
    switch (shard_.purpose) {
      case CasPurpose::claim:
        return take(*record.token, quiet);
      case CasPurpose::transfer:
        learn(record);
        act(SendHandover{shard_.peer, record.epoch, quiet});
        act(MoveEnded{true});
        shard_.move_backoff = 0;
        return enter(ShardState::forwarding);
      case CasPurpose::readopt:
        shard_.token = *record.token;
        shard_.reading = false;
        if (shard_.token.incarnation != around_.self) {  // won in a life that has ended meanwhile
          enter(ShardState::suspended);
          act(Pause{});
          return resume();
        }
        act(Retoken{shard_.token});
        learn(record);
        return serve_or_suspend(true);
      case CasPurpose::release:
        learn(record);
        act(Reroute{});
        return enter(ShardState::none);
    }
  }

  void cas_refused(const OwnerRecord& record) {
    const bool names_me = record.owner() == around_.self;
    if (shard_.state == ShardState::claiming || shard_.purpose == CasPurpose::claim) {
      if (names_me) return ask_cas(CasPurpose::claim, record.token, around_.self);
      learn(record);
      act(Reroute{});
      enter(is_member(record.owner()) ? ShardState::forwarding : ShardState::none);
      return consider_claim();
    }
    if (shard_.purpose == CasPurpose::readopt &&
        names_me) {  // an earlier copy of ours, or of a life before
      return ask_cas(CasPurpose::readopt, record.token, around_.self);
    }
    if (shard_.purpose == CasPurpose::release && names_me) {
      return ask_cas(CasPurpose::release, record.token, Incarnation{});
    }
    if (shard_.purpose == CasPurpose::transfer) act(MoveEnded{false});
    act(DropMemory{LossCause::fenced});
    learn(record);
    act(Reroute{});
    enter(is_member(record.owner()) && !names_me ? ShardState::forwarding : ShardState::none);
    consider_claim();
  }

  /// The record is ours: read what a life before left to do, then serve. `quiet`: it left nothing;
  /// and since only the token's owner may add to it, nothing can have come since.
  void take(const OwnerToken& token, bool quiet) {
    shard_.token = token;
    shard_.known_owner = around_.self;
    shard_.known_epoch = token.epoch;
    shard_.hydrating = true;
    shard_.hydrate_again_at = 0;
    shard_.reading = false;  // what an older read says is older than this token
    act(Hydrate{token, quiet});
  }

  // ---- losing ----

  void lose(LossCause cause, const std::optional<OwnerRecord>& record) {
    if (shard_.state == ShardState::draining) {
      act(SendAbort{shard_.peer, shard_.move});
      act(MoveEnded{false});
    } else if (shard_.offered) {
      withdraw_offer();
    }
    act(DropMemory{cause});
    enter(ShardState::none);
    shard_.known_owner = Incarnation{};
    if (!record) {
      act(Reroute{});
      return read();
    }
    act(Reroute{});
    settle_elsewhere(*record);
  }

  // ---- planned moves ----

  void back_off() {
    shard_.move_backoff =
        std::min(std::max<std::int64_t>(shard_.move_backoff * 2, 250), shard_.times.backoff_most);
    shard_.move_not_before = now_ + shard_.move_backoff;
  }
  void withdraw_offer() {
    act(SendAbort{shard_.peer, shard_.move});
    shard_.offered = false;
    back_off();
    act(MoveEnded{false, shard_.move_backoff});
  }
  void abort_drain() {
    act(SendAbort{shard_.peer, shard_.move});
    back_off();
    act(MoveEnded{false, shard_.move_backoff});
    enter(ShardState::owned);
    act(Serve{shard_.token, false});
  }

  void settle_incoming(const OwnerRecord& record) {
    if (shard_.hydrating) return;
    if (record.owner() == around_.self) {
      if (now_ - shard_.entered < shard_.times.handover) return;  // the HANDOVER is on its way
      return claim(record.token);  // it is lost: its asks are repeated by their callers
    }
    if (shard_.move != 0 && record.owner() == shard_.peer && is_member(shard_.peer)) return;
    act(Reroute{});
    enter(ShardState::none);
    settle_elsewhere(record);
  }
  void give_up_incoming() {
    act(Reroute{});
    enter(ShardState::none);
    read();
  }

  Shard& shard_;
  const Surroundings& around_;
  std::int64_t now_;
  ShardActions actions_;
};

}  // namespace

std::int64_t next_wake(const Shard& shard, const Surroundings& around) {
  std::int64_t at = std::numeric_limits<std::int64_t>::max();
  const auto by = [&at](std::int64_t due) { at = std::min(at, due); };
  const ShardTimes& times = shard.times;
  const bool elsewhere = shard.state == ShardState::none || shard.state == ShardState::forwarding;
  const bool claiming = shard.state == ShardState::claiming && !shard.hydrating;
  if (shard.reading) by(shard.read_again_at);
  if (claiming || shard.state == ShardState::in_doubt) by(shard.cas_again_at);
  if (shard.hydrating && shard.hydrate_again_at != 0) by(shard.hydrate_again_at);
  if (shard.state == ShardState::incoming && !shard.hydrating) by(shard.since + times.handover);
  if (shard.state == ShardState::owned && shard.offered) by(shard.since + times.ready);
  if (shard.state == ShardState::draining) by(shard.since + times.drain);
  if (shard.state == ShardState::forwarding) by(shard.since + times.forward);
  if (elsewhere && shard.claim_at != 0) by(shard.claim_at);
  if (elsewhere && shard.want_at != 0) by(shard.want_at);
  if (audited(shard, around)) by(shard.next_audit);
  const bool misplaced = shard.state == ShardState::owned && around.target != around.self;
  if (misplaced && shard.move_not_before != 0) by(shard.move_not_before);
  return at;
}

ShardActions step(Shard& shard, const ShardEvent& event, const Surroundings& around,
                  std::int64_t now_ms) {
  Step running(shard, around, now_ms);
  std::visit([&running](const auto& happened) { running.on(happened); }, event);
  return std::move(running).take();
}

}  // namespace catga
