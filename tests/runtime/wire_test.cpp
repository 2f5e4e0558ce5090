// What nodes send each other: round trips, unknown records, cut and mangled bytes, and the format
// itself.
#include <catga/runtime/messaging/wire.hpp>
#include <catga/sharding/bytes.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

using namespace catga;

namespace {

const Incarnation sender{0x0102030405060708ULL, 0x090a0b0c0d0e0f10ULL}, owner{0x11, 0x12};
const ShardId shard{513};
const Epoch epoch{0x1020304050607ULL};

bool same(const wire::Message& a, const wire::Message& b) { return a.body == b.body; }
bool same(const wire::Reply& a, const wire::Reply& b) {
  return a.correlation == b.correlation && a.ok == b.ok && (a.ok || a.code == b.code) &&
         a.retry_after_ms == b.retry_after_ms && a.bytes == b.bytes && a.shard == b.shard &&
         a.epoch == b.epoch && a.owner == b.owner;
}
bool same(const wire::Owns& a, const wire::Owns& b) {
  return a.shard == b.shard && a.epoch == b.epoch && a.owner == b.owner;
}
bool same(const wire::Want& a, const wire::Want& b) { return a.shard == b.shard; }
bool same(const wire::Offer& a, const wire::Offer& b) {
  return a.shard == b.shard && a.move == b.move && a.epoch == b.epoch;
}
bool same(const wire::Ready& a, const wire::Ready& b) {
  return a.shard == b.shard && a.move == b.move;
}
bool same(const wire::Refuse& a, const wire::Refuse& b) {
  return a.shard == b.shard && a.move == b.move && a.reason == b.reason;
}
bool same(const wire::Abort& a, const wire::Abort& b) {
  return a.shard == b.shard && a.move == b.move;
}
bool same(const wire::Handover& a, const wire::Handover& b) {
  return a.shard == b.shard && a.epoch == b.epoch && a.chunk == b.chunk && a.last == b.last &&
         a.quiet == b.quiet && a.envelopes == b.envelopes;
}
bool same(const wire::HandoverAck& a, const wire::HandoverAck& b) {
  return a.shard == b.shard && a.epoch == b.epoch && a.chunk == b.chunk;
}
bool same(const wire::Record& a, const wire::Record& b) {
  if (a.index() != b.index()) return false;
  return std::visit(
      [&b](const auto& one) { return same(one, std::get<std::decay_t<decltype(one)>>(b)); }, a);
}

wire::Reply reply(bool ok, Code code, std::string_view bytes) {
  wire::Reply record;
  record.correlation = 0xfedcba9876543210ULL;
  record.ok = ok;
  record.code = code;
  record.retry_after_ms = 250;
  record.bytes = bytes;
  record.shard = shard;
  record.epoch = epoch;
  record.owner = owner;
  return record;
}

/// One of each, with empty and with binary texts.
std::vector<wire::Record> all_records() {
  static const std::string binary("\0\xff|/", 4);
  return {wire::Message{"body"},
          wire::Message{""},
          wire::Message{binary},
          reply(true, Code::failed, "answer"),
          reply(false, Code::overloaded, binary),
          reply(false, Code::unavailable, ""),
          wire::Owns{shard, epoch, owner},
          wire::Want{shard},
          wire::Offer{shard, 77, epoch},
          wire::Ready{shard, 77},
          wire::Refuse{shard, 77, "view"},
          wire::Abort{shard, 77},
          wire::Handover{shard, epoch, 3, true, false, {"one", "", binary}},
          wire::Handover{shard, epoch, 1, true, true, {}},
          wire::Handover{shard, epoch, 2, false, true, {}},
          wire::Handover{shard, epoch, 0, false, false, {}},
          wire::HandoverAck{shard, epoch, 3}};
}
std::string batch_of(const std::vector<wire::Record>& records) {
  std::string out = wire::header(sender, ViewVersion{42});
  for (const wire::Record& record : records) wire::append(out, record);
  return out;
}
std::string hex(std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const char byte : bytes) {
    out.push_back(digits[static_cast<unsigned char>(byte) >> 4]);
    out.push_back(digits[static_cast<unsigned char>(byte) & 15]);
  }
  return out;
}

