#include "cluster.hpp"

#include <catga/entities/operation.hpp>
#include <catga/runtime/standing.hpp>

#include "faults.hpp"
#include "load.hpp"
#include "node.hpp"
#include "oracle.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <thread>

namespace catga::sim {

namespace {

constexpr Moment converge_within = stretched(30 * second);

/// Looks at everything ten times a second, for what no single event shows.
class Patrol {
 public:
  Patrol(const Scenery& scenery, const std::vector<std::unique_ptr<Node>>& nodes,
         const std::vector<std::unique_ptr<Caller>>& callers)
      : scenery_(scenery), nodes_(nodes), callers_(callers) {}

  void begin() {
    for (const auto& node : nodes_)
      node->still_outvoted = [this, one = node.get()] { return is_outvoted(*one); };
    look();
  }

 private:
  void look() {
    scenery_.world.after(100 * ms, [this] {
      look_at_buffers();
      look_for_outvoted();
      look_for_forgotten();
      look();
    });
  }

  /// I10: nothing holds more than it may.
  void look_at_buffers() {
    const Config& config = scenery_.plan.config;
    const auto check = [this](const std::string& whose, std::uint64_t holds, std::uint64_t most) {
      if (holds > most)
        scenery_.world.fail("I10: " + whose + " holds " + std::to_string(holds) + ", more than " +
                            std::to_string(most));
    };
    for (const auto& node : nodes_) {
      if (!node->alive()) continue;
      check(node->name + "'s table of asks", node->router()->pending(), config.ask.pending);
      check(node->name + "'s queues of moving shards", node->host()->buffered_bytes,
            config.buffer.node_bytes);
      check(node->name + "'s lane", node->carrier()->longest_lane(),
            scenery_.plan.carrier.lane_bytes + config.ask.payload_max);
    }
    for (const auto& caller : callers_) {
      if (caller->router() != nullptr)
        check(caller->name + "'s table of asks", caller->router()->pending(), config.ask.pending);
    }
    check("a pipeline", scenery_.redis.longest_queue(), scenery_.plan.redis.pending);
  }

  /// R34: who can hear most others write to another primary, and since when.
  void look_for_outvoted() {
    for (const auto& node : nodes_) {
      if (!is_outvoted(*node))
        node->outvoted.reset();
      else if (!node->outvoted)
        node->outvoted = scenery_.world.now();
    }
  }
  bool is_outvoted(const Node& node) const {
    const bool mute = scenery_.plan.mixed;  // earlier versions do not say where they write
    if (!scenery_.redis.is_split() || scenery_.bus.any_cut() || mute || !able(node)) return false;
    std::size_t mine = 1, theirs = 0;
    for (const auto& other : nodes_) {
      const bool there = other.get() != &node && (able(*other) || half_heard(*other));
      if (!there || !knows(node, *other) || !speaks_to(*other, node)) continue;
      // What they believe: one that is cut off from Redis goes on naming the old one.
      if (other->membership()->primary == node.membership()->primary)
        ++mine;
      else if (able(*other))
        ++theirs;
    }
    return theirs > mine;
  }
  /// One of its two connections to NATS is cut. Which of them carries its heartbeats is its business.
  bool half_heard(const Node& node) const {
    return node.alive() && !node.frozen() && !node.linked() && node.membership()->joined &&
           !(scenery_.bus.disconnected(node, Line::traffic) &&
             scenery_.bus.disconnected(node, Line::heartbeat));
  }
  static bool able(const Node& node) {
    return node.alive() && !node.frozen() && node.linked() && node.membership()->joined;
  }
  /// Only who is watched counts.
  static bool knows(const Node& one, const Node& other) {
    return one.membership()->watched.contains(other.incarnation());
  }
  /// Heartbeats go to members. At another primary nobody has heard of one that was reborn at this.
  static bool speaks_to(const Node& one, const Node& other) {
    return one.membership()->view->find(other.incarnation()) != nullptr;
  }

  /// I11: who has no session is reaped soon, by any node that could do it all the while.
  void look_for_forgotten() {
    const Moment now = scenery_.world.now();
    const Moment ttl = scenery_.plan.config.membership.session_ttl.count() * ms;
    std::map<Incarnation, Moment> fit, ended;
    std::optional<MembershipView> table;
    std::vector<bool> there;
    MemberStore& store = scenery_.redis.data().members();
    store.read_view([&table](Result<MembershipView> read) { table = std::move(*read); });
    std::vector<Incarnation> all;
    for (const catga::Member& member : table->members) all.push_back(member.incarnation);
    store.sessions(all, [&there](Result<std::vector<bool>> read) { there = std::move(*read); });
    const bool redis_well = scenery_.redis.well() && !scenery_.redis.is_split();
    for (const auto& node : nodes_) {
      if (!redis_well || !able(*node) || !scenery_.redis.reachable(*node)) continue;
      const membership::Membership& member = *node->membership();
      if (!member.in_force || !member.redis || !table->find(node->incarnation())) continue;
      const auto before = fit_.find(node->incarnation());
      fit[node->incarnation()] = before == fit_.end() ? now : before->second;
    }
    fit_ = std::move(fit);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (there[i]) continue;
      const auto before = ended_.find(all[i]);
      ended[all[i]] = before == ended_.end() ? now : before->second;
    }
    ended_ = std::move(ended);
    for (const auto& [gone, since] : ended_) {
      for (const auto& [node, able_since] : fit_) {
        if (node != gone && now - std::max(since, able_since) > ttl + stretched(2 * second))
          return scenery_.world.fail("I11: " + text_of(gone) + " has had no session for " +
                                     text_of_moment(now - since) + " ms, and nobody reaps it");
      }
    }
  }

