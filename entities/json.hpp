// JSON <-> msgpack without a C++ type in between: for the gateway and the tool.
#pragma once
#include "catga/sharding/result.hpp"

#include <string>
#include <string_view>

namespace catga {

/// The msgpack of one JSON text; blank text counts as {}. Errors: malformed, saying where the JSON
/// breaks.
Result<std::string> msgpack_from_json(std::string_view json);

/// The JSON of one msgpack value. Bytes that are not UTF-8 become U+FFFD, keys that are numbers
/// become text, and numbers that JSON does not have (infinity) become null. Errors: malformed.
Result<std::string> json_from_msgpack(std::string_view bytes);

}  // namespace catga
