// The life of a node among nodes, decided.
#include "catga/sharding/membership.hpp"

#include "catga/sharding/watchers.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace catga::membership {
namespace {

constexpr std::size_t proof_members = 3;
constexpr int exit_unavailable = 69;
constexpr int exit_configuration = 78;
constexpr std::int64_t nats_slow = 100, redis_slow = 200,
                       timer_slow = 100;  // ms: reasons to doubt oneself
constexpr std::size_t self_pings_kept = 16;
constexpr std::int64_t vote_again = 250, brake_again = 500;
constexpr std::int64_t vote_lives = 1000;         // ms, as in Redis
constexpr std::size_t all_acknowledge_up_to = 4;  // members; above, one watcher may stay silent
constexpr std::int64_t fresh = 1000;  // ms: how long a heartbeat says where its node writes to
constexpr std::int64_t alone_after = 60000;  // ms without any of those who disagreed
constexpr std::size_t primaries_kept = 16;
constexpr unsigned strikes_most = 7;

std::uint64_t next_random(std::uint64_t& seed) {  // splitmix64: enough to spread choices
  std::uint64_t z = (seed += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

// How long a node whose name was evicted so often stays WARM: 0, 1, 2, 4 ... 60 s.
std::int64_t warm_for(unsigned strikes) {
  if (strikes == 0) return 0;
  return strikes < strikes_most ? std::int64_t{1000} << (strikes - 1) : 60'000;
}

template <class One>
bool contains(const std::vector<One>& list, const One& one) {
  return std::find(list.begin(), list.end(), one) != list.end();
}

void remember(std::vector<std::string>& list, const std::string& one) {
  if (one.empty() || contains(list, one)) return;
  if (list.size() == primaries_kept) list.erase(list.begin());
  list.push_back(one);
}

// Whether `mine` gives way to `theirs` if as many write to the one as to the other: the one that is
// known to have been left, or by its name, so that both sides agree.
bool gives_way(const Membership& node, const std::string& mine, const std::string& theirs) {
  const bool mine_left = contains(node.replaced, mine);
  if (mine_left != contains(node.replaced, theirs)) return mine_left;
  return mine > theirs;
}

// Whether a watched node shows signs of having ended, and which.
std::optional<Evidence> evidence_against(const Membership& node, const Watched& watch,
                                         std::int64_t now) {
  const std::int64_t age = now - watch.life;
  if (age <= node.times.late) return std::nullopt;
  // A node that changes its NATS server is without subscriptions for a moment, so the server's word
  // alone is not enough.
  if (watch.nobody) return Evidence::no_responders;
  const QuietLimits limits{node.times.quiet, node.times.quiet_most};
  if (age > quiet_limit(watch.rhythm.mean(), watch.rhythm.deviation(), score(node, now), limits))
    return Evidence::quiet;
  return std::nullopt;
}

// `view` with one row replaced, added or (empty row) removed; none if the row cannot be read, or
// cannot be of the same table: two are never UP under one name.
std::shared_ptr<const MembershipView> with_row(const MembershipView& view, ViewVersion after,
                                               Incarnation about, const std::string& row) {
  auto next = std::make_shared<MembershipView>(view);
  next->version = after;
  std::erase_if(next->members, [&](const Member& member) { return member.incarnation == about; });
  if (row.empty()) return next;
  auto member = parse_row(about, row);
  if (!member.ok()) return nullptr;
  const bool taken =
      std::any_of(next->members.begin(), next->members.end(), [&member](const Member& other) {
        return other.state == MemberState::up && other.name == member->name;
      });
  if (taken && member->state == MemberState::up) return nullptr;
  const auto place = std::lower_bound(
      next->members.begin(), next->members.end(), about,
      [](const Member& one, Incarnation wanted) { return one.incarnation < wanted; });
  next->members.insert(place, std::move(*member));
  return next;
}

// The message that tells others of a new view: the row, if exactly one differs, else only that
// there is one.
Frame view_frame(const MembershipView* before, const MembershipView& after,
                 const std::map<Incarnation, Ending>& endings) {
  Frame frame;
  frame.type = Frame::Type::view;
  frame.view = after.version;
  if (before == nullptr) return frame;
  std::vector<std::pair<Incarnation, std::string>> differ;
  for (const Member& member : after.members) {
    const Member* old = before->find(member.incarnation);
    if (old == nullptr || !(*old == member))
      differ.emplace_back(member.incarnation, row_of(member));
  }
  for (const Member& member : before->members)
    if (after.find(member.incarnation) == nullptr) differ.emplace_back(member.incarnation, "");
  if (differ.size() != 1) return frame;
  frame.before = before->version;
  frame.about = differ.front().first;
  frame.row = std::move(differ.front().second);
  const auto ending = endings.find(frame.about);
  if (frame.row.empty() && ending != endings.end())
    frame.number = static_cast<std::uint64_t>(ending->second);
  return frame;
}

// One step: the event first, then everything that is due.
class Stepper {
 public:
  Stepper(Membership& node, std::int64_t now) : node_(node), now_(now) {}

  void on(const Begin&);
  void on(const Tick&);
  void on(const Heard& event);
  void on(const SignOfLife& event);
  void on(const NoResponders& event);
  void on(const NatsBack&);
  void on(const NatsLost& event);
  void on(const Leave&);
  void on(const Gone&) { node_.wish = NextState::gone; }
  void on(const JoinAnswer& event);
  void on(const RenewAnswer& event);
  void on(const StateAnswer& event);
  void on(const EvictAnswer& event);
  void on(const ReapAnswer& event);
  void on(const ViewAnswer& event);
  void on(const SessionsAnswer& event);
  void on(const WithdrawAnswer& event);
  void on(const CanaryRan&);
  void on(const Throttled&) { node_.doubts.throttled = now_; }
  void on(const OwnFacts& event);
  void on(const PrimaryChanged& event) { moved(event.before, event.after); }

  void proceed();
  std::vector<Action> take() { return std::move(actions_); }

 private:
  template <class One>
  void act(One action) {
    actions_.push_back(Action(std::move(action)));
  }
  void note(Note::What what, Incarnation about, std::int64_t ms = 0, std::string text = {}) {
    act(Note{what, about, ms, std::move(text)});
  }
  bool due(std::int64_t time) const { return now_ >= time; }
  bool may_ask(const Ask& ask) const { return !ask.open && due(ask.due); }
  void asked(Ask& ask) {
    ask.open = true;
    ask.sent = now_;
  }
  ViewVersion version() const { return node_.view ? node_.view->version : ViewVersion{}; }
  Watched* watch_of(Incarnation node) {
    const auto found = node_.watched.find(node);
    return found == node_.watched.end() ? nullptr : &found->second;
  }
  Frame frame(Frame::Type type) const {
    Frame out;
    out.type = type;
    out.from = node_.self;
    out.view = version();
    return out;
  }

  // What an answer, or its absence, says about the link to Redis.
  template <class Value>
  bool answered(Ask* ask, const Answer<Value>& answer) {
    if (ask != nullptr) ask->open = false;
    set_redis(answer.answered);
    if (!answer.answered) {
      node_.trouble = answer.trouble;
      if (ask != nullptr) ask->due = now_ + node_.times.retry;
    }
    return answer.answered;
  }
  void set_redis(bool there) {
    if (std::exchange(node_.redis, there) != there) act(Links{node_.nats, node_.redis});
  }

  void joined(const JoinReply& reply);
  void extend_session(std::int64_t sent);
  void session_over();
  void name_taken(Incarnation holder);
  void refuse(std::string why, int exit_code);
  void refuse_impatiently();
  void leave_now();

  // The reading right.
  bool newer_view_known() const {
    return node_.hearsay > version() && node_.hearsay > node_.disbelieved;
  }
  bool alone() const {
    return node_.view && node_.view->members.size() == 1 && node_.view->find(node_.self) != nullptr;
  }
  void set_reading(std::int64_t until) {
    if (std::exchange(node_.reading_until, until) != until) act(ReadingRight{until});
  }
  void lose_reading_right();
  void read_alone();
  void settle_reading(std::size_t members_before, bool rolled_back);
  void heard_ack(const Frame& frame);
  std::vector<Incarnation> listeners() const;

  // The Redis primaries.
  void moved(const std::string& before, const std::string& after);
  void others_moved(const std::string& before, const std::string& after);
  void replace_primary(const std::string& before, const std::string& after);
  std::optional<std::string> outvoted_by(std::vector<Incarnation>& agreeing) const;
  void check_primaries();
  void end_split();

  void adopt(std::shared_ptr<const MembershipView> view, bool rolled_back);
  void learn_ending(Incarnation target, Ending how, bool sure);
  void rewatch(bool rolled_back);
  void tell_impaired();
  void heard_version(ViewVersion seen);
  void want_read(bool announce) {
    node_.read_wanted = true;
    node_.announce = node_.announce || announce;
  }

  void life_of(Incarnation node);
  void heard_heartbeat(const Frame& frame);
  void heard_ping(const Frame& frame);
  void heard_suspect(const Frame& frame);
  void heard_view(const Frame& frame);
  void heard_self(const Frame& frame);
  void probe(Incarnation target, Watched& watch);
  void vote(Incarnation target, Watched& watch, Evidence evidence);
  void take_back(Incarnation target, Watched& watch) {
    asked(watch.withdraw);
    act(AskWithdraw{node_.self, target});
  }
  bool may_acknowledge(const Watched& watch) const {
    return !watch.vote_stands && !watch.unseen && due(watch.unsure);
  }
  // Our vote may have counted before it was taken back: is the target still a member?
  void look_after(Watched& watch) {
    if (!watch.unseen || watch.seen_by != 0 || !due(watch.unsure)) return;
    watch.seen_by = node_.reads + 1;
    want_read(false);
  }
  void make_up_for(const MembershipView& read);
  void acknowledge(Incarnation to, std::uint64_t number) {
    Frame reply = frame(Frame::Type::ack);
    reply.number = number;
    act(Send{to, std::move(reply)});
  }
  ProofOf* proof_of(Incarnation node) {
    const auto found = node_.proof.find(node);
    return found == node_.proof.end() ? nullptr : &found->second;
  }
  void reset_proof() {
    node_.proven = false;
    node_.proof.clear();
    node_.proof_due = now_;
  }

  void lose_patience();
  void check_deadline();
  void check_nats();
  void join_if_due();
  void renew_if_due();
  void state_if_due();
  void prove_if_due();
  bool proof_complete(std::size_t others) const;
  void read_if_wanted();
  void beat_if_due();
  void detect_if_due();
  void canary_if_due();
  bool name_held() const;

  Membership& node_;
  const std::int64_t now_;
  std::vector<Action> actions_;
};

// ---- events from this node itself ----

void Stepper::on(const Begin&) {
  assert(!node_.begun && node_.self);
  node_.begun = true;
  node_.begun_at = node_.last_tick = now_;
}

void Stepper::on(const Tick&) {
  if (now_ - node_.last_tick > node_.times.tick + timer_slow) {
    node_.doubts.timers = now_;
    if (node_.canary_posted != 0) node_.canary_posted = now_;  // who slept itself accuses nobody
  }
  node_.last_tick = now_;
}

void Stepper::on(const CanaryRan&) {
  if (node_.canary_posted == 0) return;
  const std::int64_t waited = now_ - std::exchange(node_.canary_posted, 0);
  if (waited > node_.times.canary_late) node_.doubts.scheduler = now_;
  if (std::exchange(node_.sick, false)) note(Note::What::well, node_.self, waited);
}

void Stepper::on(const OwnFacts& event) {
  node_.load = event.load;
  if (event.primary == node_.primary) return;
  const std::string before = std::exchange(node_.primary, event.primary);
  node_.outvoted_at.reset();
  if (node_.split) end_split();  // it counts anew
  if (before.empty() || event.primary.empty())
    remember(node_.primaries_heard, event.primary);
  else
    moved(before, event.primary);
}

void Stepper::on(const NatsBack&) {
  if (std::exchange(node_.nats, true)) return;
  // What was on the way is lost: what comes back from before says nothing about the link.
  node_.self_pings.clear();
  node_.heartbeat_due = now_;
  if (!node_.proven) reset_proof();
  act(Links{node_.nats, node_.redis});
}

void Stepper::on(const NatsLost& event) {
  node_.trouble = event.why;
  if (!std::exchange(node_.nats, false)) return;
  node_.nats_lost = now_;
  act(Links{node_.nats, node_.redis});
}

void Stepper::on(const Leave&) {
  if (node_.wish == NextState::up) node_.wish = NextState::leaving;
}

// ---- what others say ----

void Stepper::on(const Heard& event) {
  const Frame& heard = event.frame;
  if (heard.from == node_.self) return heard_self(heard);
  life_of(heard.from);
  if (heard.type == Frame::Type::view) return heard_view(heard);
  heard_version(heard.view);
  if (heard.type == Frame::Type::primary) return others_moved(heard.row, heard.primary);
  if (!node_.joined) return;
  const auto past = node_.former.find(heard.from);
  if (past != node_.former.end() && heard.view >= past->second) node_.former.erase(past);
  switch (heard.type) {
    case Frame::Type::heartbeat:
      return heard_heartbeat(heard);
    case Frame::Type::ping:
      return heard_ping(heard);
    case Frame::Type::suspect:
      return heard_suspect(heard);
    case Frame::Type::pong:
      if (ProofOf* proof = proof_of(heard.from)) proof->answered = true;
      return;
    case Frame::Type::ack:
      return heard_ack(heard);
    case Frame::Type::refute:
    case Frame::Type::view:
    case Frame::Type::primary:
      return;  // the sign of life was all
  }
}

void Stepper::on(const SignOfLife& event) {
  life_of(event.from);
  heard_version(event.seen);
}

void Stepper::on(const NoResponders& event) {
  if (ProofOf* proof = proof_of(event.node)) proof->nobody = true;
  Watched* watch = watch_of(event.node);
  if (watch == nullptr) return;
  watch->nobody = true;
  node_.detect_due = now_;
}

void Stepper::heard_self(const Frame& frame) {
  if (frame.type != Frame::Type::ping) return;
  const auto sent = node_.self_pings.find(frame.number);
  if (sent == node_.self_pings.end()) return;
  node_.self_heard = std::max(node_.self_heard, sent->second);
  if (now_ - sent->second > nats_slow) node_.doubts.nats = now_;
  node_.self_pings.erase(node_.self_pings.begin(), std::next(sent));  // older ones are lost
}

// Whatever a node sends shows that it lives; a vote against it is taken back.
void Stepper::life_of(Incarnation node) {
  Watched* watch = watch_of(node);
  if (watch == nullptr) return;
  const std::int64_t silence = now_ - std::exchange(watch->life, now_);
  watch->probed = 0;
  watch->nobody = false;
  watch->brake.clear();
  watch->accusers.clear();
  if (!std::exchange(watch->voted, false)) return;
  note(Note::What::cleared, node, silence);
  take_back(node, *watch);
}

void Stepper::heard_heartbeat(const Frame& heard) {
  Watched* watch = watch_of(heard.from);
  if (watch == nullptr) return acknowledge(heard.from, heard.number);
  if (may_acknowledge(*watch)) acknowledge(heard.from, heard.number);
  if (heard.number <= watch->number) return;
  watch->number = heard.number;
  watch->rhythm.heard(now_);
  watch->knows = watch->knows || heard.view >= watch->since_view;
  watch->beat_at = now_;
  watch->redis = heard.redis;
  watch->load = heard.load;
  watch->primary = heard.primary;
  tell_impaired();
  // In case its PRIMARY was lost.
  const bool other = !heard.primary.empty() && heard.primary != node_.primary;
  if (other && !node_.primary.empty() && !contains(node_.replaced, heard.primary))
    others_moved({}, heard.primary);
}

// Those whose silence could cost us our place have heard us: until then nobody can have taken it.
void Stepper::heard_ack(const Frame& heard) {
  std::int64_t until = node_.reading_until;
  for (auto& [number, beat] : node_.beats) {
    if (number > heard.number) break;  // who has heard a later one has heard from us since
    std::erase(beat.missing, heard.from);
    if (beat.missing.size() <= beat.spared)
      until = std::max(until, beat.sent + node_.times.reading);
  }
  if (!newer_view_known()) set_reading(until);
}

void Stepper::heard_ping(const Frame& heard) {
  Frame reply = frame(Frame::Type::pong);
  reply.number = heard.number;
  act(Send{heard.from, std::move(reply)});
  if (heard.ping_back) act(Send{heard.from, frame(Frame::Type::ping)});
  if (ProofOf* proof = proof_of(heard.from)) proof->asked = true;
}

void Stepper::heard_suspect(const Frame& heard) {
  if (heard.about == node_.self) {
    Frame refute = frame(Frame::Type::refute);
    refute.number = node_.number;
    act(Send{heard.from, refute});
    for (const Incarnation watcher : node_.watchers)
      if (watcher != heard.from) act(Send{watcher, refute});
    return;
  }
  Watched* watch = watch_of(heard.about);
  if (watch != nullptr) watch->accusers[heard.from] = now_;
  if (watch != nullptr && watch->probed == 0 && now_ - watch->life > node_.times.heartbeat)
    probe(heard.about, *watch);
}

void Stepper::heard_view(const Frame& heard) {
  if (heard.view <= version()) return;
  if (heard.about && heard.row.empty())
    for (const Ending how : {Ending::evicted, Ending::expired})
      if (heard.number == static_cast<std::uint64_t>(how)) learn_ending(heard.about, how, true);
  // Our own end is believed of Redis only, and a row we cannot place is read there too. So is what
  // somebody says who writes to another primary: the same version may be another table there.
  const Watched* from = watch_of(heard.from);
  const auto another = [this](const std::string& primary) {
    return !primary.empty() && !node_.primary.empty() && primary != node_.primary;
  };
  const bool of_another = another(heard.primary) || (from != nullptr && another(from->primary));
  const bool fits = node_.view && heard.before == version() && heard.about && !of_another &&
                    node_.sure_after == 0 && !(heard.about == node_.self && heard.row.empty());
  auto next = fits ? with_row(*node_.view, heard.view, heard.about, heard.row) : nullptr;
  if (next == nullptr) return heard_version(heard.view);
  adopt(std::move(next), false);
}

void Stepper::heard_version(ViewVersion seen) {
  node_.hearsay = std::max(node_.hearsay, seen);
  if (node_.joined && seen > version() && seen > node_.disbelieved) want_read(false);
}

// ---- what Redis says ----

void Stepper::on(const JoinAnswer& event) {
  if (event.self != node_.self || node_.joined || node_.over) return;
  if (!answered(&node_.join, event.answer)) return;
  const JoinReply& reply = event.answer.value;
  switch (reply.outcome) {
    case JoinReply::Outcome::ok:
      return joined(reply);
    case JoinReply::Outcome::refused:
      return refuse(reply.why, exit_configuration);
    // An earlier copy of this JOIN came through, its answer was lost and its session has expired
    // since.
    case JoinReply::Outcome::spent:
      return session_over();
    case JoinReply::Outcome::name:
      return name_taken(reply.holder);
  }
}

// The holder may be our own former life, or a node that has just died: REAP will show. A living one
// keeps it.
void Stepper::name_taken(Incarnation holder) {
  const bool news = std::exchange(node_.in_the_way, holder) != holder || !node_.name_taken_at;
  node_.join.due = now_ + node_.times.retry;
  // A shadow joins only behind a holder that lives. The place behind it may be taken, too.
  if (!std::exchange(node_.behind, false) && node_.shadow) act(AskReap{holder});
  if (news && !node_.shadow) note(Note::What::name_taken, holder);
  node_.trouble = "the name " + node_.name + " is in use by a living node (incarnation " +
                  text_of(holder) + "): stop that node, or give this one another node.id";
  if (!node_.name_taken_at) node_.name_taken_at = now_;
  if (now_ - *node_.name_taken_at > node_.times.patience) refuse_impatiently();
}

void Stepper::joined(const JoinReply& reply) {
  node_.joined = node_.ever_joined = true;
  node_.cluster_id = reply.cluster_id;
  node_.in_the_way = {};
  node_.name_taken_at.reset();
  node_.trouble.clear();
  node_.behind = false;
  const Member* me = reply.view.find(node_.self);
  node_.row = me != nullptr ? me->state : MemberState::warm;
  node_.warm_until = now_ + warm_for(reply.strikes);
  if (reply.strikes > 0)
    note(Note::What::strikes, node_.self, warm_for(reply.strikes), std::to_string(reply.strikes));
  node_.renew = Ask{.due = now_};  // at once: it brings the time of the cluster
  node_.state = Ask{.due = now_};
  node_.heartbeat_due = node_.detect_due = now_;
  reset_proof();
  extend_session(node_.join.sent);
  auto view = std::make_shared<const MembershipView>(reply.view);
  Frame news = view_frame(node_.view.get(), *view, node_.endings);
  news.primary = node_.primary;
  news.from = node_.self;
  adopt(std::move(view), reply.view.version < node_.version_at_join);
  if (node_.joined) act(Publish{std::move(news)});
}

void Stepper::on(const RenewAnswer& event) {
  if (event.self != node_.self || !node_.joined) return;
  if (!answered(&node_.renew, event.answer)) return;
  const RenewReply& reply = event.answer.value;
  if (!reply.alive) return session_over();
  if (now_ - node_.renew.sent > redis_slow) node_.doubts.redis = now_;
  if (reply.votes >= 2) node_.doubts.accused = now_;
  node_.renew.due = node_.renew.sent + node_.times.session_renew;
  if (reply.version > version()) node_.disbelieved = {};  // no hearsay: Redis says so itself
  heard_version(reply.version);
  if (reply.version < node_.version_at_renew) {  // Redis has lost writes
    lose_reading_right();
    want_read(false);
  }
  extend_session(node_.renew.sent);
}

void Stepper::on(const StateAnswer& event) {
  if (event.self != node_.self || !node_.joined) return;
  if (!answered(&node_.state, event.answer)) return;
  const StateReply& reply = event.answer.value;
  switch (reply.outcome) {
    case StateReply::Outcome::no_session:
      return session_over();
    case StateReply::Outcome::name:
      act(AskReap{reply.holder});
      node_.state.due = now_ + node_.times.retry;
      return;
    case StateReply::Outcome::bad:
      node_.state.due = now_ + node_.times.retry;
      return want_read(false);
    case StateReply::Outcome::ok:
      break;
  }
  want_read(true);
  if (event.wanted == NextState::gone) return leave_now();
  node_.row = event.wanted == NextState::up ? MemberState::up : MemberState::leaving;
}

void Stepper::on(const EvictAnswer& event) {
  if (event.self != node_.self) return;
  const bool came = answered(nullptr, event.answer);
  const EvictReply reply = event.answer.value;
  Watched* watch = watch_of(event.target);
  if (watch != nullptr) {
    watch->vote_open = false;
    if (!came) watch->unsure = now_ + node_.times.vote_unsure;
    const bool brake = came && reply.outcome == EvictReply::Outcome::brake;
    const bool wait = came && reply.outcome == EvictReply::Outcome::wait;
    watch->vote_due = now_ + (brake  ? brake_again
                              : wait ? std::max<std::int64_t>(reply.wait, 1)
                                     : vote_again);
    if (brake && std::exchange(watch->brake, reply.brake) != reply.brake)
      note(Note::What::braked, event.target, now_ - watch->life, reply.brake);
  }
  if (!came) return;
  if (reply.outcome == EvictReply::Outcome::evicted) {
    learn_ending(event.target, Ending::evicted, true);
    note(Note::What::evicted, event.target);
  } else if (reply.outcome == EvictReply::Outcome::gone && watch != nullptr) {
    const bool expired = watch->no_session > 0 || !watch->brake.empty();  // somebody reaped it
    learn_ending(event.target, expired ? Ending::expired : Ending::evicted, false);
  }
  if (reply.outcome == EvictReply::Outcome::no_session) node_.renew.due = now_;
  if (reply.outcome == EvictReply::Outcome::evicted || reply.outcome == EvictReply::Outcome::gone)
    want_read(true);
}

void Stepper::on(const WithdrawAnswer& event) {
  if (event.self != node_.self) return;
  Watched* watch = watch_of(event.target);
  if (!answered(watch != nullptr ? &watch->withdraw : nullptr, event.answer) || watch == nullptr)
    return;
  if (watch->voted || watch->vote_open) return;
  watch->vote_stands = false;
  watch->unseen = true;
  watch->seen_by = 0;
  look_after(*watch);
}

// Acknowledges what was kept back, to those that are still members.
void Stepper::make_up_for(const MembershipView& read) {
  for (auto& [target, watch] : node_.watched) {
    if (!watch.unseen || watch.seen_by == 0 || watch.seen_by > node_.reads) continue;
    watch.seen_by = 0;
    watch.unseen = read.find(target) == nullptr;
    if (watch.beat_at >= 0 && may_acknowledge(watch)) acknowledge(target, watch.number);
  }
}

void Stepper::on(const ReapAnswer& event) {
  if (!answered(nullptr, event.answer)) return;
  if (event.answer.value != ReapReply::alive)
    learn_ending(event.target, Ending::expired, event.answer.value == ReapReply::reaped);
  if (event.answer.value == ReapReply::alive) {
    const bool asked_for = !node_.joined && !node_.join.open && event.target == node_.in_the_way;
    if (!asked_for || !node_.shadow || node_.behind || !node_.name_taken_at) return;
    node_.behind = true;
    node_.join.due = now_;
    return note(Note::What::shadowing, event.target);
  }
  if (node_.joined) return want_read(true);
  if (event.target == node_.in_the_way) node_.join.due = now_;  // the name is free
}

void Stepper::on(const ViewAnswer& event) {
  if (!answered(&node_.read, event.answer)) return want_read(false);
  const MembershipView& read = event.answer.value;
  if (node_.reads >= node_.sure_after) node_.sure_after = 0;
  make_up_for(read);
  const bool announce = std::exchange(node_.announce, false);
  if (read.version < node_.hearsay_at_read) node_.disbelieved = node_.hearsay_at_read;
  // Older than what we had when we asked: Redis lost writes. Older than what we have now only: a
  // message was faster. The same version and another table: the primary before went on without us.
  const bool other_table = node_.view && read.version == version() && !(read == *node_.view);
  const bool rolled_back = read.version < node_.version_at_read || other_table;
  if (!rolled_back && read.version <= version()) {
    // We may think otherwise of our own row: Redis lost our change after it had answered it.
    const Member* me = read.find(node_.self);
    const bool after = !node_.state.open && node_.read.sent >= node_.state.sent;
    if (read.version == version() && me != nullptr && after) node_.row = me->state;
    return;
  }
  auto next = std::make_shared<const MembershipView>(read);
  Frame news = view_frame(node_.view.get(), *next, node_.endings);
  news.primary = node_.primary;
  news.from = node_.self;
  adopt(std::move(next), rolled_back);
  if (announce) act(Publish{std::move(news)});
}

void Stepper::on(const SessionsAnswer& event) {
  if (!answered(&node_.sessions, event.answer)) return;
  const std::size_t count = std::min(event.nodes.size(), event.answer.value.size());
  for (std::size_t i = 0; i < count; ++i) {
    Watched* watch = watch_of(event.nodes[i]);
    if (watch == nullptr) continue;
    watch->no_session = event.answer.value[i] ? 0 : watch->no_session + 1;
    const bool silent = now_ - watch->life >= 1000;
    if (watch->no_session >= 2 || (watch->no_session == 1 && silent)) act(AskReap{event.nodes[i]});
  }
}

// ---- session, birth and end ----

void Stepper::extend_session(std::int64_t sent) {
  node_.deadline = std::max(node_.deadline, sent + node_.times.valid());
  node_.in_force = node_.deadline > now_ && !node_.split;
  act(Session{node_.in_force, node_.self, node_.deadline});
  read_alone();
}

// The incarnation is over for ever, by whatever road. A node that wants to stay is reborn.
void Stepper::session_over() {
  const bool was_member = std::exchange(node_.joined, false);
  node_.in_force = false;
  node_.deadline = 0;
  node_.beats.clear();
  set_reading(0);
  if (was_member) act(Session{false, node_.self, 0});
  if (node_.wish != NextState::up) return leave_now();
  // A vote counts for a second, whoever cast it.
  for (const auto& [target, watch] : node_.watched)
    if (watch.vote_stands) act(AskWithdraw{node_.self, target});
  assert(node_.spare);
  const Incarnation old_one = std::exchange(node_.self, std::exchange(node_.spare, Incarnation{}));
  node_.in_the_way = old_one;
  node_.name_taken_at.reset();
  node_.join = Ask{.due = now_};
  node_.row = MemberState::warm;
  node_.behind = false;
  node_.watched.clear();
  node_.watchers.clear();
  node_.former.clear();
  node_.self_pings.clear();
  node_.read_wanted = node_.announce = false;
  node_.disbelieved = node_.hearsay;
  node_.away = false;
  act(Reborn{old_one, node_.self});
}

void Stepper::refuse(std::string why, int exit_code) {
  node_.over = true;
  act(Refused{std::move(why), exit_code});
}

void Stepper::leave_now() {
  if (std::exchange(node_.over, true)) return;
  set_reading(0);
  if (std::exchange(node_.in_force, false)) act(Session{false, node_.self, 0});
  if (std::exchange(node_.joined, false)) {
    Frame news = frame(Frame::Type::view);
    news.view =
        ViewVersion{version().value + 1};  // the true one is not known, but it is at least this
    act(Publish{std::move(news)});
  }
  act(Left{});
}

// ---- the view ----

// Not `sure`: we tried, and it had ended already. Most likely somebody else was as sure of it as we,
// unless it was about to leave.
void Stepper::learn_ending(Incarnation target, Ending how, bool sure) {
  const Member* row = node_.view ? node_.view->find(target) : nullptr;
  if (row == nullptr) return;
  if (sure)
    node_.endings.insert_or_assign(target, how);
  else if (row->state != MemberState::leaving)
    node_.endings.try_emplace(target, how);
}

void Stepper::adopt(std::shared_ptr<const MembershipView> view, bool rolled_back) {
  const ViewVersion before = version();
  const std::size_t members_before = node_.view ? node_.view->members.size() : 0;
  node_.view = std::move(view);
  node_.hearsay = std::max(node_.hearsay, version());
  const Member* me = node_.view->find(node_.self);
  if (node_.joined && me != nullptr) settle_reading(members_before, rolled_back);
  std::map<Incarnation, Ending> ended;
  std::erase_if(node_.endings, [&](const auto& one) {
    return node_.view->find(one.first) == nullptr && ended.insert(one).second;
  });
  if (rolled_back) node_.endings.clear();  // Redis lost these ends
  act(ViewAdopted{node_.view, node_.self, rolled_back, before, std::move(ended)});
  if (!node_.joined) return;
  if (me == nullptr) return session_over();
  if (!node_.state.open) node_.row = me->state;
  rewatch(rolled_back);
}

// Whom we watch follows from the view. Those we go on watching keep what we know of them.
void Stepper::rewatch(bool rolled_back) {
  WatchDuty duty = watch_duty(*node_.view, node_.self, node_.rings);
  // Who watched us and may not know yet that it need not any more can still vote.
  for (const Incarnation watcher : node_.watchers) node_.former.try_emplace(watcher, version());
  node_.watchers = std::move(duty.watchers);
  for (const Incarnation watcher : node_.watchers) node_.former.erase(watcher);
  std::erase_if(node_.former,
                [this](const auto& one) { return node_.view->find(one.first) == nullptr; });
  std::map<Incarnation, Watched> next;
  for (const Incarnation target : duty.targets) {
    const auto known = node_.watched.find(target);
    Watched& watch = next[target];
    if (known != node_.watched.end()) {
      watch = std::move(known->second);
      known->second.vote_stands = false;  // it goes on there
    } else {
      watch.life = now_;
    }
    if (known != node_.watched.end() && !rolled_back) continue;
    watch.since = now_;
    watch.since_view = version();
    watch.knows = false;  // what it knew may have been a view that is lost
  }
  for (const auto& [target, watch] : node_.watched)
    if (watch.vote_stands && node_.view->find(target) != nullptr)
      act(AskWithdraw{node_.self, target});
  node_.watched = std::move(next);
  tell_impaired();
}

void Stepper::tell_impaired() {
  std::vector<Incarnation> impaired;
  for (const auto& [target, watch] : node_.watched)
    if (!watch.redis) impaired.push_back(target);
  if (impaired == node_.impaired) return;
  node_.impaired = impaired;
  act(Impaired{std::move(impaired)});
}

// ---- the reading right ----

void Stepper::lose_reading_right() {
  node_.beats.clear();
  node_.no_reading_before = now_ + node_.times.reading_pause;
  set_reading(0);
}

void Stepper::read_alone() {
  if (node_.joined && alone() && !newer_view_known() && due(node_.no_reading_before))
    set_reading(std::max(node_.reading_until, node_.deadline));
}

// Heartbeats sent under the old view say nothing of those who watch under the new one. A right that
// is there stays: it was given by all who could vote then, and whoever begins to watch votes only
// after it has heard us.
void Stepper::settle_reading(std::size_t members_before, bool rolled_back) {
  node_.beats.clear();
  if (rolled_back) return lose_reading_right();
  // Alone the right was as long as the session. From here on somebody may vote, once it has heard
  // the heartbeat that we are about to send.
  if (members_before == 1 && !alone())
    set_reading(std::min(node_.reading_until, now_ + node_.times.reading));
  read_alone();
}

// Our watchers, and those who may still take themselves for it.
std::vector<Incarnation> Stepper::listeners() const {
  std::vector<Incarnation> all = node_.watchers;
  for (const auto& one : node_.former) all.push_back(one.first);
  return all;
}

// ---- the Redis primaries ----

void Stepper::replace_primary(const std::string& before, const std::string& after) {
  std::erase(node_.primaries_heard, before);
  remember(node_.primaries_heard, after);
  std::erase(node_.replaced, after);
  if (before != after) remember(node_.replaced, before);
}

// This process has moved. It may have flushed and audited when it heard of the new primary, but
// against the old one: so now it does again.
void Stepper::moved(const std::string& before, const std::string& after) {
  if (after.empty() || before == after || node_.moved_to == after) return;
  node_.moved_to = after;
  replace_primary(before, after);
  lose_reading_right();
  node_.sure_after = node_.reads + 1;  // what is under way may be answered by the one before
  if (node_.joined) want_read(false);
  Frame news = frame(Frame::Type::primary);
  news.row = before;
  news.primary = after;
  act(Publish{std::move(news)});
  act(NewPrimary{before, after});
}

void Stepper::others_moved(const std::string& before, const std::string& after) {
  if (after.empty() || before == after || contains(node_.primaries_heard, after)) return;
  replace_primary(before, after);
  lose_reading_right();
  act(NewPrimary{before, after});
}

// Which primary more of us write to than to ours, if any. `agreeing`: who has said that it is ours.
std::optional<std::string> Stepper::outvoted_by(std::vector<Incarnation>& agreeing) const {
  const auto votes_now = [this](const Watched& watch) {
    return !watch.primary.empty() && watch.beat_at >= 0 && now_ - watch.beat_at <= fresh;
  };
  bool all_agree = true;  // as nearly always: then nothing needs counting by primary
  for (const auto& [node, watch] : node_.watched) {
    if (!votes_now(watch)) continue;
    const bool agrees = watch.primary == node_.primary;
    if (agrees && node_.split) agreeing.push_back(node);
    all_agree = all_agree && agrees;
  }
  if (all_agree) return std::nullopt;
  agreeing.clear();
  std::map<std::string, std::size_t> votes{{node_.primary, 1}};
  for (const auto& [node, watch] : node_.watched) {
    if (!votes_now(watch)) continue;
    ++votes[watch.primary];
    if (watch.primary == node_.primary) agreeing.push_back(node);
  }
  const std::size_t mine = votes[node_.primary];
  for (const auto& [primary, count] : votes) {
    if (primary == node_.primary || count < mine) continue;
    if (count > mine || gives_way(node_, node_.primary, primary)) return primary;
  }
  return std::nullopt;
}

// Once outvoted, silence is no agreement: each half drops the other from its table, and those left
// here agree among themselves. It takes somebody who was not with us then.
void Stepper::check_primaries() {
  if (!node_.joined || node_.primary.empty()) return;
  std::vector<Incarnation> agreeing;
  const auto theirs = outvoted_by(agreeing);
  if (!theirs) {
    if (!node_.split) return node_.outvoted_at.reset();
    const bool joined_by_another =
        std::any_of(agreeing.begin(), agreeing.end(),
                    [this](Incarnation one) { return !contains(node_.companions, one); });
    if (joined_by_another || now_ - node_.outvoted_last > alone_after) end_split();
    return;
  }
  node_.companions = std::move(agreeing);
  node_.outvoted_last = now_;
  if (!node_.outvoted_at) node_.outvoted_at = now_;
  if (node_.split || now_ - *node_.outvoted_at <= node_.times.disagreement) return;
  node_.split = true;
  note(Note::What::split, node_.self, now_ - *node_.outvoted_at, *theirs);
  if (std::exchange(node_.in_force, false)) act(Session{false, node_.self, node_.deadline});
}

void Stepper::end_split() {
  node_.split = false;
  node_.outvoted_at.reset();
  note(Note::What::agreed, node_.self);
  if (!node_.joined || due(node_.deadline)) return;
  node_.in_force = true;
  act(Session{true, node_.self, node_.deadline});
}

void Stepper::read_if_wanted() {
  if (!node_.read_wanted || !node_.joined || !may_ask(node_.read)) return;
  node_.read_wanted = false;
  node_.version_at_read = version();
  node_.hearsay_at_read = node_.hearsay;
  asked(node_.read);
  ++node_.reads;
  act(AskView{});
}

// ---- what is due ----

void Stepper::proceed() {
  if (!node_.begun || node_.over) return;
  lose_patience();
  check_deadline();
  check_nats();
  check_primaries();
  canary_if_due();
  join_if_due();
  renew_if_due();
  prove_if_due();
  state_if_due();
  detect_if_due();
  beat_if_due();
  read_if_wanted();
}

// Only at the first start: a node that has been a member waits for Redis and NATS as long as it
// takes.
void Stepper::lose_patience() {
  if (!node_.ever_joined && now_ - node_.begun_at > node_.times.patience) refuse_impatiently();
}

void Stepper::refuse_impatiently() {
  refuse("could not join within " + std::to_string(node_.times.patience / 1000) +
             " s: " + (node_.trouble.empty() ? "NATS was never reached" : node_.trouble),
         exit_unavailable);
}

void Stepper::check_deadline() {
  if (!node_.in_force || !due(node_.deadline)) return;
  node_.in_force = false;
  act(Session{false, node_.self, node_.deadline});
}

void Stepper::check_nats() {
  if (node_.nats || node_.away || !node_.joined || now_ - node_.nats_lost < node_.times.lost_grace)
    return;
  node_.away = true;
  reset_proof();
}

void Stepper::join_if_due() {
  if (node_.over || node_.joined) return;
  if (node_.wish != NextState::up) return leave_now();
  if (!node_.nats || !may_ask(node_.join)) return;
  if (node_.in_the_way) act(AskReap{node_.in_the_way});
  asked(node_.join);
  node_.version_at_join = version();
  act(AskJoin{node_.self, node_.cluster_id, node_.behind});
}

void Stepper::renew_if_due() {
  if (!node_.joined || !may_ask(node_.renew)) return;
  asked(node_.renew);
  node_.version_at_renew = version();
  act(AskRenew{node_.self});
  if (node_.watched.empty() || node_.sessions.open) return;
  AskSessions sessions;
  for (const auto& watch : node_.watched) sessions.nodes.push_back(watch.first);
  asked(node_.sessions);
  act(std::move(sessions));
}

// What the table should say of us, if it does not say so yet.
void Stepper::state_if_due() {
  if (!node_.joined || !may_ask(node_.state)) return;
  std::optional<NextState> next;
  const bool stay = node_.wish == NextState::up && !node_.away;
  if (node_.wish == NextState::gone)
    next = NextState::gone;
  else if (!stay && node_.row == MemberState::up)
    next = NextState::leaving;
  else if (stay && node_.row != MemberState::up && node_.proven && due(node_.warm_until) &&
           !(node_.row == MemberState::shadow && name_held()))
    next = NextState::up;
  if (!next) return;
  asked(node_.state);
  act(AskState{node_.self, *next});
}

// Whether somebody with our name is, or is about to be, in the ring. If nobody is, the script that
// would have made a shadow UP ran before it joined.
bool Stepper::name_held() const {
  return std::any_of(
      node_.view->members.begin(), node_.view->members.end(), [this](const Member& member) {
        const bool holds = member.state == MemberState::up || member.state == MemberState::warm;
        return holds && member.name == node_.name && member.incarnation != node_.self;
      });
}

bool Stepper::proof_complete(std::size_t others) const {
  std::size_t proven = 0, dead = 0;
  for (const auto& [node, proof] : node_.proof) {
    if (node_.view->find(node) == nullptr) continue;
    if (proof.answered && proof.asked)
      ++proven;
    else if (proof.nobody)
      ++dead;
  }
  if (others == 0) return true;
  // The dead cannot vouch for us. But if all seem dead, it is rather we who cannot be reached.
  return proven >=
         std::max<std::size_t>(1, std::min(proof_members, others - std::min(dead, others)));
}

void Stepper::prove_if_due() {
  if (!node_.joined || !node_.nats || node_.proven) return;
  std::vector<Incarnation> open;
  for (const Member& member : node_.view->members) {
    if (member.incarnation == node_.self) continue;
    const ProofOf* proof = proof_of(member.incarnation);
    if (proof == nullptr || !proof->answered || !proof->asked) open.push_back(member.incarnation);
  }
  if (proof_complete(node_.view->members.size() - 1)) {
    node_.proven = true;
    node_.away = false;
    return;
  }
  if (!due(node_.proof_due)) return;
  node_.proof_due = now_ + node_.times.retry;
  for (std::size_t i = 0; i < proof_members && !open.empty(); ++i) {
    const auto chosen = static_cast<std::ptrdiff_t>(next_random(node_.seed) % open.size());
    const Incarnation to = open[static_cast<std::size_t>(chosen)];
    open.erase(open.begin() + chosen);
    ProofOf& proof = node_.proof[to];
    proof.nobody = false;  // until the server says so again
    Frame ping = frame(Frame::Type::ping);
    ping.ping_back = true;
    act(Send{to, std::move(ping)});
  }
}

void Stepper::beat_if_due() {
  if (!node_.joined || !node_.nats || !due(node_.heartbeat_due)) return;
  // In step with the clock, so that a late beat does not delay the next; far behind, from now on.
  const std::int64_t next = node_.heartbeat_due + node_.times.heartbeat;
  node_.heartbeat_due = next > now_ ? next : now_ + node_.times.heartbeat;
  Frame beat = frame(Frame::Type::heartbeat);
  beat.number = ++node_.number;
  beat.score = score(node_, now_);
  beat.redis = node_.redis;
  beat.load = node_.load;
  beat.primary = node_.primary;
  const std::vector<Incarnation> hearers = listeners();
  std::erase_if(node_.beats,
                [this](const auto& one) { return now_ - one.second.sent >= node_.times.reading; });
  if (!hearers.empty() && due(node_.no_reading_before)) {
    // Two votes are needed, so one may be missing; but few members may soon be two, where one is
    // enough.
    const bool few = node_.view->members.size() <= all_acknowledge_up_to;
    node_.beats[node_.number] = {now_, hearers, few || hearers.size() == 1 ? 0U : 1U};
  }
  for (const Incarnation hearer : hearers) act(Send{hearer, beat});
  Frame to_myself = frame(Frame::Type::ping);
  to_myself.number = node_.number;
  node_.self_pings[node_.number] = now_;
  if (node_.self_pings.size() > self_pings_kept) node_.self_pings.erase(node_.self_pings.begin());
  act(Send{node_.self, std::move(to_myself)});
}

void Stepper::canary_if_due() {
  if (!node_.canary || !node_.joined) return;
  if (node_.canary_posted == 0 && due(node_.canary_due)) {
    node_.canary_posted = now_;
    node_.canary_due = now_ + node_.times.canary;
    return act(PostCanary{});
  }
  if (node_.canary_posted == 0 || now_ - node_.canary_posted <= node_.times.canary_dead) return;
  if (!std::exchange(node_.sick, true))
    note(Note::What::sick, node_.self, now_ - node_.canary_posted);
}

// ---- the detector ----

void Stepper::detect_if_due() {
  if (!node_.joined || !due(node_.detect_due)) return;
  node_.detect_due = now_ + node_.times.detect;
  const bool fit = may_vote(node_, now_);
  for (auto& [target, watch] : node_.watched) {
    if (watch.vote_stands && !watch.voted && !watch.vote_open && may_ask(watch.withdraw))
      take_back(target, watch);
    look_after(watch);
    if (watch.probed != 0 && now_ - watch.probed > node_.times.late)
      watch.probed = 0;  // lost; try another
    if (node_.nats && now_ - watch.life > node_.times.late && watch.probed == 0)
      probe(target, watch);
    const auto evidence = evidence_against(node_, watch, now_);
    const bool entitled = watch.knows || now_ - watch.since >= node_.times.stranger;
    if (!evidence || !fit || !entitled || watch.vote_open) continue;
    // An old vote of ours would lend its age to the new one.
    if (watch.vote_stands && !watch.voted) continue;
    // Silence counts only if our own link worked while it lasted. The server's word came over that
    // link.
    const bool link_worked = node_.self_heard > watch.life + node_.times.late;
    if (*evidence == Evidence::quiet && !link_worked) continue;
    if (due(watch.vote_due))
      vote(target, watch, *evidence);
    else
      node_.detect_due = std::min(node_.detect_due, watch.vote_due);
  }
}

void Stepper::probe(Incarnation target, Watched& watch) {
  watch.probed = now_;
  act(Send{target, frame(Frame::Type::ping)});
}

void Stepper::vote(Incarnation target, Watched& watch, Evidence evidence) {
  if (!watch.voted) {
    std::erase_if(watch.accusers,
                  [this](const auto& heard) { return now_ - heard.second > vote_lives; });
    Note suspected{Note::What::suspected, target, now_ - watch.life,
                   evidence == Evidence::quiet ? "quiet" : "no_responders"};
    suspected.votes = static_cast<unsigned>(watch.accusers.size()) + 1;
    act(std::move(suspected));
  }
  watch.voted = watch.vote_open = watch.vote_stands = true;
  Frame suspect = frame(Frame::Type::suspect);
  suspect.about = target;
  suspect.number = watch.number;
  act(Send{target, suspect});
  for (const Incarnation other : watch_duty(*node_.view, target, node_.rings).watchers)
    if (other != node_.self) act(Send{other, suspect});
  act(AskEvict{node_.self, target, evidence});
}

}  // namespace

int score(const Membership& node, std::int64_t now) {
  const auto lately = [&](std::int64_t seen) { return now - seen <= node.times.doubt; };
  const Doubts& doubts = node.doubts;
  const bool ping_late =
      !node.self_pings.empty() && now - node.self_pings.begin()->second > nats_slow;
  const bool renew_late = node.renew.open && now - node.renew.sent > redis_slow;
  const bool canary_late =
      node.canary_posted != 0 && now - node.canary_posted > node.times.canary_late;
  int sum = node.sick ? 2 : 0;
  for (const bool reason :
       {lately(doubts.timers), lately(doubts.nats) || ping_late, lately(doubts.redis) || renew_late,
        lately(doubts.scheduler) || canary_late, lately(doubts.throttled), lately(doubts.accused)})
    if (reason) ++sum;
  return sum;
}

bool may_vote(const Membership& node, std::int64_t now) {
  if (!node.joined || !node.in_force || now >= node.deadline || score(node, now) != 0) return false;
  if (now - node.self_heard > node.times.self_proof) return false;
  const auto missing =
      std::count_if(node.watched.begin(), node.watched.end(),
                    [&](const auto& entry) { return now - entry.second.life > node.times.late; });
  return node.watched.size() == 1 || static_cast<std::size_t>(missing) < node.watched.size();
}

std::int64_t next_wake(const Membership& node) {
  const std::int64_t tick = node.last_tick + node.times.tick;
  return node.joined ? std::min({tick, node.detect_due, node.heartbeat_due}) : tick;
}

std::vector<Action> step(Membership& node, const Event& event, std::int64_t now) {
  Stepper stepper(node, now);
  std::visit([&](const auto& one) { stepper.on(one); }, event);
  stepper.proceed();
  return stepper.take();
}

}  // namespace catga::membership
