// Thin ownership over nats.c, implemented.
#include "catga/runtime/messaging/nats.hpp"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <limits>
#include <mutex>
#include <utility>

namespace catga {
namespace {

using Options = std::unique_ptr<natsOptions, FreeWith<natsOptions_Destroy>>;
using Connection = std::unique_ptr<natsConnection, FreeWith<natsConnection_Destroy>>;
using Subscription = std::unique_ptr<natsSubscription, FreeWith<natsSubscription_Destroy>>;

// Stands between nats.c and a handler. nats.c holds its address until it says that it is done;
// closing it waits for a handler that runs. The mutex is recursive because a handler may close its
// own gate.
class Gate {
 public:
  template <class Call>
  void pass(Call&& call) {
    const std::lock_guard lock(mutex_);
    if (open_) call();
  }
  void close() {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }

 private:
  std::recursive_mutex mutex_;
  bool open_ = true;
};

struct HandlerGate {
  explicit HandlerGate(NatsHandler to_call) : handler(std::move(to_call)) {}
  Gate gate;
  NatsHandler handler;
};

struct CallbackGate {
  explicit CallbackGate(NatsCallbacks to_call) : callbacks(std::move(to_call)) {}
  Gate gate;
  NatsCallbacks callbacks;
};

void deliver(natsConnection*, natsSubscription*, natsMsg* raw, void* closure) {
  NatsMessage message(raw);
  auto& held = *static_cast<HandlerGate*>(closure);
  held.gate.pass([&] { held.handler(std::move(message)); });
}

void subscription_done(void* closure) {
  const std::unique_ptr<HandlerGate> freed_here(static_cast<HandlerGate*>(closure));
}

void connection_lost(natsConnection* nats, void* closure) {
  auto& held = *static_cast<CallbackGate*>(closure);
  const char* said = nullptr;
  const natsStatus status = natsConnection_GetLastError(nats, &said);
  std::string why = status == NATS_OK ? "it was closed" : natsStatus_GetText(status);
  if (said != nullptr && *said != '\0') why += std::string(" (") + said + ')';
  held.gate.pass([&] {
    if (held.callbacks.on_lost) held.callbacks.on_lost(std::move(why));
  });
}

void connection_back(natsConnection*, void* closure) {
  auto& held = *static_cast<CallbackGate*>(closure);
  held.gate.pass([&] {
    if (held.callbacks.on_back) held.callbacks.on_back();
  });
}

void connection_error(natsConnection*, natsSubscription*, natsStatus status, void* closure) {
  auto& held = *static_cast<CallbackGate*>(closure);
  held.gate.pass([&] {
    if (held.callbacks.on_error) held.callbacks.on_error(nats_error(status, "receiving").text);
  });
}

// The last callback of a connection: nats.c calls it once, after all others.
void connection_done(natsConnection*, void* closure) {
  const std::unique_ptr<CallbackGate> freed_here(static_cast<CallbackGate*>(closure));
}

// Runs the steps until one fails, and remembers which.
class Steps {
 public:
  template <class... Arguments, class... Given>
  Steps& then(natsStatus (*step)(Arguments...), Given&&... given) {
    if (status_ == NATS_OK) status_ = step(std::forward<Given>(given)...);
    return *this;
  }
  natsStatus status() const { return status_; }

