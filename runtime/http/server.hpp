// An HTTP/1.1 server for a few probes, scrapes and people: one handler, a pool of threads, streams that end when told.
//
// It is a thin coat over cpp-httplib 0.11, which has edges. What is done about them, and tested:
//   - It would share a port in silence (SO_REUSEPORT). Here a taken port is an error that names it.
//   - A connection holds a thread, even when idle. Idle ones are closed after 1 s, half a request after 2 s; probes have a
//     server of their own.
//   - It collects small packets (Nagle): a kept connection would wait 40 ms per answer. Off.
//   - A stream holds a thread for as long as it lives, so whoever opens streams must count them (admin_listener).
//   - Its queue of accepted connections has no bound. Here accepting pauses while `waiting_most` wait, and the kernel
//     turns further ones away.
//   - Paths are decoded before they are matched, so keys of entities travel in the query.
//   - A handler that throws would give an empty answer. Here it is a JSON error, and `on_trouble` hears of it.
#pragma once
#include "catga/sharding/result.hpp"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga::http {

struct Request {
  std::string method;  ///< HEAD comes as HEAD; its answer's body is not sent
  std::string path;    ///< decoded
  std::map<std::string, std::string> query;
  std::map<std::string, std::string> headers;  ///< names in lower case; of two of a name the first
  std::string body;
  std::string client;  ///< address, without port

  /// "" if it is not there. `name` in lower case.
  std::string_view header(const std::string& name) const;
};

/// Sends bytes of a stream; false: the peer is gone, or the server stops.
using Write = std::function<bool(std::string_view bytes)>;

struct Answer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  /// If set, instead of a body: called again and again until it returns false; must return within 100 ms or so. It is
  /// destroyed when the stream has ended, however it ended.
  std::function<bool(const Write&)> stream;
};

struct Options {
  std::string host;  ///< an address, or a name
  int port = 0;      ///< 0: any
  std::size_t threads = 8;
  std::size_t waiting_most = 256;     ///< accepted connections without a thread
  std::size_t body_most = 64 * 1024;  ///< bytes; beyond: 413
  std::function<void(const std::string& what)> on_trouble;  ///< a handler threw. Any thread
};

/// Its handler runs on its threads, several at once.
class Server {
 public:
  using Handler = std::function<Answer(const Request&)>;
  /// Listens when it returns. Errors: malformed, when the address cannot be had; names it.
  static Result<std::unique_ptr<Server>> open(Options options, Handler handler);
  /// Ends streams, then waits for the requests that run.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  int port() const;

 private:
  Server();
  struct Private;
  std::unique_ptr<Private> private_;
};

/// {"error":{"code":...,"message":...,"retry":...}} as all answers of errors under /api.
Answer error_answer(int status, std::string_view code, std::string_view message,
                    bool retry = false);

/// Takes "127.0.0.1:8081", "[::1]:0", ":8080" (all addresses) apart. Errors: malformed, says what is wrong.
Result<std::pair<std::string, int>> split_address(std::string_view text);
/// 127.0.0.0/8, ::1 or localhost.
bool is_loopback(std::string_view host);

}  // namespace catga::http
