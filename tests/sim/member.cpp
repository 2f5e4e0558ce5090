#include "member.hpp"

#include <catga/entities/operation.hpp>
#include <catga/runtime/cluster/fingerprint.hpp>
#include <catga/runtime/cluster/membership_answers.hpp>
#include <catga/runtime/cluster/membership_wire.hpp>

#include <array>

namespace catga::sim {

using namespace membership;
using std::chrono::milliseconds;

namespace {

constexpr std::int64_t clock_sample_most = 200;

}  // namespace

Incarnation new_incarnation() {
  const OperationId id = new_operation_id();
  return Incarnation{id.high, id.low};
}

Member::Member(Machine& machine, const Plan& plan, Break planted, Bus::Port& port,
               MemberStore& store, NodeStanding& standing, Listener listener)
    : machine_(machine),
      plan_(plan),
      planted_(planted),
      port_(port),
      store_(store),
      standing_(standing),
      listener_(std::move(listener)) {
  port_.heard = [this](const std::string& bytes, bool) {
    auto frame = membership::decode(bytes);
    if (frame.ok()) feed(Heard{std::move(*frame)});
  };
  port_.nobody = [this](Incarnation to, std::uint64_t) { no_responders(to); };
  port_.link = [this](bool up) { connected(up); };
}

void Member::start(Incarnation first) {
  node_.times = plan_.membership;
  node_.self = first;
  node_.spare = new_incarnation();
  node_.seed = new_incarnation().low;
  node_.rings = plan_.config.membership.watchers;
  node_.name = node_id;
  node_.shadow = shadow;
  node_.canary = true;
  port_.listen(first);
  feed(Begin{});
  if (port_.believes()) connected(true);
}

void Member::connected(bool up) {
  if (up)
    feed(NatsBack{});
  else
    feed(NatsLost{"the connection to NATS is lost"});
}

void Member::sign_of_life(Incarnation from, ViewVersion seen) { feed(SignOfLife{from, seen}); }

void Member::feed(Event event) {
  if (feeding_) return void(events_.push_back(std::move(event)));
  feeding_ = true;
  take(event);
  while (!events_.empty()) {
    const Event next = std::move(events_.front());
    events_.pop_front();
    take(next);
  }
  feeding_ = false;
  tick_at();
}

void Member::take(const Event& event) {
  for (Action& action : step(node_, event, boot_ms()))
    std::visit([this](auto& one) { carry_out(one); }, action);
  if (!node_.spare) node_.spare = new_incarnation();
}

void Member::tick_at() {
  const std::int64_t due = std::max(next_wake(node_), machine_.boot_ms() + 1);
  if (due == armed_at_) return;
  armed_at_ = due;
  machine_.at(machine_.when_clock_shows(due), [this, mine = ++alarm_] {
    if (mine != alarm_) return;  // another one was set since
    armed_at_ = 0;
    if (primary_ != node_.primary) feed(OwnFacts{primary_, 0});
    feed(Tick{});
  });
}

std::string Member::worded(membership::Frame frame) const {
  if (wording == Wording::earlier) {
    frame.load = 0;
    frame.primary.clear();
  }
  if (planted_ == Break::primary_unsaid) frame.primary.clear();
  return encode(frame);
}

void Member::carry_out(const Send& send) { (void)port_.publish(send.to, worded(send.frame), 1); }
void Member::carry_out(const Publish& publish) { (void)port_.broadcast(worded(publish.frame)); }

void Member::carry_out(const AskJoin& ask) {
  Join join;
  join.member.incarnation = ask.self;
  join.member.state = ask.shadow ? MemberState::shadow : MemberState::warm;
  join.member.name = node_id;
  join.member.weight = plan_.config.node.weight;
  join.member.app_version = "-";
  join.member.host = "-";
  join.fingerprint = fingerprint(plan_.config);
  join.cluster_id = ask.cluster_id;
  if (ask.cluster_id.empty()) join.new_id = text_of(new_incarnation());
  join.session_ttl = plan_.config.membership.session_ttl;
  store_.join(join, [this, self = ask.self](const Result<Joined>& result) {
    if (machine_.world.tracing) {
      static constexpr std::array outcomes{"ok", "empty", "other", "config", "spent", "name"};
      machine_.say(!result ? "JOIN: " + result.error().text
                           : std::string("JOIN: ") +
                                 outcomes.at(static_cast<std::size_t>(result->outcome)) +
                                 (result->holder ? " " + text_of(result->holder) : ""));
    }
    feed(JoinAnswer{self, answer_of<JoinReply>(result, [this](const Joined& joined) {
                      return reply_of_join(joined, plan_.config);
                    })});
  });
}

void Member::carry_out(const AskRenew& ask) {
  const std::int64_t sent = machine_.boot_ms();
  store_.renew(ask.self, "{}", plan_.config.membership.session_ttl,
               [this, self = ask.self, sent](const Result<Renewed>& result) {
                 const std::int64_t received = machine_.boot_ms();
                 if (result.ok() && result->alive && received - sent <= clock_sample_most)
                   standing_.cluster_offset_ms = result->redis_us / 1000 - (sent + received) / 2;
                 feed(RenewAnswer{self, answer_of<RenewReply>(result, [](const Renewed& renewed) {
                                    RenewReply reply;
                                    reply.alive = renewed.alive;
                                    reply.version = renewed.version;
                                    reply.votes = renewed.votes;
                                    return reply;
                                  })});
               });
}

void Member::carry_out(const AskState& ask) {
  store_.set_state(
      ask.self, state_of(ask.wanted),
      [this, self = ask.self, wanted = ask.wanted](const Result<StateChanged>& result) {
        feed(StateAnswer{self, wanted, answer_of<StateReply>(result, reply_of_state)});
      });
}

void Member::carry_out(const AskEvict& ask) {
  const auto evidence = ask.evidence == membership::Evidence::quiet
                            ? catga::Evidence::quiet
                            : catga::Evidence::no_responders;
  store_.evict(ask.self, ask.target, evidence, milliseconds(plan_.hold),
               [this, self = ask.self, target = ask.target](const Result<Evicted>& result) {
                 feed(EvictAnswer{self, target, answer_of<EvictReply>(result, reply_of_evict)});
               });
}

void Member::carry_out(const AskWithdraw& ask) {
  store_.withdraw_vote(
      ask.self, ask.target,
      [this, self = ask.self, target = ask.target](const Result<Done>& result) {
        feed(WithdrawAnswer{self, target, answer_of<bool>(result, [](Done) { return true; })});
      });
}

void Member::carry_out(const AskReap& ask) {
  store_.reap(ask.target, [this, target = ask.target](const Result<Reaped>& result) {
    if (machine_.world.tracing) {
      static constexpr std::array outcomes{"reaped", "alive", "gone"};
      machine_.say(
          "REAP " + text_of(target) + ": " +
          (result ? outcomes.at(static_cast<std::size_t>(result->outcome)) : result.error().text));
    }
    feed(ReapAnswer{target, answer_of<ReapReply>(result, reply_of_reap)});
  });
}

void Member::carry_out(const membership::AskView&) {
  store_.read_view([this](const Result<MembershipView>& result) {
    feed(ViewAnswer{
        answer_of<MembershipView>(result, [](const MembershipView& view) { return view; })});
  });
}

void Member::carry_out(const AskSessions& ask) {
  store_.sessions(ask.nodes, [this, nodes = ask.nodes](const Result<std::vector<bool>>& result) {
    feed(SessionsAnswer{nodes, answer_of<std::vector<bool>>(
                                   result, [](const std::vector<bool>& there) { return there; })});
  });
}

void Member::carry_out(const Note& note) {
  if (note.what == Note::What::sick) machine_.say("is sick: its actors do not run");
  if (note.what == Note::What::well) machine_.say("is well again");
  if (note.what == Note::What::split) machine_.say("is with the fewer of two Redis primaries");
  if (note.what == Note::What::agreed) machine_.say("agrees on the Redis primary again");
  if (note.what == Note::What::shadowing) machine_.say("joins as a shadow");
}

void Member::carry_out(const membership::ViewAdopted& adopted) {
  const ViewVersion version = adopted.view->version;
  if (version < adopted.before && !adopted.rolled_back)
    machine_.world.fail("I11: " + machine_.name + " adopts view " + std::to_string(version.value) +
                        " after " + std::to_string(adopted.before.value));
  if (adopted.rolled_back && !lost_writes())
    machine_.world.fail("I11: " + machine_.name + " sees a view go back, and Redis lost nothing");
  standing_.view_version.store(adopted.view->version.value);
  std::string members;
  for (const auto& member : adopted.view->members)
    members += ' ' + member.name + '=' + std::string(name_of(member.state));
  ++machine_.world.tally.views;
  machine_.say("adopts view" + members + (adopted.rolled_back ? " (rolled back)" : ""));
  listener_.on_view(adopted.view, adopted.self);
  if (adopted.rolled_back) listener_.on_doubt();
}

void Member::carry_out(const Session& session) {
  std::int64_t deadline = session.in_force ? session.deadline : 0;
  if (planted_ == Break::deadline_ignored && session.in_force)
    deadline = std::numeric_limits<std::int64_t>::max();
  standing_.live_as(session.self);
  standing_.session_deadline_ms.store(deadline);
  const std::pair<bool, Incarnation> news{session.in_force, session.self};
  if (session_told_ == news) return;
  session_told_ = news;
  machine_.say(session.in_force ? "has a session" : "lost its session");
  machine_.world.tally.sessions += session.in_force ? 0 : 1;
  listener_.on_session(session.in_force, session.self);
}

void Member::carry_out(const Reborn& reborn) {
  port_.listen(reborn.next);
  machine_.say("is reborn as " + text_of(reborn.next));
  listener_.on_reborn(reborn.next);
}

void Member::carry_out(const membership::Refused& refused) {
  machine_.world.fail(machine_.name + " cannot join: " + refused.why);
}

void Member::primary_met(const std::string& run_id) {
  const std::string before = std::exchange(primary_, run_id);
  if (before.empty() || before == run_id) return;
  machine_.say("meets another Redis primary");
  listener_.on_doubt();
  feed(membership::PrimaryChanged{before, run_id});
}

void Member::carry_out(const ReadingRight& right) {
  standing_.reading_until_ms.store(
      planted_ == Break::no_reading_right ? std::numeric_limits<std::int64_t>::max() : right.until);
}

void Member::carry_out(const PostCanary&) {
  listener_.post([this] { feed(CanaryRan{}); });
}

void Member::carry_out(const Impaired& impaired) { listener_.on_impaired(impaired.nodes); }

void Member::carry_out(const NewPrimary&) { listener_.on_doubt(); }

void Member::carry_out(const Left&) { listener_.on_left(); }

}  // namespace catga::sim
