// What the codec promises: values come back as they were, and bytes of strangers do no harm.
#include <catga/entities/codec.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

using namespace catga;

namespace {

enum class Colour : std::uint8_t { red, green = 7 };

struct Line {
  std::string article;
  std::uint32_t count = 1;
  CATGA_FIELDS(article, count);
  friend bool operator==(const Line&, const Line&) = default;
};

struct Everything {
  std::int64_t small = 0;
  std::uint64_t large = 0;
  std::int8_t tiny = 0;
  char letter = 'a';
  bool flag = false;
  float single = 0;
  double real = 0;
  std::string name;  // a field may be called `name`
  Colour colour = Colour::red;
  std::vector<Line> lines;
  std::vector<bool> bits;
  std::map<std::string, Line> by_name;
  std::map<std::int32_t, std::string> by_number;
  std::optional<Line> perhaps;
  std::array<std::int16_t, 3> three{};
  CATGA_FIELDS(small, large, tiny, letter, flag, single, real, name, colour, lines, bits, by_name,
               by_number, perhaps, three);
  friend bool operator==(const Everything&, const Everything&) = default;
};

struct Empty {
  using Reply = Done;
  CATGA_MESSAGE(Empty);
};

struct NoFields {
  CATGA_FIELDS();
};

struct Tree {
  std::vector<Tree> children;
  CATGA_FIELDS(children);
};

struct Old {
  std::int32_t kept = 1;
  std::int32_t dropped = 2;
  CATGA_FIELDS(kept, dropped);
};
struct New {
  std::int32_t kept = 1;
  std::string added = "default";
  CATGA_FIELDS(added, kept);
};

struct Narrow {
  std::int8_t tiny = 0;
  std::uint16_t positive = 0;
  CATGA_FIELDS(tiny, positive);
};
struct Wide {
  std::int64_t tiny = 0;
  std::int64_t positive = 0;
  CATGA_FIELDS(tiny, positive);
};

Everything example() {
  Everything all;
  all.small = std::numeric_limits<std::int64_t>::min();
  all.large = std::numeric_limits<std::uint64_t>::max();
  all.tiny = -128;
  all.letter = 'z';
  all.flag = true;
  all.single = 0.1F;
  all.real = 1e300;
  all.name = std::string("zero \0 inside", 13);
  all.colour = Colour::green;
  all.lines = {{"pen", 3}, {"", 0}};
  all.bits = {true, false, true};
  all.by_name = {{"a", {"ink", 1}}, {"b", {}}};
  all.by_number = {{-5, "minus"}, {70000, "plus"}};
  all.perhaps = Line{"cap", 2};
  all.three = {-1, 0, 300};
  return all;
}

template <class Type>
std::string trouble(std::string_view bytes, UnknownField unknown = UnknownField::skip) {
  const Result<Type> result = decode<Type>(bytes, unknown);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == Code::malformed);
  return result.error().text;
}

}  // namespace

TEST_CASE("a value of every type that may travel comes back as it was") {
  const Everything all = example();
  const std::string bytes = encode(all);
  const Result<Everything> back = decode<Everything>(bytes);
  REQUIRE(back.ok());
  CHECK(*back == all);
  CHECK(encode(*back) == bytes);
  const Result<Everything> defaults = decode<Everything>(encode(Everything{}));
  REQUIRE(defaults.ok());
  CHECK(*defaults == Everything{});
}

TEST_CASE("plain numbers, text and Done travel without a struct around them") {
  CHECK(decode<std::int64_t>(encode(std::int64_t{-7})).value() == -7);
  CHECK(decode<bool>(encode(true)).value());
  CHECK(decode<std::string>(encode(std::string("hi"))).value() == "hi");
  CHECK(decode<Done>(encode(Done{})).ok());
  CHECK(std::isinf(decode<float>(encode(std::numeric_limits<float>::infinity())).value()));
}

