// Calls with JSON, without the NATS around them.
#include <catga/entities/entity.hpp>
#include <catga/entities/json.hpp>
#include <catga/runtime/messaging/gateway_request.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

using namespace catga;

namespace {

struct Put {
  using Reply = Done;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Put, cents);
};
struct Look {
  using Reply = Done;
  CATGA_MESSAGE(Look);
};
class Box {
 public:
  static constexpr std::string_view kind = "box";
  using Handles = Messages<Put, Look>;
  struct State {
    CATGA_FIELDS();
  } state;
  Done on(const Put&) { return {}; }
  Done on(const Look&) const { return {}; }
};

const GatewayKinds kinds{{"box", kind_of<Box>()}};

Error error_of(std::string_view subject, std::string_view body) {
  const Result<GatewayCall> call = read_call(subject, "", body, kinds);
  REQUIRE_FALSE(call.ok());
  return call.error();
}

}  // namespace

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

TEST_CASE("a call names kind, key and message in its subject and the fields in its body") {
  const auto call = read_call("call.box.a%2Fb.Put", "", R"({"cents": 5})", kinds);
  REQUIRE(call.ok());
  CHECK(call->ask.entity == EntityId{"box", "a/b"});
  CHECK(call->ask.message == "Put");
  CHECK(call->ask.payload == encode(Put{5}));
  CHECK_FALSE(call->ask.query);
  CHECK_FALSE(bool{call->ask.operation});
  CHECK(call->message->json_from_reply(encode(Done{})).value() == "{}");
  CHECK(read_call("call.box.a.Put", "", "", kinds)->ask.payload == encode(Put{}));
}

TEST_CASE("an operation id in hex is taken as it is, any other text with what it is for") {
  const auto id = [](std::string_view subject, std::string_view header) {
    return read_call(subject, header, "", kinds)->ask.operation;
  };
  CHECK(id("call.box.a.Put", "00000000000000070000000000000008") == OperationId{7, 8});
  CHECK(bool{id("call.box.a.Put", "order 7")});
  CHECK(id("call.box.a.Put", "order 7") == id("call.box.%61.Put", "order 7"));
  CHECK_FALSE(id("call.box.a.Put", "order 7") == id("call.box.b.Put", "order 7"));
  CHECK(bool{id("call.box.a.Put", std::string(32, '0'))});  // the id "none" is a text like others
  CHECK_FALSE(bool{id("call.box.a.Look", "order 7")});      // a query needs none
}

TEST_CASE("a call that cannot be is answered with what is wrong") {
  CHECK(error_of("call.box.a", "").code == Code::malformed);
  CHECK(error_of("call.box.a.b.Put", "").code == Code::malformed);
  CHECK(error_of("shout.box.a.Put", "").code == Code::malformed);
  CHECK(error_of("call.box.%zz.Put", "").code == Code::malformed);
  CHECK(error_of("call.bag.a.Put", "").text == "no kind bag is hosted here");
  CHECK(error_of("call.box.a.Take", "").text == "kind box has no message Take");
  CHECK(error_of("call.box.a.Take", "").code == Code::not_found);
  CHECK(error_of("call.box.a.Put", R"({"euros": 5})").code == Code::malformed);
}

TEST_CASE("an error is JSON whatever bytes its words have") {
  CHECK(error_json(Error{Code::rejected, "no \"funds\""}) ==
        R"({"error":{"code":"rejected","text":"no \"funds\""}})");
  CHECK(msgpack_from_json(error_json(Error{Code::malformed, "a\xff"})).ok());
}
