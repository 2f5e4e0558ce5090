// Reading and writing ids and numbers as text.
#include "catga/sharding/ids.hpp"

#include <charconv>
#include <cstddef>
#include <system_error>

namespace catga {
namespace {

constexpr std::size_t half_digits = 16;

void write_half(std::uint64_t half, char* out) {
  constexpr std::string_view digits = "0123456789abcdef";
  for (std::size_t i = half_digits; i-- > 0; half >>= 4) out[i] = digits[half & 15];
}

bool parse_half(std::string_view text, std::uint64_t& half) {
  // For an unsigned type from_chars takes digits only: no sign, no space, no "0x".
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, half, 16);
  return error == std::errc{} && stop == end;
}

}  // namespace

namespace detail {

std::string wide_text(std::uint64_t high, std::uint64_t low) {
  std::string text(2 * half_digits, '0');
  write_half(high, text.data());
  write_half(low, text.data() + half_digits);
  return text;
}

bool parse_wide(std::string_view text, std::uint64_t& high, std::uint64_t& low) {
  return text.size() == 2 * half_digits && parse_half(text.substr(0, half_digits), high) &&
         parse_half(text.substr(half_digits), low);
}

}  // namespace detail

Result<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (text.empty() || error != std::errc{} || stop != end) {
    return Error{Code::malformed, "a number is not decimal digits, or not below 2^64"};
  }
  return number;
}

}  // namespace catga
