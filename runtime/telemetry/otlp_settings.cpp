#include "catga/runtime/telemetry/otlp_settings.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace catga {

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* const hex = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(hex, hex + 2, value, 16).ptr == hex + 2) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// `k=v,k2=v2`, values percent-decoded; parts without `=` are left out.
Pairs pairs_of(std::string_view text) {
  Pairs pairs;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    const auto equals = part.find('=');
    if (equals == part.npos || trimmed(part.substr(0, equals)).empty()) continue;
    pairs.emplace_back(trimmed(part.substr(0, equals)),
                       percent_decoded(trimmed(part.substr(equals + 1))));
  }
  return pairs;
}

bool is_true(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text == "true";
}

/// A base gets one slash and the signal's path.
std::string below(std::string base, const std::string& path) {
  while (!base.empty() && base.back() == '/') base.pop_back();
  return base + '/' + path;
}

/// Without a path a signal's own endpoint means the root.
std::string as_it_is(std::string url) {
  const auto scheme = url.find("://");
  const auto path = url.find('/', scheme == url.npos ? 0 : scheme + 3);
  return path == url.npos ? url + '/' : url;
}

class Reader {
 public:
  Reader(const OtlpSettings::Lookup& variable, OtlpSettings& out)
      : variable_(variable), out_(out) {}

  void read() {
    if (is_true(get("OTEL_SDK_DISABLED"))) return;
    const bool endpoint = !get("OTEL_EXPORTER_OTLP_ENDPOINT").empty() ||
                          !get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").empty() ||
                          !get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT").empty();
    const bool named = get("OTEL_TRACES_EXPORTER") == "otlp" || get("OTEL_LOGS_EXPORTER") == "otlp";
    signal(out_.traces, "TRACES", "v1/traces", endpoint || named);
    signal(out_.logs, "LOGS", "v1/logs", endpoint || named);
    batching(out_.traces, "OTEL_BSP_");
    out_.logs.every = std::chrono::milliseconds(1000);
    batching(out_.logs, "OTEL_BLRP_");
    sampler();
    out_.resource = pairs_of(get("OTEL_RESOURCE_ATTRIBUTES"));
    out_.service_name = get("OTEL_SERVICE_NAME");
    for (const auto& [key, value] : out_.resource)
      if (key == "service.name" && out_.service_name.empty()) out_.service_name = value;
    if (get("OTEL_METRICS_EXPORTER") == "otlp" ||
        !get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").empty())
      warn("metrics are not sent over OTLP: scrape /metrics at health.listen");
    if (!get("OTEL_CONFIG_FILE").empty()) warn("OTEL_CONFIG_FILE is not supported and not read");
  }

 private:
  std::string get(const std::string& name) const { return variable_(name); }
  void warn(std::string text) { out_.warnings.push_back(std::move(text)); }

  /// The signal's own variable, else that of all.
  std::string either(const std::string& signal, const std::string& what) const {
    const std::string own = get("OTEL_EXPORTER_OTLP_" + signal + '_' + what);
    return own.empty() ? get("OTEL_EXPORTER_OTLP_" + what) : own;
  }

  template <class Number>
  void number(const std::string& name, const std::string& text, Number& into) {
    if (text.empty()) return;
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value <= Number{})
      return warn(name + "=" + text + " is not a number above 0 and is ignored");
    into = value;
  }

