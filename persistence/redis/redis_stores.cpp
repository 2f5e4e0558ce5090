// Requests become words for a script, and answers values.
#include "catga/persistence/redis/redis_stores.hpp"

#include "catga/persistence/keys.hpp"
#include "catga/persistence/redis/pipeline.hpp"
#include "catga/persistence/redis/primary_watch.hpp"
#include "catga/persistence/redis/reading.hpp"
#include "catga/persistence/redis/saga_calls.hpp"
#include "catga/persistence/redis/sentinel_patrol.hpp"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <limits>
#include <mutex>

namespace catga {
namespace {

using std::chrono::milliseconds;

/// Lua's unpack takes fewer than 8000 values; a commit beyond these bounds would end half-way
/// through its script.
constexpr std::size_t most_operations = 3000;
/// Entries of the outbox in one page; timers, which are small and may all be due at once.
constexpr std::size_t most_in_page = 1000, most_timers_in_page = 10'000;

// ---- from bytes to values -----------------------------------------------------------------------

/// '' is none; what cannot be read is none as well: it is nobody we know.
Incarnation incarnation_in(std::string_view text) {
  const auto id = parse_wide_id<Incarnation>(text);
  return id ? *id : Incarnation{};
}

/// {token, owner, epoch, rv, previous owner}, from `first` on.
Result<OwnerRecord> record_of(Reply reply, std::size_t first) {
  const std::string_view token = reply[first].text();
  OwnerRecord record{.token = token_in(token),
                     .epoch = Epoch{positive(reply[first + 2])},
                     .written_under = ViewVersion{positive(reply[first + 3])},
                     .previous = incarnation_in(reply[first + 4].text())};
  if (!token.empty() && !record.token) return unreadable(Script::own, "an owner token");
  return record;
}

Result<MembershipView> view_of(Reply version, Reply table) {
  MembershipView view;
  view.version = ViewVersion{positive(version)};
  for (std::size_t i = 0; i + 1 < table.size(); i += 2) {
    const auto incarnation = parse_wide_id<Incarnation>(table[i].text());
    if (!incarnation) return unreadable(Script::read_view, "an incarnation in the member table");
    auto member = parse_row(*incarnation, table[i + 1].text());
    if (!member) return unreadable(Script::read_view, member.error().text);
    view.members.push_back(std::move(*member));
  }
  std::sort(view.members.begin(), view.members.end(),
            [](const Member& a, const Member& b) { return a.incarnation < b.incarnation; });
  return view;
}

Result<std::vector<std::pair<OperationId, OperationRecord>>> operations_of(Reply table) {
  std::vector<std::pair<OperationId, OperationRecord>> operations;
  for (std::size_t i = 0; i + 1 < table.size(); i += 2) {
    const auto id = wide_id_from_bytes<OperationId>(table[i].text());
    auto record = parse_record(table[i + 1].text());
    if (!id || !record) return unreadable(Script::entity_load, "an operation record");
    operations.emplace_back(*id, std::move(*record));
  }
  return operations;
}

/// The stream id right behind `id`. Errors: malformed.
Result<std::string> next_stream_id(const std::string& id) {
  const auto dash = id.find('-');
  if (dash == id.npos) return Error{Code::malformed, "an outbox id is not <ms>-<number>"};
  const auto ms = parse_number(std::string_view(id).substr(0, dash));
  const auto number = parse_number(std::string_view(id).substr(dash + 1));
  if (!ms || !number) return Error{Code::malformed, "an outbox id is not <ms>-<number>"};
  const bool last = *number == std::numeric_limits<std::uint64_t>::max();
  return last ? std::to_string(*ms + 1) + "-0"
              : std::to_string(*ms) + '-' + std::to_string(*number + 1);
}

// ---- owner records ------------------------------------------------------------------------------

class RedisOwnerStore final : public OwnerStore {
 public:
  RedisOwnerStore(std::string cluster, Pipeline& pipeline)
      : cluster_(std::move(cluster)), pipeline_(pipeline) {}

