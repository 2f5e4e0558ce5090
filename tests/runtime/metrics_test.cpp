// Counting from many threads, the text that Prometheus reads, and what a node writes into it.
#include <catga/runtime/telemetry/metrics.hpp>
#include <catga/runtime/telemetry/node_metrics.hpp>
#include <catga/runtime/telemetry/series.hpp>
#include <catga/runtime/telemetry/traffic_metrics.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

using namespace catga;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::map<std::string, Kind, std::less<>> one_kind() {
  Kind kind;
  kind.name = "account";
  kind.messages = {{"Deposit", false, {}, {}}, {"Balance", true, {}, {}}};
  return {{"account", kind}};
}

std::string text_of(const NodeMetrics& metrics, const NodeMetrics::Now& now = {}) {
  Exposition out("orders");
  metrics.write(out, now);
  return out.text();
}

}  // namespace

TEST_CASE("names in the table are unique, and counters and only counters end in _total") {
  std::set<std::string_view> seen;
  for (const MetricRow& row : metric_table) {
    CAPTURE(row.name);
    CHECK(seen.insert(row.name).second);
    CHECK(row.name.ends_with("_total") == (row.type == MetricType::counter));
    CHECK((row.buckets != Buckets::none) == (row.type == MetricType::histogram));
    CHECK(row.help.ends_with('.'));
  }
}

