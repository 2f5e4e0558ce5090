// What control groups say about the CPU.
#include <catga/runtime/cluster/cpu_share.hpp>

#include <doctest/doctest.h>

using namespace catga;

TEST_CASE("the CPU quota is read in cores, and none is none") {
  CHECK(quota_cores_of("150000 100000\n") == 1.5);
  CHECK(quota_cores_of("400000 100000") == 4.0);
  CHECK(quota_cores_of("max 100000\n") == 0);
  for (const char* bad : {"", "max", "150000", "0 100000", "100000 0", "-1 100000", "x y"})
    CHECK(quota_cores_of(bad) == 0);
}

TEST_CASE("the time a group was throttled is read in milliseconds, if it is there") {
  CHECK(throttled_ms_of("usage_usec 5\nnr_throttled 3\nthrottled_usec 250999\n") == 250);
  CHECK_FALSE(throttled_ms_of("usage_usec 5\n").has_value());
  CHECK_FALSE(throttled_ms_of("throttled_usec \n").has_value());
  CHECK_FALSE(throttled_ms_of("").has_value());
}