Envelope envelope() {
  Envelope one;
  one.kind = MessageClass::ask;
  one.entity = {"account", "alice/main"};
  one.message = "Deposit";
  one.payload = std::string("\x93\0\xff", 3);
  one.operation = {7, 8};
  one.operation_ms = 1'764'000'000'123;
  one.deadline_ms = 50'000;
  one.path = {{"order", "1"}, {"stock", "x|y"}};
  one.route_epoch = epoch;
  one.hops = 3;
  one.reply_to = owner;
  one.correlation = 99;
  return one;
}
bool same(const Envelope& a, const Envelope& b) {
  return a.kind == b.kind && a.entity == b.entity && a.message == b.message &&
         a.payload == b.payload && a.operation == b.operation && a.operation_ms == b.operation_ms &&
         a.deadline_ms == b.deadline_ms && a.path == b.path && a.route_epoch == b.route_epoch &&
         a.hops == b.hops && a.reply_to == b.reply_to && a.correlation == b.correlation &&
         a.timer == b.timer;
}

/// Touches all that was read, so that a sanitizer sees a view that points outside.
std::size_t weigh(const wire::Batch& batch) {
  std::size_t sum = 0;
  const auto touch = [&sum](std::string_view text) {
    for (const char one : text) sum += static_cast<unsigned char>(one);
  };
  for (const wire::Record& record : batch.records) {
    if (const auto* message = std::get_if<wire::Message>(&record)) {
      touch(message->body);
      if (const auto inside = wire::decode(message->body, 0); inside.ok()) sum += inside->bytes();
    } else if (const auto* answer = std::get_if<wire::Reply>(&record)) {
      touch(answer->bytes);
      touch(name_of(answer->code));
    } else if (const auto* refuse = std::get_if<wire::Refuse>(&record)) {
      touch(refuse->reason);
    } else if (const auto* handover = std::get_if<wire::Handover>(&record)) {
      for (const std::string_view one : handover->envelopes) touch(one);
    }
  }
  return sum;
}

/// A few changes of the kind that happen: a bit, a byte, a cut, a piece twice, a large length.
std::string mangle(std::string bytes, std::mt19937_64& random) {
  for (std::uint64_t change = 0; change <= random() % 4; ++change) {
    if (bytes.empty()) return bytes;
    const std::size_t at = random() % bytes.size();
    switch (random() % 6) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1:
        bytes[at] = static_cast<char>(random());
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 20));
        break;
      case 4:
        bytes.erase(at, random() % 10);
        break;
      default:
        for (std::size_t i = at; i < std::min(at + 4, bytes.size()); ++i) bytes[i] = '\xff';
        break;
    }
  }
  return bytes;
}

}  // namespace

TEST_CASE("every record is read as it was written") {
  for (const wire::Record& record : all_records()) {
    const std::string bytes = batch_of({record});
    const auto batch = wire::read(bytes);
    REQUIRE(batch.ok());
    CHECK(batch->sender == sender);
    CHECK(batch->version == ViewVersion{42});
    REQUIRE(batch->records.size() == 1);
    CHECK(same(batch->records[0], record));
  }
}

TEST_CASE("a batch holds any number of records, in order") {
  CHECK(wire::header(sender, ViewVersion{42}).size() == wire::header_bytes);
  const auto empty = wire::read(wire::header(sender, ViewVersion{42}));
  REQUIRE(empty.ok());
  CHECK(empty->records.empty());

  const std::vector<wire::Record> records = all_records();
  const std::string bytes = batch_of(records);
  const auto batch = wire::read(bytes);
  REQUIRE(batch.ok());
  REQUIRE(batch->records.size() == records.size());
  for (std::size_t i = 0; i < records.size(); ++i) CHECK(same(batch->records[i], records[i]));
}

