#include "catga/runtime/actors/doorway.hpp"

#include "catga/runtime/actors/entity_actor.hpp"
#include "catga/runtime/actors/messages.hpp"

#include <caf/send.hpp>

namespace catga::actors {

Doorway::Doorway(const NodeStanding& standing, const std::atomic<std::uint64_t>& primary_changes,
                 std::uint32_t mailbox)
    : standing_(standing), primary_changes_now_(primary_changes), mailbox_(mailbox) {}

Doorway::~Doorway() = default;

bool Doorway::pass(Envelope& envelope) {
  const std::lock_guard guard(lock_);
  return passes(envelope);
}

void Doorway::deliver(Envelope&& envelope) {
  caf::actor to;
  {
    const std::lock_guard guard(lock_);
    if (passes(envelope)) return;
    on_way_ += 1;
    to = actor_;
  }
  caf::anon_send(to, DeliverOne{std::move(envelope)});
}

void Doorway::deliver(std::vector<Envelope> envelopes, ViewVersion seen) {
  caf::actor to;
  {
    const std::lock_guard guard(lock_);
    on_way_ += 1;
    to = actor_;
  }
  caf::anon_send(to, Deliver{std::make_shared<std::vector<Envelope>>(std::move(envelopes)), seen});
}

/// What needs a second thought goes to the actor: a query while this node may have been evicted without knowing, a
/// message to an entity that is full, leaving or not in memory, an id of a client's that has no time yet.
bool Doorway::passes(Envelope& envelope) {
  if (!open_ || on_way_ != 0 || !standing_.may_read(life_)) return false;
  if (primary_changes_now_.load(std::memory_order_acquire) != primary_changes_) return false;
  if (envelope.operation && envelope.operation_ms == 0) return false;
  Active* const active = entities_.find(envelope.entity);
  if (active == nullptr || active->leaving || is_full(*active)) return false;
  count(*active);
  active->actor->post(std::move(envelope));  // under the lock: before anything its shard says to it
  return true;
}

caf::actor Doorway::actor() const {
  const std::lock_guard guard(lock_);
  return actor_;
}

Doorway::Look Doorway::look() const {
  Look look;
  look.state = state_.load(std::memory_order_relaxed);
  look.epoch = Epoch{epoch_.load(std::memory_order_relaxed)};
  look.held = held_.load(std::memory_order_relaxed);
  const std::lock_guard guard(lock_);
  look.entities = static_cast<std::uint32_t>(entities_.size());
  look.messages = messages_;
  return look;
}

bool Doorway::passivate(const EntityId& entity) {
  const std::lock_guard guard(lock_);
  const Active* const active = entities_.find(entity);
  if (active == nullptr || active->leaving || waiting(*active) != 0) return false;
  active->actor->post(LeaveIfIdle{});
  return true;
}

void Doorway::lead_to(caf::actor actor) {
  caf::actor before;
  const std::lock_guard guard(lock_);
  before = std::exchange(actor_, std::move(actor));
  on_way_ = 0;
}

void Doorway::handled() {
  const std::lock_guard guard(lock_);
  on_way_ -= 1;
}

void Doorway::open(std::uint64_t primary_changes, std::uint64_t life) {
  const std::lock_guard guard(lock_);
  open_ = true;
  primary_changes_ = primary_changes;
  life_ = life;
}

void Doorway::close() {
  const std::lock_guard guard(lock_);
  open_ = false;
}

/// The entity's own count lies in memory that its worker writes: it is looked at once per so many messages, not for each.
bool Doorway::is_full(Active& active) const {
  if (active.sent - active.handled < mailbox_) return false;
  active.handled = active.sent - waiting(active);
  return active.sent - active.handled >= mailbox_;
}

std::uint64_t Doorway::waiting(const Active& active) {
  return active.sent - active.actor->gauge().handled.load(std::memory_order_acquire);
}

}  // namespace catga::actors
