// The test kit as its users have it: one header, entities with every kind of output, crashes, timers, other entities.
#include <catga/testing.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using catga::test::Crash;
using catga::test::EntityTest;
using catga::test::Handled;

namespace {

struct Emptied {
  std::int64_t times = 0;
  CATGA_MESSAGE(Emptied, times);
};
struct Write {
  using Reply = catga::Done;
  std::string text;
  CATGA_MESSAGE(Write, text);
};
struct Fill {
  using Reply = std::int64_t;
  std::int64_t litres = 0;
  CATGA_MESSAGE(Fill, litres);
};
struct Drink {
  using Reply = std::int64_t;
  std::int64_t litres = 0;
  CATGA_MESSAGE(Drink, litres);
};
struct Leak {
  using Reply = std::int64_t;
  CATGA_MESSAGE(Leak);
};
struct Break {
  using Reply = catga::Done;
  CATGA_MESSAGE(Break);
};
struct Crack {
  using Reply = catga::Done;
  CATGA_MESSAGE(Crack);
};
struct Level {
  using Reply = std::int64_t;
  CATGA_MESSAGE(Level);
};
struct Pour {
  using Reply = std::int64_t;
  std::string to;
  std::int64_t litres = 0;
  CATGA_MESSAGE(Pour, to, litres);
};

class Barrel {
 public:
  static constexpr std::string_view kind = "barrel";
  using Handles = catga::Messages<Fill, Drink, Leak, Break, Crack, Level, Pour>;
  struct State {
    std::int64_t litres = 0;
    std::int64_t emptied = 0;
    CATGA_FIELDS(litres, emptied);
  } state;

  std::int64_t on(catga::Turn& turn, const Fill& fill) {
    state.litres += fill.litres;
    turn.every("leak", 1h, Leak{});
    return state.litres;
  }
  catga::Result<std::int64_t> on(catga::Turn& turn, const Drink& drink) {
    turn.tell<Book>("drinks", Write{"before"});  // goes nowhere if the turn is rejected
    if (drink.litres > state.litres) return catga::reject("too thirsty");
    state.litres -= drink.litres;
    if (state.litres == 0) empty(turn);
    return state.litres;
  }
  std::int64_t on(catga::Turn& turn, const Leak&) {
    state.litres -= 1;
    if (state.litres == 0) empty(turn);
    return state.litres;
  }
  catga::Done on(const Break&) {
    if (state.litres == 7) return {};
    throw std::runtime_error("a stave is broken");
  }
  catga::Done on(catga::Turn& turn, const Crack&) {
    turn.after(0s, Break{});
    return {};
  }
  std::int64_t on(const Level&) const { return state.litres; }
  catga::Task<std::int64_t> on(catga::Turn& turn, const Pour& pour) {
    auto other = turn.ref<Barrel>(pour.to);
    catga::Result<std::int64_t> filled = co_await turn.ask<Fill>(other, pour.litres);
    if (filled.ok()) state.litres -= pour.litres;
    co_return state.litres;
  }

  class Book {
   public:
    static constexpr std::string_view kind = "book";
    using Handles = catga::Messages<Write>;
    struct State {
      std::int64_t lines = 0;
      CATGA_FIELDS(lines);
    } state;
    catga::Done on(const Write&) {
      state.lines += 1;
      return {};
    }
  };

 private:
  void empty(catga::Turn& turn) {
    state.emptied += 1;
    turn.publish(Emptied{state.emptied});
    turn.cancel("leak");
  }
};

}  // namespace

TEST_CASE("a turn shows its reply, its tells, its events and its timers") {
  EntityTest test;
  test.host<Barrel>();
  const auto filled = test.ask<Barrel>("red", Fill{2});
  REQUIRE(filled.reply.ok());
  CHECK(*filled.reply == 2);
  REQUIRE(filled.timers.size() == 1);
  CHECK(filled.timers[0].name == "leak");
  CHECK(filled.timers[0].after == 1h);
  CHECK(filled.timers[0].period == 1h);
  const auto drunk = test.ask<Barrel>("red", Drink{2});
  CHECK(drunk.told<Write>("drinks").size() == 1);
  CHECK(drunk.told<Write>("elsewhere").empty());
  REQUIRE(drunk.published<Emptied>().size() == 1);
  CHECK(drunk.published<Emptied>()[0].times == 1);
  REQUIRE(drunk.timers.size() == 1);
  CHECK(drunk.timers[0].cancelled);
  REQUIRE(test.events().size() == 1);
  CHECK(test.events()[0].number == 1);
}

