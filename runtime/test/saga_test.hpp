// SagaTest: runs one saga with its entities in memory and on a still clock, and lets its owner die at every commit.
//
//   catga::test::SagaTest test{order_saga, Order{"17", "alice"}};
//   test.host<Stock>().host<Account>();
//   const std::size_t commits = test.run().commits;  // to learn how many there are
//   for (std::size_t n = 0; n < commits; ++n)
//     for (auto crash : {catga::test::Crash::before_commit, catga::test::Crash::after_commit}) {
//       const auto run = test.crash_at(n, crash).run();
//       CHECK(run.status == "completed");
//       CHECK(run.applied<Charge>("alice") == 1);
//     }
//
// What runs is what a node runs: the machines of sagas and entities, over the in-memory store, which answers as the
// scripts in Redis do. Time passes only from one thing to do to the next, so 48 hours take no time. Every lambda of the
// saga is called twice, and must give the same bytes.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/entities/entity.hpp"
#include "catga/entities/saga/builder.hpp"
#include "catga/runtime/test/observed.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace catga::test {

/// How a run ended.
struct SagaRun {
  /// completed, compensated, aborted; parked or running: it did not end; impure: a lambda gave something else when it
  /// was called again with the same state (it reads a clock, draws lots or counts), `text` names it.
  std::string status;
  std::string cause, text;           ///< why it is parked, or ended so
  std::size_t commits = 0;           ///< of the saga, its children and all participants
  std::vector<std::string> journal;  ///< "choice line", "done line#0", …
  std::string state_bytes;
  std::chrono::milliseconds lasted{0};
  std::map<std::pair<std::string, std::string>, std::size_t>
      took_effect;  ///< message and key → how often
  std::vector<Published>
      events;  ///< as the stream has them, those of participants and children too

  /// How often a command of this type has taken effect at the entity with this key: committed, with a reply.
  template <class Message>
  std::size_t applied(const std::string& key) const {
    const auto found = took_effect.find({std::string(Message::catga_message_name()), key});
    return found == took_effect.end() ? 0 : found->second;
  }
  /// Events of this type that anybody published, in order.
  template <class Event>
  std::vector<Event> published() const {
    return detail::of_type<Event>(events, [](const Published& event) { return event.event; });
  }
  /// What its steps filled in; the default state if there is none.
  template <class State>
  State state() const {
    Result<State> read = decode<State>(state_bytes);
    return read ? std::move(*read) : State{};
  }
};

/// Every run() starts from nothing. What is said to it holds for all runs; crash_at and cancel_at for the next only.
class SagaTest {
 public:
  template <class State>
  SagaTest(const Saga<State>& saga, const State& input, std::string id = "test")
      : SagaTest(saga.shared(), encode(input), std::move(id)) {}
  ~SagaTest();
  SagaTest(const SagaTest&) = delete;
  SagaTest& operator=(const SagaTest&) = delete;

  /// A real entity takes part.
  template <class Entity>
  SagaTest& host() {
    return add(kind_of<Entity>());
  }
  /// A child's saga.
  template <class State>
  SagaTest& host(const Saga<State>& saga) {
    return add(saga.shared());
  }
  /// Handled before the saga starts, and counted nowhere: how entities stand.
  template <class Entity, class Message>
  SagaTest& given(std::string key, const Message& message) {
    return add_given(EntityId{std::string(Entity::kind), std::move(key)},
                     std::string(Message::catga_message_name()), encode(message));
  }
  /// A signal, so long after the start. Repeated, as its sender would, until it is acknowledged.
  template <class Payload>
  SagaTest& signal_at(std::chrono::milliseconds after, std::string name, const Payload& payload) {
    return add_signal(after, std::move(name), encode(payload));
  }

  // What becomes of the first attempts of a step ("charge", "line#0"), its undo included if the name begins with
  // "undo ".
  /// The participant is never reached and said no.
  SagaTest& reject(std::string step, std::string why);
  /// The step takes effect, the answer is lost.
  SagaTest& lose_reply(std::string step, std::size_t times = 1);
  /// Never reached, and the saga is told so.
  SagaTest& fail(std::string step, std::size_t times = 1);
  SagaTest& delay(std::string step, std::chrono::milliseconds by);
  /// Reaches the participant twice.
  SagaTest& twice(std::string step);

  /// The owner dies at commit number n (from 0), and another takes over. Next run only.
  SagaTest& crash_at(std::size_t n, Crash when);
  /// Somebody cancels after so many commits. Next run only.
  SagaTest& cancel_at(std::size_t n);
  /// How long a run waits for the end; 30 days at first.
  SagaTest& patience(std::chrono::milliseconds how_long);

  SagaRun run();

 private:
  struct Private;
  SagaTest(std::shared_ptr<const SagaDefinition> saga, std::string input, std::string id);
  SagaTest& add(Kind kind);
  SagaTest& add(std::shared_ptr<const SagaDefinition> saga);
  SagaTest& add_given(EntityId entity, std::string message, std::string payload);
  SagaTest& add_signal(std::chrono::milliseconds after, std::string name, std::string payload);
  std::unique_ptr<Private> private_;
};

}  // namespace catga::test
