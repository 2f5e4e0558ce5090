// What makes a class an entity, checked by the compiler, and how the runtime reaches its handlers.
//
//   class Account {
//    public:
//     static constexpr std::string_view kind = "account";
//     using Handles = catga::Messages<Deposit, GetBalance>;
//     struct State { std::int64_t cents = 0; CATGA_FIELDS(cents); } state;
//
//     // A command. Or on(catga::Turn&, const Deposit&).
//     Balance on(const Deposit& deposit);
//
//     // const: a query. Or on(const catga::Turn&, const GetBalance&) const.
//     Balance on(const GetBalance&) const;
//   };
//
// A handler returns the message's Reply, or a Result of it to be able to say no, or (commands only)
// a Task of it to wait for other entities. Only `state` is kept: any other field is a cache that
// must survive being wrong, because a turn that rejects or throws puts back `state` and nothing
// else.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/entities/handler.hpp"
#include "catga/entities/json.hpp"
#include "catga/entities/kind.hpp"
#include "catga/entities/message.hpp"
#include "catga/entities/task.hpp"
#include "catga/entities/turn.hpp"

#include <array>
#include <cassert>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace catga {
namespace detail {

template <class Entity>
concept HasKind = requires {
  std::string_view(Entity::kind);
};
template <class Entity>
concept HasHandles = requires {
  typename Entity::Handles;
};
template <class Entity>
concept HasState = requires(Entity& entity) {
  entity.state;
};

template <class Entity>
constexpr bool constant_kind() {
  return requires { typename std::bool_constant<(std::string_view(Entity::kind), true)>; };
}

/// Letters, digits, '_' and '-': a kind is part of keys, subjects and labels.
constexpr bool good_kind(std::string_view kind) {
  constexpr std::string_view allowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return !kind.empty() && kind.find_first_not_of(allowed) == kind.npos;
}

template <class Entity>
constexpr bool kind_is_good() {
  if constexpr (HasKind<Entity>) {
    if constexpr (constant_kind<Entity>()) return good_kind(Entity::kind);
  }
  return true;  // another sentence says what is wrong
}

template <class Entity>
constexpr bool state_is_encodable() {
  if constexpr (HasState<Entity>) {
    return Encodable<std::remove_cvref_t<decltype(std::declval<Entity&>().state)>>;
  } else {
    return true;
  }
}

template <class List>
inline constexpr bool all_messages_ok = false;
template <class... Message>
inline constexpr bool all_messages_ok<Messages<Message...>> = (CheckedMessage<Message>::ok && ...);

template <class Entity>
constexpr bool names_differ() {
  if constexpr (HasHandles<Entity>) {
    if constexpr (all_messages_ok<typename Entity::Handles>) {
      return ListTraits<typename Entity::Handles>::names_differ();
    }
  }
  return true;
}

/// Everything about the class itself.
template <class Entity>
struct CheckedEntity {
  static constexpr bool listed = [] {
    if constexpr (HasHandles<Entity>) return ListTraits<typename Entity::Handles>::is_list;
    return false;
  }();
  static_assert(HasKind<Entity>,
                "catga: this entity has no public kind: add `static constexpr std::string_view "
                "kind = \"...\";`");
  static_assert(!HasKind<Entity> || constant_kind<Entity>(),
                "catga: the kind of an entity must be static constexpr");
  static_assert(kind_is_good<Entity>(),
                "catga: the kind of an entity must not be empty and may have letters, digits, '_' "
                "and '-' only");
  static_assert(listed,
                "catga: this entity does not say what it handles: add public `using Handles = "
                "catga::Messages<...>;`");
  static_assert(HasState<Entity>,
                "catga: this entity has no public `state`: add `struct State { ...; "
                "CATGA_FIELDS(...); } state;`");
  static_assert(state_is_encodable<Entity>(),
                "catga: the state of this entity cannot be encoded: add CATGA_FIELDS(...) to it");
  static_assert(std::is_default_constructible_v<Entity>,
                "catga: an entity must be default constructible: the runtime makes it, then "
                "restores its state");
  static_assert(names_differ<Entity>(), "catga: two messages in Handles have the same wire name");
  static constexpr bool ok = HasKind<Entity> && constant_kind<Entity>() && listed &&
                             HasState<Entity> && state_is_encodable<Entity>() &&
                             std::is_default_constructible_v<Entity>;
};

/// Everything about one message of one entity.
template <class Entity, class Message>
struct CheckedHandler {
  static constexpr HandlerForm form = handler_form<Entity, Message>;
  static constexpr bool callable = form >= HandlerForm::query;
  using Reply = typename Message::Reply;
  using R = Returned<Entity, Message>;
  static constexpr bool fits = !callable || std::is_same_v<R, Reply> ||
                               std::is_same_v<R, Result<Reply>> || std::is_same_v<R, Task<Reply>>;
  static constexpr bool exact = takes_const_reference<Entity, Message>();
  static constexpr bool once = !callable || !handled_twice<Entity, Message>();
  static constexpr bool waits_as_command = !(is_query<Entity, Message> && is_task<R>);