  void exchange(const Exchange& exchange, Then<Exchanged> then) override {
    const auto read = [](Reply reply) -> Result<Exchanged> {
      auto record = record_of(reply, 1);
      if (!record) return record.error();
      return Exchanged{
          .done = reply[0].number() == 1, .record = *record, .quiet = reply[6].number() == 0};
    };
    std::string keep_from;
    if (!exchange.trim_through.empty()) {
      auto next = next_stream_id(exchange.trim_through);
      if (!next) return then(next.error());
      keep_from = std::move(*next);
    }
    const ShardKeys keys(cluster_, exchange.shard);
    pipeline_.submit(Pipeline::Call{
        .script = Script::own,
        .keys = {keys.owner(), keys.outbox(), keys.timers(), keys.active_sagas(), keys.sources()},
        .arguments = {exchange.expected ? text_of(*exchange.expected) : std::string(),
                      exchange.owner ? text_of(exchange.owner) : std::string(), exchange.nonce,
                      std::to_string(exchange.view.value), std::move(keep_from)},
        .writes = true,
        .then = answer_by<Exchanged>(read, std::move(then))});
  }

  void read(ShardId shard, Then<OwnerRecord> then) override {
    const auto read = [](Reply reply) { return record_of(reply, 0); };
    pipeline_.submit(Pipeline::Call{.script = Script::read_owner,
                                    .keys = {ShardKeys(cluster_, shard).owner()},
                                    .arguments = {},
                                    .then = answer_by<OwnerRecord>(read, std::move(then))});
  }

 private:
  const std::string cluster_;
  Pipeline& pipeline_;
};

// ---- members ------------------------------------------------------------------------------------

Result<Joined> joined_of(Reply reply) {
  using Outcome = Joined::Outcome;
  const std::string_view says = reply[0].text();
  Joined joined;
  if (says == "OK") {
    auto view = view_of(reply[1], reply[3]);
    if (!view) return view.error();
    joined.view = std::move(*view);
    joined.cluster_id = reply[2].text();
    joined.strikes = static_cast<unsigned>(positive(reply[4]));
  } else if (says == "EMPTY") {
    joined.outcome = Outcome::empty;
  } else if (says == "OTHER") {
    joined.outcome = Outcome::other;
    joined.cluster_id = reply[1].text();
  } else if (says == "CONFIG") {
    joined.outcome = Outcome::config;
    joined.detail = reply[1].text();
  } else if (says == "SPENT") {
    joined.outcome = Outcome::spent;
  } else if (says == "NAME") {
    joined.outcome = Outcome::name;
    joined.holder = incarnation_in(reply[1].text());
  } else {
    return unreadable(Script::join, "the answer");
  }
  return joined;
}

Result<Renewed> renewed_of(Reply reply) {
  Renewed renewed;
  renewed.alive = reply[0].number() == 1;
  if (!renewed.alive) return renewed;
  renewed.version = ViewVersion{positive(reply[1])};
  renewed.votes = static_cast<unsigned>(positive(reply[2]));
  renewed.redis_us = reply[3][0].number() * 1'000'000 + reply[3][1].number();
  return renewed;
}

Result<StateChanged> state_changed_of(Reply reply) {
  using Outcome = StateChanged::Outcome;
  const std::string_view says = reply[0].text();
  StateChanged changed;
  if (says == "OK") {
    changed.version = ViewVersion{positive(reply[1])};
  } else if (says == "NOSESSION") {
    changed.outcome = Outcome::no_session;
  } else if (says == "NAME") {
    changed.outcome = Outcome::name;
    changed.holder = incarnation_in(reply[1].text());
  } else if (says == "BAD") {
    changed.outcome = Outcome::bad;
  } else {
    return unreadable(Script::set_state, "the answer");
  }
  return changed;
}

Result<Evicted> evicted_of(Reply reply) {
  using Outcome = Evicted::Outcome;
  const std::string_view says = reply[0].text();
  Evicted evicted;
  if (says == "EVICTED" || says == "GONE") {
    evicted.outcome = says == "GONE" ? Outcome::gone : Outcome::evicted;
    evicted.version = ViewVersion{positive(reply[1])};
  } else if (says == "VOTED") {
    evicted.votes = static_cast<unsigned>(positive(reply[1]));
    evicted.need = static_cast<unsigned>(positive(reply[2]));
  } else if (says == "WAIT") {
    evicted.outcome = Outcome::wait;
    evicted.wait = milliseconds{reply[1].number()};
  } else if (says == "BRAKE") {
    evicted.outcome = Outcome::brake;
    evicted.brake = reply[1].text();
  } else if (says == "NOSESSION") {
    evicted.outcome = Outcome::no_session;
  } else {
    return unreadable(Script::evict, "the answer");
  }
  return evicted;
}

Result<Reaped> reaped_of(Reply reply) {
  using Outcome = Reaped::Outcome;
  const std::string_view says = reply[0].text();
  Reaped reaped;
  reaped.version = ViewVersion{positive(reply[1])};
  if (says == "ALIVE") {
    reaped.outcome = Outcome::alive;
  } else if (says == "GONE") {
    reaped.outcome = Outcome::gone;
  } else if (says != "REAPED") {
    return unreadable(Script::reap, "the answer");
  }
  return reaped;
}

std::string_view word_of(NextState state) {
  switch (state) {
    case NextState::up:
      return "UP";
    case NextState::leaving:
      return "LEAVING";
    case NextState::gone:
      return "GONE";
  }
  return "GONE";
}

class RedisMemberStore final : public MemberStore {
 public:
  RedisMemberStore(const std::string& cluster, Pipeline& pipeline)
      : keys_(cluster), pipeline_(pipeline) {}
  /// With a pipeline of its own.
  explicit RedisMemberStore(std::shared_ptr<const RedisOptions> options)
      : keys_(options->cluster), own_(make_own(options)), pipeline_(*own_) {}

