// References against a messenger that only remembers.
#include <catga/entities/entity.hpp>
#include <catga/entities/operation.hpp>
#include <catga/entities/ref.hpp>

#include <doctest/doctest.h>

#include <thread>

using namespace catga;
using namespace std::chrono_literals;

namespace {

struct Put {
  using Reply = std::int64_t;
  std::string text;
  CATGA_MESSAGE(Put, text);
};
struct Look {
  using Reply = std::string;
  CATGA_MESSAGE(Look);
};
class Box {
 public:
  static constexpr std::string_view kind = "box";
  using Handles = Messages<Put, Look>;
  struct State {
    std::string text;
    CATGA_FIELDS(text);
  } state;
  std::int64_t on(const Put& put) {
    state.text = put.text;
    return 1;
  }
  std::string on(const Look&) const { return state.text; }
};

class Remembering final : public Messenger {
 public:
  void ask(Ask ask, Answered answered) override {
    asks.push_back(std::move(ask));
    if (by_thread) {
      std::thread([answered = std::move(answered), result = answer] { answered(result); }).detach();
    } else {
      answered(answer);
    }
  }
  Status tell(Ask tell) override {
    tells.push_back(std::move(tell));
    return told;
  }
  std::vector<Ask> asks;
  std::vector<Ask> tells;
  Result<std::string> answer = encode(std::int64_t{7});
  Status told = Done{};
  bool by_thread = false;
};

/// The smallest coroutine that is not a handler.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Detached put_later(Ref<Box> box, std::optional<Result<std::int64_t>>& out) {
  const Put put{"a text that is too long for the buffer inside a std::string"};
  out = co_await box.ask_async(put, AskOptions{.timeout = 3s});
}

}  // namespace

TEST_CASE("an ask carries names, payload, time-out and whether it is a query") {
  Remembering node;
  const Ref<Box> box(&node, "a/b");
  CHECK(box.key() == "a/b");
  CHECK(text_of(box.entity()) == "box/a/b");
  CHECK(box.ask(Put{"x"}, 2s).value() == 7);
  REQUIRE(node.asks.size() == 1);
  CHECK(text_of(node.asks[0].entity) == "box/a/b");
  CHECK(node.asks[0].message == "Put");
  CHECK(node.asks[0].payload == encode(Put{"x"}));
  CHECK(node.asks[0].timeout == 2s);
  CHECK_FALSE(node.asks[0].query);
  CHECK_FALSE(node.asks[0].operation);  // the messenger makes one
  node.answer = encode(std::string("x"));
  CHECK(box.ask(Look{}).value() == "x");
  CHECK(node.asks[1].query);
  CHECK(node.asks[1].timeout == 0ms);
}

TEST_CASE("a blocking ask waits for an answer from another thread") {
  Remembering node;
  node.by_thread = true;
  const Ref<Box> box(&node, "k");
  for (int i = 0; i < 50; ++i) CHECK(box.ask(Put{"x"}).value() == 7);
}

TEST_CASE("an error reaches the caller as it is, and a reply that cannot be read is malformed") {
  Remembering node;
  const Ref<Box> box(&node, "k");
  node.answer = Error{Code::overloaded, "box/k has 1000 messages waiting", 40ms};
  const Result<std::int64_t> overloaded = box.ask(Put{});
  CHECK(overloaded.error().code == Code::overloaded);
  CHECK(overloaded.error().retry_after == 40ms);
  node.answer = encode(true);
  const Result<std::int64_t> wrong = box.ask(Put{});
  CHECK(wrong.error().code == Code::malformed);
  CHECK(wrong.error().text.starts_with("in the reply: expected an integer"));
}

TEST_CASE("a caller may repeat with its own operation id, and then gives its time") {
  Remembering node;
  const Ref<Box> box(&node, "k");
  AskOptions options;
  options.operation = new_operation_id();
  CHECK(box.ask(Put{}, options).error().code == Code::malformed);
  CHECK(node.asks.empty());
  options.operation_time = std::chrono::system_clock::time_point(1'700'000'000'123ms);
  CHECK(box.ask(Put{}, options).ok());
  CHECK(box.ask(Put{}, options).ok());
  REQUIRE(node.asks.size() == 2);
  for (const Ask& ask : node.asks) {
    CHECK(ask.operation == options.operation);
    CHECK(ask.operation_ms == 1'700'000'000'123);
  }
}

TEST_CASE(
    "a key of the caller's makes one id for one message to one entity, whose time the owner "
    "knows") {
  Remembering node;
  const Ref<Box> box(&node, "k"), other(&node, "k2");
  const AskOptions order{.idempotency_key = "order-17"};
  CHECK(box.ask(Put{}, order).ok());
  CHECK(box.ask(Put{}, order).ok());
  CHECK(other.ask(Put{}, order).ok());
  CHECK(box.ask(Put{}, {.idempotency_key = "order-18"}).ok());
  REQUIRE(node.asks.size() == 4);
  CHECK(node.asks[0].operation == operation_of_key({"box", "k"}, "Put", "order-17"));
  CHECK(node.asks[0].operation_ms == 0);
  CHECK(node.asks[1].operation == node.asks[0].operation);
  CHECK(node.asks[2].operation != node.asks[0].operation);
  CHECK(node.asks[3].operation != node.asks[0].operation);
}

TEST_CASE("a callback gets the typed result once") {
  Remembering node;
  const Ref<Box> box(&node, "k");
  int calls = 0;
  box.ask_then(Put{"x"}, [&calls](Result<std::int64_t> result) {
    ++calls;
    CHECK(result.value() == 7);
  });
  CHECK(calls == 1);
  node.answer = Error{Code::unavailable, "no owner"};
  box.ask_then(Put{"x"},
               [&calls](const Result<std::int64_t>& result) {
                 ++calls;
                 CHECK(result.error().code == Code::unavailable);
               },
               {.timeout = 1s});
  CHECK(calls == 2);
  CHECK(node.asks[1].timeout == 1s);
}

TEST_CASE("a coroutine outside handlers can await an ask") {
  Remembering node;
  std::optional<Result<std::int64_t>> result;
  put_later(Ref<Box>(&node, "k"), result);
  REQUIRE(result.has_value());
  CHECK(result->value() == 7);
  CHECK(node.asks[0].timeout == 3s);
}

TEST_CASE("a tell is sent once and its refusal is told") {
  Remembering node;
  const Ref<Box> box(&node, "k");
  CHECK(box.tell(Put{"x"}).ok());
  REQUIRE(node.tells.size() == 1);
  CHECK(node.tells[0].payload == encode(Put{"x"}));
  node.told = Error{Code::overloaded, "full"};
  CHECK(box.tell(Put{"x"}).error().code == Code::overloaded);
}

TEST_CASE(
    "a reference from a turn is only a name: asking with it says so instead of blocking a "
    "handler") {
  TurnScope scope;
  const Turn turn(scope);
  const Ref<Box> box = turn.ref<Box>("k");
  CHECK(box == Ref<Box>(nullptr, "k"));
  CHECK(box.ask(Put{}).error().code == Code::failed);
  CHECK(box.tell(Put{}).error().text.find("turn.tell") != std::string::npos);
}
