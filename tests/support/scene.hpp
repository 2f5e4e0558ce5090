// One Activation on a stage: simulated time, a store in memory, and every load, commit and ask in
// the hand of the test, which decides when each runs and when its answer arrives.
#pragma once
#include <catga/entities/codec.hpp>
#include <catga/persistence/memory/memory_stores.hpp>
#include <catga/runtime/activation.hpp>
#include <catga/runtime/outbox_entry.hpp>

#include "account_entity.hpp"
#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace catga::testing {

/// A handler of a turn gets it, and none of these uses it.
class NoMessenger final : public Messenger {
 public:
  void ask(Ask, Answered) override { FAIL("a turn asks through its host"); }
  Status tell(Ask) override { return Done{}; }
};

/// How a message is sent; what is left out is made up.
struct How {
  OperationId operation{};
  std::optional<std::int64_t> time{};      ///< of the operation; cluster time
  std::optional<std::int64_t> deadline{};  ///< from now
  std::vector<EntityId> path{};
  SagaStep saga{};
};

class Scene final : public ActivationHost {
 public:
  static constexpr std::int64_t clock_difference = 1'700'000'000'000;

  explicit Scene(const ActivationLimits& bounds = {}) : limits(bounds) {
    token = claim(Incarnation{7, 7});
    activate();
  }

  // ---- the stage ----

  /// The owner record goes from whoever has it to `owner`.
  OwnerToken claim(Incarnation owner) {
    Exchange exchange;
    exchange.shard = shard;
    exchange.expected = standing();
    exchange.owner = owner;
    exchange.nonce = std::to_string(++nonce_);
    std::optional<OwnerToken> won;
    stores.owners().exchange(exchange,
                             [&won](Result<Exchanged> answer) { won = answer->record.token; });
    return *won;
  }
  std::optional<OwnerToken> standing() {
    std::optional<OwnerToken> found;
    stores.owners().read(shard, [&found](Result<OwnerRecord> answer) { found = answer->token; });
    return found;
  }
  /// The old one, if any, is gone as in a crash; requests under way stay under way.
  void activate() {
    activation.reset();
    for (SentCommit& sent : commits) sent.answered = true;  // nobody is there to hear
    for (SentLoad& sent : loads) sent.answered = true;
    activation =
        std::make_unique<Activation>(*this, kind, messenger_, limits, shard, entity, token);
    wake_at_ms_.reset();
  }
  /// Loads, so that the next message runs at once.
  void warm() {
    ask(Get{});
    run_load();
  }
  /// Time passes; the activation is woken when it asked to be.
  void advance(std::int64_t ms) {
    const std::int64_t end = now + ms;
    while (wake_at_ms_ && *wake_at_ms_ <= end) {
      now = std::max(now, *wake_at_ms_);
      wake_at_ms_.reset();
      activation->woken();
    }
    now = end;
  }
  std::int64_t cluster() const { return now + clock_difference; }

  // ---- messages ----

  OperationId new_id() { return OperationId{1, ++ids_}; }

  template <class Message>
  std::size_t ask(const Message& message, const How& how = {}) {
    Envelope envelope;
    const bool query = std::is_same_v<Message, Get>;
    envelope.kind = query ? MessageClass::query : MessageClass::ask;
    envelope.entity = entity;
    envelope.message = Message::catga_message_name();
    envelope.payload = encode(message);
    if (!query) {
      envelope.operation = how.operation ? how.operation : new_id();
      envelope.operation_ms = how.time.value_or(cluster());
    }
    envelope.deadline_ms = now + how.deadline.value_or(5000);
    envelope.path = how.path;
    envelope.saga = how.saga;
    envelope.reply_to = Incarnation{9, 9};
    return arrive(std::move(envelope));
  }
  /// The store has had this timer since before the activation.
  void plant_timer(const std::string& name, std::int64_t due) {
    Commit commit;
    commit.shard = shard;
    commit.token = token;
    commit.entity = EntityId{"account", "who sets " + name};
    commit.next = "1.1";
    commit.timers = {{timer_member(entity, name), due, ""}};
    stores.state().commit(commit, [](Result<Committed> answer) {
      REQUIRE(answer->outcome == Committed::Outcome::ok);
    });
  }
  /// The timer `name` fires, as the shard would have it.
  void fire(const std::string& name, const Act& message, std::int64_t due) {
    Envelope envelope;
    envelope.kind = MessageClass::timer;
    envelope.entity = entity;
    envelope.message = Act::catga_message_name();
    envelope.payload = encode(message);
    envelope.operation = OperationId{2, static_cast<std::uint64_t>(due)};
    envelope.operation_ms = due;
    envelope.timer = timer_member(entity, name);
    arrive(std::move(envelope));
  }
  std::size_t arrive(Envelope envelope) {
    envelope.correlation = answers_.size();
    answers_.emplace_back();
    const std::size_t number = envelope.correlation;
    activation->arrived(std::move(envelope));
    return number;
  }
  /// What message number `n` was told: the reply, the code of the error, or "" so far.
  std::string told(std::size_t n) const {
    if (!answers_[n]) return "";
    if (!answers_[n]->ok()) return std::string(name_of(answers_[n]->error().code));
    if (const auto number = decode<std::int64_t>(answers_[n]->value()))
      return std::to_string(number.value());
    const auto text = decode<std::string>(answers_[n]->value());
    return text ? text.value() : "a reply that cannot be read";
  }
  const Result<std::string>* answer_to(std::size_t n) const {
    return answers_[n] ? &*answers_[n] : nullptr;
  }
  std::string words(std::size_t n) const {
    return answers_[n] && !answers_[n]->ok() ? answers_[n]->error().text : "";
  }

