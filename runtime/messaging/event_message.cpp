#include "catga/runtime/messaging/event_message.hpp"

#include "catga/runtime/messaging/gateway_request.hpp"
#include "catga/sharding/bytes.hpp"
#include "catga/sharding/hash.hpp"

namespace catga {

namespace {

constexpr std::size_t key_token_max = 1024;  // a NATS server takes lines of 4 KiB

/// A key as a token of a subject. A key that is too long for one is named by its beginning and its hash.
std::string key_token(const std::string& key) {
  if (key.empty()) return "%";
  std::string token = encode_token(key);
  if (token.size() <= key_token_max) return token;
  return token.substr(0, key_token_max / 2) + '%' + text_of(hash128(48, key));
}

Result<std::uint64_t> number_in(const std::string& name, const std::string& text) {
  const Result<std::uint64_t> number = parse_number(text);
  if (!number.ok())
    return Error{Code::malformed, "an event's header " + name + " is no number: \"" + text + '"'};
  return *number;
}

}  // namespace

EventMessage event_message(const std::string& prefix, ShardId shard, RelayEntry event) {
  EventMessage message;
  message.subject = prefix + "ev." + std::to_string(part_of(shard)) + '.' + event.message + '.' +
                    source_tokens(event.source);
  message.headers = {{"Nats-Msg-Id", text_of(event.operation)},
                     {"Catga-Source", event.source.kind + '/' + encode_token(event.source.key)},
                     {"Catga-Number", std::to_string(event.number)},
                     {"Catga-Epoch", std::to_string(event.epoch.value)},
                     {"Catga-Time", std::to_string(event.time_ms)},
                     {"Catga-Name", event.message}};
  if (!event.trace.empty()) message.headers.emplace_back("traceparent", event.trace);
  message.body = std::move(event.payload);
  return message;
}

std::string source_tokens(const EntityId& source) {
  return source.kind + '.' + key_token(source.key);
}

std::string event_filter(const std::string& prefix, std::string_view event,
                         std::optional<std::uint32_t> part) {
  return prefix + "ev." + (part ? std::to_string(*part) : "*") + '.' + std::string(event) + ".*.*";
}

Result<StreamEvent> read_event(const std::function<std::string(const std::string&)>& header,
                               std::string_view body) {
  StreamEvent event;
  const Result<OperationId> id = parse_wide_id<OperationId>(header("Nats-Msg-Id"));
  if (!id.ok() || !*id)
    return Error{Code::malformed, "an event without a Nats-Msg-Id of 32 hex digits"};
  event.id = *id;
  const std::string source = header("Catga-Source");
  const auto slash = source.find('/');
  if (slash == source.npos || slash == 0)
    return Error{Code::malformed,
                 "an event's header Catga-Source is not <kind>/<key>: \"" + source + '"'};
  event.source.kind = source.substr(0, slash);
  event.source.key = CATGA_TRY(decode_token(std::string_view(source).substr(slash + 1)));
  event.number = CATGA_TRY(number_in("Catga-Number", header("Catga-Number")));
  event.epoch = Epoch{CATGA_TRY(number_in("Catga-Epoch", header("Catga-Epoch")))};
  event.at_ms = static_cast<std::int64_t>(CATGA_TRY(number_in("Catga-Time", header("Catga-Time"))));
  if (event.at_ms < 0 || event.at_ms >= time_end_ms)
    return Error{Code::malformed, "an event of a time that cannot be"};
  event.name = header("Catga-Name");
  if (event.name.empty()) return Error{Code::malformed, "an event without a Catga-Name"};
  event.trace = header("traceparent");
  event.payload = body;
  return event;
}

}  // namespace catga
