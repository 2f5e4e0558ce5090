#include "catga/runtime/http/listeners.hpp"

#include "catga/runtime/standing.hpp"
#include "catga/runtime/telemetry/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

namespace catga::http {

namespace {

constexpr std::size_t health_threads = 8;
constexpr std::size_t token_least = 16, token_most = 4096;

Result<std::string> token_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string token(token_most + 1, '\0');
  file.read(token.data(), static_cast<std::streamsize>(token.size()));
  token.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, file.gcount())));
  if (token.ends_with('\n')) token.pop_back();
  if (token.size() >= token_least && token.size() <= token_most) return token;
  return Error{
      Code::malformed,
      fmt::format("admin.token_file {} must be readable and hold a token of {} to {} bytes", path,
                  token_least, token_most)};
}

bool is_or_under(std::string_view path, std::string_view folder) {
  return path == folder || (path.starts_with(folder) && path[folder.size()] == '/');
}

std::uint64_t number_in(const Request& request, const std::string& name, std::uint64_t otherwise) {
  const auto given = request.query.find(name);
  if (given == request.query.end()) return otherwise;
  std::uint64_t number = otherwise;
  std::from_chars(given->second.data(), given->second.data() + given->second.size(), number);
  return number;
}

}  // namespace

/// A browser that never reads, a node that stops, a peer that is gone: all end here.
struct Listeners::Seat {
  explicit Seat(std::shared_ptr<std::atomic<std::uint32_t>> streams) : taken(std::move(streams)) {}
  ~Seat() { taken->fetch_sub(1); }
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;
  std::shared_ptr<std::atomic<std::uint32_t>> taken;
};

Listeners::Listeners(const Config& config, Log& log, Shown shown)
    : config_(config),
      log_(log),
      shown_(std::move(shown)),
      streams_(std::make_shared<std::atomic<std::uint32_t>>(0)) {}

Listeners::~Listeners() { close(); }

void Listeners::close() {
  if (shown_.events != nullptr) shown_.events->close();
  admin_.reset();
  health_.reset();
}

Status Listeners::open(const std::string& key, const std::string& address, std::size_t threads,
                       Server::Handler handler, std::unique_ptr<Server>& into) {
  const auto parts = split_address(address);
  if (!parts.ok()) return Error{Code::malformed, key + " " + parts.error().text};
  Options options;
  std::tie(options.host, options.port) = *parts;
  options.threads = threads;
  options.on_trouble = [this](const std::string& what) {
    log_.write(Severity::error, "node", "", "a request was answered with 500: " + what);
  };
  const std::string host = options.host;
  auto opened = Server::open(std::move(options), std::move(handler));
  if (!opened.ok()) return Error{Code::malformed, key + ": " + opened.error().text};
  into = std::move(*opened);
  const bool v6 = host.find(':') != std::string::npos;
  log_.write(Severity::info, "node", "",
             fmt::format("{} is http://{}{}{}:{}", key.substr(0, key.find('.')), v6 ? "[" : "",
                         host, v6 ? "]" : "", into->port()),
             {{"listener", key.substr(0, key.find('.'))},
              {"port", static_cast<std::int64_t>(into->port())}});
  return Done{};
}

Status Listeners::open_health() {
  if (config_.health.listen == "off") return Done{};
  return open(
      "health.listen", config_.health.listen, health_threads,
      [this](const Request& request) { return answer_health(request); }, health_);
}

Status Listeners::open_admin() {
  if (config_.admin.listen == "off") return Done{};
  GuardRules rules;
  if (!config_.admin.token_file.empty())
    rules.token = CATGA_TRY(token_of(config_.admin.token_file));
  rules.read_only = config_.admin.read_only;
  rules.allowed_hosts = config_.admin.allowed_hosts;
  const auto parts = CATGA_TRY(split_address(config_.admin.listen));
  rules.bound_host = parts.first;
  if (!is_loopback(parts.first) && rules.token.empty()) {
    log_.write(Severity::warn, "node", "",
               "admin.listen is open to the network without a token (admin.allow_insecure): "
               "everybody there sees keys and settings");
  }
  guard_ = std::make_unique<Guard>(std::move(rules));
  return open(
      "admin.listen", config_.admin.listen, config_.admin.threads,
      [this](const Request& request) {
        Answer answer = answer_admin(request);
        count(answer.status);
        return answer;
      },
      admin_);
}

Status Listeners::read_token_again() {
  if (guard_ && !config_.admin.token_file.empty())
    guard_->token(CATGA_TRY(token_of(config_.admin.token_file)));
  return Done{};
}

// ---- answers -----------------------------------------------------------------------------------

Answer Listeners::answer_health(const Request& request) {
  if (request.method != "GET" && request.method != "HEAD")
    return error_answer(405, "method_not_allowed", "this listener answers GET and HEAD");
  if (const auto probe = probe_of(request.path))
    return health_answer(request, *probe, shown_.health());
  if (request.path == "/metrics") {
    if (!shown_.metrics) return error_answer(404, "not_found", "metrics are off (metrics.enabled)");
    const MetricsFormat format = metrics_format(request.header("accept"));
    Answer answer;
    answer.type = content_type(format);
    answer.body = shown_.metrics(format);
    return answer;
  }
  if (request.path == "/version") {
    const HealthFacts facts = shown_.health();
    Answer answer;
    answer.type = "application/json";
    answer.body =
        fmt::format(R"({{"version":"{}","node":"{}"}})", facts.version, facts.node) + "\n";
    return answer;
  }
  return error_answer(404, "not_found",
                      "here are /livez, /readyz, /startupz, /health, /metrics and /version; the "
                      "dashboard and the API are at admin.listen");
}

