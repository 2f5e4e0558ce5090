#include "catga/entities/turn.hpp"

#include "catga/entities/saga/calls.hpp"

#include <algorithm>
#include <stdexcept>

namespace catga {

void Turn::tell_encoded(const EntityId& entity, std::string_view message, std::string payload) {
  scope_->tells.push_back({entity, std::string(message), std::move(payload)});
}

void Turn::add_start(Result<OutgoingTell> start) {
  if (!start) throw std::invalid_argument(start.error().text);
  scope_->tells.push_back(std::move(*start));
}

void Turn::publish_encoded(std::string_view event, std::string payload) {
  scope_->events.push_back({std::string(event), std::move(payload)});
}

void Turn::timer_encoded(std::int64_t due_ms, std::string_view message, std::string payload,
                         std::string name) {
  TimerChange timer;
  timer.name = std::move(name);
  timer.due_ms = std::max(due_ms, scope_->now_ms);
  timer.message = message;
  timer.payload = std::move(payload);
  scope_->timers.push_back(std::move(timer));
}

void Turn::repeat_timer(std::chrono::milliseconds period, Missed missed) {
  TimerChange& timer = scope_->timers.back();
  timer.period_ms = std::max<std::int64_t>(period.count(), 1);
  timer.missed = missed;
}

void Turn::cancel(std::string name) {
  if (name.empty()) return;  // unnamed timers cannot be cancelled
  TimerChange timer;
  timer.name = std::move(name);
  timer.cancel = true;
  scope_->timers.push_back(std::move(timer));
}

namespace detail {

Result<OutgoingTell> saga_start(const SagaDefinition& definition, std::string id, std::string input,
                                const EntityId& by) {
  CATGA_TRY(check_saga_id(id));
  std::string payload = CATGA_TRY(start_bytes(definition, std::move(input), text_of(by)));
  return OutgoingTell{EntityId{definition.type, std::move(id)}, std::string(saga_call::start),
                      std::move(payload)};
}

AwaitedAsk::AwaitedAsk(TurnScope* scope, std::weak_ptr<Running> running, Request request)
    : scope_(scope),
      running_(std::move(running)),
      request_(std::move(request)),
      can_wait_(!running_.expired() && scope->ask),
      answer_(Error{Code::failed,
                    "asking " + text_of(request_.entity) +
                        ": turn.ask works only in a handler that a node runs and that returns "
                        "catga::Task"}) {}

void AwaitedAsk::await_suspend(std::coroutine_handle<> handler) {
  const std::shared_ptr<Running> running = running_.lock();
  const std::uint64_t wait = running->begin_wait();
  scope_->ask(std::move(request_.entity), std::move(request_.message), std::move(request_.payload),
              request_.query, [this, handler, wait, weak = running_](Result<std::string> answer) {
                // `this` lies in the coroutine's frame: alive only if the handler is, and still at
                // this wait.
                const std::shared_ptr<Running> alive = weak.lock();
                if (!alive || !alive->end_wait(wait)) return;
                answer_ = std::move(answer);
                handler.resume();
                alive->stopped();
              });
}

Result<std::string> AwaitedAsk::take_answer() { return std::move(answer_); }

}  // namespace detail
}  // namespace catga