  static_assert(std::is_default_constructible_v<Message>,
                "catga: a message must be default constructible: decoding keeps the defaults of "
                "missing fields");
  static_assert(Encodable<Reply>,
                "catga: the Reply of this message cannot be encoded: add CATGA_FIELDS(...) to it");
  static_assert(form != HandlerForm::none,
                "catga: a message in Handles has no handler: add a public on(const Message&) or "
                "on(catga::Turn&, const Message&)");
  static_assert(
      form != HandlerForm::changes_message,
      "catga: a handler must take its message by const reference, not by reference to mutable");
  static_assert(
      form != HandlerForm::const_with_mutable_turn,
      "catga: a const handler is a query and sends nothing: it must take `const catga::Turn&`");
  static_assert(exact, "catga: a handler must take its message by const reference, not by value");
  static_assert(
      once,
      "catga: this message has two handlers: keep one of the const, non-const and Turn versions");
  static_assert(fits,
                "catga: the reply type does not fit: a handler must return the message's Reply, "
                "catga::Result<Reply> or catga::Task<Reply>");
  static_assert(
      waits_as_command,
      "catga: a const handler is a query and cannot wait: only commands may return catga::Task");
  static constexpr bool ok = callable && fits && exact && once && waits_as_command &&
                             Encodable<Reply> && std::is_default_constructible_v<Message>;
};

/// A finished handler's value in the runtime's words.
template <class Reply>
HandlerEnd end_of(const Result<Reply>& result) {
  if (result) return {HandlerEnd::Kind::reply, encode(result.value())};
  const Error& error = result.error();
  if (error.code == Code::rejected) return {HandlerEnd::Kind::rejected, error.text};
  if (error.code == Code::failed) return {HandlerEnd::Kind::failed, error.text};
  // Passed on from an ask, say. Not remembered, because another attempt may go better.
  return {HandlerEnd::Kind::failed, std::string(name_of(error.code)) + ": " + error.text};
}

/// A coroutine handler with all it refers to: its message and its turn.
template <class Entity, class Message>
class WaitingHandler final : public Running {
 public:
  WaitingHandler(Message message, TurnScope& scope, std::function<void(HandlerEnd)> ended)
      : message_(std::move(message)), turn_(scope, this), ended_(std::move(ended)) {}

  /// Runs to the first ask. True if the handler ended without one.
  bool start(Entity& entity) {
    if constexpr (handler_form<Entity, Message> == HandlerForm::command_with_turn) {
      task_ = entity.on(turn_, message_);
    } else {
      task_ = entity.on(message_);
    }
    task_.start();
    return task_.done();
  }
  HandlerEnd end() { return end_of(task_.take()); }

  void stopped() override {
    if (!task_.done() || !ended_) return;
    const auto ended = std::exchange(ended_, nullptr);
    ended(end());
  }
  void abandon() override { ended_ = nullptr; }

 private:
  Message message_;
  Turn turn_;
  std::function<void(HandlerEnd)> ended_;
  Task<typename Message::Reply> task_;  // the last field: its frame refers to the others
};

/// What the compiler need not repeat for every message: a handler's end as the runtime may see it.
/// A turn is all or nothing, so anything but a reply takes back what the handler asked for; and a
/// timer must carry a command of this entity, else it could never take effect.
void settle(TurnScope& scope, const std::string_view* commands, std::size_t count, HandlerEnd& end);

template <class Entity>
class EntityInstance final : public Instance {
 public:
  EntityInstance() = default;
  EntityInstance(const EntityInstance&) = delete;
  EntityInstance& operator=(const EntityInstance&) = delete;
  ~EntityInstance() override { EntityInstance::abandon(); }

  Status restore(std::string_view bytes) override {
    if (bytes.empty()) {
      entity_.state = State{};
      return Done{};
    }
    Result<State> state = decode<State>(bytes);
    if (!state) return std::move(state).error();
    entity_.state = std::move(state).value();
    return Done{};
  }

  std::string encode() const override { return catga::encode(entity_.state); }

  HandlerEnd run(std::size_t message, std::string_view payload, TurnScope& scope) override {
    return run_numbered(typename Entity::Handles{}, message, payload, scope);
  }

  void abandon() override {
    if (running_) running_->abandon();
    running_.reset();
  }

