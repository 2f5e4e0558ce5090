// The outbox relay: order, bound and trim, by example and against a naive model.
#include <catga/runtime/outbox_entry.hpp>
#include <catga/runtime/relay.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

using namespace catga;
using Verdict = Relay::Verdict;

namespace {

using Ids = std::vector<std::string>;

/// An event if `target` is "stream".
RelayEntry entry(const std::string& id, const std::string& source, const std::string& target) {
  RelayEntry made;
  made.stream_id = id;
  made.source = {"account", source};
  made.event = target == "stream";
  if (!made.event) made.target = {"account", target};
  made.operation = {7, 7};
  made.time_ms = 1000;
  made.message = "Deposit";
  made.payload = "payload of " + id;
  made.first_delivery = true;
  return made;
}

Ids ids_of(const std::vector<const RelayEntry*>& entries) {
  Ids ids;
  for (const RelayEntry* one : entries) ids.push_back(one->stream_id);
  return ids;
}

}  // namespace

TEST_CASE("an entry is handed out once, whole, until it is answered") {
  Relay relay;
  relay.add(entry("5-0", "alice", "bob"));
  const auto sent = relay.due(0);
  REQUIRE(sent.size() == 1);
  CHECK(sent[0]->source == EntityId{"account", "alice"});
  CHECK(sent[0]->target == EntityId{"account", "bob"});
  CHECK(sent[0]->operation == OperationId{7, 7});
  CHECK(sent[0]->payload == "payload of 5-0");
  CHECK(sent[0]->attempts == 1);
  CHECK(relay.due(1'000'000).empty());
  CHECK(relay.pending() == 1);
  relay.answered("5-0", Verdict::delivered, 0);
  CHECK(relay.due(1'000'000).empty());
  CHECK(relay.pending() == 0);
}

TEST_CASE("entries of one source to one target go one after the other, in stream order") {
  Relay relay;
  for (const std::string id : {"9-1", "9-2", "10-0"}) relay.add(entry(id, "alice", "bob"));
  CHECK(ids_of(relay.due(0)) == Ids{"9-1"});
  relay.answered("9-1", Verdict::delivered, 0);
  CHECK(ids_of(relay.due(0)) == Ids{"9-2"});
  relay.answered("9-2", Verdict::dead, 0);
  CHECK(ids_of(relay.due(0)) == Ids{"10-0"});
}

TEST_CASE("stream ids are compared as numbers, not as text") {
  Relay relay;
  relay.add(entry("10-0", "alice", "bob"));
  relay.add(entry("9-10", "carol", "bob"));
  relay.add(entry("9-9", "dave", "bob"));
  CHECK(ids_of(relay.due(0)) == Ids{"9-9", "9-10", "10-0"});
}

TEST_CASE("pairs of source and target do not wait for each other") {
  Relay relay;
  relay.add(entry("1-0", "alice", "bob"));
  relay.add(entry("2-0", "alice", "carol"));
  relay.add(entry("3-0", "dave", "bob"));
  relay.add(entry("4-0", "alice", "bob"));
  CHECK(ids_of(relay.due(0)) == Ids{"1-0", "2-0", "3-0"});
}

TEST_CASE("an entry to be sent again blocks its pair until the time given, and only its pair") {
  Relay relay;
  relay.add(entry("1-0", "alice", "bob"));
  relay.add(entry("2-0", "alice", "bob"));
  relay.add(entry("3-0", "alice", "carol"));
  CHECK(ids_of(relay.due(0)) == Ids{"1-0", "3-0"});
  CHECK_FALSE(relay.next_retry_ms().has_value());
  relay.answered("1-0", Verdict::again, 500);
  relay.answered("3-0", Verdict::delivered, 0);
  CHECK(relay.next_retry_ms() == 500);
  relay.add(entry("4-0", "alice", "carol"));
  CHECK(ids_of(relay.due(499)) == Ids{"4-0"});
  const auto again = relay.due(500);
  CHECK(ids_of(again) == Ids{"1-0"});
  CHECK(again[0]->attempts == 2);
  CHECK_FALSE(relay.next_retry_ms().has_value());
}

