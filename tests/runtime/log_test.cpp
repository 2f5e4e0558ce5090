// Log lines: valid JSON whatever is put in, readable text, nothing lost at error, levels per
// logger.
#include <catga/runtime/telemetry/log.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

using catga::LogField;
using catga::LogRecord;
using catga::Severity;

namespace {

constexpr std::int64_t a_moment = 1'772'366'400'123'456;  // 2026-03-01T12:00:00.123456Z

LogRecord record_of(std::string_view message, std::span<const LogField> fields = {}) {
  return {.unix_us = a_moment,
          .severity = Severity::info,
          .logger = "handoff",
          .event = "catga.shard.handoff.completed",
          .message = message,
          .cluster = "catga",
          .node = "n1",
          .fields = fields};
}

nlohmann::json json_of(const LogRecord& record) {
  return nlohmann::json::parse(catga::json_line(record));  // throws when it is not JSON
}

/// The lines `body` makes appear on standard output.
template <class Body>
std::vector<std::string> output_of(Body body) {
  auto path = (std::filesystem::temp_directory_path() / "catga-log-XXXXXX").string();
  const int file = mkstemp(path.data());
  REQUIRE(file >= 0);
  std::fflush(stdout);
  const int before = dup(STDOUT_FILENO);
  dup2(file, STDOUT_FILENO);
  body();
  dup2(before, STDOUT_FILENO);
  close(before);
  close(file);
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  std::filesystem::remove(path);
  return lines;
}

}  // namespace

TEST_CASE("a JSON line has its keys in the documented order and the time in microseconds UTC") {
  const std::array fields{LogField{"catga.shard.id", 17}, LogField{"unavailable_ms", 2.5},
                          LogField{"retried", true}, LogField{"mode", std::string("planned")}};
  CHECK(catga::json_line(record_of("shard 17 moved", fields)) ==
        R"({"timestamp":"2026-03-01T12:00:00.123456Z","severity":"INFO",)"
        R"("message":"shard 17 moved","logger":"handoff",)"
        R"("event.name":"catga.shard.handoff.completed","catga.cluster.name":"catga",)"
        R"("catga.node.id":"n1","catga.shard.id":17,"unavailable_ms":2.5,"retried":true,)"
        R"("mode":"planned"})");
}

TEST_CASE("a line without an event has no event keys") {
  auto record = record_of("hello");
  record.event = "";
  const auto json = json_of(record);
  CHECK_FALSE(json.contains("event.name"));
  CHECK(json["message"] == "hello");
}