TEST_CASE(
    "a rejected turn shows why, and that nothing left; a failed one and a query show no turn") {
  EntityTest test;
  test.host<Barrel>();
  const auto refused = test.ask<Barrel>("red", Drink{1});
  REQUIRE_FALSE(refused.reply.ok());
  CHECK(refused.reply.error().text == "too thirsty");
  CHECK(refused.rejected);
  CHECK(refused.why == "too thirsty");
  CHECK(refused.tells.empty());
  const auto broken = test.ask<Barrel>("red", Break{});
  CHECK(broken.reply.error().code == catga::Code::failed);
  CHECK(broken.message.empty());
  CHECK(*test.ask<Barrel>("red", Level{}).reply == 0);
  CHECK(test.turns().size() == 1);
}

TEST_CASE("timers fire when the clock is moved on, again and again, until they are cancelled") {
  EntityTest test;
  test.host<Barrel>();
  test.ask<Barrel>("red", Fill{3});
  const auto before = test.now();
  CHECK(test.advance(59min).empty());
  const std::vector<Handled> leaked = test.advance(61min);
  REQUIRE(leaked.size() == 2);
  CHECK(leaked[0].message == "Leak");
  CHECK(test.state<Barrel>("red").litres == 1);
  CHECK(test.advance(48h).size() == 1);  // the third empties it, and cancels
  CHECK(test.now() - before == 50h);
  CHECK(test.state<Barrel>("red").litres == 0);
}

TEST_CASE("whatever commit the owner dies at, each command takes effect once") {
  EntityTest counting;
  counting.host<Barrel>().host<Barrel::Book>();
  const auto story = [](EntityTest& test) {
    CHECK(*test.ask<Barrel>("red", Fill{5}).reply == 5);
    CHECK(*test.ask<Barrel>("red", Pour{"white", 2}).reply == 3);
    CHECK(*test.ask<Barrel>("red", Drink{3}).reply == 0);
    test.advance(30min);
    CHECK(test.state<Barrel>("red").emptied == 1);
    CHECK(test.state<Barrel>("white").litres == 2);
    CHECK(test.state<Barrel::Book>("drinks").lines == 1);
    CHECK(test.events().size() == 1);
  };
  story(counting);
  REQUIRE(counting.commits() >= 4);
  for (std::size_t n = 0; n < counting.commits(); ++n) {
    for (const Crash crash : {Crash::before_commit, Crash::after_commit}) {
      INFO((crash == Crash::before_commit ? "before" : "after") << " commit " << n);
      EntityTest test;
      test.host<Barrel>().host<Barrel::Book>();
      test.crash_at(n, crash);
      story(test);
    }
  }
}

TEST_CASE("a timer whose turn fails is tried again, later and later") {
  EntityTest test;
  test.host<Barrel>();
  test.ask<Barrel>("red", Crack{});
  CHECK(test.advance(10s).empty());
  CHECK(test.ask<Barrel>("red", Level{}).reply.ok());
  test.ask<Barrel>("red", Fill{7});  // it holds now
  CHECK(test.advance(3s).empty());
  const std::vector<Handled> mended = test.advance(10s);  // after 1, 2, 4 and 8 s
  REQUIRE(mended.size() == 1);
  CHECK(mended[0].message == "Break");
}

TEST_CASE("an owner may die between two commands") {
  EntityTest test;
  test.host<Barrel>();
  test.ask<Barrel>("red", Fill{5});
  test.crash();
  CHECK(*test.ask<Barrel>("red", Level{}).reply == 5);
  CHECK(test.advance(1h).size() == 1);  // its timer is there too
}
