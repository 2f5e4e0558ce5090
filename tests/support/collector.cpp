#include "collector.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <stdexcept>

namespace catga::testing {

namespace {

using nlohmann::json;

std::string unpacked(const std::string& body) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) return {};
  std::string out, piece(65536, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));  // NOLINT: zlib's way
  stream.avail_in = static_cast<uInt>(body.size());
  int state = Z_OK;
  while (state == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    state = inflate(&stream, Z_NO_FLUSH);
    out.append(piece, 0, piece.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  return state == Z_STREAM_END ? out : std::string{};
}

bool is_hex(const json& value, std::size_t digits) {
  return value.is_string() && value.get<std::string>().size() == digits &&
         value.get<std::string>().find_first_not_of("0123456789abcdef") == std::string::npos &&
         value.get<std::string>().find_first_not_of('0') != std::string::npos;
}

bool is_decimal_text(const json& value) {
  return value.is_string() && !value.get<std::string>().empty() &&
         value.get<std::string>().find_first_not_of("-0123456789") == std::string::npos;
}

void check_keys(const json& value, std::vector<std::string>& out) {
  if (value.is_array())
    for (const json& one : value) check_keys(one, out);
  if (!value.is_object()) return;
  for (const auto& [key, inner] : value.items()) {
    if (key.find('_') != key.npos) out.push_back("a snake_case key: " + key);
    const bool id = key == "traceId" || key == "spanId" || key == "parentSpanId";
    if (id && !is_hex(inner, key == "traceId" ? 32 : 16)) out.push_back(key + " is no hex id");
    const bool wide = key.ends_with("UnixNano") || key == "intValue";
    if (wide && !is_decimal_text(inner)) out.push_back(key + " is no text of digits");
    const bool enumerated = key == "kind" || key == "severityNumber" || key == "flags";
    if (enumerated && !inner.is_number_integer()) out.push_back(key + " is no integer");
    check_keys(inner, out);
  }
}

void check_lists(const json& body, const char* outer, const char* scope, const char* inner,
                 std::vector<std::string>& out) {
  for (const json& resource : body.at(outer)) {
    if (attribute(resource.at("resource"), "service.name").empty())
      out.push_back("a resource without service.name");
    for (const json& scoped : resource.at(scope)) {
      if (scoped.at("scope").at("name") != "catga") out.push_back("a scope that is not catga");
      if (scoped.at(inner).empty()) out.push_back("an empty envelope");
    }
  }
}

void check_span(const json& span, std::vector<std::string>& out) {
  for (const char* key : {"traceId", "spanId", "name", "kind", "startTimeUnixNano",
                          "endTimeUnixNano", "attributes", "status", "flags"})
    if (!span.contains(key)) out.push_back(std::string("a span without ") + key);
  if (!out.empty()) return;
  const int kind = span["kind"];
  if (kind < 1 || kind > 5) out.push_back("a span of an unknown kind");
  const int status = span["status"].value("code", 0);
  if (status < 0 || status > 2) out.push_back("a span of an unknown status");
  const auto start = std::stoll(span["startTimeUnixNano"].get<std::string>());
  const auto end = std::stoll(span["endTimeUnixNano"].get<std::string>());
  if (start <= 1'600'000'000'000'000'000 || end < start) out.push_back("a span at odd times");
  if ((span["flags"].get<unsigned>() & 0x100U) == 0) out.push_back("flags that do not say remote");
}

}  // namespace

std::string attribute(const json& of, const std::string& key) {
  if (!of.contains("attributes")) return {};
  for (const json& one : of["attributes"]) {
    if (one["key"] != key) continue;
    const json& value = one["value"].begin().value();
    return value.is_string() ? value.get<std::string>() : value.dump();
  }
  return {};
}

std::vector<std::string> offences_of(const json& body) {
  std::vector<std::string> out;
  if (!body.is_object() || body.size() != 1) return {"not an object with one key"};
  check_keys(body, out);
  try {
    if (body.contains("resourceSpans")) {
      check_lists(body, "resourceSpans", "scopeSpans", "spans", out);
      for (const json& resource : body["resourceSpans"])
        for (const json& scoped : resource["scopeSpans"])
          for (const json& span : scoped["spans"]) check_span(span, out);
    } else {
      check_lists(body, "resourceLogs", "scopeLogs", "logRecords", out);
    }
  } catch (const std::exception& trouble) {
    out.emplace_back(trouble.what());
  }
  return out;
}

