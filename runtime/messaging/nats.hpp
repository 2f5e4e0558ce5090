// Thin ownership over nats.c: one connection, its subscriptions, and its status codes as sentences.
//
// Which thread runs what: handlers run on nats.c's delivery threads and the callbacks on its one
// callback thread. Both are shared, so post and return; never wait there. Publishing is
// thread-safe.
//
// What outlives what: nats.c may still be inside a handler when a subscription is destroyed. So
// each handler sits behind a gate that the library frees once it is done. After ~NatsSubscription
// (or ~NatsConnection, for the callbacks) no handler starts and none is running, except the one
// that destroys it. Hence: never destroy one while holding a lock that its handler takes.
#pragma once
#include "catga/runtime/config.hpp"
#include "catga/sharding/result.hpp"

#include <nats/nats.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga {

/// Deleter of a C handle: no larger than its pointer.
template <auto Free>
struct FreeWith {
  template <class Handle>
  void operator()(Handle* handle) const noexcept {
    Free(handle);
  }
};

using NatsMessage = std::unique_ptr<natsMsg, FreeWith<natsMsg_Destroy>>;

/// Views into the message; they live as long as it does.
std::string_view subject_of(const natsMsg& message);
/// Empty if the sender wants no reply.
std::string_view reply_of(const natsMsg& message);
std::string_view body_of(const natsMsg& message);
/// The first value of a header; empty if it is not there. One thread per message.
std::string header_of(natsMsg& message, const std::string& name);
/// Whether the server says that nobody listens to what was published with this reply subject (a
/// 503). The subject of such a message is the reply subject; its body is empty.
bool is_no_responders(const natsMsg& message);

/// A status of nats.c as an Error: what was tried (`doing`), what happened. Never contains a
/// password.
Error nats_error(natsStatus status, std::string_view doing);

/// "nats://user:secret@host:4222" -> "nats://user:***@host:4222"; tokens too.
std::string mask_password(std::string_view url);

/// Any of these may be empty. Called on nats.c's callback thread: post and return.
struct NatsCallbacks {
  std::function<void(std::string why)> on_lost;   ///< it broke; it is tried again for ever
  std::function<void()> on_back;                  ///< it is there again, subscriptions included
  std::function<void(std::string why)> on_error;  ///< a slow consumer, a permission: for the log
};

using NatsHandler = std::function<void(NatsMessage)>;

/// A subscription; ends with the object. Move-only.
class NatsSubscription {
 public:
  NatsSubscription();
  ~NatsSubscription();
  NatsSubscription(NatsSubscription&&) noexcept;
  NatsSubscription& operator=(NatsSubscription&&) noexcept;
  explicit operator bool() const { return private_ != nullptr; }

  /// Ends the subscription without losing what the server has sent to it already: returns when that
  /// was handled, or when `patience` is over. Just destroying it drops such messages.
  void drain(std::chrono::milliseconds patience);

 private:
  friend class NatsConnection;
  struct Private;
  std::unique_ptr<Private> private_;
};

/// One connection; closes with the object. Move-only. All methods are thread-safe.
class NatsConnection {
 public:
  NatsConnection();
  ~NatsConnection();
  NatsConnection(NatsConnection&&) noexcept;
  NatsConnection& operator=(NatsConnection&&) noexcept;
  explicit operator bool() const { return private_ != nullptr; }

  /// Sends at once; returns when the bytes are with the kernel, not when somebody has them. `reply`
  /// may be empty: with it, a subject nobody listens to is answered by a message for which
  /// is_no_responders() holds. Errors: unavailable (not connected: nothing is kept for later, since
  /// minutes-old commands must not be sent), malformed (above the server's max_payload).
  Status publish(const std::string& subject, const std::string& reply, std::string_view body);

  /// The same with one header.
  Status publish_with_header(const std::string& subject, const std::string& name,
                             const std::string& value, std::string_view body);

  /// The same with any number of headers and a reply subject (may be empty).
  Status publish_with_headers(const std::string& subject, const std::string& reply,
                              const std::vector<std::pair<std::string, std::string>>& headers,
                              std::string_view body);

  /// `queue` empty: every subscriber hears every message. The server may learn of the subscription
  /// after the return: flush() makes sure. Errors: malformed (subject), unavailable.
  Result<NatsSubscription> subscribe(const std::string& subject, const std::string& queue,
                                     NatsHandler handler);

  /// Waits until the server has seen all that was sent and subscribed before. Not from a handler.
  /// Errors: timeout, unavailable.
  Status flush(std::chrono::milliseconds patience);
  /// For flush() after subscribe(): a server that takes longer is away.
  static constexpr std::chrono::milliseconds subscribe_patience{500};

  bool connected() const;
  /// The largest body the server takes, in bytes; 0 if not connected yet.
  std::size_t max_payload() const;
  /// For what nats.c does beyond plain messages (jetstream.cpp); null if not connected.
  natsConnection* handle() const;

 private:
  friend Result<NatsConnection> connect(const Config& config, const std::string& connection_name,
                                        NatsCallbacks callbacks, bool own_threads);
  struct Private;
  std::unique_ptr<Private> private_;
};

/// Connects to the first of config.nats.urls that answers, within connect_timeout each. Does not
/// try again by itself: the caller knows for how long it wants to wait. Once connected, a lost
/// connection is tried again for ever. `connection_name` is what the server's monitoring shows.
/// `own_threads` gives each subscription a thread of its own instead of the delivery threads all
/// connections of the process share: for heartbeats, which must not queue behind traffic. Errors:
/// unavailable (cannot be reached), rejected (password or rights), malformed (URL).
Result<NatsConnection> connect(const Config& config, const std::string& connection_name,
                               NatsCallbacks callbacks = {}, bool own_threads = false);

}  // namespace catga
