// The right to write a shard: `<epoch>.<incarnation>`, as it stands in the owner record.
#pragma once
#include "catga/sharding/ids.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace catga {

/// Two tokens are equal or not; no token is "newer". Epochs follow Redis time and may repeat after
/// a failover; the incarnation makes the token unique.
struct OwnerToken {
  Epoch epoch;
  Incarnation incarnation;
  friend bool operator==(const OwnerToken&, const OwnerToken&) = default;
};

std::string text_of(const OwnerToken& token);

/// Reads "<epoch>.<incarnation>". Errors: malformed.
Result<OwnerToken> parse_token(std::string_view text);

/// The owner record of a shard as Redis holds it. Without a token the shard is free.
struct OwnerRecord {
  std::optional<OwnerToken> token;
  Epoch epoch;                ///< kept when the shard is released
  ViewVersion written_under;  ///< `rv`: the writer's view when it wrote the record
  Incarnation previous;       ///< the owner before this one; none if there was none
  friend bool operator==(const OwnerRecord&, const OwnerRecord&) = default;
  /// The owner, or none.
  Incarnation owner() const { return token ? token->incarnation : Incarnation{}; }
};

}  // namespace catga
