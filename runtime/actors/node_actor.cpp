#include "catga/runtime/actors/node_actor.hpp"

#include "catga/runtime/actors/shard_actor.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <limits>

namespace catga::actors {

namespace {
constexpr std::int64_t first_claims_wait_ms = 10'000;  // for cluster.min_members, at the longest
constexpr std::int64_t first_right_ms = 5'000;         // T_first, right of the old owner
constexpr std::int64_t joins_wait_ms = 5;              // per member, see waiting_view_
constexpr std::int64_t joins_wait_most_ms = 500;
}  // namespace

NodeActor::NodeActor(caf::actor_config& config, Host& host)
    : caf::event_based_actor(config),
      host_(host),
      current_(std::make_shared<Situation>()),
      rebalance_({host.config.membership.settle.count(), 5 * host.config.membership.settle.count(),
                  host.config.rebalance.in_flight, host.config.rebalance.batch}),
      started_at_(boot_ms()) {
  set_down_handler([this](const caf::down_msg& down) { shard_down(down); });
}

caf::behavior NodeActor::make_behavior() {
  for (std::uint32_t shard = 0; shard < host_.config.cluster.shards; ++shard) {
    shards_.push_back(spawn<ShardActor, caf::monitored>(std::ref(host_), ShardId{shard}));
    host_.doors[shard]->lead_to(shards_.back());
  }
  delayed_send(this, tick_every, NodeTick{});
  return {
      [this](const ViewNews& news) { view_came(news); },
      [this](const SessionNews& news) { session_changed(news); },
      [this](const LinkNews& news) {
        if (news.nats == nats_) return;
        nats_ = news.nats;
        nats_lost_at_ = nats_ ? 0 : boot_ms();
        situation_changed();
      },
      [this](const PrimaryNews&) {
        hold_claims();
        host_.router.routes().forget();
        for (const caf::actor& shard : shards_) send(shard, LookAtPrimary{});
      },
      [](const Canary& canary) { (*canary.sing)(); },
      [this](ImpairedNews& news) {
        situation_.impaired = std::move(news.nodes);
        situation_changed();
      },
      [this](const WantsToMove& wants) {
        rebalance_.wants(wants.shard);
        grant_moves();
      },
      [this](const MoveOver& over) {
        rebalance_.over(over.shard);
        (over.moved ? moved_ : failed_) += 1;
        grant_moves();
      },
      [this](const LeaveSoon&) { wants_to_leave_ = true; },
      [this](const LeaveNow&) {
        releasing_ = told_to_leave_ = true;
        tell_shards(ReleaseNow{});
      },
      [this](const NodeTick&) {
        tick();
        delayed_send(this, tick_every, NodeTick{});
      },
  };
}

void NodeActor::on_exit() {
  for (const caf::actor& shard : shards_) send_exit(shard, caf::exit_reason::kill);
  shards_.clear();
}

void NodeActor::tell_shards(ShardEvent event) {
  const auto shared =
      std::make_shared<ShardEvent>(std::move(event));  // read only: all may look at one
  for (const caf::actor& shard : shards_) send(shard, Happened{shared});
}

void NodeActor::view_came(const ViewNews& news) {
  const std::int64_t now = boot_ms();
  const bool soon_after = situation_.standing != nullptr && now < next_view_at_;
  if (soon_after && only_joins(*situation_.standing->view, *news.view, situation_.self) &&
      news.self == situation_.self) {
    waiting_view_ = news;  // and not the one that waited before: it is older
    return;
  }
  waiting_view_.reset();
  const auto members = static_cast<std::int64_t>(news.view->members.size());
  next_view_at_ = now + std::min(members * joins_wait_ms, joins_wait_most_ms);
  view_adopted(news);
}

void NodeActor::view_adopted(const ViewNews& news) {
  const std::shared_ptr<const Standing> before = situation_.standing;
  // Compared as a whole: two Redis histories may have two tables of one version.
  if (before && *news.view == *before->view && news.self == situation_.self) return;
  auto standing = std::make_shared<Standing>();
  standing->view = news.view;
  standing->placement = Placement(*news.view, host_.config.cluster.shards);
  situation_.standing = standing;
  live_on_as(news.self);
  const Member* self = news.view->find(news.self);
  situation_.leaving = self != nullptr && self->state == MemberState::leaving;
  const MembershipView none;
  const ViewChange change = changes(before ? *before->view : none, *news.view);
  rebalance_.adopted(!change.joined.empty(), situation_.leaving, boot_ms());
  say_what_changed(before ? *before->view : none, *news.view, news.self);
  host_.names.learn(*news.view);
  {
    const std::lock_guard guard(host_.intake_lock);
    for (const Member& member : change.ended) host_.intake.ended(member.incarnation);
  }
  situation_changed();
  host_.router.adopt(
      standing,
      news.self);  // sends asks anew, to our own shards too: they must know the view by then
}

void NodeActor::situation_changed() {
  const Member* self =
      situation_.standing ? situation_.standing->view->find(situation_.self) : nullptr;
  situation_.up = self != nullptr && self->state == MemberState::up && nats_;
  const auto ups =
      situation_.standing == nullptr
          ? 0
          : std::count_if(situation_.standing->view->members.begin(),
                          situation_.standing->view->members.end(),
                          [](const Member& member) { return member.state == MemberState::up; });
  enough_members_ |= ups >= static_cast<std::ptrdiff_t>(host_.config.cluster.min_members);
  situation_.claims_allowed = enough_members_ || boot_ms() - started_at_ >= first_claims_wait_ms;
  current_ = std::make_shared<Situation>(situation_);
  for (const caf::actor& shard : shards_) send(shard, Adopt{current_});
  if (situation_.up && !situation_.leaving && !told_to_leave_)
    releasing_ = false;  // NATS was away, and is back
  if (situation_.leaving &&
      ups == 0) {  // nobody to give the shards to: whoever comes next claims them at once
    releasing_ = true;
    tell_shards(ReleaseNow{});
  }
}

void NodeActor::say_what_changed(const MembershipView& before, const MembershipView& after,
                                 Incarnation self) {
  const ViewChange change = changes(before, after);
  const std::string version = std::to_string(after.version.value);
  const auto ups =
      std::count_if(after.members.begin(), after.members.end(),
                    [](const Member& member) { return member.state == MemberState::up; });
  for (const Member& member : change.joined) {
    host_.log.write(Severity::info, "membership", "catga.node.joined",
                    "node " + member.name + " is up, " + std::to_string(ups) + " in all",
                    {{"catga.peer.id", member.name},
                     {"catga.peer.incarnation", text_of(member.incarnation)},
                     {"catga.view.version", version},
                     {"nodes", static_cast<std::int64_t>(ups)}});
    plan_reason_ = "node_joined";
  }
  for (const Member& member : change.leaving) {
    const bool own = member.incarnation == self;
    host_.log.write(Severity::info, "membership", "catga.node.draining",
                    "node " + member.name + (own ? " (this one)" : "") + " gives its shards away",
                    {{"catga.peer.id", member.name},
                     {"catga.view.version", version},
                     {"shards", static_cast<std::int64_t>(host_.held.load())}});
    plan_reason_ = "node_draining";
  }
  for (const Member& member : change.ended) {
    const bool planned = member.state == MemberState::leaving;
    host_.log.write(planned ? Severity::info : Severity::warn, "membership", "catga.node.left",
                    "node " + member.name +
                        (planned ? " has left" : " is gone: its session ended or it was evicted"),
                    {{"catga.peer.id", member.name},
                     {"catga.peer.incarnation", text_of(member.incarnation)},
                     {"catga.view.version", version},
                     {"cause", std::string(planned ? "planned" : "evicted")}});
    plan_reason_ = "node_left";
  }
  if (!change.joined.empty() || !change.leaving.empty() || !change.ended.empty()) {
    plan_id_ = version;
    plan_began_at_ = boot_ms();
    plan_said_at_ = 0;
    moved_ = failed_ = 0;
  }
}

/// Redis was away, or is another server: who had a shard before may be back in a moment, and claims
/// it with its memory. Others wait for that.
void NodeActor::hold_claims() {
  only_former_until_ = boot_ms() + first_right_ms;
  if (!situation_.only_former) {
    situation_.only_former = true;
    situation_changed();
  }
}

void NodeActor::live_on_as(Incarnation self) {
  if (situation_.self && situation_.self != self) situation_.former.push_back(situation_.self);
  situation_.self = self;
}

void NodeActor::session_changed(const SessionNews& news) {
  live_on_as(news.self);
  if (!news.in_force) {
    if (!situation_.leaving) {  // a node that has left ends its session itself
      host_.log.write(Severity::warn, "membership", "",
                      "the session of this node is over: its shards are suspended",
                      {{"catga.node.incarnation", text_of(news.self)}});
    }
    session_ok_ = false;
    hold_claims();
    situation_changed();
    tell_shards(SessionEnded{});
    if (situation_.leaving || wants_to_leave_) {  // nothing can be handed over any more
      releasing_ = true;
      tell_shards(ReleaseNow{});
    }
    return;
  }
  if (situation_.only_former) hold_claims();  // counted from when it is back
  situation_changed();
  session_ok_ = host_.standing.session_ok();
  had_session_ |= session_ok_;
  if (session_ok_) tell_shards(SessionResumed{});
}

void NodeActor::tick() {
  const bool ok = host_.standing.session_ok();
  if (ok != session_ok_) {
    session_ok_ = ok;
    if (!ok) {
      host_.log.write(
          Severity::warn, "membership", "",
          "Redis has not renewed this node's session in time: its shards are suspended");
    }
    // The first session follows no other: the tick may see it before its news come.
    if (had_session_) hold_claims();
    had_session_ = true;
    situation_changed();
    if (ok)
      tell_shards(SessionResumed{});
    else
      tell_shards(SessionEnded{});
  }
  const std::int64_t now = boot_ms();
  if (waiting_view_ && now >= next_view_at_) {
    const ViewNews waited = *waiting_view_;
    view_came(waited);
  }
  if (situation_.only_former && now >= only_former_until_) {
    situation_.only_former = false;
    situation_changed();
  }
  if (nats_lost_at_ != 0 && now - nats_lost_at_ >= host_.config.nats.lost_grace.count() &&
      situation_.leaving) {
    tell_shards(
        ReleaseNow{});  // nobody can reach us, nor we them: through Redis others may claim at once
    nats_lost_at_ = now;
  }
  if (releasing_ && host_.held.load() != 0 && (now / 20) % 10 == 0) tell_shards(ReleaseNow{});
  if (!situation_.claims_allowed && now - started_at_ >= first_claims_wait_ms) situation_changed();
  grant_moves();
  for (const TurnWatch::Slow& slow : host_.watch.slow(now, host_.config.entity.turn_warn.count())) {
    host_.log.write(Severity::warn, "entity", "",
                    "a handler of " + text_of(slow.entity) + " runs for " +
                        std::to_string(slow.running_ms) + " ms: " + slow.message +
                        "; it holds a worker thread and its shard cannot move",
                    {{"catga.entity.kind", slow.entity.kind},
                     {"catga.entity.key", slow.entity.key},
                     {"running_ms", slow.running_ms}});
  }
  const bool over = plan_said_at_ != 0 && rebalance_.pending() == 0;
  if (over) {
    host_.log.write(Severity::info, "handoff", "catga.rebalance.completed",
                    "rebalance ended: " + std::to_string(moved_) +
                        " shards moved away from here in " + std::to_string(now - plan_said_at_) +
                        " ms",
                    {{"catga.rebalance.id", plan_id_},
                     {"reason", plan_reason_},
                     {"moved", static_cast<std::int64_t>(moved_)},
                     {"failed", static_cast<std::int64_t>(failed_)},
                     {"duration_ms", now - plan_said_at_}});
    plan_said_at_ = 0;
  }
}

/// Handlers that run too long are left out: they are for the log, and in the simulator none does.
std::int64_t NodeActor::next_tick() const {
  if (host_.standing.session_ok() != session_ok_) return 0;
  if (nats_lost_at_ != 0 && situation_.leaving) return 0;
  if (releasing_ && host_.held.load() != 0) return 0;
  if (rebalance_.pending() != 0 || plan_said_at_ != 0) return 0;
  std::int64_t next = std::numeric_limits<std::int64_t>::max();
  if (session_ok_) next = std::min(next, host_.standing.session_deadline_ms.load());
  if (waiting_view_) next = std::min(next, next_view_at_);
  if (situation_.only_former) next = std::min(next, only_former_until_);
  if (!situation_.claims_allowed) next = std::min(next, started_at_ + first_claims_wait_ms);
  return next;
}

void NodeActor::grant_moves() {
  const std::int64_t now = boot_ms();
  const std::size_t pending = rebalance_.pending();
  const std::vector<ShardId> granted = rebalance_.grant(now);
  if (!granted.empty() && plan_said_at_ == 0) {
    plan_said_at_ = now;
    host_.log.write(
        Severity::info, "handoff", "catga.rebalance.planned",
        std::to_string(pending) + " shards of this node have a new place (" + plan_reason_ + ")",
        {{"catga.rebalance.id", plan_id_},
         {"reason", plan_reason_},
         {"moves", static_cast<std::int64_t>(pending)}});
  }
  for (const ShardId shard : granted) {
    send(shards_[shard.value], Happened{std::make_shared<ShardEvent>(MoveGranted{next_move_++})});
  }
}

/// A shard's actor broke. A new one knows nothing, reads the record, finds this node named, and takes the shard anew.
void NodeActor::shard_down(const caf::down_msg& down) {
  if (!down.reason) return;
  for (std::uint32_t shard = 0; shard < shards_.size(); ++shard) {
    if (shards_[shard].address() != down.source) continue;
    host_.log.write(Severity::error, "node", "",
                    "the actor of shard " + std::to_string(shard) + " ended and is started again",
                    {{"error", to_string(down.reason)}});
    rebalance_.over(ShardId{shard});
    host_.has_arrived(ShardId{shard});
    shards_[shard] = spawn<ShardActor, caf::monitored>(std::ref(host_), ShardId{shard});
    host_.doors[shard]->lead_to(shards_[shard]);
    send(shards_[shard], Adopt{current_});
    return;
  }
}

}  // namespace catga::actors