TEST_CASE("only the first sending of an entry of our own commit is a first delivery") {
  Relay relay;
  relay.add(entry("1-0", "alice", "bob"));
  RelayEntry read_back = entry("2-0", "carol", "bob");
  read_back.first_delivery = false;
  relay.add(read_back);
  const auto sent = relay.due(0);
  REQUIRE(sent.size() == 2);
  CHECK(sent[0]->first_delivery);
  CHECK_FALSE(sent[1]->first_delivery);
  relay.answered("1-0", Verdict::again, 10);
  const auto again = relay.due(10);
  REQUIRE(again.size() == 1);
  CHECK_FALSE(again[0]->first_delivery);
}

TEST_CASE("events of one source go one after the other, and those of others beside them") {
  Relay relay;
  relay.add(entry("1-0", "alice", "stream"));
  relay.add(entry("2-0", "alice", "stream"));
  relay.add(entry("3-0", "carol", "stream"));
  relay.add(entry("4-0", "alice", "bob"));
  CHECK(ids_of(relay.due(0)) == Ids{"4-0", "1-0", "3-0"});
  relay.answered("1-0", Verdict::again, 100);
  CHECK(relay.due(99).empty());  // the second does not overtake the first
  CHECK(ids_of(relay.due(100)) == Ids{"1-0"});
  relay.answered("1-0", Verdict::delivered, 0);
  CHECK(ids_of(relay.due(100)) == Ids{"2-0"});
}

TEST_CASE("tells go on while the stream takes no events, and events while no target answers") {
  Relay relay(2);
  for (int i = 1; i <= 4; ++i) {
    relay.add(entry(std::to_string(i) + "-0", "publisher " + std::to_string(i), "stream"));
    relay.add(entry(std::to_string(i) + "-1", "teller " + std::to_string(i), "bob"));
  }
  CHECK(ids_of(relay.due(0)) == Ids{"1-1", "2-1", "1-0", "2-0"});
  CHECK(relay.under_way() == 4);
  relay.answered("1-1", Verdict::delivered, 0);
  CHECK(ids_of(relay.due(0)) == Ids{"3-1"});
  relay.answered("2-0", Verdict::delivered, 0);
  CHECK(ids_of(relay.due(0)) == Ids{"3-0"});
}

TEST_CASE("the outbox is trimmed only as far as tells and events are delivered") {
  Relay relay;
  relay.add(entry("1-0", "alice", "stream"));
  relay.add(entry("2-0", "alice", "bob"));
  REQUIRE(relay.due(0).size() == 2);
  relay.answered("2-0", Verdict::delivered, 0);
  CHECK(relay.trim_through().empty());
  relay.answered("1-0", Verdict::delivered, 0);
  CHECK(relay.trim_through() == "2-0");
}

TEST_CASE("an entry of the outbox becomes a tell or an event of the relay, or is malformed") {
  PendingEvent event{{"account", "alice"}, {1, 2}, 7, Epoch{3}, 1000, "Emptied", "p", "t"};
  const Result<RelayEntry> made = relay_entry("1-0", bytes_of(event), true);
  REQUIRE(made.ok());
  CHECK(made->event);
  CHECK(made->stream_id == "1-0");
  CHECK(made->source == event.source);
  CHECK(made->operation == event.id);
  CHECK(made->number == 7);
  CHECK(made->epoch == Epoch{3});
  CHECK(made->message == "Emptied");
  CHECK(made->payload == "p");
  CHECK(made->trace == "t");
  CHECK(made->first_delivery);
  const PendingTell tell{{"account", "alice"}, {"account", "bob"}, {1, 2}, 1000, "Deposit", "p"};
  const Result<RelayEntry> told = relay_entry("1-0", bytes_of(tell), false);
  REQUIRE(told.ok());
  CHECK_FALSE(told->event);
  CHECK(told->target == tell.target);
  CHECK_FALSE(told->first_delivery);
  CHECK(told->trace.empty());
  PendingTell traced = tell;
  traced.trace = {1, 2, 3, 1};
  CHECK(relay_entry("1-0", bytes_of(traced), false)->trace == traced.trace.traceparent());
  CHECK(relay_entry("1-0", "rubbish", true).error().code == Code::malformed);
}

