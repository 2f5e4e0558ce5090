// Operation records as bytes.
#include <catga/persistence/stores.hpp>

#include <doctest/doctest.h>

namespace catga {

TEST_CASE("an operation record is one byte of type, 8 of hash, 6 of time, then the reply") {
  OperationRecord record;
  record.type = OperationRecord::Type::rejection;
  record.request_hash = 0x0102030405060708;
  record.time_ms = 0x0a0b0c0d0e0f;
  record.reply = "no";
  CHECK(bytes_of(record) == "J\x01\x02\x03\x04\x05\x06\x07\x08\x0a\x0b\x0c\x0d\x0e\x0fno");
}

TEST_CASE("an operation record survives its bytes, zeros and high bits included") {
  for (const auto type : {OperationRecord::Type::reply, OperationRecord::Type::rejection,
                          OperationRecord::Type::tombstone}) {
    OperationRecord record;
    record.type = type;
    record.request_hash = 0xffffffffffffffff;
    record.time_ms = (std::int64_t{1} << 48) - 1;
    record.reply = std::string("\0\xff\n", 3);
    const auto read = parse_record(bytes_of(record));
    REQUIRE(read.ok());
    CHECK(*read == record);
  }
}

TEST_CASE("bytes that are no operation record are malformed") {
  CHECK(parse_record("").error().code == Code::malformed);
  CHECK(parse_record("R1234567812345").error().code == Code::malformed);
  CHECK(parse_record("R12345678123456").ok());
  CHECK(parse_record("Q12345678123456").error().code == Code::malformed);
}

}  // namespace catga
