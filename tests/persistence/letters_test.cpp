// Dead letters, in memory and in Redis: sequences in order, bounded, fenced, safe to repeat.
#include <catga/persistence/letters.hpp>

#include "both_stores.hpp"

namespace catga::testing {
namespace {

const ShardId shard{5};

OwnerToken claimed(Stores& stores, std::uint64_t node, std::optional<OwnerToken> expected = {}) {
  const Exchange exchange{shard, expected, Incarnation{node, node}, "n" + std::to_string(node),
                          {},    {}};
  return *must(ask<Exchanged>([&](Then<Exchanged> then) {
            stores.owners().exchange(exchange, std::move(then));
          })).record.token;
}
LetterBox box(OwnerToken token, const std::string& source = "account/a") {
  return {shard, token, "mailer:" + source};
}
LetterAnswer park(Stores& stores, const LetterBox& to, std::uint64_t expected,
                  std::vector<std::string> letters, std::uint64_t cap = 100) {
  return must(ask<LetterAnswer>([&](Then<LetterAnswer> then) {
    stores.letters()->park(to, expected, cap, 1000 + static_cast<std::int64_t>(expected), letters,
                           std::move(then));
  }));
}
LetterAnswer take(Stores& stores, const LetterBox& from, const std::string& letter) {
  return must(ask<LetterAnswer>(
      [&](Then<LetterAnswer> then) { stores.letters()->take(from, letter, std::move(then)); }));
}
Letters read(Stores& stores, const LetterBox& from, std::uint64_t limit = 100) {
  return must(ask<Letters>(
      [&](Then<Letters> then) { stores.letters()->read(from, limit, std::move(then)); }));
}
Letters last(Stores& stores, const LetterBox& of) {
  return must(
      ask<Letters>([&](Then<Letters> then) { stores.letters()->read_last(of, std::move(then)); }));
}
LetterBoxes boxes(Stores& stores, OwnerToken token) {
  return must(ask<LetterBoxes>(
      [&](Then<LetterBoxes> then) { stores.letters()->boxes(shard, token, std::move(then)); }));
}
using Outcome = LetterAnswer::Outcome;

}  // namespace

TEST_CASE("letters are parked in order, and a repeat of the same call is seen") {
  on_both([](Stores& stores) {
    const OwnerToken token = claimed(stores, 1);
    CHECK(park(stores, box(token), 0, {"one"}).length == 1);
    const LetterAnswer again = park(stores, box(token), 0, {"one"});
    CHECK(again.outcome == Outcome::conflict);
    CHECK(again.length == 1);
    CHECK(park(stores, box(token), 1, {"two", "three"}).length == 3);
    CHECK(read(stores, box(token)).letters == std::vector<std::string>{"one", "two", "three"});
    CHECK(read(stores, box(token), 1).letters == std::vector<std::string>{"one"});
    CHECK(read(stores, box(token, "account/b")).letters.empty());
    CHECK(last(stores, box(token)).letters == std::vector<std::string>{"three"});
    CHECK(last(stores, box(token, "account/b")).letters.empty());
  });
}

TEST_CASE("a sequence that is full takes no more letters") {
  on_both([](Stores& stores) {
    const OwnerToken token = claimed(stores, 1);
    CHECK(park(stores, box(token), 0, {"one", "two"}, 2).outcome == Outcome::ok);
    const LetterAnswer full = park(stores, box(token), 2, {"three"}, 2);
    CHECK(full.outcome == Outcome::full);
    CHECK(full.length == 2);
  });
}

TEST_CASE("the head of a sequence is taken once, and the last takes the sequence with it") {
  on_both([](Stores& stores) {
    const OwnerToken token = claimed(stores, 1);
    park(stores, box(token), 0, {"one", "two"});
    CHECK(take(stores, box(token), "one").length == 1);
    CHECK(take(stores, box(token), "one").length == 1);  // a repeat
    CHECK(boxes(stores, token).boxes.size() == 1);
    CHECK(take(stores, box(token), "two").length == 0);
    CHECK(boxes(stores, token).boxes.empty());
    CHECK(take(stores, box(token), "two").length == 0);
  });
}

TEST_CASE("all sequences of a shard are listed, the oldest first, with their lengths") {
  on_both([](Stores& stores) {
    const OwnerToken token = claimed(stores, 1);
    park(stores, box(token, "account/z"), 0, {"one"});
    park(stores, box(token, "account/z"), 1, {"two"});
    must(ask<LetterAnswer>([&](Then<LetterAnswer> then) {
      stores.letters()->park(box(token, "account/a"), 0, 10, 2000, {"x"}, std::move(then));
    }));
    const LetterBoxes all = boxes(stores, token);
    REQUIRE(all.boxes.size() == 2);
    CHECK(all.boxes[0].name == "mailer:account/z");
    CHECK(all.boxes[0].since_ms == 1000);
    CHECK(all.boxes[0].length == 2);
    CHECK(all.boxes[1].name == "mailer:account/a");
    CHECK(all.boxes[1].length == 1);
  });
}

namespace {

/// Commits of an entity that tells: gives the ids of the entries in the outbox.
std::vector<std::string> told(Stores& stores, OwnerToken token, std::vector<std::string> entries) {
  Commit commit;
  commit.shard = shard;
  commit.token = token;
  commit.entity = {"account", "a"};
  commit.next = "1.a";
  commit.outbox = std::move(entries);
  return must(ask<Committed>(
                  [&](Then<Committed> then) { stores.state().commit(commit, std::move(then)); }))
      .outbox;
}
LetterAnswer park_tell(Stores& stores, OwnerToken token, const std::string& entry,
                       std::string letter, std::uint64_t cap = 100, std::uint64_t bytes = 1000,
                       const std::string& source = "account/a") {
  return must(ask<LetterAnswer>([&](Then<LetterAnswer> then) {
    stores.letters()->park_tell(
        {{shard, token, "$tells:" + source, true}, entry, 1000, cap, bytes, std::move(letter)},
        std::move(then));
  }));
}
std::vector<std::string> outbox(Stores& stores, OwnerToken token) {
  std::vector<std::string> all;
  const auto page = must(ask<OutboxPage>([&](Then<OutboxPage> then) {
    stores.state().read_outbox(shard, token, "", 100, std::move(then));
  }));
  for (const OutboxEntry& entry : page.entries) all.push_back(entry.bytes);
  return all;
}

}  // namespace

TEST_CASE("a tell leaves the outbox for its letters in one step, and is parked once for ever") {
  on_both([](Stores& stores) {
    const OwnerToken token = claimed(stores, 1);
    const LetterBox mine{shard, token, "$tells:account/a", true};
    const auto ids = told(stores, token, {"one", "two", "three"});
    REQUIRE(ids.size() == 3);
    CHECK(park_tell(stores, token, ids[1], "letter two").length == 1);
    CHECK(outbox(stores, token) == std::vector<std::string>{"one", "three"});
    CHECK(park_tell(stores, token, ids[1], "letter two").outcome == Outcome::already);
    CHECK(take(stores, mine, "letter two").length == 0);
    // A copy that comes late, when an operator has dealt with the letter, does not bring it back.
    CHECK(park_tell(stores, token, ids[1], "letter two").outcome == Outcome::already);
    CHECK(boxes(stores, token).boxes.empty());
    CHECK(park_tell(stores, token, ids[2], "letter three").length == 1);
    CHECK(park_tell(stores, token, ids[0], "letter one").length == 2);
    CHECK(read(stores, mine).letters == std::vector<std::string>{"letter three", "letter one"});
    CHECK(outbox(stores, token).empty());
  });
}

TEST_CASE("letters of tells are bounded by count and by bytes, and what finds no room stays") {
  on_both([](Stores& stores) {
    const OwnerToken token = claimed(stores, 1);
    const LetterBox mine{shard, token, "$tells:account/a", true};
    const auto ids = told(stores, token, {"one", "two", "three"});
    CHECK(park_tell(stores, token, ids[0], "12345", 1, 10).outcome == Outcome::ok);
    CHECK(park_tell(stores, token, ids[1], "1", 1, 10).outcome == Outcome::full);
    // The bytes are those of all sequences of the shard.
    CHECK(park_tell(stores, token, ids[1], "123456", 9, 10, "account/b").outcome == Outcome::full);
    CHECK(outbox(stores, token) == std::vector<std::string>{"two", "three"});
    CHECK(park_tell(stores, token, ids[1], "12345", 9, 10, "account/b").outcome == Outcome::ok);
    CHECK(park_tell(stores, token, ids[2], "1", 9, 10, "account/b").outcome == Outcome::full);
    CHECK(take(stores, mine, "12345").length == 0);
    CHECK(take(stores, mine, "12345").length == 0);  // a repeat gives no room a second time
    CHECK(park_tell(stores, token, ids[2], "123456", 9, 10, "account/b").outcome == Outcome::full);
    CHECK(park_tell(stores, token, ids[2], "12345", 9, 10, "account/b").outcome == Outcome::ok);
  });
}

namespace {

constexpr const char* timer = "e|account/a|bill";
void set_timer(Stores& stores, OwnerToken token, std::int64_t due, const std::string& before,
               const std::string& next) {
  Commit commit;
  commit.shard = shard;
  commit.token = token;
  commit.entity = {"account", "a"};
  commit.expected = before;
  commit.next = next;
  commit.timers.push_back({timer, due, "message"});
  const auto done = must(ask<Committed>(
      [&](Then<Committed> then) { stores.state().commit(commit, std::move(then)); }));
  REQUIRE(done.outcome == Committed::Outcome::ok);
}
LetterAnswer park_timer(Stores& stores, OwnerToken token, std::int64_t due,
                        const std::string& letter, std::uint64_t bytes = 1000) {
  return must(ask<LetterAnswer>([&](Then<LetterAnswer> then) {
    stores.letters()->park_timer(
        {{shard, token, "$tells:account/a", true}, timer, due, 1000, 100, bytes, letter},
        std::move(then));
  }));
}
std::size_t timers(Stores& stores, OwnerToken token) {
  return must(ask<TimerPage>([&](Then<TimerPage> then) {
           stores.state().read_timers(shard, token, 1'000'000, 100, std::move(then));
         }))
      .timers.size();
}

}  // namespace

TEST_CASE("a timer leaves the table for the letters in one step, unless it was set anew") {
  on_both([](Stores& stores) {
    const OwnerToken token = claimed(stores, 1);
    const LetterBox mine{shard, token, "$tells:account/a", true};
    CHECK(park_timer(stores, token, 500, "letter").outcome == Outcome::already);
    set_timer(stores, token, 500, "", "1.a");
    CHECK(park_timer(stores, token, 500, "letter", 5).outcome == Outcome::full);
    CHECK(timers(stores, token) == 1);
    CHECK(park_timer(stores, token, 500, "letter").outcome == Outcome::ok);
    CHECK(timers(stores, token) == 0);
    CHECK(read(stores, mine).letters == std::vector<std::string>{"letter"});
    set_timer(stores, token, 700, "1.a", "2.a");
    CHECK(park_timer(stores, token, 500, "letter").outcome == Outcome::already);
    CHECK(timers(stores, token) == 1);
    const OwnerToken next = claimed(stores, 2, token);
    CHECK(park_timer(stores, token, 700, "letter").outcome == Outcome::fenced);
    CHECK(timers(stores, next) == 1);
    CHECK(park_timer(stores, next, 700, "another").length == 2);
  });
}

TEST_CASE("an owner that was replaced parks no tell") {
  on_both([](Stores& stores) {
    const OwnerToken old = claimed(stores, 1);
    const auto ids = told(stores, old, {"one"});
    const OwnerToken token = claimed(stores, 2, old);
    CHECK(park_tell(stores, old, ids.at(0), "letter").outcome == Outcome::fenced);
    CHECK(outbox(stores, token) == std::vector<std::string>{"one"});
    CHECK(boxes(stores, token).boxes.empty());
  });
}

TEST_CASE("an owner that was replaced parks, reads and takes nothing") {
  on_both([](Stores& stores) {
    const OwnerToken old = claimed(stores, 1);
    park(stores, box(old), 0, {"one"});
    const OwnerToken token = claimed(stores, 2, old);
    CHECK(park(stores, box(old), 1, {"two"}).outcome == Outcome::fenced);
    CHECK(take(stores, box(old), "one").outcome == Outcome::fenced);
    CHECK(read(stores, box(old)).fenced);
    CHECK(boxes(stores, old).fenced);
    CHECK(read(stores, box(token)).letters == std::vector<std::string>{"one"});
  });
}

}  // namespace catga::testing
