// A NATS client that knows nothing of Catga.
#include "json_caller.hpp"

#include <stdexcept>

namespace catga::testing {
namespace {

constexpr std::int64_t patience_ms = 6000;

struct DestroyMessage {
  void operator()(natsMsg* message) const noexcept { natsMsg_Destroy(message); }
};
using Message = std::unique_ptr<natsMsg, DestroyMessage>;

void must(natsStatus status) {
  if (status != NATS_OK) throw std::runtime_error(natsStatus_GetText(status));
}

}  // namespace

JsonCaller::JsonCaller(const std::string& url) {
  must(natsConnection_ConnectTo(&connection_, url.c_str()));
}

JsonCaller::~JsonCaller() { natsConnection_Destroy(connection_); }

JsonCaller::Answer JsonCaller::call(const std::string& path, const std::string& json,
                                    const std::string& operation) {
  natsMsg* raw = nullptr;
  const std::string subject = "catga.test.call." + path;
  must(natsMsg_Create(&raw, subject.c_str(), nullptr, json.data(), static_cast<int>(json.size())));
  const Message request(raw);
  if (!operation.empty())
    must(natsMsgHeader_Set(request.get(), "Catga-Operation-Id", operation.c_str()));
  natsMsg* reply = nullptr;
  if (natsConnection_RequestMsg(&reply, connection_, request.get(), patience_ms) != NATS_OK)
    return {};
  const Message owned(reply);
  Answer answer;
  answer.json.assign(natsMsg_GetData(reply),
                     static_cast<std::size_t>(natsMsg_GetDataLength(reply)));
  const char* code = nullptr;
  if (natsMsgHeader_Get(reply, "Catga-Error", &code) == NATS_OK) answer.error_code = code;
  return answer;
}

void JsonCaller::publish(const std::string& subject, const std::string& bytes) {
  must(natsConnection_Publish(connection_, subject.c_str(), bytes.data(),
                              static_cast<int>(bytes.size())));
}

void JsonCaller::flush() { must(natsConnection_FlushTimeout(connection_, patience_ms)); }

}  // namespace catga::testing
