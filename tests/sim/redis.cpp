#include "redis.hpp"

#include <catga/persistence/redis/backoff.hpp>
#include <catga/runtime/outbox_entry.hpp>

#include "kinds.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace catga::sim {

namespace {
constexpr std::size_t most_calls = 1024;
constexpr int most_passes = 4;  // as in the pipeline: the last one by text
const Error lost_under_way{Code::unknown, "the connection to Redis was lost before the answer"};
}  // namespace

// ---- the server ---------------------------------------------------------------------------------

Redis::Redis(World& in, Oracle& judge, RedisManners how, Break bug)
    : world(in),
      oracle(judge),
      manners(how),
      planted(bug),
      primary_([this] { return run_at_; }),
      replica_([this] { return run_at_; }),
      old_([this] { return run_at_; }) {}

std::int64_t Redis::time_ms() const { return epoch_ms + world.now() / 1000 + clock_jump_; }

void Redis::arrive(std::vector<RequestHandle> trip, Manner manner,
                   std::function<void(std::vector<Happening>)> answer) {
  if (stalled_until_ > world.now()) {
    stalled_.push_back(
        [this, manner, trip = std::move(trip), answer = std::move(answer)]() mutable {
          arrive(std::move(trip), manner, std::move(answer));
        });
    return;
  }
  if (manner.behind && !is_split()) return;  // that server takes no writes any more
  std::vector<Happening> answers;
  Moment leave = world.now();
  for (const RequestHandle& request : trip) {
    if (!has_script(manner)) {
      answers.emplace_back();
      continue;
    }
    if (misconf_ || (full_ && request->commit)) {
      const Error no = misconf_ ? Error{Code::unavailable, "MISCONF the disk is full"}
                                : Error{Code::overloaded, "OOM memory is full"};
      answers.push_back([request, no] { request->refuse(no); });
      continue;
    }
    run_at_ = time_ms();
    if (manner.behind) {
      answers.push_back(run_behind(request, manner.hold_reads));
      continue;
    }
    answers.push_back(request->run(primary_, true));
    if (request->changes) keep_for_replica(request);
    if (manners.wait && request->waits && planted != Break::answer_before_replica)
      leave = std::max(leave, last_replicated_);
  }
  if (leave == world.now()) return answer(std::move(answers));
  world.at(leave, [answer = std::move(answer), answers = std::move(answers), id = run_id_,
                   this]() mutable {
    if (id == run_id_) answer(std::move(answers));
  });
}

bool Redis::has_script(const Manner& manner) {
  if (flush_after_ && (*flush_after_)-- == 0) {
    flush_after_.reset();
    scripts_there_ = false;
    world.say("redis", "forgets its scripts");
  }
  return scripts_there_ || manner.by_text;
}

/// The old primary has no replica any more: WAIT counts none, and the pipeline gives up in the end.
Happening Redis::run_behind(const RequestHandle& request, bool hold_reads) {
  runs_behind_ = true;
  Happening answer = request->run(old_, true);
  runs_behind_ = false;
  if (!manners.wait || !(request->waits || hold_reads)) return answer;
  return [this, request] {
    world.here->after(manners.command_timeout * ms, [request] {
      request->refuse({request->waits ? Code::unknown : Code::unavailable,
                       "too few replicas have acknowledged it, or what was written before"});
    });
  };
}

void Redis::keep_for_replica(const RequestHandle& request) {
  if (!manners.failovers) return;
  last_replicated_ = std::max(last_replicated_, world.now() + world.dice.skewed(0, manners.lag));
  log_.push_back({run_at_, last_replicated_, request});
  if (log_.size() > 64) replicate();
}

void Redis::replicate() {
  while (!log_.empty() && log_.front().replicated <= world.now()) replicate_one();
}

void Redis::replicate_one() {
  run_at_ = log_.front().time_ms;
  log_.front().request->run(replica_, false);
  log_.pop_front();
}

void Redis::stop() {
  up_ = false;
  break_all(nullptr);
}

void Redis::break_all(const Machine* of) {
  for (Pipe* pipe : std::vector(pipes_)) {
    const bool meant = of == nullptr || &pipe->machine_ == of;
    if (meant && pipe->alive()) pipe->machine_.after(0, [pipe] { pipe->lost(lost_under_way); });
  }
}

