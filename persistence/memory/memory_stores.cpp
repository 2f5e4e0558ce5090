// The twins of the scripts. What Redis does by itself (a time to live, an empty table that is no
// key any more) is said where it matters.
#include "catga/persistence/memory/memory_stores.hpp"

#include "catga/persistence/memory/saga_shelf.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <map>
#include <mutex>
#include <set>

namespace catga {
namespace {

using std::chrono::milliseconds;
using Operations = std::map<OperationId, OperationRecord>;

constexpr std::int64_t vote_ms = 1000;             // a vote not repeated for so long is none
constexpr std::int64_t ended_ms = 10 * 60 * 1000;  // ended incarnations are remembered for so long
constexpr std::int64_t budget_ms = 10 * 1000;
constexpr std::size_t most_operations = 3000, most_in_page = 1000,
                      most_timers_in_page = 10'000;  // as in Redis

/// The next version or epoch, in the arithmetic of Lua: at 2^53 both stop in the same place.
std::uint64_t next_number(std::uint64_t last, std::int64_t now_ms) {
  const double next = std::max(static_cast<double>(last) + 1, static_cast<double>(now_ms) * 1024);
  return static_cast<std::uint64_t>(next);
}

/// Something with a time to live. Redis still shows a key in the millisecond its time is over.
struct Life {
  std::optional<std::int64_t> until_ms;
  bool over(std::int64_t now) const { return until_ms && now > *until_ms; }
};

}  // namespace

struct MemoryStores::Private {
  explicit Private(std::function<std::int64_t()> clock)
      : now_ms(std::move(clock)),
        owners(*this),
        members(*this),
        state(*this),
        sagas(*this),
        letters(*this) {}

  /// Runs `twin(now)` under the mutex, then hands its result on without it.
  template <class Value, class Twin>
  void run(const Then<Value>& then, Twin twin) {
    std::optional<Result<Value>> result;
    {
      const std::lock_guard lock(mutex);
      result.emplace(twin(pretended ? *pretended : now_ms()));
    }
    then(std::move(*result));
  }

  // ---- owner records ----------------------------------------------------------------------------

  struct Record {
    OwnerRecord record;
    std::string nonce;
    Incarnation owner;  ///< `n`: as record.owner(), the field Redis keeps beside the token
  };

  class Owners final : public OwnerStore {
   public:
    explicit Owners(Private& all) : all_(all) {}

    void exchange(const Exchange& exchange, Then<Exchanged> then) override {
      all_.run<Exchanged>(then, [this, &exchange](std::int64_t now) -> Result<Exchanged> {
        std::optional<StreamId> through;
        if (!exchange.trim_through.empty()) {
          const auto id = parse_stream_id(exchange.trim_through);
          if (!id) return id.error();
          through = *id;
        }
        Shard& shard = all_.shards[exchange.shard];
        Record& kept = all_.records[exchange.shard];
        if (kept.record.token != exchange.expected) {
          return Exchanged{
              kept.nonce == exchange.nonce && kept.owner == exchange.owner && !kept.nonce.empty(),
              kept.record, shard.quiet()};
        }
        OwnerRecord& record = kept.record;
        if (kept.owner && kept.owner != exchange.owner) record.previous = kept.owner;
        record.epoch = Epoch{next_number(record.epoch.value, now)};
        record.token =
            exchange.owner ? std::optional(OwnerToken{record.epoch, exchange.owner}) : std::nullopt;
        record.written_under = exchange.view;
        kept.owner = exchange.owner;
        kept.nonce = exchange.nonce;
        if (through) shard.outbox.erase(shard.outbox.begin(), shard.outbox.upper_bound(*through));
        return Exchanged{true, record, shard.quiet()};
      });
    }

    void read(ShardId shard, Then<OwnerRecord> then) override {
      all_.run<OwnerRecord>(then, [this, shard](std::int64_t) {
        const auto found = all_.records.find(shard);
        return found == all_.records.end() ? OwnerRecord{} : found->second.record;
      });
    }

   private:
    Private& all_;
  };

  // ---- members ----------------------------------------------------------------------------------

  struct Vote {
    Evidence evidence = Evidence::quiet;
    std::int64_t first = 0, last = 0;
  };
  struct Ended {
    std::string name;
    bool evicted = false;
    std::int64_t at = 0;
  };

  bool has_session(Incarnation node, std::int64_t now) {
    const auto found = sessions.find(node);
    if (found == sessions.end()) return false;
    if (!found->second.over(now)) return true;
    sessions.erase(found);
    return false;
  }

  ViewVersion bump(std::int64_t now) {
    return version = ViewVersion{next_number(version.value, now)};
  }

  Member* find(const std::string& name, std::optional<MemberState> wanted) {
    for (auto& [incarnation, member] : table) {
      if (member.name == name && (!wanted || member.state == *wanted)) return &member;
    }
    return nullptr;
  }

  void promote(const std::string& name) {
    if (find(name, MemberState::up)) return;  // an older life ends, and its shadow is UP long since
    if (Member* shadow = find(name, MemberState::shadow)) shadow->state = MemberState::up;
  }

