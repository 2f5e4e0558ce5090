#include "catga/runtime/saga_trace.hpp"

namespace catga {

std::string SagaTrace::text() const {
  if (!own) return {};
  return own.traceparent() + (starter ? ' ' + starter.traceparent() : std::string{});
}

SagaTrace SagaTrace::read(std::string_view text) {
  const std::size_t space = text.find(' ');
  SagaTrace trace;
  trace.own = parse_traceparent(text.substr(0, space)).value_or(TraceContext{});
  if (trace.own && space != text.npos)
    trace.starter = parse_traceparent(text.substr(space + 1)).value_or(TraceContext{});
  return trace;
}

}  // namespace catga
