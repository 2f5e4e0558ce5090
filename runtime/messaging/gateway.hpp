// Any NATS client may call an entity with JSON: `catga.<cluster>.call.<kind>.<key>.<message>` is a request, answered
// with JSON. The key is one subject token: bytes outside A-Z a-z 0-9 _ - are percent-encoded. The header
// Catga-Operation-Id (32 hex digits, or any text of the caller's) makes a call safe to repeat. An error is answered as
// {"error":{"code":"rejected","text":"..."}} with the header Catga-Error: <code>.
#pragma once
#include "catga/runtime/messaging/gateway_request.hpp"
#include "catga/runtime/messaging/nats.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace catga {

class Gateway {
 public:
  using Kinds = GatewayKinds;
  /// All outlive the gateway. `prefix`: `catga.<cluster>.`.
  Gateway(std::string prefix, const Kinds& kinds, Messenger& messenger, NatsConnection& nats);
  /// Begins to listen, in a queue group: one node takes each call.
  Status open();
  /// Takes no further calls; those that were sent to it already are still asked and answered.
  void drain(std::chrono::milliseconds patience) { subscription_.drain(patience); }
  /// Whether every call that was taken has been answered.
  bool idle() const { return open_calls_.load() == 0; }
  void close() { subscription_ = {}; }

 private:
  void called(NatsMessage message);
  void answer(const std::string& to, Result<std::string> json);

  const std::string prefix_;
  const Kinds& kinds_;
  Messenger& messenger_;
  NatsConnection& nats_;
  std::atomic<std::int64_t> open_calls_{0};
  NatsSubscription subscription_;
};

}  // namespace catga