void Redis::start() { up_ = true; }

void Redis::stall(Moment until) {
  stalled_until_ = until;
  world.at(until, [this] {
    if (world.now() < stalled_until_) return;
    for (Happening& late : std::exchange(stalled_, {})) late();
  });
}

void Redis::failover() {
  end_split();
  promote();
  break_all(nullptr);
}

/// Whether anybody ever joined there.
bool has_cluster(MemoryStores& data) {
  bool there = false;
  data.members().read_view(
      [&there](const Result<MembershipView>& view) { there = view && view->version.value != 0; });
  return there;
}

/// The replica becomes the primary, with what it has.
void Redis::promote() {
  replicate();
  // A failover from before the cluster leaves nothing to go on with; the nodes say so, and end.
  while (!log_.empty() && !has_cluster(replica_)) replicate_one();
  world.say("redis", "fails over: " + std::to_string(log_.size()) + " writes are lost");
  log_.clear();
  last_replicated_ = 0;
  primary_.become(replica_);
  replica_.become(primary_);
  stalled_.clear();
  run_id_ = std::to_string(world.dice.bits());
  oracle.rolled_back(*this);
}

void Redis::split(std::set<std::string> behind) {
  end_split();
  oracle.splits();
  old_.become(primary_);
  old_run_id_ = run_id_;
  behind_ = std::move(behind);
  promote();
  for (Pipe* pipe : std::vector(pipes_)) {
    pipe->behind_ = is_behind(pipe->machine_);
    if (!pipe->behind_ && pipe->alive())
      pipe->machine_.after(0, [pipe] { pipe->lost(lost_under_way); });
  }
}

void Redis::move_over(const Machine& machine) {
  if (behind_.erase(machine.name) == 0) return;
  world.say("redis", machine.name + " is led to the new primary");
  break_all(&machine);
}

void Redis::end_split() {
  if (!is_split()) return;
  world.say("redis", "the old primary is deposed");
  old_run_id_.clear();
  for (Pipe* pipe : std::vector(pipes_)) {
    if (pipe->behind_ && pipe->alive())
      pipe->machine_.after(0, [pipe] { pipe->lost(lost_under_way); });
  }
  behind_.clear();
  oracle.split_ends();
}

void Redis::cut_off(const Machine& machine, bool off) {
  if (off)
    unreachable_.insert(machine.name);
  else
    unreachable_.erase(machine.name);
}

void Redis::break_connections(const Machine& machine) { break_all(&machine); }

void Redis::heal() {
  end_split();
  flush_after_.reset();
  up_ = true;
  full_ = misconf_ = false;
  unreachable_.clear();
  if (stalled_until_ > world.now()) stall(world.now());
}

void Redis::clear() {
  log_.clear();
  stalled_.clear();
}

std::string Redis::state_of(ShardId shard, const EntityId& entity) const {
  return primary_.peek(shard, entity).state;
}

bool Redis::is_member(Incarnation node) const {
  return primary_.has_member(node) || (is_split() && old_.has_member(node));
}

std::size_t Redis::longest_queue() const {
  std::size_t longest = 0;
  for (const Pipe* pipe : pipes_) longest = std::max(longest, pipe->waiting_.size());
  return longest;
}

// ---- a pipeline ---------------------------------------------------------------------------------

Pipe::Pipe(Redis& redis, Machine& machine)
    : redis_(redis), machine_(machine), life_(machine.life()) {
  redis_.pipes_.push_back(this);
  lost_at_ = machine.boot_ms();
  connect();
}

Pipe::~Pipe() { std::erase(redis_.pipes_, this); }

void Pipe::submit(RequestHandle request) {
  if (waiting_.size() >= redis_.manners.pending) {
    return request->refuse({Code::overloaded, "too much waits for Redis (commit.pending)",
                            std::chrono::milliseconds{100}});
  }
  waiting_.push_back({std::move(request), machine_.boot_ms()});
  if (!connected_ || !under_way_.empty() || std::exchange(departing_, true)) return;
  machine_.after(0, [this] { depart(); });
}