  bool drop(Incarnation node, bool evicted, std::int64_t now) {
    sessions.erase(node);
    const auto row = table.find(node);
    if (row == table.end()) return false;
    const std::string name = row->second.name;
    table.erase(row);
    ended[node] = {name, evicted, now};
    promote(name);
    bump(now);
    return true;
  }

  MembershipView view() const {
    MembershipView seen;
    seen.version = version;
    for (const auto& [incarnation, member] : table) seen.members.push_back(member);
    return seen;
  }

  std::map<Incarnation, Vote>& fresh_votes(Incarnation target, std::int64_t now) {
    auto& cast = votes[target];
    Life& life = vote_life[target];
    if (life.over(now)) cast.clear();  // the whole key has a time to live
    return cast;
  }

  Joined join_now(const Join& join, std::int64_t now) {
    using Outcome = Joined::Outcome;
    Joined joined;
    const auto refused = [&joined](Outcome outcome) {
      joined.outcome = outcome;
      return joined;
    };
    if (cluster_id.empty()) {
      if (!join.cluster_id.empty() || join.new_id.empty()) return refused(Outcome::empty);
      cluster_id = join.new_id;
      fingerprint = join.fingerprint;
    }
    if (!join.cluster_id.empty() && join.cluster_id != cluster_id) {
      joined.cluster_id = cluster_id;
      return refused(Outcome::other);
    }
    if (join.fingerprint != fingerprint) {
      joined.detail = fingerprint;
      return refused(Outcome::config);
    }
    std::erase_if(ended, [now](const auto& one) { return one.second.at <= now - ended_ms; });
    const Incarnation me = join.member.incarnation;
    if (ended.contains(me)) return refused(Outcome::spent);
    const auto strikes = std::count_if(ended.begin(), ended.end(), [&join](const auto& one) {
      return one.second.evicted && one.second.name == join.member.name;
    });
    const bool known = table.contains(me);
    if (known && !has_session(me, now)) return refused(Outcome::spent);
    if (!known) {
      const bool shadow = join.member.state == MemberState::shadow;
      if (const Member* twin =
              find(join.member.name, shadow ? std::optional(MemberState::shadow) : std::nullopt)) {
        joined.holder = twin->incarnation;
        return refused(Outcome::name);
      }
      sessions[me] = {now + join.session_ttl.count()};
      table[me] = join.member;
      bump(now);
    }
    joined.view = view();
    joined.cluster_id = cluster_id;
    joined.strikes = static_cast<unsigned>(strikes);
    return joined;
  }

  StateChanged set_state_now(Incarnation node, NextState next, std::int64_t now) {
    using Outcome = StateChanged::Outcome;
    const auto row = table.find(node);
    if (row == table.end() || !has_session(node, now)) return {Outcome::no_session, {}, {}};
    if (next == NextState::gone) {
      drop(node, false, now);
      return {Outcome::ok, version, {}};
    }
    Member& member = row->second;
    const MemberState wanted = next == NextState::up ? MemberState::up : MemberState::leaving;
    if (member.state == wanted) return {Outcome::ok, version, {}};
    if (wanted == MemberState::up) {
      if (const Member* twin = find(member.name, MemberState::up))
        return {Outcome::name, {}, twin->incarnation};
    } else if (member.state != MemberState::up) {
      return {Outcome::bad, {}, {}};
    }
    member.state = wanted;
    if (wanted == MemberState::leaving) promote(member.name);
    return {Outcome::ok, bump(now), {}};
  }

  static Evicted evicted_as(Evicted::Outcome outcome) {
    Evicted evicted;
    evicted.outcome = outcome;
    return evicted;
  }
  static Evicted braked_by(const char* brake) {
    Evicted evicted = evicted_as(Evicted::Outcome::brake);
    evicted.brake = brake;
    return evicted;
  }

