#include "catga/runtime/actors/turn_spans.hpp"

#include <utility>

namespace catga::actors {

namespace {
constexpr std::size_t open_most = 8192;  // some messages end without an answer: they leave no span

bool is_told(const Envelope& envelope) {
  return envelope.kind == MessageClass::tell || of_tell(envelope.trace);
}
bool is_error(Code code) { return code != Code::rejected; }
}  // namespace

void TurnSpans::arrived(Envelope& envelope) {
  if (open_.size() >= open_most) open_.clear();
  const bool begins =
      envelope.kind == MessageClass::timer || (tracer_.link_only() && is_told(envelope));
  TraceContext own = begins ? tracer_.root() : tracer_.child(envelope.trace);
  if (!own.sampled() && tracer_.watches(envelope.entity)) own.flags |= 1;  // catga entity trace
  if (own.sampled()) open_[own.span] = {envelope.trace, Tracer::now_ns(), 0};
  envelope.trace = own;
  arrived_ = own;
  arrived_delayed_by_ = envelope.delayed_by;
}

void TurnSpans::turn_begins(const Envelope& envelope) {
  if (envelope.kind != MessageClass::query) running_ = envelope.trace;
  scope_.reset();
  scope_.emplace(envelope.trace);
  if (!envelope.trace.sampled()) return;
  const auto open = open_.find(envelope.trace.span);
  if (open != open_.end() && open->second.begun_ns == 0) open->second.begun_ns = Tracer::now_ns();
}

void TurnSpans::given_back(Envelope& envelope) {
  const auto open = open_.find(envelope.trace.span);
  if (open == open_.end()) return;
  envelope.trace = open->second.parent;
  open_.erase(open);
}

void TurnSpans::answered(const Envelope& envelope, const Result<std::string>& answer, Epoch epoch) {
  if (!envelope.trace.sampled()) return;
  const auto at = open_.find(envelope.trace.span);
  if (at == open_.end()) return;
  const Open open = at->second;
  open_.erase(at);
  const bool timer = envelope.kind == MessageClass::timer;
  const bool asked = !timer && envelope.kind != MessageClass::tell && !of_tell(open.parent);
  const std::string method = envelope.entity.kind + '/' + envelope.message;
  Span span;
  span.context = envelope.trace;
  const bool sent_parent = open.parent.sampled();  // else it is nowhere to be found
  if (!timer && (asked || !tracer_.link_only())) {
    span.parent = sent_parent ? open.parent.span : 0;
    span.parent_remote = sent_parent;
  } else if (sent_parent) {
    span.links.push_back(
        {open.parent, {{"catga.link.reason", std::string(timer ? "set_by" : "told_by")}}});
  }
  span.kind = asked ? SpanKind::server : SpanKind::consumer;
  span.name = asked ? method : "process " + method;
  span.start_ns = open.arrived_ns;
  span.end_ns = Tracer::now_ns();
  const std::int64_t begun = open.begun_ns == 0 ? span.end_ns : open.begun_ns;
  span.attributes.reserve(10);  // at most
  const std::int64_t wait_ms = (begun - open.arrived_ns) / 1'000'000;
  if (asked) {
    span.attributes = {{"rpc.system.name", std::string("catga")}, {"rpc.method", method}};
    span.attributes.push_back(
        {"rpc.status_code", std::string(answer.ok() ? "ok" : name_of(answer.error().code))});
  } else {
    span.attributes = {{"messaging.system", std::string("catga")},
                       {"messaging.operation.name", std::string("process")},
                       {"messaging.operation.type", std::string("process")},
                       {"messaging.destination.template", envelope.entity.kind}};
  }
  span.attributes.push_back({"catga.entity.kind", envelope.entity.kind});
  span.attributes.push_back({"catga.shard.id", static_cast<std::int64_t>(place_.shard.value)});
  span.attributes.push_back({"catga.shard.epoch", std::to_string(epoch.value)});
  span.attributes.push_back({"catga.route.hops", static_cast<std::int64_t>(envelope.hops)});
  span.attributes.push_back({"catga.queue.wait_ms", wait_ms});
  span.attributes.push_back({"catga.turn.replayed", open.begun_ns == 0 && answer.ok()});
  if (!answer.ok() && is_error(answer.error().code)) {
    span.status = SpanStatus::error;
    span.status_text = answer.error().text;
    span.attributes.push_back({"error.type", std::string(name_of(answer.error().code))});
  }
  if (envelope.delayed_by != 0) {
    span.links.push_back(
        {rebalance_trace::handoff(place_.cluster, envelope.delayed_by, place_.shard.value,
                                  place_.node, std::to_string(epoch.value)),
         {{"catga.link.reason", std::string("delayed_by_handoff")},
          {"catga.queue.wait_ms", wait_ms}}});
  }
  tracer_.ended(std::move(span));
}

void TurnSpans::activation_begins() {
  if (activation_ns_ != 0 || !arrived_.sampled()) return;  // asked again, or nobody looks
  activation_parent_ = arrived_;
  activation_delayed_by_ = arrived_delayed_by_;
  activation_ns_ = Tracer::now_ns();
}

void TurnSpans::activation_ended(const std::string& kind, const Result<Loaded>& answer,
                                 Epoch epoch) {
  if (activation_ns_ == 0) return;
  Span span;
  span.context = Tracer::inside(activation_parent_);
  span.parent = activation_parent_.span;
  span.name = "catga.activate";
  span.start_ns = std::exchange(activation_ns_, 0);
  span.end_ns = Tracer::now_ns();
  std::string outcome = "ok";
  if (!answer.ok())
    outcome = name_of(answer.error().code);
  else if (answer->fenced)
    outcome = "fenced";
  span.attributes = {{"catga.entity.kind", kind},
                     {"catga.shard.id", static_cast<std::int64_t>(place_.shard.value)},
                     {"catga.shard.epoch", std::to_string(epoch.value)},
                     {"outcome", outcome}};
  if (answer.ok()) {
    span.attributes.push_back(
        {"catga.state.bytes", static_cast<std::int64_t>(answer->state.size())});
  } else {
    span.status = SpanStatus::error;
    span.status_text = answer.error().text;
    span.attributes.push_back({"error.type", outcome});
  }
  if (activation_delayed_by_ != 0) {
    span.links.push_back(
        {rebalance_trace::handoff(place_.cluster, activation_delayed_by_, place_.shard.value,
                                  place_.node, std::to_string(epoch.value)),
         {{"catga.link.reason", std::string("activated_by_handoff")}}});
  }
  tracer_.ended(std::move(span));
}

void TurnSpans::commit_begins(std::size_t turns) {
  if (commit_ns_ != 0 || !running_.sampled()) return;  // sent again, or nobody looks
  commit_parent_ = running_;
  commit_ns_ = Tracer::now_ns();
  commit_turns_ = turns;
}

void TurnSpans::commit_ended(std::string_view outcome) {
  if (commit_ns_ == 0) return;
  Span span;
  span.context = Tracer::inside(commit_parent_);
  span.parent = commit_parent_.span;
  span.kind = SpanKind::client;
  span.name = "catga.commit";
  span.start_ns = std::exchange(commit_ns_, 0);
  span.end_ns = Tracer::now_ns();
  span.attributes = {{"db.system.name", std::string("redis")},
                     {"catga.commit.batch", static_cast<std::int64_t>(commit_turns_)},
                     {"catga.commit.outcome", std::string(outcome)}};
  if (outcome != "ok") span.status = SpanStatus::error;
  tracer_.ended(std::move(span));
}

}  // namespace catga::actors
