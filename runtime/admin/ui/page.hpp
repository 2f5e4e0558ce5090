// The dashboard: one HTML page, compiled into the library (made from page.html by pack.py).
#pragma once
#include <string_view>

namespace catga::admin {

struct Page {
  std::string_view html;  ///< UTF-8; below 100 KB
  /// For the header Content-Security-Policy: lets run what is in the page, and lets it ask nobody but
  /// the host it came from.
  std::string_view policy;
};

/// What /ui answers. It holds no data: the page asks /api/v1 for it, with the token that its reader
/// types in. Thread-safe.
Page dashboard();

}  // namespace catga::admin