  void signal(OtlpSignal& signal, const std::string& name, const std::string& path,
              bool by_default) {
    const std::string exporter = get("OTEL_" + name + "_EXPORTER");
    signal.on = exporter.empty() ? by_default : exporter == "otlp";
    if (!exporter.empty() && exporter != "otlp" && exporter != "none")
      warn("OTEL_" + name + "_EXPORTER=" + exporter + " is not known here: nothing is exported");
    if (!signal.on) return;
    const std::string own = get("OTEL_EXPORTER_OTLP_" + name + "_ENDPOINT");
    const std::string base = get("OTEL_EXPORTER_OTLP_ENDPOINT");
    signal.url =
        !own.empty() ? as_it_is(own) : below(base.empty() ? "http://localhost:4318" : base, path);
    const std::string protocol = either(name, "PROTOCOL");
    const bool grpc_port = signal.url.find(":4317") != signal.url.npos;
    if (grpc_port) warn("port 4317 in " + signal.url + " is for gRPC: use 4318");
    if (!protocol.empty() && protocol != "http/json")
      warn("OTLP protocol " + protocol + " is not spoken here: http/json is used");
    signal.headers = pairs_of(either(name, "HEADERS"));
    std::int64_t timeout = signal.timeout.count();
    number("OTEL_EXPORTER_OTLP_TIMEOUT", either(name, "TIMEOUT"), timeout);
    signal.timeout = std::chrono::milliseconds(timeout);
    const std::string compression = either(name, "COMPRESSION");
    signal.gzip = compression == "gzip";
    if (!compression.empty() && compression != "gzip" && compression != "none")
      warn("OTLP compression " + compression + " is not known: nothing is compressed");
    signal.certificate = either(name, "CERTIFICATE");
    signal.client_key = either(name, "CLIENT_KEY");
    signal.client_certificate = either(name, "CLIENT_CERTIFICATE");
  }

  void batching(OtlpSignal& signal, const std::string& prefix) {
    std::int64_t every = signal.every.count();
    number(prefix + "SCHEDULE_DELAY", get(prefix + "SCHEDULE_DELAY"), every);
    signal.every = std::chrono::milliseconds(every);
    number(prefix + "MAX_QUEUE_SIZE", get(prefix + "MAX_QUEUE_SIZE"), signal.queue);
    number(prefix + "MAX_EXPORT_BATCH_SIZE", get(prefix + "MAX_EXPORT_BATCH_SIZE"), signal.batch);
    signal.queue = std::min<std::size_t>(signal.queue, 1 << 20);
    signal.batch = std::min(signal.batch, signal.queue);
  }

  void sampler() {
    std::string name = get("OTEL_TRACES_SAMPLER");
    if (name.empty()) name = "parentbased_always_on";
    out_.sampler.parent_based = name.starts_with("parentbased_");
    if (out_.sampler.parent_based) name.erase(0, 12);
    if (name == "always_off") {
      out_.sampler.ratio = 0;
    } else if (name == "traceidratio") {
      const std::string text = get("OTEL_TRACES_SAMPLER_ARG");
      char* end = nullptr;
      const double ratio = text.empty() ? 1 : std::strtod(text.c_str(), &end);
      if (!text.empty() && (*end != '\0' || !(ratio >= 0 && ratio <= 1)))
        warn("OTEL_TRACES_SAMPLER_ARG=" + text + " is no number from 0 to 1 and is ignored");
      else
        out_.sampler.ratio = ratio;
    } else if (name != "always_on") {
      out_.sampler.ratio = 1;
      out_.sampler.parent_based = true;
      warn("OTEL_TRACES_SAMPLER=" + get("OTEL_TRACES_SAMPLER") +
           " is not known: parentbased_always_on is used");
    }
  }

  const OtlpSettings::Lookup& variable_;
  OtlpSettings& out_;
};

}  // namespace

OtlpSettings OtlpSettings::from(const Lookup& variable) {
  OtlpSettings settings;
  Reader(variable, settings).read();
  return settings;
}

std::vector<std::string> OtlpSettings::names() {
  std::vector<std::string> names{"OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED",
                                 "OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER",
                                 "OTEL_TRACES_SAMPLER_ARG"};
  for (const std::string signal : {"", "TRACES_", "LOGS_"})
    for (const std::string what : {"ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION",
                                   "CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"})
      names.push_back("OTEL_EXPORTER_OTLP_" + signal + what);
  for (const std::string signal : {"TRACES", "LOGS"})
    names.push_back("OTEL_" + signal + "_EXPORTER");
  for (const std::string batch : {"OTEL_BSP_", "OTEL_BLRP_"})
    for (const std::string what : {"SCHEDULE_DELAY", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"})
      names.push_back(batch + what);
  std::sort(names.begin(), names.end());
  return names;
}

std::string OtlpSettings::environment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());  // NOLINT: at start
  return value == nullptr ? "" : value;
}

OtlpSettings OtlpSettings::from_environment() { return from(environment); }

}  // namespace catga
