// Where a node runs, as its row in the table of members says it.
//
// A row has one word for the host and no room for more (sharding/view.hpp). Region and zone are written behind the host
// in that word: `machine-7;region=eu-west-1;zone=eu-west-1a`. Older nodes take the word as it is and show it; rows of
// theirs have no ';' and so no region.
#pragma once
#include <string>
#include <string_view>

namespace catga {

struct Place {
  std::string host;
  std::string region, zone;  ///< empty: not known
  friend bool operator==(const Place&, const Place&) = default;
};

/// No part may have a space or ';'.
std::string word_of(const Place& place);
/// Reads any word; what this version does not know of it is left out.
Place place_in(std::string_view word);

}  // namespace catga