  Evicted evict_now(Incarnation voter, Incarnation target, Evidence evidence, milliseconds hold,
                    std::int64_t now) {
    using Outcome = Evicted::Outcome;
    if (!has_session(voter, now)) return evicted_as(Outcome::no_session);
    if (!table.contains(target)) {
      Evicted gone = evicted_as(Outcome::gone);
      gone.version = version;
      return gone;
    }
    const std::size_t n = table.size(), need = n > 2 ? 2 : 1;
    const auto stale = [now](const Vote& vote) {
      return now - vote.last > vote_ms || now < vote.last;
    };
    auto& cast = fresh_votes(target, now);
    const auto mine = cast.find(voter);
    const std::int64_t since =
        mine != cast.end() && !stale(mine->second) ? mine->second.first : now;
    cast[voter] = {evidence, since, now};
    vote_life[target] = {now + vote_ms};
    for (auto* times : {&condemned, &evictions}) {
      std::erase_if(*times, [now](const auto& one) { return one.second > now; });
    }
    std::erase_if(cast, [&stale](const auto& one) { return stale(one.second); });
    std::size_t dead = 0;
    std::vector<std::int64_t> good;  // when each voter that is not condemned began
    for (const auto& [who, vote] : cast) {
      if (vote.evidence == Evidence::no_responders) ++dead;
      const auto bad = condemned.find(who);
      if (bad == condemned.end() || now - bad->second > vote_ms) good.push_back(vote.first);
    }
    if (cast.size() < need) {
      condemned.erase(target);
      Evicted voted;
      voted.votes = static_cast<unsigned>(cast.size());
      voted.need = static_cast<unsigned>(need);
      return voted;
    }
    condemned[target] = now;
    std::erase_if(condemned, [now](const auto& one) { return one.second <= now - vote_ms - 1; });
    if (n > 2 && 2 * condemned.size() >= n) return braked_by("mass");
    if (good.size() < need) return braked_by("voters");
    std::sort(good.begin(), good.end());
    const std::int64_t ripe = good[need - 1] + hold.count();
    if (now < ripe) {
      Evicted wait = evicted_as(Outcome::wait);
      wait.wait = milliseconds{ripe - now};
      return wait;
    }
    if (dead < need) {
      std::erase_if(evictions, [now](const auto& one) { return one.second <= now - budget_ms; });
      if (evictions.size() >= std::max<std::size_t>(1, n / 3)) return braked_by("budget");
      evictions[target] = now;
    }
    votes.erase(target);
    vote_life.erase(target);
    condemned.erase(target);
    drop(target, true, now);
    Evicted evicted = evicted_as(Outcome::evicted);
    evicted.version = version;
    return evicted;
  }

  class Members final : public MemberStore {
   public:
    explicit Members(Private& all) : all_(all) {}

    void join(const Join& join, Then<Joined> then) override {
      all_.run<Joined>(then, [this, &join](std::int64_t now) { return all_.join_now(join, now); });
    }

    void renew(Incarnation node, const std::string&, milliseconds ttl,
               Then<Renewed> then) override {
      all_.run<Renewed>(then, [this, node, ttl](std::int64_t now) {
        Renewed renewed;
        renewed.alive = all_.has_session(node, now);
        if (!renewed.alive) return renewed;
        all_.sessions[node] = {now + ttl.count()};
        renewed.version = all_.version;
        renewed.votes = static_cast<unsigned>(all_.fresh_votes(node, now).size());
        renewed.redis_us = now * 1000;
        return renewed;
      });
    }

    void set_state(Incarnation node, NextState state, Then<StateChanged> then) override {
      all_.run<StateChanged>(then, [this, node, state](std::int64_t now) {
        return all_.set_state_now(node, state, now);
      });
    }

    void evict(Incarnation voter, Incarnation target, Evidence evidence, milliseconds hold,
               Then<Evicted> then) override {
      all_.run<Evicted>(then, [this, voter, target, evidence, hold](std::int64_t now) {
        return all_.evict_now(voter, target, evidence, hold, now);
      });
    }

    void withdraw_vote(Incarnation voter, Incarnation target, Then<Done> then) override {
      all_.run<Done>(then, [this, voter, target](std::int64_t now) {
        all_.fresh_votes(target, now).erase(voter);
        return Done{};
      });
    }

    void reap(Incarnation target, Then<Reaped> then) override {
      all_.run<Reaped>(then, [this, target](std::int64_t now) {
        if (all_.has_session(target, now)) return Reaped{Reaped::Outcome::alive, {}};
        const bool dropped = all_.drop(target, false, now);
        return Reaped{dropped ? Reaped::Outcome::reaped : Reaped::Outcome::gone, all_.version};
      });
    }

    void read_view(Then<MembershipView> then) override {
      all_.run<MembershipView>(then, [this](std::int64_t) { return all_.view(); });
    }

    void sessions(const std::vector<Incarnation>& nodes, Then<std::vector<bool>> then) override {
      all_.run<std::vector<bool>>(then, [this, &nodes](std::int64_t now) {
        std::vector<bool> alive;
        for (const Incarnation node : nodes) alive.push_back(all_.has_session(node, now));
        return alive;
      });
    }

    void read_cluster(Then<std::pair<std::string, std::string>> then) override {
      all_.run<std::pair<std::string, std::string>>(then, [this](std::int64_t) {
        return std::pair{all_.fingerprint, all_.cluster_id};
      });
    }

   private:
    Private& all_;
  };

  // ---- state ------------------------------------------------------------------------------------

  /// One generation of operation ids. An empty one is no key in Redis: it has no life either.
  struct Generation {
    Operations records;
    Life life;
    void forget_if_over(std::int64_t now) {
      if (life.over(now)) *this = {};
    }
  };
  struct Entity {
    std::string version, state, bookkeeping;
    Life life;
    Generation newer, older, saga;

