#include "catga/runtime/event_world.hpp"

#include "catga/runtime/event_place.hpp"

#include <algorithm>
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

}  // namespace

void handle_event(EventWorld& world, const Subscription& subscription, EventInfo::Facts facts,
                  std::string payload, std::int64_t first_ms, std::function<void(Handled)> then) {
  world.handlers.post([&world, &subscription, facts = std::move(facts),
                       payload = std::move(payload), first_ms, then = std::move(then)]() mutable {
    const OperationId id = facts.id;
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