TEST_CASE("no more entries are under way than the bound, and the oldest go first") {
  Relay relay(2);
  relay.add(entry("1-0", "alice", "bob"));
  relay.add(entry("2-0", "carol", "bob"));
  relay.add(entry("3-0", "dave", "bob"));
  relay.add(entry("4-0", "alice", "bob"));
  CHECK(ids_of(relay.due(0)) == Ids{"1-0", "2-0"});
  CHECK(relay.under_way() == 2);
  CHECK(relay.due(0).empty());
  relay.answered("1-0", Verdict::delivered, 0);
  CHECK(ids_of(relay.due(0)) == Ids{"3-0"});
  relay.answered("2-0", Verdict::again, 100);  // a waiting retry holds no place
  CHECK(ids_of(relay.due(0)) == Ids{"4-0"});
}

TEST_CASE("sixty-four entries of a shard are under way unless told otherwise") {
  Relay relay;
  for (int i = 1; i <= 70; ++i) {
    relay.add(entry(std::to_string(i) + "-0", "source" + std::to_string(i), "bob"));
  }
  CHECK(relay.due(0).size() == 64);
}

TEST_CASE("the outbox is trimmed up to the first entry that is not done") {
  Relay relay;
  for (const std::string id : {"1-0", "1-1", "2-0", "10-0"})
    relay.add(entry(id, "alice", "to-" + id));
  CHECK(relay.due(0).size() == 4);
  CHECK(relay.trim_through().empty());
  relay.answered("1-1", Verdict::delivered, 0);
  CHECK(relay.trim_through().empty());
  relay.answered("1-0", Verdict::dead, 0);
  CHECK(relay.trim_through() == "1-1");
  relay.answered("10-0", Verdict::delivered, 0);
  CHECK(relay.trim_through() == "1-1");
  relay.trimmed("1-1");
  CHECK(relay.trim_through().empty());
  relay.answered("2-0", Verdict::again, 50);
  CHECK(relay.trim_through().empty());
  relay.answered("2-0", Verdict::delivered, 0);
  CHECK(relay.trim_through() == "10-0");
  relay.trimmed("10-0");
  CHECK(relay.trim_through().empty());
}

TEST_CASE(
    "a commit that is not answered yet holds the trim where it was when the commit was sent") {
  Relay relay;
  relay.add(entry("1-0", "alice", "bob"));
  const std::uint64_t slow = relay.hold();   // its entry will turn out to be 2-0
  const std::uint64_t quick = relay.hold();  // and this one's is 3-0
  relay.add(entry("3-0", "carol", "bob"));
  relay.release(quick);
  CHECK(relay.due(0).size() == 2);
  relay.answered("3-0", Verdict::delivered, 0);
  CHECK(relay.trim_through().empty());
  relay.answered("1-0", Verdict::delivered, 0);
  CHECK(relay.trim_through() == "1-0");
  relay.add(entry("2-0", "dave", "bob"));
  relay.release(slow);
  CHECK(relay.trim_through() == "1-0");
  CHECK(ids_of(relay.due(0)) == Ids{"2-0"});
  relay.answered("2-0", Verdict::delivered, 0);
  CHECK(relay.trim_through() == "3-0");
}

