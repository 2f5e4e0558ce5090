// What must be equal on all nodes of a cluster, as one line that JOIN compares, and what to do if
// it is not.
#pragma once
#include "catga/runtime/config.hpp"

#include <string>
#include <string_view>

namespace catga {

/// "catga1;S=1024;xxh3;points=128;cap=1.25;hold=250;late=300"
std::string fingerprint(const Config& config);

/// Why a node with `config` cannot join a cluster whose fingerprint is `found`: a sentence that
/// says what to set.
std::string fingerprint_refusal(const Config& config, std::string_view found);

}  // namespace catga
