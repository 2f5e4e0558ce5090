// What one node counts, under the names of the table in metrics.hpp. Outlives all who count.
#pragma once
#include "catga/entities/kind.hpp"
#include "catga/runtime/saga_figures.hpp"
#include "catga/runtime/standing.hpp"
#include "catga/runtime/telemetry/departures.hpp"
#include "catga/runtime/telemetry/metrics.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/ownership.hpp"
#include "catga/sharding/result.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

/// Why an entity left memory.
enum class Passivation : std::uint8_t { idle, handoff, capacity, failure, asked };

/// Which bound answered `overloaded`.
enum class Limit : std::uint8_t { admission, mailbox, shard_buffer, lane, client_keys, commits };

/// Counts of one kind of entity. Thread-safe; the calls of a turn take no lock and look nothing up.
class KindMetrics {
 public:
  /// `messages`: by their numbers in the kind. What is none of them is counted as `_other`.
  KindMetrics(std::string kind, std::vector<std::string> messages);

  // Per message. An ask that was received is answered, or given back when its entity ends.
  void received(bool ask, bool timer) noexcept {
    sheet_.add(timer ? received_timer : ask ? received_ask : received_tell);
  }
  /// A message is on its way to its entity; then its turn has begun, or it left without one. May wrap: what comes back
  /// into the queue is taken back here.
  void posted() noexcept { sheet_.add(posts); }
  void handled(std::uint64_t messages) noexcept { sheet_.add(handles, messages); }
  /// An entity remembers so many bytes more than before; less: wraps.
  void remembers(std::uint64_t more) noexcept { sheet_.add(remembered, more); }
  void timer_sent() noexcept { sheet_.add(sent_timers); }
  void waited(std::int64_t ns) noexcept { wait_.record(sheet_.stripe(), positive(ns)); }
  void ran(std::size_t message, std::int64_t ns) noexcept {
    at_turn(message).record(sheet_.stripe(), positive(ns));
  }
  void ran_long() noexcept { sheet_.add(long_turns); }
  /// An ask is over at this owner; `error`: none, or how it failed.
  void answered(std::size_t message, std::optional<Code> error, std::int64_t ns) noexcept {
    const std::size_t at = place(message);
    const Sheet::Stripe stripe = sheet_.stripe();
    stripe.add(at + (error ? 1 + static_cast<std::size_t>(*error) : 0));
    HistogramAt{at + outcomes, Buckets::quick}.record(stripe, positive(ns));
  }
  /// An ask ends without having come to its entity: counts as answered.
  void refused(std::size_t message, Code code) noexcept {
    sheet_.add(refused_asks);
    answered(message, code, 0);
  }
  void given_back(std::uint64_t asks) noexcept { sheet_.add(asks_given_back, asks); }
  void repeated() noexcept { sheet_.add(repeats); }
  void hot(std::uint64_t entities) noexcept { hot_.store(entities, std::memory_order_relaxed); }
  /// JetStream has an event of this name. Names are learned as they come, so many and no more.
  void published(std::string_view event);
  /// The number of a message by its name, for what happens rarely.
  std::size_t number_of(std::string_view message) const;

  // Per life of an entity.
  void begins() noexcept { sheet_.add(alive); }
  void ends() noexcept { sheet_.take_away(alive); }
  void activated(bool ok, std::int64_t ns) noexcept {
    sheet_.add(ok ? loaded : not_loaded);
    (ok ? loading_ : not_loading_).record(sheet_.stripe(), positive(ns));
  }
  void passivated(Passivation why) noexcept {
    sheet_.add(passivations + static_cast<std::size_t>(why));
  }

  void write(Exposition& to) const;
  /// Sums over kinds: messages that wait for their turn, bytes that are remembered.
  std::int64_t waiting() const;
  std::int64_t remembered_bytes() const;

 private:
  static constexpr std::size_t codes = static_cast<std::size_t>(Code::not_found) + 1;
  static constexpr std::size_t outcomes = 1 + codes;  // of an ask: answered, or a code
  enum Slot : std::size_t {
    received_ask,
    received_tell,
    received_timer,
    long_turns,
    refused_asks,
    asks_given_back,
    repeats,
    alive,
    loaded,
    not_loaded,
    posts,
    handles,
    remembered,
    sent_timers,
    passivations,
    after_slots = passivations + 5,
  };
  static std::uint64_t positive(std::int64_t ns) {
    return ns < 0 ? 0 : static_cast<std::uint64_t>(ns);
  }
  static std::size_t histogram() { return HistogramAt::slots(Buckets::quick); }
  static std::size_t size_of_message() { return outcomes + 2 * histogram(); }
  std::size_t place(std::size_t message) const noexcept {
    return first_message_ + std::min(message, messages_.size() - 1) * size_of_message_;
  }
  HistogramAt at_turn(std::size_t message) const noexcept {
    return {place(message) + outcomes + histogram(), Buckets::quick};
  }
  /// What became of its asks, all together.
  struct Ended {
    std::uint64_t all = 0, expired = 0;
  };
  Ended write_message(Exposition& to, std::size_t number) const;
  void write_events(Exposition& to) const;

