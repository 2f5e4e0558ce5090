// How many threads run entities: the cores, within the CPU quota of a container.
#pragma once
#include <cstdint>

namespace catga {
/// `wanted` if it is not 0.
std::uint32_t worker_threads(std::uint32_t wanted);
}  // namespace catga
