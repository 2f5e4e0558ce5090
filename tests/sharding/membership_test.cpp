// The life of a node among nodes: small cases by hand, and a few nodes with a network and a Redis
// that fit on a page.
#include <catga/sharding/membership.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

using namespace catga;
using namespace catga::membership;

namespace {

// ---- the scripts, in miniature ----

// The member scripts of Redis as far as these tests need them: same outcomes, same order of checks.
class Table {
 public:
  JoinReply join(Incarnation self, const std::string& name, std::int64_t now) {
    JoinReply reply;
    if (ended_.count(self) != 0 || (rows_.count(self) != 0 && !session(self, now))) {
      reply.outcome = JoinReply::Outcome::spent;
      return reply;
    }
    if (rows_.count(self) == 0) {
      for (const auto& [holder, member] : rows_) {
        if (member.name != name) continue;
        reply.outcome = JoinReply::Outcome::name;
        reply.holder = holder;
        return reply;
      }
      Member member;
      member.incarnation = self;
      member.name = name;
      member.app_version = member.host = "-";
      rows_[self] = member;
      sessions_[self] = now + 5000;
      bump(now);
    }
    reply.view = view();
    reply.cluster_id = "id";
    return reply;
  }
  RenewReply renew(Incarnation self, std::int64_t now) {
    if (!session(self, now)) return {};
    sessions_[self] = now + 5000;
    return {true, ViewVersion{version_}, static_cast<unsigned>(votes_[self].size())};
  }
  StateReply state(Incarnation self, NextState wanted, std::int64_t now) {
    if (rows_.count(self) == 0 || !session(self, now)) return {StateReply::Outcome::no_session, {}};
    if (wanted == NextState::gone) {
      drop(self, now);
      return {};
    }
    const MemberState next = wanted == NextState::up ? MemberState::up : MemberState::leaving;
    MemberState& state = rows_[self].state;
    if (next == MemberState::leaving && state == MemberState::warm)
      return {StateReply::Outcome::bad, {}};
    if (std::exchange(state, next) != next) bump(now);
    return {};
  }
  EvictReply evict(Incarnation voter, Incarnation target, std::int64_t now) {
    using Outcome = EvictReply::Outcome;
    if (!session(voter, now)) return {Outcome::no_session, 0};
    if (rows_.count(target) == 0) return {Outcome::gone, 0};
    const std::size_t n = rows_.size(), need = n > 2 ? 2 : 1;
    auto& votes = votes_[target];
    std::erase_if(votes, [&](const auto& vote) { return now - vote.second.second > 1000; });
    votes.try_emplace(voter, now, now).first->second.second = now;
    if (votes.size() < need) return {Outcome::voted, 0};
    condemned_[target] = now;
    std::erase_if(condemned_, [&](const auto& one) { return now - one.second > 1000; });
    if (n > 2 && 2 * condemned_.size() >= n) return {Outcome::brake, 0};
    std::vector<std::int64_t> good;
    for (const auto& [who, times] : votes)
      if (condemned_.count(who) == 0) good.push_back(times.first);
    if (good.size() < need) return {Outcome::brake, 0};
    std::sort(good.begin(), good.end());
    if (now < good[need - 1] + 250) return {Outcome::wait, good[need - 1] + 250 - now};
    condemned_.erase(target);
    drop(target, now);
    return {Outcome::evicted, 0};
  }
  void withdraw(Incarnation voter, Incarnation target) { votes_[target].erase(voter); }
  ReapReply reap(Incarnation target, std::int64_t now) {
    if (session(target, now)) return ReapReply::alive;
    if (rows_.count(target) == 0) return ReapReply::gone;
    drop(target, now);
    return ReapReply::reaped;
  }
  bool session(Incarnation node, std::int64_t now) const {
    const auto found = sessions_.find(node);
    return found != sessions_.end() && found->second > now;
  }
  void expire(Incarnation node) { sessions_.erase(node); }
  std::size_t votes_against(Incarnation node) { return votes_[node].size(); }
  MembershipView view() const {
    MembershipView out;
    out.version = ViewVersion{version_};
    for (const auto& row : rows_) out.members.push_back(row.second);
    return out;
  }

 private:
  void bump(std::int64_t now) {
    version_ = std::max(version_ + 1, static_cast<std::uint64_t>(now) * 1024);
  }
  void drop(Incarnation node, std::int64_t now) {
    rows_.erase(node);
    sessions_.erase(node);
    votes_.erase(node);
    ended_.insert(node);
    bump(now);
  }

  std::uint64_t version_ = 0;
  std::map<Incarnation, Member> rows_;
  std::map<Incarnation, std::int64_t> sessions_, condemned_;
  std::map<Incarnation, std::map<Incarnation, std::pair<std::int64_t, std::int64_t>>>
      votes_;  // voter -> first, last
  std::set<Incarnation> ended_;
};

// ---- nodes and a network ----

struct Node {
  Membership machine;
  bool dead = false;    // nothing listens any more: the server says so
  bool frozen = false;  // listens, does nothing; everything waits
  bool deaf = false,
       mute = false;  // the cable: nothing comes, nothing goes, and the server does not know
  bool no_redis = false;
  std::deque<Event> waiting;
  std::vector<Action> done;  // all it ever did
  std::set<Incarnation> lives;
};

// Time moves in steps of 1 ms; what is sent arrives a step later, in order.
class Cluster {
 public:
  explicit Cluster(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) add("n" + std::to_string(i));
  }
  Node& add(const std::string& name) {
    nodes_.push_back(std::make_unique<Node>());
    Node& node = *nodes_.back();
    node.machine.self = fresh();
    node.machine.spare = fresh();
    node.machine.name = name;
    node.machine.seed = nodes_.size();
    node.lives.insert(node.machine.self);
    feed(node, Begin{});
    feed(node, NatsBack{});
    return node;
  }
  Node& operator[](std::size_t i) { return *nodes_[i]; }
  std::size_t size() const { return nodes_.size(); }
  std::int64_t now() const { return now_; }

