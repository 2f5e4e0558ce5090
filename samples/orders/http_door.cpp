#include "http_door.hpp"

#include <sys/socket.h>

#include <charconv>
#include <exception>

namespace orders {

namespace {

using namespace std::chrono_literals;

// A connection holds a thread, an idle one too: so idle ones end soon, and there are threads to spare.
constexpr std::size_t threads = 48;
constexpr auto idle_connection = 3s;
constexpr auto linger = 400ms;  // after SIGTERM; longer than a balancer takes to hear of it
constexpr std::size_t body_max = 64 * 1024;
constexpr std::size_t requests_per_connection = 1'000'000;

// The library's own sets SO_REUSEPORT, under which two programs share a port without knowing.
void reuse_address_only(int socket) {
  const int on = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
}

}  // namespace

void answer(httplib::Response& response, int status, const Json& body) {
  response.status = status;
  response.set_content(body.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n',
                       "application/json");
}

void refuse(httplib::Response& response, int status, const std::string& code,
            const std::string& message) {
  answer(response, status, {{"error", {{"code", code}, {"message", message}}}});
}

HttpDoor::HttpDoor(std::function<Json()> more) : more_(std::move(more)) {
  sigemptyset(&signals_);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&signals_, signal);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  ::signal(SIGPIPE, SIG_IGN);  // a caller that is gone is an error of that call

  server_.new_task_queue = [] { return new httplib::ThreadPool(threads); };
  server_.set_socket_options(reuse_address_only);
  server_.set_tcp_nodelay(true);  // without it answers on kept connections wait 40 ms
  server_.set_keep_alive_max_count(requests_per_connection);
  server_.set_keep_alive_timeout(idle_connection.count());
  server_.set_read_timeout(5s);
  server_.set_write_timeout(5s);
  server_.set_payload_max_length(body_max);
  server_.set_pre_routing_handler(
      [this](const httplib::Request& request, httplib::Response& response) {
        using Next = httplib::Server::HandlerResponse;
        if (ready_ || request.path.starts_with("/health")) return Next::Unhandled;
        refuse(response, 503, "not_ready", "this instance is starting; ask another one");
        return Next::Handled;
      });
  server_.set_post_routing_handler([this](const httplib::Request&, httplib::Response& response) {
    if (leaving_) response.set_header("Connection", "close");
  });
  server_.set_exception_handler(
      [](const httplib::Request&, httplib::Response& response, std::exception_ptr trouble) {
        std::string what = "unknown";
        try {
          std::rethrow_exception(trouble);
        } catch (const std::exception& known) {
          what = known.what();
        } catch (...) {
        }
        refuse(response, 500, "failed", what);
      });
  server_.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
    if (response.body.empty())
      refuse(response, response.status, "http",
             request.method + ' ' + request.path + " is not served here");
  });
  server_.Get("/health/live", [](const httplib::Request&, httplib::Response& response) {
    answer(response, 200, {{"status", "live"}});
  });
  server_.Get("/health/ready", [this](const httplib::Request&, httplib::Response& response) {
    const bool serves = ready_ && !leaving_;
    answer(response, serves ? 200 : 503,
           {{"status", serves     ? "ready"
                       : leaving_ ? "leaving"
                                  : "starting"}});
  });
  server_.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
    const auto up = std::chrono::steady_clock::now() - began_;
    Json health = more_ && ready_ ? more_() : Json::object();
    const bool well = ready_ && !leaving_ && health.value("well", true);
    health.erase("well");
    health["status"] = well ? "ok" : leaving_ ? "leaving" : ready_ ? "impaired" : "starting";
    health["up_s"] = std::chrono::duration_cast<std::chrono::seconds>(up).count();
    answer(response, well ? 200 : 503, health);
  });
}

HttpDoor::~HttpDoor() {
  server_.stop();
  if (acceptor_.joinable()) acceptor_.join();
}

catga::Status HttpDoor::open(const std::string& listen) {
  const auto colon = listen.rfind(':');
  int port = 0;
  const char* const end = listen.data() + listen.size();
  if (colon == listen.npos || std::from_chars(listen.data() + colon + 1, end, port).ptr != end ||
      port < 1 || port > 65535)
    return catga::Error{catga::Code::malformed, "--listen needs host:port, not \"" + listen + '"'};
  if (!server_.bind_to_port(listen.substr(0, colon), port))
    return catga::Error{catga::Code::unavailable,
                        "cannot listen on " + listen + ": the port is taken or not ours"};
  acceptor_ = std::thread([this] { server_.listen_after_bind(); });
  return catga::Done{};
}

void HttpDoor::serve() {
  int signal = 0;
  sigwait(&signals_, &signal);
  leaving_ = true;
  std::this_thread::sleep_for(linger);
  server_.stop();  // no new connections; the open ones end when they are idle
  acceptor_.join();
}

}  // namespace orders
