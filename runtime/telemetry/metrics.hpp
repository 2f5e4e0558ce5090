// Numbers for Prometheus: the table of all names, instruments that cost a few nanoseconds, and the text that is scraped.
//
// THE TABLE says name, type, buckets, labels and help of each metric. `metric("...")` is evaluated by the compiler: a name
// that is not in the table does not compile. A row that a running node never writes fails a test.
//
// COUNTING must cost a turn nothing that can be seen. No lock, no allocation, no look-up: whoever counts holds a pointer
// that was found when its kind was registered. Numbers stand on a Sheet, once per stripe: a thread that counts for the
// first time gets a stripe of its own, where it alone writes, with plain loads and stores. Threads that come when all
// stripes are given away share the last one, with atomic additions. A scrape adds the stripes up. The count of a
// histogram is the sum of its buckets, so a scrape that meets a writer is consistent all the same.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga {

// ---- the table ---------------------------------------------------------------------------------

enum class MetricType : std::uint8_t { counter, gauge, histogram };

/// Fixed for ever: other buckets break every dashboard. In seconds, `sizes` in pieces.
enum class Buckets : std::uint8_t { none, quick, moves, sizes, lives };

struct MetricRow {
  std::string_view name;
  MetricType type;
  Buckets buckets;
  std::string_view labels;  ///< besides `service`, separated by commas
  std::string_view help;
};

