// When a node refuses what is new.
#include <catga/runtime/admission.hpp>

#include <doctest/doctest.h>

using namespace catga;
using namespace std::chrono_literals;

namespace {

// Workers that take `pace` jobs per ms of `offered`, looked at every 10 ms. How long one waits at the end.
std::chrono::milliseconds wait_after(std::int64_t ms, std::uint64_t offered, std::uint64_t pace) {
  Admission admission;
  Backlog queue;
  std::chrono::milliseconds wait{};
  for (std::int64_t now = 1000; now <= 1000 + ms; now += 10) {
    wait = admission.look(now, queue, {}).query;
    queue.waiting += 10 * offered;
    const std::uint64_t taken = std::min(queue.waiting, 10 * pace);
    queue.waiting -= taken;
    queue.taken += taken;
  }
  return wait;
}

// Looks every 10 ms at queues that are behind, until that is believed. Both take `workers` and `store` jobs per look.
Admission behind(std::uint64_t workers, std::uint64_t store, std::int64_t until = 1000) {
  Admission admission;
  for (std::int64_t now = until - 200, i = 0; now <= until; now += 10, ++i)
    (void)admission.look(now, {1000, static_cast<std::uint64_t>(i) * workers},
                         {1000, static_cast<std::uint64_t>(i) * store});
  return admission;
}

}  // namespace

TEST_CASE("workers that keep up let nobody wait, however much there is to do") {
  CHECK(wait_after(5000, 100, 100) <= 10ms);
  CHECK(wait_after(5000, 99, 100) == 0ms);
}

TEST_CASE("at twice the pace the wait grows by a second each second, and is known at once") {
  CHECK(wait_after(300, 20, 10) >= 270ms);
  CHECK(wait_after(300, 20, 10) <= 310ms);
  CHECK(wait_after(1000, 20, 10) >= 950ms);
}

TEST_CASE("a burst that finds a node idle is no overload") {
  Admission admission;
  CHECK(admission.look(1000, {}, {}).command == 0ms);
  CHECK(admission.look(1010, {5000, 0}, {}).command == 0ms);  // nobody knows the pace yet
  CHECK(admission.look(1020, {4000, 1000}, {}).command == 0ms);
  CHECK(admission.look(1030, {0, 5000}, {}).command == 0ms);
}

TEST_CASE("a burst after a trickle is no overload, whatever pace the trickle showed") {
  Admission admission;
  std::uint64_t taken = 0;
  for (std::int64_t now = 1000; now < 2000; now += 10)
    (void)admission.look(now, {}, {1, taken += 1});
  for (std::int64_t now = 2000; now < 2050; now += 10)  // 256 at once, done within 60 ms
    CHECK(admission.look(now, {}, {256 - static_cast<std::uint64_t>(now - 2000) * 5, taken += 50})
              .command == 0ms);
  CHECK(admission.look(2060, {}, {0, taken += 6}).command == 0ms);
}

TEST_CASE("the wait is believed once a queue has been behind for a tenth of a second") {
  Admission admission;
  std::uint64_t taken = 0;
  for (std::int64_t now = 1000; now < 1100; now += 10)
    CHECK(admission.look(now, {}, {1000, taken += 10}).command == 0ms);
  CHECK(admission.look(1110, {}, {1000, taken += 10}).command >= 1000ms);
  CHECK(admission.look(1120, {}, {5, taken += 1000}).command == 0ms);  // through with it
}

TEST_CASE("a pace with idle moments in it is no measure of what the workers can do") {
  Admission admission;
  std::uint64_t taken = 0;
  for (std::int64_t now = 1000; now < 2000;
       now += 10)  // three jobs per look, one of them just came
    (void)admission.look(now, {1, taken += 3}, {});
  CHECK(admission.look(2000, {80, taken += 3}, {}).query < 300ms);
  // All that was taken had waited: now the pace is known, and it is slow.
  std::chrono::milliseconds wait{};
  for (std::int64_t now = 2010; now < 2500; now += 10)
    wait = admission.look(now, {80, taken += 2}, {}).query;
  CHECK(wait >= 300ms);
}

TEST_CASE("workers that are held by handlers refuse nobody by that") {
  Admission admission;
  (void)admission.look(1000, {0, 0}, {});
  (void)admission.look(1010, {0, 100}, {});
  for (std::int64_t now = 1020; now < 5000; now += 10)
    CHECK(admission.look(now, {200, 100}, {}).query <= 20ms);
}

TEST_CASE("a node that was frozen does not take the time for its pace") {
  Admission admission = behind(100, 100);
  CHECK(admission.look(4010, {50, 2010}, {50, 2005}).command == 0ms);
  CHECK(admission.look(4020, {0, 2070}, {0, 2060}).command == 0ms);
}

TEST_CASE("commands wait for Redis too, queries do not") {
  Admission admission = behind(10, 10);
  const auto waits = admission.look(1010, {200, 210}, {100, 210});
  CHECK(waits.query == 200ms);
  CHECK(waits.command == 300ms);
}

TEST_CASE("a Redis that takes nothing is lost and not slow: nobody is refused for that") {
  Admission admission = behind(10, 10);
  CHECK(admission.look(1010, {}, {5000, 210}).command >= 1s);
  for (std::int64_t now = 1020; now < 1230; now += 10) (void)admission.look(now, {}, {9000, 210});
  CHECK(admission.look(1230, {}, {9000, 210}).command == 0ms);
  CHECK(admission.look(1240, {}, {9000, 220}).command >= 1s);
}
