// A NATS client that knows nothing of Catga: what any program in any language can do with JSON.
#pragma once
#include <nats/nats.h>

#include <memory>
#include <string>

namespace catga::testing {

class JsonCaller {
 public:
  struct Answer {
    std::string json;        ///< empty: nobody answered in time
    std::string error_code;  ///< the header Catga-Error
  };
  explicit JsonCaller(const std::string& url);
  ~JsonCaller();
  JsonCaller(const JsonCaller&) = delete;
  JsonCaller& operator=(const JsonCaller&) = delete;

  /// A request to catga.test.call.<path>, with the header Catga-Operation-Id unless it is empty.
  Answer call(const std::string& path, const std::string& json, const std::string& operation = {});
  /// Sends bytes to any subject.
  void publish(const std::string& subject, const std::string& bytes);
  /// Waits until the server has all that was published.
  void flush();

 private:
  natsConnection* connection_ = nullptr;
};

}  // namespace catga::testing
