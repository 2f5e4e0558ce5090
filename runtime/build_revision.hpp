// Which commit this library was built from.
#pragma once
#include <string>

namespace catga {

/// The first twelve digits of the commit, "unknown" if it was not built in a clone of the repository.
std::string build_revision();

}  // namespace catga
