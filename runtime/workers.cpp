#include "catga/runtime/workers.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

namespace catga {

std::uint32_t worker_threads(std::uint32_t wanted) {
  if (wanted != 0) return wanted;
  std::uint32_t cores = std::max(1U, std::thread::hardware_concurrency());
  std::ifstream quota("/sys/fs/cgroup/cpu.max");  // "<quota us> <period us>", or "max <period>"
  double allowed = 0;
  double period = 0;
  if (quota >> allowed >> period && period > 0) {
    cores = std::min(cores, static_cast<std::uint32_t>(std::max(1.0, std::ceil(allowed / period))));
  }
  return std::max(cores, 2U);  // one that waits must not stop the other
}

}  // namespace catga