  const std::string kind_;
  std::vector<std::string> messages_;  // the last one is _other
  const HistogramAt wait_, loading_, not_loading_;
  const std::size_t first_message_, size_of_message_;
  Sheet sheet_;
  // Names are only ever added, so that readers need no lock. The last count is of all other names.
  static constexpr std::size_t event_names_most = 32;
  std::atomic<std::uint64_t> hot_{0};
  std::mutex events_lock_;
  std::atomic<std::size_t> events_known_{0};
  std::array<std::string, event_names_most> events_;
  std::array<std::atomic<std::uint64_t>, event_names_most + 1> published_{};
};

/// Times of one type of saga. Thread-safe, without locks.
class SagaMetrics {
 public:
  SagaMetrics(std::string type, std::vector<std::string> steps);
  /// One attempt of a step has its answer. "line#3" is counted as "line".
  void stepped(std::string_view step, const Error* error, std::int64_t ns) noexcept;
  /// It has ended so. `entries`: of its journal.
  void ended(std::string_view outcome, std::int64_t ms, std::size_t entries) noexcept;
  /// A step, or its undo, is tried again.
  void retried(std::string_view step) noexcept;
  void write(Exposition& to) const;

 private:
  HistogramAt at_step(std::size_t step, std::size_t outcome) const;
  HistogramAt at_end(std::size_t outcome) const;
  HistogramAt at_journal() const;
  std::size_t at_retries() const;
  std::size_t number_of(std::string_view step) const noexcept;
  const std::string type_;
  const std::vector<std::string> steps_;  // the last one is _other
  Sheet sheet_;
};

/// Counts of a node. Thread-safe.
class NodeMetrics {
 public:
  explicit NodeMetrics(const std::map<std::string, Kind, std::less<>>& kinds, std::uint32_t shards);

  /// Of a kind this node hosts; else of `_other`. Find it once and keep it.
  KindMetrics& of(std::string_view kind);
  /// An ask is refused before it reached its entity.
  void refused(std::string_view kind, std::string_view message, Code code);
  void refused(Limit limit) noexcept { limits_[static_cast<std::size_t>(limit)] += 1; }
  /// Where a message was when the time of its caller was up.
  enum class Place : std::uint8_t { shard, shard_buffer, mailbox };
  void expired(Place place) noexcept { expired_[static_cast<std::size_t>(place)] += 1; }

  /// The sagas this node hosts, and their steps. Before the first of them runs.
  void host_sagas(const std::map<std::string, std::vector<std::string>>& steps);
  /// Of a type this node hosts; else of `_other`.
  SagaMetrics& saga(std::string_view type);

  // commits
  enum class CommitEnd : std::uint8_t { ok, fenced, conflict, unknown };
  void committed(CommitEnd how, std::int64_t ns) noexcept {
    commits_[static_cast<std::size_t>(how)].record(ns < 0 ? 0 : static_cast<std::uint64_t>(ns));
  }
  void commit_sent(std::size_t turns) noexcept { commit_size_.record(turns); }

  // shards
  void shard_state(ShardState before, ShardState now) noexcept {
    shards_[static_cast<std::size_t>(before)] -= 1;
    shards_[static_cast<std::size_t>(now)] += 1;
  }
  void hot_shards(std::uint64_t shards) noexcept { hot_.store(shards, std::memory_order_relaxed); }
  void forwarded(bool after_handoff) noexcept { forwarded_[after_handoff ? 1 : 0] += 1; }
  enum class Mode : std::uint8_t { planned, takeover, readopt };
  static Mode mode_of(std::string_view name);
  void came(Mode mode, std::int64_t ms) noexcept;
  void went(std::int64_t ms) noexcept;
  void stayed(std::int64_t ms) noexcept;  ///< a planned move out was given up
  enum class Loss : std::uint8_t { fenced, rollback, session_expired, redis_down };
  void lost(Loss cause, std::uint64_t shards = 1) noexcept {
    lost_[static_cast<std::size_t>(cause)] += shards;
  }
  /// As of now, of one shard: what it counted before is replaced. By the shard's actor.
  struct Load {
    std::int64_t held = 0, outbox = 0, timers = 0;
    std::int64_t oldest_ms = 0;  ///< cluster time of its oldest outbox entry; 0: none
  };
  void load(ShardId shard, Load& before, const Load& now);
  void timer_fired(std::int64_t late_ms) noexcept { lateness_.record_ms(late_ms); }