  void run(std::int64_t ms) {
    for (const std::int64_t end = now_ + ms; now_ < end;) advance();
  }
  /// ms until `holds`, or -1 if it does not within `most`.
  std::int64_t run_until(const std::function<bool()>& holds, std::int64_t most) {
    const std::int64_t begin = now_;
    while (!holds() && now_ - begin < most) advance();
    return holds() ? now_ - begin : -1;
  }
  bool sees_up(const Node& viewer, const Node& other) const {
    const Member* member =
        viewer.machine.view ? viewer.machine.view->find(other.machine.self) : nullptr;
    return member != nullptr && member->state == MemberState::up;
  }
  /// All living nodes see exactly the living ones, all of them up, in one view.
  bool settled() const {
    const MembershipView truth = table.view();
    std::size_t living = 0;
    for (const auto& node : nodes_) {
      if (node->dead || node->machine.over) continue;
      ++living;
      if (!node->machine.joined || !node->machine.view || !(*node->machine.view == truth))
        return false;
      const Member* me = truth.find(node->machine.self);
      if (me == nullptr || me->state != MemberState::up) return false;
    }
    return living == truth.members.size();
  }
  bool member(const Node& node) const { return table.view().find(node.machine.self) != nullptr; }

  Table table;

 private:
  void advance() {
    ++now_;
    auto arriving = std::exchange(on_the_way_, {});
    for (auto& [to, event] : arriving) {
      if (to->dead) continue;
      to->waiting.push_back(std::move(event));
    }
    for (auto& node : nodes_) {
      if (node->dead || node->frozen) continue;
      if (now_ >= next_wake(node->machine)) feed(*node, Tick{});
      auto waiting = std::exchange(node->waiting, {});
      for (Event& event : waiting) feed(*node, event);
    }
  }
  void feed(Node& node, const Event& event) {
    for (const Action& action : step(node.machine, event, now_)) {
      node.done.push_back(action);
      std::visit([&](const auto& one) { carry_out(node, one); }, action);
    }
    if (!node.machine.spare) node.machine.spare = fresh();
    node.lives.insert(node.machine.self);
  }
  Incarnation fresh() {
    ++lives_;
    return {lives_ * 0x9e3779b97f4a7c15ULL, lives_};
  }
  void later(Node& to, Event event) { on_the_way_.emplace_back(&to, std::move(event)); }
  template <class Value>
  Answer<Value> answer(const Node& node, Value value) {
    if (node.no_redis) return {false, {}, "Redis does not answer"};
    return {true, std::move(value), {}};
  }
  Node* listening_as(Incarnation incarnation) {
    for (auto& node : nodes_)
      if (!node->dead && node->machine.nats && node->machine.self == incarnation) return node.get();
    return nullptr;
  }

  // A request that Redis never sees must not change the table either.
  void carry_out(Node& node, const AskJoin& ask) {
    later(node,
          JoinAnswer{ask.self,
                     answer(node, node.no_redis ? JoinReply{}
                                                : table.join(ask.self, node.machine.name, now_))});
  }
  void carry_out(Node& node, const AskRenew& ask) {
    later(node, RenewAnswer{ask.self, answer(node, node.no_redis ? RenewReply{}
                                                                 : table.renew(ask.self, now_))});
  }
  void carry_out(Node& node, const AskState& ask) {
    later(node, StateAnswer{ask.self, ask.wanted,
                            answer(node, node.no_redis ? StateReply{}
                                                       : table.state(ask.self, ask.wanted, now_))});
  }
  void carry_out(Node& node, const AskEvict& ask) {
    later(node, EvictAnswer{ask.self, ask.target,
                            answer(node, node.no_redis ? EvictReply{}
                                                       : table.evict(ask.self, ask.target, now_))});
  }
  void carry_out(Node& node, const AskWithdraw& ask) {
    if (!node.no_redis) table.withdraw(ask.self, ask.target);
  }
  void carry_out(Node& node, const AskReap& ask) {
    later(node, ReapAnswer{ask.target, answer(node, node.no_redis ? ReapReply{}
                                                                  : table.reap(ask.target, now_))});
  }
  void carry_out(Node& node, const AskView&) {
    later(node, ViewAnswer{answer(node, table.view())});
  }
  void carry_out(Node& node, const AskSessions& ask) {
    std::vector<bool> there;
    for (const Incarnation one : ask.nodes) there.push_back(table.session(one, now_));
    later(node, SessionsAnswer{ask.nodes, answer(node, there)});
  }
  void carry_out(Node& node, const Send& send) {
    if (node.mute || !node.machine.nats) return;
    Node* to = listening_as(send.to);
    if (to == nullptr) {
      if (!node.deaf) later(node, NoResponders{send.to});
    } else if (!to->deaf) {
      later(*to, Heard{send.frame});
    }
  }
  void carry_out(Node& node, const Publish& publish) {
    if (node.mute || !node.machine.nats) return;
    for (auto& other : nodes_)
      if (!other->dead && !other->deaf && other->machine.nats) later(*other, Heard{publish.frame});
  }
  template <class Told>
  void carry_out(Node&, const Told&) {}

  std::int64_t now_ = 1'000'000;
  std::uint64_t lives_ = 0;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::pair<Node*, Event>> on_the_way_;
};

