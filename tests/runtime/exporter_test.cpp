// What reaches a collector, and what happens when it is slow, wrong or away.
#include <catga/runtime/telemetry/exporter.hpp>
#include <catga/runtime/telemetry/tracer.hpp>

#include "../support/collector.hpp"
#include <doctest/doctest.h>

#include <array>
#include <limits>

using catga::Exporter;
using catga::LogField;
using catga::OtlpSettings;
using catga::Span;
using catga::testing::Collector;
using namespace std::chrono_literals;

namespace {

OtlpSettings to(const Collector& collector) {
  OtlpSettings settings;
  settings.traces.on = settings.logs.on = true;
  settings.traces.url = collector.url() + "/v1/traces";
  settings.logs.url = collector.url() + "/v1/logs";
  settings.traces.every = settings.logs.every = 10ms;
  return settings;
}

Span a_span(const std::string& name) {
  Span span;
  span.context = catga::Tracer::inside({1, 2, 3, 1});
  span.name = name;
  span.parent = 3;
  span.start_ns = catga::Tracer::now_ns() - 5;
  span.end_ns = catga::Tracer::now_ns();
  span.attributes = {{"text", std::string("a\xFF\"b")},
                     {"whole", std::numeric_limits<std::int64_t>::max()},
                     {"truth", true},
                     {"none", std::numeric_limits<double>::quiet_NaN()},
                     {"much", -std::numeric_limits<double>::infinity()}};
  span.links.push_back({{7, 8, 9, 1}, {{"catga.link.reason", std::string("delayed_by_handoff")}}});
  return span;
}

struct Running {
  explicit Running(OtlpSettings settings)
      : exporter(std::move(settings), {{"service.name", std::string("test")}},
                 [this](const std::string& said) { troubles.push_back(said); }) {
    exporter.start();
  }
  std::vector<std::string> troubles;  ///< read after stop()
  Exporter exporter;
};

}  // namespace

TEST_CASE("spans and records arrive as OTLP in JSON, whatever they contain") {
  Collector collector;
  Running running(to(collector));
  running.exporter.add(a_span("one"));
  const std::array fields{LogField{"catga.shard.id", std::int64_t{17}}};
  catga::LogRecord record;
  record.unix_us = 1'772'366'400'123'456;
  record.severity = catga::Severity::warn;
  record.logger = "handoff";
  record.event = "catga.shard.ownership.lost";
  record.message = "shard 17 \xFE is lost";
  record.streamed = true;
  record.fields = fields;
  record.context = {1, 2, 3, 1};
  running.exporter.take(record);
  REQUIRE(collector.wait_for(2));
  running.exporter.stop(1s);
  CHECK(collector.offences() == std::vector<std::string>{});
  const auto spans = collector.spans();
  REQUIRE(spans.size() == 1);
  CHECK(spans[0]["name"] == "one");
  CHECK(spans[0]["traceId"] == "00000000000000010000000000000002");
  CHECK(spans[0]["parentSpanId"] == "0000000000000003");
  CHECK(catga::testing::attribute(spans[0], "whole") == "9223372036854775807");
  CHECK(catga::testing::attribute(spans[0], "none") == "NaN");
  CHECK(catga::testing::attribute(spans[0], "much") == "-Infinity");
  CHECK(catga::testing::attribute(spans[0], "text") == "a\xEF\xBF\xBD\"b");
  CHECK(spans[0]["links"][0]["spanId"] == "0000000000000009");
  CHECK(catga::testing::attribute(spans[0]["resource"], "service.name") == "test");
  const auto records = collector.records();
  REQUIRE(records.size() == 1);
  CHECK(records[0]["eventName"] == "catga.shard.ownership.lost");
  CHECK(records[0]["severityNumber"] == 13);
  CHECK(records[0]["timeUnixNano"] == "1772366400123456000");
  CHECK(records[0]["spanId"] == "0000000000000003");
  CHECK(running.exporter.spans().exported == 1);
  CHECK(running.exporter.records().exported == 1);
}

TEST_CASE("bodies are packed when asked for, and headers are sent") {
  Collector collector;
  OtlpSettings settings = to(collector);
  settings.traces.gzip = true;
  settings.traces.headers = {{"x-key", "a b"}};
  Running running(settings);
  running.exporter.add(a_span("packed"));
  REQUIRE(collector.wait_for(1));
  CHECK(collector.offences() == std::vector<std::string>{});
  CHECK(collector.spans().size() == 1);
  CHECK(collector.requests()[0].headers["content-encoding"] == "gzip");
  CHECK(collector.requests()[0].headers["x-key"] == "a b");
}

