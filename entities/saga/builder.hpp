// How a saga is declared: named steps, one after the other, checked by the compiler.
//
//   const catga::Saga<Order> order_saga =
//       catga::saga<Order>("order", 1)
//           .step("charge", [](const Order& o) { return catga::to<Account>(o.account, Charge{o.cents}); })
//               .on_reply([](Order& o, const Charged& c) { o.payment = c.payment; })
//               .undo([](const Order& o) { return catga::to<Account>(o.account, Refund{o.payment}); })
//           .step("ship", [](const Order& o) { return catga::to<Shipping>(o.id, Ship{o.id}); }).pivot()
//           .build();
//
// The lambdas are pure, state in and call out: another node calls them again and must get the same.
// So they capture nothing (the compiler checks) and read no clock. What belongs to one step follows
// it at once: on_reply, undo, when, timeout, retries, pivot, publish.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/entities/saga/definition.hpp"
#include "catga/entities/saga/lambda.hpp"

#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace catga {

namespace detail {

// What the step last declared is, for what may follow it.
struct NoStep {};
template <class ReplyType>
struct CallStep {
  using Reply = ReplyType;
};
template <class ReplyType>
struct EachStep {
  using Reply = ReplyType;
};
struct SleepStep {};
template <class Payload>
struct SignalStep {
  using Reply = Payload;
};
template <class ChildState>
struct ChildStep {
  using Reply = ChildState;
};

template <class Step>
inline constexpr bool is_each = false;
template <class Reply>
inline constexpr bool is_each<EachStep<Reply>> = true;
template <class Step>
inline constexpr bool is_signal = false;
template <class Payload>
inline constexpr bool is_signal<SignalStep<Payload>> = true;
template <class Step>
concept GivesReply = requires {
  typename Step::Reply;
};
template <class Step>
inline constexpr bool sends = GivesReply<Step> && !is_signal<Step>;

/// The steps declared so far.
struct Draft {
  SagaDefinition definition;
  bool side_by_side = false;

  StepDefinition& last() { return definition.stages.back().back(); }
  void add(StepDefinition step) {
    const bool joins = side_by_side && !definition.stages.empty();
    if (!joins) definition.stages.emplace_back();
    definition.stages.back().push_back(std::move(step));
  }
  void open();
  void join();
  void close();
};

}  // namespace detail

/// What `.build()` gives: declare it `const` at namespace scope and host it on nodes. Cheap to copy.
template <class State>
class Saga {
 public:
  using StateType = State;
  explicit Saga(std::shared_ptr<const SagaDefinition> definition)
      : definition_(std::move(definition)) {}
  const SagaDefinition& definition() const { return *definition_; }
  /// For the runtime, which keeps it as long as it runs sagas of this type.
  const std::shared_ptr<const SagaDefinition>& shared() const { return definition_; }

 private:
  std::shared_ptr<const SagaDefinition> definition_;
};

/// A saga half declared; `Step` says what was declared last. Each call moves it on.
template <class State, class Step = detail::NoStep>
class SagaBuilder {
 public:
  explicit SagaBuilder(detail::Draft draft) : draft_(std::move(draft)) {}

  /// Sends one command and waits for its reply.
  template <class Function>
  auto step(std::string name, Function function) && {
    check_lambda<false, Function>();
    using Parts = detail::LambdaParts<State, false, Function>;
    if constexpr (Parts::is_to) {
      StepDefinition made = sending<Parts>(std::move(name), StepSort::call);
      made.call = detail::rub_out_call<State, false>(function);
      return std::move(*this).template next<detail::CallStep<typename Parts::Reply>>(
          std::move(made));
    } else {
      return std::move(*this);  // what follows shall not add errors of its own
    }
  }

