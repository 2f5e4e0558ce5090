// For tests of stores: waits for answers, and makes the small values that requests need.
#pragma once
#include <catga/persistence/stores.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace catga::testing {

/// A request under way. get() waits for the answer; a test that would wait for ever fails instead.
template <class Value>
class Pending {
 public:
  template <class Send>
  explicit Pending(Send send) : answer_(promise_->get_future()) {
    send(Then<Value>(
        [promise = promise_](Result<Value> result) { promise->set_value(std::move(result)); }));
  }
  Result<Value> get() {
    REQUIRE(answer_.wait_for(std::chrono::seconds{30}) == std::future_status::ready);
    return answer_.get();
  }

 private:
  // set_value throws on a second answer: "exactly once" is checked by the mere use of this class.
  std::shared_ptr<std::promise<Result<Value>>> promise_ =
      std::make_shared<std::promise<Result<Value>>>();
  std::future<Result<Value>> answer_;
};

template <class Value, class Send>
Result<Value> ask(Send send) {
  return Pending<Value>(std::move(send)).get();
}

/// The value; a test that got an error instead says which.
template <class Value>
Value must(Result<Value> result) {
  if (!result)
    FAIL("an error: " << std::string(name_of(result.error().code)) << ": " << result.error().text);
  return std::move(result).value();
}

/// Looks again and again until `condition` holds, at most 20 s. For what only the passing of real
/// time can bring.
template <class Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
  return false;
}

inline Incarnation node(std::uint64_t number) { return {0x1000 + number, 0xabcdef00 + number}; }
inline OperationId operation(std::uint64_t number) { return {0x2000 + number, number}; }
inline OperationRecord reply_record(std::string reply) {
  OperationRecord record;
  record.request_hash = 42;
  record.time_ms = 1'700'000'000'000;
  record.reply = std::move(reply);
  return record;
}

// ---- one call each, waiting
// ------------------------------------------------------------------------

inline Exchanged exchange(Stores& stores, ShardId shard, std::optional<OwnerToken> expected,
                          Incarnation owner, std::string nonce, std::uint64_t view = 1) {
  const Exchange wanted{shard, expected, owner, std::move(nonce), ViewVersion{view}};
  return must(ask<Exchanged>(
      [&](Then<Exchanged> then) { stores.owners().exchange(wanted, std::move(then)); }));
}
inline OwnerRecord record_of(Stores& stores, ShardId shard) {
  return must(ask<OwnerRecord>(
      [&](Then<OwnerRecord> then) { stores.owners().read(shard, std::move(then)); }));
}
inline OwnerToken claim(Stores& stores, ShardId shard, Incarnation owner,
                        std::string nonce = "claim") {
  const Exchanged claimed = exchange(stores, shard, std::nullopt, owner, std::move(nonce));
  REQUIRE(claimed.done);
  return *claimed.record.token;
}
inline Result<Committed> try_commit(Stores& stores, const Commit& commit) {
  return ask<Committed>(
      [&](Then<Committed> then) { stores.state().commit(commit, std::move(then)); });
}
inline Committed commit(Stores& stores, const Commit& commit) {
  return must(try_commit(stores, commit));
}
inline Loaded load(Stores& stores, const Load& wanted) {
  return must(
      ask<Loaded>([&](Then<Loaded> then) { stores.state().load(wanted, std::move(then)); }));
}
inline Commit commit_of(ShardId shard, OwnerToken token, std::string key, std::string expected,
                        std::string next, std::string state) {
  Commit commit;
  commit.shard = shard;
  commit.token = token;
  commit.entity = {"account", std::move(key)};
  commit.expected = std::move(expected);
  commit.next = std::move(next);
  commit.state = std::move(state);
  return commit;
}
inline Load load_of(ShardId shard, OwnerToken token, std::string key) {
  Load wanted;
  wanted.shard = shard;
  wanted.token = token;
  wanted.entity = {"account", std::move(key)};
  return wanted;
}
inline Join join_of(std::uint64_t number, std::string name, MemberState state = MemberState::warm) {
  Join join;
  join.member.incarnation = node(number);
  join.member.state = state;
  join.member.name = std::move(name);
  join.member.weight = 1;
  join.member.app_version = "1.0";
  join.member.host = "here";
  join.member.joined_ms = 1'700'000'000'000;
  join.fingerprint = "fp";
  join.new_id = "cluster-id";
  join.telemetry = "{}";
  join.session_ttl = std::chrono::seconds{60};
  return join;
}
inline Joined join(Stores& stores, const Join& wanted) {
  return must(
      ask<Joined>([&](Then<Joined> then) { stores.members().join(wanted, std::move(then)); }));
}
inline StateChanged set_state(Stores& stores, Incarnation who, NextState next) {
  return must(ask<StateChanged>(
      [&](Then<StateChanged> then) { stores.members().set_state(who, next, std::move(then)); }));
}
inline Evicted evict(Stores& stores, Incarnation voter, Incarnation target, Evidence evidence,
                     std::chrono::milliseconds hold = std::chrono::milliseconds{0}) {
  return must(ask<Evicted>([&](Then<Evicted> then) {
    stores.members().evict(voter, target, evidence, hold, std::move(then));
  }));
}
inline MembershipView view_of(Stores& stores) {
  return must(ask<MembershipView>(
      [&](Then<MembershipView> then) { stores.members().read_view(std::move(then)); }));
}
inline Renewed renew(Stores& stores, Incarnation who,
                     std::chrono::milliseconds ttl = std::chrono::seconds{60}) {
  return must(ask<Renewed>(
      [&](Then<Renewed> then) { stores.members().renew(who, "{}", ttl, std::move(then)); }));
}
inline Reaped reap(Stores& stores, Incarnation who) {
  return must(ask<Reaped>([&](Then<Reaped> then) { stores.members().reap(who, std::move(then)); }));
}
inline Seen first_seen(Stores& stores, const FirstSeen& wanted) {
  return must(
      ask<Seen>([&](Then<Seen> then) { stores.state().first_seen(wanted, std::move(then)); }));
}
inline OutboxPage outbox(Stores& stores, ShardId shard, OwnerToken token, std::string after = "",
                         std::size_t limit = 100) {
  return must(ask<OutboxPage>([&](Then<OutboxPage> then) {
    stores.state().read_outbox(shard, token, after, limit, std::move(then));
  }));
}
inline bool trim(Stores& stores, ShardId shard, OwnerToken token, std::string through) {
  return must(ask<bool>([&](Then<bool> then) {
    stores.state().trim_outbox(shard, token, through, std::move(then));
  }));
}
inline TimerPage timers(Stores& stores, ShardId shard, OwnerToken token, std::int64_t until,
                        std::size_t limit = 100) {
  return must(ask<TimerPage>([&](Then<TimerPage> then) {
    stores.state().read_timers(shard, token, until, limit, std::move(then));
  }));
}

}  // namespace catga::testing
