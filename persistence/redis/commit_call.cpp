// The layout of shard_commit's words, and the order in which waiting commits travel.
#include "catga/persistence/redis/commit_call.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace catga {
namespace {

std::string ttl_text(const std::optional<std::chrono::milliseconds>& ttl) {
  return ttl ? std::to_string(ttl->count()) : std::string();
}

std::optional<OwnerToken> token_in(std::string_view text) {
  const auto token = parse_token(text);
  return token ? std::optional(*token)
               : std::nullopt;  // free, or a record we cannot read: not ours
}

}  // namespace

WaitingCommit::WaitingCommit(std::string_view cluster, Commit commit, Then<Committed> then)
    : commit_(std::move(commit)), then_(std::move(then)) {
  assert(!commit_.next.empty() && commit_.next != commit_.expected);
  const ShardKeys keys(cluster, commit_.shard);
  const EntityId& entity = commit_.entity;
  keys_ = {keys.state(entity), keys.operations(entity), keys.older_operations(entity),
           keys.saga_operations(entity), keys.log(entity)};
  lay_out();
  for (const auto word : arguments_) bytes_ += word.size();
}

void WaitingCommit::say_made(std::string word) {
  assert(made_.size() < made_.capacity());  // those made before must stay where they are
  say(made_.emplace_back(std::move(word)));
}

void WaitingCommit::lay_out() {
  const std::size_t ids =
      commit_.operations.size() + commit_.saga_operations.size() + commit_.forgotten.size();
  const std::size_t pairs = commit_.sources.size() + commit_.fired.size();
  made_.reserve(12 + 2 * (ids + pairs) + commit_.timers.size());
  arguments_.reserve(24 + 2 * (ids + pairs) + 3 * commit_.timers.size() + commit_.outbox.size());
  say(commit_.expected);
  say(commit_.next);
  say_made(ttl_text(commit_.expire_in));
  say(commit_.rotate ? "1" : "0");
  say_made(ttl_text(commit_.operations_ttl));
  say_made(ttl_text(commit_.saga_ttl));
  say("0");  // trim of the log: none

  say_made(std::to_string((commit_.state ? 1 : 0) + (commit_.bookkeeping ? 1 : 0)));
  if (commit_.state) {
    say(field::state);
    say(*commit_.state);
  }
  if (commit_.bookkeeping) {
    say(field::bookkeeping);
    say(*commit_.bookkeeping);
  }
  say_made(std::to_string(commit_.operations.size()));
  for (const auto& [id, record] : commit_.operations) {
    say_made(bytes_of(id));
    say_made(bytes_of(record));
  }
  lay_out_saga_operations();
  say("0");  // log
  say_made(std::to_string(commit_.timers.size()));
  for (const TimerWrite& timer : commit_.timers) {
    say(timer.member);
    say_made(timer.due_ms ? std::to_string(*timer.due_ms) : std::string());
    say(timer.message);
  }
  say_made(std::to_string(commit_.outbox.size()));
  for (const std::string& entry : commit_.outbox) say(entry);
  say_made(std::to_string(commit_.sources.size()));
  for (const auto& [shard, epoch] : commit_.sources) {
    say_made(std::to_string(shard.value));
    say_made(std::to_string(epoch.value));
  }
  say_made(std::to_string(commit_.fired.size()));
  for (const auto& [member, due_ms] : commit_.fired) {
    say(member);
    say_made(std::to_string(due_ms));
  }
}

void WaitingCommit::lay_out_saga_operations() {
  say_made(std::to_string(commit_.saga_operations.size() + commit_.forgotten.size()));
  for (const auto& [id, record] : commit_.saga_operations) {
    say_made(bytes_of(id));
    say_made(bytes_of(record));
  }
  for (const OperationId& id : commit_.forgotten) {
    say_made(bytes_of(id));
    say("");
  }
}

void WaitingCommit::append_keys(std::vector<std::string_view>& words) const {
  words.insert(words.end(), keys_.begin(), keys_.end());
}

void WaitingCommit::append_arguments(std::vector<std::string_view>& words) const {
  words.insert(words.end(), arguments_.begin(), arguments_.end());
}

// ---- a group ------------------------------------------------------------------------------------

CommitGroup::CommitGroup(std::string_view cluster, const Commit& first)
    : token(text_of(first.token)) {
  const ShardKeys keys(cluster, first.shard);
  shard_keys = {keys.owner(), keys.outbox(), keys.timers(), keys.timer_messages(), keys.sources()};
}

