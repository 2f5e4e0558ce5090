// Preloaded into a node, it makes the time of day wrong by CATGA_TEST_CLOCK_WRONG_MS. Clocks that
// only measure are left alone.
#include <dlfcn.h>
#include <time.h>

#include <cstdlib>

namespace {

using GetTime = int (*)(clockid_t, timespec*);

long wrong_by_ms() {
  const char* text = std::getenv("CATGA_TEST_CLOCK_WRONG_MS");  // NOLINT: nobody changes it here
  return text == nullptr ? 0 : std::strtol(text, nullptr, 10);
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static const auto real = reinterpret_cast<GetTime>(::dlsym(RTLD_NEXT, "clock_gettime"));
  static const long wrong_ms = wrong_by_ms();
  const int outcome = real(clock, time);
  if (outcome != 0 || clock != CLOCK_REALTIME) return outcome;
  long nanoseconds = time->tv_nsec + wrong_ms % 1000 * 1'000'000;
  time->tv_sec += wrong_ms / 1000;
  if (nanoseconds >= 1'000'000'000) {
    nanoseconds -= 1'000'000'000;
    time->tv_sec += 1;
  }
  if (nanoseconds < 0) {
    nanoseconds += 1'000'000'000;
    time->tv_sec -= 1;
  }
  time->tv_nsec = nanoseconds;
  return 0;
}