Answer Listeners::answer_admin(const Request& request) {
  const bool open_to_all = probe_of(request.path).has_value() || request.path == "/metrics";
  if (open_to_all) return answer_health(request);
  if (auto refused = guard_->refuse_host(request)) return std::move(*refused);
  if (request.path == "/" && request.method == "GET") {
    Answer answer;
    answer.status = 302;
    answer.headers.emplace_back("Location", "/ui");
    return answer;
  }
  if (is_or_under(request.path, "/ui")) return answer_page();
  if (!is_or_under(request.path, "/api")) {
    if (request.path == "/version") return answer_health(request);
    return error_answer(404, "not_found", "here are /ui, /api/v1, the health paths and /metrics");
  }
  Answer answer = answer_api(request);
  answer.headers.emplace_back("Cache-Control", "no-store");
  answer.headers.emplace_back("X-Content-Type-Options", "nosniff");
  answer.headers.emplace_back("Referrer-Policy", "no-referrer");
  return answer;
}

Answer Listeners::answer_page() const {
  if (shown_.page.empty() || !config_.admin.dashboard)
    return error_answer(404, "not_found",
                        shown_.page.empty() ? "this build of Catga has no dashboard"
                                            : "the dashboard is off (admin.dashboard)");
  Answer answer;
  answer.type = "text/html; charset=utf-8";
  answer.body = shown_.page;
  answer.headers = {{"Content-Security-Policy", std::string(shown_.page_policy)},
                    {"X-Content-Type-Options", "nosniff"},
                    {"Referrer-Policy", "no-referrer"},
                    {"Cache-Control", "no-store"}};
  return answer;
}

Answer Listeners::answer_api(const Request& request) {
  if (auto refused = guard_->refuse(request, boot_ms())) return std::move(*refused);
  const bool read = request.method == "GET" || request.method == "HEAD";
  if (!read && request.method != "POST")
    return error_answer(405, "method_not_allowed", "the API answers GET and POST");
  if (request.path == "/api/v1/events" && read && shown_.events != nullptr)
    return answer_events(request);
  if (!shown_.api || !is_or_under(request.path, "/api/v1"))
    return error_answer(404, "not_found", "nothing answers " + request.path);
  admin::Request question;
  question.method = read ? "GET" : request.method;
  question.path = request.path;
  question.query = request.query;
  question.body = request.body;
  question.client = request.client;
  question.may_write = !read && guard_->may_write();
  admin::Answer said = shown_.api(question);
  Answer answer;
  answer.status = said.status;
  answer.type = "application/json";
  answer.body = std::move(said.body);
  return answer;
}

/// A stream for who accepts one; else a page of what the ring holds behind ?after=.
Answer Listeners::answer_events(const Request& request) {
  if (request.header("accept").find("text/event-stream") != std::string_view::npos)
    return open_stream(request);
  const std::uint64_t most = std::clamp<std::uint64_t>(number_in(request, "limit", 100), 1, 500);
  std::uint64_t last = number_in(request, "after", 0);
  std::string list;
  for (const StreamEvent& event : shown_.events->after(last, most, std::chrono::milliseconds(0))) {
    if (!list.empty()) list += ',';
    list += event.json;
    last = event.number;
  }
  Answer answer;
  answer.type = "application/json";
  answer.body = fmt::format(R"({{"events":[{}],"next":"{}"}})", list, last) + "\n";
  return answer;
}

Answer Listeners::open_stream(const Request& request) {
  const std::uint32_t before = streams_->fetch_add(1);
  auto seat = std::make_shared<Seat>(streams_);
  if (before >= config_.admin.stream_clients) {
    Answer answer = error_answer(503, "overloaded",
                                 fmt::format("{} streams of events are open, which is the most "
                                             "(admin.stream_clients)",
                                             config_.admin.stream_clients),
                                 true);
    answer.headers.emplace_back("Retry-After", "5");
    return answer;
  }
  Answer answer;
  answer.type = "text/event-stream";
  if (request.method == "HEAD") return answer;
  auto stream =
      std::make_shared<EventStream>(*shown_.events, request.header("last-event-id"), boot_ms());
  answer.stream = [seat, stream](const Write& write) {
    const std::string bytes = stream->next(boot_ms());
    return bytes.empty() || write(bytes);
  };
  return answer;
}

// ---- counting ----------------------------------------------------------------------------------

void Listeners::count(int status) {
  const auto at = std::ranges::find(counted_codes, status);
  answers_[static_cast<std::size_t>(std::distance(counted_codes.begin(), at))] += 1;
}

void Listeners::write(Exposition& to) const {
  for (std::size_t i = 0; i < answers_.size(); ++i) {
    const std::string code =
        i < counted_codes.size() ? fmt::to_string(counted_codes[i]) : std::string("_other");
    to.add(metric("catga_admin_requests_total"), {code}, answers_[i].load());
  }
  to.add(metric("catga_admin_stream_clients"), {}, std::uint64_t{streams_->load()});
}

}  // namespace catga::http
