// One entity, thousands of random lives: requests to the store that run late, twice, never, or
// answer late or not at all; crashes, take-overs, hand-offs; callers that repeat themselves. The
// model keeps the truth (what the store really recorded) beside what every caller was told, and
// compares.
//
// The store is the twin in memory; what lies between it and the activation is here. A request
// without an answer may still run, any time later or never, as the store's contract says.
#include <catga/entities/saga/step_answer.hpp>
#include <catga/runtime/activation.hpp>

#include "../support/scene.hpp"
#include <doctest/doctest.h>

#include <cstdlib>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <sstream>

using namespace catga;
using namespace catga::testing;

namespace {

/// Puts its serial number on the list; the reply is its place there.
struct Put {
  using Reply = std::int64_t;
  std::int64_t serial = 0;
  CATGA_MESSAGE(Put, serial);
};
/// As Put, but rejected when the length of the list is a multiple of three.
struct PutIfOdd {
  using Reply = std::int64_t;
  std::int64_t serial = 0;
  CATGA_MESSAGE(PutIfOdd, serial);
};
/// As Put, after an answer from elsewhere.
struct PutAfterAsk {
  using Reply = std::int64_t;
  std::int64_t serial = 0;
  CATGA_MESSAGE(PutAfterAsk, serial);
};
/// Puts its serial number on the list and throws.
struct Break {
  using Reply = std::int64_t;
  std::int64_t serial = 0;
  CATGA_MESSAGE(Break, serial);
};
struct Length {
  using Reply = std::int64_t;
  CATGA_MESSAGE(Length);
};

class List {
 public:
  static constexpr std::string_view kind = "list";
  using Handles = Messages<Put, PutIfOdd, PutAfterAsk, Break, Length>;
  struct State {
    std::vector<std::int64_t> serials;
    CATGA_FIELDS(serials);
  } state;

  std::int64_t on(Turn& turn, const Put& put) { return add(turn, put.serial); }
  Result<std::int64_t> on(Turn& turn, const PutIfOdd& put) {
    const std::int64_t place = add(turn, put.serial);
    if ((place - 1) % 3 == 0) return reject("a multiple of three");
    return place;
  }
  Task<std::int64_t> on(Turn& turn, const PutAfterAsk& put) {
    const std::int64_t place = add(turn, put.serial);
    const Ref<Peer> peer = turn.ref<Peer>("bob");
    const Result<std::int64_t> got = co_await turn.ask<Give>(peer, put.serial);
    if (!got) co_return got.error();
    co_return place;
  }
  std::int64_t on(Turn& turn, const Break& broken) {
    add(turn, broken.serial);
    throw std::runtime_error("on purpose");
  }
  std::int64_t on(const Length&) const { return static_cast<std::int64_t>(state.serials.size()); }

 private:
  std::int64_t add(Turn& turn, std::int64_t serial) {
    state.serials.push_back(serial);
    turn.tell<Peer>("ledger", Give{serial});
    return static_cast<std::int64_t>(state.serials.size());
  }
};

/// One seed. `fault()` says what went wrong, or nothing.
class Life final : public ActivationHost {
 public:
  explicit Life(std::uint64_t seed) : chance_(seed) {
    limits_.turns_uncommitted = 1 + below(6);
    limits_.ids_in_memory = 1 + below(6);
    limits_.refused_for = 100;
    limits_.coroutine_max = 400;
    without_time_ = one_in(3);  // such ids are forgotten for good with their generation
    if (!without_time_) {
      limits_.id_bytes_per_entity = one_in(2) ? 1000 + 100 * below(20) : 8 << 20;
      limits_.retention = one_in(2) ? 3000 : 7ll * 24 * 3600 * 1000;
    }
    whole_up_to_ = one_in(2) ? 64 : below(6);
    trouble_ = 2 + below(20);
    token_ = exchange(Incarnation{1, ++incarnations_});
    start();
  }

