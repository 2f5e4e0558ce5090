// Trace contexts, the sampler, OpenTelemetry's variables, and the trace of a rebalance without a cluster.
#include <catga/entities/trace.hpp>
#include <catga/runtime/saga_trace.hpp>
#include <catga/runtime/telemetry/rebalance_spans.hpp>
#include <catga/runtime/telemetry/resource.hpp>
#include <catga/runtime/telemetry/tracer.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

using catga::OtlpSettings;
using catga::parse_traceparent;
using catga::Span;
using catga::TraceContext;
using catga::Tracer;

namespace {

OtlpSettings settings_of(const std::map<std::string, std::string>& variables) {
  return OtlpSettings::from([&variables](const std::string& name) {
    const auto at = variables.find(name);
    return at == variables.end() ? std::string{} : at->second;
  });
}

}  // namespace

TEST_CASE("every variable of OpenTelemetry that is read is in the list of those that are known") {
  std::set<std::string> asked;
  for (const std::string exporter : {"", "otlp", "none"}) {
    (void)OtlpSettings::from([&](const std::string& name) -> std::string {
      asked.insert(name);
      if (name.ends_with("_EXPORTER")) return exporter;
      return name == "OTEL_TRACES_SAMPLER" ? "traceidratio" : "";
    });
  }
  // Only to say that they are not honoured.
  for (const char* const deaf :
       {"OTEL_CONFIG_FILE", "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"})
    asked.erase(deaf);
  const auto known = OtlpSettings::names();
  CHECK(std::vector(asked.begin(), asked.end()) == known);
}