TEST_CASE("503 is tried again and delivers once; 429 waits as long as it was told") {
  for (const bool told : {false, true}) {
    CAPTURE(told);
    Collector collector;
    collector.answer_next({{told ? 429 : 503, told ? "Retry-After: 1\r\n" : "", "", {}}});
    Running running(to(collector));
    running.exporter.add(a_span("again"));
    REQUIRE(collector.wait_for(2));
    running.exporter.stop(1s);
    const auto requests = collector.requests();
    REQUIRE(requests.size() == 2);
    CHECK(requests[0].body == requests[1].body);
    if (told) CHECK(requests[1].at - requests[0].at >= 950ms);
    CHECK(running.exporter.spans().exported == 1);
    CHECK(running.troubles.size() == 1);
  }
}

TEST_CASE("an answer that ends in the middle is no answer: it is sent again") {
  Collector collector;
  collector.answer_next({{200, "", "{\"a\":1}", Collector::Answer::How::cut}});
  Running running(to(collector));
  running.exporter.add(a_span("cut"));
  REQUIRE(collector.wait_for(2));
}

TEST_CASE("what a collector refuses for good is dropped and counted, and a part it refuses too") {
  Collector collector;
  collector.answer_next(
      {{400, "", "", {}},
       {200, "", R"({"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}})", {}}});
  Running running(to(collector));
  running.exporter.add(a_span("refused"));
  REQUIRE(collector.wait_for(1));
  running.exporter.add(a_span("half"));
  REQUIRE(collector.wait_for(2));
  running.exporter.stop(1s);
  CHECK(collector.requests().size() == 2);
  CHECK(running.exporter.spans().failed == 2);
  CHECK(running.exporter.spans().exported == 0);
  CHECK(running.troubles.size() == 1);  // at most one a minute
}

TEST_CASE("a collector that never answers costs nobody a moment, and memory stays bounded") {
  Collector collector;
  collector.answer_next({{200, "", "", Collector::Answer::How::never}});
  OtlpSettings settings = to(collector);
  settings.traces.queue = 64;
  Running running(settings);
  running.exporter.add(a_span("first"));
  REQUIRE(collector.wait_for(1));
  for (int i = 0; i < 10'000; ++i) running.exporter.add(a_span("more"));
  CHECK(running.exporter.spans().dropped >= 10'000 - 64);
}

TEST_CASE("what waits at the end is sent, within the time there is") {
  Collector collector;
  OtlpSettings settings = to(collector);
  settings.traces.every = 1h;
  Running running(settings);
  for (int i = 0; i < 20; ++i) running.exporter.add(a_span("late"));
  running.exporter.stop(5s);
  CHECK(collector.spans().size() == 20);
  const auto begin = std::chrono::steady_clock::now();
  Collector silent;
  silent.answer_next({{200, "", "", Collector::Answer::How::never}});
  OtlpSettings other = to(silent);
  other.traces.every = 1h;
  Running waiting(other);
  waiting.exporter.add(a_span("lost"));
  waiting.exporter.stop(300ms);
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  CHECK(waiting.exporter.spans().dropped == 1);
}

TEST_CASE("a status says whether to try again, and Retry-After when") {
  using What = catga::ExportVerdict::What;
  CHECK(catga::verdict_of(200, "", 0).what == What::done);
  for (const long status : {0, 429, 502, 503, 504})
    CHECK(catga::verdict_of(status, "", 0).what == What::again);
  for (const long status : {201, 204, 301, 400, 401, 404, 413, 500, 501})
    CHECK(catga::verdict_of(status, "", 0).what == What::drop);
  CHECK(catga::verdict_of(503, "2", 0).after == 2s);
  CHECK(catga::verdict_of(503, "9999", 0).after == 60s);
  CHECK_FALSE(catga::verdict_of(503, "soon", 0).after);
  CHECK(catga::verdict_of(503, "Thu, 01 Jan 1970 00:16:45 GMT", 1000).after == 5s);
  CHECK(catga::verdict_of(503, "Thu, 01 Jan 1970 00:00:01 GMT", 1000).after == 0s);
}
