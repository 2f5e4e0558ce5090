#include "faults.hpp"

#include <algorithm>

namespace catga::sim {

Faults::Faults(const Scenery& scenery, std::vector<std::unique_ptr<Node>>& nodes,
               std::vector<std::unique_ptr<Caller>>& callers)
    : scenery_(scenery), nodes_(nodes), callers_(callers) {}

void Faults::start() {
  running_ = true;
  World& world = scenery_.world;
  if (scenery_.plan.drifting) {
    for (const auto& node : nodes_)
      node->set_clock_rate(0.9 + 0.2 * static_cast<double>(world.dice.below(1000)) / 1000);
  }
  next();
  if (!scenery_.plan.later_faults.empty()) next_later();
}

void Faults::next_later() {
  World& world = scenery_.world;
  world.after(world.later_dice.between(0, 2 * scenery_.plan.later_gap), [this] {
    if (!running_) return;
    happen(scenery_.world.later_dice.one_of(scenery_.plan.later_faults));
    next_later();
  });
}

/// A failover that not everybody notices.
void Faults::split_redis() {
  World& world = scenery_.world;
  Dice& dice = world.later_dice;
  if (scenery_.redis.is_split()) return;
  const double share = dice.chance(0.5) ? 0.5 : 0.25;
  std::set<std::string> behind;
  std::string names;
  const auto choose = [&](const std::string& name) {
    if (dice.chance(share)) behind.insert(name);
  };
  for (const auto& node : nodes_) choose(node->name);
  for (const auto& caller : callers_) choose(caller->name);
  for (const std::string& name : behind) names += ' ' + name;
  const Moment ttl = scenery_.plan.config.membership.session_ttl.count() * ms;
  const Moment lasts = dice.between(
      stretched(50 * ms), dice.chance(0.5) ? stretched(second) : 3 * ttl + stretched(2 * second));
  say("Redis has two primaries for " + text_of_moment(lasts) + " ms; with the old one stay" +
      names);
  scenery_.redis.split(behind);
  const std::string of = scenery_.redis.new_run_id();
  const auto as_long = [this, of] {
    return scenery_.redis.is_split() && scenery_.redis.new_run_id() == of;
  };
  for (const auto& node : nodes_) {
    if (!dice.chance(0.3)) continue;
    world.after(dice.between(0, lasts), [this, as_long, one = node.get()] {
      if (as_long()) scenery_.redis.move_over(*one);
    });
  }
  world.after(lasts, [this, as_long] {
    if (as_long()) scenery_.redis.end_split();
  });
}

void Faults::next() {
  World& world = scenery_.world;
  world.after(world.dice.between(0, 2 * scenery_.plan.fault_gap), [this] {
    if (!running_) return;
    happen(scenery_.world.dice.one_of(scenery_.plan.faults));
    next();
  });
}

void Faults::later(Moment wait, Happening what) {
  scenery_.world.after(wait, [this, what = std::move(what)] {
    if (running_) what();
  });
}

std::size_t Faults::running() const {
  return static_cast<std::size_t>(
      std::count_if(nodes_.begin(), nodes_.end(), [](const auto& node) { return node->wanted(); }));
}

Node* Faults::some_node(bool up_only) {
  std::vector<Node*> found;
  for (const auto& node : nodes_) {
    if (node->alive() && (!up_only || (node->up() && !node->leaving())))
      found.push_back(node.get());
  }
  return found.empty() ? nullptr : scenery_.world.dice.one_of(found);
}

void Faults::happen(Fault fault) {
  World& world = scenery_.world;
  ++world.tally.faults;
  Dice& dice = world.dice;
  // Mostly as long as a session or shorter, now and then long.
  const Moment ttl = scenery_.plan.config.membership.session_ttl.count() * ms;
  const Moment wait = dice.skewed(stretched(10 * ms), 2 * ttl + stretched(2 * second));
  const std::string how_long = " for " + text_of_moment(wait) + " ms";
  switch (fault) {
    case Fault::crash:
    case Fault::host_lost: {
      Node* node = some_node(false);
      if (node == nullptr) return;
      node->crash(fault == Fault::host_lost);
      later(stretched(dice.skewed(10 * ms, 10 * second)), [node] { node->start(); });
      return;
    }
    case Fault::freeze: {
      Node* node = some_node(false);
      if (node == nullptr || node->frozen()) return;
      const bool unseen = dice.chance(0.2);
      say("freezes " + node->name + how_long + (unseen ? ", unseen by its clock" : ""));
      node->freeze(unseen);
      const bool loses = dice.chance(0.3);
      world.after(wait, [this, node, of = node->life(), loses] {
        if (node->life() != of) return;
        if (loses) node->lose_late(0.5);
        say("thaws " + node->name);
        node->thaw();
      });
      return;
    }
    case Fault::leave: {
      Node* node = some_node(true);
      if (node == nullptr || running() < 2) return;
      node->leave();
      later(stretched(dice.skewed(second, 15 * second)), [node] { node->start(); });
      return;
    }
    case Fault::rolling: {
      say("begins to replace all nodes, one after the other");
      Moment at = 0;
      for (const auto& node : nodes_) {
        later(at, [this, one = node.get()] {
          if (one->up() && running() >= 2) one->leave();
        });
        at += stretched(dice.between(second, 3 * second));
        later(at, [one = node.get()] {
          if (!one->alive()) one->start();
        });
        at += stretched(dice.between(100 * ms, second));
      }
      return;
    }
    case Fault::join: {
      for (const auto& node : nodes_) {
        if (node->wanted() || node->alive()) continue;
        say("starts " + node->name);
        node->start();
        return;
      }
      return;
    }
    case Fault::nats_lost: {
      Node* node = some_node(false);
      if (node == nullptr) return;
      const auto lines = dice.below(3);
      const Moment silence = dice.chance(0.5) ? 0 : stretched(dice.between(0, second));
      say("cuts " + node->name + " from NATS" + (lines == 0 ? "" : ", one connection") + how_long);
      if (lines != 1) scenery_.bus.disconnect(*node, Line::traffic, silence);
      if (lines != 2) scenery_.bus.disconnect(*node, Line::heartbeat, silence);
      later(wait, [this, node] {
        scenery_.bus.reconnect(*node, Line::traffic);
        scenery_.bus.reconnect(*node, Line::heartbeat);
      });
      return;
    }
    case Fault::cut: {
      const Node& from = *dice.one_of(nodes_);
      const Node& to = *dice.one_of(nodes_);
      if (&from == &to) return;
      const bool refused = dice.chance(0.3);
      say("cuts what " + from.name + " says to " + to.name + how_long);
      scenery_.bus.cut(from.name, to.name, refused);
      later(wait, [this] { scenery_.bus.heal_cuts(); });
      return;
    }
    case Fault::split: {
      const bool refused = dice.chance(0.5);
      std::string side;
      std::vector<std::string> left, right;
      for (const auto& node : nodes_) (dice.chance(0.5) ? left : right).push_back(node->name);
      for (const auto& caller : callers_) (dice.chance(0.5) ? left : right).push_back(caller->name);
      for (const std::string& one : left) side += ' ' + one;
      say("splits NATS:" + side + " from the rest" + how_long);
      for (const std::string& one : left) {
        for (const std::string& other : right) {
          scenery_.bus.cut(one, other, refused);
          scenery_.bus.cut(other, one, refused);
        }
      }
      later(wait, [this] { scenery_.bus.heal_cuts(); });
      return;
    }
    case Fault::redis_drop: {
      if (Node* node = some_node(false)) {
        say("breaks the Redis connections of " + node->name);
        scenery_.redis.break_connections(*node);
      }
      return;
    }
    case Fault::redis_cut: {
      Node* node = some_node(false);
      if (node == nullptr) return;
      say("cuts " + node->name + " from Redis" + how_long);
      scenery_.redis.cut_off(*node, true);
      if (dice.chance(0.5)) scenery_.redis.break_connections(*node);
      later(wait, [this, node] { scenery_.redis.cut_off(*node, false); });
      return;
    }
    case Fault::redis_stall:
      say("Redis stands still" + how_long);
      scenery_.redis.stall(world.now() + wait);
      return;
    case Fault::redis_down:
      say("Redis is down" + how_long);
      scenery_.redis.stop();
      later(wait, [this] { scenery_.redis.start(); });
      return;
    case Fault::failover:
      scenery_.redis.failover();
      return;
    case Fault::redis_clock: {
      // Set back by much, Redis keeps sessions of the dead for as long: that is not for this check.
      const std::int64_t jump =
          dice.chance(0.9) ? stretched(dice.between(-800, 800)) : dice.between(0, 3'600'000);
      say("Redis' clock jumps by " + std::to_string(jump) + " ms");
      scenery_.redis.jump_clock(jump);
      return;
    }
    case Fault::memory_full:
      say("Redis' memory is full" + how_long);
      scenery_.redis.memory_full(true);
      later(wait, [this] { scenery_.redis.memory_full(false); });
      return;
    case Fault::script_flush: {
      Dice& own = world.later_dice;
      say("Redis' scripts are flushed");
      scenery_.redis.flush_scripts(own.chance(0.5) ? 0 : own.below(20));
      // Somebody does it again and again.
      for (auto more = own.chance(0.3) ? own.below(6) : 0; more > 0; --more) {
        later(stretched(own.between(0, 30 * ms)),
              [this, after = own.below(4)] { scenery_.redis.flush_scripts(after); });
      }
      return;
    }
    case Fault::old_primary:
      return split_redis();
    case Fault::disk_full:
      say("Redis' disk is full" + how_long);
      scenery_.redis.disk_full(true);
      later(wait, [this] { scenery_.redis.disk_full(false); });
      return;
  }
}

void Faults::stop() {
  running_ = false;
  scenery_.bus.heal();
  scenery_.redis.heal();
  for (const auto& node : nodes_) {
    node->set_clock_rate(1);
    node->thaw();
  }
}

}  // namespace catga::sim
