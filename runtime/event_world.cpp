#include "catga/runtime/event_world.hpp"

#include "catga/runtime/event_place.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

namespace catga {

namespace {

Handled outcome_of(const Result<std::string>& answer) {
  if (answer.ok()) return {};
  const Error& error = answer.error();
  const std::string why = std::string(name_of(error.code)) + ": " + error.text;
  switch (error.code) {
    case Code::rejected:
      return {};  // a rejection is an answer, recorded like a reply
    case Code::expired:
    case Code::malformed:
      return {Handled::Kind::hopeless, why, true};
    case Code::failed:
    case Code::not_found:
      return {Handled::Kind::again, why, true};
    default:
      return {Handled::Kind::again, why, false};
  }
}

/// The span of one handling, from the handler's begin until its outcome is known.
class EventSpan {
 public:
  EventSpan(Tracer& tracer, const Subscription& subscription, const EventInfo::Facts& event,
            const std::string& trace)
      : tracer_(tracer) {
    const TraceContext parent = parse_traceparent(trace).value_or(TraceContext{});
    span_.context = tracer.link_only() ? tracer.root() : tracer.child(parent);
    if (!span_.context.sampled()) return;
    if (!tracer.link_only()) {
      span_.parent = parent.span;
      span_.parent_remote = static_cast<bool>(parent);
    } else if (parent.sampled()) {
      span_.links.push_back({parent, {{"catga.link.reason", std::string("published_by")}}});
    }
    span_.kind = SpanKind::consumer;
    span_.name = "process " + event.source.kind + '/' + event.name;
    span_.start_ns = Tracer::now_ns();
    span_.attributes = {{"messaging.system", std::string("catga")},
                        {"messaging.operation.name", std::string("process")},
                        {"messaging.operation.type", std::string("process")},
                        {"messaging.destination.template", event.name},
                        {"messaging.message.id", text_of(event.id)},
                        {"catga.entity.kind", event.source.kind},
                        {"catga.subscription", subscription.name},
                        {"catga.event.attempt", static_cast<std::int64_t>(event.attempt)}};
  }
  const TraceContext& context() const { return span_.context; }
  void ended(const Handled& outcome) {
    if (!span_.context.sampled()) return;
    span_.end_ns = Tracer::now_ns();
    if (outcome.kind != Handled::Kind::done) {
      span_.status = SpanStatus::error;
      span_.status_text = outcome.why;
      const bool hopeless = outcome.kind == Handled::Kind::hopeless;
      span_.attributes.push_back({"error.type", std::string(hopeless ? "malformed" : "failed")});
    }
    tracer_.ended(std::move(span_));
  }

 private:
  Tracer& tracer_;
  Span span_;
};

}  // namespace

EventInfo::Facts facts_of(const DeadLetter& letter, bool replayed, std::uint32_t attempt) {
  const StreamEvent& event = letter.event;
  return {event.id,   event.source,    event.number, event.epoch, event.at_ms,
          event.name, letter.sequence, replayed,     attempt};
}

void handle_event(EventWorld& world, const Subscription& subscription, EventInfo::Facts facts,
                  std::string payload, std::string trace, std::int64_t first_ms,
                  std::function<void(Handled)> then) {
  if (world.counts != nullptr) world.counts->event_received(facts.source.kind);
  world.handlers.post([&world, &subscription, facts = std::move(facts),
                       payload = std::move(payload), trace = std::move(trace), first_ms,
                       then = std::move(then)]() mutable {
    const OperationId id = facts.id;
    std::optional<detail::TraceScope> inside;
    if (world.tracer != nullptr) {
      auto span = std::make_shared<EventSpan>(*world.tracer, subscription, facts, trace);
      inside.emplace(span->context());
      then = [span, then = std::move(then)](Handled handled) {
        span->ended(handled);
        then(std::move(handled));
      };
    }
    Result<std::optional<EventCommand>> made =
        subscription.handle(EventInfo(std::move(facts)), payload);
    if (!made.ok() || !*made) {
      Handled handled;
      if (!made.ok()) {
        const bool hopeless = made.error().code == Code::malformed;
        handled = {hopeless ? Handled::Kind::hopeless : Handled::Kind::again, made.error().text,
                   true};
      }
      return then(std::move(handled));
    }
    EventCommand& command = **made;
    Ask ask;
    ask.entity = std::move(command.entity);
    ask.message = std::move(command.message);
    ask.payload = std::move(command.payload);
    ask.operation = event_operation(id, subscription.name);
    ask.operation_ms = first_ms;
    world.messenger.ask(
        std::move(ask),
        [then = std::move(then)](const Result<std::string>& answer) { then(outcome_of(answer)); });
  });
}

std::int64_t event_retry_ms(std::uint32_t attempt) {
  return std::min<std::int64_t>(50LL << std::min(attempt, 8U), 10'000);
}

}  // namespace catga
