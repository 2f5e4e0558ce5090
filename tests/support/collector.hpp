// A stub of an OpenTelemetry collector on loopback: keeps what it gets, checks every body against the rules of
// OTLP/HTTP with JSON, and answers as the test says.
#pragma once
#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace catga::testing {

class Collector {
 public:
  struct Request {
    std::string path;
    std::map<std::string, std::string> headers;  ///< names in lower case
    nlohmann::json body;                         ///< unpacked
    std::chrono::steady_clock::time_point at;
  };
  struct Answer {
    int status = 200;
    std::string headers;  ///< whole lines, each with its end
    std::string body = "{}";
    enum class How { whole, never, cut } how = How::whole;  ///< never answers; ends in the middle
  };

  Collector();
  ~Collector();
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  /// The next requests are answered like this, in order; then, and without any, well.
  void answer_next(std::vector<Answer> answers);
  std::vector<Request> requests();
  /// Waits until so many requests came. False: not in time.
  bool wait_for(std::size_t requests,
                std::chrono::milliseconds patience = std::chrono::seconds(15));
  /// What was wrong with the bodies; empty if nothing.
  std::vector<std::string> offences();
  /// All spans of all requests; each with its resource's attributes under "resource".
  std::vector<nlohmann::json> spans();
  std::vector<nlohmann::json> records();

 private:
  void serve();
  void talk(int connection);
  bool take(int connection, std::string& buffer);
  std::vector<nlohmann::json> all(const char* outer, const char* scope, const char* inner);

  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::mutex lock_;
  std::condition_variable came_;
  std::deque<Answer> answers_;
  std::vector<Request> requests_;
  std::vector<std::string> offences_;
  std::vector<std::thread> talks_;
  std::thread thread_;
};

/// The rules of OTLP in JSON for one body; one sentence each that is broken.
std::vector<std::string> offences_of(const nlohmann::json& body);
/// The value of an attribute as text; empty if it is not there.
std::string attribute(const nlohmann::json& of, const std::string& key);

}  // namespace catga::testing