  // ---- requests ----

  struct SentCommit {
    Commit commit;
    std::optional<Result<Committed>> result;  ///< once it ran
    bool answered = false;
  };
  struct SentLoad {
    Load load;
    std::optional<Result<Loaded>> result;
    bool answered = false;
  };
  static constexpr std::size_t newest = static_cast<std::size_t>(-1);

  /// The store carries the commit out; the answer is still on its way.
  void run(std::size_t n = newest) {
    SentCommit& sent = at(commits, n);
    stores.state().commit(sent.commit,
                          [&sent](Result<Committed> answer) { sent.result = std::move(answer); });
  }
  void deliver(std::size_t n = newest) {
    SentCommit& sent = at(commits, n);
    REQUIRE(sent.result);
    hand(sent, *sent.result);
  }
  void commit(std::size_t n = newest) {
    const std::size_t which = n == newest ? commits.size() - 1 : n;
    run(which);
    deliver(which);
  }
  void fail(Code code, std::size_t n = newest) {
    hand(at(commits, n), Error{code, "the store says so"});
  }

  void run_load(std::size_t n = newest) {
    hold_load(n);
    deliver_load(n);
  }
  void hold_load(std::size_t n = newest) {
    SentLoad& sent = at(loads, n);
    stores.state().load(sent.load,
                        [&sent](Result<Loaded> answer) { sent.result = std::move(answer); });
  }
  void deliver_load(std::size_t n = newest) {
    SentLoad& sent = at(loads, n);
    REQUIRE(sent.result);
    REQUIRE_FALSE(sent.answered);
    sent.answered = true;
    activation->loaded(*sent.result);
  }
  void fail_load(Code code) {
    SentLoad& sent = at(loads, newest);
    REQUIRE_FALSE(sent.answered);
    sent.answered = true;
    activation->loaded(Error{code, "the store says so"});
  }
  bool loading() const { return !loads.empty() && !loads.back().answered; }
  bool committing() const { return !commits.empty() && !commits.back().answered; }
  /// Everything asked of the store is done, until nothing is.
  void settle() {
    while (loading() || committing()) {
      if (loading()) run_load();
      if (committing()) commit();
    }
  }
  /// What a new owner would load.
  Loaded stored() {
    Load load{shard, *standing(), entity, {}, 1'000'000};
    Loaded found;
    stores.state().load(load,
                        [&found](Result<Loaded> answer) { found = std::move(answer).value(); });
    return found;
  }
  std::size_t records() { return stored().stored; }
  /// Writes operations of the past beside the activation: it must not be loaded yet.
  void prepare(std::size_t operations, std::int64_t time) {
    Commit past;
    past.shard = shard;
    past.token = token;
    past.entity = entity;
    past.next = "1.4000000000";
    for (std::size_t i = 0; i < operations; ++i) {
      past.operations.emplace_back(OperationId{3, i + 1},
                                   OperationRecord{OperationRecord::Type::reply, 0, time, "old"});
    }
    stores.state().commit(
        past, [](Result<Committed> answer) { REQUIRE(answer->outcome == Committed::Outcome::ok); });
  }
  void reply_to_ask(std::size_t n, Result<std::string> answer) {
    activation->asked(asks[n].second, std::move(answer));
  }

  // ---- ActivationHost ----

