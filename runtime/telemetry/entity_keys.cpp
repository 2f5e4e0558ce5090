#include "catga/runtime/telemetry/entity_keys.hpp"

#include "catga/sharding/hash.hpp"

#include <fmt/format.h>

namespace catga {

namespace {
constexpr std::uint64_t placement_domain = 1;  // as shard_of() hashes it
}

std::string key_shown(const Config& config, const EntityId& entity) {
  const std::string& how = config.telemetry.entity_keys;
  if (how == "plain") return entity.key;
  if (how == "off") return {};
  return fmt::format("{:016x}", hash64(placement_domain, text_of(entity)));
}

std::string entity_shown(const Config& config, const EntityId& entity) {
  const std::string& how = config.telemetry.entity_keys;
  if (how == "plain") return text_of(entity);
  if (how == "off") return entity.kind;
  return entity.kind + "/#" + key_shown(config, entity);
}

std::string text_shown(const Config& config, const EntityId& entity, std::string text) {
  const std::string plain = text_of(entity), shown = entity_shown(config, entity);
  if (plain == shown) return text;
  for (std::size_t at = 0; (at = text.find(plain, at)) != text.npos; at += shown.size())
    text.replace(at, plain.size(), shown);
  return text;
}

}  // namespace catga
