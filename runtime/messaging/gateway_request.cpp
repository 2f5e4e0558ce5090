#include "catga/runtime/messaging/gateway_request.hpp"

#include "catga/entities/operation.hpp"

#include <nlohmann/json.hpp>

#include <utility>
#include <vector>

namespace catga {

namespace {

int hex(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

bool plain(char letter) {
  return (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z') ||
         (letter >= '0' && letter <= '9') || letter == '_' || letter == '-';
}

std::vector<std::string_view> tokens_of(std::string_view subject) {
  std::vector<std::string_view> tokens;
  for (;;) {
    const auto dot = subject.find('.');
    tokens.push_back(subject.substr(0, dot));
    if (dot == subject.npos) return tokens;
    subject.remove_prefix(dot + 1);
  }
}

/// 32 hex digits are taken as they are; anything else is a key of the client's, made an id together with what it is for.
OperationId operation_of(std::string_view header, const EntityId& entity,
                         std::string_view message) {
  if (const Result<OperationId> id = parse_wide_id<OperationId>(header); id.ok() && *id) return *id;
  return operation_of_key(entity, message, header);
}

}  // namespace

Result<std::string> decode_token(std::string_view token) {
  std::string out;
  for (std::size_t i = 0; i < token.size(); ++i) {
    if (token[i] != '%') {
      out.push_back(token[i]);
      continue;
    }
    const int high = i + 2 < token.size() ? hex(token[i + 1]) : -1;
    const int low = i + 2 < token.size() ? hex(token[i + 2]) : -1;
    if (high < 0 || low < 0)
      return Error{Code::malformed, "a key with a broken percent-encoding: " + std::string(token)};
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return out;
}

std::string encode_token(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char letter : text) {
    if (plain(letter)) {
      out.push_back(letter);
      continue;
    }
    const auto byte = static_cast<unsigned char>(letter);
    out.push_back('%');
    out.push_back(digits[byte >> 4]);
    out.push_back(digits[byte & 15]);
  }
  return out;
}

Result<GatewayCall> read_call(std::string_view subject, std::string_view operation,
                              std::string_view body, const GatewayKinds& kinds) {
  const std::vector<std::string_view> tokens = tokens_of(subject);
  if (tokens.size() != 4 || tokens[0] != "call") {
    return Error{Code::malformed, "a call's subject ends in call.<kind>.<key>.<message>, not in " +
                                      std::string(subject)};
  }
  std::string key = CATGA_TRY(decode_token(tokens[2]));
  const auto kind = kinds.find(tokens[1]);
  if (kind == kinds.end())
    return Error{Code::not_found, "no kind " + std::string(tokens[1]) + " is hosted here"};
  const std::size_t index = kind->second.index_of(tokens[3]);
  if (index >= kind->second.messages.size()) {
    return Error{Code::not_found,
                 "kind " + kind->first + " has no message " + std::string(tokens[3])};
  }
  GatewayCall call;
  call.message = &kind->second.messages[index];
  call.ask.payload = CATGA_TRY(call.message->payload_from_json(body.empty() ? "{}" : body));
  call.ask.entity = {kind->first, std::move(key)};
  call.ask.message = call.message->name;
  call.ask.query = call.message->query;
  if (!operation.empty() && !call.message->query)
    call.ask.operation = operation_of(operation, call.ask.entity, call.ask.message);
  return call;
}

std::string error_json(const Error& error) {
  nlohmann::json json;
  json["error"]["code"] = name_of(error.code);
  json["error"]["text"] = error.text;
  if (error.retry_after.count() > 0) json["error"]["retry_after_ms"] = error.retry_after.count();
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace catga
