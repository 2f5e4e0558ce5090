#include "catga/runtime/actors/reception.hpp"

#include "catga/runtime/actors/messages.hpp"
#include "catga/sharding/hash.hpp"

#include <caf/send.hpp>

#include <map>
#include <memory>
#include <variant>

namespace catga::actors {

void Reception::messages(ViewVersion seen, std::vector<Envelope> envelopes) {
  std::map<std::uint32_t, std::vector<Envelope>> for_actors;  // one CAF message each
  const std::int64_t now = boot_ns();
  for (Envelope& envelope : envelopes) {
    envelope.arrived_ns = now;
    if (!host_.admits(envelope)) continue;
    const ShardId shard =
        shard_of(envelope.entity.kind, envelope.entity.key, host_.config.cluster.shards);
    // Behind one that could not pass none does, or it would be overtaken.
    const bool first = for_actors.empty() || !for_actors.contains(shard.value);
    if (first && host_.doors[shard.value]->pass(envelope)) continue;
    for_actors[shard.value].push_back(std::move(envelope));
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
