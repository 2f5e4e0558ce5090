// NATS as the nodes see it: in order per publishing connection, at most once, and full of ways to
// lose things.
#pragma once
#include <catga/runtime/messaging/carrier.hpp>
#include <catga/sharding/ids.hpp>

#include "breaks.hpp"
#include "world.hpp"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace catga::sim {

/// Waits and troubles of the network, from the seed.
struct BusManners {
  Moment least = 100, most = 2 * ms;  ///< of one way, connection to connection
  double false_nobody = 0;            ///< no responders for a subscription that is there, but fresh
  Moment fresh = stretched(50 * ms);  ///< how long it is
  double duplicate = 0, overtake = 0;  ///< not NATS's manners: an extra profile
};

/// The two connections of a node are independent; nothing is heard across them.
enum class Line { traffic, heartbeat };

class Bus {
 public:
  /// One connection of one process.
  struct Port : std::enable_shared_from_this<Port> {
    Port(Bus& bus, Machine& on, Line of) : owner(bus), machine(on), line(of), life(on.life()) {}
    Bus& owner;
    std::uint64_t id = 0;
    Machine& machine;
    const Line line;
    const std::uint64_t life;
    std::function<void(const std::string& bytes, bool broadcast)> heard;
    std::function<void(Incarnation to, std::uint64_t batch)> nobody;
    std::function<void(bool up)> link;

    void listen(Incarnation inbox);
    /// False: not connected, as far as the process knows.
    bool publish(Incarnation to, std::string bytes, std::uint64_t batch);
    bool broadcast(std::string bytes);
    bool believes() const { return believed; }

    std::set<Incarnation> inboxes;
    Moment subscribed = 0;
    bool connected = true;  ///< really
    bool believed = true;   ///< as the process knows
    bool interest = true;   ///< as the server knows
    bool closed = false;
    bool forgotten = false;  ///< the server noticed that it is gone
    std::uint64_t generation = 0;
    Moment sent_until = 0;                ///< what it says keeps its order: up to the server,
    std::vector<Moment> arrives_until{};  ///< and on to each port, by its id
  };

  Bus(World& world, BusManners manners) : world_(world), manners_(manners) {}

  std::shared_ptr<Port> open(Machine& machine, Line line);
  /// The process is gone; the server notices after `linger`.
  void close(const std::shared_ptr<Port>& port, Moment linger);

  // ---- faults ----
  /// The connection of a machine breaks: what was under way is lost. It is noticed `silence` later.
  void disconnect(Machine& machine, Line line, Moment silence);
  void reconnect(Machine& machine, Line line);
  /// What `from` says does not reach `to`. `refused`: the server says that nobody listens there.
  void cut(const std::string& from, const std::string& to, bool refused);
  void heal_cuts() { cuts_.clear(); }
  bool disconnected(const Machine& machine, Line line) const {
    return away_.contains({machine.name, line});
  }
  void heal();
  bool any_cut() const { return !cuts_.empty(); }

  std::uint64_t sent = 0, lost = 0;
  BusManners& manners() { return manners_; }

 private:
  friend struct Port;
  void at_server(const std::shared_ptr<Port>& from, Incarnation to, std::string bytes,
                 std::uint64_t batch);
  void carry(const std::shared_ptr<Port>& from, const std::shared_ptr<Port>& to, std::string bytes,
             bool broadcast);
  void say_nobody(const std::shared_ptr<Port>& from, Incarnation to, std::uint64_t batch);
  std::shared_ptr<Port> find(Incarnation inbox, Line line) const;
  bool is_cut(const Port& from, const Port& to) const {
    return !cuts_.empty() && cuts_.contains({from.machine.name, to.machine.name});
  }

  World& world_;
  BusManners manners_;
  std::vector<std::shared_ptr<Port>> ports_;
  std::uint64_t next_port_ = 1;
  std::map<std::pair<std::string, std::string>, bool> cuts_;
  std::set<std::pair<std::string, Line>> away_;
};

/// What waits for one node goes as one message, as in runtime/messaging/lanes.
/// A program of an earlier version leaves out what was added since; one of a later version says
/// more than others know.
enum class Wording { ours, earlier, later };

class SimCarrier final : public Carrier {
 public:
  Wording wording = Wording::ours;
  struct Limits {
    std::size_t lane_bytes = 8 << 20;
    Moment gather = 0;  ///< how long a batch may wait for company
  };
  SimCarrier(Machine& machine, std::shared_ptr<Bus::Port> port, Break planted, Limits limits)
      : machine_(machine), port_(std::move(port)), planted_(planted), limits_(limits) {}

  std::function<Incarnation()> self;
  std::function<ViewVersion()> version;
  std::function<void(Incarnation to, std::vector<std::uint64_t> asks)> undelivered;
  std::function<void(std::vector<std::uint64_t> asks)> unsent;

  using Carrier::push;
  Status push(Incarnation to, const wire::Record& record, std::uint64_t ask) override;
  void announce(const wire::Owns& owns) override;
  void nobody(Incarnation to, std::uint64_t batch);
  std::size_t longest_lane() const;

 private:
  struct Lane {
    std::string bytes;
    std::vector<std::uint64_t> asks;
    bool queued = false;
  };
  void send(Incarnation to);
  void arrange(Incarnation to, Lane& lane);

  Machine& machine_;
  std::shared_ptr<Bus::Port> port_;
  const Break planted_;
  const Limits limits_;
  std::map<Incarnation, Lane> lanes_;  // of "no one": the broadcast of routes
  std::map<std::uint64_t, std::vector<std::uint64_t>> sent_;
  std::uint64_t next_batch_ = 1;
};

}  // namespace catga::sim
