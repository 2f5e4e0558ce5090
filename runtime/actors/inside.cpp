#include "catga/runtime/actors/inside.hpp"

#include "catga/runtime/actors/entity_actor.hpp"
#include "catga/sharding/hash.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <numeric>

namespace catga::actors {

namespace {

constexpr std::int64_t sample_ms = 1000, stale_ms = 10'000;
constexpr double remembered_ms = 2000;  // older looks count less: numbers that jump cannot be read
constexpr double rate_least = 0.05;     // below it nothing happens there any more
constexpr std::size_t shards_searched = 16;  // the hottest; hot entities lie in them

std::uint64_t resident_bytes() {
  std::uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_PAGESIZE)));
}

admin::EntityLook look_at(const EntityId& id, std::uint32_t shard, const Doorway::Active& active,
                          std::int64_t now) {
  admin::EntityLook look;
  look.id = id;
  look.shard = shard;
  look.waiting = Doorway::waiting(active);
  look.messages = active.sent;
  const std::int64_t used = active.actor->gauge().last_used_ms.load(std::memory_order_relaxed);
  look.idle_ms = used == 0 ? 0 : std::max<std::int64_t>(0, now - used);
  look.leaving = active.leaving;
  return look;
}

}  // namespace

NodeInside::NodeInside(Host& host, std::function<Status()> drain)
    : host_(host),
      drain_(std::move(drain)),
      started_at_(boot_ms()),
      counted_(host.doors.size()),
      rates_(host.doors.size()) {}

void NodeInside::sample() {
  const std::int64_t now = boot_ms(), passed = now - sampled_at_;
  if (passed < sample_ms) return;
  const double keep = sampled_at_ == 0 || passed > stale_ms
                          ? 0
                          : std::exp(-static_cast<double>(passed) / remembered_ms);
  for (std::size_t shard = 0; shard < host_.doors.size(); ++shard) {
    const std::uint64_t messages = host_.doors[shard]->look().messages;
    const double since =
        static_cast<double>(messages - counted_[shard]) * 1000 / static_cast<double>(passed);
    rates_[shard] = sampled_at_ == 0 ? 0 : keep * rates_[shard] + (1 - keep) * since;
    counted_[shard] = messages;
  }
  sampled_at_ = now;
}

admin::NodeLook NodeInside::look() {
  admin::NodeLook look;
  look.held = host_.held.load();
  look.serving = host_.serving.load();
  look.incoming = host_.incoming.load();
  look.entities = host_.active.load();
  look.queued_bytes = host_.buffered_bytes.load();
  look.pending_asks = host_.router.pending();
  look.uptime_s = (boot_ms() - started_at_) / 1000;
  look.memory_bytes = resident_bytes();
  look.session = host_.standing.session_ok();
  const std::lock_guard guard(lock_);
  sample();
  look.messages_per_s = std::accumulate(rates_.begin(), rates_.end(), 0.0);
  return look;
}

admin::ShardLook NodeInside::look_of(std::uint32_t shard, const Doorway::Look& look) const {
  return {shard, name_of(look.state), look.epoch, look.entities, look.held, rates_[shard]};
}

std::vector<admin::ShardLook> NodeInside::shards(std::uint32_t first, std::uint32_t count) {
  const std::lock_guard guard(lock_);
  sample();
  std::vector<admin::ShardLook> shards;
  const std::size_t end = std::min<std::size_t>(host_.doors.size(), std::size_t{first} + count);
  for (std::size_t shard = first; shard < end; ++shard) {
    const Doorway::Look look = host_.doors[shard]->look();
    if (look.state == ShardState::none) continue;
    shards.push_back(look_of(static_cast<std::uint32_t>(shard), look));
  }
  return shards;
}

std::vector<admin::EntityLook> NodeInside::entities(const std::string& kind, std::size_t most) {
  std::vector<admin::EntityLook> entities;
  const std::int64_t now = boot_ms();
  for (std::uint32_t shard = 0; shard < host_.doors.size() && entities.size() < most; ++shard) {
    host_.doors[shard]->for_each_entity([&](const EntityId& id, const Doorway::Active& active) {
      if (entities.size() < most && (kind.empty() || id.kind == kind))
        entities.push_back(look_at(id, shard, active, now));
    });
  }
  return entities;
}

std::vector<std::pair<std::string, std::uint64_t>> NodeInside::entities_by_kind() {
  std::map<std::string, std::uint64_t> counts;
  for (const auto& [name, kind] : host_.kinds) counts[name] = 0;
  for (const auto& door : host_.doors)
    door->for_each_entity(
        [&counts](const EntityId& id, const Doorway::Active&) { counts[id.kind] += 1; });
  return {counts.begin(), counts.end()};
}

std::optional<admin::EntityLook> NodeInside::entity(const EntityId& id) {
  const ShardId shard = shard_of(id.kind, id.key, host_.config.cluster.shards);
  std::optional<admin::EntityLook> found;
  host_.doors[shard.value]->for_each_entity(
      [&](const EntityId& other, const Doorway::Active& active) {
        if (other == id) found = look_at(other, shard.value, active, boot_ms());
      });
  return found;
}

std::vector<admin::ShardLook> NodeInside::hot_shards(std::size_t most) {
  std::vector<admin::ShardLook> hot = shards(0, static_cast<std::uint32_t>(host_.doors.size()));
  std::erase_if(hot,
                [](const admin::ShardLook& shard) { return shard.messages_per_s < rate_least; });
  std::ranges::sort(hot, std::greater{}, &admin::ShardLook::messages_per_s);
  if (hot.size() > most) hot.resize(most);
  return hot;
}

std::vector<admin::EntityLook> NodeInside::hot_entities(std::size_t most) {
  std::vector<admin::EntityLook> entities;
  const std::int64_t now = boot_ms();
  for (const admin::ShardLook& shard : hot_shards(shards_searched)) {
    host_.doors[shard.id]->for_each_entity([&](const EntityId& id, const Doorway::Active& active) {
      admin::EntityLook look = look_at(id, shard.id, active, now);
      if (look.idle_ms < stale_ms) entities.push_back(std::move(look));
    });
  }
  std::ranges::sort(entities, std::greater{}, &admin::EntityLook::messages);
  if (entities.size() > most) entities.resize(most);
  return entities;
}

bool NodeInside::passivate(const EntityId& id) {
  return host_.doors[shard_of(id.kind, id.key, host_.config.cluster.shards).value]->passivate(id);
}

bool NodeInside::trace(const EntityId& id, std::chrono::seconds how_long) {
  if (host_.tracer == nullptr) return false;
  host_.tracer->watch(id, Tracer::now_ns() + std::chrono::nanoseconds(how_long).count());
  return true;
}

}  // namespace catga::actors
