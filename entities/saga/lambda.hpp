// How a lambda over a State becomes a function over a SagaState, and what it may return.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/entities/handler.hpp"
#include "catga/entities/saga/definition.hpp"
#include "catga/entities/to.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace catga {

namespace detail {

template <class State>
class TypedState final : public SagaState {
 public:
  explicit TypedState(State state) : value(std::move(state)) {}
  std::unique_ptr<SagaState> copy() const override { return std::make_unique<TypedState>(value); }
  std::string bytes() const override { return encode(value); }
  State value;
};

/// The runtime gives a definition only states that its own decode_state made.
template <class State>
const State& in_type(const SagaState& state) {
  return static_cast<const TypedState<State>&>(state).value;
}
template <class State>
State& in_type(SagaState& state) {
  return static_cast<TypedState<State>&>(state).value;
}

template <class State>
Result<std::unique_ptr<SagaState>> decode_typed(std::string_view bytes) {
  Result<State> state = decode<State>(bytes);
  if (!state) return std::move(state).error();
  return std::unique_ptr<SagaState>(std::make_unique<TypedState<State>>(std::move(*state)));
}

template <class Type>
struct ToParts {
  static constexpr bool is_to = false;
};
template <class Entity, class Message>
struct ToParts<To<Entity, Message>> {
  static constexpr bool is_to = true;
  using EntityType = Entity;
  using MessageType = Message;
  using Reply = typename Message::Reply;
};

template <class Function>
inline constexpr bool captures_nothing = std::is_empty_v<Function> || std::is_pointer_v<Function>;

/// What a lambda of a step or undo returns, or void if it cannot be called like that.
template <class State, bool Indexed, class Function>
auto returned_by_lambda() {
  if constexpr (Indexed && std::is_invocable_v<const Function&, const State&, std::size_t>) {
    return std::type_identity<std::invoke_result_t<const Function&, const State&, std::size_t>>{};
  } else if constexpr (!Indexed && std::is_invocable_v<const Function&, const State&>) {
    return std::type_identity<std::invoke_result_t<const Function&, const State&>>{};
  } else {
    return std::type_identity<void>{};
  }
}
template <class State, bool Indexed, class Function>
using LambdaParts =
    ToParts<typename decltype(returned_by_lambda<State, Indexed, Function>())::type>;

template <class State, bool Indexed, class Function>
std::function<StepCall(const SagaState&, std::size_t)> rub_out_call(Function function) {
  return [function]([[maybe_unused]] const SagaState& state, [[maybe_unused]] std::size_t index) {
    using Parts = LambdaParts<State, Indexed, Function>;
    const auto call = [&] {
      if constexpr (Indexed) {
        return function(in_type<State>(state), index);
      } else {
        return function(in_type<State>(state));
      }
    }();
    return StepCall{EntityId{std::string(Parts::EntityType::kind), call.key},
                    std::string(Parts::MessageType::catga_message_name()), encode(call.message)};
  };
}

/// What publish() returned.
template <class Event>
SagaEvent encoded_event(const Event& event) {
  if constexpr (CheckedEvent<Event>::ok) {
    return {std::string(Event::catga_message_name()), encode(event)};
  } else {
    return {};
  }
}

}  // namespace detail
}  // namespace catga
