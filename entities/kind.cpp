#include "catga/entities/kind.hpp"

#include <algorithm>

namespace catga {

std::size_t Kind::index_of(std::string_view message) const {
  // A handful of messages: looking through them beats hashing.
  const auto found =
      std::find_if(messages.begin(), messages.end(),
                   [message](const MessageInfo& info) { return info.name == message; });
  return static_cast<std::size_t>(found - messages.begin());
}

}  // namespace catga