TEST_CASE("a hold from before the shard was lost does not end one taken after") {
  Relay relay;
  const std::uint64_t before = relay.hold();
  relay.clear();
  relay.hold();
  relay.release(before);
  relay.add(entry("1-0", "alice", "bob"));
  CHECK(relay.due(0).size() == 1);
  relay.answered("1-0", Verdict::delivered, 0);
  CHECK(relay.trim_through().empty());
}

TEST_CASE("an entry read back from the stream is not news until it is trimmed") {
  Relay relay;
  CHECK_FALSE(relay.known("1-0"));
  relay.add(entry("1-0", "alice", "bob"));
  CHECK(relay.known("1-0"));
  relay.add(entry("1-0", "alice", "bob"));
  CHECK(relay.pending() == 1);
  CHECK(relay.due(0).size() == 1);
  relay.add(entry("1-0", "alice", "bob"));
  CHECK(relay.due(0).empty());
  relay.answered("1-0", Verdict::delivered, 0);
  CHECK(relay.known("1-0"));
  relay.add(entry("1-0", "alice", "bob"));
  CHECK(relay.pending() == 0);
  relay.trimmed("1-0");
  CHECK_FALSE(relay.known("1-0"));
}

TEST_CASE(
    "an entry added after its id was trimmed is still delivered, and holds nothing back after") {
  Relay relay;
  relay.add(entry("5-0", "alice", "bob"));
  CHECK(relay.due(0).size() == 1);
  relay.answered("5-0", Verdict::delivered, 0);
  relay.trimmed("5-0");
  relay.add(entry("4-0", "carol", "bob"));
  CHECK(ids_of(relay.due(0)) == Ids{"4-0"});
  relay.answered("4-0", Verdict::delivered, 0);
  CHECK(relay.pending() == 0);
  CHECK(relay.trim_through().empty());
}

TEST_CASE("a late answer of an earlier attempt ends the wait for the next") {
  Relay relay;
  relay.add(entry("1-0", "alice", "bob"));
  relay.add(entry("2-0", "alice", "bob"));
  CHECK(relay.due(0).size() == 1);
  relay.answered("1-0", Verdict::again, 1000);
  relay.answered("1-0", Verdict::delivered, 0);
  CHECK_FALSE(relay.next_retry_ms().has_value());
  CHECK(ids_of(relay.due(0)) == Ids{"2-0"});
}

TEST_CASE("a late answer from before a take-over to a younger entry leaves the older one waiting") {
  Relay relay;
  relay.add(entry("1-0", "alice", "bob"));
  relay.add(entry("2-0", "alice", "bob"));
  CHECK(relay.due(0).size() == 1);
  relay.answered("1-0", Verdict::again, 1000);
  relay.answered("2-0", Verdict::delivered, 0);
  CHECK(relay.next_retry_ms() == 1000);
  CHECK(relay.due(999).empty());
  CHECK(ids_of(relay.due(1000)) == Ids{"1-0"});
}

TEST_CASE("answers to what is unknown, done or not under way change nothing") {
  Relay relay;
  relay.add(entry("1-0", "alice", "bob"));
  relay.answered("1-0", Verdict::again, 1000);  // never sent
  relay.answered("7-0", Verdict::delivered, 0);
  relay.answered("nonsense", Verdict::delivered, 0);
  CHECK_FALSE(relay.next_retry_ms().has_value());
  CHECK(ids_of(relay.due(0)) == Ids{"1-0"});
  relay.answered("1-0", Verdict::delivered, 0);
  relay.answered("1-0", Verdict::again, 1000);
  CHECK(relay.under_way() == 0);
  CHECK(relay.pending() == 0);
  CHECK_FALSE(relay.next_retry_ms().has_value());
}