  void live() {
    const std::size_t steps = 60 + below(140);
    for (std::size_t i = 0; i < steps && fault_.empty(); ++i) step();
    come_to_rest();
    if (fault_.empty()) judge();
  }
  const std::string& fault() const { return fault_; }
  std::size_t applied() const { return truth_.size(); }
  std::map<std::string, std::size_t>& seen() { return seen_; }

  // ---- ActivationHost ----
  std::int64_t now_ms() override { return now_; }
  std::int64_t cluster_ms() override { return now_ + Scene::clock_difference; }
  std::uint32_t random() override { return static_cast<std::uint32_t>(chance_()); }
  bool may_run() override { return session_; }
  void load(Load load) override {
    expect(!load_out_, "two loads at once");
    load.whole_up_to = std::min(load.whole_up_to, whole_up_to_);
    load_out_ = std::move(load);
  }
  void commit(Commit commit) override {
    expect(!commit_out_, "two commits at once");
    commit_out_ = std::move(commit);
  }
  void answer(const Envelope& to, Result<std::string> answer) override {
    told(to, std::move(answer));
  }
  void outbox_written(std::vector<std::string> entries, std::vector<std::string>) override {
    for (const std::string& entry : entries) {
      const std::int64_t serial = decode<Give>(parse_tell(entry).value().payload).value().cents;
      expect(place_of(serial) != 0, "a tell of an operation that is not committed");
    }
  }
  void timers_written(std::vector<TimerWrite>) override {}
  void timer_failed(const Envelope&, const Error&) override {}
  void timers_unsure(std::vector<std::string>) override {}
  void ask(Ask ask, std::uint64_t number) override {
    expect(!commit_out_, "an ask left although earlier turns are not committed");
    const std::int64_t serial = decode<Give>(ask.payload).value().cents;
    const auto [known, fresh] = ask_ids_.try_emplace(serial, ask.operation, ask.operation_ms);
    if (!fresh)
      expect(known->second.first == ask.operation, "a repeated turn asks under another id");
    asks_.emplace_back(number);
  }
  void fenced(OwnerToken used) override {
    expect(standing() != used, "told that a token which stands is fenced");
    fenced_ = true;
  }
  void wake_at(std::int64_t at_ms) override {
    if (!wake_at_ || at_ms < *wake_at_) wake_at_ = at_ms;
  }
  void troubled(const Error& error) override {
    expect(error.code == Code::unknown, "trouble: " + error.text);
  }
  Epoch source_epoch(ShardId saga_shard) override { return sources_[saga_shard]; }
  void raise_source(ShardId saga_shard, Epoch epoch) override {
    sources_[saga_shard] = std::max(sources_[saga_shard], epoch);
  }
  void turn_begins(const std::string&) override {}
  void turn_ends(const std::string&) override {}

 private:
  struct Operation {
    std::int64_t serial = 0;
    OperationId id;
    std::int64_t time = 0;
    std::string message, payload;
    std::size_t sent = 0, refused = 0;         ///< attempts; those told "not applied"
    std::optional<Result<std::string>> final;  ///< the recorded answer, once told
    bool step = false;                         ///< of a saga
    Epoch over;  ///< it was to be forgotten under this epoch: only older owners repeat it
  };
  struct Attempt {
    std::optional<std::size_t> operation;  ///< none: a query
    std::int64_t at_least = 0;             ///< with a query: what was told before it was sent
    bool answered = false;
    bool lost = false;  ///< its activation crashed
    SagaStep::Verb verb = SagaStep::Verb::none;
  };

  // ---- chance ----
  std::size_t below(std::size_t bound) {
    return bound == 0 ? 0 : static_cast<std::size_t>(chance_() % bound);
  }
  bool one_in(std::size_t n) { return below(n) == 0; }
  bool trouble() { return one_in(trouble_); }

  void expect(bool good, const std::string& what) {
    if (!good && fault_.empty()) fault_ = what;
  }

