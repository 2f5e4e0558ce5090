// Tells in the outbox and messages of timers as bytes, and the names of timers. Storage format.
#include <catga/runtime/outbox_entry.hpp>
#include <catga/sharding/bytes.hpp>

#include <doctest/doctest.h>

#include <random>
#include <string>

using namespace catga;

namespace {

PendingTell tell() {
  PendingTell one;
  one.source = {"order", "1"};
  one.target = {"account", "a/b"};
  one.operation = {0x0102030405060708ULL, 9};
  one.at_ms = 1'764'000'000'123;
  one.message = "Pay";
  one.payload = std::string("\0\xff", 2);
  return one;
}
PendingEvent event() {
  PendingEvent one;
  one.source = {"account", "a/b"};
  one.id = {0x0102030405060708ULL, 9};
  one.number = 3;
  one.epoch = Epoch{2};
  one.at_ms = 1'764'000'000'123;
  one.name = "Emptied";
  one.payload = std::string("\0\xff", 2);
  one.trace = "t";
  return one;
}
const TimerMessage ring{"Ring", std::string("\0x", 2)};
const TraceContext context{0x0102030405060708ULL, 9, 10, 3};
const std::string context_bytes(
    "\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0"
    "\x0a\0\0\0\0\0\0\0\x03",
    25);

PendingTell traced_tell() {
  PendingTell one = tell();
  one.trace = context;
  return one;
}
TimerMessage traced_timer(Repeat repeat) { return {"Ring", "x", repeat, context}; }

}  // namespace

TEST_CASE("a tell is read as it was written") {
  const auto read = parse_tell(bytes_of(tell()));
  REQUIRE(read.ok());
  CHECK(*read == tell());
  const auto empty = parse_tell(bytes_of(PendingTell{}));
  REQUIRE(empty.ok());
  CHECK(*empty == PendingTell{});
}

TEST_CASE("an event is read as it was written, and is no tell") {
  const auto read = parse_event(bytes_of(event()));
  REQUIRE(read.ok());
  CHECK(*read == event());
  CHECK(is_event(bytes_of(event())));
  CHECK_FALSE(is_event(bytes_of(tell())));
  CHECK_FALSE(is_event(""));
  CHECK(parse_tell(bytes_of(event())).error().code == Code::malformed);
  CHECK(parse_event(bytes_of(tell())).error().code == Code::malformed);
  const std::string bytes = bytes_of(event());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    REQUIRE(parse_event(bytes.substr(0, size)).error().code == Code::malformed);
  CHECK(parse_event(bytes + "x").error().code == Code::malformed);
}

TEST_CASE("the bytes of an event are what they have always been") {
  CHECK(bytes_of(event()) == std::string("\x02"
                                         "\x07\0\0\0account\x03\0\0\0a/b"
                                         "\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0"
                                         "\x03\0\0\0\0\0\0\0"
                                         "\x02\0\0\0\0\0\0\0"
                                         "\x7b\xe8\x97\xb6\x9a\x01\0\0"
                                         "\x07\0\0\0Emptied"
                                         "\x02\0\0\0\0\xff"
                                         "\x01\0\0\0t",
                                         1 + 11 + 7 + 16 + 8 + 8 + 8 + 11 + 6 + 5));
}

TEST_CASE("a timer's message is read as it was written") {
  const auto read = parse_timer_message(bytes_of(ring));
  REQUIRE(read.ok());
  CHECK(*read == ring);
  const auto empty = parse_timer_message(bytes_of(TimerMessage{}));
  REQUIRE(empty.ok());
  CHECK(*empty == TimerMessage{});
}

