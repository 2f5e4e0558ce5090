#include "catga/runtime/messaging/gateway.hpp"

#include "catga/entities/trace.hpp"

namespace catga {

Gateway::Gateway(std::string prefix, const Kinds& kinds, Messenger& messenger, NatsConnection& nats)
    : prefix_(std::move(prefix)), kinds_(kinds), messenger_(messenger), nats_(nats) {}

Status Gateway::open() {
  subscription_ =
      CATGA_TRY(nats_.subscribe(prefix_ + "call.*.*.*", "catga",
                                [this](NatsMessage message) { called(std::move(message)); }));
  // Who is told that this node is ready may call at once, and a publication that the server has
  // nobody for is gone without a word. Should this fail, NATS is away: the subscription stays, and
  // is made anew with the connection.
  (void)nats_.flush(NatsConnection::subscribe_patience);
  return Done{};
}

void Gateway::called(NatsMessage message) {
  const std::string to{reply_of(*message)};
  Result<GatewayCall> call =
      read_call(subject_of(*message).substr(prefix_.size()),
                header_of(*message, "Catga-Operation-Id"), body_of(*message), kinds_);
  if (!call.ok()) return answer(to, std::move(call).error());
  const MessageInfo& info = *call->message;
  std::string header = header_of(*message, "traceparent");
  if (header.empty()) header = header_of(*message, "Traceparent");  // NATS tells them apart
  const detail::TraceScope inside(parse_traceparent(header).value_or(TraceContext{}));
  ++open_calls_;
  messenger_.ask(std::move(call->ask), [this, to, &info](Result<std::string> reply) {
    answer(to, reply.ok() ? info.json_from_reply(*reply) : std::move(reply));
    --open_calls_;
  });
}

void Gateway::answer(const std::string& to, Result<std::string> json) {
  if (to.empty()) return;  // a publication, not a request
  if (json.ok()) return (void)nats_.publish(to, "", *json);
  (void)nats_.publish_with_header(to, "Catga-Error", std::string(name_of(json.error().code)),
                                  error_json(json.error()));
}

}  // namespace catga
