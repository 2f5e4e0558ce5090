// Who speaks: the resource attributes of everything a process exports.
#pragma once
#include "catga/runtime/config.hpp"
#include "catga/runtime/telemetry/otlp_json.hpp"
#include "catga/runtime/telemetry/otlp_settings.hpp"

#include <string>

namespace catga {

/// `variable` reads the environment: the chart says pod, namespace, node and container there.
otlp::Resource resource_of(const OtlpSettings& settings, const Config& config,
                           const std::string& process, const OtlpSettings::Lookup& variable);

}  // namespace catga