TEST_CASE("what many threads count adds up, also when there are more threads than stripes") {
  Sheet sheet(3);
  std::vector<std::thread> threads;
  constexpr std::uint64_t each = 2000, many = 100;
  for (std::uint64_t i = 0; i < many; ++i) {
    threads.emplace_back([&sheet] {
      for (std::uint64_t n = 0; n < each; ++n) {
        sheet.add(0);
        sheet.add(2, 3);
        sheet.take_away(1);
        sheet.add(1, 2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(sheet.sum(0) == many * each);
  CHECK(sheet.sum(1) == many * each);
  CHECK(sheet.sum(2) == 3 * many * each);
}

TEST_CASE("a value on a bound belongs to its bucket, and the count is the sum of the buckets") {
  Histogram sizes(Buckets::sizes);
  for (const std::uint64_t value : {1, 2, 3, 256, 257}) sizes.record(value);
  Exposition out("orders");
  out.add(metric("catga_commit_batch_size"), {}, sizes);
  const std::string text = out.text();
  CHECK(has(text, "catga_commit_batch_size_bucket{service=\"orders\",le=\"1\"} 1\n"));
  CHECK(has(text, "catga_commit_batch_size_bucket{service=\"orders\",le=\"2\"} 2\n"));
  CHECK(has(text, "catga_commit_batch_size_bucket{service=\"orders\",le=\"4\"} 3\n"));
  CHECK(has(text, "catga_commit_batch_size_bucket{service=\"orders\",le=\"256\"} 4\n"));
  CHECK(has(text, "catga_commit_batch_size_bucket{service=\"orders\",le=\"+Inf\"} 5\n"));
  CHECK(has(text, "catga_commit_batch_size_sum{service=\"orders\"} 519\n"));
  CHECK(has(text, "catga_commit_batch_size_count{service=\"orders\"} 5\n"));
}

TEST_CASE("every value is counted below the first bound that is not less") {
  for (const Buckets buckets : {Buckets::quick, Buckets::moves, Buckets::sizes}) {
    const auto bounds = bounds_of(buckets);
    std::vector<std::uint64_t> values{0, 1, ~std::uint64_t{0}};
    for (const std::uint64_t bound : bounds) {
      for (const std::uint64_t near : {bound - 1, bound, bound + 1, bound / 2, bound * 2})
        values.push_back(near);
    }
    for (const std::uint64_t value : values) {
      CAPTURE(value);
      Histogram histogram(buckets);
      histogram.record(value);
      const auto wanted = static_cast<std::size_t>(
          std::count_if(bounds.begin(), bounds.end(), [&](auto bound) { return bound < value; }));
      for (std::size_t bucket = 0; bucket <= bounds.size(); ++bucket)
        CHECK(histogram.sheet().sum(bucket) == (bucket == wanted ? 1 : 0));
      CHECK(histogram.sheet().sum(bounds.size() + 1) == value);
    }
  }
}

TEST_CASE("times are measured in ns and shown in seconds") {
  Histogram times(Buckets::quick);
  times.record(1'500'000);
  Exposition out("orders");
  out.add(metric("catga_timer_lateness_seconds"), {}, times);
  const std::string text = out.text();
  CHECK(has(text, "le=\"0.001\"} 0\n"));
  CHECK(has(text, "le=\"0.0025\"} 1\n"));
  CHECK(has(text, "_sum{service=\"orders\"} 0.0015\n"));
}

TEST_CASE("label values are escaped, so that nobody can forge a sample") {
  Exposition out("a\"b\\c\nd");
  out.add(metric("catga_shards_configured"), {}, std::uint64_t{64});
  CHECK(has(out.text(), "catga_shards_configured{service=\"a\\\"b\\\\c\\nd\"} 64\n"));
}

TEST_CASE("OpenMetrics is what a scraper gets that asks for it, and nobody else") {
  CHECK(metrics_format("") == MetricsFormat::prometheus);
  CHECK(metrics_format("text/plain") == MetricsFormat::prometheus);
  CHECK(metrics_format("*/*") == MetricsFormat::prometheus);
  CHECK(metrics_format("application/openmetrics-text") == MetricsFormat::open_metrics);
  CHECK(metrics_format("application/openmetrics-text;version=0.0.1") == MetricsFormat::prometheus);
  CHECK(metrics_format("application/openmetrics-text;version=1.0.0,"
                       "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5") ==
        MetricsFormat::open_metrics);  // Prometheus
  CHECK(metrics_format("application/openmetrics-text;version=0.0.1;q=0.75,"
                       "application/openmetrics-text;version=1.0.0;q=0.7") ==
        MetricsFormat::open_metrics);
}

TEST_CASE(
    "in OpenMetrics a counter's family has no _total, its samples have, and the end is said") {
  Exposition out("orders");
  out.add(metric("catga_redis_rollbacks_total"), {}, std::uint64_t{2});
  out.add(metric("catga_view_version"), {}, std::uint64_t{7});
  const std::string text = out.text(MetricsFormat::open_metrics);
  CHECK(has(text, "# TYPE catga_redis_rollbacks counter\n"));
  CHECK(has(text, "# HELP catga_redis_rollbacks "));
  CHECK(has(text, "\ncatga_redis_rollbacks_total{service=\"orders\"} 2\n"));
  CHECK(has(text, "# TYPE catga_view_version gauge\n"));
  CHECK(text.ends_with("\n# EOF\n"));
  CHECK_FALSE(has(out.text(), "EOF"));
  CHECK(has(out.text(), "# TYPE catga_redis_rollbacks_total counter\n"));
  std::set<std::string_view> families;  // two of one name would be refused
  for (const MetricRow& row : metric_table) {
    std::string_view name = row.name;
    if (row.type == MetricType::counter) name.remove_suffix(6);
    CHECK(families.insert(name).second);
    CHECK(row.help.find_first_of("\"\\\n") == row.help.npos);  // would have to be escaped
  }
}

TEST_CASE("where no scrape says which node it was, the series can say it themselves") {
  Exposition out("orders", "n1");
  add_process(out);
  out.add(metric("catga_view_version"), {}, std::uint64_t{7});
  CHECK(has(out.text(), "catga_view_version{service=\"orders\",instance=\"n1\"} 7\n"));
  CHECK(has(out.text(), "\nprocess_open_fds "));
}

namespace {
std::size_t series_of(std::uint32_t most, const std::map<std::string, Kind, std::less<>>& kinds,
                      const std::map<std::string, std::vector<std::string>>& sagas) {
  const SeriesPlan plan = plan_series(most, kinds, sagas);
  NodeMetrics metrics(plan.kinds, 16);
  metrics.host_sagas(plan.sagas);
  const TrafficMetrics traffic(plan.kinds);
  for (const auto& [name, kind] : kinds)
    for (int event = 0; event < 40; ++event) metrics.of(name).published(std::to_string(event));
  NodeMetrics::Now now;
  for (const auto& [type, steps] : plan.sagas) {
    now.saga_types.push_back(type);
    now.sagas[type].by_version[1] = 0;
  }
  Exposition out("orders");
  add_process(out);
  metrics.write(out, now);
  traffic.write(out);
  const std::string text = out.text();
  std::size_t lines = 0;
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
    lines += text[at] != '#' ? 1 : 0;
  return lines;
}
}  // namespace

TEST_CASE("a scrape stays within metrics.max_series, and what has no name of its own is _other") {
  std::map<std::string, Kind, std::less<>> kinds;
  std::map<std::string, std::vector<std::string>> sagas;
  for (int i = 0; i < 12; ++i) {
    Kind kind;
    kind.name = "kind" + std::to_string(i);
    for (int j = 0; j < 12; ++j) kind.messages.push_back({"M" + std::to_string(j), false, {}, {}});
    kinds.emplace(kind.name, kind);
    sagas.emplace("saga" + std::to_string(i), std::vector<std::string>(8, "step"));
  }
  for (const std::uint32_t most : {1000U, 1500U, 2000U, 5000U, 10'000U, 20'000U, 40'000U}) {
    CAPTURE(most);
    CHECK(series_of(most, kinds, sagas) <= most);
  }
  CHECK(series_of(40'000, kinds, sagas) > 20'000);
  CHECK(plan_series(40'000, kinds, sagas).left_out == 0);
  const SeriesPlan plan = plan_series(2000, kinds, sagas);
  CHECK(plan.kinds.at("kind0").messages.size() == 6);
  CHECK(plan.kinds.size() == 1);
  CHECK(plan.left_out == 6 + 11 * 13 + 12 * 9);
  CHECK(plan_series(2000, kinds).kinds.size() == plan.kinds.size());
  NodeMetrics metrics(plan.kinds, 16);
  metrics.of("kind0").answered(11, std::nullopt, 1);
  metrics.of("kind7").answered(3, std::nullopt, 1);
  const std::string text = text_of(metrics);
  const std::string done = "catga_requests_succeeded_total{service=\"orders\",";
  CHECK(has(text, done + "kind=\"kind0\",message=\"_other\"} 1\n"));
  CHECK(has(text, done + "kind=\"_other\",message=\"_other\"} 1\n"));
}

TEST_CASE(
    "what waits in mailboxes and what is remembered is the sum over kinds, never less than none") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  KindMetrics& account = metrics.of("account");
  for (int i = 0; i < 5; ++i) account.posted();
  account.handled(3);
  account.handled(std::uint64_t{0} - 1);  // a turn was taken back into the queue
  metrics.of("elsewhere").posted();
  account.remembers(300);
  account.remembers(std::uint64_t{0} - 100);
  std::string text = text_of(metrics);
  CHECK(has(text, "catga_messages_queued{service=\"orders\",place=\"mailbox\"} 4\n"));
  CHECK(has(text, "catga_idempotency_bytes{service=\"orders\"} 200\n"));
  account.handled(9);  // a scrape may meet what went before what came
  account.remembers(std::uint64_t{0} - 900);
  text = text_of(metrics);
  CHECK(has(text, "catga_messages_queued{service=\"orders\",place=\"mailbox\"} 1\n"));
  CHECK(has(text, "catga_idempotency_bytes{service=\"orders\"} 0\n"));
}

TEST_CASE("what is known from the start is shown with 0") {
  const auto kinds = one_kind();
  const std::string text = text_of(NodeMetrics(kinds, 64));
  for (const char* const line :
       {"catga_requests_total{service=\"orders\",kind=\"account\",message=\"Deposit\"} 0\n",
        "catga_requests_failed_total{service=\"orders\",kind=\"account\",message=\"Balance\"} 0\n",
        "catga_request_errors_total{service=\"orders\",kind=\"account\",message=\"Deposit\","
        "code=\"timeout\"} 0\n",
        "catga_requests_total{service=\"orders\",kind=\"_other\",message=\"_other\"} 0\n",
        "catga_refused_total{service=\"orders\",limit=\"entity.mailbox\"} 0\n",
        "catga_node_departures_total{service=\"orders\",cause=\"evicted\"} 0\n",
        "catga_shard_handoffs_total{service=\"orders\",direction=\"in\",mode=\"takeover\","
        "outcome=\"ok\"} 0\n"}) {
    CAPTURE(line);
    CHECK(has(text, line));
  }
}

TEST_CASE("requests are succeeded and failed; a rejection is an answer") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  KindMetrics& account = metrics.of("account");
  account.answered(0, std::nullopt, 200'000);
  account.answered(0, Code::rejected, 200'000);
  account.answered(0, Code::timeout, 200'000);
  metrics.refused("account", "Deposit", Code::overloaded);
  metrics.refused("account", "Nonsense", Code::not_found);
  metrics.refused("nonsense", "Nonsense", Code::not_found);
  const std::string text = text_of(metrics);
  const std::string labels = "{service=\"orders\",kind=\"account\",message=\"Deposit\"} ";
  CHECK(has(text, "catga_requests_total" + labels + "4\n"));
  CHECK(has(text, "catga_requests_succeeded_total" + labels + "2\n"));
  CHECK(has(text, "catga_requests_failed_total" + labels + "2\n"));
  CHECK(has(text, "catga_request_duration_seconds_count" + labels + "4\n"));
  CHECK(has(text, "kind=\"account\",message=\"Deposit\",code=\"rejected\"} 1\n"));
  CHECK(has(text,
            "catga_requests_total{service=\"orders\",kind=\"account\",message=\"_other\"} 1\n"));
  CHECK(
      has(text, "catga_requests_total{service=\"orders\",kind=\"_other\",message=\"_other\"} 1\n"));
}

TEST_CASE("shards are counted by state") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  metrics.shard_state(ShardState::none, ShardState::claiming);
  metrics.shard_state(ShardState::claiming, ShardState::owned);
  metrics.shard_state(ShardState::none, ShardState::incoming);
  const std::string text = text_of(metrics);
  CHECK(has(text, "catga_shards{service=\"orders\",state=\"owned\"} 1\n"));
  CHECK(has(text, "catga_shards{service=\"orders\",state=\"claiming\"} 0\n"));
  CHECK(has(text, "catga_shards{service=\"orders\",state=\"incoming\"} 1\n"));
  CHECK(has(text, "catga_shards_configured{service=\"orders\"} 64\n"));
}

TEST_CASE("what waits in a shard is counted once, and goes with it") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  NodeMetrics::Now now;
  now.cluster_ms = 10'000;
  NodeMetrics::Load one, other;
  metrics.load(ShardId{1}, one, {2, 3, 1, 4000});
  metrics.load(ShardId{1}, one, {2, 5, 1, 4000});
  metrics.load(ShardId{2}, other, {0, 1, 0, 7000});
  std::string text = text_of(metrics, now);
  CHECK(has(text, "catga_outbox_pending{service=\"orders\"} 6\n"));
  CHECK(has(text, "catga_outbox_oldest_seconds{service=\"orders\"} 6\n"));
  metrics.load(ShardId{1}, one, {});
  text = text_of(metrics, now);
  CHECK(has(text, "catga_outbox_pending{service=\"orders\"} 1\n"));
  CHECK(has(text, "catga_outbox_oldest_seconds{service=\"orders\"} 3\n"));
  CHECK(has(text, "catga_messages_queued{service=\"orders\",place=\"shard_buffer\"} 0\n"));
}

TEST_CASE("a planned move pauses on the old owner's clock, a take-over on the new one's") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  metrics.came(NodeMetrics::Mode::planned, 3);
  metrics.came(NodeMetrics::Mode::takeover, 700);
  const std::string text = text_of(metrics);
  CHECK(has(text,
            "catga_shard_unavailable_duration_seconds_count{service=\"orders\","
            "mode=\"planned\"} 0\n"));
  CHECK(has(text,
            "catga_shard_unavailable_duration_seconds_sum{service=\"orders\","
            "mode=\"takeover\"} 0.7\n"));
}

TEST_CASE("sagas are shown from the start if they are hosted, and parked ones by cause") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  NodeMetrics::Now now;
  now.saga_types = {"order"};
  now.sagas["transfer"].active = 2;
  now.sagas["transfer"].stuck["poison"] = 1;
  now.sagas["transfer"].oldest_ms = 1'000'000;
  now.cluster_ms = 1'090'500;
  const std::string text = text_of(metrics, now);
  CHECK(has(text, "catga_sagas_active{service=\"orders\",saga=\"order\"} 0\n"));
  CHECK(has(text, "catga_sagas_active{service=\"orders\",saga=\"transfer\"} 2\n"));
  CHECK(has(text, "catga_saga_oldest_seconds{service=\"orders\",saga=\"order\"} 0\n"));
  CHECK(has(text, "catga_saga_oldest_seconds{service=\"orders\",saga=\"transfer\"} 90.5\n"));
  CHECK(has(text, "catga_sagas_stuck{service=\"orders\",saga=\"transfer\",cause=\"poison\"} 1\n"));
  CHECK(has(text,
            "catga_sagas_finished_total{service=\"orders\",saga=\"order\","
            "outcome=\"failed\"} 0\n"));
}

TEST_CASE(
    "an ask is active from its arrival at the entity until its answer, or until it is given back") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  KindMetrics& account = metrics.of("account");
  for (int i = 0; i < 5; ++i) account.received(true, false);
  account.received(false, false);  // a tell: nobody waits
  account.answered(0, std::nullopt, 100);
  account.answered(1, Code::timeout, 100);
  account.given_back(1);                                    // its shard moved
  metrics.refused("account", "Deposit", Code::overloaded);  // never came to an entity
  CHECK(has(text_of(metrics), "catga_requests_active{service=\"orders\",kind=\"account\"} 2\n"));
}

TEST_CASE("repeats and what is too old to be one are counted by kind") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  KindMetrics& account = metrics.of("account");
  account.repeated();
  account.answered(0, Code::expired, 100);
  account.answered(1, Code::expired, 100);
  const std::string text = text_of(metrics), label = "{service=\"orders\",kind=\"account\"} ";
  CHECK(has(text, "catga_idempotency_skipped_total" + label + "1\n"));
  CHECK(has(text, "catga_idempotency_expired_total" + label + "2\n"));
}

TEST_CASE("events are counted by name, but a flood of names is one series") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  KindMetrics& account = metrics.of("account");
  for (int round = 0; round < 2; ++round)
    for (int i = 0; i < 40; ++i) account.published("Event" + std::to_string(i));
  const std::string text = text_of(metrics);
  const auto line = [](const std::string& name, int count) {
    return "catga_events_published_total{service=\"orders\",kind=\"account\",message=\"" + name +
           "\"} " + std::to_string(count) + "\n";
  };
  CHECK(has(text, line("Event0", 2)));
  CHECK(has(text, line("Event31", 2)));
  CHECK(has(text, line("_other", 16)));
  CHECK_FALSE(has(text, "Event32"));
}

TEST_CASE("callers count what they ask by kind and message; what is hosted elsewhere is _other") {
  const auto kinds = one_kind();
  TrafficMetrics traffic(kinds);
  const auto deposit = traffic.place_of("account", "Deposit");
  traffic.sent(deposit, Pattern::ask, true);
  traffic.sent(deposit, Pattern::ask, false);
  traffic.repeated(deposit);
  traffic.answered(deposit, nullptr, 200'000);
  const Error no{Code::rejected, "no"}, late{Code::timeout, "late"};
  traffic.answered(traffic.place_of("account", "Balance"), &no, 200'000);
  traffic.answered(traffic.place_of("account", "Nonsense"), &late, 200'000);
  traffic.answered(traffic.place_of("elsewhere", "Deposit"), nullptr, 200'000);
  traffic.sent(traffic.place_of("elsewhere", "Deposit"), Pattern::tell, false);
  traffic.sent(traffic.place_of("", ""), Pattern::event, true);
  traffic.event_received("account");
  traffic.event_received("elsewhere");
  Exposition out("orders");
  traffic.write(out);
  const std::string text = out.text();
  const auto asks = [](const std::string& kind, const std::string& message,
                       const std::string& outcome) {
    return "catga_ask_duration_seconds_count{service=\"orders\",kind=\"" + kind + "\",message=\"" +
           message + "\",outcome=\"" + outcome + "\"} 1\n";
  };
  CHECK(has(text, asks("account", "Deposit", "ok")));
  CHECK(has(text, asks("account", "Balance", "rejected")));
  CHECK(has(text, asks("account", "_other", "failed")));
  CHECK(has(text, asks("_other", "_other", "ok")));
  CHECK_FALSE(has(text, "elsewhere"));
  const std::string sent = "catga_messages_sent_total{service=\"orders\",kind=";
  CHECK(has(text, sent + "\"account\",pattern=\"ask\",route=\"local\"} 1\n"));
  CHECK(has(text, sent + "\"account\",pattern=\"ask\",route=\"remote\"} 1\n"));
  CHECK(has(text, sent + "\"_other\",pattern=\"tell\",route=\"remote\"} 1\n"));
  CHECK(has(text, sent + "\"_other\",pattern=\"event\",route=\"local\"} 1\n"));
  CHECK(has(text, "catga_retry_attempts_total{service=\"orders\",kind=\"account\"} 1\n"));
  const std::string came = "catga_messages_received_total{service=\"orders\",kind=";
  CHECK(has(text, came + "\"account\",pattern=\"event\"} 1\n"));
  CHECK(has(text, came + "\"_other\",pattern=\"event\"} 1\n"));
}

TEST_CASE("among many kinds and messages each is found by its own names") {
  std::map<std::string, Kind, std::less<>> kinds;
  for (int i = 0; i < 30; ++i) {
    Kind kind;
    kind.name = "kind" + std::to_string(i);
    for (int j = 0; j < 20; ++j)
      kind.messages.push_back({"Message" + std::to_string(j), false, {}, {}});
    kinds.emplace(kind.name, kind);
  }
  const TrafficMetrics traffic(kinds);
  std::set<std::uint32_t> places;
  for (const auto& [name, kind] : kinds)
    for (const MessageInfo& message : kind.messages)
      CHECK(places.insert(traffic.place_of(name, message.name).message).second);
  CHECK(places.insert(traffic.place_of("kind3", "Message20").message).second);
  CHECK(places.insert(traffic.place_of("kind30", "Message2").message).second);
}

TEST_CASE("steps of a saga are timed by name and end; those of an each are one") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  metrics.host_sagas({{"order", {"charge", "line"}}});
  const Error broken{Code::failed, "broken"};
  metrics.saga("order").stepped("charge", nullptr, 2'000'000);
  metrics.saga("order").stepped("line#3", &broken, 2'000'000);
  metrics.saga("order").ended("compensated", 1500, 7);
  metrics.saga("order").retried("line#3");
  metrics.saga("order").retried("line");
  metrics.saga("order").retried("gone");
  metrics.saga("elsewhere").ended("completed", 20, 3);
  const std::string text = text_of(metrics);
  const std::string steps = "catga_saga_step_duration_seconds_count{service=\"orders\",";
  CHECK(has(text, steps + "saga=\"order\",step=\"charge\",outcome=\"ok\"} 1\n"));
  CHECK(has(text, steps + "saga=\"order\",step=\"line\",outcome=\"failed\"} 1\n"));
  const std::string retries = "catga_saga_step_retries_total{service=\"orders\",saga=\"order\",";
  CHECK(has(text, retries + "step=\"line\"} 2\n"));
  CHECK(has(text, retries + "step=\"charge\"} 0\n"));
  CHECK(has(text, retries + "step=\"_other\"} 1\n"));
  CHECK(has(text,
            "catga_saga_duration_seconds_sum{service=\"orders\",saga=\"order\","
            "outcome=\"compensated\"} 1.5\n"));
  CHECK(has(text, "catga_saga_journal_entries_sum{service=\"orders\",saga=\"order\"} 7\n"));
  CHECK(has(text,
            "catga_saga_duration_seconds_count{service=\"orders\",saga=\"_other\","
            "outcome=\"completed\"} 1\n"));
}

TEST_CASE("a node that left by itself is counted and told once, by its own last word") {
  Departures departures;
  const auto are = [&](std::int64_t now, std::uint64_t planned, std::uint64_t incomplete,
                       std::uint64_t evicted) {
    const Departures::Counts counts = departures.counts(now);
    CHECK(counts.planned == planned);
    CHECK(counts.incomplete == incomplete);
    CHECK(counts.evicted == evicted);
  };
  departures.left("a", Parting::evicted, 0);
  are(0, 0, 0, 1);
  departures.left("b", Parting::by_itself, 10);
  are(20, 0, 0, 1);  // its word is awaited
  departures.drained("b", false, 30);
  are(30, 0, 1, 1);
  departures.drained("c", true, 40);  // before the view
  departures.left("c", Parting::by_itself, 50);
  are(50, 1, 1, 1);
  departures.left("d", Parting::by_itself, 100);  // its word is lost
  are(100 + Departures::patience_ms, 2, 1, 1);
  departures.drained("d", false, 101 + Departures::patience_ms);  // too late to be counted twice
  are(200 + 2 * Departures::patience_ms, 2, 1, 1);
  const std::int64_t later = 300 + 2 * Departures::patience_ms;
  departures.left("e", Parting::expired, later);
  CHECK(departures.counts(later).expired == 1);
  using News = std::vector<std::pair<std::string, std::string_view>>;
  CHECK(departures.news(later) == News{{"a", "evicted"},
                                       {"b", "incomplete"},
                                       {"c", "planned"},
                                       {"d", "planned"},
                                       {"e", "expired"}});
  CHECK(departures.news(later).empty());
}

TEST_CASE("the last word of a node is read from its event, and rubbish is none") {
  const auto said =
      drain_told_by(R"({"catga.node.incarnation":"7f3a","outcome":"incomplete","shards_left":3})");
  REQUIRE(said);
  CHECK(said->incarnation == "7f3a");
  CHECK_FALSE(said->complete);
  CHECK(drain_told_by(R"({"catga.node.incarnation":"7f3a","outcome":"ok"})")->complete);
  for (const char* const rubbish :
       {"", "[]", "{", R"({"outcome":"ok"})", R"({"catga.node.incarnation":7,"outcome":"ok"})"})
    CHECK_FALSE(drain_told_by(rubbish));
}

TEST_CASE("suspicions, dropped telemetry and what came too late have names from the start") {
  const auto kinds = one_kind();
  NodeMetrics metrics(kinds, 64);
  metrics.suspected(true);
  metrics.suspected(false);
  metrics.suspected(false);
  metrics.expired(NodeMetrics::Place::mailbox);
  NodeMetrics::Now now;
  now.spans = {10, 2, 1};
  now.events_dropped = 4;
  const std::string text = text_of(metrics, now);
  for (const char* const line :
       {"catga_node_suspicions_total{service=\"orders\",cause=\"heartbeat\"} 1\n",
        "catga_node_suspicions_total{service=\"orders\",cause=\"no_responders\"} 2\n",
        "catga_messages_expired_total{service=\"orders\",place=\"mailbox\"} 1\n",
        "catga_messages_expired_total{service=\"orders\",place=\"shard_buffer\"} 0\n",
        "catga_telemetry_exported_total{service=\"orders\",signal=\"traces\"} 10\n",
        "catga_telemetry_failed_total{service=\"orders\",signal=\"traces\"} 2\n",
        "catga_telemetry_dropped_total{service=\"orders\",signal=\"traces\"} 1\n",
        "catga_telemetry_dropped_total{service=\"orders\",signal=\"logs\"} 0\n",
        "catga_telemetry_dropped_total{service=\"orders\",signal=\"events\"} 4\n"}) {
    CAPTURE(line);
    CHECK(has(text, line));
  }
}

TEST_CASE("the numbers of the process are this process's") {
  Exposition out("orders");
  add_process(out);
  const std::string text = out.text();
  CHECK(has(text, "\nprocess_cpu_seconds_total "));
  CHECK_FALSE(has(text, "process_resident_memory_bytes 0\n"));
  CHECK_FALSE(has(text, "service="));
}
