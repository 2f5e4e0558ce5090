// Makes spans: new ids, the sampler's decision, and the derived ids of a rebalance.
#pragma once
#include "catga/runtime/telemetry/otlp_settings.hpp"
#include "catga/runtime/telemetry/span.hpp"
#include "catga/sharding/ids.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace catga {

/// A flag of contexts within a cluster: what is sent under it is the tell of an earlier turn, although it travels as an
/// ask, and its span is that of a tell. Nothing inherits it. Nodes that do not know it pass it on, and take it for an ask.
constexpr std::uint8_t trace_of_tell = 4;
inline bool of_tell(const TraceContext& context) { return (context.flags & trace_of_tell) != 0; }

/// Of a node or a calling program; there is none while tracing is off. Thread-safe.
class Tracer {
 public:
  using Sink = std::function<void(Span&&)>;
  /// Whether the sink has room; asked before anything of a span is made. Any thread, must not wait.
  using Room = std::function<bool()>;
  /// `sink` gets spans that are sampled, on the thread that ended them.
  Tracer(SamplerSettings sampler, Sink sink, Room room = {});

  /// A new trace. Its span may not be sampled: it is carried all the same, so that nobody decides again.
  TraceContext root();
  /// A child of `parent`, of which another process may have decided; a new trace if there is none. Beyond
  /// `spans_per_second`, and without room, it is not sampled, nor is anything below it: a branch is left out.
  TraceContext child(const TraceContext& parent);
  /// Every turn of this entity is sampled until then (now_ns()), whatever the sampler says. At most 64 at a time: the one
  /// that ends first makes room.
  void watch(const EntityId& entity, std::int64_t until_ns);
  /// Whether it is watched now. One atomic load while nobody is.
  bool watches(const EntityId& entity) {
    return watching_.load(std::memory_order_relaxed) && is_watched(entity);
  }
  /// Branches left out because of these bounds. A counter.
  std::uint64_t left_out() const { return left_out_.load(std::memory_order_relaxed); }
  /// A span of `of` with a new id, whatever the sampler says.
  static TraceContext inside(const TraceContext& of);
  /// A new trace that nobody looks at.
  static TraceContext unsampled();
  void ended(Span&& span) {
    if (span.context.sampled()) sink_(std::move(span));
  }
  static std::int64_t now_ns();
  /// What is told or published is linked to its sender's trace, and not part of it (trace.link_only).
  bool link_only() const { return sampler_.link_only; }

 private:
  bool sampled_root(std::uint64_t trace_low);
  bool fits(const TraceContext& context);
  bool is_watched(const EntityId& entity);
  const SamplerSettings sampler_;
  const Sink sink_;
  const Room room_;
  using Next = std::atomic<std::int64_t>;  ///< when the next token is there, ns
  Next next_root_{0}, next_span_{0};
  std::array<Next, 64> next_of_trace_{};  ///< by trace id; two may share one
  std::atomic<std::uint64_t> left_out_{0};
  std::atomic<bool> watching_{false};
  std::mutex watch_lock_;
  std::map<std::string, std::int64_t> watched_;  ///< until when
};

/// One trace per rebalance, without a coordinator: every node derives the same ids from what all know.
namespace rebalance_trace {
/// The root, of the reporter. `rebalance`: the version of the view that caused it.
TraceContext root(std::string_view cluster, std::uint64_t rebalance);
/// The move of one shard to node `to`. Each move that comes to its end has an epoch of its own: both nodes know it.
TraceContext handoff(std::string_view cluster, std::uint64_t rebalance, std::int64_t shard,
                     std::string_view to, std::string_view epoch);
}  // namespace rebalance_trace

}  // namespace catga
