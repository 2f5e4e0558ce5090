#include "catga/runtime/telemetry/resource.hpp"

#include <unistd.h>

#include <array>
#include <utility>

namespace catga {

otlp::Resource resource_of(const OtlpSettings& settings, const Config& config,
                           const std::string& process, const OtlpSettings::Lookup& variable) {
  const std::string space = variable("POD_NAMESPACE"), pod = variable("POD_NAME");
  std::string container = variable("CONTAINER_NAME");
  if (container.empty()) container = "node";
  const std::string instance = space.empty() || pod.empty()
                                   ? config.cluster.name + '.' + config.node.id
                                   : space + '.' + pod + '.' + container;
  otlp::Resource resource{
      {"service.name", settings.service_name.empty() ? "catga" : settings.service_name},
      {"service.version", std::string(CATGA_VERSION)},
      {"service.instance.id", instance},
      {"catga.cluster.name", config.cluster.name},
      {"catga.node.id", config.node.id},
      {"catga.node.incarnation", process},
      {"host.name", host_name()},
      {"process.pid", static_cast<std::int64_t>(getpid())},
      {"telemetry.sdk.name", std::string("catga")},
      {"telemetry.sdk.language", std::string("cpp")},
      {"telemetry.sdk.version", std::string(CATGA_VERSION)}};
  const std::array<std::pair<const char*, const char*>, 4> of_kubernetes{
      {{"k8s.namespace.name", "POD_NAMESPACE"},
       {"k8s.pod.name", "POD_NAME"},
       {"k8s.pod.uid", "POD_UID"},
       {"k8s.node.name", "NODE_NAME"}}};
  for (const auto& [key, name] : of_kubernetes)
    if (const std::string value = variable(name); !value.empty()) resource.emplace_back(key, value);
  if (!pod.empty()) resource.emplace_back("k8s.container.name", container);
  for (const auto& [key, value] : settings.resource) {  // the operator's word is the last
    bool known = false;
    for (auto& [name, ours] : resource) {
      if (name != key) continue;
      known = true;
      if (key != "service.name") ours = value;  // OTEL_SERVICE_NAME goes before
    }
    if (!known) resource.emplace_back(key, value);
  }
  return resource;
}

}  // namespace catga