  void join(const Join& join, Then<Joined> then) override {
    auto keys = table_keys();
    keys.push_back(keys_.session(join.member.incarnation));
    keys.push_back(keys_.config());
    call(Script::join, std::move(keys),
         {text_of(join.member.incarnation), std::string(name_of(join.member.state)),
          join.member.name, row_rest_of(join.member), join.fingerprint, join.cluster_id,
          join.new_id, join.telemetry, std::to_string(join.session_ttl.count())},
         joined_of, std::move(then));
  }

  void renew(Incarnation node, const std::string& telemetry, milliseconds ttl,
             Then<Renewed> then) override {
    call(Script::renew, {keys_.session(node), keys_.version(), keys_.votes(node)},
         {telemetry, std::to_string(ttl.count())}, renewed_of, std::move(then));
  }

  void set_state(Incarnation node, NextState state, Then<StateChanged> then) override {
    auto keys = table_keys();
    keys.push_back(keys_.session(node));
    call(Script::set_state, std::move(keys), {text_of(node), std::string(word_of(state))},
         state_changed_of, std::move(then));
  }

  void evict(Incarnation voter, Incarnation target, Evidence evidence, milliseconds hold,
             Then<Evicted> then) override {
    auto keys = table_keys();
    for (auto key : {keys_.session(voter), keys_.session(target), keys_.votes(target),
                     keys_.condemned(), keys_.evictions()}) {
      keys.push_back(std::move(key));
    }
    call(Script::evict, std::move(keys),
         {text_of(voter), text_of(target), std::string(1, static_cast<char>(evidence)),
          std::to_string(hold.count())},
         evicted_of, std::move(then));
  }

  void withdraw_vote(Incarnation voter, Incarnation target, Then<Done> then) override {
    const auto read = [](Reply) { return Status(Done{}); };
    call(Script::withdraw_vote, {keys_.votes(target)}, {text_of(voter)}, read, std::move(then));
  }

  void reap(Incarnation target, Then<Reaped> then) override {
    auto keys = table_keys();
    keys.push_back(keys_.session(target));
    call(Script::reap, std::move(keys), {text_of(target)}, reaped_of, std::move(then));
  }

