#include "bus.hpp"

#include <algorithm>

namespace catga::sim {

std::shared_ptr<Bus::Port> Bus::find(Incarnation inbox, Line line) const {
  for (const auto& port : ports_) {
    if (port->line == line && port->interest && port->inboxes.contains(inbox)) return port;
  }
  return nullptr;
}

std::shared_ptr<Bus::Port> Bus::open(Machine& machine, Line line) {
  auto port = std::make_shared<Port>(*this, machine, line);
  port->id = next_port_++;
  if (away_.contains({machine.name, line}))
    port->connected = port->believed = port->interest = false;
  ports_.push_back(port);
  return port;
}

void Bus::close(const std::shared_ptr<Port>& port, Moment linger) {
  port->closed = true;
  port->connected = port->believed = false;
  port->heard = nullptr;
  port->nobody = nullptr;
  port->link = nullptr;
  world_.after(linger, [this, port] {
    std::erase(ports_, port);
    port->forgotten = true;
  });
}

void Bus::Port::listen(Incarnation inbox) {
  inboxes.insert(inbox);
  subscribed = machine.world.now();
}

bool Bus::Port::publish(Incarnation to, std::string bytes, std::uint64_t batch) {
  if (!believed) return false;
  ++owner.sent;
  if (!connected || forgotten) {
    ++owner.lost;
    return true;
  }
  World& world = owner.world_;
  const Moment up = world.dice.skewed(owner.manners_.least, owner.manners_.most) / 2;
  sent_until = std::max(sent_until, world.now() + up);
  world.at(sent_until, [self = shared_from_this(), to, of = generation, bytes = std::move(bytes),
                        batch]() mutable {
    if (self->generation != of || !self->connected) return void(++self->owner.lost);
    self->owner.at_server(self, to, std::move(bytes), batch);
  });
  return true;
}

bool Bus::Port::broadcast(std::string bytes) {
  if (!believed) return false;
  ++owner.sent;
  if (!connected || forgotten) return true;
  World& world = owner.world_;
  const Moment up = world.dice.skewed(owner.manners_.least, owner.manners_.most) / 2;
  sent_until = std::max(sent_until, world.now() + up);
  world.at(sent_until, [self = shared_from_this(), of = generation, bytes = std::move(bytes)] {
    if (self->generation != of || !self->connected) return;
    for (const auto& port : std::vector(self->owner.ports_)) {
      if (port->line == self->line && port->interest) self->owner.carry(self, port, bytes, true);
    }
  });
  return true;
}

void Bus::at_server(const std::shared_ptr<Port>& from, Incarnation to, std::string bytes,
                    std::uint64_t batch) {
  const std::shared_ptr<Port> port = find(to, from->line);
  if (!port) return say_nobody(from, to, batch);
  if (is_cut(*from, *port) && cuts_.at({from->machine.name, port->machine.name}))
    return say_nobody(from, to, batch);
  const bool fresh = world_.now() - port->subscribed < manners_.fresh;
  if (fresh && port != from && world_.dice.chance(manners_.false_nobody))
    return say_nobody(from, to, batch);
  carry(from, port, std::move(bytes), false);
}

void Bus::carry(const std::shared_ptr<Port>& from, const std::shared_ptr<Port>& to,
                std::string bytes, bool broadcast) {
  if (is_cut(*from, *to)) return void(++lost);
  const int copies = world_.dice.chance(manners_.duplicate) ? 2 : 1;
  for (int copy = 1; copy <= copies; ++copy) {
    Moment arrival = world_.now() + world_.dice.skewed(manners_.least, manners_.most) / 2;
    if (from->arrives_until.size() <= to->id) from->arrives_until.resize(to->id + 1);
    Moment& before = from->arrives_until[to->id];
    const bool overtakes = world_.dice.chance(manners_.overtake);
    if (overtakes) {
      arrival += world_.dice.skewed(0, stretched(20 * ms));
    } else {
      before = arrival = std::max(before, arrival);
    }
    // A message is its receiver's business from here on: it may be frozen, or gone by then.
    if (to->machine.life() != to->life) return void(++lost);
    to->machine.at(
        arrival,
        [to, of = to->generation, bytes = copy < copies ? bytes : std::move(bytes), broadcast] {
          if (to->closed || !to->connected || to->generation != of || !to->heard)
            return void(++to->owner.lost);
          to->heard(bytes, broadcast);
        },
        true);
  }
}

void Bus::say_nobody(const std::shared_ptr<Port>& from, Incarnation to, std::uint64_t batch) {
  if (from->machine.life() != from->life) return;
  const Moment arrival = world_.now() + world_.dice.skewed(manners_.least, manners_.most) / 2;
  from->machine.at(
      arrival,
      [from, of = from->generation, to, batch] {
        if (from->closed || from->generation != of || !from->nobody) return;
        from->nobody(to, batch);
      },
      true);
}

// ---- faults -------------------------------------------------------------------------------------

void Bus::disconnect(Machine& machine, Line line, Moment silence) {
  if (!away_.insert({machine.name, line}).second) return;
  for (const auto& port : ports_) {
    if (&port->machine != &machine || port->line != line || port->closed) continue;
    port->connected = false;
    ++port->generation;
    const Moment server_notices =
        world_.dice.chance(0.5) ? 0 : world_.dice.between(0, stretched(2 * second));
    world_.after(server_notices, [port, of = port->generation] {
      if (port->generation == of) port->interest = false;
    });
    port->machine.after(silence, [port, of = port->generation] {
      if (port->generation != of || port->closed || !port->believed) return;
      port->believed = false;
      if (port->link) port->link(false);
    });
  }
}

void Bus::reconnect(Machine& machine, Line line) {
  if (away_.erase({machine.name, line}) == 0) return;
  for (const auto& port : ports_) {
    if (&port->machine != &machine || port->line != line || port->closed) continue;
    ++port->generation;
    port->connected = port->interest = true;
    port->subscribed = world_.now();
    // nats.c notices at the latest when it sends the subscriptions again.
    port->machine.after(world_.dice.between(0, stretched(20 * ms)), [port, of = port->generation] {
      if (port->generation != of || port->closed) return;
      const bool knew = !std::exchange(port->believed, true);
      if (!port->link) return;
      if (!knew) port->link(false);
      port->link(true);
    });
  }
}

void Bus::cut(const std::string& from, const std::string& to, bool refused) {
  cuts_[{from, to}] = refused;
}

void Bus::heal() {
  heal_cuts();
  for (const auto& port : std::vector(ports_)) {
    if (!port->closed && away_.contains({port->machine.name, port->line}))
      reconnect(port->machine, port->line);
  }
  away_.clear();
}

// ---- lanes --------------------------------------------------------------------------------------

namespace {
constexpr std::size_t batch_bytes = 256 * 1024;
constexpr std::size_t sent_kept = 2000;
}  // namespace

Status SimCarrier::push(Incarnation to, const wire::Record& record, std::uint64_t ask) {
  Lane& lane = lanes_[to];
  if (lane.bytes.size() > limits_.lane_bytes) {
    return Error{Code::overloaded, "too much waits for node " + text_of(to),
                 std::chrono::milliseconds(50)};
  }
  if (lane.bytes.size() > batch_bytes) send(to);
  if (lane.bytes.empty()) lane.bytes = wire::header(self(), version());
  const auto* handover = std::get_if<wire::Handover>(&record);
  if (handover != nullptr && planted_ == Break::forwarded_queue_dropped) {
    wire::Handover empty = *handover;
    empty.envelopes.clear();
    wire::append(lane.bytes, empty);
  } else if (handover != nullptr && wording == Wording::earlier) {
    wire::Handover plain = *handover;
    plain.quiet = false;
    wire::append(lane.bytes, plain);
  } else {
    wire::append(lane.bytes, record);
  }
  if (ask != 0) lane.asks.push_back(ask);
  arrange(to, lane);
  return Done{};
}

void SimCarrier::announce(const wire::Owns& owns) {
  Lane& lane = lanes_[Incarnation{}];
  if (lane.bytes.empty()) lane.bytes = wire::header(self(), version());
  wire::append(lane.bytes, owns);
  arrange(Incarnation{}, lane);
}

void SimCarrier::arrange(Incarnation to, Lane& lane) {
  if (std::exchange(lane.queued, true)) return;
  const Moment wait = limits_.gather == 0 ? 0 : machine_.world.dice.between(0, limits_.gather);
  machine_.after(wait, [this, to] { send(to); });
}

void SimCarrier::send(Incarnation to) {
  Lane& lane = lanes_[to];
  lane.queued = false;
  if (lane.bytes.empty()) return;
  std::string bytes = std::exchange(lane.bytes, {});
  if (wording == Wording::later) bytes.append("\xc8\x03\0\0\0new", 8);
  std::vector<std::uint64_t> asks = std::exchange(lane.asks, {});
  if (!to) return void(port_->broadcast(std::move(bytes)));
  const std::uint64_t batch = next_batch_++;
  if (!port_->publish(to, std::move(bytes), batch)) {
    if (!asks.empty() && unsent) unsent(std::move(asks));
    return;
  }
  sent_[batch] = std::move(asks);
  if (sent_.size() > sent_kept) sent_.erase(sent_.begin());
}

std::size_t SimCarrier::longest_lane() const {
  std::size_t longest = 0;
  for (const auto& [to, lane] : lanes_) longest = std::max(longest, lane.bytes.size());
  return longest;
}

void SimCarrier::nobody(Incarnation to, std::uint64_t batch) {
  const auto found = sent_.find(batch);
  std::vector<std::uint64_t> asks;
  if (found != sent_.end()) asks = std::exchange(found->second, {});
  if (undelivered) undelivered(to, std::move(asks));
}

}  // namespace catga::sim
