#include "catga/runtime/actors/saga_spans.hpp"

#include <algorithm>
#include <utility>

namespace catga::actors {

SagaTrace SagaSpans::starts(const TraceContext& starter) {
  SagaTrace trace{tracer_.child(starter), starter};
  return trace.own.sampled() ? trace : SagaTrace{};
}

TraceContext SagaSpans::attempt_begins(const SagaTrace& saga, const SagaTask& task,
                                       std::uint32_t attempt) {
  if (!saga.own.sampled()) return Tracer::unsampled();
  Open open{saga.own, Tracer::inside(saga.own), Tracer::now_ns()};
  const TraceContext own = open.own;
  open_.insert_or_assign(Key{task.verb, task.operation, attempt}, std::move(open));
  return own;
}

void SagaSpans::attempt_ended(const SagaTask& task, std::uint32_t attempt,
                              const Result<StepReply>& reply) {
  const auto at = open_.find(Key{task.verb, task.operation, attempt});
  if (at == open_.end()) return;
  const Open open = at->second;
  open_.erase(at);
  const bool undoes = task.verb == TaskVerb::undo || task.verb == TaskVerb::settle_undo;
  const bool settles = task.verb == TaskVerb::settle || task.verb == TaskVerb::settle_undo;
  Span span;
  span.context = open.own;
  span.parent = open.saga.span;
  span.parent_remote = true;  // it may have been begun by another owner
  span.name = "catga.saga.step";
  span.start_ns = open.begun_ns;
  span.end_ns = Tracer::now_ns();
  std::string outcome = "ok";
  if (!reply.ok())
    outcome = name_of(reply.error().code);
  else if (reply->absent)
    outcome = "absent";
  span.attributes = {{"catga.saga.type", saga_.kind},
                     {"catga.saga.id", saga_.key},
                     {"catga.saga.step", task.step},
                     {"catga.saga.attempt", static_cast<std::int64_t>(attempt)},
                     {"catga.saga.undo", undoes},
                     {"catga.saga.settle", settles},
                     {"outcome", outcome}};
  if (!reply.ok() && reply.error().code != Code::rejected) {
    span.status = SpanStatus::error;
    span.status_text = reply.error().text;
    span.attributes.push_back({"error.type", outcome});
  }
  tracer_.ended(std::move(span));
}

void SagaSpans::ended(const SagaTrace& saga, const SagaNews& news, const std::string& outcome,
                      std::int64_t lived_ms) {
  if (!saga.own.sampled()) return;
  Span span;
  span.context = saga.own;
  span.parent = saga.starter.span;
  span.parent_remote = static_cast<bool>(saga.starter);
  span.name = "catga.saga";
  span.end_ns = Tracer::now_ns();
  span.start_ns = span.end_ns - std::max<std::int64_t>(lived_ms, 0) * 1'000'000;
  span.attributes = {{"catga.saga.type", saga_.kind},
                     {"catga.saga.id", saga_.key},
                     {"catga.saga.outcome", outcome}};
  if (news.failed) {
    span.status = SpanStatus::error;
    span.status_text = news.text;
    span.attributes.push_back({"error.type", outcome});
  }
  tracer_.ended(std::move(span));
}

}  // namespace catga::actors