void Pipe::depart() {
  departing_ = false;
  if (!connected_ || !under_way_.empty() || waiting_.empty()) return;
  while (!waiting_.empty() && under_way_.size() < std::min(most_calls, redis_.manners.batch)) {
    under_way_.push_back(std::move(waiting_.front().request));
    waiting_.pop_front();
  }
  pass_ = 1;
  travel();
}

Moment Pipe::latency() {
  return redis_.world.dice.skewed(redis_.manners.least, redis_.manners.most);
}

void Pipe::travel() {
  World& world = redis_.world;
  const std::uint64_t trip = ++trip_, of = generation_;
  // Whatever becomes of this process, the trip is on its way.
  Redis* redis = &redis_;
  Machine* machine = &machine_;
  const std::uint64_t life = machine_.life();
  const Manner manner{pass_ == most_passes, behind_, unconfirmed_};
  const auto waits = [](const RequestHandle& request) { return request->waits; };
  if (redis_.manners.wait && std::any_of(under_way_.begin(), under_way_.end(), waits))
    unconfirmed_ = true;
  const auto answer = [this, redis, machine, life, trip, of](std::vector<Happening> answers) {
    if (machine->life() != life || !redis->reachable(*machine)) return;
    machine->at(
        redis->world.now() + redis->world.dice.skewed(redis->manners.least, redis->manners.most),
        [this, trip, of, answers = std::move(answers)] {
          if (generation_ != of || trip_ != trip || under_way_.empty()) return;
          answered(answers);
        },
        true);
  };
  world.after(latency(), [redis, machine, life, of, this, trip_requests = under_way_, manner,
                          answer] {
    const bool gone = machine->life() != life || generation_ != of || !redis->up_ ||
                      redis->unreachable_.contains(machine->name);
    if (!gone) return redis->arrive(trip_requests, manner, answer);
    // The connection broke while it was on its way: it may have come through, come late, or not.
    const auto fate = redis->world.dice.below(3);
    if (fate == 0) return;
    const Moment wait = fate == 1 ? 0 : redis->world.dice.between(1 * ms, stretched(3 * second));
    redis->world.after(wait, [redis, trip_requests, manner, id = redis->run_id_] {
      if (id == redis->run_id_ && redis->up_) redis->arrive(trip_requests, manner, [](auto) {});
    });
  });
  machine_.after(redis_.manners.command_timeout * ms, [this, trip, of] {
    if (generation_ == of && trip_ == trip && !under_way_.empty())
      lost({Code::unknown, "Redis does not answer"});
  });
  if (world.dice.chance(redis_.manners.silent_loss)) {
    machine_.after(world.dice.skewed(0, stretched(4 * ms)), [this, trip, of] {
      if (generation_ == of && trip_ == trip && !under_way_.empty()) lost(lost_under_way);
    });
  }
}

/// What met NOSCRIPT goes again, in its order, before anything that waits.
void Pipe::answered(const std::vector<Happening>& answers) {
  if (!behind_) unconfirmed_ = false;
  std::vector<RequestHandle> again;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i]) again.push_back(std::move(under_way_[i]));
  }
  under_way_ = std::move(again);
  for (const Happening& one : answers) {
    if (one) one();
  }
  if (!under_way_.empty()) return load_scripts();
  if (!waiting_.empty() && !std::exchange(departing_, true))
    machine_.after(0, [this] { depart(); });
}

/// A trip of its own, there and back; then the rest of the trip before it travels again.
void Pipe::load_scripts() {
  machine_.say("sends " + std::to_string(under_way_.size()) +
               " requests again, after their scripts");
  ++pass_;
  const std::uint64_t trip = ++trip_, of = generation_;
  const auto ours = [this, trip, of] {
    return generation_ == of && trip_ == trip && !under_way_.empty();
  };
  machine_.after(latency(), [this, ours] {
    const bool silent = redis_.stalled_until_ > redis_.world.now();
    if (!ours() || silent || !redis_.reachable(machine_)) return;
    redis_.scripts_there_ = true;
    machine_.after(latency(), [this, ours] {
      if (ours()) travel();
    });
  });
  machine_.after(redis_.manners.command_timeout * ms, [this, ours] {
    if (ours()) lost({Code::unknown, "Redis does not answer"});
  });
}