  /// One command for each of `count(state)`, side by side. Named "name#0", "name#1", …
  template <class Count, class Function>
  auto each(std::string name, Count count, Function function) && {
    check_lambda<true, Function>();
    static_assert(detail::captures_nothing<Count>, "catga: a lambda of a saga captures nothing");
    static_assert(std::is_invocable_r_v<std::size_t, const Count&, const State&>,
                  "catga: each() needs a count: [](const State& s) { return s.lines.size(); }");
    using Parts = detail::LambdaParts<State, true, Function>;
    if constexpr (Parts::is_to) {
      StepDefinition made = sending<Parts>(std::move(name), StepSort::each);
      made.count = [count](const SagaState& state) -> std::size_t {
        return count(detail::in_type<State>(state));
      };
      made.call = detail::rub_out_call<State, true>(function);
      return std::move(*this).template next<detail::EachStep<typename Parts::Reply>>(
          std::move(made));
    } else {
      return std::move(*this);  // what follows shall not add errors of its own
    }
  }

  /// Waits, across crashes and moves. Never restarts.
  auto sleep(std::string name, std::chrono::milliseconds how_long) && {
    StepDefinition made;
    made.name = std::move(name);
    made.sort = StepSort::sleep;
    made.timeout = how_long;
    return std::move(*this).template next<detail::SleepStep>(std::move(made));
  }

  /// Waits for somebody outside to say something; not said in time, the saga goes back.
  template <class Payload>
  auto await_signal(std::string name, std::chrono::milliseconds how_long) && {
    static_assert(detail::Encodable<Payload>,
                  "catga: what a signal carries needs CATGA_FIELDS(...) or CATGA_MESSAGE(...)");
    StepDefinition made;
    made.name = std::move(name);
    made.sort = StepSort::signal;
    made.timeout = how_long;
    made.message = detail::name_in_errors<Payload>();
    made.fold = [](SagaState&, std::size_t, std::string_view payload) -> Status {
      Result<Payload> read = decode<Payload>(payload);
      if (!read) return std::move(read).error();
      return Done{};
    };
    return std::move(*this).template next<detail::SignalStep<Payload>>(std::move(made));
  }

  /// Runs another saga, named "<id of this one>.<name>", to its end.
  template <class ChildState, class Function>
  auto child(std::string name, const Saga<ChildState>& saga, Function function) && {
    static_assert(detail::captures_nothing<Function>, "catga: a lambda of a saga captures nothing");
    constexpr bool fits = std::is_invocable_v<const Function&, const State&>;
    static_assert(fits, "catga: child() needs [](const State& s) { return ChildState{...}; }");
    if constexpr (fits) {
      using Input = std::remove_cvref_t<std::invoke_result_t<const Function&, const State&>>;
      static_assert(
          std::is_same_v<Input, ChildState>,
          "catga: a child's input is the state of the child's saga; this is another type");
      if constexpr (std::is_same_v<Input, ChildState>) {
        StepDefinition made;
        made.name = std::move(name);
        made.sort = StepSort::child;
        made.target = saga.definition().type;
        made.call = [function](const SagaState& state, std::size_t) {
          return StepCall{{}, {}, encode(function(detail::in_type<State>(state)))};
        };
        return std::move(*this).template next<detail::ChildStep<ChildState>>(std::move(made));
      } else {
        return std::move(*this);
      }
    } else {
      return std::move(*this);
    }
  }

  /// Puts what came back into the state. Of an each: (State&, number, const Reply&).
  template <class Function>
  auto on_reply(Function function) && {
    static_assert(detail::GivesReply<Step>,
                  "catga: on_reply() follows a step, each, await_signal or child");
    static_assert(detail::captures_nothing<Function>, "catga: a lambda of a saga captures nothing");
    if constexpr (detail::GivesReply<Step>) {
      using Reply = typename Step::Reply;
      constexpr bool fits =
          detail::is_each<Step>
              ? std::is_invocable_v<const Function&, State&, std::size_t, const Reply&>
              : std::is_invocable_v<const Function&, State&, const Reply&>;
      static_assert(
          fits,
          "catga: on_reply() does not take this message's reply: [](State& s, const Reply& "
          "r) {...}, for an each with the number in between");
      if constexpr (fits) draft_.last().fold = rub_out_fold<Reply>(function);
    }
    return std::move(*this);
  }