std::size_t CommitGroup::lay_out(std::vector<std::string_view>& words) const {
  words.assign(shard_keys.begin(), shard_keys.end());
  for (const auto& commit : commits) commit->append_keys(words);
  const std::size_t keys = words.size();
  words.push_back(token);
  for (const auto& commit : commits) commit->append_arguments(words);
  return keys;
}

Result<Committed> committed_of(Reply reply, std::size_t place) {
  using Outcome = Committed::Outcome;
  Committed committed;
  if (reply[0].text() == "FENCED") {
    committed.outcome = Outcome::fenced;
    committed.token = token_in(reply[1].text());
    return committed;
  }
  const Reply mine = reply[place];
  const std::string_view says = mine[0].text();
  if (says == "OK") {
    for (std::size_t i = 1; i < mine.size(); ++i) committed.outbox.emplace_back(mine[i].text());
  } else if (says == "ALREADY") {
    committed.outcome = Outcome::already;
  } else if (says == "CONFLICT") {
    committed.outcome = Outcome::conflict;
    committed.version = mine[1].text();
  } else if (says == "TIMER") {
    committed.outcome = Outcome::timer_gone;
    committed.timer = mine[1].text();
  } else if (says == "DUP") {
    committed.outcome = Outcome::duplicate;
    for (std::size_t i = 1; i + 1 < mine.size(); i += 2) {
      const auto id = wide_id_from_bytes<OperationId>(mine[i].text());
      auto record = parse_record(mine[i + 1].text());
      if (!id) return Error{Code::failed, "a stored operation cannot be read: " + id.error().text};
      if (!record)
        return Error{Code::failed, "a stored operation cannot be read: " + record.error().text};
      committed.recorded.emplace_back(*id, std::move(*record));
    }
  } else {
    return Error{Code::failed, "Redis answers shard_commit with something unknown: '" +
                                   std::string(says.substr(0, 40)) + "'"};
  }
  return committed;
}

// ---- the queue ----------------------------------------------------------------------------------

void CommitQueue::push(std::unique_ptr<WaitingCommit> commit) {
  const ShardId shard = commit->commit().shard;
  Line& line = lines_[shard];
  if (line.empty()) turn_.push_back(shard);
  line.push_back(std::move(commit));
  ++size_;
}

std::vector<CommitGroup> CommitQueue::take(std::size_t batch) {
  std::vector<CommitGroup> groups;
  while (batch > 0 && !turn_.empty()) {
    const ShardId shard = turn_.front();
    turn_.pop_front();
    Line& line = lines_.at(shard);
    groups.push_back(take_group(line, std::min(batch, most_entities)));
    batch -= groups.back().commits.size();
    size_ -= groups.back().commits.size();
    if (line.empty()) {
      lines_.erase(shard);
    } else {
      turn_.push_back(shard);
    }
  }
  return groups;
}

CommitGroup CommitQueue::take_group(Line& line, std::size_t most) {
  CommitGroup group(cluster_, line.front()->commit());
  const OwnerToken token = line.front()->commit().token;
  std::size_t bytes = 0;
  while (!line.empty() && group.commits.size() < most) {
    const WaitingCommit& next = *line.front();
    const bool fits = group.commits.empty() || bytes + next.bytes() <= most_bytes;
    const bool twice = std::any_of(
        group.commits.begin(), group.commits.end(),
        [&next](const auto& other) { return other->commit().entity == next.commit().entity; });
    if (!fits || twice || next.commit().token != token) break;
    bytes += next.bytes();
    group.commits.push_back(std::move(line.front()));
    line.pop_front();
  }
  return group;
}

std::vector<std::unique_ptr<WaitingCommit>> CommitQueue::take_older(
    std::chrono::steady_clock::time_point before) {
  std::vector<std::unique_ptr<WaitingCommit>> older;
  std::deque<ShardId> turn;
  for (const ShardId shard : turn_) {
    Line& line = lines_.at(shard);
    while (!line.empty() && line.front()->since < before) {
      older.push_back(std::move(line.front()));
      line.pop_front();
      --size_;
    }
    if (line.empty()) {
      lines_.erase(shard);
    } else {
      turn.push_back(shard);
    }
  }
  turn_ = std::move(turn);
  return older;
}

}  // namespace catga