void Pipe::lost(const Error& why) {
  ++generation_;
  const bool was = std::exchange(connected_, false);
  if (was) lost_at_ = machine_.boot_ms();
  for (const RequestHandle& request : std::exchange(under_way_, {})) request->refuse(why);
  connect();
}

void Pipe::connect() {
  if (connected_ || std::exchange(connecting_, true)) return;
  const auto rest = backoff(failures_).count() * ms;
  machine_.after(rest + redis_.world.dice.skewed(redis_.manners.least, redis_.manners.most) * 2,
                 [this] { attempt(); });
}

void Pipe::attempt() {
  connecting_ = false;
  const bool silent = redis_.stalled_until_ > redis_.world.now();
  if (redis_.reachable(machine_) && !silent) {
    connected_ = true;
    failures_ = 0;
    ++generation_;
    behind_ = redis_.is_behind(machine_);
    redis_.scripts_there_ = true;
    if (on_primary) on_primary(redis_.run_id(machine_));
    if (!waiting_.empty() && !std::exchange(departing_, true))
      machine_.after(0, [this] { depart(); });
    return;
  }
  ++failures_;
  expire();
  if (!silent) return connect();
  connecting_ = true;
  machine_.after(redis_.manners.connect_timeout * ms, [this] { attempt(); });
}

void Pipe::expire() {
  const std::int64_t before = machine_.boot_ms() - redis_.manners.command_timeout;
  if (lost_at_ > before) return;
  std::vector<RequestHandle> over;
  while (!waiting_.empty() && waiting_.front().since_ms < before) {
    over.push_back(std::move(waiting_.front().request));
    waiting_.pop_front();
  }
  const Error error{Code::unavailable, "no connection to Redis; nothing was sent"};
  for (const RequestHandle& request : over) request->refuse(error);
}

// ---- the stores ---------------------------------------------------------------------------------

namespace {

/// A request whose answer is a Value. `call(data, observed)` runs the twin and gives its result.
template <class Value, class Call>
RequestHandle request_of(Then<Value> then, bool changes, Call call) {
  auto request = std::make_shared<Request>();
  auto shared = std::make_shared<Then<Value>>(std::move(then));
  request->changes = changes;
  request->refuse = [shared](const Error& error) { (*shared)(error); };
  request->run = [shared, call = std::move(call)](MemoryStores& data, bool observed) -> Happening {
    auto result = std::make_shared<Result<Value>>(call(data, observed));
    if (!observed) return {};
    return [shared, result] { (*shared)(*result); };
  };
  return request;
}

/// The twin's answer, which comes before the call returns.
template <class Value, class Call>
Result<Value> take(Call call) {
  std::optional<Result<Value>> taken;
  call(Then<Value>([&taken](Result<Value> result) { taken.emplace(std::move(result)); }));
  return std::move(*taken);
}

OwnerRecord record_in(MemoryStores& data, ShardId shard) {
  return *take<OwnerRecord>([&](auto then) { data.owners().read(shard, then); });
}

}  // namespace

struct SimStores::Owners final : OwnerStore {
  Owners(SimStores& stores, Redis& server, Machine& on)
      : all(stores), redis(server), machine(on), pipe(server, on) {}

  void exchange(const Exchange& given, Then<Exchanged> then) override {
    const ShardId shard = given.shard;
    all.exchanges[shard].asked(given.nonce);
    pipe.submit([&] {
      auto request = request_of<Exchanged>(
          [this, shard, nonce = given.nonce, then = std::move(then)](Result<Exchanged> result) {
            if (result) {
              all.exchanges[shard].answered(nonce);
              if (all.lives.contains(result->record.owner())) all.ever_named.insert(shard);
            }
            then(std::move(result));
          },
          true,
          [this, wanted = given, by = &machine, lives = all.lives](MemoryStores& data,
                                                                   bool observed) {
            return run(wanted, data, observed, by, lives);
          });
      request->waits = true;
      return request;
    }());
  }

