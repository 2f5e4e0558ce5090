// What membership drivers send each other, as bytes.
#include "catga/runtime/cluster/membership_wire.hpp"

#include <algorithm>
#include <cassert>
#include <cstdint>

namespace catga::membership {
namespace {

constexpr std::string_view magic = "CM";
constexpr std::uint8_t version = 1;
constexpr std::size_t fixed_size = 64;
constexpr std::size_t row_max = 1024;      // a row is one line of a few words
constexpr std::size_t primary_max = 1024;  // run ids are 40 characters; a Redis cluster has a few
constexpr std::uint8_t flag_redis = 1, flag_ping_back = 2;
constexpr std::uint8_t mark_load = 1, mark_primary = 2;
constexpr std::size_t piece_head = 3;
constexpr auto last_type = static_cast<std::uint8_t>(Frame::Type::primary);

void put(std::string& out, std::uint64_t number, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(number >> (8 * i)));
}

// Takes fields off the front of bytes whose length was checked before.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t number(std::size_t size) {
    std::uint64_t out = 0;
    for (const char byte : take(size)) out = out << 8 | static_cast<unsigned char>(byte);
    return out;
  }
  std::uint8_t byte() { return static_cast<std::uint8_t>(number(1)); }
  Incarnation incarnation() {
    const std::uint64_t high = number(8);
    return {high, number(8)};
  }
  std::string_view take(std::size_t size) {
    assert(size <= bytes_.size());
    const std::string_view out = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return out;
  }
  std::size_t left() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

Error malformed(const char* why) {
  return Error{Code::malformed, std::string("a membership message ") + why +
                                    "; is another program using this cluster name?"};
}

void put_piece(std::string& out, std::uint8_t mark, std::string_view bytes) {
  put(out, mark, 1);
  put(out, bytes.size(), 2);
  out += bytes;
}

// What stands behind the row. False: cut short, or a piece is not as it must be.
bool read_pieces(Reader& reader, Frame& frame) {
  while (reader.left() > 0) {
    if (reader.left() < piece_head) return false;
    const std::uint8_t mark = reader.byte();
    const std::uint64_t size = reader.number(2);
    if (size > reader.left()) return false;
    Reader piece(reader.take(size));
    if (mark == mark_load) {
      if (size != sizeof frame.load) return false;
      frame.load = static_cast<std::uint32_t>(piece.number(sizeof frame.load));
    } else if (mark == mark_primary) {
      if (size > primary_max) return false;
      frame.primary = std::string(piece.take(size));
    }
  }
  return true;
}

}  // namespace

std::string encode(const Frame& frame) {
  assert(frame.row.size() <= row_max && frame.primary.size() <= primary_max);
  std::string out;
  out.reserve(fixed_size + frame.row.size());
  out += magic;
  put(out, version, 1);
  put(out, static_cast<std::uint8_t>(frame.type), 1);
  out += bytes_of(frame.from);
  put(out, frame.view.value, 8);
  put(out, frame.number, 8);
  put(out, static_cast<std::uint64_t>(std::clamp(frame.score, 0, 255)), 1);
  put(out, (frame.redis ? flag_redis : 0U) | (frame.ping_back ? flag_ping_back : 0U), 1);
  out += bytes_of(frame.about);
  put(out, frame.before.value, 8);
  put(out, frame.row.size(), 2);
  out += frame.row;
  if (frame.load != 0) {
    std::string load;
    put(load, frame.load, sizeof frame.load);
    put_piece(out, mark_load, load);
  }
  if (!frame.primary.empty()) put_piece(out, mark_primary, frame.primary);
  return out;
}

Result<Frame> decode(std::string_view bytes) {
  if (bytes.size() < fixed_size) return malformed("is too short");
  Reader reader(bytes);
  if (reader.take(magic.size()) != magic) return malformed("does not begin with its mark");
  if (reader.byte() != version) return malformed("is of another version");
  const std::uint8_t type = reader.byte();
  if (type > last_type) return malformed("is of no known type");
  Frame frame;
  frame.type = static_cast<Frame::Type>(type);
  frame.from = reader.incarnation();
  if (!frame.from) return malformed("has no sender");
  frame.view = ViewVersion{reader.number(8)};
  frame.number = reader.number(8);
  frame.score = reader.byte();
  const std::uint8_t flags = reader.byte();
  if ((flags & ~(flag_redis | flag_ping_back)) != 0) return malformed("has unknown flags");
  frame.redis = (flags & flag_redis) != 0;
  frame.ping_back = (flags & flag_ping_back) != 0;
  frame.about = reader.incarnation();
  frame.before = ViewVersion{reader.number(8)};
  const std::uint64_t row = reader.number(2);
  if (row > row_max || row > reader.left()) return malformed("is not as long as it says");
  frame.row = std::string(reader.take(row));
  if (!read_pieces(reader, frame)) return malformed("is not as long as it says");
  return frame;
}

std::string heartbeat_subject(const std::string& cluster, Incarnation node) {
  return "catga." + cluster + ".hb." + text_of(node);
}

std::string view_subject(const std::string& cluster) { return "catga." + cluster + ".view"; }

std::string echo_subject(const std::string& cluster, Incarnation self, Incarnation target) {
  return "catga." + cluster + ".hx." + text_of(self) + '.' + text_of(target);
}

std::string echo_subjects(const std::string& cluster, Incarnation self) {
  return "catga." + cluster + ".hx." + text_of(self) + ".*";
}

std::optional<Incarnation> target_of_echo(std::string_view subject) {
  const auto dot = subject.rfind('.');
  if (dot == subject.npos) return std::nullopt;
  const auto target = parse_wide_id<Incarnation>(subject.substr(dot + 1));
  if (!target.ok()) return std::nullopt;
  return target.value();
}

}  // namespace catga::membership
