// The arithmetic of silence.
#include <catga/sharding/suspicion.hpp>

#include <doctest/doctest.h>

using namespace catga;

TEST_CASE(
    "silence is evidence above the mean and 5.6 deviations, between a floor and a ceiling, times "
    "one's own doubt") {
  struct Row {
    double mean, deviation;
    int score;
    std::int64_t limit;
  };
  const Row table[] = {
      {0, 0, 0, 600},        // nothing known yet: the floor
      {200, 0, 0, 600},      // 200 + 5.6 * 50 = 480: the floor
      {200, 50, 0, 600},     // the least deviation there is
      {200, 100, 0, 760},    // 200 + 560
      {400, 50, 0, 680},     // 400 + 280
      {200, 1000, 0, 2000},  // the ceiling
      {5000, 0, 0, 2000},    //
      {200, 0, 1, 1200},     // who doubts itself waits longer
      {200, 1000, 2, 6000},  //
      {200, 100, 8, 6840},   //
  };
  for (const Row& row : table) {
    CAPTURE(row.mean);
    CAPTURE(row.deviation);
    CAPTURE(row.score);
    CHECK(quiet_limit(row.mean, row.deviation, row.score) == row.limit);
  }
}

TEST_CASE("a floor above the ceiling wins, so that a slow profile is not cut short") {
  CHECK(quiet_limit(200, 0, 0, {.floor = 3000, .ceiling = 2000}) == 3000);
  CHECK(quiet_limit(200, 9000, 0, {.floor = 3000, .ceiling = 2000}) == 3000);
}

TEST_CASE("a profile moves the floor of silence, and little CPU makes watchers patient by itself") {
  CHECK(quiet_floor(600, DetectorProfile::fast) == 600);
  CHECK(quiet_floor(600, DetectorProfile::normal) == 1500);
  CHECK(quiet_floor(600, DetectorProfile::cloud) == 3000);
  CHECK(profile_for(0) == DetectorProfile::fast);  // no quota at all
  CHECK(profile_for(0.5) == DetectorProfile::normal);
  CHECK(profile_for(1.99) == DetectorProfile::normal);
  CHECK(profile_for(2) == DetectorProfile::fast);
  CHECK(profile_for(16) == DetectorProfile::fast);
}

TEST_CASE("the rhythm of a node is the gaps between its last 32 heartbeats") {
  Rhythm rhythm;
  CHECK(rhythm.mean() == 0);
  CHECK(rhythm.deviation() == 0);
  rhythm.heard(1000);
  CHECK(rhythm.gaps() == 0);
  rhythm.heard(1200);
  CHECK(rhythm.mean() == 200);
  CHECK(rhythm.deviation() == 0);
  rhythm.heard(1300);
  CHECK(rhythm.mean() == 150);
  CHECK(rhythm.deviation() == 50);
  for (std::int64_t now = 1400; rhythm.gaps() < Rhythm::window || now < 6000; now += 100)
    rhythm.heard(now);
  CHECK(rhythm.gaps() == 32);
  CHECK(rhythm.mean() == 100);
  CHECK(rhythm.deviation() == 0);
}

TEST_CASE("a clock that stands still gives gaps of zero, never negative ones") {
  Rhythm rhythm;
  rhythm.heard(1000);
  rhythm.heard(900);
  CHECK(rhythm.mean() == 0);
}
