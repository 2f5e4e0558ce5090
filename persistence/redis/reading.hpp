// From replies to values: what the stores in Redis share.
#pragma once
#include "catga/persistence/redis/connection.hpp"
#include "catga/persistence/redis/scripts.hpp"
#include "catga/persistence/stores.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace catga {

inline Error unreadable(Script script, const std::string& what) {
  return {Code::failed, "what Redis holds cannot be read (" + std::string(name_of(script)) + ": " +
                            what + "); another program or another version may have written there"};
}

/// None: free, or a record we cannot read. Not ours in either case.
inline std::optional<OwnerToken> token_in(std::string_view text) {
  const auto token = parse_token(text);
  return token ? std::optional(*token) : std::nullopt;
}

inline std::uint64_t positive(Reply reply) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(reply.number(), 0));
}

/// Wraps a reader of replies into what a pipeline wants.
template <class Value, class Read>
std::function<void(Result<Reply>)> answer_by(Read read, Then<Value> then) {
  return [read = std::move(read), then = std::move(then)](Result<Reply> reply) {
    then(reply ? Result<Value>(read(*reply)) : Result<Value>(reply.error()));
  };
}

}  // namespace catga
