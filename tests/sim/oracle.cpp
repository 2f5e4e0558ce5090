#include "oracle.hpp"

#include <catga/entities/codec.hpp>
#include <catga/runtime/bookkeeping.hpp>
#include <catga/sharding/hash.hpp>

#include <algorithm>

namespace catga::sim {

namespace {

thread_local Oracle* current = nullptr;
constexpr std::int64_t clocks_differ = 200;  // ms, a node's idea of cluster time and the world's
constexpr Moment past_kept = stretched(20 * second);  // no question is open for longer

std::string name_of_change(std::int64_t change) {
  const std::int64_t kind = change % numbers_per_change;
  std::string text = "change " + std::to_string(change / numbers_per_change);
  if (kind == told) text += " (its tell)";
  if (kind == timed) text += " (its timer)";
  if (kind == asked) text += " (its ask)";
  return text;
}

}  // namespace

Oracle::Oracle(World& world, Rules rules)
    : world_(world), rules_(rules), before_(std::exchange(current, this)) {}
Oracle::~Oracle() { current = before_; }

Oracle& Oracle::here() { return *current; }

// ---- from the entities --------------------------------------------------------------------------

void Oracle::handler_runs(const EntityId& entity) {
  ++handlers;
  const NodeEyes* node = eyes_of(world_.here);
  if (node == nullptr) return;
  const ShardId shard = shard_of(entity.kind, entity.key, rules_.shards);
  const std::string who = world_.here->name;
  if (!node->session_ok())
    return fail("I1: a handler of " + text_of(entity) + " runs on " + who +
                " after its session deadline");
  if (store_ != nullptr && !store_->is_member(node->incarnation())) {
    const Moment since = not_a_member_.try_emplace(node->incarnation(), world_.now()).first->second;
    if (world_.now() - since > rules_.session + rules_.session / 4)
      return fail("I1: a handler of " + text_of(entity) + " runs on " + who +
                  ", whose membership " + "ended longer than a session ago");
  } else {
    not_a_member_.erase(node->incarnation());
  }
  if (const std::string why = node->why_outvoted(); !why.empty())
    return fail("R34: a handler of " + text_of(entity) + " runs on " + who + " although " + why);
  if (const std::string why = node->why_not_run(shard); !why.empty())
    fail("I1: a handler of " + text_of(entity) + " (shard " + std::to_string(shard.value) +
         ") runs on " + who + " although " + why);
}

std::int64_t Oracle::change_made(const EntityId& entity, std::int64_t change, std::int64_t before,
                                 std::int64_t count) {
  const std::string bytes = text_of(entity) + '\n' + std::to_string(before) + '\n' +
                            std::to_string(change) + '\n' + std::to_string(count);
  const auto hash = static_cast<std::int64_t>(hash64(40, bytes) >> 2);
  changes_[hash] = {before, change, count};
  if (world_.tracing)
    world_.say(world_.here->name, "runs " + name_of_change(change) + " of " + text_of(entity) +
                                      " as its " + std::to_string(count));
  return hash;
}

void Oracle::promised(std::int64_t change, Promise promise) {
  promises_.insert_or_assign(change, Owed{std::move(promise), world_.now() / ms});
}

// ---- from the store -----------------------------------------------------------------------------

void Oracle::record_written(const Machine* by, ShardId shard, const OwnerRecord& before,
                            const OwnerRecord& after, const std::set<Incarnation>& lives,
                            const StoreEyes& store) {
  const std::string where = "shard " + std::to_string(shard.value);
  if (after.epoch <= before.epoch)
    fail("I4: the epoch of " + where + " does not grow: " + std::to_string(before.epoch.value) +
         " → " + std::to_string(after.epoch.value));
  if (after.token) {
    const std::string token = std::to_string(shard.value) + ':' + text_of(*after.token);
    const auto [minted, first] = tokens_.try_emplace(token, after.owner());
    if (minted->second != after.owner())
      fail("I3: the token " + token + " of " + text_of(minted->second) + " is made again for " +
           text_of(after.owner()));
  }
  const Incarnation old = before.owner();
  if (after.owner() && after.owner() != old) {
    Tally& tally = world_.tally;
    ++(lives.contains(old) && !lives.contains(after.owner()) ? tally.moves : tally.claims);
  }
  if (!old || lives.contains(old) || old == after.owner()) return;
  // A failover may bring back a member that others saw end. It knows: its audit.
  if (failovers != 0) return;
  if (store.is_member(old))
    fail("I5: " + (by == nullptr ? std::string("somebody") : by->name) + " takes " + where +
         " from " + text_of(old) + ", which is still a member");
}

/// Whoever writes under a token is the one it was made for.
void Oracle::check_token(ShardId shard, const OwnerToken& token, const Writer& writer) {
  const std::string name = std::to_string(shard.value) + ':' + text_of(token);
  const auto minted = tokens_.find(name);
  if (minted == tokens_.end())
    return fail("I3: " + writer.machine.name + " writes under the token " + name +
                ", which was never made");
  if (!writer.lives.contains(minted->second))
    fail("I3: " + writer.machine.name + " writes under the token " + name + ", which is that of " +
         text_of(minted->second));
}

void Oracle::committed(const Commit& commit, const std::optional<OwnerToken>& stood,
                       const Writer& writer) {
  ++commits;
  if (stood != commit.token)
    return fail("I2: a commit of " + text_of(commit.entity) + " under token " +
                text_of(commit.token) + " was written while " +
                (stood ? text_of(*stood) : std::string("none")) + " stood");
  check_token(commit.shard, commit.token, writer);
  if (commit.bookkeeping) {
    if (const auto known = parse_generations(*commit.bookkeeping); known.ok())
      floors_[commit.entity] = known->floor;
  }
  if (!commit.state) return;
  const auto page = decode<Page>(*commit.state);
  if (!page) return fail("the state of " + text_of(commit.entity) + " cannot be read");
  if (writer.behind)
    adopt_behind(commit.entity, behind_[commit.entity], page->hash, page->count);
  else
    adopt(commit.entity, stored(commit.entity), page->hash, page->count);
}

/// The store holds a new state: it must continue the one before.
std::optional<Oracle::Steps> Oracle::steps_to(const EntityId& entity, const Stored& kept,
                                              std::int64_t hash, std::int64_t count) {
  Steps fresh;
  for (std::int64_t at = hash; at != kept.hash;) {
    const auto made = changes_.find(at);
    if (made == changes_.end() || fresh.size() > 10'000) {
      fail("I7: the new state of " + text_of(entity) + " (" + std::to_string(count) +
           " changes) does not continue what the store held (" + std::to_string(kept.count) +
           " changes)");
      return std::nullopt;
    }
    fresh.emplace_back(at, made->second);
    at = made->second.before;
  }
  std::reverse(fresh.begin(), fresh.end());
  return fresh;
}

void Oracle::adopt(const EntityId& entity, Stored& kept, std::int64_t hash, std::int64_t count) {
  const std::optional<Steps> fresh = steps_to(entity, kept, hash, count);
  if (!fresh) return;
  for (const auto& [at, made] : *fresh) {
    const std::int64_t change = made.change;
    const auto [place, first] = applied_.insert({change, {entity, made.count, at}});
    if (!first && !rules_.timers_once && change % numbers_per_change == timed) continue;
    if (!first)
      return fail("I6: " + name_of_change(change) + " is applied twice: to " + text_of(entity) +
                  " as its " + std::to_string(made.count) + ". and to " +
                  text_of(place->second.entity) + " as its " + std::to_string(place->second.count) +
                  '.');
    if (told_refused_.contains(change))
      return fail("CL3: " + name_of_change(change) + " of " + text_of(entity) +
                  " is applied after its caller was told that it was not");
    const auto no = told_no_.find(change);
    if (no != told_no_.end() && no->second == failovers)
      return fail("I6: " + name_of_change(change) + " of " + text_of(entity) +
                  " is applied after its caller was told that it was rejected");
    cut_.erase(change);
  }
  write_past(kept, *fresh, hash, count);
}

/// The same at the old primary, by itself: what it adds will be lost.
void Oracle::adopt_behind(const EntityId& entity, Stored& kept, std::int64_t hash,
                          std::int64_t count) {
  const std::optional<Steps> fresh = steps_to(entity, kept, hash, count);
  if (!fresh) return;
  for (const auto& [at, made] : *fresh) {
    if (!applied_behind_.insert(made.change).second)
      return fail("I6: " + name_of_change(made.change) + " is applied twice to " + text_of(entity) +
                  " at the old primary, as its " + std::to_string(made.count) + '.');
    if (told_refused_.contains(made.change))
      return fail("CL3: " + name_of_change(made.change) + " of " + text_of(entity) +
                  " is applied at the old primary after its caller was told that it was not");
    added_behind_.insert(made.change);
    if (!applied_.contains(made.change)) cut_.insert(made.change);
  }
  write_past(kept, *fresh, hash, count);
}

void Oracle::write_past(Stored& kept, const Steps& fresh, std::int64_t hash,
                        std::int64_t count) const {
  const Moment now = world_.now();
  if (!kept.past.empty()) kept.past.back().until = now;
  if (kept.past.empty()) kept.past.push_back({kept.hash, 0, now});
  while (kept.past.size() > 2 && kept.past.front().until < now - past_kept)
    kept.past.erase(kept.past.begin());
  // Several turns in one write took effect one after the other, all at this moment.
  for (const auto& [at, made] : fresh) kept.past.push_back({at, now, now});
  kept.past.back().until = INT64_MAX;
  if (fresh.empty()) kept.past.push_back({hash, now, INT64_MAX});
  kept.hash = hash;
  kept.count = count;
}

void Oracle::trimmed(ShardId shard, const OwnerToken& used, const std::optional<OwnerToken>& stood,
                     const std::vector<std::int64_t>& tells, const Writer& writer) {
  if (stood != used)
    return fail("I2: the outbox of shard " + std::to_string(shard.value) +
                " was trimmed under token " + text_of(used) + ", which does not stand");
  check_token(shard, used, writer);
  for (const std::int64_t change : tells) {
    if (!applied_.contains(change) && !applied_behind_.contains(change)) given_up(change, shard);
  }
}

/// Its tell left the outbox, and it has not happened.
void Oracle::given_up(std::int64_t change, ShardId shard) {
  // A clock that jumped makes messages too old to be remembered.
  if (rules_.redis_time_jumps || (failovers != 0 && !rules_.failovers_noticed)) return;
  // Delivered, answered, and then cut off by a failover: lost like any acknowledged write.
  if (cut_.contains(change) && !rules_.replicated) return;
  const auto promise = promises_.find(change - told);
  if (promise == promises_.end())
    return fail("I8: the outbox of shard " + std::to_string(shard.value) + " held " +
                name_of_change(change) + ", which no handler promised");
  const EntityId& target = promise->second.promise.entity;
  const std::int64_t made = promise->second.at_ms;
  const auto floor = floors_.find(target);
  const bool forgotten = floor != floors_.end() && epoch_ms + made <= floor->second + clocks_differ;
  if (forgotten || world_.now() / ms - made > rules_.retention_ms - clocks_differ) {
    too_old_.insert(change);
    return;
  }
  fail("I8: the outbox of shard " + std::to_string(shard.value) + " is trimmed past " +
       name_of_change(change) + " for " + text_of(target) +
       ", which has not happened and is not too old");
}

void Oracle::table_changed(const MembershipView& table) {
  if (table.members == table_ && table.version == table_version_) return;
  if (table.version <= table_version_)
    fail("I11: the table of members changes, and its version does not grow: " +
         std::to_string(table_version_.value) + " → " + std::to_string(table.version.value));
  for (const catga::Member& member : table_) {
    if (table.find(member.incarnation) == nullptr) ended_.insert(member.incarnation);
  }
  for (const catga::Member& member : table.members) {
    if (ended_.contains(member.incarnation))
      fail("I11: " + text_of(member.incarnation) + " is a member again, after its end");
  }
  table_ = table.members;
  table_version_ = table.version;
}

void Oracle::fenced(const Commit& commit) {
  if (rules_.calm)
    fail("a commit of " + text_of(commit.entity) +
         " was fenced although shards only moved as planned");
}

void Oracle::splits() {
  split_ = true;
  const auto before = std::exchange(behind_, stored_);
  for (auto& [entity, kept] : behind_) {
    if (kept.past.empty()) kept.past.push_back({kept.hash, 0, INT64_MAX});
  }
  // Who asked before the last split ended may be answered after the next one began.
  for (const auto& [entity, kept] : before) {
    const auto [now_behind, unknown] = behind_.try_emplace(entity);
    auto& past = now_behind->second.past;
    if (unknown) past.push_back({0, 0, INT64_MAX});  // in this history it was never written
    past.insert(past.begin(), kept.past.begin(), kept.past.end());
  }
  applied_behind_.clear();
  added_behind_.clear();
  for (const auto& [change, place] : applied_) applied_behind_.insert(change);
}

void Oracle::split_ends() {
  ++failovers;  // of whoever was left behind
  split_ended_ = world_.now();
  split_ = false;
  // Who has not met the new primary yet answers from its memory, at most until its session ends.
  for (auto& [entity, kept] : behind_) {
    if (!kept.past.empty()) kept.past.back().until = world_.now() + rules_.session;
  }
}

void Oracle::rolled_back(const StoreEyes& store) {
  ++failovers;
  // Another history: what ended in the one before may not have ended in this one.
  table_.clear();
  table_version_ = {};
  ended_.clear();
  for (auto& [entity, kept] : stored_) {
    const std::string bytes =
        store.state_of(shard_of(entity.kind, entity.key, rules_.shards), entity);
    Page page;
    if (!bytes.empty()) {
      const auto read = decode<Page>(bytes);
      if (!read) return fail("the state of " + text_of(entity) + " cannot be read");
      page = *read;
    }
    if (page.hash == kept.hash) continue;
    for (std::int64_t at = kept.hash; at != page.hash;) {
      const auto made = changes_.find(at);
      if (made == changes_.end())
        return fail("the simulator's failover kept something that is no prefix");
      const std::int64_t change = made->second.change;
      applied_.erase(change);
      cut_.insert(change);
      if (rules_.replicated && acknowledged_.contains(change))
        return fail("I7: " + name_of_change(change) + " of " + text_of(entity) +
                    " was acknowledged, with WAIT, and the failover lost it");
      at = made->second.before;
    }
    // Who has not met the new primary yet answers from its memory, at most until its session ends.
    if (!kept.past.empty())
      kept.past.back().until = world_.now() + (rules_.replicated ? 0 : rules_.session);
    kept.past.push_back({page.hash, world_.now(), INT64_MAX});
    kept.hash = page.hash;
    kept.count = page.count;
  }
}

// ---- from the callers ---------------------------------------------------------------------------

void Oracle::answered(const Question& question, const Result<Page>& answer) {
  ++answers;
  const std::string what = question.what + " to " + text_of(question.entity);
  const std::int64_t change = question.change;
  if (!answer) {
    const Code code = answer.error().code;
    if (code == Code::not_found || code == Code::malformed)
      return fail(what + " was answered " + std::string(name_of(code)) + ": " +
                  answer.error().text);
    if (rules_.calm && code != Code::rejected && code != Code::overloaded && code != Code::failed)
      return fail("nothing went wrong, and yet " + what + " was answered " +
                  std::string(name_of(code)) + ": " + answer.error().text);
    if (change == 0) return;
    if (code == Code::rejected) {
      if (applied_.contains(change) && !told_by_two())
        return fail("I6: " + what + " was answered `rejected`, and " + name_of_change(change) +
                    " is applied");
      // While there are two histories, it may have been rejected by the one that goes.
      told_no_[change] = told_by_two() ? UINT64_MAX : failovers;
    }
    if ((code == Code::unavailable || code == Code::overloaded) && !rules_.messages_repeat &&
        !question.repeated) {
      if (applied_.contains(change))
        return fail("CL3: " + what + " was answered `" + std::string(name_of(code)) + "` (" +
                    answer.error().text + "), and " + name_of_change(change) + " is applied");
      if (split_ && added_behind_.contains(change))
        return fail("CL3: " + what + " was answered `" + std::string(name_of(code)) + "` (" +
                    answer.error().text + "), and " + name_of_change(change) +
                    " is applied at the old primary");
      told_refused_.insert(change);
    }
    return;
  }
  ++good_answers;
  if (change == 0) {
    if (!rules_.reads_linearizable) return;
    if (shown(stored_, question, answer->hash) || shown(behind_, question, answer->hash)) return;
    if (stored_.find(question.entity) == stored_.end() || stored_[question.entity].past.empty())
      return fail("I13: " + what + " shows changes that were never committed");
    return fail("I13: " + what + ", asked at " + text_of_moment(question.asked) +
                ", shows a state of " + std::to_string(answer->count) +
                " changes that was not the newest at any moment since");
  }
  const auto place = applied_.find(change);
  if (place == applied_.end()) {
    if (cut_.contains(change) && !rules_.replicated) return;
    return fail("I7: " + what + " was answered, and " + name_of_change(change) +
                " is not in the store");
  }
  if (place->second.hash != answer->hash) {
    // The reply of a history that was cut off, found by nobody since: allowed without WAIT.
    if (failovers != 0 && !rules_.replicated) return;
    return fail("I6: " + what + " was answered with position " + std::to_string(answer->count) +
                ", but the store has it at " + std::to_string(place->second.count));
  }
  acknowledged_.insert(change);
}

/// Whether this state was the newest of a history at some moment since the question.
bool Oracle::shown(const std::map<EntityId, Stored>& stored, const Question& question,
                   std::int64_t hash) const {
  const auto kept = stored.find(question.entity);
  const bool lately = split_ || world_.now() - split_ended_ <= rules_.session;
  if (kept == stored.end() || kept->second.past.empty())
    return hash == 0 && (&stored == &stored_ || lately);
  return std::any_of(kept->second.past.begin(), kept->second.past.end(), [&](const Seen& seen) {
    return seen.hash == hash && seen.until >= question.asked;
  });
}

// ---- at the end ---------------------------------------------------------------------------------

std::string Oracle::missing() const {
  if (failovers != 0 && !rules_.failovers_noticed) return "";
  // A clock that jumped makes messages too old to be remembered, and timers late.
  if (rules_.redis_time_jumps) return "";
  for (const auto& [change, place] : applied_) {
    const auto promise = promises_.find(change);
    if (promise == promises_.end()) continue;
    const Promise& owed = promise->second.promise;
    if (!rules_.timers_once && owed.change % numbers_per_change == timed) continue;
    // Delivered, answered, and then cut off by a failover: lost like any acknowledged write.
    if (cut_.contains(owed.change) && !rules_.replicated) continue;
    if (too_old_.contains(owed.change)) continue;
    if (!applied_.contains(owed.change))
      return name_of_change(change) + " of " + text_of(place.entity) + " is committed, but " +
             name_of_change(owed.change) + " for " + text_of(owed.entity) + " is not";
  }
  if (!rules_.calm) return "";
  for (const std::int64_t change : outside_tells_) {
    if (!applied_.contains(change))
      return "nothing went wrong, and yet " + name_of_change(change) + ", told, is not applied";
  }
  return "";
}

}  // namespace catga::sim