  void read_view(Then<MembershipView> then) override {
    const auto read = [](Reply reply) { return view_of(reply[0], reply[1]); };
    call(Script::read_view, {keys_.members(), keys_.version()}, {}, read, std::move(then));
  }

  void sessions(const std::vector<Incarnation>& nodes, Then<std::vector<bool>> then) override {
    std::vector<std::string> keys;
    for (const Incarnation node : nodes) keys.push_back(keys_.session(node));
    const auto read = [](Reply reply) {
      std::vector<bool> alive;
      for (std::size_t i = 0; i < reply.size(); ++i) alive.push_back(reply[i].number() == 1);
      return Result<std::vector<bool>>(std::move(alive));
    };
    call(Script::sessions, std::move(keys), {}, read, std::move(then));
  }

  void read_cluster(Then<std::pair<std::string, std::string>> then) override {
    const auto read = [](Reply reply) {
      return Result<std::pair<std::string, std::string>>(
          std::pair{std::string(reply[0].text()), std::string(reply[1].text())});
    };
    call(Script::read_cluster, {keys_.config()}, {}, read, std::move(then));
  }

 private:
  static std::unique_ptr<Pipeline> make_own(const std::shared_ptr<const RedisOptions>& options) {
    return std::make_unique<Pipeline>(
        options,
        [tell = options->on_link](bool up, const std::string& why, const std::string& run_id) {
          if (tell) tell(up, up ? why + ", run id " + run_id : why);
        });
  }
  std::vector<std::string> table_keys() const {
    return {keys_.members(), keys_.version(), keys_.log(), keys_.ended()};
  }
  template <class Value, class Read>
  void call(Script script, std::vector<std::string> keys, std::vector<std::string> arguments,
            Read read, Then<Value> then) {
    pipeline_.submit(Pipeline::Call{.script = script,
                                    .keys = std::move(keys),
                                    .arguments = std::move(arguments),
                                    .then = answer_by<Value>(read, std::move(then))});
  }

  const ClusterKeys keys_;
  std::unique_ptr<Pipeline> own_;
  Pipeline& pipeline_;
};

// ---- state --------------------------------------------------------------------------------------

Result<Loaded> loaded_of(Reply reply, const std::vector<OperationId>& wanted) {
  Loaded loaded;
  if (reply[0].text() == "FENCED") {
    loaded.fenced = true;
    loaded.token = token_in(reply[1].text());
    return loaded;
  }
  if (reply[0].text() != "OK") return unreadable(Script::entity_load, "the answer");
  const Reply fields = reply[1];
  for (std::size_t i = 0; i + 1 < fields.size(); i += 2) {
    const std::string_view name = fields[i].text(), bytes = fields[i + 1].text();
    if (name == field::version) loaded.version = bytes;
    if (name == field::state) loaded.state = bytes;
    if (name == field::bookkeeping) loaded.bookkeeping = bytes;
  }
  loaded.stored = static_cast<std::size_t>(positive(reply[3]));
  loaded.saga_stored = static_cast<std::size_t>(positive(reply[6]));
  loaded.whole = reply[4].size() > 0;
  auto newer = operations_of(reply[4][0]);
  auto older = operations_of(reply[4][1]);
  if (!newer) return newer.error();
  if (!older) return older.error();
  auto saga = operations_of(reply[4][2]);
  if (!saga) return saga.error();
  loaded.newer = std::move(*newer);
  loaded.older = std::move(*older);
  loaded.saga = std::move(*saga);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!reply[5][i].is_text()) continue;
    auto record = parse_record(reply[5][i].text());
    if (!record) return unreadable(Script::entity_load, record.error().text);
    loaded.found.emplace_back(wanted[i], std::move(*record));
  }
  return loaded;
}

Result<OutboxPage> outbox_page_of(Reply reply) {
  OutboxPage page;
  page.fenced = reply[0].text() == "FENCED";
  if (page.fenced) return page;
  const Reply entries = reply[1];
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Reply fields = entries[i][1];
    page.entries.push_back({std::string(entries[i][0].text()), std::string(fields[1].text())});
  }
  return page;
}