 private:
  using State = std::remove_cvref_t<decltype(std::declval<Entity&>().state)>;

  template <class... Message>
  HandlerEnd run_numbered(Messages<Message...>, std::size_t message, std::string_view payload,
                          TurnScope& scope) {
    using Runner = HandlerEnd (EntityInstance::*)(std::string_view, TurnScope&);
    static constexpr std::array<Runner, sizeof...(Message)> runners{
        &EntityInstance::run_one<Message>...};
    assert(message < runners.size());
    assert(!running_ && "a suspended handler must end or be abandoned first");
    HandlerEnd end;
    try {
      end = (this->*runners[message])(payload, scope);
    } catch (...) {
      end = {HandlerEnd::Kind::failed, error_of_current_exception().text};
    }
    if (end.kind != HandlerEnd::Kind::suspended) settle_here(scope, end);
    return end;
  }

  template <class Message>
  HandlerEnd run_one(std::string_view payload, TurnScope& scope) {
    using Reply = typename Message::Reply;
    Result<Message> decoded = decode<Message>(payload);
    if (!decoded) return {HandlerEnd::Kind::malformed, std::move(decoded).error().text};
    constexpr HandlerForm form = handler_form<Entity, Message>;
    if constexpr (is_task<Returned<Entity, Message>>) {
      return run_waiting(std::move(decoded).value(), scope);
    } else if constexpr (form == HandlerForm::query) {
      return end_of<Reply>(std::as_const(entity_).on(std::as_const(decoded.value())));
    } else if constexpr (form == HandlerForm::query_with_turn) {
      const Turn turn(scope);
      return end_of<Reply>(std::as_const(entity_).on(turn, std::as_const(decoded.value())));
    } else if constexpr (form == HandlerForm::command) {
      return end_of<Reply>(entity_.on(std::as_const(decoded.value())));
    } else {
      Turn turn(scope);
      return end_of<Reply>(entity_.on(turn, std::as_const(decoded.value())));
    }
  }

  template <class Message>
  HandlerEnd run_waiting(Message message, TurnScope& scope) {
    const auto running = std::make_shared<WaitingHandler<Entity, Message>>(
        std::move(message), scope,
        [this, &scope](HandlerEnd end) { finish(scope, std::move(end)); });
    if (running->start(entity_)) return running->end();
    running_ = running;
    return {HandlerEnd::Kind::suspended, {}};
  }

  /// The end of a handler that was suspended. The runtime may destroy this instance in `finished`.
  void finish(TurnScope& scope, HandlerEnd end) {
    settle_here(scope, end);
    running_.reset();
    const std::function<void(HandlerEnd)> finished = scope.finished;
    finished(std::move(end));
  }

  static void settle_here(TurnScope& scope, HandlerEnd& end) {
    settle_with(typename Entity::Handles{}, scope, end);
  }
  template <class... Message>
  static void settle_with(Messages<Message...>, TurnScope& scope, HandlerEnd& end) {
    static constexpr std::array<std::string_view, sizeof...(Message)> commands{
        (is_query<Entity, Message> ? std::string_view{} : Message::catga_message_name())...};
    settle(scope, commands.data(), commands.size(), end);
  }

  Entity entity_{};
  std::shared_ptr<Running> running_;  // after the entity: destroyed before it
};

/// Through the C++ type, so that what the gateway forwards is what a C++ caller would have sent.
template <class Message>
Result<std::string> payload_from_json(std::string_view json) {
  Result<std::string> bytes = msgpack_from_json(json);
  if (!bytes) return bytes;
  Result<Message> message = decode<Message>(bytes.value(), UnknownField::refuse);
  if (!message) return std::move(message).error();
  return encode(message.value());
}

template <class Entity, class Message>
constexpr bool handler_is_good() {
  if constexpr (CheckedMessage<Message>::ok) {
    return CheckedHandler<Entity, Message>::ok;
  } else {
    return false;
  }
}

template <class Entity, class... Message>
Kind describe(Messages<Message...>) {
  Kind kind;
  if constexpr ((handler_is_good<Entity, Message>() && ...)) {
    kind.name = Entity::kind;
    (kind.messages.push_back({std::string(Message::catga_message_name()), is_query<Entity, Message>,
                              &payload_from_json<Message>, &json_from_msgpack}),
     ...);
    kind.make = [] { return std::make_unique<EntityInstance<Entity>>(); };
  }
  return kind;
}

}  // namespace detail

template <class Entity>
Kind kind_of() {
  if constexpr (detail::CheckedEntity<Entity>::ok) {
    return detail::describe<Entity>(typename Entity::Handles{});
  } else {
    return {};
  }
}

}  // namespace catga
