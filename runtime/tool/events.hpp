// The stream of cluster events, as the tool shows it.
#pragma once
#include "catga/runtime/tool/context.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

namespace catga::tool {

/// Hears all events from its construction on.
class EventStream {
 public:
  explicit EventStream(Context& context);
  /// What has come; waits for the first.
  std::vector<json> wait(std::chrono::milliseconds patience);

 private:
  std::mutex lock_;
  std::condition_variable came_;
  std::vector<json> events_;
  NatsSubscription subscription_;  // the last member: its handler uses the others
};

/// One event on one line, for people.
std::string event_line(const json& event, bool colours);
/// Prints events until Ctrl-C. `pattern`: a name, or its beginning and '*'; empty: all. `seconds` 0: for ever.
void follow_events(Context& context, const std::string& pattern, double seconds);

}  // namespace catga::tool