TEST_CASE("a line made inside a span names it") {
  auto record = record_of("inside");
  record.context = {0x4bf92f3577b34da6, 0xa3ce929d0e0e4736, 0x00f067aa0ba902b7, 1};
  const auto json = json_of(record);
  CHECK(json["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736");
  CHECK(json["span_id"] == "00f067aa0ba902b7");
  CHECK(json["trace_flags"] == "01");
  CHECK_FALSE(json_of(record_of("outside")).contains("trace_id"));
}

TEST_CASE("one place in the code writes ten lines a second, then one with the count; events all") {
  const auto lines = output_of([] {
    catga::Log log({.level = "info", .format = "json"}, "catga", "n1");
    for (int i = 0; i < 1000; ++i) {
      log.write(Severity::warn, "nats", "", "message " + std::to_string(i) + " is rubbish");
      log.write(Severity::info, "membership", "catga.node.joined", "node is up");
    }
    log.write(Severity::warn, "nats", "", "another place");
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    log.write(Severity::warn, "nats", "", "message 1000 is rubbish");
  });
  std::int64_t rubbish = 0, suppressed = 0, joined = 0, other = 0;
  for (const auto& line : lines) {
    const auto json = nlohmann::json::parse(line);
    const std::string message = json["message"];
    rubbish += message.starts_with("message") ? 1 : 0;
    joined += message == "node is up" ? 1 : 0;
    other += message == "another place" ? 1 : 0;
    suppressed += json.value("suppressed", std::int64_t{0});
  }
  CHECK(joined == 1000);
  CHECK(other == 1);
  CHECK(rubbish <= 32);  // the loop may take parts of two seconds
  CHECK(rubbish + suppressed == 1001);
}

TEST_CASE("quotes, backslashes and control characters arrive as they were written") {
  const std::string nasty = std::string("a\"b\\c\nd\te\rf\x01g\x7Fh", 16) + '\0' + "end";
  const std::array fields{LogField{"text", nasty}};
  const auto line = catga::json_line(record_of(nasty, fields));
  CHECK(line.find('\n') == line.npos);
  const auto json = nlohmann::json::parse(line);
  CHECK(json["message"] == nasty);
  CHECK(json["text"] == nasty);
}

TEST_CASE("invalid UTF-8 becomes U+FFFD and valid UTF-8 stays") {
  CHECK(json_of(record_of("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80"))["message"] ==
        "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80");
  CHECK(json_of(record_of("a\xFFz"))["message"] == "a\xEF\xBF\xBDz");
  CHECK(json_of(record_of("\xC0\xAF"))["message"] == "\xEF\xBF\xBD\xEF\xBF\xBD");  // overlong
  CHECK(json_of(record_of("\xE2\x82"))["message"] == "\xEF\xBF\xBD\xEF\xBF\xBD");  // cut short
  CHECK(json_of(record_of("\xED\xA0\x80z"))["message"].get<std::string>().ends_with("z"));
}

TEST_CASE("a number JSON cannot express becomes null") {
  const std::array fields{LogField{"ratio", std::numeric_limits<double>::infinity()}};
  CHECK(json_of(record_of("x", fields))["ratio"].is_null());
}

TEST_CASE("a line longer than 16 KiB is cut, says so, and is still JSON") {
  for (const std::size_t size : {15'000, 15'500, 16'000, 16'384, 40'000}) {
    const std::string text(size, '"');  // each takes two bytes
    const std::array fields{LogField{"more", text}, LogField{"catga.shard.id", 17}};
    for (const auto& line :
         {catga::json_line(record_of(text)), catga::json_line(record_of("short", fields))}) {
      CHECK(line.size() <= catga::log_line_max);
      CHECK(nlohmann::json::parse(line)["truncated"] == true);
    }
    CHECK(catga::text_line(record_of(text, fields), true).size() <= catga::log_line_max);
  }
  CHECK_FALSE(json_of(record_of(std::string(14'000, 'a'))).contains("truncated"));
}

TEST_CASE("random bytes in every place give valid JSON below the limit") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  const auto bytes = [&random](std::size_t longest) {
    std::string text(random() % longest, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
  };
  for (int i = 0; i < 500; ++i) {
    const auto name = bytes(40);
    const std::array fields{LogField{name, bytes(9000)}, LogField{"second", bytes(9000)},
                            LogField{"third", 3}};
    const auto message = bytes(i % 10 == 0 ? 20'000 : 200);
    const auto line = catga::json_line(record_of(message, fields));
    REQUIRE(line.size() <= catga::log_line_max);
    REQUIRE(nlohmann::json::accept(line));
  }
}

TEST_CASE("the text form is short: local names of fields, values quoted when they need it") {
  const std::array fields{LogField{"catga.shard.id", 17},
                          LogField{"catga.node.from", std::string("n1")},
                          LogField{"error", std::string("no route")}};
  CHECK(catga::text_line(record_of("moved\x1b[2J", fields), false) ==
        "12:00:00.123 INFO  handoff  moved\\x1b[2J  shard=17 from=n1 error=\"no route\"");
}

TEST_CASE("lines of a log come out whole and in order, and flush waits for them") {
  const auto lines = output_of([] {
    catga::Log log({.level = "info", .format = "json"}, "catga", "n1");
    for (int i = 0; i < 1000; ++i)
      log.write(Severity::info, "app", "", "line", {{"number", std::int64_t{i}}});
    log.flush();
  });
  REQUIRE(lines.size() == 1000);
  for (std::size_t i = 0; i < lines.size(); ++i)
    CHECK(nlohmann::json::parse(lines[i])["number"] == i);
}

TEST_CASE("an error is out when write returns") {
  std::size_t seen = 0;
  output_of([&seen] {
    catga::Log log({.level = "info", .format = "json"}, "catga", "n1");
    const off_t before = lseek(STDOUT_FILENO, 0, SEEK_CUR);
    log.write(Severity::error, "app", "", "broken");
    seen = static_cast<std::size_t>(lseek(STDOUT_FILENO, 0, SEEK_CUR) - before);
  });
  CHECK(seen > 0);
}

TEST_CASE("a level may be set for all loggers and for one") {
  const auto lines = output_of([] {
    catga::Log log({.level = "warn,handoff=debug", .format = "json"}, "catga", "n1");
    CHECK(log.wants(Severity::debug));
    CHECK_FALSE(log.wants(Severity::trace));
    log.write(Severity::info, "node", "", "not this");
    log.write(Severity::debug, "handoff", "", "this");
    log.write(Severity::warn, "node", "", "and this");
  });
  REQUIRE(lines.size() == 2);
  CHECK(nlohmann::json::parse(lines[0])["message"] == "this");
  CHECK(nlohmann::json::parse(lines[1])["severity"] == "WARN");
  const auto none = output_of([] {
    catga::Log log({.level = "off", .format = "json"}, "catga", "n1");
    log.write(Severity::error, "node", "", "not this");
  });
  CHECK(none.empty());
}

TEST_CASE("a flood from many threads never blocks for good; what is dropped is counted") {
  constexpr std::int64_t total = 4 * 20'000;
  std::int64_t told = 0;
  const auto lines = output_of([] {
    catga::Log log({.level = "info", .format = "json"}, "catga", "n1");
    std::vector<std::thread> writers;
    for (int t = 0; t < 4; ++t)
      writers.emplace_back([&log] {
        for (int i = 0; i < total / 4; ++i) log.write(Severity::info, "app", "", "flood");
      });
    for (auto& writer : writers) writer.join();
  });
  std::int64_t seen = 0;
  for (const auto& line : lines) {
    const auto json = nlohmann::json::parse(line);
    if (json["message"] == "flood") ++seen;
    if (json.contains("dropped")) told += json["dropped"].get<std::int64_t>();
  }
  CHECK(seen + told == total);
}