  // ---- the store, and what lies before it ----
  std::optional<OwnerToken> standing() {
    std::optional<OwnerToken> found;
    stores_.owners().read(shard_, [&found](Result<OwnerRecord> answer) { found = answer->token; });
    return found;
  }
  OwnerToken exchange(Incarnation owner) {
    std::optional<OwnerToken> won;
    stores_.owners().exchange({shard_, standing(), owner, std::to_string(++nonce_), {}},
                              [&won](Result<Exchanged> answer) { won = answer->record.token; });
    return *won;
  }
  /// Carries a commit out and keeps the truth.
  Committed run(const Commit& commit) {
    Committed done;
    stores_.state().commit(commit,
                           [&done](Result<Committed> answer) { done = std::move(answer).value(); });
    seen_["commit " + std::to_string(static_cast<int>(done.outcome))] += 1;
    if (done.outcome != Committed::Outcome::ok) return done;
    for (const auto& [id, record] : commit.operations) {
      expect(recorded_.emplace(id, record).second, "an operation was recorded twice");
    }
    for (const auto& [id, record] : commit.saga_operations) {
      expect(recorded_.emplace(id, record).second,
             "a step was recorded twice, or after it was forgotten");
      seen_[record.type == OperationRecord::Type::tombstone ? "tombstone" : "step"] += 1;
    }
    if (!commit.forgotten.empty()) seen_["forgotten"] += 1;
    if (commit.state) {
      const std::vector<std::int64_t> serials = decode<List::State>(*commit.state).value().serials;
      expect(serials.size() >= truth_.size() &&
                 std::equal(truth_.begin(), truth_.end(), serials.begin()),
             "a commit took back what was committed");
      truth_ = serials;
    }
    for (const std::string& entry : commit.outbox) {
      outbox_.push_back(decode<Give>(parse_tell(entry).value().payload).value().cents);
    }
    return done;
  }
  void answer_commit() {
    if (!commit_out_) return;
    const Commit commit = *std::exchange(commit_out_, std::nullopt);
    const auto hand = [&](Result<Committed> answer) {
      activation_->committed(commit.next, commit.token, std::move(answer));
    };
    if (now_ < refusing_until_) return hand(Error{Code::unavailable, "refused"});
    if (!trouble()) return hand(run(commit));
    switch (below(4)) {
      case 0:
        return hand(Error{Code::unavailable, "refused"});
      case 1:
        run(commit);
        break;  // the answer is lost
      case 2:
        late_.push_back(commit);  // and perhaps it runs later
        break;
      default:
        break;  // the request is lost
    }
    hand(Error{Code::unknown, "no answer"});
  }
  void answer_load() {
    if (!load_out_) return;
    if (load_result_ || !one_in(3)) return deliver_load();
    load_result_ = run(*load_out_);  // carried out now, answered later
  }
  Result<Loaded> run(const Load& load) {
    Loaded found;
    stores_.state().load(load,
                         [&found](Result<Loaded> answer) { found = std::move(answer).value(); });
    return found;
  }
  void deliver_load() {
    Result<Loaded> answer =
        load_result_ ? *std::exchange(load_result_, std::nullopt) : run(*load_out_);
    if (trouble()) answer = Error{one_in(2) ? Code::unknown : Code::unavailable, "no answer"};
    load_out_.reset();
    activation_->loaded(std::move(answer));
  }
  void run_late() {
    if (late_.empty()) return;
    const std::size_t which = below(late_.size());
    const Commit commit = late_[which];
    late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(which));
    if (!one_in(4)) run(commit);
  }

