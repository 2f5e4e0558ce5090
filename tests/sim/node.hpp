// A simulated node: the production actors, router and membership machine on a simulated machine.
// What Node, Connections and MembershipDriver do with threads is done here with happenings.
#pragma once
#include <catga/runtime/actors/node_actor.hpp>
#include <catga/runtime/actors/reception.hpp>
#include <catga/runtime/messaging/router.hpp>

#include "member.hpp"
#include "plan.hpp"
#include "workers.hpp"
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>

#include <memory>
#include <optional>
#include <vector>

namespace catga::sim {

/// What all processes of a run share.
struct Scenery {
  World& world;
  const Plan& plan;
  Bus& bus;
  Redis& redis;
  Break planted;
  Log& log;
};

/// Decodes what comes over the bus, as Connections does.
struct Inbox {
  Router* router = nullptr;
  std::function<void(Incarnation sender, ViewVersion)> on_batch;
  std::function<void(ViewVersion, std::vector<Envelope>)> on_messages;
  std::function<void(Incarnation, const wire::Record&)> on_record;
  void heard(World& world, const std::string& bytes) const;
};

/// Wakes a process for the asks of its router.
class RouterAlarm {
 public:
  /// After each happening; the router lives as long as the life of the machine.
  void watch(Machine& machine, Router& router);
  void forget() { due_ = 0; }

 private:
  std::int64_t due_ = 0;  // by the machine's clock; 0: none is set
  std::uint64_t number_ = 0;
};

class Node final : public Machine, public NodeEyes {
 public:
  /// `shadow`: as node.shadow; then another process may have the same `node_id`.
  Node(const Scenery& scenery, std::string called, std::string node_id, bool shadow);
  ~Node() override;
  const std::string node_id;
  const bool shadow;

  /// Starts when NATS and Redis can be reached; asks again until then.
  void start();
  /// kill -9. With `host_lost` nobody tells NATS.
  void crash(bool host_lost);
  /// SIGTERM.
  void leave();
  bool leaving() const { return alive() && process_->leaving; }
  bool wanted() const { return wanted_; }
  bool up() const { return alive() && process_->up; }
  /// Has no place of its own: a shadow, or LEAVING since NATS was away, its name taken over meanwhile.
  bool stands_by() const {
    if (!alive() || leaving()) return false;
    const MemberState row = process_->member->state().row;
    return row == MemberState::shadow || (shadow && row == MemberState::leaving);
  }
  /// Connected to NATS with both lines, as far as NATS knows.
  bool linked() const {
    return !scenery_.bus.disconnected(*this, Line::traffic) &&
           !scenery_.bus.disconnected(*this, Line::heartbeat);
  }
  /// Since when most others that can be heard write to another Redis primary; none: they do not.
  std::optional<Moment> outvoted;
  std::function<bool()> still_outvoted;  ///< right now; set by who keeps `outvoted`

  Router* router() { return alive() ? process_->router.get() : nullptr; }
  void watch_router();
  actors::Host* host() { return alive() ? process_->host.get() : nullptr; }
  const membership::Membership* membership() const {
    return alive() ? &process_->member->state() : nullptr;
  }
  /// How it stands, for people.
  std::string plight() const;
  std::size_t processes() const { return graveyard_.size() + (alive() ? 1 : 0); }
  const SimCarrier* carrier() const { return alive() ? process_->carrier.get() : nullptr; }
  void bury();  ///< at the end of the run, when nothing will happen any more

  // ---- NodeEyes ----
  bool session_ok() const override;
  std::string why_not_run(ShardId shard) const override;
  Incarnation incarnation() const override { return process_->self; }
  std::string why_outvoted() const override;

 private:
  struct Settings : caf::actor_system_config {
    Settings() { set("scheduler.policy", caf::atom("testing")); }
  };
  struct Process {
    explicit Process(Node& node);
    ~Process();
    // In this order: actors outlive their system for a moment, and look at the host when they go.
    Config config;
    NodeStanding standing;
    actors::TurnWatch watch;
    std::map<std::string, Kind, std::less<>> kinds;
    std::unique_ptr<SimStores> stores, member_stores;
    std::shared_ptr<Bus::Port> traffic, heartbeat;
    std::unique_ptr<SimCarrier> carrier;
    std::unique_ptr<Router> router;
    std::unique_ptr<actors::Host> host;
    Settings settings;
    std::unique_ptr<caf::actor_system> system;
    caf::scheduler::test_coordinator* scheduler = nullptr;
    std::unique_ptr<actors::Reception> reception;
    std::unique_ptr<Member> member;
    Inbox inbox;
    Incarnation first, self;
    bool up = false, in_view = false, leaving = false, left = false;
    RouterAlarm router_alarm;
    std::int64_t leave_until = 0;
    int leave_stage = 0;
    std::int64_t woken_at = 0;  // alarm of CAF's clock in force
    std::uint64_t alarm = 0;
  };
  void build();
  void settle() override;
  void run_jobs();
  void retime() override;
  void arm();
  void leave_step();
  void end(Moment linger);
  void ready_heard(const wire::Record& record);

  const Scenery scenery_;
  Workers workers_{*this};
  bool wanted_ = false;
  Wording wording_ = Wording::ours;
  std::unique_ptr<Process> process_;
  std::vector<std::unique_ptr<Process>> graveyard_;
};

/// A program that only calls, as runtime/client builds it.
class Caller final : public Machine {
 public:
  Caller(const Scenery& scenery, std::string called);
  ~Caller() override;
  void start();
  Router* router() { return router_.get(); }
  void watch_router();
  void close();

 private:
  void look_again();
  void read_view();
  void read_views();
  void settle() override { watch_router(); }

  const Scenery scenery_;
  NodeStanding standing_;
  Incarnation process_;
  std::unique_ptr<SimStores> stores_;
  std::shared_ptr<Bus::Port> traffic_, views_;
  std::unique_ptr<SimCarrier> carrier_;
  std::unique_ptr<Router> router_;
  Inbox inbox_;
  RouterAlarm alarm_;
  bool reading_ = false;
};

}  // namespace catga::sim