TEST_CASE("every code of a refused ask arrives, and one of a newer node is a failure") {
  for (int code = 0; code <= static_cast<int>(Code::not_found); ++code) {
    const std::string bytes = batch_of({reply(false, static_cast<Code>(code), "words")});
    const auto batch = wire::read(bytes);
    REQUIRE(batch.ok());
    CHECK_FALSE(std::get<wire::Reply>(batch->records.at(0)).ok);
    CHECK(std::get<wire::Reply>(batch->records.at(0)).code == static_cast<Code>(code));
  }
  std::string bytes = batch_of({reply(false, Code::failed, "words")});
  const std::size_t code_at = wire::header_bytes + 5 + 8;
  for (const int unknown : {static_cast<int>(Code::not_found) + 1, 200, 254}) {
    bytes[code_at] = static_cast<char>(unknown);
    const auto batch = wire::read(bytes);
    REQUIRE(batch.ok());
    CHECK_FALSE(std::get<wire::Reply>(batch->records.at(0)).ok);
    CHECK(std::get<wire::Reply>(batch->records.at(0)).code == Code::failed);
  }
}

TEST_CASE("a record of an unknown type is skipped, and those around it are read") {
  for (const int type : {0, 11, 100, 255}) {
    std::string bytes = batch_of({wire::Want{ShardId{1}}});
    ByteWriter write(bytes);
    write.u8(static_cast<std::uint8_t>(type));
    write.text("what a newer node says");
    wire::append(bytes, wire::Want{ShardId{2}});
    const auto batch = wire::read(bytes);
    REQUIRE(batch.ok());
    REQUIRE(batch->records.size() == 2);
    CHECK(std::get<wire::Want>(batch->records[1]).shard == ShardId{2});
  }
}

TEST_CASE("a known record may say more at its end") {
  std::string bytes = wire::header(sender, ViewVersion{42});
  ByteWriter write(bytes);
  write.u8(4);
  write.text(std::string("\x01\x02\0\0and more", 12));
  const auto batch = wire::read(bytes);
  REQUIRE(batch.ok());
  REQUIRE(batch->records.size() == 1);
  CHECK(same(batch->records[0], wire::Want{shard}));
}

TEST_CASE("bytes of something else are malformed") {
  const std::string good = batch_of(all_records());
  for (const std::size_t at : {0, 1, 2}) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] + 1);
    const auto batch = wire::read(bytes);
    REQUIRE_FALSE(batch.ok());
    CHECK(batch.error().code == Code::malformed);
    CHECK_FALSE(batch.error().text.empty());
  }
  CHECK_FALSE(wire::read("").ok());
  CHECK_FALSE(wire::read("{\"json\": true}").ok());
}

TEST_CASE("a batch cut anywhere is malformed, or holds the records before the cut") {
  const std::vector<wire::Record> records = all_records();
  const std::string whole = batch_of(records);
  std::vector<std::size_t> ends{wire::header_bytes};
  std::string growing = wire::header(sender, ViewVersion{42});
  for (const wire::Record& record : records) {
    wire::append(growing, record);
    ends.push_back(growing.size());
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    const auto batch = wire::read(cut);
    const auto boundary = std::find(ends.begin(), ends.end(), size);
    REQUIRE(batch.ok() == (boundary != ends.end()));
    if (batch.ok())
      REQUIRE(batch->records.size() == static_cast<std::size_t>(boundary - ends.begin()));
    else
      REQUIRE(batch.error().code == Code::malformed);
  }
}

TEST_CASE("a record whose own length is cut is malformed") {
  for (const wire::Record& record : all_records()) {
    if (std::holds_alternative<wire::Message>(record)) continue;
    std::string one;
    wire::append(one, record);
    for (std::size_t size = 0; size + 5 < one.size(); ++size) {
      std::string bytes = wire::header(sender, ViewVersion{42});
      ByteWriter write(bytes);
      write.u8(static_cast<std::uint8_t>(one[0]));
      write.text(std::string_view(one).substr(5, size));
      REQUIRE_FALSE(wire::read(bytes).ok());
    }
  }
}

