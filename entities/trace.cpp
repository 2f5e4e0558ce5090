#include "catga/entities/trace.hpp"

#include <array>

namespace catga {

namespace {

constexpr unsigned w3c_flags = 3;

thread_local TraceContext context_of_this_thread;

void append_hex(std::string& out, std::uint64_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    out += "0123456789abcdef"[(value >> shift) & 0xF];
}

/// Lower-case hex only, as the recommendation says.
std::optional<std::uint64_t> hex(std::string_view text) {
  std::uint64_t value = 0;
  for (const char c : text) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9')
      digit = static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f')
      digit = static_cast<unsigned>(c - 'a') + 10;
    else
      return std::nullopt;
    value = value << 4 | digit;
  }
  return value;
}

}  // namespace

std::string TraceContext::trace_id() const {
  std::string out;
  append_hex(out, trace_high, 16);
  append_hex(out, trace_low, 16);
  return out;
}

std::string TraceContext::span_id() const {
  std::string out;
  append_hex(out, span, 16);
  return out;
}

std::string TraceContext::traceparent() const {
  std::string out = "00-" + trace_id() + '-' + span_id() + '-';
  append_hex(out, flags & w3c_flags, 2);
  return out;
}

std::optional<TraceContext> parse_traceparent(std::string_view text) {
  constexpr std::size_t whole = 55;
  if (text.size() < whole || text[2] != '-' || text[35] != '-' || text[52] != '-')
    return std::nullopt;
  const auto version = hex(text.substr(0, 2));
  if (!version || *version == 0xFF) return std::nullopt;
  if (*version == 0 ? text.size() != whole : text.size() > whole && text[whole] != '-')
    return std::nullopt;
  const auto high = hex(text.substr(3, 16)), low = hex(text.substr(19, 16));
  const auto span = hex(text.substr(36, 16)), flags = hex(text.substr(53, 2));
  if (!high || !low || !span || !flags) return std::nullopt;
  const TraceContext context{*high, *low, *span, static_cast<std::uint8_t>(*flags & w3c_flags)};
  if (!context) return std::nullopt;
  return context;
}

TraceContext current_trace() { return context_of_this_thread; }

namespace detail {
TraceScope::TraceScope(const TraceContext& context) : before_(context_of_this_thread) {
  context_of_this_thread = context;
}
TraceScope::~TraceScope() { context_of_this_thread = before_; }
}  // namespace detail

}  // namespace catga
