// An entity class as users write it, called directly and as the runtime calls it.
#include <catga/entities/entity.hpp>

#include <doctest/doctest.h>

#include <stdexcept>

using namespace catga;
using namespace std::chrono_literals;

namespace {

struct Balance {
  std::int64_t cents = 0;
  CATGA_FIELDS(cents);
};
struct Deposit {
  using Reply = Balance;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Deposit, cents);
};
struct Withdraw {
  using Reply = Balance;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Withdraw, cents);
};
struct Transfer {
  using Reply = Done;
  std::string to;
  std::int64_t cents = 0;
  CATGA_MESSAGE(Transfer, to, cents);
};
struct Break {
  using Reply = bool;
  std::string how;
  CATGA_MESSAGE(Break, how);
};
struct GetBalance {
  using Reply = Balance;
  CATGA_MESSAGE(GetBalance);
};
struct GetKey {
  using Reply = std::string;
  CATGA_MESSAGE(GetKey);
};
struct Close {
  using Reply = Done;
  CATGA_MESSAGE(Close);
};
struct Stranger {
  using Reply = Done;
  CATGA_MESSAGE(Stranger);
};

class Account {
 public:
  static constexpr std::string_view kind = "account";
  using Handles = Messages<Deposit, Withdraw, Transfer, Break, GetBalance, GetKey, Close>;
  struct State {
    std::int64_t cents = 0;
    CATGA_FIELDS(cents);
  } state;

  Balance on(const Deposit& deposit) {
    state.cents += deposit.cents;
    return {state.cents};
  }
  Result<Balance> on(Turn& turn, const Withdraw& withdraw) {
    turn.passivate();
    if (withdraw.cents > state.cents) return reject("insufficient funds");
    state.cents -= withdraw.cents;
    return Balance{state.cents};
  }
  Done on(Turn& turn, const Transfer& transfer) {
    state.cents -= transfer.cents;
    turn.tell<Account>(transfer.to, Deposit{transfer.cents});
    turn.tell(turn.ref<Account>("log"), Deposit{0});
    turn.after(5min, Close{}, "close");
    turn.at(turn.now() + 1s + 1ns, Close{});
    turn.cancel("old");
    return {};
  }
  bool on(Turn& turn, const Break& wanted) {
    turn.tell<Account>("x", Deposit{1});
    if (wanted.how == "timer") turn.after(1s, Stranger{});
    if (wanted.how == "query timer") turn.after(1s, GetBalance{});
    if (wanted.how == "number") throw 7;
    if (wanted.how == "throw") throw std::runtime_error("the roof is on fire");
    return true;
  }
  Balance on(const GetBalance&) const { return {state.cents}; }
  std::string on(const Turn& turn, const GetKey&) const { return turn.key(); }
  Result<Done> on(Turn& turn, const Close&) {
    turn.erase();
    return Error{Code::timeout, "no answer from stock/x"};
  }
};

/// Runs one message as the runtime does.
struct Harness {
  Kind kind = kind_of<Account>();
  std::unique_ptr<Instance> instance = kind.make();
  TurnScope scope;

  Harness() {
    scope.entity = {"account", "alice"};
    scope.now_ms = 1'700'000'000'000;
  }
  template <class Message>
  HandlerEnd run(const Message& message) {
    return instance->run(kind.index_of(Message::catga_message_name()), encode(message), scope);
  }
};

}  // namespace

TEST_CASE("a handler is a plain method and is tested without a node") {
  Account account;
  CHECK(account.on(Deposit{500}).cents == 500);
  TurnScope scope;
  Turn turn(scope);
  CHECK(account.on(turn, Withdraw{200})->cents == 300);
  CHECK(account.on(turn, Withdraw{900}).error().code == Code::rejected);
}

TEST_CASE("a kind lists its messages, and const handlers are queries") {
  const Kind kind = kind_of<Account>();
  CHECK(kind.name == "account");
  REQUIRE(kind.messages.size() == 7);
  CHECK(kind.messages[0].name == "Deposit");
  CHECK_FALSE(kind.messages[0].query);
  CHECK_FALSE(kind.messages[1].query);
  CHECK(kind.messages[4].query);
  CHECK(kind.messages[5].query);
  CHECK(kind.index_of("GetBalance") == 4);
  CHECK(kind.index_of("Nonsense") == 7);
}

