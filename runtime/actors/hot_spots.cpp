#include "catga/runtime/actors/hot_spots.hpp"

#include "catga/runtime/telemetry/entity_keys.hpp"
#include "catga/sharding/hash.hpp"

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <utility>

namespace catga::actors {

namespace {
// Beyond it the door would be shut for too long; of so many entities one is rarely a quarter of the node.
constexpr std::uint32_t entities_searched = 20'000;

double rounded(double share) { return std::round(share * 100) / 100; }
std::string percent(double share) { return fmt::format("{:.0f} %", share * 100); }
}  // namespace

HotSpots::HotSpots(Host& host, HeatLimits limits)
    : host_(host), counted_(host.doors.size()), shards_(limits), entities_(limits) {}

void HotSpots::limit(HeatLimits limits) {
  const std::lock_guard guard(lock_);
  shards_.limit(limits);
  entities_.limit(limits);
}

void HotSpots::look(std::int64_t now) {
  const std::lock_guard guard(lock_);
  const double all_per_s = look_at_shards(now);
  look_at_entities(now, all_per_s);
  looked_at_ = now;
}

double HotSpots::look_at_shards(std::int64_t now) {
  Heat<std::uint32_t>::Counts counts;
  std::uint64_t all = 0;
  for (std::uint32_t shard = 0; shard < counted_.size(); ++shard) {
    const std::uint64_t messages = host_.doors[shard]->look().messages;
    if (messages == 0) continue;
    all += messages - counted_[shard];
    counted_[shard] = messages;
    counts.emplace_back(shard, messages);
  }
  const double all_per_s =
      looked_at_ == 0 || now <= looked_at_
          ? 0
          : static_cast<double>(all) * 1000 / static_cast<double>(now - looked_at_);
  for (const auto& shard : shards_.look(now, counts, all_per_s)) tell(shard);
  host_.metrics.hot_shards(shards_.hot().size());
  return all_per_s;
}

void HotSpots::look_at_entities(std::int64_t now, double all_per_s) {
  Heat<EntityId>::Counts counts;
  waiting_before_ = std::exchange(waiting_, {});
  for (const std::uint32_t shard : shards_.above()) {
    const Doorway& door = *host_.doors[shard];
    if (door.look().entities > entities_searched) continue;
    door.for_each_entity([&](const EntityId& id, const Doorway::Active& active) {
      if (active.sent == 0) return;
      counts.emplace_back(id, active.sent);
      if (const auto waiting = Doorway::waiting(active); waiting != 0) waiting_[id] = waiting;
    });
  }
  for (const auto& entity : entities_.look(now, counts, all_per_s)) tell(entity, now - looked_at_);
  std::map<KindMetrics*, std::uint64_t> counts_of;  // several kinds may be counted as one
  for (const auto& [kind, ignored] : host_.kinds) counts_of[&host_.metrics.of(kind)];
  for (const auto& entity : entities_.hot()) counts_of[&host_.metrics.of(entity.key.kind)] += 1;
  for (const auto& [of_kind, hot] : counts_of) of_kind->hot(hot);
}

void HotSpots::tell(const Heat<std::uint32_t>::Hot& shard) {
  host_.log.write(Severity::warn, "node", "catga.hot.shard",
                  fmt::format("shard {} takes {} of this node's messages, {:.0f} a second",
                              shard.key, percent(shard.share), shard.rate),
                  {{"catga.shard.id", static_cast<std::int64_t>(shard.key)},
                   {"share", rounded(shard.share)},
                   {"rate", std::round(shard.rate)}});
}

void HotSpots::tell(const Heat<EntityId>::Hot& entity, std::int64_t passed_ms) {
  const ShardId shard = shard_of(entity.key.kind, entity.key.key, host_.config.cluster.shards);
  const auto many = [&entity](const std::map<EntityId, std::uint64_t>& waiting) {
    const auto found = waiting.find(entity.key);
    return found == waiting.end() ? 0 : found->second;
  };
  const std::uint64_t waiting = many(waiting_);
  const std::int64_t wait = wait_ms(waiting, many(waiting_before_), entity.rate, passed_ms);
  host_.log.write(
      Severity::warn, "node", "catga.hot.entity",
      fmt::format("entity {} takes {} of this node's messages, {:.0f} a second; {} wait "
                  "for it, about {} ms. More nodes do not help: it is one",
                  entity_shown(host_.config, entity.key), percent(entity.share), entity.rate,
                  waiting, wait),
      {{"catga.entity.kind", entity.key.kind},
       {"catga.entity.key", key_shown(host_.config, entity.key)},
       {"catga.shard.id", static_cast<std::int64_t>(shard.value)},
       {"share", rounded(entity.share)},
       {"rate", std::round(entity.rate)},
       {"mailbox", static_cast<std::int64_t>(waiting)},
       {"wait_ms", wait}});
}

}  // namespace catga::actors