TEST_CASE("the age of the outbox is that of the oldest entry not done") {
  Relay relay;
  CHECK_FALSE(relay.oldest_ms().has_value());
  RelayEntry late = entry("1-0", "alice", "bob");
  late.time_ms = 300;
  RelayEntry early = entry("2-0", "carol", "bob");
  early.time_ms = 200;
  relay.add(late);
  relay.add(early);
  CHECK(relay.oldest_ms() == 200);
  CHECK(relay.due(0).size() == 2);
  relay.answered("2-0", Verdict::delivered, 0);
  CHECK(relay.oldest_ms() == 300);
}

TEST_CASE("a cleared relay knows nothing and can begin again") {
  Relay relay(1);
  relay.add(entry("1-0", "alice", "bob"));
  relay.add(entry("2-0", "alice", "carol"));
  CHECK(relay.due(0).size() == 1);
  relay.answered("1-0", Verdict::again, 100);
  relay.clear();
  CHECK(relay.pending() == 0);
  CHECK(relay.under_way() == 0);
  CHECK_FALSE(relay.known("1-0"));
  CHECK_FALSE(relay.next_retry_ms().has_value());
  CHECK(relay.trim_through().empty());
  relay.add(entry("1-0", "alice", "bob"));
  relay.add(entry("2-0", "alice", "carol"));
  CHECK(ids_of(relay.due(0)) == Ids{"1-0"});  // the bound stays
}

// ---- against a naive model
// -----------------------------------------------------------------------

namespace {

/// The same meaning, written for reading: everything is found by looking at all entries.
class Model {
 public:
  enum class State { committed, waiting, under_way, done };
  struct Entry {
    std::string id;
    std::string source;
    std::string target;
    State state = State::committed;
    bool trimmed = false;
    unsigned attempts = 0;
    std::uint64_t hold = 0;  // while committed: taken when the commit was sent, ...
    std::size_t floor = 0;   // ... when so many entries, from the front, could be known
    bool is_event() const { return target == "stream"; }
  };

  explicit Model(std::size_t bound) : bound_(bound) {}

  Ids due(std::int64_t now) {
    Ids ids;
    for (const bool events : {false, true}) {
      for (std::size_t i = 0; i < entries.size(); ++i) {
        Entry& one = entries[i];
        if (one.is_event() != events || one.state != State::waiting) continue;
        if (under_way(events) >= bound_) continue;
        if (!first_of_pair(i) || retry_[pair_of(one)] > now) continue;
        retry_.erase(pair_of(one));
        one.state = State::under_way;
        ++one.attempts;
        ids.push_back(one.id);
      }
    }
    return ids;
  }

  std::size_t under_way(bool events) const {
    return static_cast<std::size_t>(std::ranges::count_if(entries, [events](const Entry& one) {
      return one.is_event() == events && one.state == State::under_way;
    }));
  }

  void again(Entry& one, std::int64_t retry_at) {
    one.state = State::waiting;
    retry_[pair_of(one)] = retry_at;
  }

  void finish(Entry& one) {
    one.state = State::done;
    retry_.erase(pair_of(one));
  }

  /// The last entry of those in front that are done, if it is still in the stream.
  std::string trim_through() const {
    std::size_t end = entries.size();
    for (const Entry& one : entries) {
      if (one.state == State::committed) end = std::min(end, one.floor);
    }
    std::string last;
    for (std::size_t i = 0; i < end && entries[i].state == State::done; ++i) {
      last = entries[i].trimmed ? std::string() : entries[i].id;
    }
    return last;
  }

  void trimmed(const std::string& id) {
    for (Entry& one : entries) {
      REQUIRE(one.state == State::done);
      one.trimmed = true;
      if (one.id == id) return;
    }
    FAIL("trimmed an entry that is not in the stream");
  }

  std::optional<std::int64_t> next_retry(std::int64_t now) const {
    std::optional<std::int64_t> next;
    for (const auto& [pair, at] : retry_) {
      if (at > now && (!next || at < *next)) next = at;
    }
    return next;
  }

