#include "catga/runtime/standing.hpp"

#include <cassert>
#include <ctime>
#include <utility>

namespace catga {

namespace {
thread_local const std::function<std::int64_t()>* pretended = nullptr;
}

PretendedTime::PretendedTime(std::function<std::int64_t()> now) : now_(std::move(now)) {
  assert(pretended == nullptr);
  pretended = &now_;
}
PretendedTime::~PretendedTime() { pretended = nullptr; }

std::int64_t boot_ms() {
  if (pretended != nullptr) return (*pretended)();
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

std::int64_t boot_ns() {
  if (pretended != nullptr) return (*pretended)() * 1'000'000;
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace catga
