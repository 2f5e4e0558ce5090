// One span, ended, on its way to a collector.
#pragma once
#include "catga/entities/trace.hpp"
#include "catga/runtime/telemetry/log.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace catga {

/// As OTLP numbers them.
enum class SpanKind : std::uint8_t { internal = 1, server, client, producer, consumer };
enum class SpanStatus : std::uint8_t { unset, ok, error };

struct SpanLink {
  TraceContext to;
  std::vector<LogField> attributes;
};

/// Attribute names are literals: only views of them are kept.
struct Span {
  TraceContext context;
  std::uint64_t parent = 0;    ///< span id; 0: a root
  bool parent_remote = false;  ///< the parent was made by another process
  SpanKind kind = SpanKind::internal;
  SpanStatus status = SpanStatus::unset;
  std::string name;
  std::int64_t start_ns = 0, end_ns = 0;  ///< since 1970
  std::string status_text;
  std::vector<LogField> attributes;
  std::vector<SpanLink> links;
};

}  // namespace catga