  // ---- callers ----
  void send_command() {
    if (operations_.empty() || one_in(2)) {
      Operation fresh;
      fresh.serial = static_cast<std::int64_t>(operations_.size() + 1);
      fresh.id = OperationId{chance_() | 1, chance_()};
      fresh.time = cluster_ms() - 300 + static_cast<std::int64_t>(below(2200));
      fresh.step = one_in(3);
      if (without_time_ && !fresh.step && one_in(3)) fresh.time = 0;
      switch (below(8)) {
        case 0:
          set(fresh, Break{fresh.serial});
          break;
        case 1:
          set(fresh, PutAfterAsk{fresh.serial});
          break;
        case 2:
        case 3:
          set(fresh, PutIfOdd{fresh.serial});
          break;
        default:
          set(fresh, Put{fresh.serial});
          break;
      }
      operations_.push_back(std::move(fresh));
    }
    const std::size_t recent =
        std::min<std::size_t>(operations_.size(), one_in(4) ? operations_.size() : 4);
    send(operations_.size() - 1 - below(recent));
  }
  template <class Message>
  static void set(Operation& operation, const Message& message) {
    operation.message = Message::catga_message_name();
    operation.payload = encode(message);
  }
  void send(std::size_t which) {
    Operation& operation = operations_[which];
    operation.sent += 1;
    Envelope envelope;
    envelope.entity = entity_;
    envelope.message = operation.message;
    envelope.payload = operation.payload;
    envelope.operation = operation.id;
    envelope.operation_ms = operation.time;
    envelope.deadline_ms = now_ + static_cast<std::int64_t>(50 + below(2000));
    envelope.correlation = attempts_.size();
    Attempt attempt;
    attempt.operation = which;
    if (operation.step) {
      attempt.verb = one_in(4) ? SagaStep::Verb::settle : SagaStep::Verb::run;
      Epoch epoch{saga_epoch_ - below(2)};
      if (operation.over.value != 0) epoch.value = operation.over.value - 1 - below(2);
      envelope.saga = {attempt.verb, saga_shard_, epoch};
    }
    attempts_.push_back(attempt);
    activation_->arrived(std::move(envelope));
  }
  /// Of steps whose outcome their saga knows. It is over, and repeats none of them.
  void send_forget() {
    std::vector<OperationId> steps;
    saga_epoch_ += below(2);
    for (Operation& operation : operations_) {
      if (!operation.step || !operation.final || operation.over.value != 0 || one_in(2)) continue;
      operation.over = Epoch{saga_epoch_};
      steps.push_back(operation.id);
    }
    if (steps.empty()) return;
    Envelope envelope;
    envelope.entity = entity_;
    envelope.message = "forget";
    envelope.payload = encode_forget(steps);
    envelope.operation = OperationId{chance_() | 1, chance_()};
    envelope.operation_ms = cluster_ms();
    envelope.deadline_ms = now_ + static_cast<std::int64_t>(50 + below(2000));
    envelope.correlation = attempts_.size();
    envelope.saga = {SagaStep::Verb::forget, saga_shard_, Epoch{saga_epoch_}};
    Attempt attempt;
    attempt.verb = SagaStep::Verb::forget;
    attempts_.push_back(attempt);
    activation_->arrived(std::move(envelope));
  }
  void send_query() {
    Envelope envelope;
    envelope.kind = MessageClass::query;
    envelope.entity = entity_;
    envelope.message = Length::catga_message_name();
    envelope.payload = encode(Length{});
    envelope.deadline_ms = now_ + static_cast<std::int64_t>(50 + below(2000));
    envelope.correlation = attempts_.size();
    Attempt attempt;
    attempt.at_least = highest_told_;
    attempts_.push_back(attempt);
    activation_->arrived(std::move(envelope));
  }
  /// 1 is the first; 0: not committed.
  std::int64_t place_of(std::int64_t serial) const {
    const auto found = std::find(truth_.begin(), truth_.end(), serial);
    return found == truth_.end() ? 0 : found - truth_.begin() + 1;
  }
  void told(const Envelope& to, Result<std::string> answer) {
    Attempt& attempt = attempts_[to.correlation];
    expect(!attempt.answered, "answered twice");
    attempt.answered = true;
    seen_[answer.ok() ? "reply" : std::string(name_of(answer.error().code))] += 1;
    const std::int64_t committed = static_cast<std::int64_t>(truth_.size());
    if (attempt.verb == SagaStep::Verb::forget) {
      return expect(answer.ok() || answer.error().code == Code::unavailable ||
                        answer.error().code == Code::unknown ||
                        answer.error().code == Code::timeout,
                    "a request to forget was told something else");
    }
    if (!attempt.operation) {
      if (!answer.ok()) {
        const Code code = answer.error().code;
        return expect(code == Code::unavailable || code == Code::timeout,
                      "a query was told " + std::string(name_of(code)));
      }
      const std::int64_t length = decode<std::int64_t>(*answer).value();
      expect(length <= committed, "a query saw what is not committed");
      expect(length >= attempt.at_least, "a query saw less than was told before it");
      highest_told_ = std::max(highest_told_, length);
      return;
    }
    Operation& operation = operations_[*attempt.operation];
    const std::int64_t place = place_of(operation.serial);
    if (operation.step && answer.ok()) {
      const StepReply step = decode_step_answer(*answer).value();
      answer = step.bytes;
      if (step.absent) {  // what the saga would hear of a rejected step
        expect(attempt.verb == SagaStep::Verb::settle,
               "a step that ran was told that it is absent");
        const auto record = recorded_.find(operation.id);
        expect(record != recorded_.end() && record->second.type != OperationRecord::Type::reply,
               "absent, but not forbidden");
        seen_["absent"] += 1;
        if (operation.final) expect(!operation.final->ok(), "absent after a reply");
        operation.final = Error{Code::rejected, "absent"};
        return;
      }
    }
    if (answer.ok()) {
      expect(decode<std::int64_t>(*answer).value() == place, "a reply of what is not committed");
      highest_told_ = std::max(highest_told_, place);
    } else {
      switch (answer.error().code) {
        case Code::rejected: {
          const auto record = recorded_.find(operation.id);
          expect(
              record != recorded_.end() && record->second.type == OperationRecord::Type::rejection,
              "a rejection that is not recorded");
          break;
        }
        case Code::unavailable:
        case Code::overloaded:
          operation.refused += 1;
          break;
        case Code::failed:
          expect(operation.message == "Break" || operation.message == "PutAfterAsk",
                 "failed: " + answer.error().text);
          break;
        case Code::timeout:
        case Code::unknown:
        case Code::expired:
          break;
        default:
          expect(false,
                 "told " + std::string(name_of(answer.error().code)) + ": " + answer.error().text);
      }
    }
    if (answer.ok() || answer.error().code == Code::rejected) {
      if (operation.final) {
        expect(
            operation.final->ok() == answer.ok() && (!answer.ok() || **operation.final == *answer),
            "two different recorded answers");
      }
      operation.final = std::move(answer);
    }
  }

