// Reading events from log lines, and the figures made of them.
#include "../../samples/demo_main/timeline.hpp"

#include <catga/runtime/telemetry/log.hpp>

#include "../../samples/demo_main/report.hpp"
#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

using namespace std::chrono_literals;

TEST_CASE("an event is read from a line as the log writes it") {
  const std::array fields{catga::LogField{"catga.shard.id", 17},
                          catga::LogField{"catga.node.from", std::string("n1")},
                          catga::LogField{"catga.node.to", std::string("n4")},
                          catga::LogField{"mode", std::string("planned")},
                          catga::LogField{"catga.shard.epoch", std::string("12")},
                          catga::LogField{"unavailable_ms", 2.5}};
  const auto event = demo::event_in(catga::json_line({.unix_us = 1'772'366'400'123'456,
                                                      .severity = catga::Severity::info,
                                                      .logger = "handoff",
                                                      .event = "catga.shard.handoff.completed",
                                                      .message = "moved",
                                                      .cluster = "demo",
                                                      .node = "n4",
                                                      .fields = fields}));
  REQUIRE(event);
  CHECK(event->unix_us == 1'772'366'400'123'456);
  CHECK(event->name == "catga.shard.handoff.completed");
  CHECK(event->node == "n4");
  CHECK(event->from == "n1");
  CHECK(event->to == "n4");
  CHECK(event->mode == "planned");
  CHECK(event->shard == 17);
  CHECK(event->epoch == "12");
  CHECK(event->unavailable_ms == doctest::Approx(2.5));
}

TEST_CASE("lines without an event, and lines that are no JSON, are not events") {
  CHECK_FALSE(demo::event_in(R"({"message":"hello"})"));
  CHECK_FALSE(demo::event_in(R"("event.name" but not JSON)"));
  CHECK_FALSE(demo::event_in(""));
}

TEST_CASE("a log is followed line by line; half a line waits for its end") {
  auto path = (std::filesystem::temp_directory_path() / "catga-tail-XXXXXX").string();
  const int file = mkstemp(path.data());
  REQUIRE(file >= 0);
  close(file);
  demo::LogTail tail(path);
  std::ofstream log(path, std::ios::app);
  log << R"({"event.name":"one"})" << '\n' << R"({"event.na)" << std::flush;
  auto events = tail.fresh();
  REQUIRE(events.size() == 1);
  CHECK(events[0].name == "one");
  CHECK(tail.fresh().empty());
  log << R"(me":"two"})" << '\n' << std::flush;
  events = tail.fresh();
  REQUIRE(events.size() == 1);
  CHECK(events[0].name == "two");
  std::filesystem::remove(path);
}

TEST_CASE("percentiles are nearest ranks") {
  CHECK(demo::percentile({}, 99) == 0);
  CHECK(demo::percentile({7}, 50) == 7);
  CHECK(demo::percentile({4, 1, 3, 2}, 50) == 2);
  CHECK(demo::percentile({4, 1, 3, 2}, 99) == 4);
}

TEST_CASE("numbers are grouped by thousands") {
  CHECK(demo::with_commas(0) == "0");
  CHECK(demo::with_commas(999) == "999");
  CHECK(demo::with_commas(1000) == "1,000");
  CHECK(demo::with_commas(1234567) == "1,234,567");
}

TEST_CASE("failures count for the window they overlap, speed for the time outside the windows") {
  const demo::Clock::time_point zero{};
  demo::Run run;
  run.began = zero;
  run.ended = zero + 10s;
  run.join = {zero + 2s, zero + 4s};
  run.leave = {zero + 5s, zero + 6s};
  run.kill = {zero + 8s, zero + 9s};
  std::vector<demo::Outcome> outcomes(8);
  for (std::size_t i = 0; i < 7; ++i) {
    outcomes[i].end = demo::End::acknowledged;
    outcomes[i].started = outcomes[i].ended = zero + 1s;
  }
  outcomes[7] = {.end = demo::End::failed, .asks = 3, .started = zero + 1s, .ended = zero + 3s};
  const auto report = demo::report_of(run, outcomes, {});
  CHECK(report.join_failed == 1);
  CHECK(report.leave_failed == 0);
  CHECK(report.retried == 2);
  CHECK(report.commands_per_second == doctest::Approx(7.0 / 6.0));
  CHECK(demo::faults_of(report).size() == 3);  // failed, nothing refused, nothing moved
}