  /// The shard comes back: all that is in the stream is read again, nothing is under way.
  void take_over() {
    for (Entry& one : entries) {
      if (!one.trimmed) one.state = State::waiting;
      one.attempts = 0;
    }
    retry_.clear();
  }

  std::size_t count(State state) const {
    return static_cast<std::size_t>(std::ranges::count(entries, state, &Entry::state));
  }

  std::deque<Entry> entries;  // in stream order

 private:
  static std::string pair_of(const Entry& one) { return one.source + ">" + one.target; }

  bool first_of_pair(std::size_t index) const {
    for (std::size_t i = 0; i < index; ++i) {
      const bool open = entries[i].state == State::waiting || entries[i].state == State::under_way;
      if (open && pair_of(entries[i]) == pair_of(entries[index])) return false;
    }
    return true;
  }

  std::size_t bound_;
  std::map<std::string, std::int64_t> retry_;
};

using State = Model::State;

/// Drives relay and model with the same random events and compares all they say after each.
class Duel {
 public:
  explicit Duel(std::uint32_t seed)
      : random_(seed), bound_(1 + seed % 7), relay_(bound_), model_(bound_) {}

  void step() {
    const unsigned dice = below(100);
    if (dice < 30)
      commit();
    else if (dice < 50)
      add();
    else if (dice < 65)
      send();
    else if (dice < 85)
      answer();
    else if (dice < 88)
      answer_late();
    else if (dice < 94)
      now_ += below(40);
    else if (dice < 99)
      trim();
    else if (below(5) == 0)
      take_over();
    compare();
  }

  void drain() {
    while (model_.count(State::committed) > 0) add();
    for (int round = 0; round < 100'000 && relay_.pending() > 0; ++round) {
      send();
      answer();
      now_ += 5;
      compare();
    }
    trim();
    compare();
    CHECK(relay_.pending() == 0);
    CHECK(model_.count(State::done) == model_.entries.size());
    for (const Model::Entry& one : model_.entries) REQUIRE(one.trimmed);
  }

  std::size_t committed() const { return model_.entries.size(); }
  int take_overs() const { return take_overs_; }
  int trims() const { return trims_; }

 private:
  unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }

  /// A new entry in the stream, which the relay has not been given yet.
  void commit() {
    if (below(3) == 0) {
      ++ms_;
      sequence_ = 0;
    }
    Model::Entry made;
    made.id = std::to_string(ms_) + "-" + std::to_string(sequence_++);
    made.source = std::string(1, static_cast<char>('a' + below(4)));
    made.target = below(3) == 0 ? "stream" : std::string(1, static_cast<char>('x' + below(2)));
    made.hold = relay_.hold();
    made.floor = known_;
    model_.entries.push_back(made);
  }

  /// The oldest entry of any one source reaches the relay: across sources they may overtake.
  void add() {
    const std::string source(1, static_cast<char>('a' + below(4)));
    for (Model::Entry& one : model_.entries) {
      if (one.state != State::committed || one.source != source) continue;
      give(one, true);
      return;
    }
  }

  void give(Model::Entry& one, bool first) {
    RelayEntry made = entry(one.id, one.source, one.target);
    made.first_delivery = first;
    relay_.add(made);
    relay_.release(one.hold);
    one.state = State::waiting;
    const auto at = std::ranges::find(model_.entries, one.id, &Model::Entry::id);
    known_ = std::max(known_, static_cast<std::size_t>(at - model_.entries.begin()) + 1);
    first_[one.id] = first;
  }

  void send() {
    const auto sent = relay_.due(now_);
    REQUIRE(ids_of(sent) == model_.due(now_));
    for (const RelayEntry* one : sent) {
      REQUIRE(one->attempts == find(one->stream_id).attempts);
      REQUIRE(one->first_delivery == (first_[one->stream_id] && one->attempts == 1));
      REQUIRE(one->payload == "payload of " + one->stream_id);
    }
  }