  Result<Exchanged> run(Exchange wanted, MemoryStores& data, bool observed, const Machine* by,
                        const std::set<Incarnation>& lives) const {
    const OwnerRecord before = record_in(data, wanted.shard);
    if (redis.planted == Break::no_compare) wanted.expected = before.token;
    const auto swap = [&] {
      return take<Exchanged>([&](auto then) { data.owners().exchange(wanted, then); });
    };
    Result<Exchanged> result = redis.planted == Break::bare_epochs ? data.at_time(0, swap) : swap();
    if (result && redis.planted == Break::quiet_assumed) result->quiet = true;
    if (!observed || !result || record_in(data, wanted.shard) == before) return result;
    const OwnerRecord& after = result->record;
    redis.world.say("redis", "shard " + std::to_string(wanted.shard.value) + ": " +
                                 (before.token ? text_of(*before.token) : "free") + " → " +
                                 (after.token ? text_of(*after.token) : "free") + " by " +
                                 by->name);
    redis.oracle.record_written(by, wanted.shard, before, after, lives, redis);
    return result;
  }

  void read(ShardId shard, Then<OwnerRecord> then) override {
    pipe.submit(request_of<OwnerRecord>(
        [this, shard, then = std::move(then)](Result<OwnerRecord> record) {
          if (record && redis.planted == Break::no_rv_check) record->written_under = {};
          if (record && all.lives.contains(record->owner())) all.ever_named.insert(shard);
          then(std::move(record));
        },
        false,
        [shard](MemoryStores& data, bool) -> Result<OwnerRecord> {
          return record_in(data, shard);
        }));
  }

  SimStores& all;
  Redis& redis;
  Machine& machine;
  Pipe pipe;
};

struct SimStores::Members final : MemberStore {
  Members(Redis& server, Machine& on) : redis(server), pipe(server, on) {}

  template <class Value, class Call>
  void call(bool changes, Then<Value> then, Call twin) {
    pipe.submit(request_of<Value>(
        std::move(then), changes, [this, twin, changes](MemoryStores& data, bool observed) {
          Result<Value> result = take<Value>([&](auto done) { twin(data.members(), done); });
          const bool renews = std::is_same_v<Value, Renewed>;
          if (changes && !renews && observed && !redis.runs_behind())
            redis.oracle.table_changed(
                *take<MembershipView>([&](auto done) { data.members().read_view(done); }));
          return result;
        }));
  }

  void join(const Join& join, Then<Joined> then) override {
    call<Joined>(true, std::move(then), [join](auto& data, auto done) { data.join(join, done); });
  }
  void renew(Incarnation node, const std::string& telemetry, std::chrono::milliseconds ttl,
             Then<Renewed> then) override {
    if (redis.planted == Break::revived_session) {
      return pipe.submit(request_of<Renewed>(
          std::move(then), true, [node, telemetry, ttl](MemoryStores& data, bool) {
            const auto ask = [&](auto done) { data.members().renew(node, telemetry, ttl, done); };
            Result<Renewed> renewed = take<Renewed>(ask);
            if (renewed && !renewed->alive && data.revive(node, ttl.count()))
              renewed = take<Renewed>(ask);
            return renewed;
          }));
    }
    call<Renewed>(true, std::move(then), [this, node, telemetry, ttl](auto& data, auto done) {
      data.renew(node, telemetry, ttl, [&](Result<Renewed> renewed) {
        if (redis.world.tracing)
          redis.world.say("redis",
                          "RENEW " + text_of(node) + (renewed->alive ? ": alive" : ": over"));
        done(std::move(renewed));
      });
    });
  }
  void set_state(Incarnation node, NextState state, Then<StateChanged> then) override {
    call<StateChanged>(true, std::move(then),
                       [node, state](auto& data, auto done) { data.set_state(node, state, done); });
  }
  void evict(Incarnation voter, Incarnation target, Evidence evidence,
             std::chrono::milliseconds hold, Then<Evicted> then) override {
    call<Evicted>(
        true,
        [this, target, then = std::move(then)](Result<Evicted> evicted) {
          if (evicted && evicted->outcome == Evicted::Outcome::evicted) {
            redis.world.say("redis", "evicts " + text_of(target));
            ++redis.world.tally.evictions;
          }
          then(std::move(evicted));
        },
        [=](auto& data, auto done) { data.evict(voter, target, evidence, hold, done); });
  }
  void withdraw_vote(Incarnation voter, Incarnation target, Then<Done> then) override {
    call<Done>(true, std::move(then),
               [voter, target](auto& data, auto done) { data.withdraw_vote(voter, target, done); });
  }
  void reap(Incarnation target, Then<Reaped> then) override {
    call<Reaped>(true, std::move(then),
                 [target](auto& data, auto done) { data.reap(target, done); });
  }
  void read_view(Then<MembershipView> then) override {
    call<MembershipView>(false, std::move(then),
                         [](auto& data, auto done) { data.read_view(done); });
  }
  void sessions(const std::vector<Incarnation>& nodes, Then<std::vector<bool>> then) override {
    call<std::vector<bool>>(false, std::move(then),
                            [nodes](auto& data, auto done) { data.sessions(nodes, done); });
  }
  void read_cluster(Then<std::pair<std::string, std::string>> then) override {
    call<std::pair<std::string, std::string>>(
        false, std::move(then), [](auto& data, auto done) { data.read_cluster(done); });
  }