    void forget_what_is_over(std::int64_t now) {
      newer.forget_if_over(now);
      older.forget_if_over(now);
      saga.forget_if_over(now);
      if (!life.over(now)) return;
      version.clear();
      state.clear();
      bookkeeping.clear();
      life = {};
    }
    const OperationRecord* find(const OperationId& id) const {
      for (const Generation* generation : {&newer, &older}) {
        const auto found = generation->records.find(id);
        if (found != generation->records.end()) return &found->second;
      }
      return nullptr;
    }
    const OperationRecord* find_step(const OperationId& id) const {
      const auto found = saga.records.find(id);
      return found == saga.records.end() ? nullptr : &found->second;
    }
  };
  using StreamId = std::pair<std::uint64_t, std::uint64_t>;
  struct Day {
    std::map<OperationId, std::int64_t> seen;
    Life life;
  };
  struct Shard {
    std::map<EntityId, Entity> entities;
    std::map<std::int64_t, Day> days;  ///< ids of clients' keys
    std::map<StreamId, std::string> outbox;
    StreamId last_id{0, 0};  ///< of the outbox, entries trimmed included
    std::map<std::string, std::pair<std::int64_t, std::string>> timers;
    SagaShelf sagas;
    std::map<ShardId, Epoch> sources;
    struct Box {
      std::int64_t since_ms = 0;
      std::vector<std::string> letters;
    };
    std::map<std::string, Box> letters;  ///< by the name of the sequence
    std::uint64_t letter_bytes = 0;      ///< of those of tells
    bool quiet() const {
      return outbox.empty() && timers.empty() && sagas.idle() && sources.empty();
    }
    std::string append(std::string entry, std::int64_t now) {
      const StreamId clock{static_cast<std::uint64_t>(now), 0};
      const StreamId next{last_id.first, last_id.second + 1};
      last_id = clock > last_id ? clock : next;
      outbox[last_id] = std::move(entry);
      return text_of_stream_id(last_id);
    }
  };

  static std::string text_of_stream_id(const StreamId& id) {
    return std::to_string(id.first) + '-' + std::to_string(id.second);
  }
  static Result<StreamId> parse_stream_id(std::string_view text) {
    const auto dash = text.find('-');
    if (dash == text.npos) return Error{Code::malformed, "an outbox id is not <ms>-<number>"};
    const auto ms = parse_number(text.substr(0, dash));
    const auto number = parse_number(text.substr(dash + 1));
    if (!ms || !number) return Error{Code::malformed, "an outbox id is not <ms>-<number>"};
    return StreamId{*ms, *number};
  }

  /// The token of the record, and whether it is this one.
  std::optional<OwnerToken> standing(ShardId shard) const {
    const auto found = records.find(shard);
    return found == records.end() ? std::nullopt : found->second.record.token;
  }

  Result<Committed> commit_now(const Commit& commit, std::int64_t now) {
    using Outcome = Committed::Outcome;
    Committed committed;
    if (const auto token = standing(commit.shard); token != commit.token) {
      committed.outcome = Outcome::fenced;
      committed.token = token;
      return committed;
    }
    Shard& shard = shards[commit.shard];
    Entity& entity = shard.entities[commit.entity];
    entity.forget_what_is_over(now);
    if (entity.version == commit.next) {
      committed.outcome = Outcome::already;
    } else if (entity.version != commit.expected) {
      committed.outcome = Outcome::conflict;
      committed.version = entity.version;
    } else if (const std::string* gone = not_set(shard, commit)) {
      committed.outcome = Outcome::timer_gone;
      committed.timer = *gone;
    } else {
      for (const auto& [id, record] : commit.operations) {
        if (const OperationRecord* known = entity.find(id))
          committed.recorded.emplace_back(id, *known);
      }
      for (const auto& [id, record] : commit.saga_operations) {
        if (const OperationRecord* known = entity.find_step(id))
          committed.recorded.emplace_back(id, *known);
      }
      if (!committed.recorded.empty()) committed.outcome = Outcome::duplicate;
    }
    if (committed.outcome == Outcome::ok) write(shard, entity, commit, now, committed);
    return committed;
  }

  /// The first timer of `fired` that is gone or due at another time.
  static const std::string* not_set(const Shard& shard, const Commit& commit) {
    for (const auto& [member, due_ms] : commit.fired) {
      const auto timer = shard.timers.find(member);
      if (timer == shard.timers.end() || timer->second.first != due_ms) return &member;
    }
    return nullptr;
  }

