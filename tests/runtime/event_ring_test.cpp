// The ring of events and what a reader of its stream gets.
#include <catga/runtime/http/event_ring.hpp>

#include <doctest/doctest.h>

#include <string>
#include <thread>

using namespace catga::http;
using std::chrono::milliseconds;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void push(EventRing& ring, int from, int to) {
  for (int i = from; i <= to; ++i)
    ring.push("catga.node.joined", "{\"n\":" + std::to_string(i) + "}");
}

}  // namespace

TEST_CASE("the ring keeps the newest events") {
  EventRing ring("7f3a", 3);
  push(ring, 1, 5);
  const auto events = ring.after(0, 10, milliseconds(0));
  REQUIRE(events.size() == 3);
  CHECK(events.front().number == 3);
  CHECK(ring.after(4, 10, milliseconds(0)).front().json == "{\"n\":5}");
  CHECK(ring.after(5, 10, milliseconds(0)).empty());
}

TEST_CASE("a reader waits for news, and no longer than it wants to") {
  EventRing ring("7f3a", 3);
  CHECK(ring.after(0, 10, milliseconds(10)).empty());
  std::thread writer([&ring] { push(ring, 1, 1); });
  CHECK(ring.after(0, 10, milliseconds(60'000)).size() == 1);
  writer.join();
  ring.close();
  CHECK(ring.after(1, 10, milliseconds(60'000)).empty());
}

TEST_CASE("a stream begins with what comes now, and names where it stands") {
  EventRing ring("7f3a", 10);
  push(ring, 1, 2);
  EventStream stream(ring, "", 0);
  CHECK(stream.next(0) == "retry: 2000\n\n");
  push(ring, 3, 3);
  CHECK(stream.next(0) == "id: 7f3a-3\nevent: catga.node.joined\ndata: {\"n\":3}\n\n");
}

TEST_CASE("a reader that comes back misses nothing") {
  EventRing ring("7f3a", 10);
  push(ring, 1, 5);
  EventStream stream(ring, "7f3a-3", 0);
  const std::string bytes = stream.next(0);
  CHECK_FALSE(has(bytes, "reset"));
  CHECK_FALSE(has(bytes, "7f3a-3"));
  CHECK(has(bytes, "id: 7f3a-4\n"));
  CHECK(has(bytes, "id: 7f3a-5\n"));
}

TEST_CASE(
    "a reader of another node's stream, or one that was away too long, starts over and is told") {
  EventRing ring("7f3a", 3);
  push(ring, 1, 9);
  for (const char* const id :
       {"beef-9", "7f3a-5", "7f3a-10", "7f3a-", "7f3a", "rubbish", "7f3a-9x"}) {
    CAPTURE(id);
    EventStream stream(ring, id, 0);
    const std::string bytes = stream.next(0);
    CHECK(has(bytes, "event: catga.stream.reset\n"));
    CHECK(has(bytes, "id: 7f3a-7\n"));
    CHECK(has(bytes, "id: 7f3a-9\n"));
  }
  EventStream stream(ring, "7f3a-6", 0);  // 7 is still there
  CHECK_FALSE(has(stream.next(0), "reset"));
}

TEST_CASE("a quiet stream says every 10 s that it is there, so that a dead peer is noticed") {
  EventRing ring("7f3a", 3);
  EventStream stream(ring, "", 0);
  CHECK_FALSE(stream.next(0).empty());
  CHECK(stream.next(9'999).empty());
  CHECK(stream.next(10'000) == ": still here\n\n");
  CHECK(stream.next(10'001).empty());
}
