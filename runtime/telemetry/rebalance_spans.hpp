// Turns the cluster's events about a rebalance into one trace, without anybody who coordinates it.
//
// All ids are derived from what every node knows (tracer.hpp). The old owner exports the span of a
// planned move and its release, the new owner the acquire; of a take-over the new owner exports
// both. The root belongs to nobody in particular: every node sees the parts of all others in the
// stream, and when all are over, the participant with the smallest name exports it.
//
//   catga.rebalance
//    └─ catga.shard.handoff      old owner (take-over: new owner)
//        ├─ catga.shard.release  old owner
//        └─ catga.shard.acquire  new owner
#pragma once
#include "catga/runtime/telemetry/event_feed.hpp"
#include "catga/runtime/telemetry/tracer.hpp"

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace catga {

/// The trace of rebalances as one node sees and tells it. Thread-safe.
class RebalanceSpans final : public LogTap {
 public:
  /// `sink` gets ended spans. `keep` hand-off spans at most of a rebalance and node; slow ones always.
  RebalanceSpans(std::string cluster, std::string node, Tracer::Sink sink, std::size_t keep);

  /// This node's own events: the spans of its hand-offs.
  void take(const LogRecord& record) override;
  /// Every event of the cluster: for the root.
  void heard(const ClusterEvent& event);
  /// Now and then: exports the root of a rebalance that has been over for a moment. `now_ns`: since 1970.
  void look(std::int64_t now_ns);

 private:
  struct Open {  ///< a hand-off this node has begun
    std::int64_t start_ns = 0;
  };
  struct Whole {  ///< a rebalance as the stream tells it
    std::set<std::string> planned, completed;
    std::string reason;
    std::int64_t start_ns = 0, end_ns = 0, changed_ns = 0;
    std::int64_t moves_planned = 0, moves_completed = 0, moves_failed = 0;
    bool superseded = false;
  };
  void completed(const LogRecord& record);
  void failed(const LogRecord& record);
  bool has_room(std::uint64_t rebalance, std::int64_t lasted_ns);

  const std::string cluster_, node_;
  const Tracer::Sink sink_;
  const std::size_t keep_;
  std::mutex lock_;
  std::map<std::int64_t, Open> open_;  ///< by shard
  std::uint64_t counted_for_ = 0;
  std::size_t counted_ = 0;
  std::int64_t omitted_ = 0;
  std::map<std::uint64_t, Whole> wholes_;
};

}  // namespace catga
