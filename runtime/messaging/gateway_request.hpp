// What a JSON call at the gateway asks for, read from subject, header and body; and an error as JSON. Pure: any bytes
// may come, and no NATS is needed to try them.
#pragma once
#include "catga/entities/kind.hpp"

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace catga {

/// `%41` -> `A`. Errors: malformed.
Result<std::string> decode_token(std::string_view token);
/// The inverse: for callers and tests.
std::string encode_token(std::string_view text);

using GatewayKinds = std::map<std::string, Kind, std::less<>>;

struct GatewayCall {
  Ask ask;
  const MessageInfo* message = nullptr;  ///< in the kinds: knows what its reply is in JSON
};
/// `subject`: what follows `catga.<cluster>.`, that is `call.<kind>.<key>.<message>`. `operation`: the header
/// Catga-Operation-Id, empty if there is none. Errors: malformed, not_found.
Result<GatewayCall> read_call(std::string_view subject, std::string_view operation,
                              std::string_view body, const GatewayKinds& kinds);

/// {"error":{"code":"rejected","text":"..."}}, with retry_after_ms if the error has it.
std::string error_json(const Error& error);

}  // namespace catga