  static void write(Shard& shard, Entity& entity, const Commit& commit, std::int64_t now,
                    Committed& committed) {
    entity.version = commit.next;
    if (commit.state) entity.state = *commit.state;
    if (commit.bookkeeping) entity.bookkeeping = *commit.bookkeeping;
    if (commit.expire_in) {
      entity.life.until_ms = commit.expire_in->count() == 0
                                 ? std::nullopt
                                 : std::optional(now + commit.expire_in->count());
    }
    if (commit.rotate) {
      entity.older = std::move(entity.newer);  // with its life, as RENAME
      entity.newer = {};
    }
    for (const auto& [id, record] : commit.operations) entity.newer.records[id] = record;
    if (commit.operations_ttl && !entity.newer.records.empty()) {
      entity.newer.life.until_ms = now + commit.operations_ttl->count();
    }
    for (const auto& [id, record] : commit.saga_operations) entity.saga.records[id] = record;
    for (const OperationId& id : commit.forgotten) entity.saga.records.erase(id);
    if (entity.saga.records.empty()) {
      entity.saga = {};  // no key, no life
    } else if (commit.saga_ttl) {
      entity.saga.life.until_ms = now + commit.saga_ttl->count();
    }
    for (const auto& [source, epoch] : commit.sources) shard.sources[source] = epoch;
    for (const TimerWrite& timer : commit.timers) {
      if (timer.due_ms) {
        shard.timers[timer.member] = {*timer.due_ms, timer.message};
      } else {
        shard.timers.erase(timer.member);
      }
    }
    for (const std::string& entry : commit.outbox) {
      committed.outbox.push_back(shard.append(entry, now));
    }
  }

  Loaded load_now(const Load& load, std::int64_t now) {
    Loaded loaded;
    if (const auto token = standing(load.shard); token != load.token) {
      loaded.fenced = true;
      loaded.token = token;
      return loaded;
    }
    const auto shard = shards.find(load.shard);
    if (shard == shards.end() || !shard->second.entities.contains(load.entity)) {
      loaded.whole = true;
      return loaded;
    }
    Entity& entity = shard->second.entities[load.entity];
    entity.forget_what_is_over(now);
    loaded.version = entity.version;
    loaded.state = entity.state;
    loaded.bookkeeping = entity.bookkeeping;
    loaded.stored = entity.newer.records.size() + entity.older.records.size();
    loaded.saga_stored = entity.saga.records.size();
    loaded.whole = loaded.stored + loaded.saga_stored <= load.whole_up_to;
    if (loaded.whole) {
      loaded.saga.assign(entity.saga.records.begin(), entity.saga.records.end());
      loaded.newer.assign(entity.newer.records.begin(), entity.newer.records.end());
      loaded.older.assign(entity.older.records.begin(), entity.older.records.end());
    }
    for (const OperationId& id : load.wanted) {
      const OperationRecord* record = entity.find(id);
      if (record == nullptr) record = entity.find_step(id);
      if (record != nullptr) loaded.found.emplace_back(id, *record);
    }
    return loaded;
  }

  Seen first_seen_now(const FirstSeen& wanted, std::int64_t now) {
    Seen seen;
    if (const auto token = standing(wanted.shard); token != wanted.token) {
      seen.outcome = Seen::Outcome::fenced;
      seen.token = token;
      return seen;
    }
    auto& days = shards[wanted.shard].days;
    std::erase_if(days, [now](const auto& day) { return day.second.life.over(now); });
    const std::vector<std::int64_t> known = seen_days(wanted.now_ms, wanted.retention);
    for (const std::int64_t day : known) {
      const auto kept = days.find(day);
      if (kept == days.end()) continue;
      const auto found = kept->second.seen.find(wanted.id);
      if (found == kept->second.seen.end()) continue;
      seen.at_ms = found->second;
      return seen;
    }
    const auto first = days.find(known.front());
    if ((first == days.end() ? 0 : first->second.seen.size()) >= wanted.cap) {
      seen.outcome = Seen::Outcome::full;
      return seen;
    }
    Day& today = days[known.front()];
    if (today.seen.empty()) today.life.until_ms = now + seen_ttl(wanted.retention).count();
    today.seen[wanted.id] = seen.at_ms = wanted.now_ms;
    return seen;
  }

  class State final : public StateStore {
   public:
    explicit State(Private& all) : all_(all) {}

    void load(const Load& load, Then<Loaded> then) override {
      all_.run<Loaded>(then, [this, &load](std::int64_t now) { return all_.load_now(load, now); });
    }

    void commit(Commit commit, Then<Committed> then) override {
      assert(!commit.next.empty() && commit.next != commit.expected);
      if (commit.operations.size() + commit.saga_operations.size() + commit.forgotten.size() >
          most_operations) {
        return then(Error{Code::failed, "a commit of " + text_of(commit.entity) +
                                            " records too many operations"});
      }
      all_.run<Committed>(
          then, [this, &commit](std::int64_t now) { return all_.commit_now(commit, now); });
    }

    void read_outbox(ShardId shard, const OwnerToken& token, const std::string& after,
                     std::size_t limit, Then<OutboxPage> then) override {
      all_.run<OutboxPage>(then, [&](std::int64_t) -> Result<OutboxPage> {
        OutboxPage page;
        page.fenced = all_.standing(shard) != token;
        if (page.fenced) return page;
        const auto& outbox = all_.shards[shard].outbox;
        auto next = outbox.begin();
        if (!after.empty()) {
          const auto id = parse_stream_id(after);
          if (!id) return id.error();
          next = outbox.upper_bound(*id);
        }
        for (; next != outbox.end() && page.entries.size() < std::min(limit, most_in_page);
             ++next) {
          page.entries.push_back({text_of_stream_id(next->first), next->second});
        }
        return page;
      });
    }

