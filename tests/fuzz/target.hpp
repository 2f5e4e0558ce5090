// What every fuzz target has: one entry point, and a way to say that a promise is broken.
//
// A target takes any bytes. It reads them with the code of the library, and what was accepted it
// writes and reads again: a crash is not the only thing that can be wrong. libFuzzer drives it where
// clang is there (tests/fuzz/run), replay.cpp everywhere.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace catga::fuzz {

/// Ends the process if a promise is broken; the driver says with which input.
inline void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

inline std::string_view text(const std::uint8_t* data, std::size_t size) {
  return size == 0 ? std::string_view{}
                   : std::string_view(reinterpret_cast<const char*>(data), size);
}

}  // namespace catga::fuzz
