// Texts as JSON strings, whatever is in them: for what is written too often for a tree of JSON values.
#pragma once
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>

namespace catga {

/// Appends `text` as a JSON string of at most `room` bytes, quotes included; what is no UTF-8 becomes U+FFFD. False if it
/// was cut.
bool append_json(std::string& out, std::string_view text,
                 std::size_t room = std::numeric_limits<std::size_t>::max() / 2);

}  // namespace catga
