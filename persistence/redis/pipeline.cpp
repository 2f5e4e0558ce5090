// The pipeline's thread.
#include "catga/persistence/redis/pipeline.hpp"

#include "catga/persistence/named_thread.hpp"
#include "catga/persistence/redis/backoff.hpp"

#include <cassert>
#include <csignal>
#include <utility>

namespace catga {
namespace {

using std::chrono::milliseconds;

/// Calls in one trip at most: bounds how long a commit waits behind them (10 ms of Redis).
constexpr std::size_t most_calls = 1024;
/// An idle connection is tried this often, so that its loss is known before somebody needs it.
constexpr milliseconds idle_check{1000};
/// A request is sent by the hash of its script, again after loading the scripts, and the last time
/// by the whole text: then it cannot be forgotten.
constexpr int most_passes = 4;

bool says(Reply reply, std::string_view word) {
  return reply.is_error() && reply.text().starts_with(word);
}

}  // namespace

Pipeline::Pipeline(std::shared_ptr<const RedisOptions> options,
                   std::function<void(bool, const std::string&, const std::string&)> on_link)
    : options_(std::move(options)),
      on_link_(std::move(on_link)),
      lost_at_(Clock::now()),
      commits_(options_->cluster),
      thread_(named_thread("catga.redis", [this] { run(); })) {}

Pipeline::~Pipeline() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  thread_.join();
}

// ---- handing in ---------------------------------------------------------------------------------

void Pipeline::submit(Call call) {
  std::unique_lock lock(mutex_);
  const bool full = calls_.size() + commits_.size() >= options_->pending;
  if (stopping_ || full) {
    lock.unlock();
    call.then(full ? Error{Code::overloaded,
                           "too much waits for Redis (commit.pending); ask again later",
                           milliseconds{100}}
                   : Error{Code::unavailable, "the store is being closed"});
    return;
  }
  call.since = Clock::now();
  calls_.push_back(std::move(call));
  lock.unlock();
  work_.notify_one();
}

void Pipeline::submit(std::unique_ptr<WaitingCommit> commit) {
  std::unique_lock lock(mutex_);
  const bool full = calls_.size() + commits_.size() >= options_->pending;
  if (stopping_ || full) {
    lock.unlock();
    commit->answer(full ? Error{Code::overloaded,
                                "too much waits for Redis (commit.pending); ask again later",
                                milliseconds{100}}
                        : Error{Code::unavailable, "the store is being closed"});
    return;
  }
  commit->since = Clock::now();
  commits_.push(std::move(commit));
  lock.unlock();
  work_.notify_one();
}

StateStore::Waiting Pipeline::waiting() const {
  const std::lock_guard lock(mutex_);
  return {commits_.size(), commits_sent_};
}

// ---- the thread ---------------------------------------------------------------------------------

void Pipeline::run() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (stopping_) break;
      if (connection_ != nullptr && !wait_for_work(lock)) continue;
    }
    if (connection_ != nullptr && !connection_->alive()) {
      lost({Code::unknown, connection_->server() + " closed the connection"});
    }
    if (connection_ != nullptr && !connection_->current()) {
      lost({Code::unknown, connection_->server() + " is not the primary any more"});
    }
    if (connection_ == nullptr) {
      connect();
      continue;
    }
    if (shared_ && only_commits_wait()) {
      // Whoever is ready to run may have more for this trip: on a busy machine trips grow, on an
      // idle one this returns at once. Loads and owner records do not wait for that, nor does one
      // hot entity, whose commits come one after the other.
      std::this_thread::yield();
    }
    travel(take_trip());
  }
  close();
}

bool Pipeline::only_commits_wait() {
  const std::lock_guard lock(mutex_);
  return calls_.empty();
}

/// False when the loop should look again: stopping, or a check of an idle connection is all there
/// is to do.
bool Pipeline::wait_for_work(std::unique_lock<std::mutex>& lock) {
  const auto something = [this] {
    return stopping_ || !calls_.empty() || !commits_.empty() || !held_.empty();
  };
  work_.wait_for(lock, idle_check, something);
  return !stopping_;  // an empty trip is a PING
}

