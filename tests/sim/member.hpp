// The membership of a simulated node: feeds the production machine and carries out what it decides,
// as runtime/cluster/membership_driver does with threads.
#pragma once
#include <catga/runtime/standing.hpp>
#include <catga/sharding/membership.hpp>

#include "bus.hpp"
#include "plan.hpp"
#include "redis.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>

namespace catga::sim {

class Member final {
 public:
  struct Listener {
    std::function<void(std::shared_ptr<const MembershipView>, Incarnation)> on_view;
    std::function<void(bool in_force, Incarnation)> on_session;
    std::function<void(Incarnation next)> on_reborn;
    std::function<void()> on_left;
    /// Redis lost writes, or another one answers: what is in memory may be ahead of it.
    std::function<void()> on_doubt;
    std::function<void(std::vector<Incarnation>)> on_impaired;
    /// Has a task run by the actors.
    std::function<void(std::function<void()>)> post;
  };
  Member(Machine& machine, const Plan& plan, Break planted, Bus::Port& port, MemberStore& store,
         NodeStanding& standing, Listener listener);

  Wording wording = Wording::ours;
  std::string node_id;  ///< before start()
  bool shadow = false;
  std::function<bool()> lost_writes;  ///< did Redis ever lose any?

  void start(Incarnation first);
  void leave() { feed(membership::Leave{}); }
  void gone() { feed(membership::Gone{}); }
  void sign_of_life(Incarnation from, ViewVersion seen);
  /// This process reached the Redis primary `run_id`; before any request runs there.
  void primary_met(const std::string& run_id);
  void no_responders(Incarnation node) { feed(membership::NoResponders{node}); }

  const membership::Membership& state() const { return node_; }

 private:
  void feed(membership::Event event);
  void take(const membership::Event& event);
  std::string worded(membership::Frame frame) const;
  void tick_at();
  void connected(bool up);

  void carry_out(const membership::AskJoin& ask);
  void carry_out(const membership::AskRenew& ask);
  void carry_out(const membership::AskState& ask);
  void carry_out(const membership::AskEvict& ask);
  void carry_out(const membership::AskWithdraw& ask);
  void carry_out(const membership::AskReap& ask);
  void carry_out(const membership::AskView& ask);
  void carry_out(const membership::AskSessions& ask);
  void carry_out(const membership::Send& send);
  void carry_out(const membership::Publish& publish);
  void carry_out(const membership::ViewAdopted& adopted);
  void carry_out(const membership::Session& session);
  void carry_out(const membership::Reborn& reborn);
  void carry_out(const membership::Refused& refused);
  void carry_out(const membership::Left&);
  void carry_out(const membership::ReadingRight& right);
  void carry_out(const membership::PostCanary&);
  void carry_out(const membership::Impaired& impaired);
  void carry_out(const membership::NewPrimary&);
  void carry_out(const membership::Note& note);
  /// What this simulator does not know yet changes nothing outside the machine.
  template <class Other>
  void carry_out(const Other&) {}

  Machine& machine_;
  const Plan& plan_;
  const Break planted_;
  Bus::Port& port_;
  MemberStore& store_;
  NodeStanding& standing_;
  const Listener listener_;
  membership::Membership node_;
  std::string primary_;
  std::deque<membership::Event> events_;
  bool feeding_ = false;
  std::int64_t armed_at_ = 0;
  std::uint64_t alarm_ = 0;
  std::optional<std::pair<bool, Incarnation>> session_told_;
};

Incarnation new_incarnation();

}  // namespace catga::sim
