#include "catga/runtime/telemetry/json_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace catga {

namespace {

/// The length of the valid UTF-8 sequence `text` begins with; 0 if it begins with none. Overlong
/// forms, surrogates and what lies beyond U+10FFFF are not valid.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  const unsigned second = byte(1);
  const bool wrong = (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
                     (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F);
  return wrong ? 0 : length;
}

}  // namespace

bool append_json(std::string& out, std::string_view text, std::size_t room) {
  if (room < 2) return false;
  const std::size_t end = out.size() + room - 1;  // the closing quote has its place
  out += '"';
  bool whole = true;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text.front();
    std::array<char, 8> hex{};
    std::string_view piece;
    if (length == 0)
      piece = "\xEF\xBF\xBD";  // U+FFFD
    else if (c == '"')
      piece = "\\\"";
    else if (c == '\\')
      piece = "\\\\";
    else if (c == '\n')
      piece = "\\n";
    else if (c == '\t')
      piece = "\\t";
    else if (c == '\r')
      piece = "\\r";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      piece = {hex.data(), fmt::format_to_n(hex.data(), hex.size(), "\\u{:04x}", c).size};
    else
      piece = text.substr(0, length);
    if (out.size() + piece.size() > end) {
      whole = false;
      break;
    }
    out += piece;
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  out += '"';
  return whole;
}

}  // namespace catga
