// The HTTP side of a program: a server set up so that the traps of cpp-httplib are none, health paths, and an end in
// order after SIGTERM.
//
//   orders::HttpDoor door;                          // before any thread: it blocks the signals
//   door.server().Get("/hello", ...);
//   if (auto open = door.open("127.0.0.1:8080"); !open.ok()) ...
//   door.ready(true);                               // once the program can work
//   door.serve();                                   // until SIGTERM or SIGINT and all requests are answered
//
// After SIGTERM /health/ready says no, every answer closes its connection, and requests are still served for `linger`:
// balancers and clients go elsewhere, and nobody is cut off.
#pragma once
#include <catga/sharding/result.hpp>

#include <httplib.h>
#include <nlohmann/json.hpp>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

namespace orders {

using Json = nlohmann::json;

void answer(httplib::Response& response, int status, const Json& body);
/// {"error": {"code": …, "message": …}}
void refuse(httplib::Response& response, int status, const std::string& code,
            const std::string& message);

class HttpDoor {
 public:
  /// `more` adds to what /health says.
  explicit HttpDoor(std::function<Json()> more = {});
  ~HttpDoor();
  HttpDoor(const HttpDoor&) = delete;
  HttpDoor& operator=(const HttpDoor&) = delete;

  httplib::Server& server() { return server_; }
  /// Listens on "host:port" and answers at once, as not ready. Errors: malformed (no such address),
  /// unavailable (taken).
  catga::Status open(const std::string& listen);
  void ready(bool is) { ready_ = is; }
  /// SIGTERM has come: what waits should stop waiting.
  bool leaving() const { return leaving_; }
  /// Returns when all are served.
  void serve();

 private:
  httplib::Server server_;
  std::function<Json()> more_;
  sigset_t signals_{};
  std::thread acceptor_;
  std::atomic<bool> ready_{false}, leaving_{false};
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace orders