inline constexpr auto metric_table = std::to_array<MetricRow>({
    {"catga_requests_total", MetricType::counter, Buckets::none, "kind,message",
     "Asks finished at this owner: succeeded and failed."},
    {"catga_requests_succeeded_total", MetricType::counter, Buckets::none, "kind,message",
     "Asks answered, rejections by the handler included."},
    {"catga_requests_failed_total", MetricType::counter, Buckets::none, "kind,message",
     "Asks that ended with any code but rejected."},
    {"catga_request_errors_total", MetricType::counter, Buckets::none, "kind,message,code",
     "Asks that ended with an error, by its code, rejected included."},
    {"catga_request_duration_seconds", MetricType::histogram, Buckets::quick, "kind,message",
     "From the arrival of an ask at its owner until its reply leaves, commit included."},
    {"catga_requests_active", MetricType::gauge, Buckets::none, "kind",
     "Asks that came to entities of this node and are not answered."},
    {"catga_ask_duration_seconds", MetricType::histogram, Buckets::quick, "kind,message,outcome",
     "At the caller: from an ask until its answer, repeats included."},
    {"catga_retry_attempts_total", MetricType::counter, Buckets::none, "kind",
     "Asks sent again by this node, their caller."},
    {"catga_idempotency_skipped_total", MetricType::counter, Buckets::none, "kind",
     "Repeats answered with what was remembered: nothing ran."},
    {"catga_idempotency_expired_total", MetricType::counter, Buckets::none, "kind",
     "Asks refused because they are older than what is remembered."},
    {"catga_messages_sent_total", MetricType::counter, Buckets::none, "kind,pattern,route",
     "Messages sent to entities by this node, each repeat too; event: by its subscriptions; local: "
     "to this node."},
    {"catga_messages_expired_total", MetricType::counter, Buckets::none, "place",
     "Messages dropped because the time of their caller was up."},
    {"catga_messages_received_total", MetricType::counter, Buckets::none, "kind,pattern",
     "Messages that came to entities of this node; event: to its subscriptions."},
    {"catga_messages_forwarded_total", MetricType::counter, Buckets::none, "reason",
     "Messages sent on to the owner of their shard."},
    {"catga_messages_queued", MetricType::gauge, Buckets::none, "place", "Waiting now."},
    {"catga_refused_total", MetricType::counter, Buckets::none, "limit",
     "Messages answered overloaded, by the limit that was reached."},
    {"catga_events_published_total", MetricType::counter, Buckets::none, "kind,message",
     "Events of committed turns that JetStream has taken."},
    {"catga_turn_duration_seconds", MetricType::histogram, Buckets::quick, "kind,message",
     "Run time of handlers."},
    {"catga_mailbox_wait_seconds", MetricType::histogram, Buckets::quick, "kind",
     "From the arrival of a message at its owner until its turn starts."},
    {"catga_long_turns_total", MetricType::counter, Buckets::none, "kind",
     "Handlers that ran longer than entity.turn_warn."},
    {"catga_entities", MetricType::gauge, Buckets::none, "kind", "Entities in memory."},
    {"catga_entity_activations_total", MetricType::counter, Buckets::none, "kind,outcome",
     "Entities loaded, or not."},
    {"catga_entity_activation_duration_seconds", MetricType::histogram, Buckets::quick,
     "kind,outcome", "From the first message for an entity until it is loaded."},
    {"catga_entity_passivations_total", MetricType::counter, Buckets::none, "kind,reason",
     "Entities that left memory."},
    {"catga_commit_duration_seconds", MetricType::histogram, Buckets::quick, "outcome",
     "From a commit being queued until the store has answered."},
    {"catga_commit_batch_size", MetricType::histogram, Buckets::sizes, "",
     "Turns in one write of one entity."},
    {"catga_store_pipeline_depth", MetricType::histogram, Buckets::sizes, "",
     "Commands in one trip to Redis."},
    {"catga_nats_batch_size", MetricType::histogram, Buckets::sizes, "",
     "Records in one NATS message."},
    {"catga_outbox_pending", MetricType::gauge, Buckets::none, "",
     "Tells and events committed and not delivered."},
    {"catga_outbox_oldest_seconds", MetricType::gauge, Buckets::none, "",
     "Age of the oldest of them, as of the last look of its shard."},
    {"catga_dead_letters", MetricType::gauge, Buckets::none, "of",
     "Given up and waiting for an operator, of this node's shards: tells and timers, or events of "
     "ordered subscriptions; as of the scrape before."},
    {"catga_idempotency_bytes", MetricType::gauge, Buckets::none, "",
     "Replies that entities in memory remember, 100 bytes more for each."},
    {"catga_timers", MetricType::gauge, Buckets::none, "",
     "Timers in memory: those of this node's shards that are due soon."},
    {"catga_timer_lateness_seconds", MetricType::histogram, Buckets::quick, "",
     "How late timers fire."},
    {"catga_sagas_active", MetricType::gauge, Buckets::none, "saga",
     "Running, waiting or compensating on this node."},
    {"catga_saga_oldest_seconds", MetricType::gauge, Buckets::none, "saga",
     "Age of the oldest of them, since its start; 0: there is none."},
    {"catga_sagas_started_total", MetricType::counter, Buckets::none, "saga", "Sagas started."},
    {"catga_sagas_finished_total", MetricType::counter, Buckets::none, "saga,outcome",
     "Sagas that have ended."},
    {"catga_saga_duration_seconds", MetricType::histogram, Buckets::lives, "saga,outcome",
     "From the start of a saga until its end."},
    {"catga_saga_journal_entries", MetricType::histogram, Buckets::sizes, "saga",
     "Entries in the journal of a saga that has ended."},
    {"catga_saga_recoveries_total", MetricType::counter, Buckets::none, "saga",
     "Sagas taken up from their journal by a new owner."},
    {"catga_sagas_by_version", MetricType::gauge, Buckets::none, "saga,version",
     "Sagas that have not ended, by the version of their definition."},
    {"catga_sagas_stuck", MetricType::gauge, Buckets::none, "saga,cause",
     "Parked: an operator must decide."},
    {"catga_saga_step_duration_seconds", MetricType::histogram, Buckets::quick, "saga,step,outcome",
     "One attempt of a step or of its undo, until its answer."},
    {"catga_saga_step_retries_total", MetricType::counter, Buckets::none, "saga,step",
     "Steps tried again."},
    {"catga_shards", MetricType::gauge, Buckets::none, "state", "Shards of this node."},
    {"catga_hot_shards", MetricType::gauge, Buckets::none, "",
     "Shards that take an unfair share of this node's messages (hot.*)."},
    {"catga_hot_entities", MetricType::gauge, Buckets::none, "kind",
     "Entities that take an unfair share of this node's messages (hot.*)."},
    {"catga_shards_wanted", MetricType::gauge, Buckets::none, "",
     "Shards that placement gives this node."},
    {"catga_shards_configured", MetricType::gauge, Buckets::none, "", "Shards of the cluster."},
    {"catga_shard_handoffs_total", MetricType::counter, Buckets::none, "direction,mode,outcome",
     "Shards that came or went."},
    {"catga_shard_handoff_duration_seconds", MetricType::histogram, Buckets::moves,
     "direction,mode,outcome",
     "Out: the queue stops until the new owner serves. In: the queue is here, or the view is "
     "adopted, until it is served."},
    {"catga_shard_unavailable_duration_seconds", MetricType::histogram, Buckets::moves, "mode",
     "How long no handler of a moved shard could run, on one clock."},
    {"catga_shard_ownership_lost_total", MetricType::counter, Buckets::none, "cause",
     "Shards that this node served and may no longer write: of another owner, or suspended with its session."},
    {"catga_rebalances_total", MetricType::counter, Buckets::none, "reason,outcome",
     "Rebalances of the whole cluster, counted by one node each."},
    {"catga_rebalance_duration_seconds", MetricType::histogram, Buckets::moves, "reason,outcome",
     "From the change of the view until every shard is where it belongs, or the next change."},
    {"catga_rebalance_moves_pending", MetricType::gauge, Buckets::none, "",
     "Shards of this node that have yet to move away."},
    {"catga_rebalance_stuck", MetricType::gauge, Buckets::none, "",
     "1 while moves are pending and none has ended for 30 s."},
    {"catga_cluster_nodes", MetricType::gauge, Buckets::none, "state",
     "Nodes of the cluster as this node sees it."},
    {"catga_view_version", MetricType::gauge, Buckets::none, "", "Version of the adopted view."},
    {"catga_node_departures_total", MetricType::counter, Buckets::none, "cause",
     "Nodes that left the view, as this node saw it."},
    {"catga_node_suspicions_total", MetricType::counter, Buckets::none, "cause",
     "Votes of this node to evict another one."},
    {"catga_session_renewals_total", MetricType::counter, Buckets::none, "outcome",
     "Renewals of this node's session in Redis."},
    {"catga_session_renewal_duration_seconds", MetricType::histogram, Buckets::quick, "outcome",
     "Time of a renewal."},
    {"catga_node_ready", MetricType::gauge, Buckets::none, "", "1 if /readyz says ok."},
    {"catga_node_draining", MetricType::gauge, Buckets::none, "",
     "1 while the shards are given away."},
    {"catga_redis_connected", MetricType::gauge, Buckets::none, "", "1 while Redis answers."},
    {"catga_nats_connected", MetricType::gauge, Buckets::none, "", "1 while NATS is connected."},
    {"catga_redis_rollbacks_total", MetricType::counter, Buckets::none, "",
     "Redis lost acknowledged writes, or may have: another primary, an older table."},
    {"catga_nats_reconnects_total", MetricType::counter, Buckets::none, "",
     "Connections to NATS after the first."},
    {"catga_telemetry_exported_total", MetricType::counter, Buckets::none, "signal",
     "Spans and log records that the collector has taken."},
    {"catga_telemetry_failed_total", MetricType::counter, Buckets::none, "signal",
     "Spans and log records that the collector refused, or did not take in time."},
    {"catga_telemetry_dropped_total", MetricType::counter, Buckets::none, "signal",
     "Spans, log records and cluster events for which there was no room."},
    {"catga_admin_requests_total", MetricType::counter, Buckets::none, "code",
     "Answers of the admin listener, by HTTP status."},
    {"catga_admin_actions_total", MetricType::counter, Buckets::none, "verb",
     "Orders of operators that this node has carried out or refused."},
    {"catga_admin_stream_clients", MetricType::gauge, Buckets::none, "", "Open streams of events."},
    {"catga_build_info", MetricType::gauge, Buckets::none, "version,revision,incarnation",
     "Always 1."},
    {"process_cpu_seconds_total", MetricType::counter, Buckets::none, "",
     "User and system time of the process."},
    {"process_resident_memory_bytes", MetricType::gauge, Buckets::none, "", "Resident memory."},
    {"process_open_fds", MetricType::gauge, Buckets::none, "", "Open file descriptors."},
    {"process_max_fds", MetricType::gauge, Buckets::none, "", "Most file descriptors."},
    {"process_start_time_seconds", MetricType::gauge, Buckets::none, "",
     "Start of the process, Unix time."},
});

