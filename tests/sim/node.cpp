#include "node.hpp"

#include <caf/send.hpp>

#include <algorithm>

namespace catga::sim {

namespace {

constexpr std::int64_t router_tick = 10, leave_poll = 10;  // ms
constexpr int most_jobs = 200'000;                         // in one moment: more is a loop
constexpr std::int64_t longest_idle = 600'000;             // ms

}  // namespace

/// Calls tick() when something in its table is due, as if by the ticks of production, one each 10 ms.
void RouterAlarm::watch(Machine& machine, Router& router) {
  if (router.pending() == 0) return;
  const std::int64_t now = machine.boot_ms();
  const std::int64_t soonest = std::clamp(router.next_tick(), now + 1, now + longest_idle);
  const std::int64_t due = (soonest + router_tick - 1) / router_tick * router_tick;
  if (due_ != 0 && due_ <= due) return;
  due_ = due;
  machine.at(machine.when_clock_shows(due), [this, &router, mine = ++number_] {
    if (mine != number_) return;  // another one was set since
    due_ = 0;
    router.tick();  // and whoever runs this watches on
  });
}

NodeEyes* eyes_of(const Machine* machine) {
  auto* node = const_cast<Node*>(dynamic_cast<const Node*>(machine));
  return node != nullptr && node->alive() ? node : nullptr;
}

void Inbox::heard(World& world, const std::string& bytes) const {
  const Result<wire::Batch> batch = wire::read(bytes);
  if (!batch.ok()) return world.fail("a batch cannot be read: " + batch.error().text);
  if (on_batch) on_batch(batch->sender, batch->version);
  std::vector<Envelope> envelopes;
  for (const wire::Record& record : batch->records) {
    if (const auto* message = std::get_if<wire::Message>(&record)) {
      Result<Envelope> envelope = wire::decode(message->body, boot_ms());
      if (!envelope.ok()) return world.fail("a message cannot be read: " + envelope.error().text);
      if (envelope->hops > 4) world.fail("I9: a message was forwarded more than 4 times");
      envelopes.push_back(std::move(*envelope));
    } else if (const auto* reply = std::get_if<wire::Reply>(&record)) {
      router->replied(*reply);
    } else {
      if (const auto* owns = std::get_if<wire::Owns>(&record))
        router->routes().learn(owns->shard, owns->owner, owns->epoch, false);
      if (on_record) on_record(batch->sender, record);
    }
  }
  if (!envelopes.empty() && on_messages) on_messages(batch->version, std::move(envelopes));
}

// ---- a node -------------------------------------------------------------------------------------

Node::Process::Process(Node&) {}
Node::Process::~Process() {
  router.reset();  // its callers were told, or nobody listens any more
}

Node::Node(const Scenery& scenery, std::string called, std::string id, bool behind)
    : Machine(scenery.world, std::move(called)),
      node_id(std::move(id)),
      shadow(behind),
      scenery_(scenery) {
  workers_.hire(scenery.plan.workers);
}
Node::~Node() = default;

void Node::start() {
  if (alive()) return;
  wanted_ = true;
  if (scenery_.bus.disconnected(*this, Line::traffic) || !scenery_.redis.reachable(*this)) {
    world.after(200 * ms, [this] {
      if (wanted_ && !alive()) start();
    });
    return;
  }
  born();
  run([this] { build(); });
}

void Node::build() {
  say("starts");
  ++world.tally.starts;
  process_ = std::make_unique<Process>(*this);
  Process& p = *process_;
  p.config = scenery_.plan.config;
  p.config.node.id = node_id;
  p.config.node.shadow = shadow;
  p.kinds.emplace("log", kind_of<Journal>());
  p.kinds.emplace("account", kind_of<Account>());
  p.first = p.self = new_incarnation();
  p.stores = std::make_unique<SimStores>(scenery_.redis, *this);
  p.stores->lives.insert(p.self);
  p.member_stores = std::make_unique<SimStores>(scenery_.redis, *this);
  p.traffic = scenery_.bus.open(*this, Line::traffic);
  p.heartbeat = scenery_.bus.open(*this, Line::heartbeat);
  p.standing.cluster_offset_ms = scenery_.redis.time_ms() - boot_ms();

  p.carrier =
      std::make_unique<SimCarrier>(*this, p.traffic, scenery_.planted, scenery_.plan.carrier);
  if (scenery_.plan.mixed) {
    wording_ = static_cast<Wording>((static_cast<unsigned>(wording_) + 1 + name.back() % 2) % 3);
    p.carrier->wording = wording_;
    say(wording_ == Wording::ours      ? "is of this version"
        : wording_ == Wording::earlier ? "is of an earlier version"
                                       : "is of a later version");
  }
  p.carrier->self = [&p] { return p.self; };
  p.carrier->version = [&p] { return ViewVersion{p.standing.view_version.load()}; };
  p.carrier->undelivered = [&p](Incarnation to, std::vector<std::uint64_t> asks) {
    p.member->no_responders(to);
    p.router->undelivered(asks);
  };
  p.carrier->unsent = [&p](std::vector<std::uint64_t> asks) { p.router->unsent(asks); };

  RouterOptions options;
  options.process = p.first;
  options.shards = p.config.cluster.shards;
  options.limits = p.config.ask;
  options.times = scenery_.plan.caller;
  p.router =
      std::make_unique<Router>(std::move(options), p.standing, p.stores->owners(), p.carrier.get());

  p.system = std::make_unique<caf::actor_system>(p.settings);
  p.scheduler = dynamic_cast<caf::scheduler::test_coordinator*>(&p.system->scheduler());
  ShardTimes times = scenery_.plan.shard;
  if (scenery_.planted == Break::no_audit) times.audit = 1'000'000'000;
  p.host = std::unique_ptr<actors::Host>(new actors::Host{p.config,
                                                          scenery_.plan.activation,
                                                          times,
                                                          p.kinds,
                                                          *p.stores,
                                                          *p.router,
                                                          p.carrier.get(),
                                                          p.standing,
                                                          scenery_.log,
                                                          p.watch,
                                                          node_id,
                                                          p.system->scheduler(),
                                                          {},
                                                          {},
                                                          {}});
  p.host->newer_view = [&p](ViewVersion version) {
    p.member->sign_of_life(Incarnation{}, version);
  };
  p.reception = std::make_unique<actors::Reception>(*p.host);
  p.scheduler->clock().current_time =
      caf::actor_clock::time_point{std::chrono::milliseconds(boot_ms())};
  p.host->node = p.system->spawn<actors::NodeActor>(std::ref(*p.host));
  p.router->host(
      [&p](ShardId shard, Envelope&& envelope) { p.host->deliver(shard, std::move(envelope)); });

  p.inbox.router = p.router.get();
  p.inbox.on_batch = [&p](Incarnation sender, ViewVersion version) {
    if (sender != p.first) p.member->sign_of_life(sender, version);
  };
  p.inbox.on_messages = [&p](ViewVersion seen, std::vector<Envelope> envelopes) {
    p.reception->messages(seen, std::move(envelopes));
  };
  p.inbox.on_record = [this, &p](Incarnation sender, const wire::Record& record) {
    p.reception->record(sender, record);
    ready_heard(record);
  };
  p.traffic->heard = [this, &p](const std::string& bytes, bool) { p.inbox.heard(world, bytes); };
  p.traffic->nobody = [&p](Incarnation to, std::uint64_t batch) { p.carrier->nobody(to, batch); };
  p.traffic->link = [this, &p](bool is_up) {
    say(is_up ? "has NATS again" : "lost NATS");
    caf::anon_send(p.host->node, actors::LinkNews{is_up, true});
  };
  p.traffic->listen(p.first);

  Member::Listener listener;
  listener.on_view = [&p](std::shared_ptr<const MembershipView> view, Incarnation self) {
    const catga::Member* row = view->find(self);
    caf::anon_send(p.host->node, actors::ViewNews{view, self});
    p.in_view = row != nullptr;
    p.up = row != nullptr && row->state == MemberState::up;
  };
  listener.on_session = [&p](bool in_force, Incarnation self) {
    caf::anon_send(p.host->node, actors::SessionNews{in_force, self});
  };
  listener.on_reborn = [&p](Incarnation next) {
    p.traffic->listen(next);
    p.self = next;
    p.stores->lives.insert(next);
  };
  listener.on_left = [&p] { p.left = true; };
  listener.on_doubt = [&p] {
    p.host->primary_changes.fetch_add(1);
    caf::anon_send(p.host->node, actors::PrimaryNews{});
  };
  listener.on_impaired = [&p](std::vector<Incarnation> nodes) {
    caf::anon_send(p.host->node, actors::ImpairedNews{std::move(nodes)});
  };
  listener.post = [&p](std::function<void()> task) {
    caf::anon_send(p.host->node,
                   actors::Canary{std::make_shared<std::function<void()>>(std::move(task))});
  };
  p.member = std::make_unique<Member>(*this, scenery_.plan, scenery_.planted, *p.heartbeat,
                                      p.member_stores->members(), p.standing, std::move(listener));
  p.member->wording = wording_;
  p.member->node_id = node_id;
  p.member->shadow = shadow;
  p.member->lost_writes = [this] { return scenery_.redis.oracle.failovers != 0; };
  const auto met = [&p](const std::string& run_id) { p.member->primary_met(run_id); };
  if (scenery_.planted != Break::failover_unnoticed && scenery_.planted != Break::bare_epochs) {
    p.stores->watch_primary(met);
    p.member_stores->watch_primary(met);
  }
  p.member->start(p.first);
}

/// The planted bug: a shard is called drained before it is.
void Node::ready_heard(const wire::Record& record) {
  const auto* ready = std::get_if<wire::Ready>(&record);
  if (ready == nullptr || scenery_.planted != Break::no_drain) return;
  caf::anon_send(process_->host->shard(ready->shard),
                 actors::Happened{std::make_shared<ShardEvent>(DrainEnded{})});
}

void Node::settle() {
  if (!process_) return;
  run_jobs();
  if (!process_) return;
  watch_router();
  arm();
}

void Node::run_jobs() {
  auto& scheduler = *process_->scheduler;
  auto& clock = scheduler.clock();
  clock.current_time = caf::actor_clock::time_point{std::chrono::milliseconds(boot_ms())};
  for (int ran = 0; ran < most_jobs; ++ran) {
    if (scheduler.jobs.empty() || workers_.all_held()) {
      if (clock.schedule().empty() || clock.schedule().begin()->first > clock.current_time) return;
      clock.trigger_expired_timeouts();
      if (scheduler.jobs.empty() || workers_.all_held()) continue;
    }
    if (scenery_.plan.unfair && scheduler.jobs.size() > 1) {
      const auto chosen = world.dice.below(scheduler.jobs.size());
      std::swap(scheduler.jobs.front(), scheduler.jobs[chosen]);
    }
    // Only entities run handlers, and only handlers stand still: no other job needs its own stack.
    if (scheduler.jobs.front()->subtype() == caf::resumable::function_object)
      workers_.run([&scheduler] { scheduler.run_once(); });
    else
      scheduler.run_once();
  }
  world.fail(name + " runs and runs: its actors keep each other busy for ever");
}

/// An alarm for the next thing CAF's clock waits for.
void Node::arm() {
  const auto& schedule = process_->scheduler->clock().schedule();
  if (schedule.empty()) return;
  const std::int64_t due = std::chrono::duration_cast<std::chrono::milliseconds>(
                               schedule.begin()->first.time_since_epoch())
                               .count();
  if (process_->woken_at != 0 && process_->woken_at <= due) return;
  process_->woken_at = due;
  at(when_clock_shows(due), [this, mine = ++process_->alarm] {
    if (mine == process_->alarm) process_->woken_at = 0;  // settle() does the rest
  });
}

void Node::retime() {
  process_->woken_at = 0;
  process_->router_alarm.forget();
  after(0, [] {});  // settle() sets them again
}

void Node::watch_router() {
  Process& p = *process_;
  p.router_alarm.watch(*this, *p.router);
}

bool Node::session_ok() const {
  if (scenery_.planted != Break::deadline_ignored) return process_->standing.session_ok();
  return boot_ms() < process_->member->state().deadline;
}

std::string Node::why_not_run(ShardId shard) const {
  if (process_->stores->exchanges[shard].open())
    return "a compare-and-set of its owner record is open (I12)";
  if (!process_->stores->ever_named.contains(shard) && process_->host->incoming == 0 &&
      process_->host->held == 0)
    return "it never owned the shard";
  return "";
}

std::string Node::why_outvoted() const {
  if (!outvoted || !still_outvoted()) return "";
  // Said with a heartbeat, believed after a while, heard with some delay; votes are fresh for long.
  const membership::Times& times = scenery_.plan.membership;
  const Moment patience =
      (times.disagreement + 4 * times.heartbeat + times.tick + stretched(1000)) * ms +
      4 * scenery_.plan.bus.most;
  if (world.now() - *outvoted <= patience) return "";
  return "most nodes have written to another Redis primary for " +
         text_of_moment(world.now() - *outvoted) + " ms";
}

std::string Node::plight() const {
  if (!alive()) return " (it does not run)";
  const membership::Membership& member = process_->member->state();
  const actors::Host& host = *process_->host;
  return " (holds " + std::to_string(host.held) + ", serves " + std::to_string(host.serving) +
         ", incoming " + std::to_string(host.incoming) + "; row " +
         std::string(name_of(member.row)) + (member.joined ? ", joined" : ", not joined") +
         (member.in_force ? ", in force" : ", not in force") + (member.over ? ", over" : "") +
         (member.nats ? "" : ", without NATS") + (member.redis ? "" : ", without Redis") +
         (member.join.open ? ", JOIN is open" : "") + ", JOIN due in " +
         std::to_string(member.join.due - boot_ms()) + " ms, next wake in " +
         std::to_string(next_wake(member) - boot_ms()) + " ms" + (member.proven ? ", proven" : "") +
         (member.state.open ? ", a change of state is open" : "") + ", wish " +
         std::to_string(static_cast<int>(member.wish)) + ", stage " +
         std::to_string(process_->leave_stage) + ")";
}

// ---- the end of a node --------------------------------------------------------------------------

void Node::crash(bool host_lost) {
  wanted_ = false;
  if (!alive()) return;
  say(host_lost ? "is lost with its host" : "is killed");
  end(host_lost ? stretched(world.dice.between(1, 4) * second)
                : stretched(world.dice.between(0, 5) * ms));
}

void Node::end(Moment linger) {
  Process& p = *process_;
  scenery_.bus.close(p.traffic, linger);
  scenery_.bus.close(p.heartbeat, linger);
  Machine* const before = std::exchange(world.here, this);
  workers_.kill();
  world.here = before;
  died();
  outvoted.reset();
  caf::anon_send_exit(p.host->node, caf::exit_reason::kill);
  p.scheduler->run();
  p.host->forget_actors();
  graveyard_.push_back(std::move(process_));
}

void Node::bury() {
  if (alive()) end(0);
  graveyard_.clear();
}

void Node::leave() {
  if (!alive() || process_->leaving) return;
  say("is asked to leave");
  wanted_ = false;
  process_->leaving = true;
  process_->leave_until = boot_ms() + stretched(8000);
  run([this] {
    caf::anon_send(process_->host->node, actors::LeaveSoon{});
    if (process_->in_view) process_->member->leave();
  });
  leave_step();
}

/// As Node::drain(): wait until all shards are given away, then for late messages, then go.
void Node::leave_step() {
  after(leave_poll * ms, [this] {
    Process& p = *process_;
    const bool empty = p.host->incoming == 0 && p.host->held == 0;
    if (!p.in_view && p.leave_stage == 0) p.leave_stage = 3;
    if (p.leave_stage == 0 && (empty || boot_ms() >= p.leave_until)) {
      if (!empty) caf::anon_send(p.host->node, actors::LeaveNow{});
      p.leave_stage = 1;
      p.leave_until = boot_ms() + 300;
      p.member->gone();
    }
    if (p.leave_stage == 1 && boot_ms() >= p.leave_until) {
      p.leave_stage = 2;
      p.leave_until = boot_ms() + scenery_.plan.redis.command_timeout;
    }
    if (p.leave_stage == 2 && (p.left || boot_ms() >= p.leave_until)) p.leave_stage = 3;
    if (p.leave_stage < 3) return leave_step();
    say("has left");
    p.router->close();
    world.after(0, [this, of = life()] {
      if (of == life() && alive()) end(0);
    });
  });
}

// ---- a caller -----------------------------------------------------------------------------------

Caller::Caller(const Scenery& scenery, std::string called)
    : Machine(scenery.world, std::move(called)), scenery_(scenery) {}
Caller::~Caller() = default;

void Caller::start() {
  born();
  run([this] {
    const Plan& plan = scenery_.plan;
    process_ = new_incarnation();
    stores_ = std::make_unique<SimStores>(scenery_.redis, *this);
    traffic_ = scenery_.bus.open(*this, Line::traffic);
    views_ = scenery_.bus.open(*this, Line::heartbeat);
    standing_.cluster_offset_ms = scenery_.redis.time_ms() - boot_ms();
    carrier_ = std::make_unique<SimCarrier>(*this, traffic_, scenery_.planted, plan.carrier);
    carrier_->self = [this] { return process_; };
    carrier_->version = [this] { return ViewVersion{standing_.view_version.load()}; };
    carrier_->undelivered = [this](Incarnation, std::vector<std::uint64_t> asks) {
      look_again();
      router_->undelivered(asks);
    };
    carrier_->unsent = [this](std::vector<std::uint64_t> asks) { router_->unsent(asks); };
    RouterOptions options;
    options.process = process_;
    options.shards = plan.config.cluster.shards;
    options.limits = plan.config.ask;
    options.times = plan.caller;
    router_ =
        std::make_unique<Router>(std::move(options), standing_, stores_->owners(), carrier_.get());
    inbox_.router = router_.get();
    inbox_.on_batch = [this](Incarnation, ViewVersion version) {
      if (version.value > standing_.view_version.load()) look_again();
    };
    traffic_->heard = [this](const std::string& bytes, bool) { inbox_.heard(world, bytes); };
    traffic_->nobody = [this](Incarnation to, std::uint64_t batch) { carrier_->nobody(to, batch); };
    traffic_->listen(process_);
    views_->heard = [this](const std::string&, bool broadcast) {
      if (broadcast) look_again();
    };
    read_view();
    read_views();
  });
}

void Caller::read_views() {
  after(second, [this] {
    look_again();
    read_views();
  });
}

void Caller::look_again() {
  if (!reading_) read_view();
}

void Caller::read_view() {
  reading_ = true;
  stores_->members().read_view([this](Result<MembershipView> view) {
    reading_ = false;
    if (!view.ok() || view->version.value == standing_.view_version.load()) return;
    auto fresh = std::make_shared<Standing>();
    fresh->placement = Placement(*view, scenery_.plan.config.cluster.shards);
    standing_.view_version = view->version.value;
    fresh->view = std::make_shared<const MembershipView>(std::move(*view));
    router_->adopt(fresh, process_);
  });
}

void Caller::watch_router() {
  if (router_) alarm_.watch(*this, *router_);
}

void Caller::close() {
  died();
  router_.reset();
}

}  // namespace catga::sim
