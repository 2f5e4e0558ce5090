// The spans of one saga and of its steps; there is one only while tracing is on.
//
//   catga.saga                    from its start until its end, told by the node that writes the end
//    +- catga.saga.step           one attempt of a step, an undo or a settling; the ask to the participant hangs below it
//    +- catga.saga.step ...
//
// Which trace it is stands in the saga's header (saga_trace.hpp), not here: an actor that takes the saga over after a
// crash goes on in it. What was under way when an owner died leaves no span.
#pragma once
#include "catga/entities/saga/answer.hpp"
#include "catga/runtime/saga_machine.hpp"
#include "catga/runtime/telemetry/tracer.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

namespace catga::actors {

class SagaSpans {
 public:
  SagaSpans(Tracer& tracer, const EntityId& saga) : tracer_(tracer), saga_(saga) {}

  /// Where it will stand if this start makes it. None: nobody looks.
  SagaTrace starts(const TraceContext& starter);
  /// The context under which this attempt asks.
  TraceContext attempt_begins(const SagaTrace& saga, const SagaTask& task, std::uint32_t attempt);
  void attempt_ended(const SagaTask& task, std::uint32_t attempt, const Result<StepReply>& reply);
  /// `lived_ms`: since it was created.
  void ended(const SagaTrace& saga, const SagaNews& news, const std::string& outcome,
             std::int64_t lived_ms);

 private:
  using Key = std::tuple<TaskVerb, OperationId, std::uint32_t>;
  struct Open {
    TraceContext saga, own;
    std::int64_t begun_ns = 0;
  };
  Tracer& tracer_;
  const EntityId& saga_;
  std::map<Key, Open> open_;  ///< bounded by what the saga has under way
};

}  // namespace catga::actors