  // the cluster
  enum class Reason : std::uint8_t { joined, draining, left };
  void rebalanced(Reason reason, bool to_the_end, std::int64_t ms);
  /// The view is without it. Of one that left by itself the drain's end tells whether it was complete.
  void departed(Incarnation node, Parting how) { departures_.left(text_of(node), how, boot_ms()); }
  /// Departures whose cause is known since this was asked last.
  std::vector<std::pair<std::string, std::string_view>> departures() {
    return departures_.news(boot_ms());
  }
  /// Told by a cluster event.
  void drained(const std::string& incarnation, bool complete) {
    departures_.drained(incarnation, complete, boot_ms());
  }
  /// An operator's order; verbs that do not exist are not counted.
  void ordered(std::string_view verb) noexcept;
  void suspected(bool silent) noexcept { suspicions_[silent ? 0 : 1] += 1; }
  void renewed(bool ok, std::int64_t ms) noexcept { renewals_[ok ? 0 : 1].record_ms(ms); }
  std::atomic<std::int64_t> moves_pending{0}, moves_stuck{0};
  std::atomic<std::uint64_t> rollbacks{0};

  /// What the node knows at the moment of a scrape.
  struct Now {
    std::uint32_t shards_wanted = 0;
    std::uint64_t view = 0;
    std::array<std::uint32_t, 4> nodes{};  ///< warm, shadow, up, leaving: as MemberState
    std::uint64_t commits_waiting = 0, nats_waiting = 0, nats_reconnects = 0;
    std::int64_t cluster_ms = 0;
    bool ready = false, draining = false, redis = false, nats = false;
    std::string version, revision, incarnation;
    SagaFigures sagas;
    std::vector<std::string> saga_types;  ///< hosted: shown from the start
    struct Sent {
      std::uint64_t exported = 0, failed = 0, dropped = 0;
    };
    Sent spans, log_records;           ///< to the collector
    std::uint64_t events_dropped = 0;  ///< of the cluster's events
    std::uint64_t dead_tells = 0, dead_events = 0;
  };
  void write(Exposition& to, const Now& now) const;

 private:
  void write_shards(Exposition& to, const Now& now) const;
  void write_cluster(Exposition& to, const Now& now) const;
  void write_sagas(Exposition& to, const Now& now) const;
  static void write_telemetry(Exposition& to, const Now& now);

  static constexpr std::size_t limits = 6, shard_states = 8, places = 3, verbs = 12;
  const std::uint32_t shard_count_;
  std::map<std::string, std::unique_ptr<KindMetrics>, std::less<>> kinds_;
  std::map<std::string, std::unique_ptr<SagaMetrics>, std::less<>> sagas_;
  std::array<std::atomic<std::uint64_t>, limits> limits_{};
  std::array<std::atomic<std::uint64_t>, places> expired_{};
  std::array<std::atomic<std::uint64_t>, verbs> orders_{};
  std::array<Histogram, 4> commits_{Histogram{Buckets::quick}, Histogram{Buckets::quick},
                                    Histogram{Buckets::quick}, Histogram{Buckets::quick}};
  Histogram commit_size_{Buckets::sizes};
  std::array<std::atomic<std::int64_t>, shard_states> shards_{};
  std::array<std::atomic<std::uint64_t>, 2> forwarded_{}, suspicions_{};
  std::array<std::atomic<std::uint64_t>, 4> lost_{};  // by Loss
  std::atomic<std::uint64_t> hot_{0};
  Departures departures_;
  std::array<Histogram, 3> came_{Histogram{Buckets::moves}, Histogram{Buckets::moves},
                                 Histogram{Buckets::moves}};
  Histogram went_{Buckets::moves}, stayed_{Buckets::moves};
  std::array<Histogram, 2> unavailable_{Histogram{Buckets::moves}, Histogram{Buckets::moves}};
  std::atomic<std::int64_t> held_{0}, outbox_{0}, timers_{0};
  std::vector<std::atomic<std::int64_t>> oldest_;
  Histogram lateness_{Buckets::quick};
  std::array<std::array<Histogram, 2>, 3> rebalances_{
      {{Histogram{Buckets::moves}, Histogram{Buckets::moves}},
       {Histogram{Buckets::moves}, Histogram{Buckets::moves}},
       {Histogram{Buckets::moves}, Histogram{Buckets::moves}}}};
  std::array<Histogram, 2> renewals_{Histogram{Buckets::quick}, Histogram{Buckets::quick}};
};

}  // namespace catga
