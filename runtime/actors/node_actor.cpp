#include "catga/runtime/actors/node_actor.hpp"

#include "catga/runtime/actors/shard_actor.hpp"
#include "catga/runtime/telemetry/entity_keys.hpp"
#include "catga/runtime/telemetry/reporter.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

namespace catga::actors {

namespace {
constexpr std::int64_t first_claims_wait_ms = 10'000;  // for cluster.min_members, at the longest
constexpr std::int64_t first_right_ms = 5'000;         // T_first, right of the old owner
constexpr std::int64_t joins_wait_ms = 5;              // per member, see waiting_view_
constexpr std::int64_t joins_wait_most_ms = 500;
constexpr std::int64_t tick_every_ms = 20;  // while something is under way
constexpr std::int64_t tick_at_least_ms = 100;

std::string shards_text(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " shard" : " shards");
}
constexpr std::int64_t moves_stuck_after_ms = 30'000;
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
  arm();
  return {
      [this](const ViewNews& news) {
        view_came(news);
        arm();
      },
      [this](const EndedNews& news) {
        endings_[news.node] = news.expired ? Parting::expired : Parting::evicted;
      },
      [this](const SessionNews& news) {
        session_changed(news);
        arm();
      },
      [this](const LinkNews& news) {
        redis_ = news.redis;
        if (news.nats == nats_) return;
        nats_ = news.nats;
        nats_lost_at_ = nats_ ? 0 : boot_ms();
        situation_changed();
        arm();
      },
      [this](const PrimaryNews&) {
        hold_claims();
        host_.router.routes().forget();
        for (const caf::actor& shard : shards_) send(shard, LookAtPrimary{});
        arm();
      },
      [](const Canary& canary) { (*canary.sing)(); },
      [this](ImpairedNews& news) {
        situation_.impaired = std::move(news.nodes);
        situation_changed();
      },
      [this](const WantsToMove& wants) {
        rebalance_.wants(wants.shard);
        grant_moves();
        arm();
      },
      [this](const MoveOver& over) {
        rebalance_.over(over.shard);
        part_.move_over(over.moved, over.gap_ms, boot_ms());
        if (!over.moved) host_.history.failed();
        host_.history.pending(rebalance_.pending());
        grant_moves();
        arm();
      },
      [this](const TakenOver& taken) {
        if (part_.took(taken.shard, taken.gap_ms, boot_ms())) tell_if_over();
        arm();
      },
      [this](const LeaveSoon&) { wants_to_leave_ = true; },
      [this](const LeaveNow&) {
        releasing_ = told_to_leave_ = true;
        tell_shards(ReleaseNow{});
        arm();
      },
      [this](const NodeTick& alarm) {
        if (alarm.at != armed_at_) return;
        armed_at_ = 0;
        tick();
        arm();
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
  host_.log.in_view(news.view->version.value);
  say_what_changed(before.get(), *news.view, news.self);
  new_part(change, before ? *before->view : none, *news.view);
  host_.names.learn(*news.view);
  {
    const std::lock_guard guard(host_.intake_lock);
    for (const Member& member : change.ended) host_.intake.ended(member.incarnation);
  }
  situation_changed();
  host_.router.adopt(
      standing,
      news.self);  // sends asks anew, to our own shards too: they must know the view by then
  count_change(change, before != nullptr);
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

/// Every node writes it into its log; the stream has it from one of them.
void NodeActor::say_what_changed(const Standing* was, const MembershipView& after,
                                 Incarnation self) {
  const MembershipView none;
  const MembershipView& before = was != nullptr ? *was->view : none;
  const ViewChange change = changes(before, after);
  const auto ups =
      std::count_if(after.members.begin(), after.members.end(),
                    [](const Member& member) { return member.state == MemberState::up; });
  // Of its first view a node only tells that it is in it.
  const auto speaks = [&](const Member& member) {
    const bool known = !before.members.empty() || member.incarnation == self;
    return known && reporter_of(after, member.incarnation) == self;
  };
  const auto say = [&](Severity severity, EventName event, const std::string& text,
                       const Member& member, std::initializer_list<LogField> more) {
    std::vector<LogField> fields{{"catga.peer.id", member.name},
                                 {"catga.peer.incarnation", text_of(member.incarnation)}};
    fields.insert(fields.end(), more);
    host_.log.write(severity, "membership", speaks(member) ? event : event.in_log_only(), text,
                    fields);
  };
  const auto shards_of = [&](const Member& member) {
    std::int64_t shards = 0;
    for (std::uint32_t i = 0; was != nullptr && i < host_.config.cluster.shards; ++i)
      shards += was->placement.target(ShardId{i}) == member.incarnation ? 1 : 0;
    return shards;
  };
  for (const Member& member : change.joined) {
    say(Severity::info, "catga.node.joined",
        "node " + member.name + " is up, " + std::to_string(ups) + " in all", member,
        {{"nodes", static_cast<std::int64_t>(ups)},
         {"version", member.app_version},
         {"weight", static_cast<std::int64_t>(member.weight)}});
  }
  for (const Member& member : change.leaving) {
    const bool own = member.incarnation == self;
    say(Severity::info, "catga.node.draining",
        "node " + member.name + (own ? " (this one)" : "") + " gives its shards away", member,
        {{"shards", shards_of(member)}});
  }
  for (const Member& member : change.ended) {
    // Who did not say that it goes was voted out, unless somebody knows better.
    Parting how = member.state == MemberState::leaving ? Parting::by_itself : Parting::evicted;
    if (const auto known = endings_.find(member.incarnation); known != endings_.end())
      how = known->second;
    gone_[text_of(member.incarnation)] = {member, shards_of(member), speaks(member)};
    host_.metrics.departed(member.incarnation, how);
  }
  endings_.clear();
  tell_departures();
}

void NodeActor::tell_departures() {
  for (const auto& [incarnation, cause] : host_.metrics.departures()) {
    const auto found = gone_.find(incarnation);
    if (found == gone_.end()) continue;
    const Gone gone = std::move(found->second);
    gone_.erase(found);
    const bool planned = cause == "planned";
    const EventName event = "catga.node.left";
    host_.log.write(
        planned ? Severity::info : Severity::warn, "membership",
        gone.ours_to_publish ? event : event.in_log_only(),
        "node " + gone.member.name +
            (planned                 ? " has left"
             : cause == "incomplete" ? " has left before all its shards were handed over"
             : cause == "expired"    ? " is gone: its session expired"
                                     : " is gone: the others voted it out"),
        {{"catga.peer.id", gone.member.name},
         {"catga.peer.incarnation", incarnation},
         {"cause", std::string(cause)},
         {"shards", gone.shards},
         {"uptime_s", std::max<std::int64_t>(
                          0, (host_.standing.cluster_now() - gone.member.joined_ms) / 1000)}});
  }
}

// ---- the story of a rebalance --------------------------------------------------------------------------------------

/// What changed may move shards: a new rebalance begins, and what was left of the one before is part of it.
void NodeActor::new_part(const ViewChange& change, const MembershipView& before,
                         const MembershipView& after) {
  if (change.joined.empty() && change.leaving.empty() && change.ended.empty()) return;
  if (part_.open()) tell_end("superseded");
  std::set<ShardId> taking;
  std::set<std::string> of;
  const Standing& now = *situation_.standing;
  const auto ended = [&change](Incarnation node) {
    return std::any_of(change.ended.begin(), change.ended.end(),
                       [node](const Member& member) { return member.incarnation == node; });
  };
  for (std::uint32_t i = 0; i < host_.config.cluster.shards; ++i) {
    const ShardId shard{i};
    if (now.placement.target(shard) != situation_.self) continue;
    const Incarnation owner = host_.router.routes().look_up(shard).to;  // in the view before
    const bool left_behind = part_.taking.contains(shard);
    if (!left_behind && (change.ended.empty() || !ended(owner))) continue;
    taking.insert(shard);
    const Member* member = before.find(owner);
    if (member != nullptr) of.insert(member->name);
  }
  moves_told_ = false;
  part_ = RebalancePart{};
  part_.id = situation_.rebalance = after.version.value;
  part_.reason = !change.ended.empty()     ? "node_left"
                 : !change.leaving.empty() ? "node_draining"
                                           : "node_joined";
  part_.taking = std::move(taking);
  host_.history.began(std::to_string(part_.id), part_.reason, host_.standing.cluster_now());
  std::string names;
  for (const std::string& name : of) names += (names.empty() ? "" : ", ") + name;
  if (!part_.taking.empty()) tell_takeovers(names);
}

void NodeActor::tell_takeovers(const std::string& of) {
  part_.told(boot_ms());
  const std::string shards = std::to_string(part_.taking.size());
  host_.log.write(
      Severity::info, "handoff", "catga.rebalance.planned",
      "this node takes over " + shards_text(part_.taking.size()) + (of.empty() ? "" : " of " + of),
      {{"catga.rebalance.id", std::to_string(part_.id)},
       {"reason", part_.reason},
       {"moves", std::int64_t{0}},
       {"takeovers", static_cast<std::int64_t>(part_.taking.size())},
       {"by_node", of + "->" + host_.node_id + "=" + shards}});
}

/// Some of them may not have asked to move yet: what counts is where they are and where they belong.
void NodeActor::tell_moves() {
  part_.told(boot_ms());
  std::map<std::string, std::size_t> to;
  std::size_t moves = 0;
  for (std::uint32_t i = 0; i < host_.config.cluster.shards; ++i) {
    const ShardId shard{i};
    const Incarnation target = situation_.standing->placement.target(shard);
    const bool here = host_.router.routes().look_up(shard).to == situation_.self;
    if (target == situation_.self || (!here && !rebalance_.is_pending(shard))) continue;
    to[host_.names.of(target)] += 1;
    moves += 1;
  }
  std::string text, by_node;
  for (const auto& [name, count] : to) {
    text += (text.empty() ? "" : ", ") + name + " " + std::to_string(count);
    by_node +=
        (by_node.empty() ? "" : ",") + host_.node_id + "->" + name + "=" + std::to_string(count);
  }
  host_.log.write(Severity::info, "handoff", "catga.rebalance.planned",
                  shards_text(moves) + " of this node move: to " + text + " (" + part_.reason + ")",
                  {{"catga.rebalance.id", std::to_string(part_.id)},
                   {"reason", part_.reason},
                   {"moves", static_cast<std::int64_t>(moves)},
                   {"takeovers", std::int64_t{0}},
                   {"by_node", by_node}});
}

void NodeActor::tell_end(std::string_view outcome) {
  const std::int64_t lasted = boot_ms() - part_.told_at;
  std::string text;
  if (part_.moved != 0 || part_.taken == 0)
    text += shards_text(part_.moved) + " moved away from here";
  if (part_.taken != 0)
    text += (text.empty() ? "" : ", ") + shards_text(part_.taken) + " taken over";
  if (part_.failed != 0) text += ", " + std::to_string(part_.failed) + " moves given up";
  if (outcome == "superseded") text += "; what is left belongs to a newer plan";
  host_.log.write(part_.failed == 0 ? Severity::info : Severity::warn, "handoff",
                  "catga.rebalance.completed",
                  text + ", in " + std::to_string(lasted) + " ms, worst pause " +
                      std::to_string(part_.gap_ms_max) + " ms",
                  {{"catga.rebalance.id", std::to_string(part_.id)},
                   {"reason", part_.reason},
                   {"outcome", std::string(outcome)},
                   {"moved", static_cast<std::int64_t>(part_.moved)},
                   {"taken", static_cast<std::int64_t>(part_.taken)},
                   {"failed", static_cast<std::int64_t>(part_.failed)},
                   {"duration_ms", lasted},
                   {"unavailable_ms_max", part_.gap_ms_max}});
}

void NodeActor::tell_if_over() {
  if (!part_.is_over(rebalance_.pending())) return;
  tell_end(part_.failed == 0 ? "ok" : "partial");
  moves_told_ = false;
  const std::uint64_t id = part_.id;
  const std::string reason = part_.reason;
  part_ = RebalancePart{};
  part_.id = id;  // shards that want to move later still belong to it
  part_.reason = reason;
}

void NodeActor::tell_if_stuck() {
  const std::int64_t now = boot_ms();
  if (!part_.is_stuck(now)) return;
  std::string shards, first_is;
  std::set<std::string> to;
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < host_.config.cluster.shards && count < 16; ++i) {
    if (!rebalance_.is_pending(ShardId{i}) && !part_.taking.contains(ShardId{i})) continue;
    if (count == 0) first_is = name_of(host_.doors[i]->look().state);
    shards += (count++ == 0 ? "" : ",") + std::to_string(i);
    to.insert(host_.names.of(situation_.standing->placement.target(ShardId{i})));
  }
  std::string names;
  for (const std::string& name : to) names += (names.empty() ? "" : ",") + name;
  host_.log.write(Severity::warn, "handoff", "catga.rebalance.stuck",
                  "no shard has moved for " + std::to_string((now - part_.progress_at) / 1000) +
                      " s; " + std::to_string(rebalance_.pending() + part_.taking.size()) +
                      " of this node's wait",
                  {{"catga.rebalance.id", std::to_string(part_.id)},
                   {"shards", shards},
                   {"catga.node.from", host_.node_id},
                   {"catga.node.to", names},
                   {"step", first_is},
                   {"waited_ms", now - part_.progress_at}});
}

void NodeActor::count_change(const ViewChange& change, bool seen_before) {
  if (change.joined.empty() && change.leaving.empty() && change.ended.empty()) return;
  count_rebalance(false);  // the one before, if it was not over
  counted_reason_ = !change.ended.empty()     ? NodeMetrics::Reason::left
                    : !change.leaving.empty() ? NodeMetrics::Reason::draining
                                              : NodeMetrics::Reason::joined;
  counting_ = seen_before && reporter_of(*situation_.standing->view) == situation_.self;
  counted_at_ = boot_ms();
}

/// The reporter of the view counts for all. Over: every shard is heard of from where it belongs.
void NodeActor::count_rebalance(bool look) {
  if (!counting_) return;
  if (look) {
    const Placement& placement = situation_.standing->placement;
    for (std::uint32_t i = 0; i < host_.config.cluster.shards; ++i) {
      const Routes::Hop hop = host_.router.routes().look_up(ShardId{i});
      if (hop.to != placement.target(ShardId{i}) || hop.epoch == Epoch{}) return;
    }
  }
  counting_ = false;
  host_.metrics.rebalanced(counted_reason_, look, boot_ms() - counted_at_);
}

/// For metrics: moves that wait, and whether none has ended for long.
void NodeActor::count_moves(std::int64_t now) {
  const auto pending = static_cast<std::int64_t>(rebalance_.pending());
  if (pending == 0 || pending != moves_seen_) moves_seen_at_ = now;
  moves_seen_ = pending;
  host_.metrics.moves_pending = pending;
  host_.metrics.moves_stuck = now - moves_seen_at_ > moves_stuck_after_ms ? 1 : 0;
  if (now - looked_at_ < 100) return;
  looked_at_ = now;
  host_.ticked_ms.store(now, std::memory_order_relaxed);
  count_rebalance(true);
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

/// Before the shards are told. They lose it together, and may be hundreds: one event speaks for all of them. Those that
/// lapsed before, or were given away by a node that ends its session itself, have had theirs.
void NodeActor::tell_suspended(std::string_view why) {
  std::int64_t shards = 0, held = 0;
  for (const auto& door : host_.doors) {
    const Doorway::Look look = door->look();
    if (look.state != ShardState::owned && look.state != ShardState::draining) continue;
    shards += 1;
    held += look.held;
  }
  if (shards == 0) {
    if (!situation_.leaving)
      host_.log.write(Severity::warn, "membership", "", std::string(why) + ": it serves nothing");
    return;
  }
  host_.metrics.lost(redis_ ? NodeMetrics::Loss::session_expired : NodeMetrics::Loss::redis_down,
                     static_cast<std::uint64_t>(shards));
  host_.log.write(Severity::warn, "membership", "catga.shard.ownership.lost",
                  std::string(why) + ": " + shards_text(static_cast<std::size_t>(shards)) +
                      (shards == 1 ? " is suspended" : " are suspended"),
                  {{"shards", shards},
                   {"cause", std::string(redis_ ? "session_expired" : "redis_down")},
                   {"held", held}});
}

void NodeActor::session_changed(const SessionNews& news) {
  live_on_as(news.self);
  if (!news.in_force) {
    tell_suspended("the session of this node is over");
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
    if (!ok) tell_suspended("Redis has not renewed this node's session in time");
    // The first session follows no other: the tick may see it before its news come.
    if (had_session_) hold_claims();
    had_session_ = true;
    situation_changed();
    if (ok)
      tell_shards(SessionResumed{});
    else
      tell_shards(SessionEnded{});
  }
  tell_audit();
  tell_departures();
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
  count_moves(now);
  for (const TurnWatch::Slow& slow : host_.watch.slow(now, host_.config.entity.turn_warn.count())) {
    host_.log.write(Severity::warn, "entity", "",
                    "a handler of " + entity_shown(host_.config, slow.entity) + " runs for " +
                        std::to_string(slow.running_ms) + " ms: " + slow.message +
                        "; it holds a worker thread and its shard cannot move",
                    {{"catga.entity.kind", slow.entity.kind},
                     {"catga.entity.key", key_shown(host_.config, slow.entity)},
                     {"running_ms", slow.running_ms}});
  }
  tell_if_over();
  tell_if_stuck();
}

/// A tick before this moment of boot_ms() finds nothing to do but to look for handlers that run too
/// long, unless something else happens to the actor first.
/// Redis changed its primary or went back, and all that was in memory was taken anew. A trace of its own, whatever the
/// sampler says: it is rare.
void NodeActor::tell_audit() {
  std::optional<PrimaryAudit::Result> audit = host_.audit.over(boot_ms());
  if (!audit) return;
  const auto audited = static_cast<std::int64_t>(audit->audited);
  const auto lost = static_cast<std::int64_t>(audit->lost);
  audit->fields.push_back({"shards_audited", audited});
  audit->fields.push_back({"shards_lost", lost});
  TraceContext trace;
  if (host_.tracer != nullptr) {
    Span span;
    span.context = Tracer::unsampled();
    span.context.flags |= 1;
    span.name = "catga.audit";
    span.end_ns = Tracer::now_ns();
    span.start_ns = span.end_ns - audit->lasted_ms * 1'000'000;
    span.attributes = {{"catga.audit.shards", audited},
                       {"catga.audit.shards_lost", lost},
                       {"outcome", std::string(lost == 0 ? "ok" : "partial")}};
    trace = span.context;
    host_.tracer->ended(std::move(span));
  }
  const catga::detail::TraceScope told_in(trace);
  host_.log.write(Severity::error, "store", "catga.redis.rolled_back",
                  "after Redis may have lost its last writes, " + shards_text(audit->audited) +
                      " of this node were taken anew in " + std::to_string(audit->lasted_ms) +
                      " ms; " + std::to_string(lost) + " did not come back",
                  audit->fields);
}

std::int64_t NodeActor::next_tick() const {
  if (host_.audit.open()) return 0;
  if (!session_ok_ || !host_.standing.session_ok()) return 0;
  if (nats_lost_at_ != 0 && situation_.leaving) return 0;
  if (releasing_ && host_.held.load() != 0) return 0;
  if (rebalance_.pending() != 0 || part_.is_over(0)) return 0;
  std::int64_t next = std::numeric_limits<std::int64_t>::max();
  next = std::min(next, host_.standing.session_deadline_ms.load());
  if (waiting_view_) next = std::min(next, next_view_at_);
  if (situation_.only_former) next = std::min(next, only_former_until_);
  if (!situation_.claims_allowed) next = std::min(next, started_at_ + first_claims_wait_ms);
  return next;
}

/// A node that waits for nothing sleeps through most of its ticks: a hundred of them on one machine
/// would otherwise have it busy with their clocks alone.
void NodeActor::arm() {
  const std::int64_t now = boot_ms();
  const std::int64_t at = std::clamp(next_tick(), now + tick_every_ms, now + tick_at_least_ms);
  if (armed_at_ != 0 && armed_at_ <= at) return;
  armed_at_ = at;
  delayed_send(this, std::chrono::milliseconds(at - now), NodeTick{at});
}

void NodeActor::grant_moves() {
  const std::int64_t now = boot_ms();
  const std::vector<ShardId> granted = rebalance_.grant(now);
  if (!granted.empty()) host_.history.pending(rebalance_.pending());
  if (!granted.empty() && !moves_told_) tell_moves();
  if (!granted.empty()) moves_told_ = true;
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