TEST_CASE("a count of envelopes that cannot be is malformed, and costs nothing") {
  std::string body;
  ByteWriter write(body);
  write.u32(1);
  write.u64(2);
  write.u32(0);
  write.u8(1);
  write.u32(0xffffffff);
  std::string bytes = wire::header(sender, ViewVersion{42});
  ByteWriter outer(bytes);
  outer.u8(9);
  outer.text(body);
  CHECK_FALSE(wire::read(bytes).ok());
}

TEST_CASE("an envelope is read as it was written, of each class") {
  for (const MessageClass kind : {MessageClass::ask, MessageClass::tell, MessageClass::query}) {
    Envelope one = envelope();
    one.kind = kind;
    const auto read = wire::decode(wire::encode(one, 20'000), 20'000);
    REQUIRE(read.ok());
    CHECK(same(*read, one));
  }
  Envelope bare;
  bare.kind = MessageClass::query;
  const auto read = wire::decode(wire::encode(bare, 0), 0);
  REQUIRE(read.ok());
  CHECK(same(*read, bare));
}

TEST_CASE(
    "an ask of a saga says so behind all the rest; one cut short, strange or no ask is malformed") {
  Envelope one = envelope();
  const std::string plain = wire::encode(one, 0);
  for (const auto verb : {SagaStep::Verb::run, SagaStep::Verb::settle, SagaStep::Verb::forget}) {
    one.saga = {verb, shard, epoch};
    const std::string whole = wire::encode(one, 0);
    CHECK(whole.starts_with(plain));
    const auto read = wire::decode(whole, 0);
    REQUIRE(read.ok());
    CHECK(same(*read, one));
    CHECK(read->saga == one.saga);
    for (std::size_t size = plain.size() + 1; size < whole.size(); ++size)
      CHECK_FALSE(wire::decode(whole.substr(0, size), 0).ok());
    CHECK_FALSE(wire::decode(whole + '\0', 0).ok());
    std::string strange = whole;
    strange[plain.size()] = 4;
    CHECK_FALSE(wire::decode(strange, 0).ok());
    strange = whole;
    strange[0] = static_cast<char>(MessageClass::tell);
    CHECK_FALSE(wire::decode(strange, 0).ok());
  }
}

TEST_CASE(
    "where a trace stands is said behind all the rest, of each class; nobody traces: nothing") {
  for (const MessageClass kind : {MessageClass::ask, MessageClass::tell, MessageClass::query}) {
    for (const bool step : {false, true}) {
      Envelope one = envelope();
      one.kind = kind;
      if (step && kind != MessageClass::ask) continue;
      if (step) one.saga = {SagaStep::Verb::run, shard, epoch};
      const std::string plain = wire::encode(one, 0);
      one.trace = {0x0102030405060708ULL, 9, 10, 3};
      const std::string whole = wire::encode(one, 0);
      CHECK(whole.starts_with(plain));
      CHECK(whole.size() == plain.size() + 26);
      const auto read = wire::decode(whole, 0);
      REQUIRE(read.ok());
      CHECK(same(*read, one));
      CHECK(read->trace == one.trace);
      CHECK(read->saga == one.saga);
      for (std::size_t size = plain.size() + 1; size < whole.size(); ++size)
        CHECK_FALSE(wire::decode(whole.substr(0, size), 0).ok());
      CHECK_FALSE(wire::decode(whole + '\0', 0).ok());
      const std::string zeros = plain + whole[plain.size()] + std::string(25, '\0');
      CHECK_FALSE(wire::decode(zeros, 0).ok());
    }
  }
}

TEST_CASE("a command without an operation id is malformed: all such would be copies of one") {
  for (const MessageClass kind : {MessageClass::ask, MessageClass::tell}) {
    Envelope one = envelope();
    one.kind = kind;
    one.operation = OperationId{};
    const auto read = wire::decode(wire::encode(one, 0), 0);
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().code == Code::malformed);
  }
}