  const Scenery scenery_;
  const std::vector<std::unique_ptr<Node>>& nodes_;
  const std::vector<std::unique_ptr<Caller>>& callers_;
  std::map<Incarnation, Moment> fit_, ended_;  // since when
};

/// Everything of one run, in the order in which it may go.
class Run {
 public:
  Run(const RunOptions& options, Log& log)
      : options_(options),
        world_(options.seed),
        plan_(prepare()),
        oracle_(world_, rules()),
        redis_(world_, oracle_, plan_.redis, options.planted),
        bus_(world_, plan_.bus),
        scenery_{world_, plan_, bus_, redis_, options.planted, log} {
    oracle_.watch(redis_);
    world_.say("plan", plan_.text());
    const auto add_node = [this](const std::string& name, const std::string& id, bool shadow) {
      nodes_.push_back(std::make_unique<Node>(scenery_, name, id, shadow));
    };
    for (unsigned i = 0; i < plan_.nodes + plan_.spares; ++i) {
      const std::string name = "node" + std::to_string(i);
      add_node(name, name, i < plan_.shadows);
    }
    for (unsigned i = 0; i < plan_.shadows; ++i) {
      const std::string id = "node" + std::to_string(i);
      add_node(id + "b", id, true);
    }
    for (unsigned i = 0; i < plan_.clients; ++i)
      callers_.push_back(std::make_unique<Caller>(scenery_, "client" + std::to_string(i)));
  }

  void go() {
    Load load(scenery_, oracle_, nodes_, callers_);
    Faults faults(scenery_, nodes_, callers_);
    for (unsigned i = 0; i < plan_.nodes; ++i) {
      Node* node = nodes_[i].get();
      world_.after(world_.dice.between(0, stretched(50 * ms)), [node] { node->start(); });
    }
    for (unsigned i = 0; i < plan_.shadows; ++i) {
      Node* node = nodes_[plan_.nodes + plan_.spares + i].get();
      world_.after(world_.later_dice.between(0, stretched(3 * second)), [node] { node->start(); });
    }
    for (const auto& caller : callers_) caller->start();
    patrol_.begin();
    const Moment begins = stretched(plan_.calm ? 5 * second : world_.dice.between(0, 2 * second));
    world_.after(begins, [&load] { load.start(); });
    world_.after(begins, [&faults] { faults.start(); });
    pass(begins + plan_.lasts);
    const bool converges = options_.mode == Mode::converge || plan_.calm;
    if (converges && !world_.failed()) converge(load, faults);
    bury();
  }

  RunReport report() {
    RunReport report;
    report.seed = options_.seed;
    report.failure = world_.failure;
    report.plan = plan_.text();
    report.trace = std::move(world_.lines);
    report.cluster_seconds = static_cast<double>(world_.now()) / second;
    report.happenings = world_.happenings;
    report.commits = oracle_.commits;
    report.answers = oracle_.answers;
    report.good_answers = oracle_.good_answers;
    report.handlers = oracle_.handlers;
    report.failovers = oracle_.failovers;
    report.digest = world_.digest;
    report.tally = world_.tally;
    return report;
  }

  World& world() { return world_; }

 private:
  Plan prepare() {
    world_.tracing = options_.trace;
    return plan_of(world_, options_.circumstances);
  }

  Oracle::Rules rules() const {
    Oracle::Rules rules;
    rules.shards = plan_.config.cluster.shards;
    rules.replicated = plan_.redis.wait;
    rules.calm = plan_.calm;
    rules.session = plan_.config.membership.session_ttl.count() * ms;
    rules.retention_ms = plan_.activation.retention;
    rules.messages_repeat = plan_.bus.duplicate > 0;
    rules.reads_linearizable = rules.failovers_noticed = rules.timers_once = options_.strict;
    // A machine that is 10 % fast and long without Redis is as wrong as one whose Redis jumped.
    rules.redis_time_jumps = plan_.drifting || std::find(plan_.faults.begin(), plan_.faults.end(),
                                                         Fault::redis_clock) != plan_.faults.end();
    return rules;
  }

  void pass(Moment until) {
    while (!world_.failed() && world_.step(until)) {
    }
  }

  /// Nobody is left of whom it is expected to run: one of those that ended is started again.
  void keep_one() {
    if (std::any_of(nodes_.begin(), nodes_.end(), [](const auto& node) { return node->wanted(); }))
      return;
    const auto ended =
        std::find_if(nodes_.begin(), nodes_.end(), [](const auto& node) { return !node->alive(); });
    if (ended != nodes_.end()) (*ended)->start();
  }

