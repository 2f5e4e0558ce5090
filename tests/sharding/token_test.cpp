// Owner tokens: the right to write a shard, as text.
#include <catga/sharding/token.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace catga;

namespace {
const Incarnation life{0x0123456789abcdef, 0xfedcba9876543210};
const OwnerToken token{Epoch{1806336000000000}, life};
const std::string text = "1806336000000000.0123456789abcdeffedcba9876543210";
}  // namespace

TEST_CASE("an owner token is the epoch, a dot and the incarnation") {
  CHECK(text_of(token) == text);
  CHECK(*parse_token(text) == token);
}

TEST_CASE("two tokens of one epoch are different rights when the incarnations differ") {
  CHECK_FALSE(OwnerToken{Epoch{7}, {1, 2}} == OwnerToken{Epoch{7}, {1, 3}});
  CHECK_FALSE(OwnerToken{Epoch{7}, {1, 2}} == OwnerToken{Epoch{8}, {1, 2}});
}

TEST_CASE("a token that is cut, padded or without an owner is malformed") {
  const std::string life_text = text_of(life);
  const std::string no_life(32, '0');
  for (const std::string& bad : std::vector<std::string>{
           "", ".", "7", "7.", "7..", "." + life_text, "x." + life_text, "-7." + life_text,
           " " + text, text + "0", text.substr(0, text.size() - 1), "7." + no_life}) {
    CAPTURE(bad);
    const auto read = parse_token(bad);
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().code == Code::malformed);
    CHECK_FALSE(read.error().text.empty());
  }
}

TEST_CASE("an owner record without a token has no owner") {
  OwnerRecord record;
  record.epoch = Epoch{9};
  record.previous = life;
  CHECK_FALSE(static_cast<bool>(record.owner()));
  record.token = token;
  CHECK(record.owner() == life);
}
