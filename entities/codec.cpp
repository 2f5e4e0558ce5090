// The only file that knows msgpack, and the only place that catches what it throws.
#include "catga/entities/codec.hpp"

#include <msgpack/null_visitor.hpp>
#include <msgpack/pack.hpp>
#include <msgpack/parse.hpp>
#include <msgpack/unpack.hpp>

#include <array>
#include <bit>
#include <cassert>
#include <charconv>
#include <cmath>
#include <exception>

namespace catga::detail {
namespace {

/// Lets msgpack's packer append to a string.
struct StringSink {
  std::string& out;
  void write(const char* data, std::size_t size) { out.append(data, size); }
};

msgpack::packer<StringSink> packer(StringSink& sink) { return msgpack::packer<StringSink>(sink); }

std::uint32_t count32(std::size_t count) {
  assert(count <= std::numeric_limits<std::uint32_t>::max());
  return static_cast<std::uint32_t>(count);
}

/// msgpack-c writes a whole number as an integer. Not these: the sign of -0 would be lost, and 2^64
/// passes its test of the range but does not fit.
template <class Real>
bool stays_real(Real value) {
  return value == Real{0x1p64} || (value == 0 && std::signbit(value));
}

/// Marker and big-endian IEEE 754, as in https://github.com/msgpack/msgpack/blob/master/spec.md.
void append_float64(std::string& out, double value) {
  out += '\xcb';
  const auto bits = std::bit_cast<std::uint64_t>(value);
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(bits >> shift);
}

const msgpack::object& object_of(const Value& value) {
  return reinterpret_cast<const msgpack::object&>(value);
}

const Value& value_of(const msgpack::object& object) {
  return reinterpret_cast<const Value&>(object);
}

/// Reads the bytes once without keeping anything. Each element needs at least one byte, so more
/// elements than bytes are a lie; without this check five bytes could ask for 256 GiB.
class Survey : public msgpack::null_visitor {
 public:
  explicit Survey(std::size_t bytes) : elements_left_(bytes) {}
  bool start_array(std::uint32_t count) { return enter(count); }
  bool end_array() { return leave(); }
  bool start_map(std::uint32_t count) { return enter(std::size_t{count} * 2); }
  bool end_map() { return leave(); }
  void parse_error(std::size_t, std::size_t) { broken_ = true; }
  void insufficient_bytes(std::size_t, std::size_t) { broken_ = true; }

  bool broken() const { return broken_; }
  bool too_deep() const { return too_deep_; }

 private:
  bool enter(std::size_t count) {
    too_deep_ = ++depth_ > nesting_max;
    broken_ = count > elements_left_;
    if (broken_ || too_deep_) return false;
    elements_left_ -= count;
    return true;
  }
  bool leave() {
    --depth_;
    return true;
  }

  std::size_t elements_left_;
  std::size_t depth_ = 0;
  bool broken_ = false;
  bool too_deep_ = false;
};

std::string_view words_of(Shape shape) {
  switch (shape) {
    case Shape::nil:
      return "nothing";
    case Shape::boolean:
      return "a boolean";
    case Shape::integer:
    case Shape::whole:
      return "an integer";
    case Shape::real:
      return "a fraction";
    case Shape::text:
      return "text";
    case Shape::array:
      return "a list";
    case Shape::map:
      return "a map";
    case Shape::other:
      break;
  }
  return "something else";
}

/// Nothing is wrong with the shape of the bytes? Then an empty text, else what is wrong.
std::string_view survey(std::string_view bytes) {
  if (bytes.empty()) return "no bytes";
  Survey visitor(bytes.size());
  std::size_t used = 0;
  const bool complete = msgpack::parse(bytes.data(), bytes.size(), used, visitor);
  if (visitor.too_deep()) return "nested too deep";
  if (!complete || visitor.broken()) return "not msgpack, or cut off";
  if (used != bytes.size()) return "more bytes than one value";
  return {};
}

/// Reads what most messages are, one number or a map of a few plain fields, without what it takes to read the rest: 700
/// instructions and an allocation. Whatever is not of that form, or not whole, it leaves to the long way, which also knows
/// the words for what is wrong.
class PlainReader {
 public:
  explicit PlainReader(std::string_view bytes) : rest_(bytes) {}
  /// Null: read it the long way. Else it points into this reader, and its texts into the bytes.
  const msgpack::object* whole() {
    const bool plain = is_map() ? map() : value(root_);
    return plain && rest_.empty() ? &root_ : nullptr;
  }

 private:
  static constexpr std::size_t fields_most = 8;

