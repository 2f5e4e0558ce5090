// Owner tokens as text.
#include "catga/sharding/token.hpp"

namespace catga {

Result<OwnerToken> parse_token(std::string_view text) {
  const auto dot = text.find('.');
  if (dot == std::string_view::npos) {
    return Error{Code::malformed, "an owner token has no dot between epoch and incarnation"};
  }
  const std::uint64_t epoch = CATGA_TRY(parse_number(text.substr(0, dot)));
  const Incarnation incarnation = CATGA_TRY(parse_wide_id<Incarnation>(text.substr(dot + 1)));
  // A token without an owner would look free to one reader and owned to another.
  if (!incarnation) return Error{Code::malformed, "an owner token names no incarnation"};
  return OwnerToken{Epoch{epoch}, incarnation};
}

std::string text_of(const OwnerToken& token) {
  return std::to_string(token.epoch.value) + '.' + text_of(token.incarnation);
}

}  // namespace catga
