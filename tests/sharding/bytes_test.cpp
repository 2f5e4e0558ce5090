// Numbers and strings as bytes: little-endian, lengths first, nothing read beyond the end.
#include <catga/sharding/bytes.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <random>
#include <string>

using namespace catga;

TEST_CASE("numbers are little-endian, ids two of them, texts have their length in front") {
  std::string out;
  ByteWriter writer(out);
  writer.u8(0x01);
  writer.u16(0x0203);
  writer.u32(0x04050607);
  writer.u64(0x08090a0b0c0d0e0fULL);
  writer.i64(-2);
  writer.id(Incarnation{1, 0xff});
  writer.text("hi");
  writer.entity({"k", "y/z"});
  CHECK(out == std::string("\x01"
                           "\x03\x02"
                           "\x07\x06\x05\x04"
                           "\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08"
                           "\xfe\xff\xff\xff\xff\xff\xff\xff"
                           "\x01\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0"
                           "\x02\0\0\0hi"
                           "\x01\0\0\0k\x03\0\0\0y/z",
                           1 + 2 + 4 + 8 + 8 + 16 + 6 + 5 + 7));
}

TEST_CASE("into room that was measured before, the same bytes are written") {
  const auto write_all = [](auto& writer) {
    writer.u8(0x01);
    writer.u32(0x04050607);
    writer.u64(0x08090a0b0c0d0e0fULL);
    writer.i64(-2);
    writer.id(Incarnation{1, 0xff});
    writer.text("");
    writer.text(std::string("a\0b", 3));
    writer.entity({"k", "y/z"});
  };
  std::string appended = "before", filled = "before";
  ByteWriter writer(appended);
  write_all(writer);
  {
    ByteFiller filler(filled, 1 + 4 + 8 + 8 + 16 + ByteFiller::size_of("") +
                                  ByteFiller::size_of(std::string("a\0b", 3)) +
                                  ByteFiller::size_of(EntityId{"k", "y/z"}));
    write_all(filler);
  }
  CHECK(filled == appended);
}

TEST_CASE("what was written is read, to the end") {
  std::string out;
  ByteWriter writer(out);
  writer.u8(255);
  writer.u16(65535);
  writer.u32(0xffffffff);
  writer.u64(std::numeric_limits<std::uint64_t>::max());
  writer.i64(std::numeric_limits<std::int64_t>::min());
  writer.id(OperationId{3, 4});
  writer.text("");
  writer.text(std::string("a\0b", 3));
  writer.entity({"account", "alice"});
  ByteReader reader(out);
  CHECK(reader.left() == out.size());
  CHECK(reader.u8() == 255);
  CHECK(reader.u16() == 65535);
  CHECK(reader.u32() == 0xffffffff);
  CHECK(reader.u64() == std::numeric_limits<std::uint64_t>::max());
  CHECK(reader.i64() == std::numeric_limits<std::int64_t>::min());
  CHECK(reader.id<OperationId>() == OperationId{3, 4});
  CHECK(reader.text().empty());
  CHECK(reader.text() == std::string("a\0b", 3));
  CHECK(reader.entity() == EntityId{"account", "alice"});
  CHECK(reader.ok());
  CHECK(reader.at_end());
}

TEST_CASE("a read beyond the end gives zero, and so does every read after it") {
  ByteReader reader(std::string_view("\x01\x02\x03", 3));
  CHECK(reader.u16() == 0x0201);
  CHECK(reader.u16() == 0);
  CHECK_FALSE(reader.ok());
  CHECK(reader.u8() == 0);  // although a byte was left before
  CHECK(reader.id<Incarnation>() == Incarnation{});
  CHECK(reader.text().empty());
  CHECK(reader.entity() == EntityId{});
  CHECK(reader.left() == 0);
  CHECK_FALSE(reader.ok());
}

TEST_CASE("a text longer than what is left is not read") {
  ByteReader reader(
      std::string_view("\xff\xff\xff\xff"
                       "abc",
                       7));
  CHECK(reader.text().empty());
  CHECK_FALSE(reader.ok());
}

TEST_CASE("any reads of any bytes stay within them") {
  for (std::uint64_t seed = 1; seed <= 20000; ++seed) {
    std::mt19937_64 random(seed);
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? random() : random() % 6);
    ByteReader reader(bytes);
    std::size_t before = bytes.size();
    for (int read = 0; read < 12; ++read) {
      switch (random() % 7) {
        case 0:
          (void)reader.u8();
          break;
        case 1:
          (void)reader.u16();
          break;
        case 2:
          (void)reader.u32();
          break;
        case 3:
          (void)reader.i64();
          break;
        case 4:
          (void)reader.id<Incarnation>();
          break;
        case 5: {
          const std::string_view text = reader.text();
          const bool inside =
              text.empty() || (text.data() >= bytes.data() &&
                               text.data() + text.size() <= bytes.data() + bytes.size());
          if (!inside) FAIL("seed " << seed << ": a text outside of the bytes");
          break;
        }
        default:
          (void)reader.entity();
          break;
      }
      if (reader.left() > before) FAIL("seed " << seed << ": more is left than before");
      before = reader.left();
      if (!reader.ok() && !reader.at_end())
        FAIL("seed " << seed << ": not at the end after a bad read");
    }
  }
}
