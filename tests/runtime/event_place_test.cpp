// The place of a subscription and dead letters as bytes, and the names that events are remembered by. Storage format.
#include <catga/runtime/dead_letter.hpp>
#include <catga/runtime/event_place.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace catga;

namespace {

const EventPlace place{1, 2, 3};

DeadLetter letter() {
  DeadLetter one;
  one.event = {{1, 2}, {"account", "a/b"}, 7, Epoch{3}, 1000, "Emptied", "p", "t"};
  one.sequence = 9;
  one.first_ms = 1001;
  one.parked_ms = 1002;
  one.attempts = 10;
  one.why = "no";
  return one;
}

}  // namespace

TEST_CASE("the place of a subscription is read as it was written, and nothing else is") {
  const std::string bytes = bytes_of(place);
  CHECK(parse_event_place(bytes).value() == place);
  CHECK(bytes == std::string("\x01"
                             "\x01\0\0\0\0\0\0\0"
                             "\x02\0\0\0\0\0\0\0"
                             "\x03\0\0\0\0\0\0\0",
                             25));
  for (std::size_t size = 0; size < bytes.size(); ++size)
    REQUIRE(parse_event_place(bytes.substr(0, size)).error().code == Code::malformed);
  CHECK_FALSE(parse_event_place(bytes + "x").ok());
  CHECK_FALSE(parse_event_place("\x02" + bytes.substr(1)).ok());
}

TEST_CASE("a dead letter is read as it was written, and nothing else is") {
  const std::string bytes = bytes_of(letter());
  const DeadLetter read = parse_dead_letter(bytes).value();
  CHECK(bytes_of(read) == bytes);
  CHECK(read.event.source == letter().event.source);
  CHECK(read.event.payload == "p");
  CHECK(read.sequence == 9);
  CHECK(read.first_ms == 1001);
  CHECK(read.attempts == 10);
  CHECK(read.why == "no");
  for (std::size_t size = 0; size < bytes.size(); ++size)
    REQUIRE(parse_dead_letter(bytes.substr(0, size)).error().code == Code::malformed);
  CHECK_FALSE(parse_dead_letter(bytes + "x").ok());
}

TEST_CASE("a dead letter of a tell names its target, and one of an event is written as ever") {
  DeadLetter tell = letter();
  CHECK(bytes_of(tell).front() == '\x01');
  tell.target = {"desk", "d"};
  const std::string bytes = bytes_of(tell);
  CHECK(bytes.front() == '\x02');
  const DeadLetter read = parse_dead_letter(bytes).value();
  CHECK(read.target == EntityId{"desk", "d"});
  CHECK(bytes_of(read) == bytes);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    REQUIRE(parse_dead_letter(bytes.substr(0, size)).error().code == Code::malformed);
}

TEST_CASE("an event is another command for each subscription, and the same at every delivery") {
  const OperationId one = event_operation({1, 2}, "mailer");
  CHECK(one == event_operation({1, 2}, "mailer"));
  CHECK(one != event_operation({1, 2}, "mailer2"));
  CHECK(one != event_operation({1, 3}, "mailer"));
  CHECK(event_part_entity("mailer", 5) == EntityId{"$sub", "mailer-5"});
  CHECK(letter_box("mailer", {"account", "a/b"}) == "mailer:account/a/b");
}