Result<TimerPage> timer_page_of(Reply reply) {
  TimerPage page;
  page.fenced = reply[0].text() == "FENCED";
  if (page.fenced) return page;
  const Reply due = reply[1], messages = reply[2];
  for (std::size_t i = 0; i + 1 < due.size(); i += 2) {
    page.timers.push_back(
        {std::string(due[i].text()), due[i + 1].number(), std::string(messages[i / 2].text())});
  }
  return page;
}

Result<Seen> seen_of(Reply reply) {
  const std::string_view says = reply[0].text();
  Seen seen;
  if (says == "FENCED") {
    seen.outcome = Seen::Outcome::fenced;
    seen.token = token_in(reply[1].text());
  } else if (says == "FULL") {
    seen.outcome = Seen::Outcome::full;
  } else {
    const auto at = parse_number(reply[1].text());
    if (!at) return unreadable(Script::first_seen, "a time");
    seen.at_ms = static_cast<std::int64_t>(*at);
  }
  return seen;
}

class RedisStateStore final : public StateStore {
 public:
  RedisStateStore(std::string cluster, const std::vector<std::unique_ptr<Pipeline>>& pipelines)
      : cluster_(std::move(cluster)), pipelines_(pipelines) {}

  void load(const Load& load, Then<Loaded> then) override {
    const ShardKeys keys(cluster_, load.shard);
    std::vector<std::string> arguments{text_of(load.token), std::to_string(load.whole_up_to)};
    for (const OperationId& id : load.wanted) arguments.push_back(bytes_of(id));
    const auto read = [wanted = load.wanted](Reply reply) { return loaded_of(reply, wanted); };
    of(load.shard)
        .submit(Pipeline::Call{
            .script = Script::entity_load,
            .keys = {keys.owner(), keys.state(load.entity), keys.operations(load.entity),
                     keys.older_operations(load.entity), keys.saga_operations(load.entity),
                     keys.log(load.entity)},
            .arguments = std::move(arguments),
            .then = answer_by<Loaded>(read, std::move(then))});
  }

  void commit(Commit commit, Then<Committed> then) override {
    const std::size_t operations =
        commit.operations.size() + commit.saga_operations.size() + commit.forgotten.size();
    if (operations > most_operations) {
      return then(Error{Code::failed, "a commit of " + text_of(commit.entity) + " records " +
                                          std::to_string(operations) + " operations; at most " +
                                          std::to_string(most_operations) + " fit in one script"});
    }
    Pipeline& pipeline = of(commit.shard);
    pipeline.submit(std::make_unique<WaitingCommit>(cluster_, std::move(commit), std::move(then)));
  }

  void read_outbox(ShardId shard, const OwnerToken& token, const std::string& after,
                   std::size_t limit, Then<OutboxPage> then) override {
    const ShardKeys keys(cluster_, shard);
    of(shard).submit(
        Pipeline::Call{.script = Script::read_outbox,
                       .keys = {keys.owner(), keys.outbox()},
                       .arguments = {text_of(token), after.empty() ? "-" : '(' + after,
                                     std::to_string(std::min(limit, most_in_page))},
                       .then = answer_by<OutboxPage>(outbox_page_of, std::move(then))});
  }

  void trim_outbox(ShardId shard, const OwnerToken& token, const std::string& through,
                   Then<bool> then) override {
    const auto keep_from = next_stream_id(through);
    if (!keep_from) return then(keep_from.error());
    const ShardKeys keys(cluster_, shard);
    const auto read = [](Reply reply) { return Result<bool>(reply[0].text() == "OK"); };
    of(shard).submit(Pipeline::Call{.script = Script::trim_outbox,
                                    .keys = {keys.owner(), keys.outbox()},
                                    .arguments = {text_of(token), *keep_from},
                                    .then = answer_by<bool>(read, std::move(then))});
  }

