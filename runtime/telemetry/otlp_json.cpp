#include "catga/runtime/telemetry/otlp_json.hpp"

#include "catga/runtime/telemetry/json_text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

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

json resource_of(const Resource& resource) {
  json attributes = json::array();
  for (const auto& [key, value] : resource) attributes.push_back(attribute(key, value));
  return {{"attributes", attributes}};
}

/// W3C flags in the low byte; 0x100: it is known whether the other end is remote, 0x200: it is.
std::uint32_t flags_of(const TraceContext& context, bool remote) {
  return (context.flags & 3U) | 0x100U | (remote ? 0x200U : 0U);
}

// Spans are many: they are written as they are, without a tree of JSON values in between.

void append_value(std::string& out, const decltype(LogField::value)& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    out += R"({"stringValue":)";
    append_json(out, *text);
  } else if (const auto* truth = std::get_if<bool>(&value)) {
    out += *truth ? R"({"boolValue":true)" : R"({"boolValue":false)";
  } else if (const auto* number = std::get_if<std::int64_t>(&value)) {
    out += R"({"intValue":")" + text_of_number(*number) + '"';
  } else {
    out += R"({"doubleValue":)" + value_of(value)["doubleValue"].dump();  // rare
  }
  out += '}';
}

void append_attributes(std::string& out, const std::vector<LogField>& fields) {
  out += R"("attributes":[)";
  bool first = true;
  for (const LogField& field : fields) {
    out += std::exchange(first, false) ? R"({"key":)" : R"(,{"key":)";
    append_json(out, field.name);
    out += R"(,"value":)";
    append_value(out, field.value);
    out += '}';
  }
  out += ']';
}

void append_ids(std::string& out, const TraceContext& context) {
  out += R"({"traceId":")" + context.trace_id() + R"(","spanId":")" + context.span_id() + R"(",)";
}

void append_span(std::string& out, const Span& span) {
  append_ids(out, span.context);
  if (span.parent != 0) {
    TraceContext parent = span.context;
    parent.span = span.parent;
    out += R"("parentSpanId":")" + parent.span_id() + R"(",)";
  }
  out += R"("name":)";
  append_json(out, span.name);
  out += R"(,"kind":)" + std::to_string(static_cast<int>(span.kind));
  out += R"(,"startTimeUnixNano":")" + text_of_number(span.start_ns);
  out +=
      R"(","endTimeUnixNano":")" + text_of_number(std::max(span.end_ns, span.start_ns)) + R"(",)";
  append_attributes(out, span.attributes);
  out += R"(,"flags":)" + std::to_string(flags_of(span.context, span.parent_remote));
  out += R"(,"status":{)";
  if (span.status != SpanStatus::unset)
    out += R"("code":)" + std::to_string(static_cast<int>(span.status));
  if (!span.status_text.empty()) {
    out += span.status != SpanStatus::unset ? R"(,"message":)" : R"("message":)";
    append_json(out, span.status_text);
  }
  out += '}';
  bool first = true;
  for (const SpanLink& link : span.links) {
    out += std::exchange(first, false) ? R"(,"links":[)" : ",";
    append_ids(out, link.to);
    append_attributes(out, link.attributes);
    out += R"(,"flags":)" + std::to_string(flags_of(link.to, true)) + '}';
  }
  out += first ? "}" : "]}";
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
  std::string out = R"({"resourceSpans":[{"resource":)" + dumped(resource_of(resource)) +
                    R"(,"scopeSpans":[{"scope":)" + dumped(scope()) + R"(,"spans":[)";
  bool first = true;
  for (const Span& span : spans) {
    if (!std::exchange(first, false)) out += ',';
    append_span(out, span);
  }
  return out + "]}]}]}";
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