  // ---- what happens ----
  void start() {
    activation_.reset();
    load_out_.reset();
    load_result_.reset();
    commit_out_.reset();
    asks_.clear();
    wake_at_.reset();
    fenced_ = draining_ = false;
    activation_ =
        std::make_unique<Activation>(*this, kind_, messenger_, limits_, shard_, entity_, token_);
  }
  /// Another node, or this one after a crash, reads what the store has.
  void read_sources() {
    sources_.clear();
    stores_.sagas().overview(shard_, *standing(), [this](Result<SagaOverview> overview) {
      for (const auto& [shard, epoch] : overview->sources) sources_[shard] = epoch;
    });
  }
  void start_with(Waitlist<Envelope> queue) {
    read_sources();
    start();
    for (Envelope& envelope : queue) activation_->arrived(std::move(envelope));
  }
  void crash() {
    if (commit_out_) {
      if (one_in(2))
        run(*commit_out_);
      else
        late_.push_back(*commit_out_);
    }
    for (Attempt& attempt : attempts_) attempt.lost |= !attempt.answered;
    if (one_in(2)) {
      token_ = exchange(one_in(2) ? token_.incarnation : Incarnation{1, ++incarnations_});
      read_sources();
    }
    start();
  }
  /// The shard looks at its record, as it does when something was fenced.
  void hear_fence() {
    fenced_ = false;
    const OwnerToken stands = *standing();
    if (stands.incarnation == token_.incarnation) {
      token_ = stands;
      return activation_->retoken(token_);
    }
    activation_->drop();
    Waitlist<Envelope> queue = activation_->take_queue();
    token_ = stands;  // what has not run is forwarded
    start_with(std::move(queue));
  }
  void advance(std::int64_t ms) {
    now_ += ms;
    if (!wake_at_ || *wake_at_ > now_) return;
    wake_at_.reset();
    activation_->woken();
  }
  void hand_off_if_drained() {
    if (!draining_ || !activation_->drained()) return;
    expect(!commit_out_, "drained with a commit under way");
    Waitlist<Envelope> queue = activation_->take_queue();
    token_ = exchange(Incarnation{1, ++incarnations_});
    start_with(std::move(queue));
  }
  void answer_ask() {
    if (asks_.empty()) return;
    const std::uint64_t number = asks_.front();
    asks_.pop_front();
    if (one_in(4)) return;  // never
    if (one_in(4))
      return activation_->asked(number,
                                Error{one_in(2) ? Code::unavailable : Code::rejected, "no"});
    activation_->asked(number, encode(std::int64_t{1}));
  }
  void step() {
    switch (below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        send_command();
        break;
      case 4:
        send_query();
        break;
      case 5:
      case 6:
      case 7:
      case 8:
        answer_commit();
        break;
      case 9:
      case 10:
        answer_load();
        break;
      case 11:
        if (one_in(4)) send_forget();
        answer_ask();
        break;
      case 12:
        advance(static_cast<std::int64_t>(one_in(8) ? below(3000) : below(60)));
        break;
      case 13:
        run_late();
        break;
      case 14:
        if (fenced_) hear_fence();
        break;
      default:
        upheaval();
        break;
    }
    hand_off_if_drained();
  }
  void upheaval() {
    if (!trouble()) return;
    switch (below(6)) {
      case 0:
        return crash();
      case 5:
        refusing_until_ = now_ + static_cast<std::int64_t>(below(600));
        return;
      case 1:
        exchange(token_.incarnation);
        return;  // BUMP; we hear of it later
      case 2:
        exchange(Incarnation{1, ++incarnations_});
        return;  // somebody took over
      case 3:
        session_ = !session_;
        if (session_) activation_->resume();
        draining_ = false;
        return;
      default:
        draining_ = true;
        activation_->drain();
    }
  }

