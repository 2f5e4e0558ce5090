#include "catga/runtime/actors/reception.hpp"

#include "catga/runtime/actors/messages.hpp"
#include "catga/sharding/hash.hpp"

#include <caf/send.hpp>

#include <map>
#include <memory>
#include <variant>

namespace catga::actors {

namespace {

/// On its way into the cache, to be changed there.
void fetch(const Doorway& door) {
  constexpr std::size_t line_bytes = 64;
  const auto* const begin = reinterpret_cast<const char*>(&door);
  for (std::size_t at = 0; at < sizeof door; at += line_bytes) __builtin_prefetch(begin + at, 1);
}

}  // namespace

void Reception::messages(ViewVersion seen, std::vector<Envelope> envelopes) {
  constexpr std::size_t ahead = 4;  // doors fetched before their turn: they lie far apart
  std::map<std::uint32_t, std::vector<Envelope>> for_actors;  // one CAF message each
  std::vector<std::uint32_t> shards;
  shards.reserve(envelopes.size());
  for (const Envelope& envelope : envelopes) {
    const EntityId& entity = envelope.entity;
    shards.push_back(shard_of(entity.kind, entity.key, host_.config.cluster.shards).value);
  }
  const std::int64_t now = boot_ns();
  for (std::size_t i = 0; i < envelopes.size(); ++i) {
    if (i + ahead < envelopes.size()) fetch(*host_.doors[shards[i + ahead]]);
    Envelope& envelope = envelopes[i];
    envelope.arrived_ns = now;
    if (!host_.admits(envelope)) continue;
    // Behind one that could not pass none does, or it would be overtaken.
    const bool first = for_actors.empty() || !for_actors.contains(shards[i]);
    if (first && host_.doors[shards[i]]->pass(envelope)) continue;
    for_actors[shards[i]].push_back(std::move(envelope));
  }
  for (auto& [shard, list] : for_actors) host_.doors[shard]->deliver(std::move(list), seen);
}

void Reception::record(Incarnation sender, const wire::Record& record) {
  std::visit([this, sender](const auto& what) { take(sender, what); }, record);
}

void Host::has_arrived(ShardId shard_id) {
  std::vector<Intake::Offer> next;
  {
    const std::lock_guard guard(intake_lock);
    next = intake.over(shard_id, boot_ms());
  }
  for (const Intake::Offer& offer : next) {
    caf::anon_send(shard(offer.shard),
                   Happened{std::make_shared<ShardEvent>(Offered{offer.from, offer.move})});
  }
}

void Reception::happen(ShardId shard, ShardEvent event) {
  const caf::actor actor = host_.shard(shard);
  if (actor) caf::anon_send(actor, Happened{std::make_shared<ShardEvent>(std::move(event))});
}

void Reception::take(Incarnation, const wire::Owns& owns) {
  happen(owns.shard, RouteHeard{owns.owner, owns.epoch});
}
void Reception::take(Incarnation, const wire::Want& want) { happen(want.shard, WantReceived{}); }
void Reception::take(Incarnation sender, const wire::Offer& offer) {
  if (offer.shard.value >= host_.config.cluster.shards) return;
  if (host_.may_arrive({offer.shard, sender, offer.move, boot_ms()}))
    happen(offer.shard, Offered{sender, offer.move});
}
void Reception::take(Incarnation sender, const wire::Ready& ready) {
  happen(ready.shard, Readied{sender, ready.move});
}
void Reception::take(Incarnation sender, const wire::Refuse& refuse) {
  happen(refuse.shard, Refused{sender, refuse.move});
}
void Reception::take(Incarnation sender, const wire::Abort& abort) {
  {
    const std::lock_guard guard(host_.intake_lock);
    host_.intake.withdrawn(abort.shard);
  }
  happen(abort.shard, Aborted{sender, abort.move});
}

void Reception::take(Incarnation sender, const wire::Handover& handover) {
  const caf::actor actor = host_.shard(handover.shard);
  if (!actor) return;
  auto envelopes = std::make_shared<std::vector<Envelope>>();
  for (const std::string_view body : handover.envelopes) {
    Result<Envelope> envelope = wire::decode(body, boot_ms());
    if (envelope.ok()) {
      envelopes->push_back(std::move(*envelope));
    } else {
      host_.log.write(Severity::error, "handoff", "",
                      "a message handed over cannot be read: " + envelope.error().text);
    }
  }
  caf::anon_send(actor, HandoverArrived{std::move(envelopes), sender, handover.epoch,
                                        handover.chunk, handover.last, handover.quiet});
}

void Reception::take(Incarnation, const wire::HandoverAck& ack) {
  const caf::actor actor = host_.shard(ack.shard);
  if (actor) caf::anon_send(actor, HandoverHeard{ack.epoch, ack.chunk});
}

}  // namespace catga::actors