TEST_CASE("a traceparent is read and written as W3C says") {
  const std::string text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const auto context = parse_traceparent(text);
  REQUIRE(context);
  CHECK(context->sampled());
  CHECK(context->traceparent() == text);
  CHECK(context->trace_id() == "4bf92f3577b34da6a3ce929d0e0e4736");
  CHECK(context->span_id() == "00f067aa0ba902b7");
  CHECK(parse_traceparent("cc" + text.substr(2) + "-and-more"));  // a later version
  for (const std::string& wrong :
       {std::string(), std::string("00"), text + "0", text.substr(0, 54), "ff" + text.substr(2),
        std::string("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        std::string("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"),
        std::string("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
        std::string("00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01"),
        "cc" + text.substr(2) + "x"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_traceparent(wrong));
  }
}

TEST_CASE("the current context is that of the innermost scope of this thread") {
  CHECK_FALSE(catga::current_trace());
  const TraceContext outer{1, 2, 3, 1}, inner{1, 2, 4, 1};
  {
    const catga::detail::TraceScope first(outer);
    {
      const catga::detail::TraceScope second(inner);
      CHECK(catga::current_trace() == inner);
      std::thread([] { CHECK_FALSE(catga::current_trace()); }).join();
    }
    CHECK(catga::current_trace() == outer);
  }
  CHECK_FALSE(catga::current_trace());
}

TEST_CASE("a child keeps its trace and its parent's decision; roots are sampled by ratio") {
  Tracer half({.ratio = 0.5, .parent_based = true}, [](Span&&) {});
  int sampled = 0;
  for (int i = 0; i < 200; ++i) sampled += half.root().sampled() ? 1 : 0;
  CHECK(sampled > 50);
  CHECK(sampled < 150);
  for (const std::uint8_t flags : {std::uint8_t{0}, std::uint8_t{1}}) {
    const TraceContext parent{5, 6, 7, flags};
    const TraceContext child = half.child(parent);
    CHECK(child.trace_low == 6);
    CHECK(child.span != 7);
    CHECK(child.sampled() == (flags != 0));
  }
  Tracer off({.ratio = 0, .parent_based = true}, [](Span&&) {});
  CHECK_FALSE(off.root().sampled());
  CHECK(off.root());  // carried all the same
  Tracer always({.ratio = 1, .parent_based = false}, [](Span&&) {});
  CHECK(always.child({5, 6, 7, 0}).sampled());
}

TEST_CASE(
    "that something is a tell is known within a cluster, inherited by nobody, told to nobody") {
  Tracer tracer({.ratio = 1, .parent_based = true}, [](Span&&) {});
  const TraceContext told{5, 6, 7, 3 | catga::trace_of_tell};
  CHECK(catga::of_tell(told));
  CHECK(told.sampled());
  CHECK(tracer.child(told).flags == 3);
  CHECK(told.traceparent().substr(53) == "03");
}

TEST_CASE("where a saga stands in its trace is read as it was written, and rubbish is no trace") {
  const catga::SagaTrace begun{{5, 6, 7, 3}, {}}, started{{5, 6, 7, 3}, {5, 6, 8, 1}};
  CHECK(begun.text() == "00-00000000000000050000000000000006-0000000000000007-03");
  CHECK(started.text() ==
        begun.text() + " 00-00000000000000050000000000000006-0000000000000008-01");
  CHECK(catga::SagaTrace::read(begun.text()) == begun);
  CHECK(catga::SagaTrace::read(started.text()) == started);
  CHECK(catga::SagaTrace{}.text().empty());
  for (const char* rubbish : {"", " ", "rubbish", "00-0-0-0 00-0-0-0"})
    CHECK_FALSE(catga::SagaTrace::read(rubbish));
  CHECK(catga::SagaTrace::read(begun.text() + " rubbish") == begun);
}

TEST_CASE("new sampled traces are bounded, so that always on does not tear them apart") {
  Tracer all({.ratio = 1, .parent_based = true}, [](Span&&) {});
  int sampled = 0;
  for (int i = 0; i < 100'000; ++i) sampled += all.root().sampled() ? 1 : 0;
  CHECK(sampled >= 100);
  CHECK(sampled < 5000);  // a second's worth, and what the loop took
  Tracer few({.ratio = 1, .parent_based = true, .roots_per_second = 3}, [](Span&&) {});
  sampled = 0;
  for (int i = 0; i < 1000; ++i) sampled += few.root().sampled() ? 1 : 0;
  CHECK(sampled >= 3);
  CHECK(sampled < 100);
  Tracer endless({.ratio = 1, .parent_based = true, .roots_per_second = 0}, [](Span&&) {});
  for (int i = 0; i < 1000; ++i) CHECK(endless.root().sampled());
}

TEST_CASE(
    "spans below a sampled turn are bounded by leaving out branches, a quarter for each trace") {
  Tracer tracer({.ratio = 1, .spans_per_second = 400}, [](Span&&) {});
  const TraceContext endless{1, 2, 3, 1}, other{1, 3, 4, 1};
  int sampled = 0;
  TraceContext left_out;
  for (int i = 0; i < 10'000; ++i) {
    const TraceContext child = tracer.child(endless);
    sampled += child.sampled() ? 1 : 0;
    if (!child.sampled()) left_out = child;
  }
  CHECK(sampled >= 100);
  CHECK(sampled < 300);  // a second's worth, and what the loop took
  CHECK(tracer.left_out() == 10'000 - static_cast<std::uint64_t>(sampled));
  REQUIRE(left_out);  // it goes on in its trace, but nobody looks at what is below
  CHECK(left_out.trace_low == endless.trace_low);
  CHECK_FALSE(tracer.child(left_out).sampled());
  CHECK(tracer.left_out() == 10'000 - static_cast<std::uint64_t>(sampled));
  CHECK(tracer.child(other).sampled());  // the others have their share
  Tracer unbounded({.ratio = 1, .spans_per_second = 0}, [](Span&&) {});
  for (int i = 0; i < 10'000; ++i) CHECK(unbounded.child(endless).sampled());
}

TEST_CASE("without room at the exporter no span is begun") {
  bool room = false;
  Tracer tracer(
      {.ratio = 1}, [](Span&&) {}, [&room] { return room; });
  CHECK_FALSE(tracer.child({1, 2, 3, 1}).sampled());
  CHECK(tracer.left_out() == 1);
  room = true;
  CHECK(tracer.child({1, 2, 3, 1}).sampled());
}

TEST_CASE("telemetry is off unless OpenTelemetry's variables say where to") {
  CHECK_FALSE(settings_of({}).traces.on);
  CHECK_FALSE(settings_of({{"OTEL_SERVICE_NAME", "x"}}).logs.on);
  const OtlpSettings on =
      settings_of({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/"},
                   {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l"},
                   {"OTEL_EXPORTER_OTLP_HEADERS", "a=b%20c, d=e"},
                   {"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"},
                   {"OTEL_EXPORTER_OTLP_TIMEOUT", "250"},
                   {"OTEL_BSP_MAX_QUEUE_SIZE", "10"},
                   {"OTEL_TRACES_SAMPLER", "parentbased_traceidratio"},
                   {"OTEL_TRACES_SAMPLER_ARG", "0.05"},
                   {"OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,team=a%2Cb"}});
  CHECK(on.traces.url == "http://c:4318/base/v1/traces");
  CHECK(on.logs.url == "http://l/");
  CHECK(on.traces.headers[0] == std::pair<std::string, std::string>("a", "b c"));
  CHECK(on.traces.headers[1].second == "e");
  CHECK(on.traces.gzip);
  CHECK_FALSE(on.logs.gzip);
  CHECK(on.traces.timeout.count() == 250);
  CHECK(on.traces.queue == 10);
  CHECK(on.traces.batch == 10);
  CHECK(on.sampler.ratio == doctest::Approx(0.05));
  CHECK(on.service_name == "shop");
  CHECK(on.warnings.empty());
  CHECK(settings_of({{"OTEL_TRACES_EXPORTER", "otlp"}}).traces.url ==
        "http://localhost:4318/v1/traces");
  CHECK_FALSE(
      settings_of({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}, {"OTEL_SDK_DISABLED", "True"}})
          .traces.on);
  const OtlpSettings only =
      settings_of({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}, {"OTEL_LOGS_EXPORTER", "none"}});
  CHECK(only.traces.on);
  CHECK_FALSE(only.logs.on);
}

TEST_CASE("variables that cannot be honoured are named in a sentence, and the rest goes on") {
  const OtlpSettings settings = settings_of({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"},
                                             {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
                                             {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"},
                                             {"OTEL_TRACES_SAMPLER", "sometimes"},
                                             {"OTEL_METRICS_EXPORTER", "otlp"},
                                             {"OTEL_CONFIG_FILE", "x.yaml"}});
  CHECK(settings.traces.on);
  CHECK(settings.traces.timeout.count() == 10'000);
  CHECK(settings.sampler.ratio == 1);
  std::string all;
  for (const std::string& warning : settings.warnings) all += warning + '\n';
  for (const char* word : {"4318", "grpc", "soon", "sometimes", "OTEL_CONFIG_FILE", "/metrics"})
    CHECK_MESSAGE(all.find(word) != all.npos, word << " in " << all);
}

TEST_CASE("a resource says which process speaks") {
  catga::Config config;
  config.node.id = "n1";
  const auto resource_with = [&](const std::map<std::string, std::string>& variables) {
    const auto lookup = [&variables](const std::string& name) {
      const auto at = variables.find(name);
      return at == variables.end() ? std::string{} : at->second;
    };
    std::map<std::string, std::string> out;
    for (const auto& [key, value] :
         catga::resource_of(OtlpSettings::from(lookup), config, "abc", lookup))
      out[key] = std::holds_alternative<std::string>(value) ? std::get<std::string>(value) : "#";
    return out;
  };
  auto plain = resource_with({});
  CHECK(plain["service.name"] == "catga");
  CHECK(plain["service.instance.id"] == "catga.n1");
  CHECK(plain["catga.node.incarnation"] == "abc");
  CHECK(plain["process.pid"] == "#");
  auto pod = resource_with({{"POD_NAME", "p-0"},
                            {"POD_NAMESPACE", "prod"},
                            {"OTEL_SERVICE_NAME", "shop"},
                            {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"},
                            {"OTEL_RESOURCE_ATTRIBUTES", "service.name=other,host.name=h,x=y"}});
  CHECK(pod["service.name"] == "shop");
  CHECK(pod["service.instance.id"] == "prod.p-0.node");
  CHECK(pod["k8s.pod.name"] == "p-0");
  CHECK(pod["host.name"] == "h");
  CHECK(pod["x"] == "y");
}

namespace {

/// Two nodes whose events reach each other, and the spans they make of them.
struct TwoNodes {
  struct One {
    One(const std::string& name, std::vector<Span>& spans)
        : feed(name + "-process"),
          log({.level = "off", .format = "json"}, "test", name),
          rebalances(
              "test", name, [&spans](Span&& span) { spans.push_back(std::move(span)); }, 2000) {
      log.identify(name + "-process");
      log.add(rebalances);
    }
    catga::EventFeed feed;
    catga::Log log;
    catga::RebalanceSpans rebalances;
  };
  std::vector<Span> spans;
  One a{"a", spans}, b{"b", spans};

  void tell_both(const std::string& name, const std::string& node, const std::string& more) {
    const catga::ClusterEvent event{name, node + "-1",
                                    R"({"event.name":")" + name + R"(","catga.node.id":")" + node +
                                        R"(","catga.rebalance.id":"77")" + more + "}"};
    a.rebalances.heard(event);
    b.rebalances.heard(event);
  }
};

std::vector<catga::LogField> move_fields(const std::string& mode) {
  return {{"catga.rebalance.id", std::string("77")},
          {"catga.shard.id", std::int64_t{5}},
          {"catga.node.from", std::string("a")},
          {"catga.node.to", std::string("b")},
          {"mode", mode},
          {"catga.shard.epoch", std::string("9")}};
}

const Span* named(const std::vector<Span>& spans, std::string_view name) {
  const auto at = std::find_if(spans.begin(), spans.end(),
                               [name](const Span& span) { return span.name == name; });
  return at == spans.end() ? nullptr : &*at;
}

}  // namespace

TEST_CASE(
    "a planned move is one span of the old owner, with a child at either node, in one trace") {
  TwoNodes nodes;
  nodes.a.log.write(catga::Severity::debug, "handoff", "catga.shard.handoff.started", "",
                    move_fields("planned"));
  nodes.b.log.write(catga::Severity::trace, "handoff",
                    catga::EventName("catga.shard.handoff.completed").in_log_only(), "",
                    move_fields("planned"));
  nodes.a.log.write(catga::Severity::debug, "handoff", "catga.shard.handoff.completed", "",
                    move_fields("planned"));
  nodes.tell_both("catga.rebalance.planned", "a", R"(,"reason":"node_joined","moves":1)");
  nodes.tell_both("catga.rebalance.completed", "a", R"(,"outcome":"ok","moved":1,"failed":0)");
  const std::int64_t later = Tracer::now_ns() + 3'000'000'000;
  nodes.a.rebalances.look(later);
  nodes.b.rebalances.look(later);
  REQUIRE(nodes.spans.size() == 4);
  const Span* root = named(nodes.spans, "catga.rebalance");
  const Span* move = named(nodes.spans, "catga.shard.handoff");
  const Span* release = named(nodes.spans, "catga.shard.release");
  const Span* acquire = named(nodes.spans, "catga.shard.acquire");
  REQUIRE((root && move && release && acquire));
  for (const Span& span : nodes.spans) {
    CHECK(span.context.trace_id() == root->context.trace_id());
    CHECK(span.context.flags == 1);
  }
  CHECK(root->parent == 0);
  CHECK(move->parent == root->context.span);
  CHECK(release->parent == move->context.span);
  CHECK(acquire->parent == move->context.span);
}

TEST_CASE("a take-over is told by the new owner alone") {
  TwoNodes nodes;
  nodes.b.log.write(catga::Severity::debug, "handoff", "catga.shard.handoff.completed", "",
                    move_fields("takeover"));
  REQUIRE(nodes.spans.size() == 2);
  CHECK(named(nodes.spans, "catga.shard.acquire")->parent ==
        named(nodes.spans, "catga.shard.handoff")->context.span);
}

TEST_CASE("the root waits until every node's part is over, and one node exports it") {
  TwoNodes nodes;
  for (const char* node : {"b", "a"})
    nodes.tell_both("catga.rebalance.planned", node, R"(,"reason":"node_left","takeovers":3)");
  nodes.tell_both("catga.rebalance.completed", "a", R"(,"outcome":"ok","taken":3)");
  const std::int64_t later = Tracer::now_ns() + 3'000'000'000;
  nodes.a.rebalances.look(later);
  nodes.b.rebalances.look(later);
  CHECK(nodes.spans.empty());
  nodes.tell_both("catga.rebalance.completed", "b", R"(,"outcome":"partial","taken":2,"failed":1)");
  for (int i = 0; i < 2; ++i) {
    nodes.b.rebalances.look(later + 3'000'000'000);
    nodes.a.rebalances.look(later + 3'000'000'000);
  }
  REQUIRE(nodes.spans.size() == 1);
  std::map<std::string, std::int64_t> numbers;
  for (const catga::LogField& field : nodes.spans[0].attributes)
    if (const auto* number = std::get_if<std::int64_t>(&field.value))
      numbers[std::string(field.name)] = *number;
  CHECK(numbers["catga.rebalance.moves_planned"] == 6);
  CHECK(numbers["catga.rebalance.moves_completed"] == 5);
  CHECK(numbers["catga.rebalance.moves_failed"] == 1);
}
