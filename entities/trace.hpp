// Where a trace stands: the W3C trace context, and the one of the turn that runs now.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace catga {

/// A span of a trace, by its ids. All zero: none. Copyable, 25 bytes on the wire.
struct TraceContext {
  std::uint64_t trace_high = 0, trace_low = 0;
  std::uint64_t span = 0;
  std::uint8_t flags = 0;  ///< 1 sampled, 2 the trace id is random; others never leave a cluster
  friend bool operator==(const TraceContext&, const TraceContext&) = default;

  explicit operator bool() const { return span != 0 && (trace_high != 0 || trace_low != 0); }
  bool sampled() const { return (flags & 1) != 0; }
  std::string trace_id() const;  ///< 32 lower-case hex digits
  std::string span_id() const;   ///< 16
  /// The value of the W3C header `traceparent`.
  std::string traceparent() const;
};

/// Reads a header `traceparent`, of later versions its first four fields. None: not one, or its ids are zero.
std::optional<TraceContext> parse_traceparent(std::string_view text);

/// The span of the turn whose handler runs on this thread now, to hand on to libraries that trace as well; none outside of
/// handlers and while tracing is off. In a handler that is a coroutine it is that of the handler after each co_await, too.
TraceContext current_trace();

namespace detail {
/// Makes a context the current one of this thread while it lives.
class TraceScope {
 public:
  explicit TraceScope(const TraceContext& context);
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  TraceContext before_;
};
}  // namespace detail

}  // namespace catga