  /// What takes the step back. Sees the state as it was when the step was done, its reply included.
  template <class Function>
  auto undo(Function function) && {
    static_assert(detail::sends<Step>, "catga: undo() follows a step, each or child");
    check_lambda<detail::is_each<Step>, Function>();
    using Parts = detail::LambdaParts<State, detail::is_each<Step>, Function>;
    if constexpr (detail::sends<Step> && Parts::is_to) {
      draft_.last().undo_target = Parts::EntityType::kind;
      draft_.last().undo_message = Parts::MessageType::catga_message_name();
      draft_.last().undo = detail::rub_out_call<State, detail::is_each<Step>>(function);
    }
    return std::move(*this);
  }

  /// Publishes an event with the commit that says the step is done: once, behind all earlier events of this saga, as a
  /// turn's publish() does for its entity (the source is <type>/<id of the saga>). Sees the state with the step's own
  /// reply in it. Of an each: (const State&, number), for every element.
  template <class Function>
  auto publish(Function function) && {
    check_declared();
    static_assert(detail::captures_nothing<Function>, "catga: a lambda of a saga captures nothing");
    constexpr bool fits = detail::is_each<Step>
                              ? std::is_invocable_v<const Function&, const State&, std::size_t>
                              : std::is_invocable_v<const Function&, const State&>;
    static_assert(fits,
                  "catga: publish() needs [](const State& s) { return Event{...}; }, for an each "
                  "with the number behind the state");
    if constexpr (fits) {
      draft_.last().events.push_back(
          [function](const SagaState& state, [[maybe_unused]] std::size_t index) {
            if constexpr (detail::is_each<Step>) {
              return detail::encoded_event(function(detail::in_type<State>(state), index));
            } else {
              return detail::encoded_event(function(detail::in_type<State>(state)));
            }
          });
    }
    return std::move(*this);
  }

  /// Leaves the step out unless the state says so. Decided once, when the step is reached.
  template <class Function>
  auto when(Function function) && {
    check_declared();
    static_assert(detail::captures_nothing<Function>, "catga: a lambda of a saga captures nothing");
    static_assert(std::is_invocable_r_v<bool, const Function&, const State&>,
                  "catga: when() needs [](const State& s) { return true or false; }");
    draft_.last().when = [function](const SagaState& state) -> bool {
      return function(detail::in_type<State>(state));
    };
    return std::move(*this);
  }

  /// How long one attempt may take; 10 s by default.
  auto timeout(std::chrono::milliseconds of_one_attempt) && {
    static_assert(detail::sends<Step>, "catga: timeout() follows a step, each or child");
    draft_.last().timeout = of_one_attempt;
    return std::move(*this);
  }
  auto retries(Retries retries) && {
    static_assert(detail::sends<Step>, "catga: retries() follows a step, each or child");
    draft_.last().retries = retries;
    return std::move(*this);
  }
  /// Once this step is done there is no way back.
  auto pivot() && {
    check_declared();
    draft_.last().pivot = true;
    return std::move(*this);
  }

