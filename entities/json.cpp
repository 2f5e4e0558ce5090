#include "catga/entities/json.hpp"

#include "catga/entities/codec.hpp"

#include <nlohmann/json.hpp>

namespace catga {
namespace {

using Json = nlohmann::json;
using detail::Shape;
using detail::Value;

void write(detail::Writer& out, const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return out.boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return out.integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned:
      return out.whole(json.get<std::uint64_t>());
    case Json::value_t::number_float:
      return out.real(json.get<double>());
    case Json::value_t::string:
      return out.text(json.get_ref<const std::string&>());
    case Json::value_t::array:
      out.array(json.size());
      for (const Json& element : json) write(out, element);
      return;
    case Json::value_t::object:
      out.map(json.size());
      for (const auto& [key, value] : json.items()) {
        out.text(key);
        write(out, value);
      }
      return;
    default:
      return out.nil();
  }
}

std::string key_text(const Value& key) {
  switch (shape_of(key)) {
    case Shape::whole:
      return std::to_string(whole_in(key));
    case Shape::integer:
      return std::to_string(integer_in(key));
    case Shape::text:
      return std::string(text_in(key));
    case Shape::boolean:
      return boolean_in(key) ? "true" : "false";
    default:
      return "?";
  }
}

Json json_of(const Value& value) {
  switch (shape_of(value)) {
    case Shape::boolean:
      return boolean_in(value);
    case Shape::integer:
      return integer_in(value);
    case Shape::whole:
      return whole_in(value);
    case Shape::real:
      return real_in(value);
    case Shape::text:
      return std::string(text_in(value));
    case Shape::array: {
      Json list = Json::array();
      for (std::size_t i = 0; i < count_in(value); ++i)
        list.push_back(json_of(element_in(value, i)));
      return list;
    }
    case Shape::map: {
      Json map = Json::object();
      for (std::size_t i = 0; i < count_in(value); ++i) {
        map[key_text(key_in(value, i))] = json_of(value_in(value, i));
      }
      return map;
    }
    default:
      return nullptr;
  }
}

/// "[json.exception.parse_error.101] parse error at …": the part in brackets helps nobody.
std::string without_tag(std::string_view words) {
  const std::size_t end = words.starts_with('[') ? words.find("] ") : words.npos;
  return std::string(end == words.npos ? words : words.substr(end + 2));
}

}  // namespace

Result<std::string> msgpack_from_json(std::string_view json) {
  std::string bytes;
  detail::Writer writer(bytes);
  if (json.find_first_not_of(" \t\r\n") == json.npos) {
    writer.map(0);
    return bytes;
  }
  bool too_deep = false;
  // `depth` is how many lists and maps are open around what begins here.
  const auto watch_depth = [&too_deep](int depth, Json::parse_event_t event, Json&) {
    const bool opens =
        event == Json::parse_event_t::array_start || event == Json::parse_event_t::object_start;
    too_deep = too_deep || (opens && depth >= static_cast<int>(detail::nesting_max));
    return !too_deep;
  };
  try {
    const Json parsed = Json::parse(json, watch_depth);
    if (too_deep) return Error{Code::malformed, "JSON nested too deep"};
    write(writer, parsed);
  } catch (const std::exception& trouble) {
    return Error{Code::malformed, "not JSON: " + without_tag(trouble.what())};
  }
  return bytes;
}

Result<std::string> json_from_msgpack(std::string_view bytes) {
  Json json;
  detail::Decoding decoding(UnknownField::skip);
  Status parsed = detail::parse(bytes, {}, decoding, [&json](const Value& root) {
    json = json_of(root);
    return true;
  });
  if (!parsed) return std::move(parsed).error();
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace catga
