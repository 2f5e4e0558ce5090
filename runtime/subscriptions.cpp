#include "catga/runtime/subscriptions.hpp"

#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <future>
#include <set>

namespace catga {

namespace {
constexpr std::int64_t reopen_after_ms = 3000;
constexpr std::size_t name_max = 100;

bool good_name(std::string_view name) {
  return !name.empty() && name.size() <= name_max && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}
}  // namespace

StreamOptions stream_options(const Config& config) {
  StreamOptions options;
  options.name =
      config.events.stream.empty() ? "catga-" + config.cluster.name : config.events.stream;
  options.subjects = "catga." + config.cluster.name + ".ev.>";
  options.description = "events of the Catga cluster " + config.cluster.name + ", in " +
                        std::to_string(event_parts) + " parts";
  options.max_age = config.events.max_age;
  options.max_bytes = config.events.max_bytes;
  options.replicas = config.events.replicas;
  options.in_memory = config.events.storage == "memory";
  return options;
}

Status check_subscriptions(const std::vector<Subscription>& subscriptions) {
  std::set<std::string_view> names;
  for (const Subscription& one : subscriptions) {
    if (!good_name(one.name))
      return Error{Code::malformed,
                   "the name of a subscription must be 1 to 100 of A-Z, a-z, 0-9, '_' and '-': \"" +
                       one.name + '"'};
    if (!names.insert(one.name).second)
      return Error{Code::malformed, "two subscriptions are named " + one.name};
  }
  return Done{};
}

Subscriptions::Subscriptions(Surroundings around, std::vector<Subscription> subscriptions)
    : subscriptions_(std::move(subscriptions)),
      world_{around.config,
             around.nats,
             around.stores,
             around.messenger,
             around.standing,
             around.log,
             std::move(around.stream),
             std::move(around.prefix),
             std::move(around.process),
             around.tracer,
             around.counts,
             WorkerThreads(
                 1, subscriptions_.empty() ? std::function<void()>() : [this] { tick(); }),
             WorkerThreads(subscriptions_.empty() ? 0 : 2),
             WorkerThreads(subscriptions_.empty() ? 0 : around.config.events.handlers)} {
  const std::uint32_t shards = around.config.cluster.shards;
  for (std::size_t i = 0; i < subscriptions_.size(); ++i) {
    if (subscriptions_[i].options.spread != Spread::ordered) continue;
    for (std::uint32_t part = 0; part < event_parts; ++part) {
      const EntityId entity = event_part_entity(subscriptions_[i].name, part);
      homes_.emplace(shard_of(entity.kind, entity.key, shards), Place{i, part});
    }
  }
}

Subscriptions::~Subscriptions() { close(); }

void Subscriptions::start() {
  world_.loop.post([this] {
    for (const Subscription& one : subscriptions_) {
      if (one.options.spread == Spread::ordered) continue;
      free_.push_back(std::make_shared<FreeReader>(world_, one));
      free_.back()->begin();
    }
  });
}

void Subscriptions::reconnected() {
  world_.loop.post([this] {
    for (auto& [place, part] : parts_) part.reader->reconnected();
    for (const auto& reader : free_) reader->reconnected();
  });
}

void Subscriptions::serves(ShardId shard, OwnerToken token) {
  const auto [from, to] = homes_.equal_range(shard);
  for (auto home = from; home != to; ++home)
    world_.loop.post([this, place = home->second, shard, token] { open(place, shard, token); });
}

void Subscriptions::open(Place place, ShardId shard, OwnerToken token) {
  if (closed_) return;
  Part& part = parts_[place];
  part.token = token;
  if (part.reader && !part.reader->over()) return part.reader->retoken(token);
  part.over_since = 0;
  part.reader = std::make_shared<OrderedPart>(world_, subscriptions_[place.first], place.second,
                                              shard, token);
  part.reader->begin();
}

void Subscriptions::leaves(ShardId shard) {
  const auto [from, to] = homes_.equal_range(shard);
  for (auto home = from; home != to; ++home) {
    world_.loop.post([this, place = home->second] {
      const auto part = parts_.find(place);
      if (part == parts_.end()) return;
      part->second.reader->leave();
      parts_.erase(part);
    });
  }
}

void Subscriptions::tick() {
  const std::int64_t now = boot_ms();
  for (auto& [place, part] : parts_) {
    part.reader->tick(now);
    if (!part.reader->over()) continue;
    // It stopped by itself, and nobody said that the shard is not ours: it looks again.
    if (part.over_since == 0) part.over_since = now;
    if (now - part.over_since < reopen_after_ms) continue;
    open(place, part.reader->shard(), part.token);
  }
  for (const auto& reader : free_) reader->tick(now);
}

void Subscriptions::close() {
  if (std::exchange(closing_, true)) return;
  std::promise<void> left;
  world_.loop.post([this, &left] {
    closed_ = true;
    for (auto& [place, part] : parts_) part.reader->leave();
    for (const auto& reader : free_) reader->leave();
    parts_.clear();
    free_.clear();
    left.set_value();
  });
  left.get_future().wait();
  world_.handlers.close();
  world_.chores.close();
  world_.loop.close();
}

}  // namespace catga