  std::int64_t now_ms() override { return now; }
  std::int64_t cluster_ms() override { return cluster(); }
  std::uint32_t random() override { return ++random_; }
  bool may_run() override { return session; }
  void load(Load load) override {
    CHECK_MESSAGE(!loading(), "at most one load is under way");
    loads.push_back({std::move(load), std::nullopt, false});
  }
  void commit(Commit commit) override {
    CHECK_MESSAGE(!committing(), "at most one commit is under way");
    commits.push_back({std::move(commit), std::nullopt, false});
  }
  void answer(const Envelope& to, Result<std::string> answer) override {
    CHECK_MESSAGE(!answers_[to.correlation], "one answer each");
    CHECK(to.kind != MessageClass::timer);
    answers_[to.correlation] = std::move(answer);
    commits_at_answer.push_back(commits.size());
    order.push_back(to.correlation);
  }
  void outbox_written(std::vector<std::string> entries, std::vector<std::string> ids) override {
    CHECK((ids.empty() || ids.size() == entries.size()));
    ids_known = !ids.empty();
    for (const std::string& entry : entries) {
      if (is_event(entry))
        events.push_back(parse_event(entry).value());
      else
        outbox.push_back(parse_tell(entry).value());
    }
  }
  void timers_written(std::vector<TimerWrite> writes) override {
    for (TimerWrite& write : writes) timers.push_back(std::move(write));
  }
  void timer_failed(const Envelope& timer, const Error& error) override {
    failed_timers.emplace_back(timer.timer, error.code);
  }
  void timers_unsure(std::vector<std::string> members) override {
    for (std::string& member : members) unsure_timers.push_back(std::move(member));
  }
  void ask(Ask ask, std::uint64_t number) override { asks.emplace_back(std::move(ask), number); }
  void fenced(OwnerToken used) override { fences.push_back(used); }
  void wake_at(std::int64_t at_ms) override {  // as the entity's actor: one alarm, the earliest
    if (!wake_at_ms_ || at_ms < *wake_at_ms_) wake_at_ms_ = at_ms;
  }
  Epoch source_epoch(ShardId saga_shard) override { return sources[saga_shard]; }
  void raise_source(ShardId saga_shard, Epoch epoch) override {
    sources[saga_shard] = std::max(sources[saga_shard], epoch);
  }
  void troubled(const Error& error) override { troubles.push_back(error); }
  void turn_begins(const std::string&) override { CHECK(turns_open++ == 0); }
  void turn_ends(const std::string&) override { turns_open -= 1; }

  const ShardId shard{17};
  const EntityId entity{"account", "alice"};
  ActivationLimits limits;
  Kind kind = kind_of<Account>();
  MemoryStores stores{[this] { return cluster() + store_leap; }};
  std::int64_t store_leap = 0;  ///< its clock is ahead of ours, and we have not heard of it
  std::int64_t now = 1'000'000;
  bool session = true;
  OwnerToken token;
  std::vector<SentCommit> commits;
  std::vector<std::size_t> commits_at_answer;  ///< how many had been sent, answer by answer
  std::vector<SentLoad> loads;
  std::vector<std::size_t> order;  ///< in which messages were answered
  std::vector<PendingTell> outbox;
  std::vector<PendingEvent> events;
  bool ids_known = false;
  std::vector<TimerWrite> timers;
  std::vector<std::pair<std::string, Code>> failed_timers;
  std::vector<std::string> unsure_timers;
  std::vector<std::pair<Ask, std::uint64_t>> asks;
  std::vector<OwnerToken> fences;
  std::map<ShardId, Epoch> sources;
  std::vector<Error> troubles;
  int turns_open = 0;
  std::unique_ptr<Activation> activation;

 private:
  template <class Sent>
  static Sent& at(std::vector<Sent>& all, std::size_t n) {
    REQUIRE_FALSE(all.empty());
    return n == newest ? all.back() : all.at(n);
  }
  void hand(SentCommit& sent, Result<Committed> answer) {
    REQUIRE_FALSE(sent.answered);
    sent.answered = true;
    const std::string version = sent.commit.next;
    const OwnerToken used = sent.commit.token;
    activation->committed(version, used, std::move(answer));  // `sent` may move meanwhile
  }

  NoMessenger messenger_;
  std::vector<std::optional<Result<std::string>>> answers_;
  std::optional<std::int64_t> wake_at_ms_;
  std::uint64_t ids_ = 0, nonce_ = 0;
  std::uint32_t random_ = 0;
};

}  // namespace catga::testing