  Redis& redis;
  Pipe pipe;
};

struct SimStores::State final : StateStore {
  State(SimStores& stores, Redis& server, Machine& on) : all(stores), redis(server), machine(on) {
    for (unsigned i = 0; i < server.manners.connections; ++i)
      pipes.push_back(std::make_unique<Pipe>(server, on));
  }
  Pipe& of(ShardId shard) { return *pipes[shard.value % pipes.size()]; }

  void load(const Load& load, Then<Loaded> then) override {
    if (redis.planted == Break::no_nonce) {
      then = [then = std::move(then)](Result<Loaded> loaded) { then(std::move(loaded)); };
    }
    of(load.shard)
        .submit(request_of<Loaded>(std::move(then), false, [this, load](MemoryStores& data, bool) {
          Load wanted = load;
          if (redis.planted == Break::bare_epochs)
            wanted.token = same_epoch(data, load.shard, load.token);
          Result<Loaded> loaded = take<Loaded>([&](auto done) { data.state().load(wanted, done); });
          if (loaded && redis.planted == Break::ids_uncounted) loaded->stored = SIZE_MAX;
          return loaded;
        }));
  }

  /// For the break that makes tokens bare counters: the token that stands, if its number is this.
  static OwnerToken same_epoch(MemoryStores& data, ShardId shard, const OwnerToken& used) {
    const auto stands = record_in(data, shard).token;
    return stands && stands->epoch == used.epoch ? *stands : used;
  }
  static std::string bare(const std::string& version) {
    return version.empty() ? version : version.substr(0, version.find('.')) + ".0";
  }

  void commit(Commit commit, Then<Committed> then) override {
    const Break bug = redis.planted;
    if (bug == Break::no_dedup) commit.operations.clear();
    if (bug == Break::rejections_not_recorded)
      std::erase_if(commit.operations, [](const auto& one) {
        return one.second.type == OperationRecord::Type::rejection;
      });
    if (bug == Break::outbox_forgotten && redis.world.dice.chance(0.2)) commit.outbox.clear();
    if (bug == Break::timer_unchecked) commit.fired.clear();
    if (bug == Break::timer_kept)
      std::erase_if(commit.timers, [](const TimerWrite& timer) { return !timer.due_ms; });
    if (bug == Break::no_nonce) {
      commit.expected = bare(commit.expected);
      commit.next = bare(commit.next);
    }
    if (bug == Break::unknown_as_refused) {
      then = [then = std::move(then)](Result<Committed> result) {
        if (!result && result.error().code == Code::unknown)
          result.error().code = Code::unavailable;
        then(std::move(result));
      };
    }
    Pipe& pipe = of(commit.shard);
    if (bug == Break::reply_before_commit) {
      then(Committed{});
      then = [](Result<Committed>) {};
    }
    auto request = request_of<Committed>(
        std::move(then), true,
        [this, commit = std::move(commit)](MemoryStores& data, bool observed) {
          return run(commit, data, observed);
        });
    request->waits = request->commit = true;
    pipe.submit(std::move(request));
  }

