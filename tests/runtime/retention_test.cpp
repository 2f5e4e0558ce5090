// Operation ids must be remembered for longer than anybody repeats them.
#include <catga/runtime/retention.hpp>

#include <doctest/doctest.h>

using namespace catga;
using namespace std::chrono_literals;

TEST_CASE("a retention an hour longer than every window of repeats is fine") {
  CHECK(check_retention(25h, {{"ask.timeout", 5s}, {"saga.compensation_window", 24h}}).ok());
  CHECK(check_retention(1min, {}).ok());
}

TEST_CASE("a window that is too long is named with its length and the retention, each on a line") {
  const Status mistaken = check_retention(
      25h - 1ms, {{"ask.timeout", 5s}, {"saga.window", 24h}, {"step", 1500ms * 60000}});
  REQUIRE_FALSE(mistaken.ok());
  const std::string& text = mistaken.error().text;
  CHECK(mistaken.error().code == Code::malformed);
  CHECK(text.find("idempotency.retention is 89999999ms, but must exceed saga.window (24h)") !=
        std::string::npos);
  CHECK(text.find("step (25h)") != std::string::npos);
  CHECK(text.find("ask.timeout") == std::string::npos);
  CHECK(text.find('\n') != std::string::npos);
}
