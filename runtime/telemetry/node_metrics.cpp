#include "catga/runtime/telemetry/node_metrics.hpp"

#include <algorithm>

namespace catga {

namespace {

constexpr std::string_view other = "_other";

constexpr std::array<std::string_view, 5> passivation_names{"idle", "handoff", "capacity",
                                                            "failure", "explicit"};
constexpr std::array<std::string_view, 6> limit_names{
    "admission",       "entity.mailbox", "buffer.shard_messages",
    "nats.lane_bytes", "client_keys",    "commit.pending"};
constexpr std::array<std::string_view, 4> commit_ends{"ok", "fenced", "conflict", "unknown"};
constexpr std::array<std::string_view, 4> loss_names{"fenced", "rollback", "session_expired",
                                                     "redis_down"};
constexpr std::array<std::string_view, 3> mode_names{"planned", "takeover", "readopt"};
constexpr std::array<std::string_view, 3> reason_names{"node_joined", "node_draining", "node_left"};
constexpr std::array<std::string_view, 4> node_states{"warm", "shadow", "up", "leaving"};
constexpr std::array<ShardState, 6> shown_states{ShardState::owned,     ShardState::claiming,
                                                 ShardState::incoming,  ShardState::draining,
                                                 ShardState::suspended, ShardState::in_doubt};
constexpr std::array<std::string_view, 3> saga_ends{"completed", "compensated", "failed"};
constexpr std::array<std::string_view, 12> verb_names{
    "trace", "drain", "log-level", "passivate",      "ask",    "tell",
    "retry", "skip",  "replace",   "force-complete", "cancel", "abort"};
constexpr std::array<std::string_view, 3> step_ends{"ok", "rejected", "failed"};
constexpr std::array<std::string_view, 3> place_names{"shard", "shard_buffer", "mailbox"};
constexpr std::array<std::string_view, 7> saga_causes{
    "compensation_stuck", "forward_stuck", "definition_drift", "no_definition",
    "crash_loop",         "poison",        "journal_full"};

std::uint64_t count_of(const Histogram& histogram) {
  std::uint64_t all = 0;
  for (std::size_t i = 0; i <= bounds_of(histogram.place().buckets).size(); ++i)
    all += histogram.sheet().sum(i);
  return all;
}

std::uint64_t value(const std::atomic<std::uint64_t>& count) {
  return count.load(std::memory_order_relaxed);
}
std::int64_t value(const std::atomic<std::int64_t>& level) {
  return level.load(std::memory_order_relaxed);
}
std::uint64_t one_if(bool yes) { return yes ? 1 : 0; }

}  // namespace

// ---- a kind ------------------------------------------------------------------------------------

KindMetrics::KindMetrics(std::string kind, std::vector<std::string> messages)
    : kind_(std::move(kind)),
      messages_([&messages] {
        messages.emplace_back(other);
        return std::move(messages);
      }()),
      wait_{after_slots, Buckets::quick},
      loading_{after_slots + histogram(), Buckets::quick},
      not_loading_{after_slots + 2 * histogram(), Buckets::quick},
      first_message_(after_slots + 3 * histogram()),
      size_of_message_(size_of_message()),
      sheet_(first_message_ + messages_.size() * size_of_message_) {}

std::size_t KindMetrics::number_of(std::string_view message) const {
  return static_cast<std::size_t>(
      std::distance(messages_.begin(), std::ranges::find(messages_, message)));
}

void KindMetrics::published(std::string_view event) {
  const auto number_among = [&](std::size_t known) {
    std::size_t number = 0;
    while (number < known && events_[number] != event) ++number;
    return number;
  };
  std::size_t known = events_known_.load(std::memory_order_acquire);
  std::size_t number = number_among(known);
  if (number == known && known < event_names_most) {
    const std::lock_guard guard(events_lock_);
    known = events_known_.load(std::memory_order_relaxed);
    number = number_among(known);
    if (number == known && known < event_names_most) {
      events_[number] = event;
      events_known_.store(known + 1, std::memory_order_release);
    }
  }
  published_[number].fetch_add(1, std::memory_order_relaxed);
}

void KindMetrics::write_events(Exposition& to) const {
  const std::size_t known = events_known_.load(std::memory_order_acquire);
  const auto row = metric("catga_events_published_total");
  for (std::size_t i = 0; i < known; ++i) to.add(row, {kind_, events_[i]}, value(published_[i]));
  to.add(row, {kind_, other}, value(published_[event_names_most]));
}

KindMetrics::Ended KindMetrics::write_message(Exposition& to, std::size_t number) const {
  const std::string& name = messages_[number];
  const std::size_t at = place(number);
  const std::uint64_t answers = sheet_.sum(at);
  std::uint64_t failed = 0, rejected = 0;
  for (std::size_t code = 0; code < codes; ++code) {
    const std::uint64_t count = sheet_.sum(at + 1 + code);
    to.add(metric("catga_request_errors_total"),
           {kind_, name, catga::name_of(static_cast<Code>(code))}, count);
    (static_cast<Code>(code) == Code::rejected ? rejected : failed) += count;
  }
  to.add(metric("catga_requests_total"), {kind_, name}, answers + rejected + failed);
  to.add(metric("catga_requests_succeeded_total"), {kind_, name}, answers + rejected);
  to.add(metric("catga_requests_failed_total"), {kind_, name}, failed);
  to.add(metric("catga_request_duration_seconds"), {kind_, name}, sheet_,
         HistogramAt{at + outcomes, Buckets::quick});
  to.add(metric("catga_turn_duration_seconds"), {kind_, name}, sheet_, at_turn(number));
  return {answers + rejected + failed,
          sheet_.sum(at + 1 + static_cast<std::size_t>(Code::expired))};
}

void KindMetrics::write(Exposition& to) const {
  Ended asks;
  for (std::size_t number = 0; number < messages_.size(); ++number) {
    const Ended some = write_message(to, number);
    asks.all += some.all;
    asks.expired += some.expired;
  }
  // Those that ended are read before those that came: no scrape sees more of them.
  const auto gone =
      static_cast<std::int64_t>(asks.all - sheet_.sum(refused_asks) + sheet_.sum(asks_given_back));
  to.add(metric("catga_requests_active"), {kind_},
         std::max<std::int64_t>(0, static_cast<std::int64_t>(sheet_.sum(received_ask)) - gone));
  to.add(metric("catga_idempotency_skipped_total"), {kind_}, sheet_.sum(repeats));
  to.add(metric("catga_idempotency_expired_total"), {kind_}, asks.expired);
  to.add(metric("catga_hot_entities"), {kind_}, value(hot_));
  write_events(to);
  to.add(metric("catga_messages_received_total"), {kind_, "ask"}, sheet_.sum(received_ask));
  to.add(metric("catga_messages_received_total"), {kind_, "tell"}, sheet_.sum(received_tell));
  to.add(metric("catga_messages_received_total"), {kind_, "timer"}, sheet_.sum(received_timer));
  to.add(metric("catga_messages_sent_total"), {kind_, "timer", "local"}, sheet_.sum(sent_timers));
  to.add(metric("catga_mailbox_wait_seconds"), {kind_}, sheet_, wait_);
  to.add(metric("catga_long_turns_total"), {kind_}, sheet_.sum(long_turns));
  // A scrape may meet the end of a life and miss its beginning on another stripe.
  to.add(metric("catga_entities"), {kind_},
         std::max<std::int64_t>(0, static_cast<std::int64_t>(sheet_.sum(alive))));
  to.add(metric("catga_entity_activations_total"), {kind_, "ok"}, sheet_.sum(loaded));
  to.add(metric("catga_entity_activations_total"), {kind_, "failed"}, sheet_.sum(not_loaded));
  to.add(metric("catga_entity_activation_duration_seconds"), {kind_, "ok"}, sheet_, loading_);
  to.add(metric("catga_entity_activation_duration_seconds"), {kind_, "failed"}, sheet_,
         not_loading_);
  for (std::size_t why = 0; why < passivation_names.size(); ++why)
    to.add(metric("catga_entity_passivations_total"), {kind_, passivation_names[why]},
           sheet_.sum(passivations + why));
}

// On other stripes may stand what has gone already, and not what came.
std::int64_t KindMetrics::waiting() const {
  const std::uint64_t gone = sheet_.sum(handles);
  return std::max<std::int64_t>(0, static_cast<std::int64_t>(sheet_.sum(posts) - gone));
}
std::int64_t KindMetrics::remembered_bytes() const {
  return std::max<std::int64_t>(0, static_cast<std::int64_t>(sheet_.sum(remembered)));
}

// ---- a node ------------------------------------------------------------------------------------

NodeMetrics::NodeMetrics(const std::map<std::string, Kind, std::less<>>& kinds,
                         std::uint32_t shards)
    : shard_count_(shards), oldest_(shards) {
  for (const auto& [name, kind] : kinds) {
    std::vector<std::string> messages;
    for (const MessageInfo& message : kind.messages) messages.push_back(message.name);
    kinds_.emplace(name, std::make_unique<KindMetrics>(name, std::move(messages)));
  }
  kinds_.emplace(other,
                 std::make_unique<KindMetrics>(std::string(other), std::vector<std::string>{}));
  sagas_.emplace(other,
                 std::make_unique<SagaMetrics>(std::string(other), std::vector<std::string>{}));
}

KindMetrics& NodeMetrics::of(std::string_view kind) {
  auto at = kinds_.find(kind);
  if (at == kinds_.end()) at = kinds_.find(other);
  return *at->second;
}

void NodeMetrics::refused(std::string_view kind, std::string_view message, Code code) {
  KindMetrics& counts = of(kind);
  counts.refused(counts.number_of(message), code);
}

// ---- sagas -------------------------------------------------------------------------------------

SagaMetrics::SagaMetrics(std::string type, std::vector<std::string> steps)
    : type_(std::move(type)),
      steps_([&steps] {
        steps.emplace_back(other);
        return std::move(steps);
      }()),
      sheet_(at_retries() + steps_.size()) {}

HistogramAt SagaMetrics::at_step(std::size_t step, std::size_t outcome) const {
  return {(step * step_ends.size() + outcome) * HistogramAt::slots(Buckets::quick), Buckets::quick};
}
HistogramAt SagaMetrics::at_end(std::size_t outcome) const {
  return {at_step(steps_.size(), 0).first + outcome * HistogramAt::slots(Buckets::lives),
          Buckets::lives};
}
HistogramAt SagaMetrics::at_journal() const {
  return {at_end(saga_ends.size()).first, Buckets::sizes};
}
std::size_t SagaMetrics::at_retries() const {
  return at_journal().first + HistogramAt::slots(Buckets::sizes);
}
std::size_t SagaMetrics::number_of(std::string_view step) const noexcept {
  step = step.substr(0, step.find('#'));
  std::size_t number = 0;
  while (number + 1 < steps_.size() && steps_[number] != step) ++number;
  return number;
}

void SagaMetrics::retried(std::string_view step) noexcept {
  sheet_.add(at_retries() + number_of(step));
}

void SagaMetrics::stepped(std::string_view step, const Error* error, std::int64_t ns) noexcept {
  const std::size_t number = number_of(step);
  const std::size_t outcome = error == nullptr ? 0 : error->code == Code::rejected ? 1 : 2;
  at_step(number, outcome).record(sheet_.stripe(), ns < 0 ? 0 : static_cast<std::uint64_t>(ns));
}

void SagaMetrics::ended(std::string_view outcome, std::int64_t ms, std::size_t entries) noexcept {
  std::size_t number = 0;
  while (number + 1 < saga_ends.size() && saga_ends[number] != outcome) ++number;
  const Sheet::Stripe stripe = sheet_.stripe();
  at_end(number).record(stripe, ms < 0 ? 0 : static_cast<std::uint64_t>(ms) * 1'000'000);
  at_journal().record(stripe, entries);
}

void SagaMetrics::write(Exposition& to) const {
  for (std::size_t step = 0; step < steps_.size(); ++step)
    for (std::size_t outcome = 0; outcome < step_ends.size(); ++outcome)
      to.add(metric("catga_saga_step_duration_seconds"), {type_, steps_[step], step_ends[outcome]},
             sheet_, at_step(step, outcome));
  for (std::size_t outcome = 0; outcome < saga_ends.size(); ++outcome)
    to.add(metric("catga_saga_duration_seconds"), {type_, saga_ends[outcome]}, sheet_,
           at_end(outcome));
  to.add(metric("catga_saga_journal_entries"), {type_}, sheet_, at_journal());
  for (std::size_t step = 0; step < steps_.size(); ++step)
    to.add(metric("catga_saga_step_retries_total"), {type_, steps_[step]},
           sheet_.sum(at_retries() + step));
}

void NodeMetrics::ordered(std::string_view verb) noexcept {
  const auto at = std::ranges::find(verb_names, verb);
  if (at != verb_names.end())
    orders_[static_cast<std::size_t>(at - verb_names.begin())].fetch_add(1,
                                                                         std::memory_order_relaxed);
}

// ---- more of a node ----------------------------------------------------------------------------

void NodeMetrics::host_sagas(const std::map<std::string, std::vector<std::string>>& steps) {
  for (const auto& [type, names] : steps)
    sagas_.insert_or_assign(type, std::make_unique<SagaMetrics>(type, names));
}

SagaMetrics& NodeMetrics::saga(std::string_view type) {
  auto at = sagas_.find(type);
  if (at == sagas_.end()) at = sagas_.find(other);
  return *at->second;
}

NodeMetrics::Mode NodeMetrics::mode_of(std::string_view name) {
  if (name == mode_names[0]) return Mode::planned;
  return name == mode_names[2] ? Mode::readopt : Mode::takeover;
}

void NodeMetrics::came(Mode mode, std::int64_t ms) noexcept {
  came_[static_cast<std::size_t>(mode)].record_ms(ms);
  if (mode == Mode::takeover) unavailable_[1].record_ms(ms);  // planned: on the old owner's clock
}

void NodeMetrics::went(std::int64_t ms) noexcept {
  went_.record_ms(ms);
  unavailable_[0].record_ms(ms);
}

void NodeMetrics::stayed(std::int64_t ms) noexcept { stayed_.record_ms(ms); }

void NodeMetrics::load(ShardId shard, Load& before, const Load& now) {
  const auto change = [](std::atomic<std::int64_t>& level, std::int64_t by) {
    if (by != 0) level.fetch_add(by, std::memory_order_relaxed);
  };
  change(held_, now.held - before.held);
  change(outbox_, now.outbox - before.outbox);
  change(timers_, now.timers - before.timers);
  if (now.oldest_ms != before.oldest_ms)
    oldest_[shard.value].store(now.oldest_ms, std::memory_order_relaxed);
  before = now;
}

void NodeMetrics::rebalanced(Reason reason, bool to_the_end, std::int64_t ms) {
  rebalances_[static_cast<std::size_t>(reason)][to_the_end ? 0 : 1].record_ms(ms);
}

void NodeMetrics::write(Exposition& to, const Now& now) const {
  for (const auto& [name, kind] : kinds_) kind->write(to);
  for (std::size_t i = 0; i < limit_names.size(); ++i)
    to.add(metric("catga_refused_total"), {limit_names[i]}, value(limits_[i]));
  for (std::size_t i = 0; i < commit_ends.size(); ++i)
    to.add(metric("catga_commit_duration_seconds"), {commit_ends[i]}, commits_[i]);
  to.add(metric("catga_commit_batch_size"), {}, commit_size_);
  for (std::size_t i = 0; i < place_names.size(); ++i)
    to.add(metric("catga_messages_expired_total"), {place_names[i]}, value(expired_[i]));
  write_shards(to, now);
  write_cluster(to, now);
  write_sagas(to, now);
  write_telemetry(to, now);
  for (std::size_t i = 0; i < verb_names.size(); ++i)
    to.add(metric("catga_admin_actions_total"), {verb_names[i]}, value(orders_[i]));
  to.add(metric("catga_build_info"), {now.version, now.revision, now.incarnation},
         std::uint64_t{1});
}

void NodeMetrics::write_shards(Exposition& to, const Now& now) const {
  for (const ShardState state : shown_states)
    to.add(metric("catga_shards"), {name_of(state)},
           value(shards_[static_cast<std::size_t>(state)]));
  to.add(metric("catga_hot_shards"), {}, value(hot_));
  to.add(metric("catga_shards_wanted"), {}, std::uint64_t{now.shards_wanted});
  to.add(metric("catga_shards_configured"), {}, std::uint64_t{shard_count_});
  const auto moves = [&to](std::string_view direction, std::string_view mode,
                           std::string_view outcome, const Histogram& histogram) {
    to.add(metric("catga_shard_handoffs_total"), {direction, mode, outcome}, count_of(histogram));
    to.add(metric("catga_shard_handoff_duration_seconds"), {direction, mode, outcome}, histogram);
  };
  for (std::size_t mode = 0; mode < mode_names.size(); ++mode)
    moves("in", mode_names[mode], "ok", came_[mode]);
  moves("out", "planned", "ok", went_);
  moves("out", "planned", "failed", stayed_);
  to.add(metric("catga_shard_unavailable_duration_seconds"), {"planned"}, unavailable_[0]);
  to.add(metric("catga_shard_unavailable_duration_seconds"), {"takeover"}, unavailable_[1]);
  for (std::size_t cause = 0; cause < loss_names.size(); ++cause)
    to.add(metric("catga_shard_ownership_lost_total"), {loss_names[cause]}, value(lost_[cause]));
  to.add(metric("catga_messages_forwarded_total"), {"not_owner"}, value(forwarded_[0]));
  to.add(metric("catga_messages_forwarded_total"), {"handoff"}, value(forwarded_[1]));
  std::int64_t waiting = 0, remembered = 0;
  for (const auto& [name, kind] : kinds_) {
    waiting += kind->waiting();
    remembered += kind->remembered_bytes();
  }
  to.add(metric("catga_messages_queued"), {"mailbox"}, waiting);
  to.add(metric("catga_idempotency_bytes"), {}, remembered);
  to.add(metric("catga_messages_queued"), {"shard_buffer"}, value(held_));
  to.add(metric("catga_messages_queued"), {"redis_out"}, now.commits_waiting);
  to.add(metric("catga_messages_queued"), {"nats_out"}, now.nats_waiting);
  to.add(metric("catga_outbox_pending"), {}, value(outbox_));
  to.add(metric("catga_dead_letters"), {"tells"}, now.dead_tells);
  to.add(metric("catga_dead_letters"), {"events"}, now.dead_events);
  std::int64_t oldest = now.cluster_ms;
  for (const auto& one : oldest_)
    if (const std::int64_t at = value(one); at != 0) oldest = std::min(oldest, at);
  to.add(metric("catga_outbox_oldest_seconds"), {},
         static_cast<double>(now.cluster_ms - oldest) / 1000);
  to.add(metric("catga_timers"), {}, value(timers_));
  to.add(metric("catga_timer_lateness_seconds"), {}, lateness_);
}

void NodeMetrics::write_cluster(Exposition& to, const Now& now) const {
  for (std::size_t reason = 0; reason < reason_names.size(); ++reason) {
    for (const bool whole : {true, false}) {
      const Histogram& times = rebalances_[reason][whole ? 0 : 1];
      const std::string_view outcome = whole ? "ok" : "superseded";
      to.add(metric("catga_rebalances_total"), {reason_names[reason], outcome}, count_of(times));
      to.add(metric("catga_rebalance_duration_seconds"), {reason_names[reason], outcome}, times);
    }
  }
  to.add(metric("catga_rebalance_moves_pending"), {}, value(moves_pending));
  to.add(metric("catga_rebalance_stuck"), {}, value(moves_stuck));
  for (std::size_t i = 0; i < node_states.size(); ++i)
    to.add(metric("catga_cluster_nodes"), {node_states[i]}, std::uint64_t{now.nodes[i]});
  to.add(metric("catga_view_version"), {}, now.view);
  const Departures::Counts departures = departures_.counts(boot_ms());
  to.add(metric("catga_node_departures_total"), {"planned"}, departures.planned);
  to.add(metric("catga_node_departures_total"), {"incomplete"}, departures.incomplete);
  to.add(metric("catga_node_departures_total"), {"evicted"}, departures.evicted);
  to.add(metric("catga_node_departures_total"), {"expired"}, departures.expired);
  to.add(metric("catga_node_suspicions_total"), {"heartbeat"}, value(suspicions_[0]));
  to.add(metric("catga_node_suspicions_total"), {"no_responders"}, value(suspicions_[1]));
  for (const bool ok : {true, false}) {
    const Histogram& times = renewals_[ok ? 0 : 1];
    to.add(metric("catga_session_renewals_total"), {ok ? "ok" : "failed"}, count_of(times));
    to.add(metric("catga_session_renewal_duration_seconds"), {ok ? "ok" : "failed"}, times);
  }
  to.add(metric("catga_node_ready"), {}, one_if(now.ready));
  to.add(metric("catga_node_draining"), {}, one_if(now.draining));
  to.add(metric("catga_redis_connected"), {}, one_if(now.redis));
  to.add(metric("catga_nats_connected"), {}, one_if(now.nats));
  to.add(metric("catga_redis_rollbacks_total"), {}, value(rollbacks));
  to.add(metric("catga_nats_reconnects_total"), {}, now.nats_reconnects);
}

void NodeMetrics::write_telemetry(Exposition& to, const Now& now) {
  const auto signal = [&to](std::string_view name, const Now::Sent& sent) {
    to.add(metric("catga_telemetry_exported_total"), {name}, sent.exported);
    to.add(metric("catga_telemetry_failed_total"), {name}, sent.failed);
    to.add(metric("catga_telemetry_dropped_total"), {name}, sent.dropped);
  };
  signal("traces", now.spans);
  signal("logs", now.log_records);
  to.add(metric("catga_telemetry_dropped_total"), {"events"}, now.events_dropped);
}

void NodeMetrics::write_sagas(Exposition& to, const Now& now) const {
  SagaFigures all = now.sagas;
  for (const std::string& type : now.saga_types) all[type];
  for (auto& [type, figures] : all) {
    to.add(metric("catga_sagas_active"), {type}, figures.active);
    const std::int64_t age =
        figures.oldest_ms == 0 ? 0 : std::max<std::int64_t>(0, now.cluster_ms - figures.oldest_ms);
    to.add(metric("catga_saga_oldest_seconds"), {type}, static_cast<double>(age) / 1000);
    to.add(metric("catga_sagas_started_total"), {type}, figures.started);
    for (const std::string_view outcome : saga_ends) figures.finished[std::string(outcome)];
    for (const auto& [outcome, count] : figures.finished)
      to.add(metric("catga_sagas_finished_total"), {type, outcome}, count);
    for (const std::string_view cause : saga_causes) figures.stuck[std::string(cause)];
    for (const auto& [cause, count] : figures.stuck)
      to.add(metric("catga_sagas_stuck"), {type, cause}, count);
    to.add(metric("catga_saga_recoveries_total"), {type}, figures.recoveries);
    for (const auto& [version, count] : figures.by_version)
      to.add(metric("catga_sagas_by_version"), {type, std::to_string(version)}, count);
  }
  for (const auto& [type, times] : sagas_) times->write(to);
}

}  // namespace catga
