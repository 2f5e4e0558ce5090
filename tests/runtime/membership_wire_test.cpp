// The bytes membership drivers exchange.
#include <catga/runtime/cluster/membership_wire.hpp>

#include <doctest/doctest.h>

#include <random>

using namespace catga;
using namespace catga::membership;

namespace {

Frame full(Frame::Type type) {
  Frame frame;
  frame.type = type;
  frame.from = {1, 2};
  frame.view = ViewVersion{3};
  frame.number = 4;
  frame.score = 5;
  frame.redis = false;
  frame.ping_back = true;
  frame.about = {6, 7};
  frame.before = ViewVersion{8};
  frame.row = "UP a 1 - host 0";
  frame.load = 9;
  frame.primary = "0123456789abcdef0123456789abcdef01234567";
  return frame;
}

}  // namespace

TEST_CASE("every membership message comes back from its bytes as it was") {
  for (const auto type :
       {Frame::Type::heartbeat, Frame::Type::ack, Frame::Type::ping, Frame::Type::pong,
        Frame::Type::suspect, Frame::Type::refute, Frame::Type::view, Frame::Type::primary}) {
    const Frame frame = full(type);
    const auto back = decode(encode(frame));
    REQUIRE(back.ok());
    CHECK(*back == frame);
  }
}

TEST_CASE("the bytes of a membership message do not change between versions") {
  Frame frame = full(Frame::Type::view);
  frame.row = "x";
  frame.load = 0;
  frame.primary.clear();
  const std::string expected(
      "CM\x01\x06"
      "\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02"
      "\0\0\0\0\0\0\0\x03"
      "\0\0\0\0\0\0\0\x04"
      "\x05\x02"
      "\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x07"
      "\0\0\0\0\0\0\0\x08"
      "\0\x01"
      "x",
      65);
  CHECK(encode(frame) == expected);
  // Added later: behind the rest, and only if there is something to say.
  frame.load = 0x01020304;
  frame.primary = "ab";
  CHECK(encode(frame) == expected + std::string("\x01\0\x04\x01\x02\x03\x04\x02\0\x02"
                                                "ab",
                                                12));
}

TEST_CASE("what a later version adds to a membership message is skipped, a new type is dropped") {
  Frame frame = full(Frame::Type::heartbeat);
  const auto back = decode(encode(frame) + std::string("\x7f\0\x03new\x02\0\x01p", 10));
  REQUIRE(back.ok());
  frame.primary = "p";
  CHECK(*back == frame);
  std::string unknown = encode(frame);
  unknown[3] = '\x08';
  CHECK_FALSE(decode(unknown).ok());
  CHECK_FALSE(decode(encode(frame) + std::string("\x01\0\x03xyz", 6)).ok());  // a load has 4 bytes
}

TEST_CASE("a message cut short, too long or changed at its head is an error and nothing worse") {
  const std::string bytes = encode(full(Frame::Type::view));
  const std::size_t whole[] = {64 + 15, 64 + 15 + 7};  // without primary, without load and primary
  for (std::size_t size = 0; size < bytes.size(); ++size)
    CHECK(decode(bytes.substr(0, size)).ok() == (size == whole[0] || size == whole[1]));
  CHECK_FALSE(decode(bytes + 'x').ok());
  for (const std::size_t at : {0U, 1U, 2U, 3U, 37U, 62U, 63U}) {
    std::string changed = bytes;
    changed[at] = '\x7f';
    CHECK_FALSE(decode(changed).ok());
  }
}

TEST_CASE("a row has at most 1024 bytes") {
  Frame frame = full(Frame::Type::view);
  frame.row.assign(1024, 'r');
  const auto whole = decode(encode(frame));
  REQUIRE(whole.ok());
  CHECK(*whole == frame);
  std::string longer = encode(frame) + 'r';
  longer[63] = '\x01';  // 1025
  REQUIRE_FALSE(decode(longer).ok());
  CHECK(decode(longer).error().text.find("is not as long as it says") != std::string::npos);
}

TEST_CASE("what is known of the primary has at most 1024 bytes") {
  Frame frame = full(Frame::Type::heartbeat);
  frame.load = 0;
  frame.primary.assign(1024, 'p');
  const auto whole = decode(encode(frame));
  REQUIRE(whole.ok());
  CHECK(*whole == frame);
  std::string longer = encode(frame) + 'p';
  longer[longer.size() - 1026] = '\x01';  // the low byte of the length, now 1025
  REQUIRE_FALSE(decode(longer).ok());
  CHECK(decode(longer).error().text.find("is not as long as it says") != std::string::npos);
}

TEST_CASE("random bytes decode to an error, or to a message that comes back from its own bytes") {
  const std::uint64_t seed = std::random_device{}();
  MESSAGE("seed " << seed);
  std::mt19937_64 chance(seed);
  const std::string good = encode(full(Frame::Type::heartbeat));
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = round % 2 == 0 ? good : std::string(chance() % 200, '\0');
    const std::size_t changes = bytes.empty() ? 0 : round % 2 == 0 ? chance() % 4 : bytes.size();
    for (std::size_t i = 0; i < changes; ++i)
      bytes[chance() % bytes.size()] = static_cast<char>(chance());
    const auto frame = decode(bytes);
    if (!frame.ok()) continue;
    const auto again = decode(encode(*frame));
    REQUIRE(again.ok());
    CHECK(*again == *frame);
  }
}

TEST_CASE("a subject of no responders names the node that was not there") {
  const Incarnation self{1, 2}, target{3, 4};
  CHECK(heartbeat_subject("c", self) == "catga.c.hb.00000000000000010000000000000002");
  CHECK(view_subject("c") == "catga.c.view");
  const std::string subject = echo_subject("c", self, target);
  CHECK(echo_subjects("c", self) == "catga.c.hx." + text_of(self) + ".*");
  CHECK(target_of_echo(subject) == target);
  CHECK_FALSE(target_of_echo("catga.c.hx").has_value());
  CHECK_FALSE(target_of_echo("").has_value());
}
