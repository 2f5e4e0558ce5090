// EntityTest: runs turns of entities in memory and on a clock that stands still, and shows what each of them did.
//
//   catga::test::EntityTest test;
//   test.host<Account>();
//   const auto turn = test.ask<Account>("alice", Withdraw{380});
//   CHECK(turn.reply->cents == 0);
//   CHECK(turn.told<Write>("alice").size() == 1);     // a tell to the entity with this key
//   CHECK(turn.published<Emptied>().size() == 1);
//   CHECK(turn.timers[0].after == 24h);
//   const auto later = test.advance(24h);             // the timer fires: another turn
//
//   test.crash_at(0, catga::test::Crash::after_commit);  // at the next commit
//   test.ask<Account>("alice", Deposit{500});            // the caller repeats itself, as ask() does
//   CHECK(test.state<Account>("alice").cents == 500);    // once
//
// What runs is what a node runs, over a store in memory that answers as the scripts in Redis do; no thread, no server,
// no waiting. Tells, asks between entities and sagas work among what is hosted. What is told to a kind that is not hosted
// is shown, and goes nowhere; to answer for it, host a small entity of its name. Needs no test framework. One thread.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/entities/entity.hpp"
#include "catga/entities/ref.hpp"
#include "catga/entities/saga/builder.hpp"
#include "catga/runtime/test/observed.hpp"
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace catga::test {

/// What a caller got, and the turn it started. No turn was committed: its fields are empty (a query, a failure, a repeat
/// that was answered from memory).
template <class Reply>
struct Turned : Handled {
  Result<Reply> reply = Error{};
};

class EntityTest {
 public:
  EntityTest();
  ~EntityTest();
  EntityTest(const EntityTest&) = delete;
  EntityTest& operator=(const EntityTest&) = delete;

  /// All kinds and sagas, before anything else.
  template <class Entity>
  EntityTest& host() {
    return add(kind_of<Entity>());
  }
  template <class State>
  EntityTest& host(const Saga<State>& saga) {
    return add(saga.shared());
  }

  /// Asks as a caller outside does: repeated under one operation id until there is an outcome. Returns when that is
  /// there and all that follows from it at the same time is done, tells to others too. A caller waits a minute at most,
  /// then it is a timeout.
  template <class Entity, class Message>
  Turned<typename Message::Reply> ask(std::string key, const Message& message) {
    using Reply = typename Message::Reply;
    static_assert(catga::detail::CheckedSend<Entity, Message>::ok);
    Turned<Reply> turned;
    const std::size_t before = turns().size();
    const EntityId entity{std::string(Entity::kind), std::move(key)};
    const std::string name(Message::catga_message_name());
    turned.reply = catga::detail::reply_in<Reply>(ask_encoded(entity, name, encode(message)));
    for (std::size_t i = before; i < turns().size(); ++i) {
      const Handled& turn = turns()[i];
      if (turn.entity != entity || turn.message != name) continue;
      static_cast<Handled&>(turned) = turn;
      break;
    }
    return turned;
  }

  /// The clock moves on; timers fire and retries happen on the way. Returns the turns of that time, in order.
  std::vector<Handled> advance(std::chrono::milliseconds by);
  /// Cluster time: what turn.now() tells.
  std::chrono::system_clock::time_point now() const;

  /// The owner dies now, with all that is in memory and on its way; the next one goes on from the store.
  void crash();
  /// It dies at a commit to come: 0 is the next one. Commits of sagas count too.
  void crash_at(std::size_t n, Crash when);
  std::size_t commits() const;

  /// What the store has of an entity; the default state if nothing.
  template <class Entity>
  auto state(const std::string& key) const {
    using State = decltype(Entity::state);
    Result<State> read = decode<State>(state_bytes({std::string(Entity::kind), key}));
    return read ? std::move(*read) : State{};
  }
  /// All committed turns, in order.
  const std::vector<Handled>& turns() const;
  /// All events, as a stream would keep them: each once.
  const std::vector<Published>& events() const;

 private:
  struct Private;
  EntityTest& add(Kind kind);
  EntityTest& add(std::shared_ptr<const SagaDefinition> saga);
  Result<std::string> ask_encoded(const EntityId& entity, const std::string& message,
                                  std::string payload);
  std::string state_bytes(const EntityId& entity) const;
  std::unique_ptr<Private> private_;
};

}  // namespace catga::test
