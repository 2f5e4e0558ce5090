#include "catga/runtime/telemetry/otlp_json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace catga::otlp {

namespace {

using nlohmann::json;

// JSON numbers lose digits above 2^53: 64-bit integers are text.
std::string text_of_number(std::int64_t value) { return std::to_string(value); }

json value_of(const decltype(LogField::value)& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return {{"stringValue", *text}};
  if (const auto* truth = std::get_if<bool>(&value)) return {{"boolValue", *truth}};
  if (const auto* number = std::get_if<std::int64_t>(&value))
    return {{"intValue", text_of_number(*number)}};
  const double number = std::get<double>(value);
  if (std::isnan(number)) return {{"doubleValue", "NaN"}};
  if (std::isinf(number)) return {{"doubleValue", number > 0 ? "Infinity" : "-Infinity"}};
  return {{"doubleValue", number}};
}

json attribute(std::string_view key, const decltype(LogField::value)& value) {
  return {{"key", key}, {"value", value_of(value)}};
}

json attributes_of(const std::vector<LogField>& fields) {
  json out = json::array();
  for (const LogField& field : fields) out.push_back(attribute(field.name, field.value));
  return out;
}

json resource_of(const Resource& resource) {
  json attributes = json::array();
  for (const auto& [key, value] : resource) attributes.push_back(attribute(key, value));
  return {{"attributes", attributes}};
}

/// W3C flags in the low byte; 0x100: it is known whether the other end is remote, 0x200: it is.
std::uint32_t flags_of(const TraceContext& context, bool remote) {
  return (context.flags & 3U) | 0x100U | (remote ? 0x200U : 0U);
}

json link_of(const SpanLink& link) {
  return {{"traceId", link.to.trace_id()},
          {"spanId", link.to.span_id()},
          {"attributes", attributes_of(link.attributes)},
          {"flags", flags_of(link.to, true)}};
}

json span_of(const Span& span) {
  json out{{"traceId", span.context.trace_id()},
           {"spanId", span.context.span_id()},
           {"name", span.name},
           {"kind", static_cast<int>(span.kind)},
           {"startTimeUnixNano", text_of_number(span.start_ns)},
           {"endTimeUnixNano", text_of_number(std::max(span.end_ns, span.start_ns))},
           {"attributes", attributes_of(span.attributes)},
           {"flags", flags_of(span.context, span.parent_remote)}};
  if (span.parent != 0) {
    TraceContext parent = span.context;
    parent.span = span.parent;
    out["parentSpanId"] = parent.span_id();
  }
  json status = json::object();
  if (span.status != SpanStatus::unset) status["code"] = static_cast<int>(span.status);
  if (!span.status_text.empty()) status["message"] = span.status_text;
  out["status"] = status;
  if (!span.links.empty()) {
    out["links"] = json::array();
    for (const SpanLink& link : span.links) out["links"].push_back(link_of(link));
  }
  return out;
}

json record_of(const LogItem& record, std::int64_t observed_ns) {
  static constexpr std::array<std::pair<int, const char*>, 5> severities{
      {{1, "TRACE"}, {5, "DEBUG"}, {9, "INFO"}, {13, "WARN"}, {17, "ERROR"}}};
  const auto& [number, text] = severities[static_cast<std::size_t>(record.severity)];
  json attributes = json::array();
  attributes.push_back(attribute("logger", record.logger));
  for (const auto& [key, value] : record.attributes) attributes.push_back(attribute(key, value));
  json out{{"timeUnixNano", text_of_number(record.unix_us * 1000)},
           {"observedTimeUnixNano", text_of_number(observed_ns)},
           {"severityNumber", number},
           {"severityText", text},
           {"body", {{"stringValue", record.body}}},
           {"attributes", attributes}};
  if (!record.event.empty()) out["eventName"] = record.event;
  if (record.context) {
    out["traceId"] = record.context.trace_id();
    out["spanId"] = record.context.span_id();
    out["flags"] = static_cast<std::uint32_t>(record.context.flags);
  }
  return out;
}

json scope() { return {{"name", "catga"}, {"version", CATGA_VERSION}}; }

std::string dumped(const json& body) {
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string body_of(const Resource& resource, const std::vector<Span>& spans) {
  json list = json::array();
  for (const Span& span : spans) list.push_back(span_of(span));
  const json scopes = json::array({{{"scope", scope()}, {"spans", list}}});
  const json one{{"resource", resource_of(resource)}, {"scopeSpans", scopes}};
  return dumped({{"resourceSpans", json::array({one})}});
}

std::string body_of(const Resource& resource, const std::vector<LogItem>& records,
                    std::int64_t observed_ns) {
  json list = json::array();
  for (const LogItem& record : records) list.push_back(record_of(record, observed_ns));
  const json scopes = json::array({{{"scope", scope()}, {"logRecords", list}}});
  const json one{{"resource", resource_of(resource)}, {"scopeLogs", scopes}};
  return dumped({{"resourceLogs", json::array({one})}});
}

PartialSuccess partial_success(const std::string& answer) {
  PartialSuccess out;
  const json body = json::parse(answer, nullptr, false);
  if (!body.is_object()) return out;
  const auto partial = body.find("partialSuccess");
  if (partial == body.end() || !partial->is_object()) return out;
  for (const char* key : {"rejectedSpans", "rejectedLogRecords"}) {
    const auto count = partial->find(key);
    if (count == partial->end()) continue;
    if (count->is_number_integer()) out.rejected = count->get<std::int64_t>();
    if (count->is_string()) {
      const std::string& text = count->get_ref<const std::string&>();
      std::from_chars(text.data(), text.data() + text.size(), out.rejected);
    }
  }
  const auto message = partial->find("errorMessage");
  if (message != partial->end() && message->is_string()) out.error = message->get<std::string>();
  return out;
}

}  // namespace catga::otlp
