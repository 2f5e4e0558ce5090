// Ids: what they look like as text and bytes, and what is refused.
#include <catga/sharding/ids.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <type_traits>
#include <vector>

using namespace catga;

namespace {
const Incarnation life{0x0123456789abcdef, 0xfedcba9876543210};
const std::string life_text = "0123456789abcdeffedcba9876543210";
}  // namespace

TEST_CASE("a wide id is 32 lower-case hex digits as text, high half first") {
  CHECK(text_of(life) == life_text);
  CHECK(text_of(Incarnation{0, 1}) == "00000000000000000000000000000001");
  CHECK(text_of(OperationId{1, 0}) == "00000000000000010000000000000000");
}

TEST_CASE("a wide id is read in either case") {
  CHECK(*parse_wide_id<Incarnation>(life_text) == life);
  CHECK(*parse_wide_id<Incarnation>("0123456789ABCDEFFEDCBA9876543210") == life);
}

TEST_CASE("what is not 32 hex digits is no wide id") {
  for (const std::string& text : std::vector<std::string>{
           "", life_text.substr(1), life_text + "0", std::string(32, 'g'),
           "-123456789abcdeffedcba9876543210", "0123456789abcde fedcba9876543210",
           "0123456789abcdef-edcba9876543210", "0x23456789abcdeffedcba9876543210",
           "+123456789abcdeffedcba9876543210"}) {
    CAPTURE(text);
    const auto id = parse_wide_id<Incarnation>(text);
    REQUIRE_FALSE(id.ok());
    CHECK(id.error().code == Code::malformed);
  }
}

TEST_CASE("a wide id is 16 bytes, big-endian, in Redis and on the wire") {
  const std::string bytes = bytes_of(life);
  REQUIRE(bytes.size() == 16);
  CHECK(bytes ==
        std::string("\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10", 16));
  CHECK(*wide_id_from_bytes<Incarnation>(bytes) == life);
  CHECK(wide_id_from_bytes<Incarnation>(bytes.substr(1)).error().code == Code::malformed);
  CHECK(wide_id_from_bytes<Incarnation>(bytes + "x").error().code == Code::malformed);
}

TEST_CASE("a wide id of zeros means none") {
  CHECK_FALSE(static_cast<bool>(Incarnation{}));
  CHECK(static_cast<bool>(Incarnation{0, 1}));
  CHECK(static_cast<bool>(Incarnation{1, 0}));
}

TEST_CASE("ids of different meaning neither compare nor convert") {
  static_assert(!std::is_convertible_v<ShardId, Epoch>);
  static_assert(!std::is_convertible_v<Incarnation, OperationId>);
  static_assert(!std::is_invocable_v<std::equal_to<>, Epoch, ViewVersion>);
  static_assert(!std::is_invocable_v<std::equal_to<>, Incarnation, OperationId>);
  CHECK(Epoch{1} < Epoch{2});
  CHECK(Incarnation{1, 0} > Incarnation{0, 2});
}

TEST_CASE("a number is decimal digits, nothing else, and below 2^64") {
  CHECK(*parse_number("0") == 0);
  CHECK(*parse_number("1764000000000") == 1764000000000);
  CHECK(*parse_number("18446744073709551615") == 18446744073709551615U);
  for (const std::string text :
       {"", "18446744073709551616", "-1", "+1", " 1", "1 ", "1.5", "0x1", "12a"}) {
    CAPTURE(text);
    const auto number = parse_number(text);
    REQUIRE_FALSE(number.ok());
    CHECK(number.error().code == Code::malformed);
  }
}

TEST_CASE("an entity is named by kind and key, and the key may hold a slash") {
  CHECK(text_of(EntityId{"account", "alice"}) == "account/alice");
  CHECK(text_of(EntityId{"file", "a/b"}) == "file/a/b");
  CHECK(EntityId{"a", "b"} != EntityId{"b", "a"});
  CHECK(std::hash<EntityId>{}(EntityId{"a", "b"}) != std::hash<EntityId>{}(EntityId{"b", "a"}));
}