 private:
  natsStatus status_ = NATS_OK;
};

std::int64_t at_least(std::chrono::milliseconds time, std::int64_t least) {
  return std::max<std::int64_t>(time.count(), least);
}

natsStatus set_servers(natsOptions* options, const std::vector<std::string>& urls) {
  std::vector<const char*> texts;
  texts.reserve(urls.size());
  for (const std::string& url : urls) texts.push_back(url.c_str());
  return natsOptions_SetServers(options, texts.data(), static_cast<int>(texts.size()));
}

natsStatus set_credentials(natsOptions* options, const Config::Nats& nats) {
  if (!nats.token.empty()) return natsOptions_SetToken(options, nats.token.c_str());
  if (nats.user.empty()) return NATS_OK;
  return natsOptions_SetUserInfo(options, nats.user.c_str(), nats.password.c_str());
}

Status set_certificate(natsOptions* options, const Config::Nats& nats) {
  if (nats.certificate_file.empty()) return Done{};
  const natsStatus status = natsOptions_LoadCertificatesChain(
      options, nats.certificate_file.c_str(), nats.key_file.c_str());
  if (status == NATS_OK) return Done{};
  return Error{Code::malformed, "nats.certificate_file " + nats.certificate_file +
                                    " and nats.key_file " + nats.key_file + " cannot be used (" +
                                    natsStatus_GetText(status) +
                                    "): both must be readable PEM, and belong together"};
}

natsStatus set_patience(natsOptions* options, const Config::Nats& nats) {
  // A server that has stopped answering is noticed by pings only. By default that takes four
  // minutes; here it takes about lost_grace.
  const std::int64_t ping = std::max<std::int64_t>(nats.lost_grace.count() / 4, 100);
  return Steps{}
      .then(natsOptions_SetTimeout, options, at_least(nats.connect_timeout, 1))
      .then(natsOptions_SetMaxReconnect, options, -1)
      .then(natsOptions_SetReconnectWait, options, at_least(nats.reconnect_wait, 1))
      // Up to the wait again, so that a whole cluster does not come back in the same millisecond.
      .then(natsOptions_SetReconnectJitter, options, at_least(nats.reconnect_wait, 1),
            at_least(nats.reconnect_wait, 1))
      // The smallest there is: zero means 8 MiB, and what was buffered is sent however late.
      .then(natsOptions_SetReconnectBufSize, options, 1)
      .then(natsOptions_SetPingInterval, options, ping)
      .then(natsOptions_SetMaxPingsOut, options, 2)
      .status();
}

natsStatus set_callbacks(natsOptions* options, CallbackGate* gate) {
  return Steps{}
      .then(natsOptions_SetDisconnectedCB, options, connection_lost, static_cast<void*>(gate))
      .then(natsOptions_SetReconnectedCB, options, connection_back, static_cast<void*>(gate))
      .then(natsOptions_SetErrorHandler, options, connection_error, static_cast<void*>(gate))
      .then(natsOptions_SetClosedCB, options, connection_done, static_cast<void*>(gate))
      .status();
}

std::string list_of(const std::vector<std::string>& urls) {
  std::string out;
  for (const std::string& url : urls) out += (out.empty() ? "" : ", ") + mask_password(url);
  return out;
}

/// What the library said last in this thread.
std::string last_words(natsStatus status) {
  const char* const words = nats_GetLastError(&status);
  return words == nullptr ? natsStatus_GetText(status) : words;
}

/// A server that asks for a certificate and gets none hangs up without a word.
std::string hint_of_certificate(const Config::Nats& nats) {
  const bool encrypted = std::ranges::any_of(
      nats.urls, [](const std::string& url) { return url.starts_with("tls://"); });
  if (!encrypted || !nats.certificate_file.empty()) return {};
  return ", and nats.certificate_file if it asks clients for a certificate";
}

Error connect_error(natsStatus status, const Config::Nats& nats) {
  const std::string where = "NATS at " + list_of(nats.urls);
  switch (status) {
    case NATS_CONNECTION_AUTH_FAILED:
    case NATS_NOT_PERMITTED:
      return Error{Code::rejected,
                   where +
                       " refused the user, password or token: check nats.user, nats.password and "
                       "nats.token"};
    case NATS_SECURE_CONNECTION_REQUIRED:
    case NATS_SECURE_CONNECTION_WANTED:
      return Error{Code::rejected,
                   where + " asks for another kind of encryption: " + natsStatus_GetText(status)};
    case NATS_SSL_ERROR:
      return Error{Code::rejected, where + " and this program do not trust each other (" +
                                       last_words(status) +
                                       "): SSL_CERT_FILE names the authority that is believed"};
    case NATS_INVALID_ARG:
    case NATS_ADDRESS_MISSING:
      return Error{Code::malformed, "an address in nats.urls is not one: " + list_of(nats.urls)};
    default:
      return Error{Code::unavailable, where + " cannot be reached (" + natsStatus_GetText(status) +
                                          "): check that it runs and nats.urls" +
                                          hint_of_certificate(nats)};
  }
}

Code code_of(natsStatus status) {
  switch (status) {
    case NATS_TIMEOUT:
      return Code::timeout;
    case NATS_MAX_PAYLOAD:
    case NATS_INVALID_SUBJECT:
    case NATS_INVALID_ARG:
    case NATS_INVALID_QUEUE_NAME:
      return Code::malformed;
    default:
      return Code::unavailable;
  }
}

std::string_view view_of(const char* text) {
  return text == nullptr ? std::string_view{} : std::string_view(text);
}

}  // namespace

std::string_view subject_of(const natsMsg& message) {
  return view_of(natsMsg_GetSubject(&message));
}
std::string_view reply_of(const natsMsg& message) { return view_of(natsMsg_GetReply(&message)); }

std::string_view body_of(const natsMsg& message) {
  const int length = natsMsg_GetDataLength(&message);
  return length <= 0
             ? std::string_view{}
             : std::string_view(natsMsg_GetData(&message), static_cast<std::size_t>(length));
}

std::string header_of(natsMsg& message, const std::string& name) {
  const char* value = nullptr;
  return natsMsgHeader_Get(&message, name.c_str(), &value) == NATS_OK ? value : std::string{};
}

bool is_no_responders(const natsMsg& message) {
  // The library does not change the message, it only forgot to say so.
  return natsMsg_IsNoResponders(const_cast<natsMsg*>(&message));  // NOLINT
}

Error nats_error(natsStatus status, std::string_view doing) {
  return Error{code_of(status), "NATS: " + std::string(doing) + ": " + natsStatus_GetText(status)};
}

std::string mask_password(std::string_view url) {
  const auto scheme = url.find("://");
  const std::size_t begin = scheme == url.npos ? 0 : scheme + 3;
  const auto at = url.rfind('@');
  if (at == url.npos || at < begin) return std::string(url);
  const std::string_view login = url.substr(begin, at - begin);
  const auto colon = login.find(':');
  // A login without a colon is a token: nothing of it may be shown.
  const std::string_view user = colon == login.npos ? std::string_view{} : login.substr(0, colon);
  return std::string(url.substr(0, begin)) + std::string(user) + (user.empty() ? "***" : ":***") +
         std::string(url.substr(at));
}

// ---- subscription ----

struct NatsSubscription::Private {
  HandlerGate* gate;  // freed by subscription_done, which cannot run before `handle` is destroyed
  Subscription handle;
  bool gate_is_ours = false;  // no subscription_done will come
  bool drained = false;       // nor another message
  ~Private() {
    gate->gate.close();
    handle.reset();
    // Not drained in time: a few bytes stay behind rather than be freed under a running handler.
    if (gate_is_ours && drained) delete gate;
  }
};

NatsSubscription::NatsSubscription() = default;
NatsSubscription::~NatsSubscription() = default;
NatsSubscription::NatsSubscription(NatsSubscription&&) noexcept = default;
NatsSubscription& NatsSubscription::operator=(NatsSubscription&&) noexcept = default;

void NatsSubscription::drain(std::chrono::milliseconds patience) {
  if (!private_) return;
  natsSubscription* const raw = private_->handle.get();
  const auto limit = at_least(patience, 1);
  // A drained subscription is complete before its handle goes; the gate must outlive both.
  if (natsSubscription_SetOnCompleteCB(raw, nullptr, nullptr) != NATS_OK) return;
  private_->gate_is_ours = true;
  private_->drained = natsSubscription_DrainTimeout(raw, limit) == NATS_OK &&
                      natsSubscription_WaitForDrainCompletion(raw, limit) == NATS_OK;
}

// ---- connection ----

struct NatsConnection::Private {
  CallbackGate* gate;  // freed by connection_done, which cannot run before `handle` is closed
  Connection handle;
  std::uint64_t pending_bytes;
  ~Private() {
    gate->gate.close();
    handle.reset();
  }
};

NatsConnection::NatsConnection() = default;
NatsConnection::~NatsConnection() = default;
NatsConnection::NatsConnection(NatsConnection&&) noexcept = default;
NatsConnection& NatsConnection::operator=(NatsConnection&&) noexcept = default;

Status NatsConnection::publish(const std::string& subject, const std::string& reply,
                               std::string_view body) {
  if (!connected()) return Error{Code::unavailable, "not connected to NATS"};
  if (body.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    return nats_error(NATS_MAX_PAYLOAD, "publishing to " + subject);
  const auto length = static_cast<int>(body.size());
  natsConnection* nats = private_->handle.get();
  const natsStatus status = reply.empty()
                                ? natsConnection_Publish(nats, subject.c_str(), body.data(), length)
                                : natsConnection_PublishRequest(nats, subject.c_str(),
                                                                reply.c_str(), body.data(), length);
  if (status != NATS_OK) return nats_error(status, "publishing to " + subject);
  return Done{};
}

Status NatsConnection::publish_with_header(const std::string& subject, const std::string& name,
                                           const std::string& value, std::string_view body) {
  return publish_with_headers(subject, "", {{name, value}}, body);
}

Status NatsConnection::publish_with_headers(
    const std::string& subject, const std::string& reply,
    const std::vector<std::pair<std::string, std::string>>& headers, std::string_view body) {
  if (!connected()) return Error{Code::unavailable, "not connected to NATS"};
  if (body.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    return nats_error(NATS_MAX_PAYLOAD, "publishing to " + subject);
  natsMsg* raw = nullptr;
  natsStatus status = natsMsg_Create(&raw, subject.c_str(), reply.empty() ? nullptr : reply.c_str(),
                                     body.data(), static_cast<int>(body.size()));
  const NatsMessage message(raw);
  for (const auto& [name, value] : headers)
    if (status == NATS_OK) status = natsMsgHeader_Set(raw, name.c_str(), value.c_str());
  if (status == NATS_OK) status = natsConnection_PublishMsg(private_->handle.get(), raw);
  if (status != NATS_OK) return nats_error(status, "publishing to " + subject);
  return Done{};
}

Result<NatsSubscription> NatsConnection::subscribe(const std::string& subject,
                                                   const std::string& queue, NatsHandler handler) {
  if (!private_) return Error{Code::unavailable, "not connected to NATS"};
  assert(handler);
  auto gate = std::make_unique<HandlerGate>(std::move(handler));
  natsConnection* nats = private_->handle.get();
  natsSubscription* raw = nullptr;
  natsStatus status =
      queue.empty() ? natsConnection_Subscribe(&raw, nats, subject.c_str(), deliver, gate.get())
                    : natsConnection_QueueSubscribe(&raw, nats, subject.c_str(), queue.c_str(),
                                                    deliver, gate.get());
  if (status != NATS_OK) return nats_error(status, "subscribing to " + subject);
  Subscription handle(raw);
  // From here nats.c may call the handler, so the gate belongs to it. If the next call fails the
  // connection has just been closed, and a few bytes stay behind rather than be freed under a
  // running handler.
  HandlerGate* const lent = gate.release();
  status = natsSubscription_SetOnCompleteCB(raw, subscription_done, lent);
  if (status == NATS_OK) {
    // Beyond its limits nats.c drops without a word to the sender; what bounds the flow is above
    // us.
    const auto bytes = static_cast<int>(std::min<std::uint64_t>(
        private_->pending_bytes, static_cast<std::uint64_t>(std::numeric_limits<int>::max())));
    status = natsSubscription_SetPendingLimits(raw, -1, bytes);
  }
  if (status != NATS_OK) {
    lent->gate.close();
    return nats_error(status, "subscribing to " + subject);
  }
  NatsSubscription out;
  out.private_ = std::make_unique<NatsSubscription::Private>(lent, std::move(handle));
  return out;
}

Status NatsConnection::flush(std::chrono::milliseconds patience) {
  if (!private_) return Error{Code::unavailable, "not connected to NATS"};
  const natsStatus status =
      natsConnection_FlushTimeout(private_->handle.get(), at_least(patience, 1));
  if (status != NATS_OK) return nats_error(status, "waiting for the server");
  return Done{};
}

natsConnection* NatsConnection::handle() const {
  return private_ ? private_->handle.get() : nullptr;
}

bool NatsConnection::connected() const {
  return private_ && natsConnection_Status(private_->handle.get()) == NATS_CONN_STATUS_CONNECTED;
}

std::size_t NatsConnection::max_payload() const {
  if (!private_) return 0;
  return static_cast<std::size_t>(
      std::max<std::int64_t>(natsConnection_GetMaxPayload(private_->handle.get()), 0));
}

Result<NatsConnection> connect(const Config& config, const std::string& connection_name,
                               NatsCallbacks callbacks, bool own_threads) {
  if (config.nats.urls.empty())
    return Error{Code::malformed, "nats.urls is empty: name at least one NATS server"};
  natsOptions* raw_options = nullptr;
  natsStatus status = natsOptions_Create(&raw_options);
  if (status != NATS_OK) return nats_error(status, "preparing to connect");
  const Options options(raw_options);
  auto gate = std::make_unique<CallbackGate>(std::move(callbacks));
  status = Steps{}
               .then(set_servers, raw_options, config.nats.urls)
               .then(set_credentials, raw_options, config.nats)
               .then(set_patience, raw_options, config.nats)
               .then(set_callbacks, raw_options, gate.get())
               .then(natsOptions_SetName, raw_options, connection_name.c_str())
               // Without it the flusher naps 1 ms: a request takes seven times as long.
               .then(natsOptions_SetSendAsap, raw_options, true)
               // The delivery threads of the library instead of one thread per subscription.
               .then(natsOptions_UseGlobalMessageDelivery, raw_options, !own_threads)
               .status();
  if (status != NATS_OK) return connect_error(status, config.nats);
  if (auto set = set_certificate(raw_options, config.nats); !set.ok()) return set.error();
  natsConnection* raw = nullptr;
  status = natsConnection_Connect(&raw, raw_options);
  if (status != NATS_OK)
    return connect_error(status, config.nats);  // no callback was or will be called
  NatsConnection out;
  out.private_ = std::make_unique<NatsConnection::Private>(gate.release(), Connection(raw),
                                                           config.nats.pending_bytes);
  return out;
}

}  // namespace catga