Collector::Collector() {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const plain = reinterpret_cast<sockaddr*>(&address);
  if (listener_ < 0 || bind(listener_, plain, size) != 0 || listen(listener_, 16) != 0 ||
      getsockname(listener_, plain, &size) != 0)
    throw std::runtime_error("the stub collector found no port");
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

Collector::~Collector() {
  stopping_ = true;
  thread_.join();
  for (std::thread& talk : talks_) talk.join();
  close(listener_);
}

void Collector::serve() {
  while (!stopping_) {
    pollfd wanted{listener_, POLLIN, 0};
    if (poll(&wanted, 1, 50) <= 0) continue;
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) talks_.emplace_back([this, connection] { talk(connection); });
  }
}

void Collector::talk(int connection) {
  std::string buffer;
  while (!stopping_ && take(connection, buffer)) {
  }
  close(connection);
}

/// One request and its answer. False: the connection is over.
bool Collector::take(int connection, std::string& buffer) {
  const auto more = [&] {
    while (!stopping_) {
      pollfd wanted{connection, POLLIN, 0};
      if (poll(&wanted, 1, 50) <= 0) continue;
      char piece[65536];
      const ssize_t got = read(connection, piece, sizeof piece);
      if (got <= 0) return false;
      buffer.append(piece, static_cast<std::size_t>(got));
      return true;
    }
    return false;
  };
  std::size_t head = 0;
  while ((head = buffer.find("\r\n\r\n")) == buffer.npos)
    if (!more()) return false;
  Request request;
  request.at = std::chrono::steady_clock::now();
  std::size_t at = buffer.find(' ') + 1;
  request.path = buffer.substr(at, buffer.find(' ', at) - at);
  for (at = buffer.find("\r\n") + 2; at < head;) {
    const std::size_t end = buffer.find("\r\n", at);
    const std::string line = buffer.substr(at, end - at);
    std::string name = line.substr(0, line.find(':'));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.headers[name] = line.substr(std::min(line.size(), line.find(':') + 2));
    at = end + 2;
  }
  const std::size_t length = std::stoul(request.headers["content-length"]);
  while (buffer.size() < head + 4 + length)
    if (!more()) return false;
  std::string body = buffer.substr(head + 4, length);
  buffer.erase(0, head + 4 + length);
  if (request.headers["content-encoding"] == "gzip") body = unpacked(body);
  request.body = json::parse(body, nullptr, false);
  Answer answer;
  {
    const std::lock_guard guard(lock_);
    for (std::string& offence : offences_of(request.body)) offences_.push_back(std::move(offence));
    if (request.headers["content-type"] != "application/json")
      offences_.push_back("Content-Type " + request.headers["content-type"]);
    if (!request.headers["user-agent"].starts_with("OTel-OTLP-Exporter-Catga-Cpp/"))
      offences_.push_back("User-Agent " + request.headers["user-agent"]);
    requests_.push_back(std::move(request));
    if (!answers_.empty()) {
      answer = answers_.front();
      answers_.pop_front();
    }
  }
  came_.notify_all();
  if (answer.how == Answer::How::never) {
    while (!stopping_ && more()) buffer.clear();
    return false;
  }
  const std::string text =
      "HTTP/1.1 " + std::to_string(answer.status) + " X\r\n" + answer.headers +
      "Content-Type: application/json\r\nContent-Length: " + std::to_string(answer.body.size()) +
      "\r\n\r\n" + answer.body;
  const std::size_t size = answer.how == Answer::How::cut ? text.size() - 1 : text.size();
  if (send(connection, text.data(), size, MSG_NOSIGNAL) < 0) return false;
  return answer.how == Answer::How::whole;
}

void Collector::answer_next(std::vector<Answer> answers) {
  const std::lock_guard guard(lock_);
  answers_.assign(answers.begin(), answers.end());
}

std::vector<Collector::Request> Collector::requests() {
  const std::lock_guard guard(lock_);
  return requests_;
}

bool Collector::wait_for(std::size_t requests, std::chrono::milliseconds patience) {
  std::unique_lock guard(lock_);
  return came_.wait_for(guard, patience, [&] { return requests_.size() >= requests; });
}

std::vector<std::string> Collector::offences() {
  const std::lock_guard guard(lock_);
  return offences_;
}

std::vector<json> Collector::all(const char* outer, const char* scope, const char* inner) {
  std::vector<json> found;
  for (const Request& request : requests()) {
    if (!request.body.contains(outer)) continue;
    for (const json& resource : request.body[outer])
      for (const json& scoped : resource[scope])
        for (json one : scoped[inner]) {
          one["resource"] = resource["resource"];
          found.push_back(std::move(one));
        }
  }
  return found;
}

std::vector<json> Collector::spans() { return all("resourceSpans", "scopeSpans", "spans"); }
std::vector<json> Collector::records() { return all("resourceLogs", "scopeLogs", "logRecords"); }

}  // namespace catga::testing