  /// The trouble is over: everything that is held must be answered.
  void come_to_rest() {
    trouble_ = 1'000'000'000;
    refusing_until_ = 0;
    session_ = true;
    draining_ = false;
    activation_->resume();
    for (int i = 0; i < 400 && fault_.empty(); ++i) {
      if (fenced_)
        hear_fence();
      else if (commit_out_)
        answer_commit();
      else if (load_out_)
        deliver_load();
      else
        advance(50);
      if (!asks_.empty()) answer_ask();
    }
    while (!late_.empty()) run_late();
    for (const Attempt& attempt : attempts_)
      expect(attempt.answered || attempt.lost, "an attempt has no answer");
    expect(activation_->idle(), "not idle in the end");
  }
  void judge() {
    expect(std::set<std::int64_t>(truth_.begin(), truth_.end()).size() == truth_.size(),
           "an operation was applied twice");
    std::vector<std::int64_t> tells = outbox_;
    expect(tells == truth_, "the outbox is not what was applied, in order");
    for (const Operation& operation : operations_) {
      const bool applied = place_of(operation.serial) != 0;
      const std::string name = "operation " + std::to_string(operation.serial) + " ";
      const auto record = recorded_.find(operation.id);
      const bool reply =
          record != recorded_.end() && record->second.type == OperationRecord::Type::reply;
      expect(applied == reply, name + "was applied without a reply on record, or the reverse");
      if (operation.final)
        expect(operation.final->ok() == applied, name + "was told something else than happened");
      if (operation.sent != 0 && operation.refused == operation.sent) {
        expect(record == recorded_.end(), name + "was told `not applied` at every attempt");
      }
    }
  }

