// expect: publish() needs [](const State& s) { return Event{...}; }
// expect: this event has no name: add CATGA_MESSAGE(Name, fields...); to it
// expect: a lambda of a saga captures nothing
// expect: when(), pivot() and publish() follow the step they belong to
#include <catga/entities/saga/builder.hpp>

#include "shop.hpp"

struct Trip {
  std::int64_t miles = 0;
  CATGA_FIELDS(miles);
};
struct Arrived {
  CATGA_MESSAGE(Arrived);
};

auto a_nap() { return catga::saga<Trip>("trip", 1).sleep("nap", std::chrono::milliseconds(1)); }

auto takes_too_much() {
  return a_nap().publish([](const Trip&, int) { return Arrived{}; });
}
auto has_no_name() {
  return a_nap().publish([](const Trip& trip) { return trip; });
}
auto captures(Arrived arrived) {
  return a_nap()
      .publish([arrived](const Trip&) { return arrived; })
      .publish_completed([&arrived](const Trip&) { return arrived; });
}
auto follows_nothing() {
  return catga::saga<Trip>("trip", 1).publish([](const Trip&) { return Arrived{}; });
}