template <class Wanted>
std::vector<Wanted> done(const Node& node) {
  std::vector<Wanted> out;
  for (const Action& action : node.done)
    if (const auto* wanted = std::get_if<Wanted>(&action)) out.push_back(*wanted);
  return out;
}

std::size_t sent(const Node& node, Frame::Type type) {
  const auto all = done<Send>(node);
  return static_cast<std::size_t>(std::count_if(
      all.begin(), all.end(), [&](const Send& one) { return one.frame.type == type; }));
}

// A cluster of `count` nodes that know each other well.
std::unique_ptr<Cluster> settled_cluster(std::size_t count) {
  auto cluster = std::make_unique<Cluster>(count);
  REQUIRE(cluster->run_until([&] { return cluster->settled(); }, 3000) >= 0);
  cluster->run(1000);
  REQUIRE(cluster->settled());
  return cluster;
}

// One machine that has joined alone, without a cluster around it, for looking at single decisions.
struct Lone {
  Membership node;
  std::int64_t now = 10'000;
  Incarnation self{1, 1}, peer{2, 2};

  Lone() {
    node.self = self;
    node.spare = {9, 9};
    node.name = "me";
    act(Begin{});
    act(NatsBack{});
  }
  std::vector<Action> act(const Event& event) { return step(node, event, now); }
  static MembershipView view(std::uint64_t version, std::vector<Incarnation> members) {
    MembershipView out;
    out.version = ViewVersion{version};
    for (const Incarnation incarnation : members) {
      Member member;
      member.incarnation = incarnation;
      member.state = MemberState::up;
      member.name = "n" + std::to_string(incarnation.low);
      member.app_version = member.host = "-";
      out.members.push_back(member);
    }
    return out;
  }
  std::vector<Action> join(const MembershipView& at) {
    JoinReply reply;
    reply.view = at;
    reply.cluster_id = "id";
    return act(JoinAnswer{self, {true, reply, {}}});
  }
  Frame from_peer(Frame::Type type) const {
    Frame frame;
    frame.type = type;
    frame.from = peer;
    frame.view = node.view ? node.view->version : ViewVersion{};
    return frame;
  }
  // My PING to myself comes back after `trip`.
  void hear_myself(const std::vector<Action>& actions) {
    for (const Action& action : actions)
      if (const auto* send = std::get_if<Send>(&action))
        if (send->to == self) act(Heard{send->frame});
  }
};

template <class Wanted>
const Wanted* find(const std::vector<Action>& actions) {
  for (const Action& action : actions)
    if (const auto* wanted = std::get_if<Wanted>(&action)) return wanted;
  return nullptr;
}

}  // namespace

// ---- joining ----

TEST_CASE("a node joins only once NATS is there, since others must be able to reach it") {
  Membership node;
  node.self = {1, 1};
  CHECK(find<AskJoin>(step(node, Begin{}, 1000)) == nullptr);
  CHECK(find<AskJoin>(step(node, Tick{}, 1050)) == nullptr);
  CHECK(find<AskJoin>(step(node, NatsBack{}, 1060)) != nullptr);
  CHECK(find<AskJoin>(step(node, Tick{}, 1100)) == nullptr);  // one at a time
}