TEST_CASE("the bytes of a tell and of a timer's message are what they have always been") {
  CHECK(bytes_of(tell()) == std::string("\x01"
                                        "\x05\0\0\0order\x01\0\0\0"
                                        "1"
                                        "\x07\0\0\0account\x03\0\0\0a/b"
                                        "\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0"
                                        "\x7b\xe8\x97\xb6\x9a\x01\0\0"
                                        "\x03\0\0\0Pay"
                                        "\x02\0\0\0\0\xff",
                                        1 + 9 + 5 + 11 + 7 + 16 + 8 + 7 + 6));
  CHECK(bytes_of(ring) == std::string("\x01\x04\0\0\0Ring\x02\0\0\0\0x", 15));
}

TEST_CASE("the message of a repeated timer says so behind its payload") {
  for (const Missed missed : {Missed::once, Missed::all}) {
    TimerMessage one = ring;
    one.repeat = {86'400'000, missed};
    const auto read = parse_timer_message(bytes_of(one));
    REQUIRE(read.ok());
    CHECK(*read == one);
  }
  TimerMessage one = ring;
  one.repeat = {258, Missed::all};
  const std::string bytes = bytes_of(one);
  CHECK(bytes == std::string("\x02\x04\0\0\0Ring\x02\0\0\0\0x\x02\x01\0\0\0\0\0\0\x01", 24));
  CHECK_FALSE(parse_timer_message(bytes.substr(0, 23)).ok());
  std::string strange = bytes;
  strange.back() = 2;
  CHECK_FALSE(parse_timer_message(strange).ok());
  one.repeat.period_ms = -1;  // is no repeat at all
  CHECK(bytes_of(one) == bytes_of(ring));
}

TEST_CASE("a trace context stands behind a tell and a timer's message, in formats of their own") {
  CHECK(bytes_of(traced_tell()) == '\x03' + bytes_of(tell()).substr(1) + context_bytes);
  CHECK(*parse_tell(bytes_of(traced_tell())) == traced_tell());
  CHECK_FALSE(is_event(bytes_of(traced_tell())));
  for (const Repeat& repeat : {Repeat{}, Repeat{86'400'000, Missed::all}}) {
    const TimerMessage traced = traced_timer(repeat);
    TimerMessage plain = traced;
    plain.trace = {};
    const char format = repeat ? '\x04' : '\x03';
    CHECK(bytes_of(traced) == format + bytes_of(plain).substr(1) + context_bytes);
    CHECK(*parse_timer_message(bytes_of(traced)) == traced);
  }
}

TEST_CASE("a trace context that is cut, or without ids, makes an entry malformed") {
  const std::string of_tell = bytes_of(traced_tell());
  const std::string of_timer = bytes_of(traced_timer({258, Missed::once}));
  for (std::size_t cut = 1; cut <= context_bytes.size(); ++cut) {
    REQUIRE_FALSE(parse_tell(of_tell.substr(0, of_tell.size() - cut)).ok());
    REQUIRE_FALSE(parse_timer_message(of_timer.substr(0, of_timer.size() - cut)).ok());
  }
  CHECK_FALSE(parse_tell(of_tell + 'x').ok());
  CHECK_FALSE(parse_timer_message(of_timer + 'x').ok());
  const std::string nothing(25, '\0');
  CHECK_FALSE(parse_tell(of_tell.substr(0, of_tell.size() - 25) + nothing).ok());
  CHECK_FALSE(parse_timer_message(of_timer.substr(0, of_timer.size() - 25) + nothing).ok());
}

TEST_CASE("a repeated timer keeps its beat, however late a tick was handled") {
  const Repeat once{100, Missed::once}, all{100, Missed::all};
  CHECK(next_due(1000, once, 1000) == 1100);
  CHECK(next_due(1000, once, 1099) == 1100);
  CHECK(next_due(1000, once, 1100) == 1200);  // that one is missed already: one tick for both
  CHECK(next_due(1000, once, 1355) == 1400);
  CHECK(next_due(1000, once, 900) == 1100);  // a clock behind
  CHECK(next_due(1000, all, 1355) == 1100);
  CHECK(next_due(1000, all, 1000 + 100 * 100) == 1100);
  CHECK(next_due(1000, all, 1000 + 150 * 100) == 1000 + 51 * 100);  // 100 at most are caught up
}