  /// The steps until join() run side by side.
  auto parallel() && {
    draft_.open();
    return SagaBuilder<State>(std::move(draft_));
  }
  auto join() && {
    draft_.join();
    return SagaBuilder<State>(std::move(draft_));
  }
  /// Not done so long after its start, the saga is cancelled.
  auto deadline(std::chrono::milliseconds after_start) && {
    draft_.definition.deadline = after_start;
    return SagaBuilder<State>(std::move(draft_));
  }
  /// Publishes an event with the commit of the end, if the saga completes.
  template <class Function>
  auto publish_completed(Function function) && {
    draft_.definition.completed_events.push_back(rub_out_end<Function>(function));
    return SagaBuilder<State>(std::move(draft_));
  }
  /// The same if it was compensated. May take why it went back: [](const State& s, const std::string& why).
  template <class Function>
  auto publish_compensated(Function function) && {
    draft_.definition.compensated_events.push_back(rub_out_end<Function>(function));
    return SagaBuilder<State>(std::move(draft_));
  }
  /// Sagas of this older version may go on with this one, if it has all steps they have done.
  auto accepts(std::uint32_t older_version) && {
    draft_.definition.accepts.push_back(older_version);
    return SagaBuilder<State>(std::move(draft_));
  }

  /// Mistakes the compiler cannot see are told when a node hosts the saga.
  Saga<State> build() && {
    draft_.close();
    return Saga<State>(std::make_shared<const SagaDefinition>(std::move(draft_.definition)));
  }

 private:
  template <bool Indexed, class Function>
  static constexpr void check_lambda() {
    static_assert(detail::captures_nothing<Function>, "catga: a lambda of a saga captures nothing");
    static_assert(detail::LambdaParts<State, Indexed, Function>::is_to,
                  "catga: step, each and undo take [](const State& s) (each: and the number) and "
                  "return catga::to<Entity>(key, Message{...})");
  }
  static constexpr void check_declared() {
    static_assert(!std::is_same_v<Step, detail::NoStep>,
                  "catga: when(), pivot() and publish() follow the step they belong to");
  }

  template <class Function>
  static std::function<SagaEvent(const SagaState&, const std::string&)> rub_out_end(
      Function function) {
    static_assert(detail::captures_nothing<Function>, "catga: a lambda of a saga captures nothing");
    constexpr bool told_why =
        std::is_invocable_v<const Function&, const State&, const std::string&>;
    static_assert(told_why || std::is_invocable_v<const Function&, const State&>,
                  "catga: publish_completed() and publish_compensated() need [](const State& s) { "
                  "return Event{...}; }");
    return [function](const SagaState& state, [[maybe_unused]] const std::string& why) {
      if constexpr (told_why) {
        return detail::encoded_event(function(detail::in_type<State>(state), why));
      } else {
        return detail::encoded_event(function(detail::in_type<State>(state)));
      }
    };
  }

  template <class Parts>
  static StepDefinition sending(std::string name, StepSort sort) {
    StepDefinition made;
    made.name = std::move(name);
    made.sort = sort;
    made.target = Parts::EntityType::kind;
    made.message = Parts::MessageType::catga_message_name();
    return made;
  }

  template <class Reply, class Function>
  static auto rub_out_fold(Function function) {
    return [function](SagaState& state, [[maybe_unused]] std::size_t index,
                      std::string_view bytes) -> Status {
      Result<Reply> reply = decode<Reply>(bytes);
      if (!reply) return std::move(reply).error();
      if constexpr (detail::is_each<Step>) {
        function(detail::in_type<State>(state), index, *reply);
      } else {
        function(detail::in_type<State>(state), *reply);
      }
      return Done{};
    };
  }

  template <class Next>
  auto next(StepDefinition step) && {
    draft_.add(std::move(step));
    return SagaBuilder<State, Next>(std::move(draft_));
  }

  detail::Draft draft_;
};

/// Begins a declaration. `type` names the saga for ever; the version grows when steps change that
/// running sagas may have done.
template <class State>
SagaBuilder<State> saga(std::string type, std::uint32_t version) {
  static_assert(detail::Encodable<State>, "catga: the state of a saga needs CATGA_FIELDS(...)");
  static_assert(std::is_copy_constructible_v<State>, "catga: the state of a saga must be copyable");
  detail::Draft draft;
  draft.definition.type = std::move(type);
  draft.definition.version = version;
  draft.definition.decode_state = &detail::decode_typed<State>;
  return SagaBuilder<State>(std::move(draft));
}

}  // namespace catga
