#include "catga/runtime/actors/saga_supervisor.hpp"

#include "catga/entities/codec.hpp"
#include "catga/entities/operation.hpp"

#include <caf/send.hpp>

#include <algorithm>

namespace catga::actors {

namespace {

constexpr std::int64_t minute = 60'000;
constexpr std::size_t deaths_most = 5;  // in a minute: then it parks
constexpr std::int64_t restart_first = 100, restart_most = 30'000;
constexpr std::chrono::milliseconds read_again{500};
constexpr std::int64_t let_leave_every = 1000;
constexpr std::size_t page_size = 500;

/// 100 ms, doubling to 30 s, 20 % more or less.
std::chrono::milliseconds restart_delay(std::uint32_t restarts) {
  const std::int64_t delay =
      std::min(restart_first << std::min<std::uint32_t>(restarts, 10), restart_most);
  const std::int64_t spread = delay * 2 / 5;
  return std::chrono::milliseconds(
      delay - spread / 2 +
      static_cast<std::int64_t>(new_operation_id().low % static_cast<std::uint64_t>(spread + 1)));
}

std::uint32_t version_in(const SagaFields& fields) {
  const Result<std::uint64_t> number = parse_number(find_field(fields, "dv"));
  return number ? static_cast<std::uint32_t>(*number) : 0;
}

std::int64_t created_in(const SagaFields& fields) {
  const Result<std::uint64_t> number = parse_number(find_field(fields, "c"));
  return number ? static_cast<std::int64_t>(*number) : 0;
}

std::optional<SagaStatus> status_named(std::string_view name) {
  for (const SagaStatus status :
       {SagaStatus::running, SagaStatus::compensating, SagaStatus::parked, SagaStatus::completed,
        SagaStatus::compensated, SagaStatus::aborted}) {
    if (name_of(status) == name) return status;
  }
  return std::nullopt;
}

/// Parked ones that another node, or time alone, may set going.
bool may_go_on(std::string_view cause) {
  return cause == name_of(ParkCause::forward_stuck) ||
         cause == name_of(ParkCause::definition_drift) ||
         cause == name_of(ParkCause::no_definition);
}

}  // namespace

SagaSupervisor::SagaSupervisor(caf::actor_config& config, Host& host, SagaSupervisorStart start)
    : caf::event_based_actor(config),
      host_(host),
      shard_(start.shard),
      token_(start.token),
      shard_actor_(std::move(start.shard_actor)),
      gate_(std::move(start.gate)),
      life_(start.life),
      after_crash_(start.after_crash),
      began_ms_(host.standing.cluster_now()),
      all_read_(start.none) {
  set_down_handler([this](caf::down_msg& down) { died(down); });
  set_exception_handler([this](std::exception_ptr& thrown) -> caf::error {
    host_.log.write(Severity::error, "saga", "",
                    "the saga supervisor of shard " + std::to_string(shard_.value) +
                        " threw: " + words_of(thrown),
                    {{"catga.shard.id", static_cast<std::int64_t>(shard_.value)}});
    return caf::exit_reason::unhandled_exception;
  });
}

void SagaSupervisor::on_exit() {
  for (auto& [saga, active] : active_) {
    if (active.actor) caf::anon_send_exit(active.actor, caf::exit_reason::kill);
  }
  active_.clear();
  for (const auto& [saga, standing] : std::exchange(register_, {})) {
    register_.emplace(saga, standing);
    enter(saga, std::nullopt);
  }
  shard_actor_ = {};
}

caf::behavior SagaSupervisor::make_behavior() {
  if (!all_read_) send(this, SagaReadAgain{});
  return {
      [this](const SagaArrived& message) { arrived(std::move(*message.envelope)); },
      [this](const SagaTimerDue& message) { timer_due(message.timer); },
      [this](const SagasServe& message) { tell_all(message); },
      [this](const SagasRetoken& message) {
        token_ = message.token;
        tell_all(message);
      },
      [this](const SagasDrain&) { drain(); },
      [this](const SagasDrop& message) {
        tell_all(message);
        active_.clear();
        quit();
      },
      [this](const SagaPageRead& message) { page_read(message); },
      [this](const SagasListed& message) { listed(*message.asked, *message.page); },
      [this](const SagaSlotFree&) { recover_more(); },
      [this](const SagaReadAgain&) {
        waits_for_room_ = false;
        recover_more();
      },
      [this](const SagaStands& message) { stands(message); },
      [this](const SagaMayLeave& message) { may_leave(message); },
      [this](SagaEmptied& message) { emptied(message); },
      [this](const SagaRestart& message) { restart(message); },
  };
}

template <class Message>
void SagaSupervisor::tell_all(Message message) {
  for (auto& [saga, active] : active_) {
    if (active.actor) send(active.actor, message);
  }
}

// ---- what comes --------------------------------------------------------------------------------------------------

void SagaSupervisor::arrived(Envelope envelope) {
  if (draining_) return rest_.push_back(std::move(envelope));
  if (envelope.message == saga_call::list) return list(std::move(envelope));
  const EntityId saga = envelope.entity;
  if (envelope.message == saga_call::start && !active_.contains(saga) && host_.too_many_sagas()) {
    let_idle_leave();
    return host_.router.answer(
        envelope,
        Error{Code::overloaded,
              "the node that would run saga " + text_of(saga) + " has " +
                  std::to_string(host_.config.saga.max_active) +
                  " sagas in memory (saga.max_active): start it again shortly",
              std::chrono::seconds(1)},
        token_.epoch);
  }
  Active& active = activate(saga, {}, nullptr);
  const std::uint64_t waiting = active.sent - active.gauge->handled.load(std::memory_order_acquire);
  if (waiting + active.backlog.size() >= host_.config.entity.mailbox) {
    return host_.router.answer(
        envelope,
        Error{Code::overloaded, "saga " + text_of(saga) + " has too many messages waiting",
              std::chrono::milliseconds(50)},
        token_.epoch);
  }
  if (!active.actor || active.leaving) {
    active.backlog.push_back(std::move(envelope));
    return;
  }
  active.sent += 1;
  send(active.actor, SagaArrived{std::make_shared<Envelope>(std::move(envelope))});
}

void SagaSupervisor::timer_due(const SagaTimer& timer) {
  if (draining_) return;  // the next owner reads it from the store
  Active& active = activate(timer.saga, {}, nullptr);
  if (!active.actor || active.leaving) return;  // it looks at the time when it starts
  active.sent += 1;
  send(active.actor, SagaTimerDue{timer});
}

void SagaSupervisor::list(Envelope asked) {
  const Result<ListSagas> wanted = decode<ListSagas>(asked.payload);
  if (!wanted) return host_.router.answer(asked, wanted.error(), token_.epoch);
  SagaQuery query;
  query.shard = shard_;
  query.token = token_;
  query.place = wanted->place == "ended"    ? SagaPlace::ended
                : wanted->place == "parked" ? SagaPlace::parked
                                            : SagaPlace::active;
  query.type = wanted->type;
  query.after = wanted->after;
  query.limit = std::min<std::size_t>(wanted->limit, page_size);
  query.fields = {"st", "why", "dv", "c"};
  auto envelope = std::make_shared<Envelope>(std::move(asked));
  host_.stores.sagas().list(query, [self = self_handle(), envelope](Result<SagaPage> page) {
    caf::anon_send(self,
                   SagasListed{envelope, std::make_shared<Result<SagaPage>>(std::move(page))});
  });
}

void SagaSupervisor::listed(const Envelope& asked, const Result<SagaPage>& page) {
  if (!page || page->fenced) {
    const Error error = page ? Error{Code::unavailable, "the shard was lost"} : page.error();
    return host_.router.answer(asked, error, token_.epoch);
  }
  SagaList found;
  found.next = page->next;
  for (const SagaRow& row : page->rows) {
    SagaListed& listed = found.sagas.emplace_back();
    listed.type = row.saga.kind;
    listed.id = row.saga.key;
    listed.status = find_field(row.fields, "st");
    listed.cause = listed.status == name_of(SagaStatus::parked)
                       ? std::string(find_field(row.fields, "why"))
                       : std::string();
    listed.version = version_in(row.fields);
    listed.created_ms = created_in(row.fields);
    listed.at_ms = row.at_ms;
  }
  host_.router.answer(asked, encode(found), token_.epoch);
}

/// They look whether they may stay: at most once a second.
void SagaSupervisor::let_idle_leave() {
  const std::int64_t now = boot_ms();
  if (now - looked_for_idle_ms_ < let_leave_every) return;
  looked_for_idle_ms_ = now;
  tell_all(SagasServe{});
}

// ---- actors ------------------------------------------------------------------------------------------------------

SagaSupervisor::Active& SagaSupervisor::activate(const EntityId& saga, SagaMachine::Origin origin,
                                                 std::shared_ptr<void> slot) {
  const auto [at, is_new] = active_.try_emplace(saga);
  if (is_new) spawn_actor(saga, at->second, origin, std::move(slot));
  return at->second;
}

void SagaSupervisor::spawn_actor(const EntityId& saga, Active& active, SagaMachine::Origin origin,
                                 std::shared_ptr<void> slot) {
  active.serial = next_serial_++;
  active.sent = 0;
  active.leaving = false;
  active.gauge = std::make_shared<Gauge>();
  SagaStart start;
  start.seat = SagaSeat{shard_, token_, saga};
  start.serial = active.serial;
  start.supervisor = self_handle();
  start.shard = shard_actor_;
  start.gate = gate_;
  start.gauge = active.gauge;
  start.origin = origin;
  start.slot = std::move(slot);
  active.actor = spawn<SagaActor, caf::monitored>(std::ref(host_), std::move(start));
  names_.emplace(active.actor.address(), saga);
}

/// Null if another actor of it, or none, is in memory.
SagaSupervisor::Active* SagaSupervisor::find(const EntityId& saga, std::uint64_t serial) {
  const auto at = active_.find(saga);
  return at != active_.end() && at->second.serial == serial ? &at->second : nullptr;
}

/// Its own code threw: user code is guarded. It starts again from its journal, with patience.
void SagaSupervisor::died(const caf::down_msg& down) {
  const auto name = names_.find(down.source);
  if (name == names_.end()) return;
  const EntityId saga = name->second;
  names_.erase(name);
  const auto at = active_.find(saga);
  if (at == active_.end() || at->second.actor.address() != down.source) return;
  Active& active = at->second;
  if (draining_ || down.reason == caf::exit_reason::kill) {
    active_.erase(at);
    return drained_if_empty();
  }
  const std::int64_t now = boot_ms();
  active.actor = {};
  active.deaths.push_back(now);
  while (active.deaths.front() <= now - minute) active.deaths.pop_front();
  const std::chrono::milliseconds delay = restart_delay(active.restarts++);
  host_.saga_counters.change(saga.kind, [](SagaTypeFigures& figures) { figures.restarts += 1; });
  host_.log.write(Severity::error, "saga", "",
                  "the actor of saga " + text_of(saga) + " ended: it starts again in " +
                      std::to_string(delay.count()) + " ms",
                  {{"catga.shard.id", static_cast<std::int64_t>(shard_.value)},
                   {"error", caf::to_string(down.reason)}});
  delayed_send(this, delay, SagaRestart{saga, active.serial});
}

void SagaSupervisor::restart(const SagaRestart& message) {
  Active* const active = find(message.saga, message.serial);
  if (active == nullptr || active->actor || draining_) return;
  spawn_actor(message.saga, *active, {true, active->deaths.size() >= deaths_most}, nullptr);
  send(active->actor, SagaRecover{});
  for (Envelope& envelope : std::exchange(active->backlog, {})) {
    active->sent += 1;
    send(active->actor, SagaArrived{std::make_shared<Envelope>(std::move(envelope))});
  }
}

void SagaSupervisor::may_leave(const SagaMayLeave& message) {
  Active* const active = find(message.saga, message.serial);
  if (active == nullptr || active->sent != message.seen || active->leaving) return;
  names_.erase(active->actor.address());
  send(active->actor, SagaLeave{});  // idle, and nothing on its way
  active_.erase(message.saga);
}

void SagaSupervisor::emptied(SagaEmptied& message) {
  Active* const active = find(message.saga, message.serial);
  for (Envelope& envelope : *message.rest) rest_.push_back(std::move(envelope));
  if (active == nullptr) return;
  for (Envelope& envelope : active->backlog) rest_.push_back(std::move(envelope));
  names_.erase(active->actor.address());
  active_.erase(message.saga);
  drained_if_empty();
}

void SagaSupervisor::drain() {
  draining_ = true;
  to_recover_.clear();
  for (auto at = active_.begin(); at != active_.end();) {
    Active& active = at->second;
    if (!active.actor) {  // dead: the next owner reads its journal
      for (Envelope& envelope : active.backlog) rest_.push_back(std::move(envelope));
      at = active_.erase(at);
      continue;
    }
    active.leaving = true;
    send(active.actor, SagasDrain{});
    ++at;
  }
  drained_if_empty();
}

void SagaSupervisor::drained_if_empty() {
  if (!draining_ || !active_.empty() || !shard_actor_) return;
  send(shard_actor_,
       SagasDrained{life_, std::make_shared<std::vector<Envelope>>(std::exchange(rest_, {}))});
  quit();
}

// ---- the register ------------------------------------------------------------------------------------------------

void SagaSupervisor::stands(const SagaStands& message) {
  Active* const active = find(message.saga, message.serial);
  if (active != nullptr) active->restarts = 0;
  enter(message.saga, message.standing);
}

/// None, or ended: not in it any more.
void SagaSupervisor::enter(const EntityId& saga, const std::optional<SagaStanding>& standing) {
  const auto count = [&](const SagaStanding& one, std::int64_t by) {
    host_.saga_counters.change(saga.kind, [&](SagaTypeFigures& figures) {
      figures.by_version[one.version] += by;
      if (one.status == SagaStatus::parked) figures.stuck[one.cause] += by;
    });
    if (one.status != SagaStatus::parked) host_.saga_counters.active(saga.kind, one.created_ms, by);
  };
  if (const auto known = register_.find(saga); known != register_.end()) {
    count(known->second, -1);
    register_.erase(known);
  }
  if (!standing || has_ended(standing->status)) return;
  register_.emplace(saga, *standing);
  count(*standing, 1);
}

// ---- recovery ----------------------------------------------------------------------------------------------------

void SagaSupervisor::read_page() {
  reading_ = true;
  SagaQuery query;
  query.shard = shard_;
  query.token = token_;
  query.after = page_after_;
  query.limit = page_size;
  query.fields = {"st", "why", "dv", "c"};
  host_.stores.sagas().list(query, [self = self_handle(), token = token_](Result<SagaPage> page) {
    caf::anon_send(self, SagaPageRead{token, std::make_shared<Result<SagaPage>>(std::move(page))});
  });
}

void SagaSupervisor::page_read(const SagaPageRead& message) {
  reading_ = false;
  if (draining_) return;
  const Result<SagaPage>& page = *message.page;
  if (!page || (page->fenced && message.token != token_)) {
    delayed_send(this, read_again, SagaReadAgain{});
    return;
  }
  if (page->fenced) {
    send(shard_actor_, Happened{std::make_shared<ShardEvent>(WasFenced{message.token})});
    delayed_send(this, read_again, SagaReadAgain{});
    return;
  }
  page_after_ = page->next;
  all_read_ = page->next.empty();
  for (const SagaRow& row : page->rows) {
    if (row.at_ms > began_ms_ && active_.contains(row.saga)) continue;
    found(row);
  }
  // What changed since we began is in our hands already; else a busy shard would never be read to its end.
  if (!page->rows.empty() && page->rows.back().at_ms > began_ms_ + minute) all_read_ = true;
  recover_more();
}

void SagaSupervisor::found(const SagaRow& row) {
  if (row.fields.empty()) {
    SagaTidy tidy;
    tidy.what = SagaTidy::What::active;
    tidy.shard = shard_;
    tidy.token = token_;
    tidy.member = text_of(row.saga);
    host_.stores.sagas().tidy(tidy, [](const Result<bool>&) {});
    return;
  }
  const std::optional<SagaStatus> status = status_named(find_field(row.fields, "st"));
  if (status && has_ended(*status)) return;
  SagaStanding standing;
  standing.status = status.value_or(SagaStatus::running);
  standing.cause = standing.status == SagaStatus::parked
                       ? std::string(find_field(row.fields, "why"))
                       : std::string();
  standing.version = version_in(row.fields);
  standing.created_ms = created_in(row.fields);
  if (!register_.contains(row.saga)) enter(row.saga, standing);
  if (standing.status == SagaStatus::parked && !may_go_on(standing.cause)) return;
  to_recover_.push_back(row.saga);
}

void SagaSupervisor::recover_more() {
  if (draining_) return;
  while (!to_recover_.empty()) {
    const EntityId saga = to_recover_.front();
    if (active_.contains(saga)) {
      to_recover_.pop_front();
      continue;
    }
    if (host_.too_many_sagas()) {
      let_idle_leave();
      if (!std::exchange(waits_for_room_, true)) delayed_send(this, read_again, SagaReadAgain{});
      return;
    }
    std::shared_ptr<void> slot = host_.saga_slots.take(self_handle());
    if (!slot) return;
    to_recover_.pop_front();
    if (after_crash_) {
      host_.saga_counters.change(saga.kind,
                                 [](SagaTypeFigures& figures) { figures.recoveries += 1; });
    }
    Active& active = activate(saga, {after_crash_, false}, std::move(slot));
    send(active.actor, SagaRecover{});
  }
  if (!reading_ && !all_read_) read_page();
}

}  // namespace catga::actors