TEST_CASE("a deadline travels as what is left of it, for clocks differ") {
  Envelope one = envelope();
  const auto at = [&one](std::int64_t deadline, std::int64_t here, std::int64_t there) {
    one.deadline_ms = deadline;
    const auto read = wire::decode(wire::encode(one, here), there);
    REQUIRE(read.ok());
    return read->deadline_ms;
  };
  CHECK(at(50'000, 48'500, 7'000) == 8'500);
  CHECK(at(50'000, 50'001, 7'000) == 7'000);  // it has passed: nothing is left
  CHECK(at(std::numeric_limits<std::int64_t>::max() / 2, 0, 0) == 0xffffffffLL);
}

TEST_CASE("a timer's message is never accepted from the wire") {
  Envelope one = envelope();
  one.kind = MessageClass::timer;
  CHECK_FALSE(wire::decode(wire::encode(one, 0), 0).ok());
}

TEST_CASE("an envelope holds sixteen entities that wait, not more") {
  Envelope one = envelope();
  one.path.assign(16, {"order", "1"});
  CHECK(wire::decode(wire::encode(one, 0), 0).ok());
  one.path.assign(17, {"order", "1"});
  CHECK_FALSE(wire::decode(wire::encode(one, 0), 0).ok());
}

TEST_CASE("an operation is of a time between 1970 and what six bytes hold, or it is malformed") {
  Envelope one = envelope();
  for (const std::int64_t good : {std::int64_t{0}, time_end_ms - 1}) {
    one.operation_ms = good;
    const auto read = wire::decode(wire::encode(one, 0), 0);
    REQUIRE(read.ok());
    CHECK(read->operation_ms == good);
  }
  for (const std::int64_t bad :
       {std::int64_t{-1}, time_end_ms, std::numeric_limits<std::int64_t>::min(),
        std::numeric_limits<std::int64_t>::max()}) {
    one.operation_ms = bad;
    const auto read = wire::decode(wire::encode(one, 0), 0);
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().code == Code::malformed);
    CHECK(read.error().text.find(std::to_string(bad)) != std::string::npos);
  }
}

TEST_CASE("an envelope cut anywhere, or with bytes behind it, is malformed") {
  const std::string whole = wire::encode(envelope(), 0);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto read = wire::decode(whole.substr(0, size), 0);
    REQUIRE_FALSE(read.ok());
    REQUIRE(read.error().code == Code::malformed);
  }
  CHECK_FALSE(wire::decode(whole + '\0', 0).ok());
}

// Nodes of two versions meet in a rolling restart: if one of these changes, the format number must
// too.
TEST_CASE("the bytes of a batch are what they have always been") {
  CHECK(hex(wire::header(sender, ViewVersion{42})) ==
        "436701"
        "0807060504030201"
        "100f0e0d0c0b0a09"
        "2a00000000000000");
  const auto bytes = [](const wire::Record& record) {
    std::string out;
    wire::append(out, record);
    return hex(out);
  };
  const std::string e = "0706050403020100", o = "11000000000000001200000000000000", s = "01020000",
                    m = "4d00000000000000";
  CHECK(bytes(wire::Message{"body"}) ==
        "01"
        "04000000"
        "626f6479");
  CHECK(bytes(reply(true, Code::failed, "ok")) ==
        "02"
        "2f000000"
        "1032547698badcfe"
        "ff"
        "fa000000"
        "02000000"
        "6f6b" +
            s + e + o);
  CHECK(bytes(reply(false, Code::overloaded, "no")) ==
        "02"
        "2f000000"
        "1032547698badcfe"
        "01"
        "fa000000"
        "02000000"
        "6e6f" +
            s + e + o);
  CHECK(bytes(wire::Owns{shard, epoch, owner}) ==
        "03"
        "1c000000" +
            s + e + o);
  CHECK(bytes(wire::Want{shard}) ==
        "04"
        "04000000" +
            s);
  CHECK(bytes(wire::Offer{shard, 77, epoch}) ==
        "05"
        "14000000" +
            s + m + e);
  CHECK(bytes(wire::Ready{shard, 77}) ==
        "06"
        "0c000000" +
            s + m);
  CHECK(bytes(wire::Refuse{shard, 77, "full"}) ==
        "07"
        "14000000" +
            s + m +
            "04000000"
            "66756c6c");
  CHECK(bytes(wire::Abort{shard, 77}) ==
        "08"
        "0c000000" +
            s + m);
  CHECK(bytes(wire::Handover{shard, epoch, 3, true, false, {"a", "bc"}}) ==
        "09"
        "20000000" +
            s + e +
            "03000000"
            "01"
            "02000000"
            "01000000"
            "61"
            "02000000"
            "6263");
  CHECK(bytes(wire::HandoverAck{shard, epoch, 3}) ==
        "0a"
        "10000000" +
            s + e + "03000000");
}

