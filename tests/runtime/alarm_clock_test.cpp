// What actors send with a delay, on the clock of a node.
#include <catga/runtime/actors/alarm_clock.hpp>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/mailbox_element.hpp>
#include <caf/scoped_actor.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <random>
#include <vector>

namespace catga::actors {
namespace {

using namespace std::chrono_literals;
using Time = AlarmClock::time_point;

/// A clock, and one who receives numbers.
class Listening {
 public:
  AlarmClock clock;

  void at(Time when, std::int64_t number) {
    clock.schedule_message(when, caf::actor_cast<caf::strong_actor_ptr>(self_),
                           caf::make_mailbox_element(nullptr, caf::make_message_id(), {}, number));
  }
  /// The next so many numbers, or fewer if none comes for `patience`.
  std::vector<std::int64_t> next(std::size_t count, std::chrono::milliseconds patience = 10s) {
    std::vector<std::int64_t> numbers;
    bool late = false;
    while (numbers.size() < count && !late) {
      self_->receive([&](std::int64_t number) { numbers.push_back(number); },
                     caf::after(patience) >> [&] { late = true; });
    }
    return numbers;
  }

 private:
  caf::actor_system_config settings_;
  caf::actor_system system_{settings_};
  caf::scoped_actor self_{system_};
};

}  // namespace

TEST_CASE("alarms come in the order of their times, whatever the order of setting") {
  Listening here;
  const Time now = here.clock.now();
  std::vector<std::int64_t> wanted;
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < 100; ++i) {
    wanted.push_back(i);
    order.push_back(i);
  }
  std::minstd_rand dice{7};
  std::shuffle(order.begin(), order.end(), dice);
  for (const std::int64_t number : order) here.at(now + 200ms + number * 1ms, number);
  CHECK(here.next(100) == wanted);
}

TEST_CASE("alarms of one moment come in the order of setting, those of the past at once") {
  Listening here;
  const Time now = here.clock.now();
  for (std::int64_t number = 0; number < 50; ++number) here.at(now + 20ms, number);
  here.at(now - 1s, 99);
  std::vector<std::int64_t> wanted{99};
  for (std::int64_t number = 0; number < 50; ++number) wanted.push_back(number);
  CHECK(here.next(51) == wanted);
}

TEST_CASE("an alarm never comes early, and one that comes before all others wakes the clock") {
  Listening here;
  const Time now = here.clock.now();
  here.at(now + 1h, 1);
  here.at(now + 30ms, 2);  // the clock sleeps until the first
  CHECK(here.next(1) == std::vector<std::int64_t>{2});
  CHECK(here.clock.now() >= now + 30ms);
}

TEST_CASE("what waits when the clock stops is dropped, as is what comes after") {
  Listening here;
  here.at(here.clock.now() + 50ms, 1);
  here.clock.stop();
  here.at(here.clock.now() - 1s, 2);
  CHECK(here.next(1, 200ms).empty());
}

}  // namespace catga::actors
