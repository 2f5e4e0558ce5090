// Where a saga stands in its trace, as its header keeps it: so a saga that goes on elsewhere stays in its trace.
#pragma once
#include "catga/entities/trace.hpp"

#include <string>
#include <string_view>

namespace catga {

/// Only of sagas whose trace is sampled; the others keep nothing.
struct SagaTrace {
  TraceContext own;      ///< of the saga's span
  TraceContext starter;  ///< who started it; none: its trace began with it
  friend bool operator==(const SagaTrace&, const SagaTrace&) = default;
  explicit operator bool() const { return static_cast<bool>(own); }

  /// The header's field: a traceparent of the saga's span, and behind a space that of its starter. Storage format.
  std::string text() const;
  /// None if it cannot be read: a saga is not held up by its trace.
  static SagaTrace read(std::string_view text);
};

}  // namespace catga