TEST_CASE("a number that travels alone is read like one among others") {
  const auto same = [](const std::string& bytes) {
    CAPTURE(bytes);
    const auto alone = decode<std::int64_t>(bytes);
    const auto among = decode<std::vector<std::int64_t>>('\x91' + bytes);
    REQUIRE(alone.ok() == among.ok());
    if (alone.ok())
      CHECK(*alone == among->front());
    else
      CHECK(among.error().text.ends_with(alone.error().text));  // with its place in front, or not
  };
  for (int marker = 0; marker < 256; ++marker) {
    const std::string first(1, static_cast<char>(marker));
    for (const std::size_t more : {0, 1, 2, 4, 8}) {
      if ((marker & 0xf0) == 0x90 || (marker & 0xe0) == 0x80) continue;  // lists and maps
      same(first + std::string(more, '\x00'));
      same(first + std::string(more, '\x7f'));
      same(first + std::string(more, '\x80'));
      same(first + std::string(more, '\xff'));
    }
  }
  for (const std::int64_t value : {0L,
                                   127L,
                                   128L,
                                   255L,
                                   256L,
                                   65535L,
                                   65536L,
                                   4294967295L,
                                   4294967296L,
                                   -1L,
                                   -32L,
                                   -33L,
                                   -128L,
                                   -129L,
                                   -32768L,
                                   -32769L,
                                   -2147483648L,
                                   -2147483649L,
                                   std::numeric_limits<long>::max(),
                                   std::numeric_limits<long>::min()})
    CHECK(decode<std::int64_t>(encode(value)).value() == value);
}

TEST_CASE("a real number keeps its value and its sign, also where an integer would be shorter") {
  const double two_to_64 = 0x1p64;  // the first that is whole and fits no integer of the format
  for (const double real : {two_to_64, -two_to_64, 0x1p63, -0x1p63, 1.5, 3.0, 0.0, -0.0}) {
    CAPTURE(real);
    const double back = decode<double>(encode(real)).value();
    CHECK(back == real);
    CHECK(std::signbit(back) == std::signbit(real));
    const auto single = static_cast<float>(real);
    const float single_back = decode<float>(encode(single)).value();
    CHECK(single_back == single);
    CHECK(std::signbit(single_back) == std::signbit(single));
  }
}

TEST_CASE("a struct travels as a map of its field names, and one without fields as an empty map") {
  CHECK(encode(Line{"ab", 3}) ==
        "\x82\xa7"
        "article\xa2"
        "ab\xa5"
        "count\x03");
  CHECK(encode(Empty{}) == "\x80");
  CHECK(encode(NoFields{}) == "\x80");
  CHECK(encode(Done{}) == "\x80");
  CHECK(decode<Empty>("\x80").ok());
}

TEST_CASE("old and new versions of a struct read each other") {
  const Result<New> newer = decode<New>(encode(Old{5, 6}));
  REQUIRE(newer.ok());
  CHECK(newer->kept == 5);
  CHECK(newer->added == "default");
  const Result<Old> older = decode<Old>(encode(New{8, "x"}));
  REQUIRE(older.ok());
  CHECK(older->kept == 8);
  CHECK(older->dropped == 2);
}

TEST_CASE("a number that does not fit its C++ type is malformed, and the field is named") {
  CHECK(decode<Narrow>(encode(Wide{-128, 65535})).ok());
  CHECK(trouble<Narrow>(encode(Wide{-129, 0})) ==
        "tiny: expected an integer from -128 to 127, found -129");
  CHECK(trouble<Narrow>(encode(Wide{128, 0})) ==
        "tiny: expected an integer from -128 to 127, found 128");
  CHECK(trouble<Narrow>(encode(Wide{0, -1})) ==
        "positive: expected an integer from 0 to 65535, found -1");
  CHECK(trouble<std::int64_t>(encode(std::numeric_limits<std::uint64_t>::max())) ==
        "expected an integer from -9223372036854775808 to 9223372036854775807, found "
        "18446744073709551615");
  CHECK(trouble<float>(encode(1e300)) == "expected a smaller number, found a fraction");
}

TEST_CASE("trouble deep inside says where it is") {
  struct Wrong {
    std::map<std::string, std::vector<std::map<std::string, bool>>> lines;
    auto bytes() const {
      std::string out;
      detail::Writer writer(out);
      writer.map(1);
      writer.text("lines");
      detail::write(writer, lines.at("lines"));
      return out;
    }
  };
  const Wrong wrong{{{"lines", {{}, {{"count", true}}}}}};
  CHECK(trouble<Everything>(wrong.bytes()) ==
        "lines[1].count: expected an integer from 0 to 4294967295, found a boolean");
}

TEST_CASE("an unknown field can be refused by name") {
  CHECK(trouble<Line>(encode(Old{}), UnknownField::refuse) ==
        "kept: no such field; there is article, count");
  CHECK(trouble<NoFields>(encode(Old{}), UnknownField::refuse) == "kept: no such field");
}