    void trim_outbox(ShardId shard, const OwnerToken& token, const std::string& through,
                     Then<bool> then) override {
      all_.run<bool>(then, [&](std::int64_t) -> Result<bool> {
        const auto id = parse_stream_id(through);
        if (!id) return id.error();
        if (all_.standing(shard) != token) return false;
        auto& outbox = all_.shards[shard].outbox;
        outbox.erase(outbox.begin(), outbox.upper_bound(*id));
        return true;
      });
    }

    void read_timers(ShardId shard, const OwnerToken& token, std::int64_t until_ms,
                     std::size_t limit, Then<TimerPage> then) override {
      all_.run<TimerPage>(then, [&](std::int64_t) {
        TimerPage page;
        page.fenced = all_.standing(shard) != token;
        if (page.fenced) return page;
        std::vector<TimerEntry> due;
        for (const auto& [member, timer] : all_.shards[shard].timers) {
          if (timer.first <= until_ms) due.push_back({member, timer.first, timer.second});
        }
        std::stable_sort(due.begin(), due.end(), [](const TimerEntry& a, const TimerEntry& b) {
          return a.due_ms < b.due_ms;
        });
        due.resize(std::min({due.size(), limit, most_timers_in_page}));
        page.timers = std::move(due);
        return page;
      });
    }

    void first_seen(const FirstSeen& id, Then<Seen> then) override {
      all_.run<Seen>(then, [this, &id](std::int64_t now) { return all_.first_seen_now(id, now); });
    }

   private:
    Private& all_;
  };

  // ---- sagas ------------------------------------------------------------------------------------

  static void write_timer(Shard& shard, const std::string& member,
                          const std::optional<std::int64_t>& due_ms) {
    if (due_ms) {
      shard.timers[member] = {*due_ms, ""};
    } else {
      shard.timers.erase(member);
    }
  }

  class Sagas final : public SagaStore {
   public:
    explicit Sagas(Private& all) : all_(all) {}

    void create(SagaCreate create, Then<SagaCreated> then) override {
      all_.run<SagaCreated>(then, [this, &create](std::int64_t now) {
        SagaCreated created;
        if (fenced(create, created)) return created;
        Shard& shard = all_.shards[create.shard];
        created = shard.sagas.create(create, now);
        if (created.outcome == SagaCreated::Outcome::ok && create.deadline_ms) {
          write_timer(shard, saga_timer_member(create.saga, saga_deadline_timer),
                      create.deadline_ms);
        }
        return created;
      });
    }

    void load(const SagaLoad& load, Then<SagaLoaded> then) override {
      all_.run<SagaLoaded>(then, [this, &load](std::int64_t now) {
        SagaLoaded loaded;
        if (fenced(load, loaded)) return loaded;
        return all_.shards[load.shard].sagas.load(load, now);
      });
    }

    void commit(SagaCommit commit, Then<SagaCommitted> then) override {
      assert(!commit.entries.empty());
      all_.run<SagaCommitted>(then, [this, &commit](std::int64_t now) {
        SagaCommitted committed;
        if (fenced(commit, committed)) return committed;
        Shard& shard = all_.shards[commit.shard];
        committed = shard.sagas.commit(commit, now);
        if (committed.outcome != SagaCommitted::Outcome::ok) return committed;
        for (const SagaTimerWrite& timer : commit.timers) {
          write_timer(shard, timer.member, timer.due_ms);
        }
        if (commit.place == SagaPlace::ended) {
          shard.timers.erase(saga_timer_member(commit.saga, saga_deadline_timer));
        }
        for (const std::string& entry : commit.outbox) {
          committed.outbox.push_back(shard.append(entry, now));
        }
        return committed;
      });
    }

    void list(const SagaQuery& query, Then<SagaPage> then) override {
      all_.run<SagaPage>(then, [this, &query](std::int64_t now) {
        SagaPage page;
        page.fenced = all_.standing(query.shard) != query.token;
        if (page.fenced) return page;
        return all_.shards[query.shard].sagas.list(query, now);
      });
    }

    void overview(ShardId shard, const OwnerToken& token, Then<SagaOverview> then) override {
      all_.run<SagaOverview>(then, [this, shard, &token](std::int64_t) {
        SagaOverview overview;
        overview.fenced = all_.standing(shard) != token;
        if (overview.fenced) return overview;
        const Shard& kept = all_.shards[shard];
        kept.sagas.count(overview);
        overview.sources.assign(kept.sources.begin(), kept.sources.end());
        return overview;
      });
    }

    void tidy(const SagaTidy& tidy, Then<bool> then) override {
      all_.run<bool>(then, [this, &tidy](std::int64_t) {
        if (all_.standing(tidy.shard) != tidy.token) return false;
        Shard& shard = all_.shards[tidy.shard];
        if (tidy.what == SagaTidy::What::timer) {
          shard.timers.erase(tidy.member);
        } else {
          shard.sagas.tidy(tidy);
        }
        return true;
      });
    }