  bool is_map() const { return !rest_.empty() && (marker() & 0xf0) == 0x80; }
  unsigned char marker() const { return static_cast<unsigned char>(rest_.front()); }
  bool map() {
    const std::uint32_t count = marker() & 0x0f;
    if (count > fields_most) return false;
    rest_.remove_prefix(1);
    for (std::uint32_t i = 0; i < count; ++i)
      if (!value(fields_[i].key) || !value(fields_[i].val)) return false;
    root_.type = msgpack::type::MAP;
    root_.via.map = {count, fields_.data()};
    return true;
  }
  bool value(msgpack::object& out) {
    if (rest_.empty()) return false;
    const unsigned char first = marker();
    if (first <= 0x7f || first >= 0xe0) {
      rest_.remove_prefix(1);
      put(out, static_cast<std::int8_t>(first));
      return true;
    }
    if ((first & 0xe0) == 0xa0) return text(out, 1, first & 0x1f);
    if (first == 0xc2 || first == 0xc3) {
      rest_.remove_prefix(1);
      out.type = msgpack::type::BOOLEAN;
      out.via.boolean = first == 0xc3;
      return true;
    }
    if (first == 0xd9 && rest_.size() > 1)
      return text(out, 2, static_cast<unsigned char>(rest_[1]));
    return first >= 0xcc && first <= 0xd3 && number(out);
  }
  bool text(msgpack::object& out, std::size_t before, std::uint32_t size) {
    if (rest_.size() < before + size) return false;
    out.type = msgpack::type::STR;
    out.via.str = {size, rest_.data() + before};
    rest_.remove_prefix(before + size);
    return true;
  }
  /// uint 8 to 64, then int 8 to 64: big-endian behind the marker.
  bool number(msgpack::object& out) {
    const unsigned char first = marker();
    const std::size_t size = std::size_t{1} << ((first - 0xcc) % 4);
    if (rest_.size() < 1 + size) return false;
    std::uint64_t bits = 0;
    for (const char byte : rest_.substr(1, size))
      bits = bits << 8 | static_cast<unsigned char>(byte);
    rest_.remove_prefix(1 + size);
    if (first <= 0xcf) {
      out.type = msgpack::type::POSITIVE_INTEGER;
      out.via.u64 = bits;
    } else {
      const std::size_t unused = 64 - 8 * size;
      put(out, static_cast<std::int64_t>(bits << unused) >> unused);
    }
    return true;
  }
  static void put(msgpack::object& out, std::int64_t value) {
    out.type = value < 0 ? msgpack::type::NEGATIVE_INTEGER : msgpack::type::POSITIVE_INTEGER;
    out.via.i64 = value;
  }

