#include "catga/runtime/messaging/jetstream.hpp"

#include "catga/sharding/ids.hpp"

#include <nlohmann/json.hpp>

#include <memory>
#include <string>

namespace catga {

namespace {

using Context = std::unique_ptr<jsCtx, FreeWith<jsCtx_Destroy>>;
using StreamInfo = std::unique_ptr<jsStreamInfo, FreeWith<jsStreamInfo_Destroy>>;
using ConsumerInfo = std::unique_ptr<jsConsumerInfo, FreeWith<jsConsumerInfo_Destroy>>;

constexpr std::int64_t ns_per_ms = 1'000'000;
// Of JetStream's error codes, those that tell what to do.
constexpr int not_enabled = 10076, not_enabled_for_account = 10039, stream_missing = 10059;
constexpr int no_quorum = 10008, no_leader = 10009;

Error trouble(natsStatus status, int code, const std::string& doing) {
  const std::string words = "JetStream: " + doing + ": " + natsStatus_GetText(status) +
                            (code != 0 ? " (" + std::to_string(code) + ')' : "");
  if (code == not_enabled || code == not_enabled_for_account || status == NATS_NO_RESPONDERS) {
    return Error{Code::unavailable,
                 words +
                     ": events need a NATS server with JetStream: start it with -js, or with "
                     "a jetstream block in its configuration, and enable it for this account"};
  }
  if (code == stream_missing) return Error{Code::not_found, words};
  const bool passing = code == 0 || code == no_quorum || code == no_leader;
  return Error{passing ? Code::unavailable : Code::malformed, words};
}

Result<Context> context(NatsConnection& nats, std::chrono::milliseconds patience) {
  if (!nats.connected()) return Error{Code::unavailable, "not connected to NATS"};
  jsOptions options;
  jsOptions_Init(&options);
  options.Wait = patience.count();
  jsCtx* raw = nullptr;
  const natsStatus status = natsConnection_JetStream(&raw, nats.handle(), &options);
  if (status != NATS_OK) return trouble(status, 0, "opening it");
  return Context(raw);
}

Result<StreamInfo> info_of(jsCtx& js, const std::string& stream) {
  jsStreamInfo* raw = nullptr;
  jsErrCode code{};
  const natsStatus status = js_GetStreamInfo(&raw, &js, stream.c_str(), nullptr, &code);
  if (status == NATS_NOT_FOUND) return Error{Code::not_found, "there is no stream " + stream};
  if (status != NATS_OK) return trouble(status, code, "looking for stream " + stream);
  return StreamInfo(raw);
}

}  // namespace

Status ensure_stream(NatsConnection& nats, const StreamOptions& options,
                     std::chrono::milliseconds patience) {
  const Context js = CATGA_TRY(context(nats, patience));
  const Result<StreamInfo> found = info_of(*js, options.name);
  if (found.ok()) {
    const jsStreamConfig& config = *(*found)->Config;
    for (int i = 0; i < config.SubjectsLen; ++i)
      if (config.Subjects[i] == options.subjects) return Done{};
    return Error{Code::malformed, "the stream " + options.name + " is there and does not keep " +
                                      options.subjects + ": name another in events.stream"};
  }
  if (found.error().code != Code::not_found) return found.error();
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  const char* subject = options.subjects.c_str();
  config.Name = options.name.c_str();
  config.Description = options.description.c_str();
  config.Subjects = &subject;
  config.SubjectsLen = 1;
  config.Storage = options.in_memory ? js_MemoryStorage : js_FileStorage;
  config.Replicas = options.replicas;
  config.Duplicates = options.duplicates.count() * ns_per_ms;
  config.MaxAge = options.max_age.count() * ns_per_ms;
  if (options.max_age.count() != 0 && options.duplicates > options.max_age)
    config.Duplicates = config.MaxAge;  // the server refuses a longer window
  config.MaxBytes = options.max_bytes == 0 ? -1 : static_cast<std::int64_t>(options.max_bytes);
  jsStreamInfo* raw = nullptr;
  jsErrCode code{};
  const natsStatus status = js_AddStream(&raw, js.get(), &config, nullptr, &code);
  const StreamInfo made(raw);
  if (status != NATS_OK) return trouble(status, code, "making stream " + options.name);
  return Done{};
}

Result<std::int64_t> make_consumer(NatsConnection& nats, const ConsumerOptions& options, bool anew,
                                   std::chrono::milliseconds patience) {
  const Context js = CATGA_TRY(context(nats, patience));
  jsErrCode code{};
  if (anew) {
    const natsStatus gone =
        js_DeleteConsumer(js.get(), options.stream.c_str(), options.name.c_str(), nullptr, &code);
    if (gone != NATS_OK && gone != NATS_NOT_FOUND)
      return trouble(gone, code, "removing consumer " + options.name);
  } else {
    jsConsumerInfo* raw = nullptr;
    const natsStatus there = js_GetConsumerInfo(&raw, js.get(), options.stream.c_str(),
                                                options.name.c_str(), nullptr, &code);
    const ConsumerInfo found(raw);
    if (there == NATS_OK) return found->Created / ns_per_ms;
    if (there != NATS_NOT_FOUND)
      return trouble(there, code, "looking for consumer " + options.name);
  }
  jsConsumerConfig config;
  jsConsumerConfig_Init(&config);
  config.Durable = options.name.c_str();
  config.FilterSubject = options.filter.c_str();
  config.AckPolicy = options.explicit_acks ? js_AckExplicit : js_AckNone;
  config.MaxDeliver = -1;
  if (options.explicit_acks) {
    config.AckWait = options.ack_wait.count() * ns_per_ms;
    config.MaxAckPending = options.unacknowledged_max;
  }
  if (options.from_sequence != 0) {
    config.DeliverPolicy = js_DeliverByStartSequence;
    config.OptStartSeq = options.from_sequence;
  } else {
    config.DeliverPolicy = js_DeliverNew;
  }
  config.InactiveThreshold = options.forgotten_after.count() * ns_per_ms;
  jsConsumerInfo* raw = nullptr;
  const natsStatus status =
      js_AddConsumer(&raw, js.get(), options.stream.c_str(), &config, nullptr, &code);
  const ConsumerInfo made(raw);
  if (status != NATS_OK) return trouble(status, code, "making consumer " + options.name);
  return made->Created / ns_per_ms;
}

Status remove_consumer(NatsConnection& nats, const std::string& stream, const std::string& name,
                       std::chrono::milliseconds patience) {
  const Context js = CATGA_TRY(context(nats, patience));
  jsErrCode code{};
  const natsStatus gone = js_DeleteConsumer(js.get(), stream.c_str(), name.c_str(), nullptr, &code);
  if (gone != NATS_OK && gone != NATS_NOT_FOUND)
    return trouble(gone, code, "removing consumer " + name);
  return Done{};
}

Result<std::uint64_t> last_sequence(NatsConnection& nats, const std::string& stream,
                                    std::chrono::milliseconds patience) {
  const Context js = CATGA_TRY(context(nats, patience));
  const StreamInfo info = CATGA_TRY(info_of(*js, stream));
  return info->State.LastSeq;
}

Result<std::uint64_t> sequence_at(NatsConnection& nats, const std::string& stream,
                                  std::int64_t time_ms, std::chrono::milliseconds patience) {
  const Context js = CATGA_TRY(context(nats, patience));
  const StreamInfo info = CATGA_TRY(info_of(*js, stream));
  std::uint64_t from = info->State.FirstSeq, to = info->State.LastSeq + 1;
  if (info->State.Msgs == 0) return to;
  while (from < to) {
    const std::uint64_t middle = from + (to - from) / 2;
    std::uint64_t at = middle;
    NatsMessage message;
    for (; !message && at < to; ++at) {  // some may have been removed
      natsMsg* raw = nullptr;
      jsErrCode code{};
      const natsStatus status = js_GetMsg(&raw, js.get(), stream.c_str(), at, nullptr, &code);
      message.reset(raw);
      if (status != NATS_OK && status != NATS_NOT_FOUND)
        return trouble(status, code, "reading message " + std::to_string(at) + " of " + stream);
    }
    if (!message || natsMsg_GetTime(message.get()) >= time_ms * ns_per_ms)
      to = middle;
    else
      from = at;  // one behind it already
  }
  return to;
}

Result<std::string> request(NatsConnection& nats, const std::string& subject,
                            const std::string& body, std::chrono::milliseconds patience) {
  if (!nats.connected()) return Error{Code::unavailable, "not connected to NATS"};
  natsMsg* raw = nullptr;
  const natsStatus status = natsConnection_RequestString(&raw, nats.handle(), subject.c_str(),
                                                         body.c_str(), patience.count());
  const NatsMessage answer(raw);
  if (status != NATS_OK) return nats_error(status, "asking " + subject);
  return std::string(body_of(*answer));
}

Result<PublishAck> publish_and_wait(NatsConnection& nats, const std::string& subject,
                                    const std::string& message_id, const std::string& body,
                                    std::chrono::milliseconds patience, int& code) {
  const Context js = CATGA_TRY(context(nats, patience));
  jsPubOptions options;
  jsPubOptions_Init(&options);
  options.MaxWait = patience.count();
  options.MsgId = message_id.c_str();
  jsPubAck* raw = nullptr;
  jsErrCode error{};
  const natsStatus status = js_Publish(&raw, js.get(), subject.c_str(), body.data(),
                                       static_cast<int>(body.size()), &options, &error);
  const std::unique_ptr<jsPubAck, FreeWith<jsPubAck_Destroy>> ack(raw);
  code = error;
  if (status == NATS_OK) return PublishAck{ack->Sequence, ack->Duplicate};
  return Error{status == NATS_TIMEOUT ? Code::timeout : Code::unavailable,
               std::string("JetStream: publishing: ") + natsStatus_GetText(status) +
                   (code != 0 ? " (" + std::to_string(code) + ')' : "")};
}

Result<PublishAck> read_publish_ack(std::string_view json) {
  const auto answer = nlohmann::json::parse(json, nullptr, false);
  if (!answer.is_object())
    return Error{Code::unavailable, "JetStream's answer cannot be read: " + std::string(json)};
  if (const auto error = answer.find("error"); error != answer.end()) {
    const std::string words = error->is_object() ? error->value("description", "") : "";
    return Error{Code::unavailable, "JetStream refused a publication: " + words};
  }
  const auto sequence = answer.find("seq");
  if (sequence == answer.end() || !sequence->is_number_unsigned())
    return Error{Code::unavailable, "JetStream's answer names no sequence: " + std::string(json)};
  const auto duplicate = answer.find("duplicate");
  return PublishAck{sequence->get<std::uint64_t>(),
                    duplicate != answer.end() && duplicate->is_boolean() && duplicate->get<bool>()};
}

std::optional<Delivery> read_delivery(std::string_view reply_subject) {
  if (!reply_subject.starts_with("$JS.ACK.")) return std::nullopt;
  std::vector<std::string_view> tokens;
  for (;;) {
    const auto dot = reply_subject.find('.');
    tokens.push_back(reply_subject.substr(0, dot));
    if (dot == reply_subject.npos) break;
    reply_subject.remove_prefix(dot + 1);
  }
  // $JS.ACK.[domain.account.]stream.consumer.times.sequence.consumer sequence.time.pending[.random]
  const std::size_t at = tokens.size() == 9 ? 4 : 6;
  if (tokens.size() != 9 && tokens.size() < 11) return std::nullopt;
  const auto times = parse_number(tokens[at]), sequence = parse_number(tokens[at + 1]),
             own = parse_number(tokens[at + 2]), pending = parse_number(tokens[at + 4]);
  if (!times.ok() || !sequence.ok() || !own.ok() || !pending.ok()) return std::nullopt;
  return Delivery{*times, *sequence, *own, *pending};
}

std::string pull_subject(const std::string& stream, const std::string& consumer) {
  return "$JS.API.CONSUMER.MSG.NEXT." + stream + '.' + consumer;
}

std::string pull_body(std::uint32_t batch, std::chrono::milliseconds expires) {
  return "{\"batch\":" + std::to_string(batch) +
         ",\"expires\":" + std::to_string(expires.count() * ns_per_ms) + '}';
}

std::string pull_status(natsMsg& message) {
  if (natsMsg_GetDataLength(&message) != 0) return {};
  return header_of(message, "Status");
}

}  // namespace catga