  void read_timers(ShardId shard, const OwnerToken& token, std::int64_t until_ms, std::size_t limit,
                   Then<TimerPage> then) override {
    const ShardKeys keys(cluster_, shard);
    of(shard).submit(
        Pipeline::Call{.script = Script::read_timers,
                       .keys = {keys.owner(), keys.timers(), keys.timer_messages()},
                       .arguments = {text_of(token), std::to_string(until_ms),
                                     std::to_string(std::min(limit, most_timers_in_page))},
                       .then = answer_by<TimerPage>(timer_page_of, std::move(then))});
  }

  void first_seen(const FirstSeen& id, Then<Seen> then) override {
    const ShardKeys keys(cluster_, id.shard);
    std::vector<std::string> tables{keys.owner()};
    for (const std::int64_t day : seen_days(id.now_ms, id.retention)) {
      tables.push_back(keys.client_keys(day));
    }
    of(id.shard).submit(Pipeline::Call{
        .script = Script::first_seen,
        .keys = std::move(tables),
        .arguments = {text_of(id.token), bytes_of(id.id), std::to_string(id.now_ms),
                      std::to_string(seen_ttl(id.retention).count()), std::to_string(id.cap)},
        .writes = true,
        .then = answer_by<Seen>(seen_of, std::move(then))});
  }

  Waiting waiting() const override {
    Waiting all;
    for (const auto& pipeline : pipelines_) {
      const Waiting one = pipeline->waiting();
      all.now += one.now;
      all.sent += one.sent;
    }
    return all;
  }

 private:
  Pipeline& of(ShardId shard) const { return *pipelines_[shard.value % pipelines_.size()]; }

  const std::string cluster_;
  const std::vector<std::unique_ptr<Pipeline>>& pipelines_;
};

// ---- dead letters -------------------------------------------------------------------------------

LetterAnswer letter_answer_of(Reply reply) {
  using Outcome = LetterAnswer::Outcome;
  const std::string_view says = reply[0].text();
  if (says == "FENCED") return {Outcome::fenced, 0};
  const auto length = static_cast<std::uint64_t>(reply[1].number());
  if (says == "CONFLICT") return {Outcome::conflict, length};
  if (says == "ALREADY") return {Outcome::already, length};
  return {says == "FULL" ? Outcome::full : Outcome::ok, length};
}

Result<Letters> letters_of(Reply reply) {
  Letters letters;
  letters.fenced = reply[0].text() == "FENCED";
  for (std::size_t i = 0; !letters.fenced && i < reply[1].size(); ++i)
    letters.letters.emplace_back(reply[1][i].text());
  return letters;
}

Result<LetterBoxes> letter_boxes_of(Reply reply) {
  LetterBoxes found;
  found.fenced = reply[0].text() == "FENCED";
  if (found.fenced) return found;
  const Reply members = reply[1], lengths = reply[2];
  for (std::size_t i = 0; i + 1 < members.size(); i += 2) {
    const std::size_t place = i / 2;
    const std::int64_t length = place < lengths.size() ? lengths[place].number() : 0;
    found.boxes.push_back({std::string(members[i].text()), members[i + 1].number(),
                           static_cast<std::uint64_t>(length)});
  }
  return found;
}

class RedisLetterStore final : public LetterStore {
 public:
  RedisLetterStore(std::string cluster, const std::vector<std::unique_ptr<Pipeline>>& pipelines)
      : cluster_(std::move(cluster)), pipelines_(pipelines) {}

  void park(const LetterBox& box, std::uint64_t expected, std::uint64_t cap, std::int64_t now_ms,
            std::vector<std::string> letters, Then<LetterAnswer> then) override {
    const ShardKeys keys(cluster_, box.shard);
    std::vector<std::string> arguments{text_of(box.token), box.name, std::to_string(now_ms),
                                       std::to_string(cap), std::to_string(expected)};
    for (std::string& letter : letters) arguments.push_back(std::move(letter));
    const auto read = [](Reply reply) { return Result<LetterAnswer>(letter_answer_of(reply)); };
    of(box.shard).submit(
        Pipeline::Call{.script = Script::dead_letter,
                       .keys = {keys.owner(), keys.letters(box.name), keys.letters()},
                       .arguments = std::move(arguments),
                       .writes = true,
                       .then = answer_by<LetterAnswer>(read, std::move(then))});
  }