TEST_CASE("entries that are cut, longer, or of another format are malformed") {
  const std::string of_tell = bytes_of(tell()), of_timer = bytes_of(ring);
  for (std::size_t size = 0; size < of_tell.size(); ++size) {
    REQUIRE_FALSE(parse_tell(of_tell.substr(0, size)).ok());
    REQUIRE(parse_tell(of_tell.substr(0, size)).error().code == Code::malformed);
  }
  for (std::size_t size = 0; size < of_timer.size(); ++size) {
    REQUIRE_FALSE(parse_timer_message(of_timer.substr(0, size)).ok());
  }
  CHECK_FALSE(parse_tell(of_tell + 'x').ok());
  CHECK_FALSE(parse_timer_message(of_timer + 'x').ok());
  for (const int format : {0, 2, 255}) {
    std::string other = of_tell;
    other[0] = static_cast<char>(format);
    CHECK_FALSE(parse_tell(other).ok());
    other = of_timer;
    other[0] = static_cast<char>(format);
    CHECK_FALSE(parse_timer_message(other).ok());
  }
}

TEST_CASE("a tell is of a time between 1970 and what six bytes hold, or it is malformed") {
  PendingTell one = tell();
  for (const std::int64_t good : {std::int64_t{0}, time_end_ms - 1}) {
    one.at_ms = good;
    CHECK(*parse_tell(bytes_of(one)) == one);
  }
  for (const std::int64_t bad : {std::int64_t{-1}, time_end_ms}) {
    one.at_ms = bad;
    REQUIRE_FALSE(parse_tell(bytes_of(one)).ok());
    CHECK(parse_tell(bytes_of(one)).error().code == Code::malformed);
  }
}

TEST_CASE("mangled entries are read without harm, and if they are read they are whole") {
  for (std::uint64_t seed = 1; seed <= 50'000; ++seed) {
    std::mt19937_64 random(seed);
    const std::string all[] = {bytes_of(tell()), bytes_of(ring), bytes_of(traced_tell()),
                               bytes_of(traced_timer({258, Missed::once}))};
    std::string bytes = all[random() % 4];
    for (std::uint64_t change = 0; change <= random() % 3 && !bytes.empty(); ++change) {
      const std::size_t at = random() % bytes.size();
      if (random() % 4 == 0)
        bytes.resize(at);
      else
        bytes[at] = static_cast<char>(random());
    }
    if (const auto read = parse_tell(bytes); read.ok() && bytes_of(*read) != bytes)
      FAIL("seed " << seed);
    if (const auto read = parse_timer_message(bytes); read.ok() && bytes_of(*read) != bytes)
      FAIL("seed " << seed);
  }
}

TEST_CASE("a timer's member names its entity, whatever stands in the key") {
  CHECK(timer_member({"account", "alice"}, "billing") == "e|account/alice|billing");
  for (const char* key : {"alice", "a/b", "a|b", "|", "/", "a|b/c|d", ""}) {
    const EntityId entity{"account", key};
    const auto found = entity_of_timer(timer_member(entity, "billing"));
    REQUIRE(found.ok());
    CHECK(*found == entity);
  }
  CHECK(*entity_of_timer(timer_member({"account", "alice"}, "")) == EntityId{"account", "alice"});
}

TEST_CASE("a timer's member that names no entity is malformed") {
  for (const char* member : {"", "e", "e|", "e|account", "e|account/alice", "e|account|billing",
                             "s|transfer/7|sleep", "account/alice|billing", "e|a|b/c"}) {
    CAPTURE(member);
    const auto found = entity_of_timer(member);
    REQUIRE_FALSE(found.ok());
    CHECK(found.error().code == Code::malformed);
  }
}