/// A row of the table, by its number.
struct Metric {
  std::size_t row = 0;
  const MetricRow& operator*() const { return metric_table[row]; }
  const MetricRow* operator->() const { return &metric_table[row]; }
};

/// The row of this name; none of that name: does not compile.
consteval Metric metric(std::string_view name) {
  for (std::size_t row = 0; row < metric_table.size(); ++row)
    if (metric_table[row].name == name) return {row};
  throw "the name is not in metric_table";  // a constant expression cannot throw
}

// ---- buckets -----------------------------------------------------------------------------------

/// Upper bounds in what is measured (ns, pieces), and as they are printed.
std::span<const std::uint64_t> bounds_of(Buckets buckets);
std::span<const std::string_view> bounds_as_text(Buckets buckets);

// ---- instruments -------------------------------------------------------------------------------

/// Numbers that many threads write and a scrape adds up. Thread-safe.
class Sheet {
 public:
  explicit Sheet(std::size_t slots);
  std::size_t slots() const { return slots_; }

  /// Where this thread writes: for who counts several things at once. Not for other threads.
  class Stripe {
   public:
    void add(std::size_t slot, std::uint64_t amount = 1) const noexcept {
      auto& cell = cells_[slot];
      if (shared_)
        cell.fetch_add(amount, std::memory_order_relaxed);
      else  // nobody else writes here
        cell.store(cell.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }

   private:
    friend class Sheet;
    Stripe(std::atomic<std::uint64_t>* cells, bool shared) : cells_(cells), shared_(shared) {}
    std::atomic<std::uint64_t>* cells_;
    bool shared_;
  };
  Stripe stripe() noexcept {
    const unsigned own = stripe_of_thread();
    const bool shared = own >= stripes_ - 1;
    return {&cells_[(shared ? stripes_ - 1 : own) * stride_], shared};
  }
  void add(std::size_t slot, std::uint64_t amount = 1) noexcept { stripe().add(slot, amount); }
  void take_away(std::size_t slot) noexcept { add(slot, ~std::uint64_t{0}); }
  std::uint64_t sum(std::size_t slot) const;