  Result<Committed> run(const Commit& given, MemoryStores& data, bool observed) const {
    Commit commit = given;
    const auto stood = record_in(data, commit.shard).token;
    if (redis.planted == Break::no_fence && stood) commit.token = *stood;
    if (redis.planted == Break::bare_epochs)
      commit.token = same_epoch(data, commit.shard, commit.token);
    if (redis.planted == Break::no_version_check) {
      const std::string version = data.peek(commit.shard, commit.entity).version;
      if (version != commit.next) commit.expected = version;
    }
    Result<Committed> result =
        take<Committed>([&](auto done) { data.state().commit(commit, done); });
    if (!observed || !result) return result;
    if (redis.world.tracing) tell(given, *result);
    if (result->outcome == Committed::Outcome::ok) {
      const Oracle::Writer writer{machine, all.lives, redis.runs_behind()};
      redis.oracle.committed(given, stood, writer);
    }
    if (result->outcome == Committed::Outcome::fenced) redis.oracle.fenced(given);
    return result;
  }

  void tell(const Commit& commit, const Committed& result) const {
    static constexpr std::array outcomes{"ok",        "already", "conflict",
                                         "duplicate", "fenced",  "timer gone"};
    std::string text = machine.name + " commits " + text_of(commit.entity) + ' ' + commit.expected +
                       " → " + commit.next + " under " + text_of(commit.token.epoch);
    for (const TimerWrite& timer : commit.timers)
      text += ", timer " + timer.member + (timer.due_ms ? " set" : " gone");
    if (!commit.outbox.empty()) text += ", " + std::to_string(commit.outbox.size()) + " tells";
    for (const auto& [id, record] : commit.operations) text += ", " + text_of(id).substr(0, 8);
    redis.world.say("redis", text + ": " + outcomes.at(static_cast<std::size_t>(result.outcome)));
  }
  static std::string text_of(Epoch epoch) { return std::to_string(epoch.value); }
  static std::string text_of(const EntityId& entity) { return catga::text_of(entity); }
  static std::string text_of(const OperationId& id) { return catga::text_of(id); }

  void read_outbox(ShardId shard, const OwnerToken& token, const std::string& after,
                   std::size_t limit, Then<OutboxPage> then) override {
    of(shard).submit(request_of<OutboxPage>(
        std::move(then), false, [this, shard, token, after, limit](MemoryStores& data, bool) {
          const OwnerToken used =
              redis.planted == Break::bare_epochs ? same_epoch(data, shard, token) : token;
          return take<OutboxPage>(
              [&](auto done) { data.state().read_outbox(shard, used, after, limit, done); });
        }));
  }

  void trim_outbox(ShardId shard, const OwnerToken& token, const std::string& through,
                   Then<bool> then) override {
    of(shard).submit(request_of<bool>(
        std::move(then), true, [this, shard, token, through](MemoryStores& data, bool observed) {
          const auto stood = record_in(data, shard).token;
          OwnerToken used = token;
          if (redis.planted == Break::unfenced_trim && stood) used = *stood;
          if (redis.planted == Break::bare_epochs) used = same_epoch(data, shard, token);
          const std::vector<OutboxEntry> entries = outbox(data, shard, used);
          std::string last = through;
          if (redis.planted == Break::trimmed_beyond && !entries.empty()) last = entries.back().id;
          const Result<bool> trimmed =
              take<bool>([&](auto done) { data.state().trim_outbox(shard, used, last, done); });
          if (observed && trimmed && *trimmed)
            redis.oracle.trimmed(shard, token, stood, tells_through(entries, last),
                                 {machine, all.lives, redis.runs_behind()});
          return trimmed;
        }));
  }