TEST_CASE("a node alone is up as soon as it has joined") {
  Lone lone;
  const auto actions = lone.join(Lone::view(5, {lone.self}));
  REQUIRE(find<Session>(actions) != nullptr);
  CHECK(find<Session>(actions)->deadline == 10'000 + 4000);
  CHECK(find<ViewAdopted>(actions)->view->version == ViewVersion{5});
}

TEST_CASE("before it is up a node has been answered and asked by the others it knows") {
  Lone lone;
  auto joined = Lone::view(5, {lone.self, lone.peer});
  joined.members[0].state = MemberState::warm;
  auto actions = lone.join(joined);
  CHECK(find<AskState>(actions) == nullptr);
  actions = lone.act(Heard{lone.from_peer(Frame::Type::pong)});
  CHECK(find<AskState>(actions) == nullptr);  // they hear us, and we them; but can they begin?
  actions = lone.act(Heard{lone.from_peer(Frame::Type::ping)});
  REQUIRE(find<AskState>(actions) != nullptr);
  CHECK(find<AskState>(actions)->wanted == NextState::up);
}

TEST_CASE("a node whom nobody can reach does not become an owner") {
  Lone lone;
  auto joined = Lone::view(5, {lone.self, lone.peer});
  joined.members[0].state = MemberState::warm;
  lone.join(joined);
  for (int i = 0; i < 100; ++i) {
    lone.now += 50;
    CHECK(find<AskState>(lone.act(Tick{})) == nullptr);
    CHECK(find<AskState>(lone.act(NoResponders{lone.peer})) == nullptr);
  }
}

TEST_CASE("a request to join without an answer is repeated under the same incarnation") {
  Lone lone;
  lone.act(JoinAnswer{lone.self, {false, {}, "Redis is away"}});
  lone.now += 100;
  CHECK(find<AskJoin>(lone.act(Tick{})) == nullptr);
  lone.now += 100;
  const auto actions = lone.act(Tick{});
  REQUIRE(find<AskJoin>(actions) != nullptr);
  CHECK(find<AskJoin>(actions)->self == lone.self);
}

TEST_CASE("a spent incarnation is given up for a new one") {
  Lone lone;
  JoinReply reply;
  reply.outcome = JoinReply::Outcome::spent;
  const auto actions = lone.act(JoinAnswer{lone.self, {true, reply, {}}});
  REQUIRE(find<Reborn>(actions) != nullptr);
  CHECK(find<AskJoin>(actions)->self == Incarnation{9, 9});
}

TEST_CASE("a cluster that is another one refuses the node for good") {
  Lone lone;
  JoinReply reply;
  reply.outcome = JoinReply::Outcome::refused;
  reply.why = "another one";
  const auto actions = lone.act(JoinAnswer{lone.self, {true, reply, {}}});
  REQUIRE(find<Refused>(actions) != nullptr);
  CHECK(find<Refused>(actions)->exit_code == 78);
  CHECK(find<Refused>(actions)->why == "another one");
  lone.now += 10'000;
  CHECK(lone.act(Tick{}).empty());
}

TEST_CASE("a node that cannot join within its patience says what was missing and exits with 69") {
  Lone lone;
  lone.act(JoinAnswer{lone.self, {false, {}, "Redis is away"}});
  lone.now += 60'001;
  const auto actions = lone.act(Tick{});
  REQUIRE(find<Refused>(actions) != nullptr);
  CHECK(find<Refused>(actions)->exit_code == 69);
  CHECK(find<Refused>(actions)->why.find("Redis is away") != std::string::npos);
}

TEST_CASE("a name in use is waited for, and taken as soon as its holder has ended") {
  auto cluster = settled_cluster(1);
  Node& second = cluster->add("n0");
  cluster->run(3000);
  CHECK_FALSE(second.machine.joined);
  CHECK(done<AskReap>(second).size() >= 10);
  (*cluster)[0].dead = true;
  CHECK(cluster->run_until([&] { return cluster->settled(); }, 6000) >= 0);
}

TEST_CASE("a name that a living node keeps is refused after the patience, with the reason") {
  auto cluster = settled_cluster(1);
  Node& second = cluster->add("n0");
  cluster->run(61'000);
  REQUIRE(done<Refused>(second).size() == 1);
  CHECK(done<Refused>(second)[0].exit_code == 69);
  CHECK(done<Refused>(second)[0].why.find("the name n0 is in use by a living node") !=
        std::string::npos);
  CHECK((*cluster)[0].machine.joined);
}

// ---- session ----

TEST_CASE("the session deadline counts from the sending of the last answered RENEW") {
  Lone lone;
  lone.join(Lone::view(5, {lone.self}));  // RENEW goes out at once, at 10000
  lone.now = 10'030;
  auto actions = lone.act(RenewAnswer{lone.self, {true, {true, ViewVersion{5}, 0}, {}}});
  REQUIRE(find<Session>(actions) != nullptr);
  CHECK(find<Session>(actions)->deadline == 14'000);
  lone.now = 10'950;
  CHECK(find<AskRenew>(lone.act(Tick{})) == nullptr);
  lone.now = 11'000;
  CHECK(find<AskRenew>(lone.act(Tick{})) != nullptr);
}

TEST_CASE(
    "without an answer from Redis the session ends at its deadline and comes back with the next "
    "answer") {
  auto cluster = settled_cluster(1);
  Node& node = (*cluster)[0];
  const Incarnation self = node.machine.self;
  node.no_redis = true;
  CHECK(cluster->run_until([&] { return !node.machine.in_force; }, 5000) >= 2900);
  CHECK_FALSE(node.machine.redis);
  node.no_redis = false;
  CHECK(cluster->run_until([&] { return node.machine.in_force; }, 500) >= 0);
  CHECK(node.machine.self == self);
  CHECK(node.machine.redis);
}

TEST_CASE(
    "a lost session ends the incarnation: the node is reborn, removes its old self and is up "
    "again") {
  auto cluster = settled_cluster(3);
  Node& node = (*cluster)[0];
  const Incarnation old_one = node.machine.self;
  cluster->table.expire(old_one);
  CHECK(cluster->run_until([&] { return node.machine.self != old_one && cluster->settled(); },
                           2000) >= 0);
  CHECK(done<Reborn>(node).size() == 1);
  CHECK_FALSE(done<AskReap>(node).empty());
  CHECK(cluster->table.view().find(old_one) == nullptr);
}

TEST_CASE("a node reborn removes its old self in the same breath as it joins") {
  Lone lone;
  lone.join(Lone::view(5, {lone.self}));
  const auto actions = lone.act(RenewAnswer{lone.self, {true, {false, {}, 0}, {}}});
  REQUIRE(find<AskReap>(actions) != nullptr);
  CHECK(find<AskReap>(actions)->target == lone.self);
  CHECK(std::holds_alternative<AskJoin>(actions.back()));
}

TEST_CASE("an answer for a former incarnation changes nothing") {
  Lone lone;
  const Incarnation first = lone.self, second{9, 9};
  lone.join(Lone::view(5, {first}));
  lone.act(RenewAnswer{first, {true, {false, {}, 0}, {}}});
  REQUIRE(lone.node.self == second);
  lone.node.spare = {10, 10};
  lone.self = second;
  lone.join(Lone::view(6, {second}));
  CHECK(lone.act(RenewAnswer{first, {true, {false, {}, 0}, {}}}).empty());
  CHECK(lone.act(StateAnswer{first, NextState::gone, {true, {}, {}}}).empty());
  CHECK(lone.act(JoinAnswer{first, {true, {}, {}}}).empty());
  CHECK(lone.node.self == second);
  CHECK(lone.node.joined);
}

// ---- views ----

TEST_CASE(
    "a VIEW message that starts from our version is applied without asking Redis; others make us "
    "read") {
  Lone lone;
  lone.join(Lone::view(5, {lone.self, lone.peer}));
  Frame frame = lone.from_peer(Frame::Type::view);
  frame.before = ViewVersion{5};
  frame.view = ViewVersion{6};
  frame.about = {3, 3};
  frame.row = "WARM third 1 - - 0";
  auto actions = lone.act(Heard{frame});
  REQUIRE(find<ViewAdopted>(actions) != nullptr);
  CHECK(find<ViewAdopted>(actions)->view->members.size() == 3);
  CHECK(find<AskView>(actions) == nullptr);
  frame.before = ViewVersion{7};
  frame.view = ViewVersion{8};
  actions = lone.act(Heard{frame});
  CHECK(find<ViewAdopted>(actions) == nullptr);
  CHECK(find<AskView>(actions) != nullptr);
}

TEST_CASE("an older VIEW message, or one whose row is garbage, is not believed") {
  Lone lone;
  lone.join(Lone::view(5, {lone.self, lone.peer}));
  Frame frame = lone.from_peer(Frame::Type::view);
  frame.view = ViewVersion{4};
  CHECK(find<AskView>(lone.act(Heard{frame})) == nullptr);
  frame.before = ViewVersion{5};
  frame.view = ViewVersion{6};
  frame.about = {3, 3};
  frame.row = "nonsense";
  CHECK(find<ViewAdopted>(lone.act(Heard{frame})) == nullptr);
}

TEST_CASE(
    "a newer version in any message makes the node read; one that Redis does not know is asked for "
    "once") {
  Lone lone;
  lone.join(Lone::view(5, {lone.self, lone.peer}));
  auto actions = lone.act(SignOfLife{lone.peer, ViewVersion{9}});
  CHECK(find<AskView>(actions) != nullptr);
  lone.act(ViewAnswer{{true, Lone::view(5, {lone.self, lone.peer}), {}}});
  CHECK(find<AskView>(lone.act(SignOfLife{lone.peer, ViewVersion{9}})) == nullptr);
  CHECK(find<AskView>(lone.act(SignOfLife{lone.peer, ViewVersion{10}})) != nullptr);
}

TEST_CASE("a version that went down in Redis is accepted, and said so") {
  Lone lone;
  lone.join(Lone::view(5, {lone.self, lone.peer}));
  lone.act(RenewAnswer{lone.self, {true, {true, ViewVersion{5}, 0}, {}}});
  lone.now += 1000;
  REQUIRE(find<AskRenew>(lone.act(Tick{})) != nullptr);
  REQUIRE(find<AskView>(lone.act(RenewAnswer{lone.self, {true, {true, ViewVersion{3}, 0}, {}}})) !=
          nullptr);
  const auto actions = lone.act(ViewAnswer{{true, Lone::view(3, {lone.self}), {}}});
  REQUIRE(find<ViewAdopted>(actions) != nullptr);
  CHECK(find<ViewAdopted>(actions)->rolled_back);
  CHECK(lone.node.view->version == ViewVersion{3});
}

TEST_CASE("a read that a message has overtaken is not taken for a Redis that lost writes") {
  Lone lone;
  lone.join(Lone::view(5, {lone.self, lone.peer}));
  REQUIRE(find<AskView>(lone.act(SignOfLife{lone.peer, ViewVersion{6}})) != nullptr);
  Frame frame = lone.from_peer(Frame::Type::view);
  frame.before = ViewVersion{5};
  frame.view = ViewVersion{7};
  frame.about = {3, 3};
  frame.row = "WARM third 1 - - 0";
  lone.act(Heard{frame});
  CHECK(find<ViewAdopted>(
            lone.act(ViewAnswer{{true, Lone::view(6, {lone.self, lone.peer}), {}}})) == nullptr);
  CHECK(lone.node.view->version == ViewVersion{7});
}

TEST_CASE("a node that is missing in the table has ended, whoever removed it") {
  Lone lone;
  lone.join(Lone::view(5, {lone.self, lone.peer}));
  lone.act(SignOfLife{lone.peer, ViewVersion{6}});
  const auto actions = lone.act(ViewAnswer{{true, Lone::view(6, {lone.peer}), {}}});
  CHECK(find<Reborn>(actions) != nullptr);
}

// ---- watching and voting ----

namespace {

// A watcher whose peer beats regularly until `silence`; afterwards only the own PINGs come back.
struct Watcher : Lone {
  std::uint64_t number = 0;
  bool self_answers = true;

  explicit Watcher(bool peer_knows = true, std::vector<Incarnation> more = {}) {
    std::vector<Incarnation> all{self, peer};
    all.insert(all.end(), more.begin(), more.end());
    join(view(5, all));
    renew_answered();
    for (int i = 0; i < 40; ++i) {
      pass(50, i % 4 == 0);
      if (!peer_knows) node.watched[peer].knows = false;
      for (const Incarnation other : more) act(SignOfLife{other, {}});
    }
  }
  std::vector<Action> pass(std::int64_t ms, bool beat = false) {
    now += ms;
    auto actions = act(Tick{});
    if (self_answers) hear_myself(actions);
    if (find<AskRenew>(actions) != nullptr) renew_answered();
    if (beat) {
      Frame frame = from_peer(Frame::Type::heartbeat);
      frame.number = ++number;
      const auto more = act(Heard{frame});
      actions.insert(actions.end(), more.begin(), more.end());
    }
    return actions;
  }
  void renew_answered() { act(RenewAnswer{self, {true, {true, node.view->version, 0}, {}}}); }
  /// The first vote within `most` ms of silence and when, or -1.
  std::int64_t first_vote(std::int64_t most,
                          membership::Evidence expected = membership::Evidence::quiet) {
    const std::int64_t heard = node.watched[peer].life;
    while (now - heard < most) {
      const auto actions = pass(50);
      if (const auto* vote = find<AskEvict>(actions)) {
        CHECK(vote->target == peer);
        CHECK(vote->evidence == expected);
        return now - heard;
      }
    }
    return -1;
  }
};

}  // namespace

TEST_CASE("a heartbeat is acknowledged with its number") {
  Watcher watcher;
  const auto actions = watcher.pass(50, true);
  const auto sends = [&] {
    std::vector<Frame> out;
    for (const Action& action : actions)
      if (const auto* send = std::get_if<Send>(&action))
        if (send->frame.type == Frame::Type::ack) out.push_back(send->frame);
    return out;
  }();
  REQUIRE(sends.size() == 1);
  CHECK(sends[0].number == watcher.number);
}

TEST_CASE("a node silent for 300 ms is probed, and voted against when it is quiet for 600 ms") {
  Watcher watcher;
  const std::int64_t heard = watcher.node.watched[watcher.peer].life;
  std::int64_t probed = -1;
  while (probed < 0 && watcher.now - heard < 1000)
    for (const Action& action : watcher.pass(50))
      if (const auto* send = std::get_if<Send>(&action))
        if (send->to == watcher.peer && send->frame.type == Frame::Type::ping)
          probed = watcher.now - heard;
  CHECK(probed > 300);
  CHECK(probed <= 450);
  const std::int64_t voted = watcher.first_vote(2000);
  CHECK(voted > 600);
  CHECK(voted <= 750);
}

TEST_CASE("no responders is evidence, but only when the node is late as well") {
  Watcher watcher;
  watcher.act(NoResponders{watcher.peer});
  const std::int64_t voted = watcher.first_vote(2000, membership::Evidence::no_responders);
  CHECK(voted > 300);
  CHECK(voted <= 450);
}

TEST_CASE("the word of the server is forgotten at the next sign of life") {
  Watcher watcher;
  watcher.act(NoResponders{watcher.peer});
  watcher.act(SignOfLife{watcher.peer, {}});
  CHECK(watcher.first_vote(2000) > 600);
}

TEST_CASE("no responders is no evidence of a node whose own PING has not come back for 500 ms") {
  Watcher watcher;
  watcher.self_answers = false;
  for (int i = 0; i < 16; ++i) watcher.pass(50, i % 4 == 0);
  watcher.act(NoResponders{watcher.peer});
  CHECK(watcher.first_vote(3000) == -1);
}

TEST_CASE("a vote is repeated as the script says, and withdrawn at the first sign of life") {
  using Outcome = EvictReply::Outcome;
  Watcher watcher;
  REQUIRE(watcher.first_vote(2000) > 0);
  const auto next_after = [&](EvictReply reply) {
    watcher.act(EvictAnswer{watcher.self, watcher.peer, {true, reply, {}}});
    const std::int64_t begin = watcher.now;
    while (watcher.now - begin < 2000)
      if (find<AskEvict>(watcher.pass(10)) != nullptr) return watcher.now - begin;
    return std::int64_t{-1};
  };
  CHECK(next_after({Outcome::voted, 0}) == 250);
  CHECK(next_after({Outcome::wait, 120}) == 120);
  CHECK(next_after({Outcome::brake, 0}) == 500);
  const auto actions = watcher.act(SignOfLife{watcher.peer, {}});
  REQUIRE(find<AskWithdraw>(actions) != nullptr);
  CHECK(find<AskWithdraw>(actions)->target == watcher.peer);
  CHECK(find<AskWithdraw>(watcher.act(SignOfLife{watcher.peer, {}})) == nullptr);
}

TEST_CASE("after an eviction the view is read, and what changed is told to all") {
  Watcher watcher;
  REQUIRE(watcher.first_vote(2000) > 0);
  const auto asked = watcher.act(
      EvictAnswer{watcher.self, watcher.peer, {true, {EvictReply::Outcome::evicted, 0}, {}}});
  REQUIRE(find<AskView>(asked) != nullptr);
  const auto told = watcher.act(ViewAnswer{{true, Lone::view(6, {watcher.self}), {}}});
  REQUIRE(find<Publish>(told) != nullptr);
  const Frame& frame = find<Publish>(told)->frame;
  CHECK(frame.before == ViewVersion{5});
  CHECK(frame.view == ViewVersion{6});
  CHECK(frame.about == watcher.peer);
  CHECK(frame.row.empty());
}

TEST_CASE(
    "a node that has not shown that it knows its watcher is voted against only after five "
    "seconds") {
  Watcher watcher(false);
  watcher.node.watched[watcher.peer].knows = false;
  const std::int64_t since = watcher.node.watched[watcher.peer].since;
  REQUIRE(watcher.first_vote(10'000) > 0);
  CHECK(watcher.now - since >= 5000);
}

TEST_CASE("who does not hear itself over NATS accuses nobody") {
  Watcher watcher;
  watcher.self_answers = false;
  CHECK(watcher.first_vote(4000) == -1);
}

TEST_CASE("who hears none of several accuses nobody: it is rather itself that is cut off") {
  const Incarnation third{3, 3};
  Watcher watcher(true, {third});
  watcher.node.watched[third].knows = true;
  CHECK(watcher.first_vote(4000) == -1);
}

TEST_CASE("who hears at least one of several accuses the silent one") {
  const Incarnation third{3, 3};
  Watcher watcher(true, {third});
  std::int64_t voted = -1;
  for (int i = 0; i < 40 && voted < 0; ++i) {
    watcher.act(SignOfLife{third, {}});
    if (find<AskEvict>(watcher.pass(50)) != nullptr) voted = watcher.now;
  }
  CHECK(voted > 0);
}

TEST_CASE(
    "a late timer, a slow Redis, a slow NATS and two accusers each make a node doubt itself for a "
    "second") {
  SUBCASE("timer") {
    Watcher watcher;
    watcher.pass(300);
    CHECK(score(watcher.node, watcher.now) == 1);
    CHECK_FALSE(may_vote(watcher.node, watcher.now));
    CHECK(score(watcher.node, watcher.now + 1001) == 0);
  }
  SUBCASE("Redis") {
    Watcher watcher;
    while (find<AskRenew>(watcher.act(Tick{})) == nullptr) watcher.now += 10;
    watcher.now += 201;
    watcher.act(RenewAnswer{watcher.self, {true, {true, ViewVersion{5}, 0}, {}}});
    CHECK(score(watcher.node, watcher.now) == 1);
  }
  SUBCASE("NATS") {
    Watcher watcher;
    std::vector<Action> sent;
    while (find<Send>(sent) == nullptr) {
      watcher.now += 10;
      sent = watcher.act(Tick{});
    }
    watcher.now += 101;
    watcher.hear_myself(sent);
    CHECK(score(watcher.node, watcher.now) == 1);
  }
  SUBCASE("accusers") {
    Watcher watcher;
    while (find<AskRenew>(watcher.act(Tick{})) == nullptr) watcher.now += 10;
    watcher.act(RenewAnswer{watcher.self, {true, {true, ViewVersion{5}, 1}, {}}});
    CHECK(score(watcher.node, watcher.now) == 0);
    while (find<AskRenew>(watcher.act(Tick{})) == nullptr) watcher.now += 10;
    watcher.act(RenewAnswer{watcher.self, {true, {true, ViewVersion{5}, 2}, {}}});
    CHECK(score(watcher.node, watcher.now) == 1);
  }
}

TEST_CASE("a node that hears it is suspected answers at once") {
  Watcher watcher;
  Frame frame = watcher.from_peer(Frame::Type::suspect);
  frame.about = watcher.self;
  const auto actions = watcher.act(Heard{frame});
  const bool refuted = std::any_of(actions.begin(), actions.end(), [&](const Action& action) {
    const auto* send = std::get_if<Send>(&action);
    return send != nullptr && send->to == watcher.peer && send->frame.type == Frame::Type::refute;
  });
  CHECK(refuted);
}

TEST_CASE("a missing session of a silent node, or one missing twice, is reaped") {
  Watcher watcher;
  const auto answer = [&](bool there) {
    watcher.node.sessions.open = true;
    return watcher.act(SessionsAnswer{{watcher.peer}, {true, {there}, {}}});
  };
  watcher.act(SignOfLife{watcher.peer, {}});
  CHECK(find<AskReap>(answer(false)) == nullptr);
  CHECK(find<AskReap>(answer(true)) == nullptr);
  CHECK(find<AskReap>(answer(false)) == nullptr);
  CHECK(find<AskReap>(answer(false)) != nullptr);
  answer(true);
  watcher.now += 1000;
  CHECK(find<AskReap>(answer(false)) != nullptr);
}

// ---- whole clusters ----

TEST_CASE(
    "nodes that start together are all up in one view within a second, and nobody is ever "
    "accused") {
  for (const std::size_t count : {1U, 2U, 3U, 5U, 12U}) {
    CAPTURE(count);
    Cluster cluster(count);
    CHECK(cluster.run_until([&] { return cluster.settled(); }, 1000) >= 0);
    cluster.run(20'000);
    CHECK(cluster.settled());
    for (std::size_t i = 0; i < count; ++i) {
      CHECK(done<AskEvict>(cluster[i]).empty());
      CHECK(done<Reborn>(cluster[i]).empty());
      CHECK(sent(cluster[i], Frame::Type::heartbeat) >= (count > 1 ? 90U : 0U));
    }
  }
}

TEST_CASE("a killed node is evicted within a second, in clusters of two and more") {
  for (const std::size_t count : {2U, 3U, 4U, 5U, 12U}) {
    CAPTURE(count);
    auto cluster = settled_cluster(count);
    (*cluster)[1].dead = true;
    const std::int64_t took = cluster->run_until([&] { return cluster->settled(); }, 10'000);
    CHECK(took > 250);
    CHECK(took < 1000);
  }
}

TEST_CASE(
    "a frozen node is evicted within a second, and is reborn when it wakes; it accuses nobody") {
  auto cluster = settled_cluster(3);
  Node& frozen = (*cluster)[2];
  const Incarnation old_one = frozen.machine.self;
  frozen.frozen = true;
  const std::int64_t took = cluster->run_until([&] { return !cluster->member(frozen); }, 10'000);
  CHECK(took > 600);
  CHECK(took < 1000);
  cluster->run(7000);
  frozen.frozen = false;
  CHECK(cluster->run_until([&] { return cluster->settled(); }, 2000) >= 0);
  CHECK(frozen.machine.self != old_one);
  CHECK(done<AskEvict>(frozen).empty());
}

TEST_CASE("a pause shorter than the limit costs nothing") {
  auto cluster = settled_cluster(3);
  (*cluster)[2].frozen = true;
  cluster->run(400);
  (*cluster)[2].frozen = false;
  cluster->run(3000);
  CHECK(cluster->settled());
  CHECK(done<Reborn>((*cluster)[2]).empty());
}

TEST_CASE("a node that hears but cannot speak is evicted by the others, whom it does not accuse") {
  auto cluster = settled_cluster(3);
  Node& mute = (*cluster)[0];
  const Incarnation old_one = mute.machine.self;
  mute.mute = true;
  const std::int64_t took =
      cluster->run_until([&] { return cluster->table.view().find(old_one) == nullptr; }, 10'000);
  CHECK(took > 600);
  CHECK(took < 1100);
  cluster->run(5000);
  CHECK(done<AskEvict>(mute).empty());
  // It has joined again, but whom nobody can hear does not become an owner.
  CHECK_FALSE(cluster->sees_up((*cluster)[1], mute));
  mute.mute = false;
  CHECK(cluster->run_until([&] { return cluster->settled(); }, 3000) >= 0);
}

TEST_CASE(
    "a node that speaks but cannot hear accuses nobody, since its own PING does not come back") {
  auto cluster = settled_cluster(3);
  Node& deaf = (*cluster)[0];
  deaf.deaf = true;
  cluster->run(10'000);
  CHECK(done<AskEvict>(deaf).empty());
  CHECK(cluster->member((*cluster)[1]));
  CHECK(cluster->member((*cluster)[2]));
}

TEST_CASE("of two nodes that cannot hear each other none accuses while it does not hear itself") {
  auto cluster = settled_cluster(2);
  for (std::size_t i : {0U, 1U}) (*cluster)[i].deaf = (*cluster)[i].mute = true;
  cluster->run(10'000);
  CHECK(cluster->member((*cluster)[0]));
  CHECK(cluster->member((*cluster)[1]));
}

TEST_CASE("when most nodes end at once the survivor waits for their sessions to expire") {
  auto cluster = settled_cluster(3);
  (*cluster)[1].dead = (*cluster)[2].dead = true;
  const std::int64_t took = cluster->run_until([&] { return cluster->settled(); }, 10'000);
  CHECK(took > 3000);
  CHECK(took < 7000);
  CHECK(done<AskEvict>((*cluster)[0]).empty());
}

TEST_CASE("a node that leaves is leaving, then gone; nobody accuses it") {
  auto cluster = settled_cluster(3);
  Node& leaver = (*cluster)[1];
  const Incarnation self = leaver.machine.self;
  leaver.waiting.push_back(Leave{});
  CHECK(cluster->run_until(
            [&] {
              const Member* row = (*cluster)[0].machine.view->find(self);
              return row != nullptr && row->state == MemberState::leaving;
            },
            1000) >= 0);
  cluster->run(3000);
  CHECK(leaver.machine.in_force);
  leaver.waiting.push_back(Gone{});
  CHECK(cluster->run_until([&] { return cluster->settled() && leaver.machine.over; }, 1000) >= 0);
  CHECK(done<Left>(leaver).size() == 1);
  CHECK(cluster->table.view().members.size() == 2);
  for (std::size_t i : {0U, 2U}) CHECK(done<AskEvict>((*cluster)[i]).empty());
}

TEST_CASE("a node that is told to go before it has joined is gone") {
  Lone lone;
  lone.act(JoinAnswer{lone.self, {false, {}, "away"}});
  CHECK(find<Left>(lone.act(Gone{})) != nullptr);
}

TEST_CASE(
    "without NATS for lost_grace a lone node is leaving through Redis, and up again when NATS is "
    "back") {
  auto cluster = settled_cluster(1);
  Node& node = (*cluster)[0];
  node.waiting.push_back(NatsLost{"cut"});
  cluster->run(1900);
  CHECK(node.machine.row == MemberState::up);
  CHECK(cluster->run_until([&] { return node.machine.row == MemberState::leaving; }, 300) >= 0);
  node.waiting.push_back(NatsBack{});
  CHECK(cluster->run_until([&] { return cluster->settled(); }, 1000) >= 0);
  CHECK(done<Reborn>(node).empty());
}

TEST_CASE(
    "without Redis for everybody all sessions end, nobody is accused, and all are up again when it "
    "is back") {
  auto cluster = settled_cluster(3);
  for (std::size_t i = 0; i < 3; ++i) (*cluster)[i].no_redis = true;
  cluster->run(10'000);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK_FALSE((*cluster)[i].machine.in_force);
    (*cluster)[i].no_redis = false;
  }
  CHECK(cluster->run_until([&] { return cluster->settled(); }, 3000) >= 0);
  for (std::size_t i = 0; i < 3; ++i) CHECK(done<AskEvict>((*cluster)[i]).empty());
}

TEST_CASE(
    "nodes killed and started again under load of chance end up in one view, and no incarnation "
    "returns") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Cluster cluster(5);
    std::uint64_t chance = seed;
    const auto random = [&chance](std::uint64_t below) {
      chance = chance * 6364136223846793005ULL + 1442695040888963407ULL;
      return (chance >> 33) % below;
    };
    for (int round = 0; round < 12; ++round) {
      Node& node = cluster[random(5)];
      switch (random(4)) {
        case 0:
          node.frozen = !node.frozen;
          break;
        case 1:
          node.mute = !node.mute;
          break;
        case 2:
          node.no_redis = !node.no_redis;
          break;
        default:
          cluster.table.expire(node.machine.self);
          break;
      }
      cluster.run(static_cast<std::int64_t>(random(2500)));
    }
    for (std::size_t i = 0; i < 5; ++i)
      cluster[i].frozen = cluster[i].mute = cluster[i].no_redis = false;
    CHECK(cluster.run_until([&] { return cluster.settled(); }, 15'000) >= 0);
    std::set<Incarnation> all;
    std::size_t lives = 0;
    for (std::size_t i = 0; i < 5; ++i) {
      all.insert(cluster[i].lives.begin(), cluster[i].lives.end());
      lives += cluster[i].lives.size();
    }
    CHECK(all.size() == lives);
  }
}