 private:
  static constexpr std::size_t line = 64;
  struct Lines {
    void operator()(std::atomic<std::uint64_t>* cells) const;
  };
  static unsigned stripe_of_thread() noexcept {
    thread_local const unsigned own = next_stripe();
    return own;
  }
  static unsigned next_stripe() noexcept;

  std::size_t slots_, stripes_, stride_;
  std::unique_ptr<std::atomic<std::uint64_t>[], Lines> cells_;
};

/// A histogram on a sheet: its buckets, the one beyond the last bound, the sum.
struct HistogramAt {
  std::size_t first = 0;
  Buckets buckets = Buckets::quick;

  static std::size_t slots(Buckets buckets) { return bounds_of(buckets).size() + 2; }
  void record(Sheet::Stripe stripe, std::uint64_t value) const noexcept;
};

/// A histogram with a sheet of its own, for what is counted in few places.
class Histogram {
 public:
  explicit Histogram(Buckets buckets) : sheet_(HistogramAt::slots(buckets)), place_{0, buckets} {}
  void record(std::uint64_t value) noexcept { place_.record(sheet_.stripe(), value); }
  void record_ms(std::int64_t ms) noexcept {
    record(ms < 0 ? 0 : static_cast<std::uint64_t>(ms) * 1'000'000);
  }
  const Sheet& sheet() const { return sheet_; }
  HistogramAt place() const { return place_; }

 private:
  Sheet sheet_;
  HistogramAt place_;
};

// ---- what is scraped ---------------------------------------------------------------------------

/// What a scraper can read, as it says itself: Prometheus 0.0.4, or OpenMetrics 1.0.0.
enum class MetricsFormat : std::uint8_t { prometheus, open_metrics };
/// OpenMetrics if `accept`, of HTTP, asks for it with any weight; everybody else gets what everybody reads.
MetricsFormat metrics_format(std::string_view accept);
std::string_view content_type(MetricsFormat format);

/// The text of a scrape. One thread. Samples may come in any order; the text follows the table.
class Exposition {
 public:
  /// Every catga_* sample carries `service`, and `instance` unless that is empty.
  explicit Exposition(std::string service, std::string instance = {});

  using Labels = std::initializer_list<std::string_view>;  ///< values, in the order of the table
  void add(Metric metric, Labels labels, std::uint64_t value);
  void add(Metric metric, Labels labels, std::int64_t value);
  void add(Metric metric, Labels labels, double value);
  void add(Metric metric, Labels labels, const Sheet& sheet, HistogramAt histogram);
  void add(Metric metric, Labels labels, const Histogram& histogram) {
    add(metric, labels, histogram.sheet(), histogram.place());
  }
  /// Names of rows of which nothing was added.
  std::vector<std::string_view> missing() const;
  std::string text(MetricsFormat format = MetricsFormat::prometheus) const;

 private:
  void sample(Metric metric, std::string_view suffix, Labels labels, std::string_view bound,
              std::string_view value);
  std::string service_, instance_;
  std::array<std::string, metric_table.size()> samples_;
};

/// Writes the process_* rows of this process.
void add_process(Exposition& to);

}  // namespace catga