TEST_CASE("the bytes of an envelope are what they have always been") {
  Envelope one = envelope();
  one.path = {{"order", "1"}};
  CHECK(hex(wire::encode(one, 48'500)) ==
        "00"
        "03"
        "0706050403020100"
        "07000000000000000800000000000000"
        "7be897b69a010000"
        "dc050000"
        "11000000000000001200000000000000"
        "6300000000000000"
        "07000000"
        "6163636f756e74"
        "0a000000"
        "616c6963652f6d61696e"
        "07000000"
        "4465706f736974"
        "03000000"
        "9300ff"
        "01"
        "05000000"
        "6f72646572"
        "01000000"
        "31");
}

TEST_CASE("random and mangled bytes are read without harm") {
  const std::vector<wire::Record> records = all_records();
  std::string with_envelope = batch_of(records);
  const std::string body = wire::encode(envelope(), 0);
  wire::append(with_envelope, wire::Message{body});
  std::size_t good = 0, bad = 0, sum = 0;
  for (std::uint64_t seed = 1; seed <= 150'000; ++seed) {
    std::mt19937_64 random(seed);
    std::string bytes;
    switch (random() % 4) {
      case 0: {  // anything at all, half of the time behind a good header
        if (random() % 2 == 0) bytes = wire::header(sender, ViewVersion{42});
        for (std::uint64_t i = random() % 60; i > 0; --i)
          bytes.push_back(static_cast<char>(random() % 3 == 0 ? random() : random() % 12));
        break;
      }
      case 1:
        bytes = mangle(
            batch_of({records[random() % records.size()], records[random() % records.size()]}),
            random);
        break;
      default:
        bytes = mangle(with_envelope, random);
        break;
    }
    const auto batch = wire::read(bytes);
    (batch.ok() ? good : bad) += 1;
    if (batch.ok())
      sum += weigh(*batch);
    else if (batch.error().code != Code::malformed)
      FAIL("seed " << seed << ": another error than malformed");
    const auto read = wire::decode(mangle(body, random), 0);
    if (read.ok())
      sum += read->bytes();
    else if (read.error().code != Code::malformed)
      FAIL("seed " << seed << ": another error than malformed");
  }
  CHECK(good > 1000);
  CHECK(bad > 1000);
  CHECK(sum > 0);
}

TEST_CASE("random batches are read as they were written") {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<wire::Record> records;
    const std::vector<wire::Record> all = all_records();
    for (std::uint64_t i = random() % 30; i > 0; --i) records.push_back(all[random() % all.size()]);
    const std::string bytes = batch_of(records);
    const auto batch = wire::read(bytes);
    if (!batch.ok() || batch->records.size() != records.size())
      FAIL("seed " << seed << ": records are missing");
    for (std::size_t i = 0; i < records.size(); ++i)
      if (!same(batch->records[i], records[i]))
        FAIL("seed " << seed << ": record " << i << " differs");
  }
}
