// How keys of entities are shown in events, the log and traces: they may be personal data (setting telemetry.entity_keys).
#pragma once
#include "catga/runtime/config.hpp"
#include "catga/sharding/ids.hpp"

#include <string>

namespace catga {

/// For the field catga.entity.key: 16 hex digits of the hash that places the entity, the key itself, or nothing.
std::string key_shown(const Config& config, const EntityId& entity);
/// For sentences: "account/#4bf92f3577b34da6", "account/alice" or "account".
std::string entity_shown(const Config& config, const EntityId& entity);
/// A text that may name the entity in plain, as errors for its callers do: fit for the log.
std::string text_shown(const Config& config, const EntityId& entity, std::string text);

}  // namespace catga