  std::mt19937_64 chance_;
  const Kind kind_ = kind_of<List>();
  const ShardId shard_{3};
  const EntityId entity_{"list", "a"};
  const ShardId saga_shard_{77};
  std::uint64_t saga_epoch_ = 5;
  std::map<ShardId, Epoch> sources_;
  ActivationLimits limits_;
  NoMessenger messenger_;
  std::int64_t now_ = 1'000'000, refusing_until_ = 0;
  MemoryStores stores_{[this] { return cluster_ms(); }};
  std::size_t trouble_ = 10, whole_up_to_ = 64;
  bool without_time_ = false, session_ = true, fenced_ = false, draining_ = false;
  std::uint64_t incarnations_ = 0, nonce_ = 0;
  OwnerToken token_;
  std::unique_ptr<Activation> activation_;

  std::optional<Load> load_out_;
  std::optional<Result<Loaded>> load_result_;
  std::optional<Commit> commit_out_;
  std::vector<Commit> late_;  ///< without an answer: may run any time
  std::deque<std::uint64_t> asks_;
  std::optional<std::int64_t> wake_at_;

  std::vector<Operation> operations_;
  std::vector<Attempt> attempts_;
  std::int64_t highest_told_ = 0;
  std::map<std::int64_t, std::pair<OperationId, std::int64_t>> ask_ids_;

  std::vector<std::int64_t> truth_;                  ///< the committed list
  std::map<OperationId, OperationRecord> recorded_;  ///< for ever
  std::vector<std::int64_t> outbox_;
  std::map<std::string, std::size_t> seen_;
  std::string fault_;
};

}  // namespace

TEST_CASE(
    "Whatever is late, lost, repeated or taken over: nothing runs twice and nobody is told what is "
    "not so") {
  const char* one = std::getenv("CATGA_TEST_SEED");
  const std::uint64_t first = one ? std::strtoull(one, nullptr, 10) : 1;
  const char* many = std::getenv("CATGA_TEST_SEEDS");
  const std::uint64_t count = many ? std::strtoull(many, nullptr, 10) : one ? 1 : 3000;
  MESSAGE("seeds ", first, " to ", first + count - 1, " (CATGA_TEST_SEED repeats one)");
  std::map<std::string, std::size_t> seen;
  std::size_t faults = 0;
  for (std::uint64_t seed = first; seed < first + count && faults < 5; ++seed) {
    Life life(seed);
    life.live();
    CHECK_MESSAGE(life.fault() == "", "seed ", seed);
    if (!life.fault().empty()) faults += 1;
    for (const auto& [what, times] : life.seen()) seen[what] += times;
    seen["applied"] += life.applied();
  }
  if (one) return;
  std::ostringstream all;
  for (const auto& [what, times] : seen) all << "  " << what << ": " << times;
  INFO(all.str());
  // The model must have been where the trouble is: all outcomes of a commit (4 fenced), all
  // answers.
  for (const char* what : {"commit 0", "commit 1", "commit 2", "commit 3", "commit 4", "reply",
                           "rejected", "failed", "unknown", "unavailable", "timeout", "expired",
                           "applied", "step", "tombstone", "absent", "forgotten"}) {
    CHECK_MESSAGE(seen[what] > 0, what);
  }
  if (std::getenv("CATGA_TEST_COUNTS")) MESSAGE(all.str());
}
