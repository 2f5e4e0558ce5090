// JSON for the gateway: through the C++ type on the way in, generic on the way out.
#include <catga/entities/entity.hpp>
#include <catga/entities/json.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace catga;

namespace {

struct Item {
  std::string article;
  std::int32_t count = 1;
  CATGA_FIELDS(article, count);
};
struct Placed {
  std::vector<Item> items;
  double total = 0;
  CATGA_FIELDS(items, total);
};
struct Place {
  using Reply = Placed;
  std::vector<Item> items;
  std::map<std::int32_t, std::string> notes;
  double total = 0;
  std::optional<bool> gift;
  CATGA_MESSAGE(Place, items, notes, total, gift);
};
class Order {
 public:
  static constexpr std::string_view kind = "order";
  using Handles = Messages<Place>;
  struct State {
    CATGA_FIELDS();
  } state;
  Placed on(const Place& place) { return {place.items, place.total}; }
};

Result<std::string> payload(std::string_view json) {
  return kind_of<Order>().messages.at(0).payload_from_json(json);
}
std::string trouble(std::string_view json) {
  const Result<std::string> result = payload(json);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == Code::malformed);
  return result.error().text;
}

}  // namespace

TEST_CASE("JSON becomes the payload that a C++ caller would have sent") {
  const auto bytes = payload(
      R"({"total": 3, "items": [{"article": "pen", "count": 2}, {"article": "ink"}],
          "notes": {"-4": "soon"}, "gift": true})");
  REQUIRE(bytes.ok());
  CHECK(*bytes == encode(Place{{{"pen", 2}, {"ink", 1}}, {{-4, "soon"}}, 3.0, true}));
  CHECK(payload("{}").value() == encode(Place{}));
  CHECK(payload(" \n").value() == encode(Place{}));
  CHECK(payload(R"({"gift": null})").value() == encode(Place{}));
}

TEST_CASE("a mistake in JSON is answered with the field and what is wrong with it") {
  CHECK(trouble(R"({"item": []})") ==
        "Place.item: no such field; there is items, notes, total, gift");
  CHECK(trouble(R"({"items": [{"artikle": "pen"}]})") ==
        "Place.items[0].artikle: no such field; there is article, count");
  CHECK(trouble(R"({"items": [{}, {"count": "two"}]})") ==
        "Place.items[1].count: expected an integer from -2147483648 to 2147483647, found text");
  CHECK(
      trouble(R"({"items": [{"count": 1.5}]})") ==
      "Place.items[0].count: expected an integer from -2147483648 to 2147483647, found a fraction");
  CHECK(
      trouble(R"({"items": [{"count": 3000000000}]})") ==
      "Place.items[0].count: expected an integer from -2147483648 to 2147483647, found 3000000000");
  CHECK(trouble(R"({"total": null})") == "Place.total: expected a number, found nothing");
  CHECK(trouble(R"({"notes": {"four": "x"}})") ==
        "Place.notes[0]: expected a key that is an integer in range, found text");
  CHECK(trouble("[1]") == "Place: expected a map of fields, found a list");
}

TEST_CASE("text that is not JSON says where it breaks") {
  CHECK(trouble(R"({"items": [)").starts_with("not JSON: parse error at line 1, column 12"));
  CHECK(trouble("{} {}").starts_with("not JSON: "));
  CHECK(trouble(std::string(1000000, '[')).find("JSON") != std::string::npos);
  CHECK(trouble(std::string(1000, '[') + std::string(1000, ']')) == "JSON nested too deep");
}

TEST_CASE("JSON may be nested as deep as a payload, and no deeper") {
  const auto nested = [](std::size_t levels, const char* inside) {
    return std::string(levels, '[') + inside + std::string(levels, ']');
  };
  for (const char* inside : {"", "1", "{}"}) {
    const std::size_t most = detail::nesting_max - (*inside == '{' ? 1 : 0);
    const auto bytes = msgpack_from_json(nested(most, inside));
    REQUIRE(bytes.ok());
    CHECK(json_from_msgpack(*bytes).value() == nested(most, inside));
    const auto deeper = msgpack_from_json(nested(most + 1, inside));
    REQUIRE_FALSE(deeper.ok());
    CHECK(deeper.error().text == "JSON nested too deep");
  }
}

TEST_CASE("a reply becomes JSON") {
  const MessageInfo place = kind_of<Order>().messages.at(0);
  CHECK(place.json_from_reply(encode(Placed{{{"p\"en", 2}}, 0.5})).value() ==
        R"({"items":[{"article":"p\"en","count":2}],"total":0.5})");
  CHECK(json_from_msgpack(encode(Done{})).value() == "{}");
  CHECK(json_from_msgpack(encode(std::int64_t{-3})).value() == "-3");
  CHECK(json_from_msgpack(encode(std::map<std::int32_t, bool>{{-1, true}})).value() ==
        R"({"-1":true})");
  CHECK(json_from_msgpack(encode(std::optional<bool>{})).value() == "null");
}

TEST_CASE("a reply that JSON cannot hold is bent, and one that is broken is malformed") {
  CHECK(json_from_msgpack(encode(std::string("a\xff"))).value() == "\"a\xef\xbf\xbd\"");
  CHECK(json_from_msgpack(encode(std::numeric_limits<double>::infinity())).value() == "null");
  CHECK(json_from_msgpack("\xc1").error().code == Code::malformed);
  CHECK(json_from_msgpack(std::string(100000, '\x91')).error().text == "nested too deep");
}

TEST_CASE("JSON goes to msgpack and back") {
  const std::string json =
      R"({"a":[1,-2,0.25,"x",null,true],"b":{"c":{}},"d":18446744073709551615})";
  const auto bytes = msgpack_from_json(json);
  REQUIRE(bytes.ok());
  CHECK(json_from_msgpack(*bytes).value() == json);
}
