// Fuzz target: what a stranger may send to the JSON gateway. The input is the subject behind the
// cluster's prefix, a line end, the header with the operation id, a line end, and the body.
#include <catga/entities/json.hpp>
#include <catga/runtime/messaging/gateway_request.hpp>

#include "everything.hpp"
#include "target.hpp"

using namespace catga;

namespace {

/// What stands before the next line end; `rest` begins behind it.
std::string_view line_of(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

void try_json(std::string_view json) {
  const Result<std::string> bytes = msgpack_from_json(json);
  if (!bytes.ok()) {
    fuzz::require(bytes.error().code == Code::malformed, "what is no JSON is malformed");
    return;
  }
  const Result<std::string> back = json_from_msgpack(*bytes);
  fuzz::require(back.ok(), "what came as JSON goes as JSON");
  const Result<std::string> again = msgpack_from_json(*back);
  fuzz::require(again.ok() && *again == *bytes, "JSON keeps its meaning on the way and back");
}

void try_answer(const Error& error) {
  fuzz::require(error.code == Code::malformed || error.code == Code::not_found,
                "a bad call is malformed or not found");
  fuzz::require(!error.text.empty(), "an error has words");
  fuzz::require(msgpack_from_json(error_json(error)).ok(), "an error is answered as JSON");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const GatewayKinds kinds{{"shop", kind_of<fuzz::Shop>()}};
  std::string_view body = fuzz::text(data, size);
  const std::string_view subject = line_of(body), operation = line_of(body);
  try_json(body);
  if (const auto key = decode_token(subject); key.ok())
    fuzz::require(decode_token(encode_token(*key)).value() == *key, "a key is one token");
  const Result<GatewayCall> call = read_call(subject, operation, body, kinds);
  if (!call.ok()) {
    try_answer(call.error());
    return 0;
  }
  const Ask& ask = call->ask;
  fuzz::require(!ask.query || !ask.operation, "a query has no operation id");
  fuzz::require(ask.query || operation.empty() || bool{ask.operation},
                "a command whose caller names it has an operation id");
  // The same call, spelled as the library would: canonical key, and the payload as JSON again.
  const std::string spelled =
      "call." + ask.entity.kind + '.' + encode_token(ask.entity.key) + '.' + ask.message;
  const Result<std::string> json = json_from_msgpack(ask.payload);
  fuzz::require(json.ok(), "a payload made from JSON can be shown as JSON");
  const Result<GatewayCall> again = read_call(spelled, operation, *json, kinds);
  fuzz::require(again.ok(), "a call that was understood is understood again");
  fuzz::require(again->ask.entity == ask.entity && again->ask.message == ask.message &&
                    again->ask.operation == ask.operation && again->ask.payload == ask.payload,
                "a call keeps its meaning however it is spelled");
  return 0;
}
