// What stands beside state as bytes and keys: the days of client keys, and operation records: 1 type, 8 request hash, 6 time in ms, all big-endian, then the reply.
#include "catga/persistence/stores.hpp"
#include "catga/sharding/bytes.hpp"

#include <string>
#include <string_view>

namespace catga {
namespace {

constexpr std::size_t hash_bytes = 8, time_bytes = 6, head_bytes = 1 + hash_bytes + time_bytes;

void append_number(std::string& out, std::uint64_t number, std::size_t bytes) {
  for (std::size_t left = bytes; left > 0; --left) {
    out.push_back(static_cast<char>(number >> (8 * (left - 1)) & 0xff));
  }
}

std::uint64_t read_number(std::string_view bytes) {
  std::uint64_t number = 0;
  for (const char byte : bytes) number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}

}  // namespace

std::vector<std::int64_t> seen_days(std::int64_t now_ms, std::chrono::milliseconds retention) {
  constexpr std::chrono::milliseconds day = std::chrono::hours{24};
  const std::int64_t today = now_ms / day.count();
  std::vector<std::int64_t> days{today, today + 1};
  const std::int64_t older = (retention.count() + day.count() - 1) / day.count();
  for (std::int64_t back = 1; back <= older; ++back) days.push_back(today - back);
  return days;
}

std::chrono::milliseconds seen_ttl(std::chrono::milliseconds retention) {
  return retention + std::chrono::hours{25};  // a day to be written in, and an hour for clocks
}

std::string bytes_of(const OperationRecord& record) {
  assert(record.time_ms >= 0 && record.time_ms < time_end_ms);
  std::string out;
  out.reserve(head_bytes + record.reply.size());
  out.push_back(static_cast<char>(record.type));
  append_number(out, record.request_hash, hash_bytes);
  append_number(out, static_cast<std::uint64_t>(record.time_ms), time_bytes);
  return out.append(record.reply);
}

Result<OperationRecord> parse_record(std::string_view bytes) {
  if (bytes.size() < head_bytes) {
    return Error{Code::malformed, "an operation record has " + std::to_string(bytes.size()) +
                                      " bytes; at least " + std::to_string(head_bytes) +
                                      " are needed"};
  }
  const char type = bytes.front();
  if (type != 'R' && type != 'J' && type != 'X') {
    return Error{Code::malformed, "an operation record is of a type this version does not know"};
  }
  OperationRecord record;
  record.type = static_cast<OperationRecord::Type>(type);
  record.request_hash = read_number(bytes.substr(1, hash_bytes));
  record.time_ms = static_cast<std::int64_t>(read_number(bytes.substr(1 + hash_bytes, time_bytes)));
  record.reply = bytes.substr(head_bytes);
  return record;
}

}  // namespace catga
