// Handlers that wait: asks, ends of every sort, and frames destroyed where they stand. Run under
// the address sanitizer too: most of what can go wrong here is a frame that lives too long or too
// short.
#include <catga/entities/entity.hpp>

#include <doctest/doctest.h>

#include <stdexcept>

using namespace catga;

namespace {

struct Reserved {
  std::string slip;
  std::int64_t left = 0;
  CATGA_FIELDS(slip, left);
};
struct Reserve {
  using Reply = Reserved;
  std::string article;
  std::int64_t count = 0;
  CATGA_MESSAGE(Reserve, article, count);
};
struct GetLeft {
  using Reply = std::int64_t;
  CATGA_MESSAGE(GetLeft);
};
class Stock {
 public:
  static constexpr std::string_view kind = "stock";
  using Handles = Messages<Reserve, GetLeft>;
  struct State {
    std::int64_t left = 0;
    CATGA_FIELDS(left);
  } state;
  Reserved on(const Reserve& reserve) { return {reserve.article, state.left -= reserve.count}; }
  std::int64_t on(const GetLeft&) const { return state.left; }
};

struct Bought {
  std::string text;
  CATGA_FIELDS(text);
};
/// `mode` says what the handler does; long texts defeat the small string buffer, so that a double
/// free shows.
struct Buy {
  using Reply = Bought;
  std::string mode;
  CATGA_MESSAGE(Buy, mode);
};
const std::string long_text = "a text that is too long for the buffer inside a std::string";

class Customer {
 public:
  static constexpr std::string_view kind = "customer";
  using Handles = Messages<Buy>;
  struct State {
    std::vector<std::string> bought;
    CATGA_FIELDS(bought);
  } state;

  Task<Bought> on(Turn& turn, const Buy& buy) {
    const Ref<Stock> stock = turn.ref<Stock>("pens");
    const std::shared_ptr<int> witness = frames;  // counts the frames alive
    if (buy.mode == "at once") co_return Bought{long_text};
    if (buy.mode == "reject at once") co_return reject(long_text);
    if (buy.mode == "throw at once") throw std::runtime_error(long_text);
    const Result<Reserved> first = co_await turn.ask<Reserve>(stock, long_text, 3);
    if (!first) co_return first.error();
    state.bought.push_back(first->slip);
    if (buy.mode == "reject") co_return reject("sold out, " + first->slip);
    if (buy.mode == "throw") throw std::runtime_error("thrown after " + first->slip);
    if (buy.mode == "in one expression") {
      co_return reject(
          (co_await turn.ask<Reserve>(turn.ref<Stock>("ink"), std::string(long_text), 1))->slip);
    }
    if (buy.mode == "helper") {
      const Result<std::int64_t> left = co_await left_in(turn, stock);
      co_return Bought{std::to_string(left.value())};
    }
    const Reserve again{long_text, 1};
    const Result<Reserved> second = co_await turn.ask(stock, again);
    turn.tell(stock, again);
    co_return Bought{first->slip + std::to_string(second->left) + buy.mode};
  }

  inline static const std::shared_ptr<int> frames = std::make_shared<int>();

 private:
  static Task<std::int64_t> left_in(Turn& turn, Ref<Stock> stock) {
    const GetLeft question;
    const Result<std::int64_t> left = co_await turn.ask(stock, question);
    if (!left) co_return left.error();
    if (*left < 0) throw std::logic_error("less than nothing");
    co_return *left * 2;
  }
};

struct Asked {
  EntityId entity;
  std::string message;
  std::string payload;
  bool query;
  Answered answered;
};

struct Harness {
  Kind kind = kind_of<Customer>();
  std::unique_ptr<Instance> instance = kind.make();
  TurnScope scope;
  std::vector<Asked> asked;
  std::vector<HandlerEnd> ended;

  Harness() {
    scope.entity = {"customer", "carol"};
    scope.ask = [this](EntityId entity, std::string message, std::string payload, bool query,
                       Answered answered) {
      asked.push_back(
          {std::move(entity), std::move(message), std::move(payload), query, std::move(answered)});
    };
    scope.finished = [this](HandlerEnd end) { ended.push_back(std::move(end)); };
  }
  HandlerEnd run(std::string mode) { return instance->run(0, encode(Buy{std::move(mode)}), scope); }
  template <class Reply>
  void answer(std::size_t number, const Reply& reply) {
    const Answered answered =
        asked.at(number).answered;  // a copy: the handler may ask again meanwhile
    answered(Result<std::string>(encode(reply)));
  }
};

constexpr auto suspended = HandlerEnd::Kind::suspended;
constexpr auto reply = HandlerEnd::Kind::reply;
constexpr auto rejected = HandlerEnd::Kind::rejected;
constexpr auto failed = HandlerEnd::Kind::failed;

}  // namespace

TEST_CASE("a coroutine that does not wait ends like a plain handler") {
  Harness harness;
  HandlerEnd end = harness.run("at once");
  CHECK(end.kind == reply);
  CHECK(end.bytes == encode(Bought{long_text}));
  end = harness.run("reject at once");
  CHECK(end.kind == rejected);
  CHECK(end.bytes == long_text);
  end = harness.run("throw at once");
  CHECK(end.kind == failed);
  CHECK(end.bytes == "the handler threw: " + long_text);
  CHECK(harness.asked.empty());
  CHECK(harness.ended.empty());
}