void Pipeline::connect() {
  rest(backoff(failures_));
  auto connection = std::make_unique<Connection>(*options_);
  auto facts = connection->open();
  if (facts && !facts->primary) {
    facts = Error{Code::unavailable, connection->server() + " is a replica; waiting for a primary"};
  }
  if (facts) {
    if (Status loaded = connection->load_scripts(); !loaded) facts = loaded.error();
  }
  if (!facts) {
    ++failures_;
    why_down_ = facts.error().text;
    if (!std::exchange(told_down_, true)) on_link_(false, facts.error().text, "");
    expire();
    return;
  }
  connection_ = std::move(connection);
  failures_ = 0;
  reads_only_ = false;
  told_down_ = false;
  on_link_(true, "connected to " + connection_->server() + ", version " + facts->version,
           facts->run_id);
}

/// Waits, unless the pipeline is to end.
void Pipeline::rest(milliseconds pause) {
  std::unique_lock lock(mutex_);
  work_.wait_for(lock, pause, [this] { return stopping_; });
}

void Pipeline::lost(const Error& why) {
  connection_.reset();
  lost_at_ = Clock::now();
  why_down_ = why.text;
  for (Held& held : std::exchange(held_, {})) held.release(false);
  if (!std::exchange(told_down_, true)) on_link_(false, why.text, "");
}

/// Not connected: answers what has waited for too long.
void Pipeline::expire() {
  const auto before = Clock::now() - options_->command_timeout;
  if (lost_at_ > before) return;
  std::vector<Call> calls;
  std::vector<std::unique_ptr<WaitingCommit>> commits;
  {
    const std::lock_guard lock(mutex_);
    while (!calls_.empty() && calls_.front().since < before) {
      calls.push_back(std::move(calls_.front()));
      calls_.pop_front();
    }
    commits = commits_.take_older(before);
  }
  const Error error{Code::unavailable, "no connection to " + describe(*options_) +
                                           "; nothing was sent, ask again shortly (" + why_down_ +
                                           ')'};
  for (Call& call : calls) call.then(error);
  for (auto& commit : commits) commit->answer(error);
}

void Pipeline::close() {
  std::deque<Call> calls;
  std::vector<CommitGroup> groups;
  {
    const std::lock_guard lock(mutex_);
    calls.swap(calls_);
    groups = commits_.take(commits_.size());
  }
  const Error error{Code::unavailable, "the store is being closed; nothing was sent"};
  for (Call& call : calls) call.then(error);
  for (auto& group : groups) {
    for (auto& commit : group.commits) commit->answer(error);
  }
  for (Held& held : std::exchange(held_, {})) held.release(false);
}

// ---- a trip -------------------------------------------------------------------------------------

Pipeline::Trip Pipeline::take_trip() {
  Trip trip;
  const std::lock_guard lock(mutex_);
  while (!calls_.empty() && trip.size() < most_calls) {
    trip.push_back({.call = std::move(calls_.front()), .group = {}});
    calls_.pop_front();
  }
  for (CommitGroup& group : commits_.take(options_->batch)) {
    commits_sent_ += group.commits.size();
    trip.push_back({.call = std::nullopt, .group = std::move(group)});
  }
  shared_ = trip.size() > 1;
  return trip;
}

void Pipeline::travel(Trip trip) {
  if (trip.empty() && held_.empty()) {  // idle: is anybody there?
    connection_->append(std::initializer_list<std::string_view>{"PING"});
    if (auto pong = connection_->read(); !pong) lost(pong.error());
    return;
  }
  if (options_->on_trip && !trip.empty()) options_->on_trip(trip.size());
  bool replicate = false;
  hold_reads_ = unconfirmed_;
  for (int pass = 1; !trip.empty() && connection_ != nullptr; ++pass) {
    for (const Outgoing& outgoing : trip) {
      send(outgoing, pass == most_passes);
      replicate = replicate || outgoing.writes();
    }
    unconfirmed_ = options_->wait_replicas > 0 && (unconfirmed_ || replicate);
    Trip again;
    bool intact = true;
    for (Outgoing& outgoing : trip) {
      if (intact) {
        intact = receive(outgoing, again);
      } else {
        answer(outgoing, {Code::unknown, "the connection to Redis was lost before the answer"});
      }
    }
    trip = std::move(again);
    if (!intact || trip.empty() || pass == most_passes) break;
    if (Status loaded = connection_->load_scripts(); !loaded) lost(loaded.error());
  }
  // What could not be sent again. Of a group that was split some may have been written.
  for (Outgoing& outgoing : trip) {
    answer(outgoing, {Code::unknown, "Redis was lost while the request was under way"});
  }
  if (connection_ != nullptr && (replicate || !held_.empty())) wait_for_replicas();
  if (reads_only_ && connection_ != nullptr) {
    lost({Code::unknown, connection_->server() + " has become a replica"});
  }
}

