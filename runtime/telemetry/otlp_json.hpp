// Spans and log records as the bodies of OTLP/HTTP requests, in JSON.
#pragma once
#include "catga/runtime/telemetry/span.hpp"

#include <string>
#include <utility>
#include <vector>

namespace catga::otlp {

/// A log record that outlives the line it was.
struct LogItem {
  std::int64_t unix_us = 0;
  Severity severity = Severity::info;
  std::string body, logger, event;
  std::vector<std::pair<std::string, decltype(LogField::value)>> attributes;
  TraceContext context;  ///< none: not made inside a span
};

using Resource = std::vector<std::pair<std::string, decltype(LogField::value)>>;

/// One request body for these; never call it without any. Always valid JSON and UTF-8.
std::string body_of(const Resource& resource, const std::vector<Span>& spans);
std::string body_of(const Resource& resource, const std::vector<LogItem>& records,
                    std::int64_t observed_ns);

/// What a collector answered: how many it did not take, and why. 0 and "" if it took all.
struct PartialSuccess {
  std::int64_t rejected = 0;
  std::string error;
};
PartialSuccess partial_success(const std::string& answer);

}  // namespace catga::otlp
