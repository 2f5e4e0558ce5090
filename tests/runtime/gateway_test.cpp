#include <catga/runtime/messaging/gateway.hpp>

#include <doctest/doctest.h>

using namespace catga;

TEST_CASE("a key becomes one subject token and comes back as it was") {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  const std::string token = encode_token(all);
  CHECK(token.find_first_not_of(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-%") == token.npos);
  CHECK(decode_token(token).value() == all);
  CHECK(encode_token("alice") == "alice");
  CHECK(encode_token("a.b c") == "a%2Eb%20c");
}

TEST_CASE("a broken percent-encoding is malformed, whatever is cut off") {
  for (const std::string_view broken : {"%", "a%2", "%zz", "%2", "abc%"}) {
    REQUIRE_FALSE(decode_token(broken).ok());
    CHECK(decode_token(broken).error().code == Code::malformed);
  }
}