void Pipeline::send(const Outgoing& outgoing, bool by_text) {
  if (!outgoing.call) {
    const std::size_t keys = outgoing.group.lay_out(words_);
    connection_->append_call(Script::shard_commit, keys, words_, by_text);
    return;
  }
  const Call& call = *outgoing.call;
  words_.assign(call.keys.begin(), call.keys.end());
  words_.insert(words_.end(), call.arguments.begin(), call.arguments.end());
  connection_->append_call(call.script, call.keys.size(), words_, by_text);
}

/// Reads one answer. What must be sent again goes to `again`. False: the connection is lost.
bool Pipeline::receive(Outgoing& outgoing, Trip& again) {
  auto got = connection_->read();
  if (!got) {
    answer(outgoing, got.error());
    lost(got.error());
    return false;
  }
  const Reply reply = got->view();
  if (says(reply, "NOSCRIPT")) {
    again.push_back(std::move(outgoing));
    return true;
  }
  if (!reply.is_error()) {
    take_answer(outgoing, std::make_shared<OwnedReply>(std::move(*got)));
    return true;
  }
  reads_only_ = reads_only_ || says(reply, "READONLY") || says(reply, "MASTERDOWN");
  const Error error = error_of(reply.text());
  auto& commits = outgoing.group.commits;
  if (error.code != Code::failed || commits.size() < 2) {
    answer(outgoing, error);
    return true;
  }
  for (auto& commit : commits) {  // alone each: those written by the half that ran find ALREADY
    CommitGroup single;
    single.token = outgoing.group.token;
    single.shard_keys = outgoing.group.shard_keys;
    single.commits.push_back(std::move(commit));
    again.push_back({.call = std::nullopt, .group = std::move(single)});
  }
  return true;
}

/// Answers, or holds the answer until replicas have the write.
void Pipeline::take_answer(Outgoing& outgoing, std::shared_ptr<OwnedReply> reply) {
  const bool hold = options_->wait_replicas > 0 && (outgoing.writes() || hold_reads_);
  const Error not_safe =
      outgoing.writes()
          ? Error{Code::unknown,
                  "written, but too few replicas have acknowledged it (redis.wait_replicas)"}
          : Error{Code::unavailable,
                  "too few replicas have acknowledged earlier writes (redis.wait_replicas)"};
  if (outgoing.call) {
    if (!hold) return outgoing.call->then(reply->view());
    held_.push_back({outgoing.call->since,
                     [then = std::move(outgoing.call->then), reply, not_safe](bool replicated) {
                       then(replicated ? Result<Reply>(reply->view()) : Result<Reply>(not_safe));
                     }});
    return;
  }
  for (std::size_t place = 0; place < outgoing.group.commits.size(); ++place) {
    auto result = committed_of(reply->view(), place);
    if (!hold) {
      outgoing.group.commits[place]->answer(std::move(result));
      continue;
    }
    const std::shared_ptr<WaitingCommit> commit = std::move(outgoing.group.commits[place]);
    held_.push_back({commit->since, [commit, result, not_safe](bool replicated) {
                       commit->answer(replicated ? result : Result<Committed>(not_safe));
                     }});
  }
}

void Pipeline::wait_for_replicas() {
  if (options_->wait_replicas == 0 || held_.empty()) return;
  const std::string replicas = std::to_string(options_->wait_replicas);
  const std::string patience = std::to_string(options_->wait_timeout.count());
  connection_->append(std::initializer_list<std::string_view>{"WAIT", replicas, patience});
  auto acknowledged = connection_->read();
  if (!acknowledged) return lost(acknowledged.error());
  const bool enough = acknowledged->view().number() >= options_->wait_replicas;
  if (enough) unconfirmed_ = false;
  const auto before = Clock::now() - options_->command_timeout;
  std::vector<Held> still;
  for (Held& held : std::exchange(held_, {})) {
    if (enough) {
      held.release(true);
    } else if (held.since < before) {
      held.release(false);
    } else {
      still.push_back(std::move(held));
    }
  }
  held_ = std::move(still);
}

void Pipeline::answer(Outgoing& outgoing, const Error& error) {
  if (outgoing.call) return outgoing.call->then(error);
  for (auto& commit : outgoing.group.commits) commit->answer(error);
}

}  // namespace catga
