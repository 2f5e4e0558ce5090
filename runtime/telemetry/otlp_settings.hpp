// What OpenTelemetry's own variables say: whether, where and how telemetry is sent.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga {

struct SamplerSettings {
  double ratio = 1;  ///< of new traces
  bool parent_based = true;
  // settings trace.*
  std::uint32_t roots_per_second = 100;   ///< of new sampled traces; 0: no limit
  std::uint32_t spans_per_second = 1000;  ///< below sampled ones, a quarter per trace; 0: no limit
  bool link_only = false;                 ///< who takes a tell or an event begins a trace, linked
};

struct OtlpSignal {
  bool on = false;
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::chrono::milliseconds timeout{10'000};
  bool gzip = false;
  std::string certificate, client_key, client_certificate;  ///< files
  std::size_t queue = 2048, batch = 512;
  std::chrono::milliseconds every{5000};
};

struct OtlpSettings {
  OtlpSignal traces, logs;
  SamplerSettings sampler;
  std::vector<std::pair<std::string, std::string>> resource;  ///< of the variables; ours are added
  std::string service_name;                                   ///< empty: not said
  std::vector<std::string> warnings;  ///< sentences about what cannot be honoured

  using Lookup = std::function<std::string(const std::string& name)>;
  /// `variable` gives the value of an environment variable, empty if it is unset. Off unless an endpoint is set or an
  /// exporter names otlp: without that every program would talk to localhost.
  static OtlpSettings from(const Lookup& variable);
  /// Every variable that from() may ask for and honour, sorted.
  static std::vector<std::string> names();
  /// The value of an environment variable, empty if it is unset.
  static std::string environment(const std::string& name);
  /// The process's environment.
  static OtlpSettings from_environment();
};

}  // namespace catga