TEST_CASE("a message changes the state and is answered") {
  Harness harness;
  const HandlerEnd end = harness.run(Deposit{500});
  CHECK(end.kind == HandlerEnd::Kind::reply);
  CHECK(end.bytes == encode(Balance{500}));
  CHECK(harness.instance->encode() == encode(Account::State{500}));
  CHECK(harness.run(GetBalance{}).bytes == encode(Balance{500}));
  CHECK(harness.run(GetKey{}).bytes == encode(std::string("alice")));
}

TEST_CASE("the state is restored from its bytes, and from none to the default") {
  Harness harness;
  REQUIRE(harness.instance->restore(encode(Account::State{42})).ok());
  CHECK(harness.run(GetBalance{}).bytes == encode(Balance{42}));
  REQUIRE(harness.instance->restore("").ok());
  CHECK(harness.run(GetBalance{}).bytes == encode(Balance{0}));
  CHECK(harness.instance->restore("\xc1").error().code == Code::malformed);
}

TEST_CASE("a rejection carries its words and nothing else leaves the turn") {
  Harness harness;
  const HandlerEnd end = harness.run(Withdraw{1});
  CHECK(end.kind == HandlerEnd::Kind::rejected);
  CHECK(end.bytes == "insufficient funds");
  CHECK_FALSE(harness.scope.passivate);
}

TEST_CASE("any other error of a handler is a failure with its code in the words") {
  Harness harness;
  const HandlerEnd end = harness.run(Close{});
  CHECK(end.kind == HandlerEnd::Kind::failed);
  CHECK(end.bytes == "timeout: no answer from stock/x");
  CHECK_FALSE(harness.scope.erase);
}

TEST_CASE("a handler that throws has failed, and nothing it asked for is kept") {
  Harness harness;
  HandlerEnd end = harness.run(Break{"throw"});
  CHECK(end.kind == HandlerEnd::Kind::failed);
  CHECK(end.bytes == "the handler threw: the roof is on fire");
  CHECK(harness.scope.tells.empty());
  end = harness.run(Break{"number"});
  CHECK(end.kind == HandlerEnd::Kind::failed);
  CHECK(end.bytes == "the handler threw something that is not a std::exception");
}

TEST_CASE("a payload that cannot be decoded is malformed") {
  Harness harness;
  const HandlerEnd end =
      harness.instance->run(0, encode(GetBalance::Reply{1}).substr(1), harness.scope);
  CHECK(end.kind == HandlerEnd::Kind::malformed);
  CHECK(end.bytes.starts_with("Deposit: "));
}

TEST_CASE("a turn collects tells, timers and cancellations in order") {
  Harness harness;
  REQUIRE(harness.run(Transfer{"bob", 30}).kind == HandlerEnd::Kind::reply);
  const TurnScope& scope = harness.scope;
  REQUIRE(scope.tells.size() == 2);
  CHECK(text_of(scope.tells[0].entity) == "account/bob");
  CHECK(scope.tells[0].message == "Deposit");
  CHECK(scope.tells[0].payload == encode(Deposit{30}));
  CHECK(text_of(scope.tells[1].entity) == "account/log");
  REQUIRE(scope.timers.size() == 3);
  CHECK(scope.timers[0].name == "close");
  CHECK(scope.timers[0].due_ms == scope.now_ms + 300'000);
  CHECK(scope.timers[0].message == "Close");
  CHECK(scope.timers[1].name.empty());
  CHECK(scope.timers[1].due_ms == scope.now_ms + 1'001);
  CHECK(scope.timers[2].cancel);
  CHECK(scope.timers[2].name == "old");
}

TEST_CASE("a timer with a message the entity does not handle as a command is a failure") {
  Harness harness;
  HandlerEnd end = harness.run(Break{"timer"});
  CHECK(end.kind == HandlerEnd::Kind::failed);
  CHECK(end.bytes ==
        "a timer of account/alice carries Stranger, which account does not handle as a command");
  CHECK(harness.scope.timers.empty());
  end = harness.run(Break{"query timer"});
  CHECK(end.kind == HandlerEnd::Kind::failed);
}