   private:
    template <class Request, class Answer>
    bool fenced(const Request& request, Answer& answer) const {
      const auto token = all_.standing(request.shard);
      if (token == request.token) return false;
      answer.outcome = Answer::Outcome::fenced;
      answer.token = token;
      return true;
    }
    Private& all_;
  };

  // ---- dead letters -----------------------------------------------------------------------------

  class DeadLetters final : public LetterStore {
   public:
    explicit DeadLetters(Private& all) : all_(all) {}

    void park(const LetterBox& box, std::uint64_t expected, std::uint64_t cap, std::int64_t now_ms,
              std::vector<std::string> letters, Then<LetterAnswer> then) override {
      using Outcome = LetterAnswer::Outcome;
      all_.run<LetterAnswer>(then, [&](std::int64_t) -> LetterAnswer {
        if (all_.standing(box.shard) != box.token) return {Outcome::fenced, 0};
        auto& boxes = all_.shards[box.shard].letters;
        const auto found = boxes.find(box.name);
        const std::uint64_t length = found == boxes.end() ? 0 : found->second.letters.size();
        if (length != expected) return {Outcome::conflict, length};
        if (length + letters.size() > cap) return {Outcome::full, length};
        Shard::Box& kept = boxes.try_emplace(box.name, Shard::Box{now_ms, {}}).first->second;
        for (std::string& letter : letters) kept.letters.push_back(std::move(letter));
        return {Outcome::ok, kept.letters.size()};
      });
    }
    void park_tell(TellLetter tell, Then<LetterAnswer> then) override {
      all_.run<LetterAnswer>(then, [&](std::int64_t) {
        Shard& shard = all_.shards[tell.box.shard];
        const Result<StreamId> id = parse_stream_id(tell.stream_id);
        const auto entry = id.ok() ? shard.outbox.find(*id) : shard.outbox.end();
        return leave(tell, entry != shard.outbox.end(), [&] { shard.outbox.erase(entry); });
      });
    }
    void park_timer(TimerLetter timer, Then<LetterAnswer> then) override {
      all_.run<LetterAnswer>(then, [&](std::int64_t) {
        Shard& shard = all_.shards[timer.box.shard];
        const auto entry = shard.timers.find(timer.member);
        const bool there = entry != shard.timers.end() && entry->second.first == timer.due_ms;
        return leave(timer, there, [&] { shard.timers.erase(entry); });
      });
    }
    void boxes(ShardId shard, const OwnerToken& token, Then<LetterBoxes> then) override {
      all_.run<LetterBoxes>(then, [&](std::int64_t) {
        LetterBoxes found;
        found.fenced = all_.standing(shard) != token;
        if (found.fenced) return found;
        for (const auto& [name, box] : all_.shards[shard].letters)
          found.boxes.push_back({name, box.since_ms, box.letters.size()});
        std::stable_sort(found.boxes.begin(), found.boxes.end(),
                         [](const auto& a, const auto& b) { return a.since_ms < b.since_ms; });
        return found;
      });
    }
    void read(const LetterBox& box, std::uint64_t limit, Then<Letters> then) override {
      all_.run<Letters>(then, [&](std::int64_t) {
        Letters found;
        found.fenced = all_.standing(box.shard) != box.token;
        if (found.fenced) return found;
        for (const std::string& letter : letters_of(box))
          if (found.letters.size() < limit) found.letters.push_back(letter);
        return found;
      });
    }
    void read_last(const LetterBox& box, Then<Letters> then) override {
      all_.run<Letters>(then, [&](std::int64_t) {
        Letters found;
        found.fenced = all_.standing(box.shard) != box.token;
        if (found.fenced) return found;
        const std::vector<std::string> letters = letters_of(box);
        if (!letters.empty()) found.letters.push_back(letters.back());
        return found;
      });
    }
    void take(const LetterBox& box, const std::string& letter, Then<LetterAnswer> then) override {
      all_.run<LetterAnswer>(then, [&](std::int64_t) -> LetterAnswer {
        if (all_.standing(box.shard) != box.token) return {LetterAnswer::Outcome::fenced, 0};
        Shard& shard = all_.shards[box.shard];
        auto& boxes = shard.letters;
        const auto found = boxes.find(box.name);
        if (found == boxes.end()) return {LetterAnswer::Outcome::ok, 0};
        std::vector<std::string>& letters = found->second.letters;
        if (letters.front() == letter) {
          letters.erase(letters.begin());
          if (box.of_tells) shard.letter_bytes -= std::min(shard.letter_bytes, letter.size());
        }
        const std::uint64_t length = letters.size();
        if (letters.empty()) boxes.erase(found);
        return {LetterAnswer::Outcome::ok, length};
      });
    }