  std::string_view rest_;
  msgpack::object root_;
  std::array<msgpack::object_kv, fields_most> fields_{};
};

/// The texts of the parsed value point into `bytes` instead of being copied.
bool point_into_bytes(msgpack::type::object_type, std::size_t, void*) { return true; }

}  // namespace

Status parse(std::string_view bytes, std::string_view name, Decoding& decoding,
             const std::function<bool(const Value&)>& read) {
  try {
    PlainReader plain(bytes);
    if (const msgpack::object* value = plain.whole()) {
      if (read(value_of(*value))) return Done{};
      return Error{Code::malformed, decoding.words(name)};
    }
    if (const std::string_view wrong = survey(bytes); !wrong.empty()) {
      decoding.trouble(std::string(wrong));
      return Error{Code::malformed, decoding.words(name)};
    }
    const msgpack::unpack_limit limit(bytes.size(), bytes.size(), bytes.size(), bytes.size(),
                                      bytes.size(), nesting_max);
    msgpack::zone zone(1024);
    std::size_t used = 0;
    bool referenced = false;
    const msgpack::object root = msgpack::unpack(zone, bytes.data(), bytes.size(), used, referenced,
                                                 &point_into_bytes, nullptr, limit);
    if (read(value_of(root))) return Done{};
  } catch (const std::exception& trouble) {
    decoding.trouble(trouble.what());
  }
  return Error{Code::malformed, decoding.words(name)};
}

void Writer::nil() {
  StringSink sink{out_};
  packer(sink).pack_nil();
}
void Writer::boolean(bool value) {
  StringSink sink{out_};
  value ? packer(sink).pack_true() : packer(sink).pack_false();
}
void Writer::integer(std::int64_t value) {
  StringSink sink{out_};
  packer(sink).pack_int64(value);
}
void Writer::whole(std::uint64_t value) {
  StringSink sink{out_};
  packer(sink).pack_uint64(value);
}
void Writer::real(float value) {
  if (stays_real(value)) return append_float64(out_, value);  // exact: a float is a double
  StringSink sink{out_};
  packer(sink).pack_float(value);
}
void Writer::real(double value) {
  if (stays_real(value)) return append_float64(out_, value);
  StringSink sink{out_};
  packer(sink).pack_double(value);
}
void Writer::text(std::string_view value) {
  StringSink sink{out_};
  packer(sink).pack_str(count32(value.size()));
  out_.append(value);
}
void Writer::array(std::size_t count) {
  StringSink sink{out_};
  packer(sink).pack_array(count32(count));
}
void Writer::map(std::size_t count) {
  StringSink sink{out_};
  packer(sink).pack_map(count32(count));
}

Shape shape_of(const Value& value) {
  switch (object_of(value).type) {
    case msgpack::type::NIL:
      return Shape::nil;
    case msgpack::type::BOOLEAN:
      return Shape::boolean;
    case msgpack::type::POSITIVE_INTEGER:
      return Shape::whole;
    case msgpack::type::NEGATIVE_INTEGER:
      return Shape::integer;
    case msgpack::type::FLOAT32:
    case msgpack::type::FLOAT64:
      return Shape::real;
    case msgpack::type::STR:
    case msgpack::type::BIN:
      return Shape::text;  // other languages may send text as bytes
    case msgpack::type::ARRAY:
      return Shape::array;
    case msgpack::type::MAP:
      return Shape::map;
    default:
      return Shape::other;
  }
}

bool boolean_in(const Value& value) { return object_of(value).via.boolean; }
std::int64_t integer_in(const Value& value) { return object_of(value).via.i64; }
std::uint64_t whole_in(const Value& value) { return object_of(value).via.u64; }
double real_in(const Value& value) { return object_of(value).via.f64; }

std::string_view text_in(const Value& value) {
  const msgpack::object& object = object_of(value);
  if (object.type == msgpack::type::BIN) return {object.via.bin.ptr, object.via.bin.size};
  return {object.via.str.ptr, object.via.str.size};
}

std::size_t count_in(const Value& value) {
  const msgpack::object& object = object_of(value);
  return object.type == msgpack::type::MAP ? object.via.map.size : object.via.array.size;
}

const Value& element_in(const Value& array, std::size_t index) {
  assert(index < count_in(array));
  return value_of(object_of(array).via.array.ptr[index]);
}
const Value& key_in(const Value& map, std::size_t index) {
  assert(index < count_in(map));
  return value_of(object_of(map).via.map.ptr[index].key);
}
const Value& value_in(const Value& map, std::size_t index) {
  assert(index < count_in(map));
  return value_of(object_of(map).via.map.ptr[index].val);
}

bool Decoding::expected(std::string_view what, const Value& found) {
  std::string words = "expected " + std::string(what) + ", found ";
  const Shape shape = shape_of(found);
  if (shape == Shape::whole) {
    words += std::to_string(whole_in(found));
  } else if (shape == Shape::integer) {
    words += std::to_string(integer_in(found));
  } else {
    words += words_of(shape);
  }
  return trouble(std::move(words));
}

bool Decoding::trouble(std::string words) {
  if (trouble_.empty()) trouble_ = std::move(words);
  return false;
}

bool Decoding::unknown_field(std::string_view name, const std::string_view* known,
                             std::size_t count) {
  std::string words = "no such field";
  for (std::size_t i = 0; i < count; ++i) {
    words.append(i == 0 ? "; there is " : ", ").append(known[i]);
  }
  trouble(std::move(words));
  return within(name);
}

bool Decoding::within(std::string_view field) {
  const bool joined = place_.empty() || place_.starts_with('[');
  // Long names come from strangers; an error text is no place for a megabyte.
  place_ = std::string(field.substr(0, 100)) + (joined ? "" : ".") + place_;
  return false;
}

bool Decoding::within(std::size_t element) {
  const bool joined = place_.empty() || place_.starts_with('[');
  place_ = '[' + std::to_string(element) + ']' + (joined ? "" : ".") + place_;
  return false;
}

std::string Decoding::words(std::string_view name) const {
  std::string out(name);
  if (!place_.empty() && !name.empty() && !place_.starts_with('[')) out += '.';
  out += place_;
  return out.empty() ? trouble_ : out + ": " + trouble_;
}

bool read_signed(const Value& value, std::int64_t low, std::int64_t high, std::int64_t& out,
                 Decoding& decoding) {
  const Shape shape = shape_of(value);
  if (shape == Shape::integer) {
    out = integer_in(value);
    if (out >= low) return true;
  } else if (shape == Shape::whole && whole_in(value) <= static_cast<std::uint64_t>(high)) {
    out = static_cast<std::int64_t>(whole_in(value));
    return true;
  }
  return decoding.expected("an integer from " + std::to_string(low) + " to " + std::to_string(high),
                           value);
}

bool read_unsigned(const Value& value, std::uint64_t high, std::uint64_t& out, Decoding& decoding) {
  if (shape_of(value) == Shape::whole) {
    out = whole_in(value);
    if (out <= high) return true;
  }
  return decoding.expected("an integer from 0 to " + std::to_string(high), value);
}

bool read_real(const Value& value, double& out, Decoding& decoding) {
  switch (shape_of(value)) {
    case Shape::real:
      out = real_in(value);
      return true;
    case Shape::integer:
      out = static_cast<double>(integer_in(value));
      return true;
    case Shape::whole:
      out = static_cast<double>(whole_in(value));
      return true;
    default:
      return decoding.expected("a number", value);
  }
}

bool read_text(const Value& value, std::string_view& out, Decoding& decoding) {
  if (shape_of(value) != Shape::text) return decoding.expected("text", value);
  out = text_in(value);
  return true;
}

namespace {
template <class Number>
bool number_in_text(std::string_view text, Number& out) {
  const char* end = text.data() + text.size();
  const auto [at, wrong] = std::from_chars(text.data(), end, out);
  return wrong == std::errc{} && at == end;
}
}  // namespace

bool read_number_text(std::string_view text, std::int64_t& out) {
  return number_in_text(text, out);
}
bool read_number_text(std::string_view text, std::uint64_t& out) {
  return number_in_text(text, out);
}

}  // namespace catga::detail