  void park_tell(TellLetter tell, Then<LetterAnswer> then) override {
    const LetterBox& box = tell.box;
    const ShardKeys keys(cluster_, box.shard);
    const auto read = [](Reply reply) { return Result<LetterAnswer>(letter_answer_of(reply)); };
    of(box.shard).submit(
        Pipeline::Call{.script = Script::park_tell,
                       .keys = {keys.owner(), keys.letters(box.name), keys.letters(),
                                keys.letter_bytes(), keys.outbox()},
                       .arguments = {text_of(box.token), box.name, std::to_string(tell.now_ms),
                                     std::to_string(tell.cap), std::to_string(tell.cap_bytes),
                                     std::move(tell.stream_id), std::move(tell.letter)},
                       .writes = true,
                       .then = answer_by<LetterAnswer>(read, std::move(then))});
  }

  void park_timer(TimerLetter timer, Then<LetterAnswer> then) override {
    const LetterBox& box = timer.box;
    const ShardKeys keys(cluster_, box.shard);
    const auto read = [](Reply reply) { return Result<LetterAnswer>(letter_answer_of(reply)); };
    of(box.shard).submit(
        Pipeline::Call{.script = Script::park_timer,
                       .keys = {keys.owner(), keys.letters(box.name), keys.letters(),
                                keys.letter_bytes(), keys.timers(), keys.timer_messages()},
                       .arguments = {text_of(box.token), box.name, std::to_string(timer.now_ms),
                                     std::to_string(timer.cap), std::to_string(timer.cap_bytes),
                                     std::move(timer.member), std::to_string(timer.due_ms),
                                     std::move(timer.letter)},
                       .writes = true,
                       .then = answer_by<LetterAnswer>(read, std::move(then))});
  }

  void boxes(ShardId shard, const OwnerToken& token, Then<LetterBoxes> then) override {
    ask_boxes(shard, token, {},
              [this, shard, token, then = std::move(then)](Result<LetterBoxes> names) {
                if (!names.ok() || names->boxes.empty()) return then(std::move(names));
                ask_boxes(shard, token, names->boxes, then);
              });
  }

  void read(const LetterBox& box, std::uint64_t limit, Then<Letters> then) override {
    if (limit == 0) return then(Letters{});
    read(box, "0", std::to_string(limit - 1), std::move(then));
  }
  void read_last(const LetterBox& box, Then<Letters> then) override {
    read(box, "-1", "-1", std::move(then));
  }

  void take(const LetterBox& box, const std::string& letter, Then<LetterAnswer> then) override {
    const ShardKeys keys(cluster_, box.shard);
    const auto read = [](Reply reply) { return Result<LetterAnswer>(letter_answer_of(reply)); };
    std::vector<std::string> all{keys.owner(), keys.letters(box.name), keys.letters()};
    if (box.of_tells) all.push_back(keys.letter_bytes());
    of(box.shard).submit(Pipeline::Call{.script = Script::take_letter,
                                        .keys = std::move(all),
                                        .arguments = {text_of(box.token), letter, box.name},
                                        .writes = true,
                                        .then = answer_by<LetterAnswer>(read, std::move(then))});
  }

 private:
  void read(const LetterBox& box, std::string first, std::string last, Then<Letters> then) {
    const ShardKeys keys(cluster_, box.shard);
    of(box.shard).submit(
        Pipeline::Call{.script = Script::read_letters,
                       .keys = {keys.owner(), keys.letters(box.name)},
                       .arguments = {text_of(box.token), std::move(first), std::move(last)},
                       .then = answer_by<Letters>(letters_of, std::move(then))});
  }
  void ask_boxes(ShardId shard, const OwnerToken& token, const std::vector<LetterBoxes::Box>& names,
                 Then<LetterBoxes> then) {
    const ShardKeys keys(cluster_, shard);
    std::vector<std::string> all{keys.owner(), keys.letters()};
    for (const LetterBoxes::Box& box : names) all.push_back(keys.letters(box.name));
    of(shard).submit(
        Pipeline::Call{.script = Script::letter_boxes,
                       .keys = std::move(all),
                       .arguments = {text_of(token)},
                       .then = answer_by<LetterBoxes>(letter_boxes_of, std::move(then))});
  }
  Pipeline& of(ShardId shard) const { return *pipelines_[shard.value % pipelines_.size()]; }

