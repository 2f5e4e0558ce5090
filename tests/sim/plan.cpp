#include "plan.hpp"

#include <algorithm>

namespace catga::sim {

namespace {

using std::chrono::milliseconds;

/// Everything that waits, in the ratios of the defaults.
void set_times(Plan& plan, double scale, Dice& dice) {
  const auto scaled = [scale](std::int64_t value) {
    return std::max<std::int64_t>(
        1, static_cast<std::int64_t>(static_cast<double>(stretched(value)) * scale));
  };
  Config& config = plan.config;
  config.membership.heartbeat = milliseconds(scaled(200));
  config.membership.suspect_after = milliseconds(scaled(600));
  config.membership.settle = milliseconds(scaled(dice.between(200, 1000)));
  config.membership.session_ttl = milliseconds(scaled(5000));
  config.membership.session_renew = milliseconds(scaled(1000));
  config.rebalance.drain_timeout = milliseconds(scaled(5000));
  config.rebalance.forward_for = milliseconds(scaled(30'000));
  config.nats.lost_grace = milliseconds(scaled(2000));
  config.redis.command_timeout = milliseconds(scaled(2000));

  membership::Times& member = plan.membership;
  member.heartbeat = scaled(200);
  member.quiet = scaled(600);
  member.quiet_most = scaled(2000);
  member.late = scaled(300);
  member.detect = scaled(100);
  member.session_ttl = scaled(5000);
  member.session_renew = scaled(1000);
  member.lost_grace = scaled(2000);
  member.patience = 3'600'000;
  member.retry = scaled(200);
  member.tick = scaled(50);
  member.self_proof = scaled(500);
  member.doubt = scaled(1000);
  member.stranger = scaled(5000);
  plan.hold = scaled(250);
  member.reading = member.late + plan.hold - scaled(50);
  member.reading_pause = scaled(2000);
  member.vote_unsure = scaled(2000);
  member.canary = scaled(100);
  member.canary_late = scaled(200);
  member.canary_dead = scaled(1000);
  member.disagreement = scaled(1000);

  ShardTimes& shard = plan.shard;
  shard.ready = scaled(500);
  shard.drain = scaled(5000);
  shard.handover = scaled(1000);
  shard.incoming_max = scaled(10'000);
  shard.forward = scaled(30'000);
  shard.fallback = scaled(3000);
  shard.audit = scaled(5000);
  shard.want = config.membership.settle.count() + scaled(1000);
  shard.cas_first = scaled(100);
  shard.cas_most = scaled(1000);
  shard.backoff_most = std::min<std::int64_t>(scaled(60'000), stretched(5000));

  plan.caller.try_first = scaled(500);
  plan.caller.try_most = scaled(4000);
  plan.caller.again_most = scaled(500);
  plan.redis.command_timeout = scaled(2000);
  plan.redis.connect_timeout = scaled(1000);
  plan.activation.refused_for = scaled(2000);
}

void shrink_limits(Plan& plan, Dice& dice) {
  Config& config = plan.config;
  const auto small = [&dice](std::int64_t least, std::int64_t usual) {
    return dice.chance(0.25) ? dice.between(least, least * 4) : usual;
  };
  config.entity.mailbox = static_cast<std::uint32_t>(small(2, 1000));
  config.entity.max_active = static_cast<std::uint32_t>(small(1, 500'000));
  config.entity.idle_timeout =
      milliseconds(stretched(small(50, dice.chance(0.5) ? 1000 : 120'000)));
  config.buffer.shard_messages = static_cast<std::uint32_t>(small(2, 1000));
  config.rebalance.in_flight = static_cast<std::uint32_t>(small(1, 256));
  config.rebalance.batch = static_cast<std::uint32_t>(small(1, 128));
  config.ask.pending = static_cast<std::uint32_t>(small(20, 100'000));
  plan.redis.batch = static_cast<std::size_t>(small(1, 128));
  plan.redis.pending = static_cast<std::size_t>(small(30, 10'000));
  plan.redis.connections = static_cast<unsigned>(dice.between(1, 2));
  plan.carrier.gather = dice.chance(0.5) ? 0 : stretched(dice.between(10, 2000));
  plan.carrier.lane_bytes = static_cast<std::size_t>(small(500, 8 << 20));
  plan.activation.ids_in_memory = static_cast<std::size_t>(small(1, 512));
  plan.activation.id_bytes_per_entity = static_cast<std::size_t>(small(2000, 8 << 20));
  plan.activation.turns_uncommitted = static_cast<std::size_t>(small(1, 256));
  if (dice.chance(0.2)) plan.activation.retention = stretched(dice.between(5'000, 60'000));
}

/// What came into the simulator later. About half of the seeds have something of it.
void add_later(Plan& plan, Dice& dice, Break planted) {
  const bool two_primaries = planted == Break::primary_unsaid;
  if (!dice.chance(0.5) && !two_primaries) return;
  // A planned life with shadows is as calm as one without; the rest is trouble.
  if (dice.chance(0.4)) plan.shadows = static_cast<unsigned>(dice.between(1, plan.nodes));
  if (plan.calm) return;
  plan.later_gap = stretched(dice.between(500, 4000) * ms);
  if (dice.chance(0.4)) plan.later_faults.push_back(Fault::script_flush);
  if (dice.chance(0.4)) {
    plan.workers = static_cast<unsigned>(dice.between(1, 4));
    plan.ponder_gap = stretched(dice.between(50, 2000) * ms);
  }
  if (!dice.chance(0.4) && !two_primaries) return;
  plan.later_faults.push_back(Fault::old_primary);
  if (plan.redis.failovers) return;
  plan.redis.failovers = true;
  plan.redis.wait = dice.chance(0.5);
  plan.redis.lag =
      stretched(plan.redis.wait ? dice.between(1, 30) * ms : dice.between(1, 1000) * ms);
}

Plan early_plan(Dice& dice, Break planted) {
  Plan plan;
  plan.config.cluster.name = "sim";
  plan.config.cluster.shards = static_cast<std::uint32_t>(dice.between(2, 4) * 4);
  plan.config.ask.timeout = milliseconds(stretched(dice.between(1000, 5000)));
  const std::vector<double> scales{0.2, 0.3, 0.5, 0.5, 1};
  set_times(plan, dice.one_of(scales), dice);
  shrink_limits(plan, dice);

  plan.nodes = static_cast<unsigned>(dice.between(2, 5));
  plan.spares = static_cast<unsigned>(dice.between(0, 2));
  plan.clients = static_cast<unsigned>(dice.between(1, 2));
  plan.accounts = static_cast<unsigned>(dice.between(3, 8));
  plan.ask_gap = stretched(dice.between(10, 60) * ms);
  plan.lasts = stretched(dice.between(8, 25) * second);
  plan.fault_gap = stretched(dice.between(300, 3000) * ms);
  plan.unfair = dice.chance(0.5);
  plan.mixed = (plan.accounts + plan.nodes) % 4 == 0;
  plan.drifting = dice.chance(0.3);

  plan.bus.least = plan.redis.least = stretched(dice.between(30, 300));
  plan.bus.most = stretched(dice.between(1, 20) * ms);
  plan.redis.most = stretched(dice.between(1, 20) * ms);
  plan.bus.false_nobody = dice.chance(0.3) ? 0.3 : 0;
  if (dice.chance(0.15)) {
    plan.bus.duplicate = 0.02;
    plan.bus.overtake = 0.05;
  }

  plan.calm = dice.chance(0.15);
  if (planted == Break::no_drain || planted == Break::forwarded_queue_dropped) plan.calm = true;
  if (plan.calm) {
    plan.bus.duplicate = plan.bus.overtake = plan.bus.false_nobody = 0;
    plan.bus.most = std::min<Moment>(plan.bus.most, stretched(5 * ms));
    plan.redis.most = std::min<Moment>(plan.redis.most, stretched(5 * ms));
    plan.redis.silent_loss = 0;
    plan.config.ask.timeout = milliseconds(stretched(10'000));
    plan.drifting = false;
    plan.faults = {Fault::leave, Fault::join};
    if (plan.mixed) plan.faults.push_back(Fault::rolling);
    plan.fault_gap = stretched(dice.between(2, 6) * second);
    plan.config.entity.mailbox = plan.config.buffer.shard_messages = 1000;
    plan.config.ask.pending = 10'000;
    plan.redis.pending = 10'000;
    plan.activation.id_bytes_per_entity = 8 << 20;
    plan.activation.retention = 3'600'000;
    plan.carrier.lane_bytes = 8 << 20;
    return plan;
  }

  const std::vector<Fault> all{
      Fault::crash,      Fault::host_lost,   Fault::freeze,      Fault::leave,
      Fault::join,       Fault::nats_lost,   Fault::cut,         Fault::split,
      Fault::redis_drop, Fault::redis_cut,   Fault::redis_stall, Fault::redis_down,
      Fault::failover,   Fault::redis_clock, Fault::memory_full, Fault::disk_full};
  const double share = dice.chance(0.3) ? 0.9 : 0.3;
  for (const Fault fault : all) {
    if (dice.chance(share)) plan.faults.push_back(fault);
  }
  if (plan.faults.empty()) plan.faults = {Fault::crash, Fault::join};
  if (plan.mixed) plan.faults.push_back(Fault::rolling);
  // These need a late copy of a commit that was given up meanwhile.
  if (planted == Break::no_nonce || planted == Break::timer_unchecked ||
      planted == Break::no_version_check) {
    plan.faults = {Fault::redis_drop, Fault::redis_cut, Fault::redis_stall, Fault::disk_full,
                   Fault::memory_full};
    plan.fault_gap = stretched(200 * ms);
    plan.redis.silent_loss = 0.05;
    plan.activation.refused_for = stretched(50);
  }
  // A node that lives, and is declared dead.
  if (planted == Break::no_reading_right)
    plan.faults = {Fault::nats_lost, Fault::cut, Fault::split, Fault::freeze};
  // Clocks that leap past a short memory.
  if (planted == Break::ids_uncounted) {
    plan.faults = {Fault::redis_clock, Fault::redis_clock, Fault::nats_lost, Fault::redis_drop};
    plan.activation.retention = stretched(dice.between(5'000, 60'000));
  }
  if (planted == Break::bare_epochs || planted == Break::failover_unnoticed) {
    plan.faults = {Fault::crash, Fault::freeze, Fault::leave, Fault::join, Fault::failover};
  }
  const auto has = [&plan](Fault fault) {
    return std::find(plan.faults.begin(), plan.faults.end(), fault) != plan.faults.end();
  };
  plan.redis.failovers = has(Fault::failover);
  plan.redis.wait = plan.redis.failovers && dice.chance(0.5);
  plan.redis.lag =
      stretched(plan.redis.wait ? dice.between(1, 30) * ms : dice.between(1, 1000) * ms);
  if (planted == Break::answer_before_replica) plan.redis.wait = true;
  return plan;
}

}  // namespace

std::string_view name_of(Fault fault) {
  switch (fault) {
    case Fault::crash:
      return "crash";
    case Fault::host_lost:
      return "host-lost";
    case Fault::freeze:
      return "freeze";
    case Fault::leave:
      return "leave";
    case Fault::join:
      return "join";
    case Fault::nats_lost:
      return "nats-lost";
    case Fault::cut:
      return "cut";
    case Fault::split:
      return "split";
    case Fault::redis_drop:
      return "redis-drop";
    case Fault::redis_cut:
      return "redis-cut";
    case Fault::redis_stall:
      return "redis-stall";
    case Fault::redis_down:
      return "redis-down";
    case Fault::failover:
      return "failover";
    case Fault::redis_clock:
      return "redis-clock";
    case Fault::rolling:
      return "rolling";
    case Fault::memory_full:
      return "memory-full";
    case Fault::disk_full:
      return "disk-full";
    case Fault::script_flush:
      return "script-flush";
    case Fault::old_primary:
      return "old-primary";
  }
  return "?";
}

Plan plan_of(World& world, Break planted) {
  Plan plan = early_plan(world.dice, planted);
  add_later(plan, world.later_dice, planted);
  return plan;
}

std::string Plan::text() const {
  std::string out = std::to_string(nodes) + "+" + std::to_string(spares) + " nodes, " +
                    std::to_string(clients) + " clients, " + std::to_string(config.cluster.shards) +
                    " shards, heartbeat " + std::to_string(config.membership.heartbeat.count()) +
                    " ms, " + std::to_string(lasts / second) + " s";
  if (calm) out += ", calm";
  if (redis.wait) out += ", WAIT";
  if (mixed) out += ", mixed versions";
  if (shadows != 0) out += ", " + std::to_string(shadows) + " shadows";
  if (workers != 0) out += ", handlers that hold one of " + std::to_string(workers) + " workers";
  if (bus.duplicate > 0) out += ", NATS repeats and overtakes";
  out += "; faults:";
  for (const Fault fault : faults) out += " " + std::string(name_of(fault));
  for (const Fault fault : later_faults) out += " " + std::string(name_of(fault));
  return out;
}

}  // namespace catga::sim
