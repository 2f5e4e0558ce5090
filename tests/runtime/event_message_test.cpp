// Events as messages of the stream: subjects, headers, and what comes back of any bytes.
#include <catga/runtime/messaging/event_message.hpp>

#include <doctest/doctest.h>

#include <map>
#include <string>

using namespace catga;

namespace {

RelayEntry emptied() {
  RelayEntry entry;
  entry.event = true;
  entry.source = {"account", "a b/c"};
  entry.operation = {1, 2};
  entry.time_ms = 1'764'000'000'123;
  entry.message = "Emptied";
  entry.payload = "\x80";
  entry.number = 7;
  entry.epoch = Epoch{3};
  return entry;
}

std::map<std::string, std::string> headers() {
  const EventMessage message = event_message("catga.test.", ShardId{37}, emptied());
  return {message.headers.begin(), message.headers.end()};
}

Result<StreamEvent> read(const std::map<std::string, std::string>& headers) {
  return read_event(
      [&headers](const std::string& name) {
        const auto found = headers.find(name);
        return found == headers.end() ? std::string() : found->second;
      },
      "\x80");
}

}  // namespace

TEST_CASE("an event's subject names part, event, kind and key") {
  const EventMessage message = event_message("catga.test.", ShardId{37}, emptied());
  CHECK(message.subject == "catga.test.ev.5.Emptied.account.a%20b%2Fc");
  CHECK(message.body == "\x80");
  CHECK(event_filter("catga.test.", "Emptied", 5) == "catga.test.ev.5.Emptied.*.*");
  CHECK(event_filter("catga.test.", "Emptied", std::nullopt) == "catga.test.ev.*.Emptied.*.*");
}

TEST_CASE("a key that makes no token, or one that is too long, has a subject too") {
  RelayEntry entry = emptied();
  entry.source.key = "";
  CHECK(event_message("c.", ShardId{0}, entry).subject == "c.ev.0.Emptied.account.%");
  entry.source.key = std::string(5000, 'k');
  const std::string one = event_message("c.", ShardId{0}, entry).subject;
  entry.source.key += "k";
  const std::string other = event_message("c.", ShardId{0}, entry).subject;
  CHECK(one.size() < 1024);
  CHECK(one != other);
}

TEST_CASE("an event is read from its headers as it was written") {
  const Result<StreamEvent> event = read(headers());
  REQUIRE(event.ok());
  CHECK(event->id == OperationId{1, 2});
  CHECK(event->source == EntityId{"account", "a b/c"});
  CHECK(event->number == 7);
  CHECK(event->epoch == Epoch{3});
  CHECK(event->at_ms == 1'764'000'000'123);
  CHECK(event->name == "Emptied");
  CHECK(event->payload == "\x80");
}

TEST_CASE("an event whose headers are missing or wrong is malformed") {
  for (const auto& [name, value] : headers()) {
    auto without = headers();
    without.erase(name);
    INFO(name);
    REQUIRE_FALSE(read(without).ok());
    CHECK(read(without).error().code == Code::malformed);
  }
  for (const auto& [name, value] : {std::pair{"Catga-Number", "-1"},
                                    {"Catga-Epoch", "1x"},
                                    {"Catga-Time", "99999999999999999"},
                                    {"Catga-Source", "account"},
                                    {"Catga-Source", "/x"},
                                    {"Catga-Source", "account/%4"},
                                    {"Nats-Msg-Id", "7"}}) {
    auto wrong = headers();
    wrong[name] = value;
    INFO(name);
    CHECK_FALSE(read(wrong).ok());
  }
}