  static std::vector<OutboxEntry> outbox(MemoryStores& data, ShardId shard,
                                         const OwnerToken& token) {
    const auto page = take<OutboxPage>(
        [&](auto done) { data.state().read_outbox(shard, token, "", 100'000, done); });
    return page.ok() ? page->entries : std::vector<OutboxEntry>{};
  }

  /// The changes that the first entries of an outbox would make.
  static std::vector<std::int64_t> tells_through(const std::vector<OutboxEntry>& entries,
                                                 const std::string& last) {
    std::vector<std::int64_t> changes;
    for (const OutboxEntry& entry : entries) {
      if (number_of(entry.id) > number_of(last)) break;
      const auto tell = parse_tell(entry.bytes);
      if (!tell) continue;
      if (const auto credit = decode<Credit>(tell->payload); credit.ok())
        changes.push_back(credit->change);
    }
    return changes;
  }
  /// Of a stream id, `<ms>-<seq>`: both numbers, to be compared.
  static std::pair<std::uint64_t, std::uint64_t> number_of(const std::string& id) {
    return {std::stoull(id), std::stoull(id.substr(id.find('-') + 1))};
  }

  void read_timers(ShardId shard, const OwnerToken& token, std::int64_t until_ms, std::size_t limit,
                   Then<TimerPage> then) override {
    of(shard).submit(request_of<TimerPage>(
        std::move(then), false, [this, shard, token, until_ms, limit](MemoryStores& data, bool) {
          const OwnerToken used =
              redis.planted == Break::bare_epochs ? same_epoch(data, shard, token) : token;
          return take<TimerPage>(
              [&](auto done) { data.state().read_timers(shard, used, until_ms, limit, done); });
        }));
  }

  void first_seen(const FirstSeen& id, Then<Seen> then) override {
    of(id.shard).submit(
        request_of<Seen>(std::move(then), true, [this, id](MemoryStores& data, bool) {
          FirstSeen wanted = id;
          if (redis.planted == Break::bare_epochs)
            wanted.token = same_epoch(data, id.shard, id.token);
          return take<Seen>([&](auto done) { data.state().first_seen(wanted, done); });
        }));
  }

  SimStores& all;
  Redis& redis;
  Machine& machine;
  std::vector<std::unique_ptr<Pipe>> pipes;
};

/// Over the pipes of the state, as in Redis.
struct SimStores::Sagas final : SagaStore {
  explicit Sagas(State& beside) : state(beside) {}

  template <class Answer, class Call>
  void call(ShardId shard, bool writes, Then<Answer> then, Call run) {
    state.of(shard).submit(request_of<Answer>(
        std::move(then), writes, [run = std::move(run)](MemoryStores& data, bool) {
          return take<Answer>([&](auto done) { run(data.sagas(), done); });
        }));
  }

  void create(SagaCreate create, Then<SagaCreated> then) override {
    const ShardId shard = create.shard;
    call<SagaCreated>(
        shard, true, std::move(then),
        [create = std::move(create)](SagaStore& data, auto done) { data.create(create, done); });
  }
  void load(const SagaLoad& load, Then<SagaLoaded> then) override {
    call<SagaLoaded>(load.shard, load.after_crash, std::move(then),
                     [load](SagaStore& data, auto done) { data.load(load, done); });
  }
  void commit(SagaCommit commit, Then<SagaCommitted> then) override {
    const ShardId shard = commit.shard;
    call<SagaCommitted>(
        shard, true, std::move(then),
        [commit = std::move(commit)](SagaStore& data, auto done) { data.commit(commit, done); });
  }
  void list(const SagaQuery& query, Then<SagaPage> then) override {
    call<SagaPage>(query.shard, false, std::move(then),
                   [query](SagaStore& data, auto done) { data.list(query, done); });
  }
  void overview(ShardId shard, const OwnerToken& token, Then<SagaOverview> then) override {
    call<SagaOverview>(shard, false, std::move(then), [shard, token](SagaStore& data, auto done) {
      data.overview(shard, token, done);
    });
  }
  void tidy(const SagaTidy& tidy, Then<bool> then) override {
    call<bool>(tidy.shard, true, std::move(then),
               [tidy](SagaStore& data, auto done) { data.tidy(tidy, done); });
  }

  State& state;
};

SimStores::SimStores(Redis& redis, Machine& machine)
    : owners_(std::make_unique<Owners>(*this, redis, machine)),
      members_(std::make_unique<Members>(redis, machine)),
      state_(std::make_unique<State>(*this, redis, machine)),
      sagas_(std::make_unique<Sagas>(*state_)) {}
SimStores::~SimStores() = default;

void SimStores::watch_primary(const std::function<void(const std::string&)>& on_primary) {
  owners_->pipe.on_primary = members_->pipe.on_primary = on_primary;
  for (const auto& pipe : state_->pipes) pipe->on_primary = on_primary;
}

OwnerStore& SimStores::owners() { return *owners_; }
MemberStore& SimStores::members() { return *members_; }
StateStore& SimStores::state() { return *state_; }
SagaStore& SimStores::sagas() { return *sagas_; }

}  // namespace catga::sim
