// Waiting at start for what is not there yet.
#include <catga/runtime/connections.hpp>

#include <doctest/doctest.h>

using namespace catga;
using namespace std::chrono_literals;

namespace {
struct Waiting {
  Log log{{.level = "off", .format = "json"}, "catga", "n1"};
  std::atomic<bool> stopping{false};
  int attempts = 0;
  /// Fails with `code` until the third attempt.
  Status wait(Code code, std::chrono::milliseconds patience) {
    return insist(log, "NATS", patience, stopping, [this, code] {
      return ++attempts < 3 ? Status(Error{code, "not yet"}) : Status(Done{});
    });
  }
};
}  // namespace

TEST_CASE("a server that is absent, or too slow to answer, is waited for") {
  Waiting waiting;
  Code code = Code::unavailable;
  SUBCASE("absent") {}
  SUBCASE("slow") { code = Code::timeout; }
  CHECK(waiting.wait(code, 60s).ok());
  CHECK(waiting.attempts == 3);
}

TEST_CASE("a server that says no is not asked again") {
  Waiting waiting;
  CHECK(waiting.wait(Code::malformed, 60s).error().code == Code::malformed);
  CHECK(waiting.attempts == 1);
}

TEST_CASE("waiting ends when start.patience is over, and when the node is told to stop") {
  Waiting waiting;
  Code code = Code::unavailable;
  SUBCASE("absent") {}
  SUBCASE("slow") { code = Code::timeout; }
  SUBCASE("told to stop") { waiting.stopping = true; }
  const auto patience = waiting.stopping ? 60s : 0s;
  CHECK(waiting.wait(code, patience).error().code == Code::unavailable);
  CHECK(waiting.attempts == 1);
}
