// The spans of one entity's turns and commits; there is one only while tracing is on.
#pragma once
#include "catga/persistence/stores.hpp"
#include "catga/runtime/envelope.hpp"
#include "catga/runtime/telemetry/tracer.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

namespace catga::actors {

/// Where the entity is, for the attributes.
struct TurnPlace {
  const std::string& cluster;
  const std::string& node;
  ShardId shard;
};

class TurnSpans {
 public:
  TurnSpans(Tracer& tracer, TurnPlace place) : tracer_(tracer), place_(place) {}

  /// The message gets a span of its own: of its turn, from its arrival until its answer leaves. A timer's shot begins a
  /// trace, and is linked to the turn that set it.
  void arrived(Envelope& envelope);
  /// A handler runs, or goes on, for this message on this thread.
  void turn_begins(const Envelope& envelope);
  void turn_ends() { scope_.reset(); }
  void answered(const Envelope& envelope, const Result<std::string>& answer, Epoch epoch);
  /// It has not run and goes elsewhere: its context is again that of its sender.
  void given_back(Envelope& envelope);
  /// For the message that arrived last.
  void activation_begins();
  void activation_ended(const std::string& kind, const Result<Loaded>& answer, Epoch epoch);
  void commit_begins(std::size_t turns);
  void commit_ended(std::string_view outcome);
  /// Of the command that runs or waits for an answer.
  const TraceContext& running() const { return running_; }

 private:
  struct Open {
    TraceContext parent;
    std::int64_t arrived_ns = 0, begun_ns = 0;
  };
  Tracer& tracer_;
  const TurnPlace place_;
  std::unordered_map<std::uint64_t, Open> open_;  ///< by span
  std::optional<catga::detail::TraceScope> scope_;
  TraceContext running_;
  TraceContext arrived_;                  ///< the last message's
  std::uint64_t arrived_delayed_by_ = 0;  ///< that message's
  TraceContext activation_parent_;
  std::uint64_t activation_delayed_by_ = 0;
  std::int64_t activation_ns_ = 0;
  TraceContext commit_parent_;
  std::int64_t commit_ns_ = 0;
  std::size_t commit_turns_ = 0;
};

}  // namespace catga::actors
