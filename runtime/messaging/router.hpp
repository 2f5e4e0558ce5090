// Carries messages to the owners of their shards, and answers back to those who wait: the Messenger of a process.
//
// An ask keeps its envelope until it is answered, and is sent again as sharding/caller.hpp decides. Whether the owner is
// this very node makes no difference but for the two NATS legs that fall away.
#pragma once
#include "catga/entities/messenger.hpp"
#include "catga/persistence/stores.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/envelope.hpp"
#include "catga/runtime/messaging/carrier.hpp"
#include "catga/runtime/messaging/routes.hpp"
#include "catga/runtime/standing.hpp"
#include "catga/runtime/telemetry/tracer.hpp"
#include "catga/runtime/telemetry/traffic_metrics.hpp"
#include "catga/sharding/caller.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <forward_list>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace catga {

struct RouterOptions {
  Incarnation process;  ///< this process's own inbox: where answers come back
  std::uint32_t shards = 1024;
  Config::Ask limits;
  CallerTimes times;
};

/// Thread-safe. Callers' callbacks run on the thread that brings the answer.
class Router final : public Messenger {
 public:
  /// `local`: runs a message on this node's shard actor; empty for programs that only call. `carrier` is null in embedded mode.
  Router(RouterOptions options, NodeStanding& standing, OwnerStore& owners, Carrier* carrier);
  ~Router() override;

  void ask(Ask ask, Answered answered) override {
    carry(std::move(ask), Pattern::ask, std::move(answered));
  }
  Status tell(Ask tell) override;
  /// An ask whose sender is no caller: a tell or an event that must arrive. Counted as such.
  void carry(Ask ask, Pattern pattern, Answered answered);
  /// This router, for who sends events to entities.
  Messenger& for_events() { return for_events_; }

  void host(std::function<void(ShardId, Envelope&&)> local) { local_ = std::move(local); }
  /// Before the first ask: asks get spans. Outlives the router.
  void trace_with(Tracer* tracer) { tracer_ = tracer; }
  /// Before the first ask: what is sent is counted. Outlives the router.
  void count_with(TrafficMetrics* counts) { counts_ = counts; }
  Routes& routes() { return routes_; }

  /// Sends the answer of an envelope to who waits for it: here or on another node. No waiter: nothing. `now_ns`: boot_ns() of
  /// this moment, if the caller has read it.
  void answer(const Envelope& envelope, Result<std::string> answer, Epoch epoch,
              std::int64_t now_ns = 0);
  /// A good answer to it goes to an ask of this process, and nobody learns anything else from it: finish() will do.
  bool is_own(const Envelope& envelope) const {
    return envelope.reply_to == options_.process && envelope.hops == 0;
  }
  /// Ends an ask of this process; one that has ended is left as it is.
  void finish(std::uint64_t correlation, Result<std::string> answer, std::int64_t now_ns = 0);
  /// Sends an envelope on to another node (a forward, MSG). false: too much waits for that node.
  bool send(Incarnation to, const Envelope& envelope);

  // ---- what arrives ----
  void replied(const wire::Reply& reply, std::int64_t now_ns = 0);
  void undelivered(const std::vector<std::uint64_t>& asks);
  void unsent(const std::vector<std::uint64_t>& asks);
  void adopt(std::shared_ptr<const Standing> standing, Incarnation self);
  /// Repeats and ends asks whose time has come: every few ms, by the node's clock.
  void tick();
  /// tick() finds nothing to do before this moment of boot_ms().
  std::int64_t next_tick() const { return soonest_.load(std::memory_order_relaxed); }
  /// Ends all asks: `unavailable` if never sent, else `unknown`.
  void close();
  std::size_t pending() const { return pending_count_.load(std::memory_order_relaxed); }
  Incarnation self() const { return *self_.load(std::memory_order_acquire); }

 private:
  struct Pending {
    Envelope envelope;
    ShardId shard;
    Caller caller;
    Answered answered;
    Incarnation sent_to;
    std::uint64_t parent_span = 0;  ///< while traced
    std::int64_t began_ns = 0;
    TrafficMetrics::Place counted;  ///< while counted
    std::int64_t asked_ns = 0;      ///< 0: its time is not counted
    Pattern pattern = Pattern::ask;
  };
  struct EventCarrier final : Messenger {
    explicit EventCarrier(Router& router) : router_(router) {}
    void ask(Ask ask, Answered answered) override {
      router_.carry(std::move(ask), Pattern::event, std::move(answered));
    }
    Status tell(Ask tell) override { return router_.tell(std::move(tell)); }
    Router& router_;
  };
  struct Table {
    std::mutex lock;
    std::unordered_map<std::uint64_t, Pending> asks;
    std::int64_t due = no_time;  ///< boot_ms(); nothing of it is due before
  };
  /// One attempt of an ask, ready to leave.
  struct Attempt {
    std::uint64_t correlation = 0;
    ShardId shard;
    Incarnation to;  ///< none: nobody is known to send it to
    bool here = false;
    Envelope envelope;  ///< if here
    std::string body;   ///< else
  };
  static constexpr std::int64_t no_time = std::numeric_limits<std::int64_t>::max();
  void due_at(std::int64_t time);
  Table& table_of(std::uint64_t correlation) { return tables_[correlation % tables_.size()]; }
  Attempt attempt(std::uint64_t correlation, Pending& pending);
  void leave(Attempt&& attempt);
  void send_span(Envelope& envelope);
  void span_of(const Pending& pending, const Result<std::string>& answer);
  void act(std::uint64_t correlation, CallerAction action);
  void transmit(std::uint64_t correlation);
  void look_up(std::uint64_t correlation);
  Result<Envelope> envelope_of(Ask&& ask, MessageClass kind);
  template <class Decide>
  void decide(std::uint64_t correlation, Decide decide);

  const RouterOptions options_;
  NodeStanding& standing_;
  OwnerStore& owners_;
  Carrier* carrier_;
  Tracer* tracer_ = nullptr;
  TrafficMetrics* counts_ = nullptr;
  EventCarrier for_events_{*this};
  Routes routes_;
  std::function<void(ShardId, Envelope&&)> local_;
  // Read with each message and written once in a life: all lives are kept, the newest is pointed to.
  std::mutex lives_lock_;
  std::forward_list<Incarnation> lives_;
  std::atomic<const Incarnation*> self_{&no_life_};
  inline static const Incarnation no_life_{};
  std::array<Table, 32> tables_;
  std::atomic<std::int64_t> soonest_{no_time};  ///< no table has anything due before
  std::atomic<std::uint64_t> next_{1};
  std::atomic<std::size_t> pending_count_{0};
  std::atomic<bool> closed_{false};
  // Answers of the store that come after this object is gone find an empty pointer.
  std::shared_ptr<Router*> alive_;
  std::shared_ptr<std::mutex> alive_lock_;
};

}  // namespace catga
