// Turn: one handled message, and everything it asks for. All of it is part of the commit, or never
// happens.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/entities/handler.hpp"
#include "catga/entities/kind.hpp"
#include "catga/entities/ref.hpp"
#include "catga/entities/task.hpp"

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace catga {

template <class State>
class Saga;  // saga/builder.hpp
struct SagaDefinition;

namespace detail {

/// The start of a saga as a tell. Errors: malformed, an id or input out of bounds.
Result<OutgoingTell> saga_start(const SagaDefinition& definition, std::string id, std::string input,
                                const EntityId& by);

/// One ask a handler waits for. Everything about it that does not depend on the reply's type.
class AwaitedAsk {
 public:
  struct Request {
    EntityId entity;
    std::string message;
    std::string payload;
    bool query = false;
  };
  AwaitedAsk(TurnScope* scope, std::weak_ptr<Running> running, Request request);
  AwaitedAsk(const AwaitedAsk&) = delete;
  AwaitedAsk& operator=(const AwaitedAsk&) = delete;
  bool await_ready() const noexcept { return !can_wait_; }
  void await_suspend(std::coroutine_handle<> handler);

 protected:
  ~AwaitedAsk() = default;
  Result<std::string> take_answer();

 private:
  TurnScope* scope_;
  std::weak_ptr<Running> running_;
  Request request_;
  bool can_wait_;
  Result<std::string> answer_;
};

}  // namespace detail

/// `co_await turn.ask(...)`; gives Result<Reply>.
template <class Reply>
class [[nodiscard]] TurnAsk final : public detail::AwaitedAsk {
 public:
  using AwaitedAsk::AwaitedAsk;
  Result<Reply> await_resume() { return detail::reply_in<Reply>(take_answer()); }
};

/// What a handler sees of the message it handles, and how it sends. Lives as long as the handler, a
/// suspended one included; not longer. A query gets a const Turn, which cannot send.
class Turn {
 public:
  /// For the runtime, and for tests that call a handler directly. `running`: the coroutine this
  /// turn belongs to, which must outlive the turn; without one the handler cannot wait.
  explicit Turn(TurnScope& scope, detail::Running* running = nullptr)
      : scope_(&scope), running_(running) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  const std::string& kind() const { return scope_->entity.kind; }
  const std::string& key() const { return scope_->entity.key; }
  const EntityId& entity() const { return scope_->entity; }
  /// The id of the command being handled, the same at every repeat: the idempotency key for systems
  /// outside.
  OperationId operation_id() const { return scope_->operation; }
  /// Cluster time when the handler began, never before the due time of the timer it handles.
  /// Handlers have no other clock.
  std::chrono::system_clock::time_point now() const {
    return std::chrono::system_clock::time_point(std::chrono::milliseconds(scope_->now_ms));
  }
  /// The name of another entity, to tell or ask through this turn.
  template <class Other>
  Ref<Other> ref(std::string key) const {
    return Ref<Other>(nullptr, std::move(key));
  }

  /// Sends a message with the commit; takes effect once. Its reply goes nowhere.
  template <class Other, class Message>
  void tell(const Ref<Other>& other, const Message& message) {
    if constexpr (detail::CheckedSend<Other, Message>::ok) {
      tell_encoded(other.entity(), Message::catga_message_name(), encode(message));
    }
  }
  template <class Other, class Message>
  requires detail::EntityName<Other>
  void tell(std::string key, const Message& message) { tell(ref<Other>(std::move(key)), message); }

  /// Starts a saga with the commit: `turn.start(order_saga, "17", Order{...})`. A start of the same
  /// id and input finds the saga that is there. Throws std::invalid_argument (the turn fails) if the
  /// id or the input is out of bounds: 512 bytes without '|', 64 KiB.
  template <class State>
  void start(const Saga<State>& saga, std::string id, const State& input) {
    add_start(detail::saga_start(saga.definition(), std::move(id), encode(input), entity()));
  }

  /// Publishes an event with the commit: it goes to the cluster's JetStream stream, once, and behind
  /// all earlier events of this entity. Who hears it is not this entity's business (node.subscribe,
  /// or any NATS client). An event is a struct with CATGA_MESSAGE and needs no Reply; its name, the
  /// first argument of CATGA_MESSAGE, is what subscribers ask for and a token of its subject,
  /// `catga.<cluster>.ev.<part>.<Event>.<kind>.<key>`: once published it must not change its
  /// meaning. Fields may be added: readers skip what they do not know.
  template <class Event>
  void publish(const Event& event) {
    if constexpr (detail::CheckedEvent<Event>::ok) {
      publish_encoded(Event::catga_message_name(), encode(event));
    }
  }

  /// Sends `message` to this same entity when the time has come; survives crashes and moves. A
  /// timer of the same name is replaced. Without a name it cannot be cancelled. The entity must
  /// handle the message as a command.
  template <class Message>
  void after(std::chrono::milliseconds delay, const Message& message, std::string name = {}) {
    set_timer(scope_->now_ms + delay.count(), message, std::move(name));
  }
  /// A reminder: the first after one period, then again and again until it is cancelled by its name, or replaced. Ticks
  /// do not drift: they are due a period after the one before was due, however late that was handled.
  template <class Message>
  void every(std::string name, std::chrono::milliseconds period, const Message& message,
             Missed missed = Missed::once) {
    set_timer(scope_->now_ms + period.count(), message, std::move(name));
    if constexpr (detail::CheckedMessage<Message>::ok) repeat_timer(period, missed);
  }
  template <class Message>
  void at(std::chrono::system_clock::time_point time, const Message& message,
          std::string name = {}) {
    // Rounded up: a timer never fires early.
    set_timer(std::chrono::ceil<std::chrono::milliseconds>(time.time_since_epoch()).count(),
              message, std::move(name));
  }
  /// Takes back the timer of that name, if there is one.
  void cancel(std::string name);

  /// Leaves memory after the commit. The next message loads the state again.
  void passivate() { scope_->passivate = true; }
  /// Forgets the state with the commit: the next message finds the default one.
  void erase() { scope_->erase = true; }

  /// Asks another entity and waits, in a handler that returns Task<Reply>. The message is built in
  /// place: `Result<Reserved> reserved = co_await turn.ask<Reserve>(stock, 3);`. Leaves at once,
  /// not with the commit: what it changed elsewhere stays changed if this turn rejects later. Other
  /// commands to this entity wait.
  template <class Message, class Other, class... Field>
  requires detail::EntityName<Other>
  auto ask(const Ref<Other>& other, Field&&... field) {
    static_assert((!detail::is_aggregate_temporary<Field> && ...),
                  "catga: name this argument first: g++ 12 destroys a temporary in a co_await "
                  "expression twice");
    if constexpr (detail::CheckedSend<Other, Message>::ok) {
      return ask_encoded<Message>(other, Message{std::forward<Field>(field)...});
    }
  }
  /// The same with a message that has a name: `co_await turn.ask(stock, reserve)`.
  template <class Other, class Message>
  requires detail::EntityName<Other>
  auto ask(const Ref<Other>& other, Message&& message) {
    using Plain = std::remove_cvref_t<Message>;
    static_assert(std::is_lvalue_reference_v<Message>,
                  "catga: write turn.ask<Message>(ref, fields...), or name the message first: g++ "
                  "12 destroys a "
                  "temporary in a co_await expression twice");
    if constexpr (detail::CheckedSend<Other, Plain>::ok) return ask_encoded<Plain>(other, message);
  }

 private:
  template <class Message, class Other>
  TurnAsk<typename Message::Reply> ask_encoded(const Ref<Other>& other, const Message& message) {
    return TurnAsk<typename Message::Reply>(
        scope_, running_ ? running_->weak_from_this() : std::weak_ptr<detail::Running>{},
        detail::AwaitedAsk::Request{other.entity(), std::string(Message::catga_message_name()),
                                    encode(message), detail::is_query<Other, Message>});
  }
  template <class Message>
  void set_timer(std::int64_t due_ms, const Message& message, std::string&& name) {
    if constexpr (detail::CheckedMessage<Message>::ok) {
      timer_encoded(due_ms, Message::catga_message_name(), encode(message), std::move(name));
    }
  }
  void add_start(Result<OutgoingTell> start);
  void publish_encoded(std::string_view event, std::string payload);
  void tell_encoded(const EntityId& entity, std::string_view message, std::string payload);
  void timer_encoded(std::int64_t due_ms, std::string_view message, std::string payload,
                     std::string name);
  /// The timer set last.
  void repeat_timer(std::chrono::milliseconds period, Missed missed);

  TurnScope* scope_;
  detail::Running* running_;
};

}  // namespace catga