  Model::Entry& find(const std::string& id) {
    return *std::ranges::find(model_.entries, id, &Model::Entry::id);
  }

  Model::Entry* any(State state) {
    const std::size_t found = model_.count(state);
    if (found == 0) return nullptr;
    std::size_t skip = below(static_cast<unsigned>(found));
    for (Model::Entry& one : model_.entries) {
      if (one.state == state && skip-- == 0) return &one;
    }
    return nullptr;
  }

  void answer() {
    Model::Entry* one = any(State::under_way);
    if (one == nullptr) return;
    const unsigned dice = below(10);
    if (dice < 4) {
      const std::int64_t retry_at = now_ + below(60);
      relay_.answered(one->id, Verdict::again, retry_at);
      model_.again(*one, retry_at);
    } else {
      relay_.answered(one->id, dice < 9 ? Verdict::delivered : Verdict::dead, now_ + 1000);
      model_.finish(*one);
    }
  }

  /// To an entry that is done, or whose retry waits: the second ends it, the rest is ignored.
  void answer_late() {
    if (Model::Entry* one = any(State::done)) {
      relay_.answered(one->id, below(2) == 0 ? Verdict::again : Verdict::delivered, now_ + 1);
    }
    Model::Entry* one = any(State::waiting);
    if (one == nullptr) return;
    relay_.answered(one->id, Verdict::again, now_ + 1);
    if (one->attempts == 0) return;
    relay_.answered(one->id, Verdict::delivered, 0);
    model_.finish(*one);
  }

  void trim() {
    const std::string through = relay_.trim_through();
    if (through.empty()) return;
    ++trims_;
    model_.trimmed(through);
    relay_.trimmed(through);
  }

  /// The owner ends and the shard comes back: the stream is all that is left.
  void take_over() {
    relay_.clear();
    known_ = 0;
    model_.take_over();
    for (Model::Entry& one : model_.entries) {
      if (!one.trimmed) give(one, false);
    }
    ++take_overs_;
  }

  void compare() {
    REQUIRE(relay_.pending() == model_.count(State::waiting) + model_.count(State::under_way));
    REQUIRE(relay_.under_way() == model_.count(State::under_way));
    REQUIRE(model_.under_way(false) <= bound_);
    REQUIRE(model_.under_way(true) <= bound_);
    REQUIRE(relay_.trim_through() == model_.trim_through());
    const auto next = relay_.next_retry_ms();
    if (next && *next > now_) REQUIRE(next == model_.next_retry(now_));
    if (!next) REQUIRE_FALSE(model_.next_retry(now_).has_value());
    for (const Model::Entry& one : model_.entries) {
      REQUIRE(relay_.known(one.id) == (one.state != State::committed && !one.trimmed));
    }
  }

  std::mt19937 random_;
  std::size_t bound_;
  Relay relay_;
  Model model_;
  std::map<std::string, bool> first_;
  std::int64_t now_ = 0;
  std::uint64_t ms_ = 8;  // so that ids grow from one digit to two
  std::uint64_t sequence_ = 0;
  std::size_t known_ = 0;  // entries up to the newest one given to the relay
  int take_overs_ = 0;
  int trims_ = 0;
};

}  // namespace

TEST_CASE("under random events the relay keeps order, bound and trim, and loses nothing") {
  constexpr std::uint32_t first_seed = 4242;
  MESSAGE("seeds from " << first_seed);
  std::size_t committed = 0;
  int take_overs = 0;
  int trims = 0;
  for (std::uint32_t seed = first_seed; seed < first_seed + 40; ++seed) {
    CAPTURE(seed);
    Duel duel(seed);
    for (int i = 0; i < 250; ++i) duel.step();
    duel.drain();
    committed += duel.committed();
    take_overs += duel.take_overs();
    trims += duel.trims();
  }
  CHECK(committed > 2000);  // the test did something
  CHECK(take_overs > 10);
  CHECK(trims > 100);
}