  void converge(Load& load, Faults& faults) {
    load.stop();
    faults.stop();
    world_.say("fate", "all heals");
    for (const auto& node : nodes_) {
      if (node->wanted() && !node->alive()) node->start();
    }
    Moment healed = world_.now();
    const Moment patience =
        converge_within + plan_.config.ask.timeout.count() * ms;  // a caller may wait so long
    std::string wrong;
    while (!world_.failed() && world_.now() < healed + patience) {
      keep_one();
      pass(world_.now() + 100 * ms);
      for (const auto& node : nodes_) {  // a name with strikes is kept from taking part
        if (node->alive() && node->membership()->warm_until > node->boot_ms())
          healed = world_.now();
      }
      wrong = not_converged(load);
      if (wrong.empty()) return;
    }
    if (!world_.failed())
      world_.fail("I14: " + text_of_moment(world_.now() - healed) +
                  " ms after everything healed, " + wrong);
  }

  /// What keeps the cluster from rest; "" if nothing.
  std::string not_converged(const Load& load) {
    if (load.open() != 0)
      return std::to_string(load.open()) +
             " asks have no answer, the oldest: " + load.oldest_open();
    std::optional<MembershipView> view;
    redis_.data().members().read_view([&view](Result<MembershipView> read) { view = *read; });
    std::size_t expected = 0;
    for (const auto& node : nodes_) {
      if (!node->alive()) continue;
      if (node->leaving()) return node->name + " is still leaving" + node->plight();
      ++expected;
      const bool behind =
          node->stands_by() &&
          std::any_of(nodes_.begin(), nodes_.end(), [&node](const auto& other) {
            return other->up() && !other->leaving() && other->node_id == node->node_id;
          });
      if (!node->up() && !behind) return node->name + " is not UP" + node->plight();
    }
    if (view->members.size() != expected)
      return "the table has " + std::to_string(view->members.size()) + " members, but " +
             std::to_string(expected) + " run";
    const Placement placement(*view, plan_.config.cluster.shards);
    std::map<Incarnation, std::uint32_t> shares;
    for (std::uint32_t s = 0; s < plan_.config.cluster.shards; ++s) {
      const ShardId shard{s};
      ++shares[placement.target(shard)];
      OwnerRecord record;
      redis_.data().owners().read(shard, [&record](Result<OwnerRecord> read) { record = *read; });
      if (record.owner() != placement.target(shard))
        return "shard " + std::to_string(s) + " is not owned by its target";
      if (oracle_.failovers != 0 && !options_.strict) continue;
      const auto [tells, timers] = redis_.data().outputs(shard);
      if (tells != 0)
        return "shard " + std::to_string(s) + " has " + std::to_string(tells) +
               " entries in its outbox";
      const std::optional<std::int64_t> due = redis_.data().first_timer(shard);
      if (options_.strict && due && *due < redis_.time_ms() - 1000)
        return "shard " + std::to_string(s) + " has " + std::to_string(timers) +
               " timers, one of them due for " + std::to_string(redis_.time_ms() - *due) + " ms";
    }
    for (const auto& node : nodes_) {
      if (!node->alive()) continue;
      const actors::Host& host = *node->host();
      const std::uint32_t share = shares[node->incarnation()];
      if (host.incoming != 0 || host.held != share || host.serving != share)
        return node->name + " should serve " + std::to_string(share) + " shards; it holds " +
               std::to_string(host.held) + " and serves " + std::to_string(host.serving);
      if (host.buffered_bytes != 0) return node->name + " still holds messages back";
    }
    return oracle_.missing();
  }

  void bury() {
    world_.clear();
    redis_.clear();
    for (const auto& caller : callers_) caller->close();
    for (const auto& node : nodes_) node->bury();
    world_.clear();
  }

  const RunOptions options_;
  World world_;
  const Plan plan_;
  Oracle oracle_;
  Redis redis_;
  Bus bus_;
  const Scenery scenery_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Caller>> callers_;
  Patrol patrol_{scenery_, nodes_, callers_};
};

}  // namespace

struct SharedLog::Private {
  explicit Private(const Config::Log& settings) : log(settings, "sim", "-") {}
  Log log;
};

SharedLog::SharedLog(const std::string& level) {
  Config::Log settings;
  settings.level = level;
  settings.format = "text";
  private_ = std::make_unique<Private>(settings);
}
SharedLog::~SharedLog() = default;
Log& SharedLog::log() { return private_->log; }

RunReport run_here(const RunOptions& options, SharedLog& log) {
  const PretendedChance chance(options.seed);
  Run one(options, log.log());
  const PretendedTime time([&one] { return one.world().clock_ms(); });
  one.go();
  return one.report();
}

RunReport run(const RunOptions& options, SharedLog& log) {
  RunReport report;
  std::thread([&] { report = run_here(options, log); }).join();
  return report;
}

}  // namespace catga::sim
