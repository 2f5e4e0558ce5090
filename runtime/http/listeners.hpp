// The two listeners of a node. Health: probes and /metrics; open, no secrets, nothing can be changed. Admin: the API, the
// dashboard, the stream of events; on loopback unless there is a token.
#pragma once
#include "catga/runtime/admin/request.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/http/event_ring.hpp"
#include "catga/runtime/http/guard.hpp"
#include "catga/runtime/http/health.hpp"
#include "catga/runtime/http/server.hpp"
#include "catga/runtime/telemetry/metrics.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace catga {
class Log;
}

namespace catga::http {

/// What the listeners show. All are called on their threads, several at once, as long as they are open.
struct Shown {
  std::function<HealthFacts()> health;
  std::function<std::string(MetricsFormat)> metrics;  ///< empty: they are off
  /// Empty: none is there yet.
  std::function<admin::Answer(const admin::Request&)> api;
  std::string_view page;         ///< of /ui; empty: there is none
  std::string_view page_policy;  ///< its Content-Security-Policy
  EventRing* events = nullptr;
};

class Listeners {
 public:
  Listeners(const Config& config, Log& log, Shown shown);
  ~Listeners();

  /// Opens the one that probes ask, if health.listen is not off; before NATS and Redis are reached. Errors: malformed
  /// (the port is taken).
  Status open_health();
  /// Opens the other one, if admin.listen is not off. Errors: malformed (the port is taken, the token cannot be read).
  Status open_admin();
  /// Reads the token's file again, if there is a token. Errors: malformed, and the old one stays.
  Status read_token_again();
  /// Ends streams and both listeners.
  void close();

  /// 0: it is not open.
  int health_port() const { return health_ ? health_->port() : 0; }
  int admin_port() const { return admin_ ? admin_->port() : 0; }
  void write(Exposition& to) const;

 private:
  struct Seat;  ///< of one stream: given back when it ends
  Answer answer_health(const Request& request);
  Answer answer_admin(const Request& request);
  Answer answer_api(const Request& request);
  Answer answer_events(const Request& request);
  Answer answer_page() const;
  Answer open_stream(const Request& request);
  void count(int status);
  Status open(const std::string& key, const std::string& address, std::size_t threads,
              Server::Handler handler, std::unique_ptr<Server>& into);

  static constexpr std::array<int, 10> counted_codes{200, 400, 401, 403, 404,
                                                     405, 415, 429, 500, 503};
  const Config& config_;
  Log& log_;
  const Shown shown_;
  std::array<std::atomic<std::uint64_t>, counted_codes.size() + 1> answers_{};  ///< the last: other
  std::shared_ptr<std::atomic<std::uint32_t>> streams_;
  std::unique_ptr<Guard> guard_;
  std::unique_ptr<Server> health_, admin_;
};

}  // namespace catga::http
