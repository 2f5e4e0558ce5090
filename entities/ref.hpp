// Ref<Entity>: the name of an entity and, outside handlers, the way to it.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/entities/handler.hpp"
#include "catga/entities/messenger.hpp"
#include "catga/entities/operation.hpp"

#include <cassert>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace catga {

/// How to ask. A caller that wants to repeat a command later, from another process say, gives it an
/// operation id of its own (new_operation_id()) and the time it made it, both the same at every
/// repeat.
struct AskOptions {
  std::chrono::milliseconds timeout{0};  ///< 0: ask.timeout of the node
  OperationId operation{};  ///< none: one is made, and kept across this ask's own repeats
  std::chrono::system_clock::time_point operation_time{};  ///< needed with `operation`
  /// Instead of both: any text that names this command, as an order number does. Repeats with the same key, message and
  /// entity take effect once, for idempotency.retention. Costs a look-up more than an id with its time.
  std::string_view idempotency_key{};  ///< read before the call returns
};
// Temporaries of it stand in co_await expressions: see is_aggregate_temporary.
static_assert(std::is_trivially_destructible_v<AskOptions>);

namespace detail {

template <class Type>
concept EntityName = requires {
  Type::kind;
};

/// An aggregate built in the call that has something to destroy. In a co_await expression g++ 12
/// would destroy it twice (task.hpp).
template <class Argument>
inline constexpr bool is_aggregate_temporary =
    !std::is_lvalue_reference_v<Argument> && std::is_class_v<std::remove_cvref_t<Argument>> &&
    std::is_aggregate_v<std::remove_cvref_t<Argument>> &&
    !std::is_trivially_destructible_v<std::remove_cvref_t<Argument>>;

/// Errors stay as they are; bytes are decoded.
template <class Reply>
Result<Reply> reply_in(Result<std::string> answer) {
  if (!answer) return std::move(answer).error();
  Result<Reply> reply = decode<Reply>(answer.value());
  if (!reply) reply.error().text.insert(0, "in the reply: ");
  return reply;
}

/// Sends `ask`, or answers at once what is wrong with it.
void send(Messenger* messenger, Ask ask, Answered answered);
Status send_tell(Messenger* messenger, Ask tell);
/// Blocks the calling thread until the answer is there.
Result<std::string> ask_and_wait(Messenger* messenger, Ask ask);

/// Waits for one ask in a coroutine that is not a handler.
class OutsideAsk {
 public:
  OutsideAsk(Messenger* messenger, Ask ask) : messenger_(messenger), ask_(std::move(ask)) {}
  OutsideAsk(const OutsideAsk&) = delete;
  OutsideAsk& operator=(const OutsideAsk&) = delete;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting);

 protected:
  ~OutsideAsk() = default;
  Result<std::string> answer_ = Error{};

 private:
  Messenger* messenger_;
  Ask ask_;
};

}  // namespace detail

/// `co_await ref.ask_async(message)`; gives Result<Reply>. The coroutine goes on on a thread of the
/// node: what it does there must be short and must not block. Do not destroy it while it waits.
template <class Reply>
class [[nodiscard]] AsyncAsk final : public detail::OutsideAsk {
 public:
  using OutsideAsk::OutsideAsk;
  Result<Reply> await_resume() { return detail::reply_in<Reply>(std::move(answer_)); }
};

/// Names an entity. Get one from a node (`node.ref<Account>("alice")`) to ask and tell from
/// outside. One from a turn is only a name: a handler sends through its Turn, because what it sends
/// belongs to the commit. Asking with such a name answers `failed`. Cheap to copy; must not be used
/// after the node it came from.
template <class Entity>
class Ref {
 public:
  Ref(Messenger* messenger, std::string key)
      : messenger_(messenger), entity_{std::string(Entity::kind), std::move(key)} {}

  const std::string& key() const { return entity_.key; }
  const EntityId& entity() const { return entity_; }

  /// Asks and waits. Any thread but the node's own: never in a handler or a callback of Catga.
  template <class Message>
  auto ask(const Message& message, std::chrono::milliseconds timeout = {}) const {
    return ask(message, AskOptions{.timeout = timeout});
  }
  template <class Message>
  auto ask(const Message& message, const AskOptions& options) const {
    if constexpr (detail::CheckedSend<Entity, Message>::ok) {
      using Reply = typename Message::Reply;
      return detail::reply_in<Reply>(detail::ask_and_wait(messenger_, encoded(message, options)));
    }
  }

  /// Asks and returns at once. `then` takes a Result<Reply>; it is called exactly once, on a thread
  /// of the node, so it must be short and must not block.
  template <class Message, class Then>
  void ask_then(const Message& message, Then then, const AskOptions& options = no_options()) const {
    if constexpr (detail::CheckedSend<Entity, Message>::ok) {
      using Reply = typename Message::Reply;
      static_assert(std::is_invocable_v<Then&, Result<Reply>>,
                    "catga: what ask_then calls must take a catga::Result of the message's Reply");
      detail::send(messenger_, encoded(message, options),
                   [then = std::move(then)](Result<std::string> answer) mutable {
                     then(detail::reply_in<Reply>(std::move(answer)));
                   });
    }
  }

  /// For coroutines outside handlers: `co_await ref.ask_async(named)`.
  template <class Message>
  auto ask_async(Message&& message, const AskOptions& options = no_options()) const {
    using Plain = std::remove_cvref_t<Message>;
    static_assert(std::is_lvalue_reference_v<Message>,
                  "catga: name the message first: g++ 12 destroys a temporary in a co_await "
                  "expression twice");
    if constexpr (detail::CheckedSend<Entity, Plain>::ok) {
      return AsyncAsk<typename Plain::Reply>(messenger_, encoded(message, options));
    }
  }

  /// Sends one copy, at most once; nobody learns what became of it. Errors: overloaded,
  /// unavailable, malformed.
  template <class Message>
  Status tell(const Message& message) const {
    if constexpr (detail::CheckedSend<Entity, Message>::ok) {
      return detail::send_tell(messenger_, encoded(message, no_options()));
    } else {
      return Done{};
    }
  }

  friend bool operator==(const Ref& left, const Ref& right) {
    return left.entity_ == right.entity_;
  }

 private:
  static AskOptions no_options() { return {}; }

  template <class Message>
  Ask encoded(const Message& message, const AskOptions& options) const {
    Ask ask;
    ask.entity = entity_;
    ask.message = Message::catga_message_name();
    ask.payload = encode(message);
    ask.query = detail::is_query<Entity, Message>;
    ask.operation = options.operation;
    if (!options.idempotency_key.empty()) {
      ask.operation = operation_of_key(ask.entity, ask.message, options.idempotency_key);
      ask.keyed = true;
      ask.timeout = options.timeout;
      return ask;
    }
    ask.operation_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                           options.operation_time.time_since_epoch())
                           .count();
    ask.timeout = options.timeout;
    return ask;
  }

  Messenger* messenger_;
  EntityId entity_;
};

}  // namespace catga
