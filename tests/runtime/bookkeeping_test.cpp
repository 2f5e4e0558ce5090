// The memory of operation ids beside an entity's state, as bytes. Storage format.
#include <catga/runtime/bookkeeping.hpp>
#include <catga/sharding/bytes.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <string>

using namespace catga;

namespace {

Generations some() {
  Generations one;
  one.floor = 1;
  one.newer_created = 0x0102030405;
  one.newer_newest = 3;
  one.older_newest = 2;
  one.newer_count = 0x0102030405060708;
  one.newer_bytes = std::numeric_limits<std::uint64_t>::max();
  one.erased = true;
  return one;
}

Generations with_events() {
  Generations one = some();
  one.events = 0x0102030405060709;
  return one;
}

}  // namespace

TEST_CASE("the memory of operation ids is read as it was written") {
  Generations both = with_events();
  both.saga_count = 3;
  both.saga_bytes = 400;
  for (const Generations& one : {some(), with_events(), both, Generations{}}) {
    const auto read = parse_generations(bytes_of(one));
    REQUIRE(read.ok());
    CHECK(*read == one);
  }
}

TEST_CASE("the bytes of the memory of operation ids are what they have always been") {
  CHECK(bytes_of(some()) == std::string("\x01"
                                        "\x01\0\0\0\0\0\0\0"
                                        "\x05\x04\x03\x02\x01\0\0\0"
                                        "\x03\0\0\0\0\0\0\0"
                                        "\x02\0\0\0\0\0\0\0"
                                        "\x08\x07\x06\x05\x04\x03\x02\x01"
                                        "\xff\xff\xff\xff\xff\xff\xff\xff"
                                        "\x01",
                                        50));
  CHECK(bytes_of(with_events()) == bytes_of(some()) + std::string(16, '\0') +
                                       std::string("\x09\x07\x06\x05\x04\x03\x02\x01", 8));
}

TEST_CASE("steps of sagas are counted behind what was always there, if there are any") {
  Generations one = some();
  one.saga_count = 3;
  one.saga_bytes = 400;
  CHECK(bytes_of(one) ==
        bytes_of(some()) + std::string("\x03\0\0\0\0\0\0\0\x90\x01\0\0\0\0\0\0", 16));
  CHECK(parse_generations(bytes_of(one)).value() == one);
}

TEST_CASE("an entity never committed remembers nothing, and a later version may say more") {
  CHECK(parse_generations("").value() == Generations{});
  CHECK(parse_generations(bytes_of(with_events()) + "more").value() == with_events());
}

TEST_CASE("a memory of operation ids that is cut or of another format is malformed") {
  const std::string bytes = bytes_of(some());
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    REQUIRE_FALSE(parse_generations(bytes.substr(0, size)).ok());
    REQUIRE(parse_generations(bytes.substr(0, size)).error().code == Code::malformed);
  }
  for (const char format : {'\0', '\2', '\xff'}) {
    std::string other = bytes;
    other[0] = format;
    CHECK(parse_generations(other).error().code == Code::malformed);
  }
}

TEST_CASE("no time in the memory of operation ids is before 1970 or beyond six bytes") {
  for (std::int64_t Generations::*time : {&Generations::floor, &Generations::newer_created,
                                          &Generations::newer_newest, &Generations::older_newest}) {
    Generations one = some();
    one.*time = time_end_ms - 1;
    CHECK(parse_generations(bytes_of(one)).value() == one);
    for (const std::int64_t bad : {std::int64_t{-1}, time_end_ms}) {
      one.*time = bad;
      REQUIRE_FALSE(parse_generations(bytes_of(one)).ok());
      CHECK(parse_generations(bytes_of(one)).error().text.find(std::to_string(bad)) !=
            std::string::npos);
    }
  }
}
