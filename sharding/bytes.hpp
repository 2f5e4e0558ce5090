// Writes and reads numbers and strings as bytes: little-endian, lengths first, every read checked against the end.
#pragma once
#include "catga/sharding/ids.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace catga {

/// Times that are stored or sent are ms since 1970, not negative and below this (the year 10889): an operation record has
/// six bytes for one, and the difference of two of them cannot overflow. Whoever reads one from strangers checks it.
constexpr std::int64_t time_end_ms = std::int64_t{1} << 48;

/// The lowest `bytes` bytes of a number, at most 8, lowest first. Compilers make one store of it where `bytes` is known.
inline void store_number(char* to, std::uint64_t value, std::size_t bytes) {
  if constexpr (std::endian::native == std::endian::little)
    std::memcpy(to, &value, bytes);
  else
    for (std::size_t i = 0; i < bytes; ++i) to[i] = static_cast<char>(value >> (8 * i));
}
/// The inverse.
inline std::uint64_t load_number(const char* from, std::size_t bytes) {
  std::uint64_t value = 0;
  if constexpr (std::endian::native == std::endian::little)
    std::memcpy(&value, from, bytes);
  else
    for (std::size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(from[i]);
  return value;
}

/// Appends to a string it does not own.
class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}
  void u8(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void u16(std::uint16_t value) { number(value, 2); }
  void u32(std::uint32_t value) { number(value, 4); }
  void u64(std::uint64_t value) { number(value, 8); }
  void i64(std::int64_t value) { number(static_cast<std::uint64_t>(value), 8); }
  template <class Tag>
  void id(const WideId<Tag>& value) {
    u64(value.high);
    u64(value.low);
  }
  /// At most 4 GiB.
  void text(std::string_view value) {
    u32(static_cast<std::uint32_t>(value.size()));
    out_.append(value);
  }
  void entity(const EntityId& value) {
    text(value.kind);
    text(value.key);
  }

 private:
  void number(std::uint64_t value, std::size_t bytes) {
    std::array<char, 8> room;
    store_number(room.data(), value, bytes);
    out_.append(room.data(), bytes);
  }
  std::string& out_;
};

/// The same into room that was measured before: for what every message pays, for each append to a string is a call.
class ByteFiller {
 public:
  /// Appends room for `bytes` to `out`, which nobody else may touch until it is filled.
  ByteFiller(std::string& out, std::size_t bytes) {
    const std::size_t before = out.size();
    out.resize(before + bytes);
    at_ = out.data() + before;
    end_ = at_ + bytes;
  }
  ~ByteFiller() { assert(at_ == end_); }
  ByteFiller(const ByteFiller&) = delete;
  ByteFiller& operator=(const ByteFiller&) = delete;

  void u8(std::uint8_t value) { number(value, 1); }
  void u32(std::uint32_t value) { number(value, 4); }
  void u64(std::uint64_t value) { number(value, 8); }
  void i64(std::int64_t value) { number(static_cast<std::uint64_t>(value), 8); }
  template <class Tag>
  void id(const WideId<Tag>& value) {
    u64(value.high);
    u64(value.low);
  }
  void text(std::string_view value) {
    u32(static_cast<std::uint32_t>(value.size()));
    assert(value.size() <= static_cast<std::size_t>(end_ - at_));
    std::copy(value.begin(), value.end(), at_);
    at_ += value.size();
  }
  void entity(const EntityId& value) {
    text(value.kind);
    text(value.key);
  }

  /// What text() and entity() take.
  static std::size_t size_of(std::string_view value) { return 4 + value.size(); }
  static std::size_t size_of(const EntityId& value) {
    return size_of(value.kind) + size_of(value.key);
  }

 private:
  void number(std::uint64_t value, std::size_t bytes) {
    assert(bytes <= static_cast<std::size_t>(end_ - at_));
    store_number(at_, value, bytes);
    at_ += bytes;
  }
  char* at_;
  char* end_;
};

/// Reads what ByteWriter wrote. After the first read beyond the end ok() is false and all reads give zeros and empty
/// strings: check once, at the end.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}
  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  std::int64_t i64() { return static_cast<std::int64_t>(number(8)); }
  template <class Wide>
  Wide id() {
    Wide value;
    value.high = u64();
    value.low = u64();
    return value;
  }
  /// A view into the bytes being read.
  std::string_view text() { return take(u32()); }
  EntityId entity() {
    std::string kind{text()};
    return {std::move(kind), std::string{text()}};
  }
  std::string_view take(std::size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }
  std::size_t left() const { return rest_.size(); }

 private:
  std::uint64_t number(std::size_t bytes) {
    const std::string_view taken = take(bytes);
    return taken.size() == bytes ? load_number(taken.data(), bytes) : 0;
  }
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace catga