TEST_CASE("a handler asks twice, then replies") {
  Harness harness;
  REQUIRE(harness.run("twice").kind == suspended);
  REQUIRE(harness.asked.size() == 1);
  CHECK(text_of(harness.asked[0].entity) == "stock/pens");
  CHECK(harness.asked[0].message == "Reserve");
  CHECK(harness.asked[0].payload == encode(Reserve{long_text, 3}));
  CHECK_FALSE(harness.asked[0].query);
  harness.answer(0, Reserved{"slip 1, ", 7});
  REQUIRE(harness.asked.size() == 2);
  CHECK(harness.ended.empty());
  harness.answer(1, Reserved{"slip 2", 6});
  REQUIRE(harness.ended.size() == 1);
  CHECK(harness.ended[0].kind == reply);
  CHECK(harness.ended[0].bytes == encode(Bought{"slip 1, 6twice"}));
  CHECK(harness.instance->encode() == encode(Customer::State{{"slip 1, "}}));
  CHECK(harness.scope.tells.size() == 1);
  CHECK(harness.run("at once").kind == reply);  // free for the next message
}

TEST_CASE("a handler may reject or throw after an ask") {
  Harness harness;
  harness.run("reject");
  harness.answer(0, Reserved{long_text, 0});
  REQUIRE(harness.ended.size() == 1);
  CHECK(harness.ended[0].kind == rejected);
  CHECK(harness.ended[0].bytes == "sold out, " + long_text);
  harness.run("throw");
  harness.answer(1, Reserved{long_text, 0});
  REQUIRE(harness.ended.size() == 2);
  CHECK(harness.ended[1].kind == failed);
  CHECK(harness.ended[1].bytes == "the handler threw: thrown after " + long_text);
}

TEST_CASE("an ask that fails gives its Error to the handler, and a rejection passed on stays one") {
  Harness harness;
  harness.run("twice");
  harness.asked[0].answered(Error{Code::timeout, "no answer from stock/pens"});
  CHECK(harness.ended.at(0).kind == failed);
  CHECK(harness.ended.at(0).bytes == "timeout: no answer from stock/pens");
  harness.run("twice");
  harness.asked[1].answered(reject("closed"));
  CHECK(harness.ended.at(1).kind == rejected);
  CHECK(harness.ended.at(1).bytes == "closed");
  harness.run("twice");
  harness.asked[2].answered(Result<std::string>("\xc1"));
  CHECK(harness.ended.at(2).kind == failed);
  CHECK(harness.ended.at(2).bytes == "malformed: in the reply: not msgpack, or cut off");
}

TEST_CASE("temporaries with a constructor in a co_await expression are destroyed once") {
  Harness harness;
  harness.run("in one expression");
  harness.answer(0, Reserved{long_text, 0});
  CHECK(text_of(harness.asked.at(1).entity) == "stock/ink");
  harness.answer(1, Reserved{long_text + "!", 0});
  CHECK(harness.ended.at(0).kind == rejected);
  CHECK(harness.ended.at(0).bytes == long_text + "!");
}

TEST_CASE("a handler may await a task of its own that asks") {
  Harness harness;
  REQUIRE(harness.run("helper").kind == suspended);
  harness.answer(0, Reserved{long_text, 0});
  REQUIRE(harness.asked.size() == 2);
  CHECK(harness.asked[1].message == "GetLeft");
  CHECK(harness.asked[1].query);
  harness.answer(1, std::int64_t{21});
  CHECK(harness.ended.at(0).bytes == encode(Bought{"42"}));
}

TEST_CASE("abandoning destroys the coroutine where it stands, and late answers find nothing") {
  Harness harness;
  for (const std::string mode : {"twice", "helper"}) {
    harness.asked.clear();
    REQUIRE(harness.run(mode).kind == suspended);
    if (mode == "helper") harness.answer(0, Reserved{long_text, 0});  // now inside the inner task
    CHECK(Customer::frames.use_count() == 2);
    harness.instance->abandon();
    CHECK(Customer::frames.use_count() == 1);
    harness.answer(harness.asked.size() - 1, Reserved{long_text, 0});
    CHECK(harness.ended.empty());
    CHECK(harness.run("at once").kind == reply);
  }
}

TEST_CASE("destroying an instance destroys its suspended coroutine") {
  Harness harness;
  REQUIRE(harness.run("twice").kind == suspended);
  harness.instance.reset();
  CHECK(Customer::frames.use_count() == 1);
  harness.answer(0, Reserved{long_text, 0});
  CHECK(harness.ended.empty());
  CHECK(harness.asked.size() == 1);
}

TEST_CASE("a second answer to the same ask is ignored") {
  Harness harness;
  harness.run("twice");
  harness.answer(0, Reserved{"first", 0});
  harness.answer(0, Reserved{"second", 0});
  REQUIRE(harness.asked.size() == 2);
  CHECK(harness.ended.empty());
  harness.answer(1, Reserved{"", 5});
  CHECK(harness.ended.at(0).bytes == encode(Bought{"first5twice"}));
}

TEST_CASE("the runtime may drop the instance while it is told of the end") {
  Harness harness;
  harness.scope.finished = [&harness](HandlerEnd end) {
    harness.ended.push_back(std::move(end));
    harness.instance.reset();
  };
  harness.run("reject");
  harness.answer(0, Reserved{long_text, 0});
  CHECK(harness.ended.size() == 1);
  CHECK(harness.instance == nullptr);
  CHECK(Customer::frames.use_count() == 1);
}

TEST_CASE("turn.ask without a node is answered with what to do, not with a crash") {
  TurnScope scope;
  Turn turn(scope);
  Customer customer;
  const Buy buy{"twice"};
  Task<Bought> task = customer.on(turn, buy);
  task.start();
  REQUIRE(task.done());
  const Result<Bought> result = task.take();
  CHECK(result.error().code == Code::failed);
  CHECK(result.error().text.find("stock/pens") != std::string::npos);
}