   private:
    /// What leaves its place for a letter, at once or not at all.
    template <class One, class Remove>
    LetterAnswer leave(One& one, bool is_there, Remove remove) {
      using Outcome = LetterAnswer::Outcome;
      if (all_.standing(one.box.shard) != one.box.token) return {Outcome::fenced, 0};
      Shard& shard = all_.shards[one.box.shard];
      const std::uint64_t length = letters_of(one.box).size();
      if (!is_there) return {Outcome::already, length};
      const std::uint64_t bytes = shard.letter_bytes + one.letter.size();
      if (length >= one.cap || bytes > one.cap_bytes) return {Outcome::full, length};
      remove();
      shard.letter_bytes = bytes;
      Shard::Box& box =
          shard.letters.try_emplace(one.box.name, Shard::Box{one.now_ms, {}}).first->second;
      box.letters.push_back(std::move(one.letter));
      return {Outcome::ok, length + 1};
    }
    std::vector<std::string> letters_of(const LetterBox& box) const {
      const auto& boxes = all_.shards[box.shard].letters;
      const auto found = boxes.find(box.name);
      return found == boxes.end() ? std::vector<std::string>{} : found->second.letters;
    }
    Private& all_;
  };

  std::mutex mutex;
  const std::function<std::int64_t()> now_ms;
  std::optional<std::int64_t> pretended;

  std::map<ShardId, Record> records;
  std::string cluster_id, fingerprint;
  ViewVersion version;
  std::map<Incarnation, Member> table;
  std::map<Incarnation, Life> sessions;
  std::map<Incarnation, std::map<Incarnation, Vote>> votes;  ///< against whom, by whom
  std::map<Incarnation, Life> vote_life;
  std::map<Incarnation, std::int64_t> condemned, evictions;  ///< since when
  std::map<Incarnation, Ended> ended;
  std::map<ShardId, Shard> shards;

  Owners owners;
  Members members;
  State state;
  Sagas sagas;
  DeadLetters letters;
};

MemoryStores::MemoryStores(std::function<std::int64_t()> now_ms)
    : private_(std::make_unique<Private>(std::move(now_ms))) {}
MemoryStores::~MemoryStores() = default;

OwnerStore& MemoryStores::owners() { return private_->owners; }
MemberStore& MemoryStores::members() { return private_->members; }
StateStore& MemoryStores::state() { return private_->state; }
SagaStore& MemoryStores::sagas() { return private_->sagas; }
LetterStore* MemoryStores::letters() { return &private_->letters; }

void MemoryStores::become(const MemoryStores& other) {
  Private& mine = *private_;
  const Private& theirs = *other.private_;
  const std::scoped_lock lock(mine.mutex, other.private_->mutex);
  mine.records = theirs.records;
  mine.cluster_id = theirs.cluster_id;
  mine.fingerprint = theirs.fingerprint;
  mine.version = theirs.version;
  mine.table = theirs.table;
  mine.sessions = theirs.sessions;
  mine.votes = theirs.votes;
  mine.vote_life = theirs.vote_life;
  mine.condemned = theirs.condemned;
  mine.evictions = theirs.evictions;
  mine.ended = theirs.ended;
  mine.shards = theirs.shards;
}

Loaded MemoryStores::peek(ShardId shard, const EntityId& entity) const {
  const std::lock_guard lock(private_->mutex);
  Loaded found;
  const auto slice = private_->shards.find(shard);
  if (slice == private_->shards.end()) return found;
  const auto kept = slice->second.entities.find(entity);
  if (kept == slice->second.entities.end()) return found;
  found.version = kept->second.version;
  found.state = kept->second.state;
  found.bookkeeping = kept->second.bookkeeping;
  return found;
}

std::pair<std::size_t, std::size_t> MemoryStores::outputs(ShardId shard) const {
  const std::lock_guard lock(private_->mutex);
  const auto slice = private_->shards.find(shard);
  if (slice == private_->shards.end()) return {0, 0};
  return {slice->second.outbox.size(), slice->second.timers.size()};
}

std::optional<std::int64_t> MemoryStores::first_timer(ShardId shard) const {
  const std::lock_guard lock(private_->mutex);
  const auto slice = private_->shards.find(shard);
  std::optional<std::int64_t> first;
  if (slice == private_->shards.end()) return first;
  for (const auto& [member, timer] : slice->second.timers)
    first = first ? std::min(*first, timer.first) : timer.first;
  return first;
}

bool MemoryStores::has_member(Incarnation node) const {
  const std::lock_guard lock(private_->mutex);
  return private_->table.contains(node);
}

bool MemoryStores::revive(Incarnation node, std::int64_t session_ms) {
  const std::lock_guard lock(private_->mutex);
  Private& data = *private_;
  const auto gone = data.ended.find(node);
  if (gone == data.ended.end() || data.find(gone->second.name, std::nullopt) != nullptr)
    return false;
  const std::int64_t now = data.pretended ? *data.pretended : data.now_ms();
  data.table[node] = Member{node, MemberState::up, gone->second.name, 1, "-", "-", now};
  data.sessions[node] = {now + session_ms};
  data.ended.erase(gone);
  data.bump(now);
  return true;
}

void MemoryStores::pretend(std::optional<std::int64_t> now_ms) {
  const std::lock_guard lock(private_->mutex);
  private_->pretended = now_ms;
}

}  // namespace catga
