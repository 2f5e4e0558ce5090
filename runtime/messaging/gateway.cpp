#include "catga/runtime/messaging/gateway.hpp"

#include "catga/sharding/hash.hpp"

#include <nlohmann/json.hpp>

#include <array>
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
  std::string bytes = entity.kind;
  for (const std::string_view part : {std::string_view(entity.key), message, header}) {
    bytes.push_back('\0');
    bytes += part;
  }
  return hash128(48, bytes);
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

Gateway::Gateway(std::string prefix, const Kinds& kinds, Messenger& messenger, NatsConnection& nats)
    : prefix_(std::move(prefix)), kinds_(kinds), messenger_(messenger), nats_(nats) {}

Status Gateway::open() {
  subscription_ =
      CATGA_TRY(nats_.subscribe(prefix_ + "call.*.*.*", "catga",
                                [this](NatsMessage message) { called(std::move(message)); }));
  return Done{};
}

void Gateway::called(NatsMessage message) {
  const std::string to{reply_of(*message)};
  const std::vector<std::string_view> tokens =
      tokens_of(subject_of(*message).substr(prefix_.size()));
  if (tokens.size() != 4) return;
  Result<std::string> key = decode_token(tokens[2]);
  if (!key.ok()) return answer(to, key.error());
  const auto kind = kinds_.find(tokens[1]);
  if (kind == kinds_.end())
    return answer(to,
                  Error{Code::not_found, "no kind " + std::string(tokens[1]) + " is hosted here"});
  const std::size_t index = kind->second.index_of(tokens[3]);
  if (index >= kind->second.messages.size()) {
    return answer(to, Error{Code::not_found,
                            "kind " + kind->first + " has no message " + std::string(tokens[3])});
  }
  const MessageInfo& info = kind->second.messages[index];
  const std::string_view body = body_of(*message);
  Result<std::string> payload = info.payload_from_json(body.empty() ? "{}" : body);
  if (!payload.ok()) return answer(to, payload.error());
  Ask ask;
  ask.entity = {kind->first, std::move(*key)};
  ask.message = info.name;
  ask.payload = std::move(*payload);
  ask.query = info.query;
  if (const std::string id = header_of(*message, "Catga-Operation-Id");
      !id.empty() && !info.query) {
    ask.operation = operation_of(id, ask.entity, info.name);
  }
  messenger_.ask(std::move(ask), [this, to, &info](Result<std::string> reply) {
    if (!reply.ok()) return answer(to, std::move(reply));
    answer(to, info.json_from_reply(*reply));
  });
}

void Gateway::answer(const std::string& to, Result<std::string> json) {
  if (to.empty()) return;  // a publication, not a request
  if (json.ok()) return (void)nats_.publish(to, "", *json);
  nlohmann::json error;
  error["error"]["code"] = name_of(json.error().code);
  error["error"]["text"] = json.error().text;
  if (json.error().retry_after.count() > 0)
    error["error"]["retry_after_ms"] = json.error().retry_after.count();
  const std::string text = error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  (void)nats_.publish_with_header(to, "Catga-Error", std::string(name_of(json.error().code)), text);
}

}  // namespace catga