  const std::string cluster_;
  const std::vector<std::unique_ptr<Pipeline>>& pipelines_;
};

/// Many connections told as one link: down at the first loss, up when all stand.
class Link {
 public:
  Link(std::size_t connections, std::function<void(bool, std::string)> tell)
      : up_(connections, false), tell_(std::move(tell)) {}

  void changed(std::size_t connection, bool up, const std::string& why, const std::string& run_id) {
    const std::lock_guard lock(mutex_);  // held while telling, so that news keep their order
    up_[connection] = up;
    const bool all = std::find(up_.begin(), up_.end(), false) == up_.end();
    if (!tell_ || (up && !all) || told_ == all) return;
    told_ = all;
    if (!all) return tell_(false, why);
    const bool other = !run_id_.empty() && run_id_ != run_id;
    tell_(true, why + ", run id " + run_id +
                    (other ? ": another primary than before (" + run_id_ + ')' : ""));
    run_id_ = run_id;
  }

 private:
  std::mutex mutex_;
  std::vector<bool> up_;
  std::optional<bool> told_;
  std::string run_id_;
  const std::function<void(bool, std::string)> tell_;
};

}  // namespace

// ---- all of them --------------------------------------------------------------------------------

namespace {

/// The options as all connections of a store share them.
std::shared_ptr<const RedisOptions> shared(RedisOptions options) {
  if (!options.primary) options.primary = std::make_shared<PrimaryWatch>();
  return std::make_shared<const RedisOptions>(std::move(options));
}

}  // namespace

struct RedisStores::Private {
  explicit Private(RedisOptions given)
      : options(shared(std::move(given))),
        link(std::make_shared<Link>(std::size_t{1} + std::max(1u, options->connections),
                                    options->on_link)),
        ownership(make_pipeline(0)),
        owners(options->cluster, *ownership),
        members(options->cluster, *ownership),
        state(options->cluster, pipelines),
        sagas(options->cluster, pipelines),
        letters(options->cluster, pipelines) {
    for (unsigned i = 0; i < std::max(1u, options->connections); ++i) {
      pipelines.push_back(make_pipeline(i + 1));
    }
    if (!options->sentinels.empty()) patrol = std::make_unique<SentinelPatrol>(options);
  }

  std::unique_ptr<Pipeline> make_pipeline(std::size_t place) {
    return std::make_unique<Pipeline>(
        options, [link = link, place](bool up, const std::string& why, const std::string& run_id) {
          link->changed(place, up, why, run_id);
        });
  }

  std::shared_ptr<const RedisOptions> options;
  std::shared_ptr<Link> link;
  std::unique_ptr<Pipeline> ownership;
  std::vector<std::unique_ptr<Pipeline>> pipelines;
  RedisOwnerStore owners;
  RedisMemberStore members;
  RedisStateStore state;
  RedisSagaStore sagas;
  RedisLetterStore letters;
  std::unique_ptr<SentinelPatrol> patrol;  // only with sentinels
};

RedisStores::RedisStores(RedisOptions options)
    : private_(std::make_unique<Private>(std::move(options))) {}
RedisStores::~RedisStores() = default;

OwnerStore& RedisStores::owners() { return private_->owners; }
MemberStore& RedisStores::members() { return private_->members; }
StateStore& RedisStores::state() { return private_->state; }
SagaStore& RedisStores::sagas() { return private_->sagas; }
LetterStore* RedisStores::letters() { return &private_->letters; }
Status RedisStores::check_boot() const { return catga::check_boot(*private_->options); }
std::string RedisStores::primary_id() const { return private_->options->primary->primary_id(); }

std::unique_ptr<MemberStore> make_redis_member_store(const RedisOptions& options) {
  return std::make_unique<RedisMemberStore>(shared(options));
}

}  // namespace catga