TEST_CASE("bytes that are not one whole value are malformed") {
  CHECK(trouble<Line>("") == "no bytes");
  CHECK(trouble<Line>("\x82") == "not msgpack, or cut off");
  CHECK(trouble<Line>("\xc1") == "not msgpack, or cut off");
  CHECK(trouble<Line>(std::string("\x80\x80", 2)) == "more bytes than one value");
  CHECK(trouble<Line>("\x90") == "expected a map of fields, found a list");
  CHECK(trouble<Empty>("\xc0") == "Empty: expected a map of fields, found nothing");
  CHECK(trouble<Line>("\x81\x01\x02") == "expected text, found 1");
}

TEST_CASE("five bytes that claim four billion elements allocate nothing") {
  for (const std::string_view claim : {std::string_view("\xdd\xff\xff\xff\xff", 5),
                                       {"\xdf\xff\xff\xff\xff", 5},
                                       {"\xdb\xff\xff\xff\xff", 5},
                                       {"\xc6\xff\xff\xff\xff", 5}}) {
    CHECK(trouble<Everything>(claim) == "not msgpack, or cut off");
  }
  // Claims inside claims must not multiply either: each is checked against what the others left.
  std::string nested;
  for (int i = 0; i < 40; ++i) nested += std::string("\xdc\x00\x80", 3);
  CHECK(trouble<Tree>(nested + std::string(100, '\x01')) == "not msgpack, or cut off");
}

TEST_CASE("nesting is limited") {
  CHECK(trouble<Line>(std::string(100000, '\x91')) == "nested too deep");
  const std::string parent =
      "\x81\xa8"
      "children\x91";
  const auto tree = [&parent](int generations) {
    std::string bytes;
    for (int i = 0; i < generations; ++i) bytes += parent;
    return bytes + '\x80';
  };
  CHECK(decode<Tree>(tree(31)).ok());
  CHECK(trouble<Tree>(tree(33)) == "nested too deep");
}

TEST_CASE("bytes may be nested 64 deep, and claim as many elements as there are bytes") {
  const auto parsed = [](std::string_view bytes) {
    detail::Decoding decoding(UnknownField::skip);
    const Status status =
        detail::parse(bytes, {}, decoding, [](const detail::Value&) { return true; });
    return status.ok() ? "good" : status.error().text;
  };
  CHECK(parsed(std::string(63, '\x91') + '\x90') == "good");
  CHECK(parsed(std::string(64, '\x91') + '\x01') == "good");
  CHECK(parsed(std::string(64, '\x91') + '\x90') == "nested too deep");
  for (const std::size_t count : {std::size_t{0xffff}, std::size_t{0xfffe}}) {
    std::string list("\xdc\xff\xff", 3);  // 65535 elements
    list.append(count, '\x01');
    CHECK(parsed(list) == (count == 0xffff ? "good" : "not msgpack, or cut off"));
  }
}

TEST_CASE("random and mutated bytes are decoded or malformed, never worse") {
  const auto seed = std::random_device{}();
  INFO("seed ", seed);
  std::mt19937 random(seed);
  const std::string good = encode(example());
  const auto byte = [&random] { return static_cast<char>(random()); };
  int decoded = 0;
  int refused = 0;
  for (int round = 0; round < 200000; ++round) {
    std::string bytes;
    if (round % 2 == 0) {
      bytes = good;
      for (auto changes = random() % 3; changes > 0; --changes)
        bytes[random() % bytes.size()] = byte();
      if (random() % 8 == 0) bytes.resize(random() % bytes.size());
    } else {
      bytes.resize(random() % 24);
      for (char& each : bytes) each = byte();
    }
    const Result<Everything> value = decode<Everything>(bytes);
    if (!value) {
      ++refused;
      if (value.error().code != Code::malformed || value.error().text.empty())
        FAIL("a wordless error");
      continue;
    }
    ++decoded;
    if (decoded % 8 != 0) continue;
    // What was understood is understood again, in the same way.
    const std::string again = encode(*value);
    const Result<Everything> twice = decode<Everything>(again);
    if (!twice.ok() || encode(*twice) != again)
      FAIL("a decoded value does not survive its own encoding");
  }
  CHECK(decoded > 1000);
  CHECK(refused > 1000);
}
