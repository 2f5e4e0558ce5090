// Commits on their way to the script shard_commit: their words, who shares a call, what the answer
// means.
//
// Nothing here talks to Redis. A WaitingCommit is laid out as words once, by the thread that hands
// it in; the words point into the commit itself, so state and outputs are copied by hiredis only.
#pragma once
#include "catga/persistence/keys.hpp"
#include "catga/persistence/redis/connection.hpp"
#include "catga/persistence/stores.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace catga {

/// A commit, its words and who waits for the answer. Does not move: the words point into it.
class WaitingCommit {
 public:
  WaitingCommit(std::string_view cluster, Commit commit, Then<Committed> then);
  WaitingCommit(const WaitingCommit&) = delete;
  WaitingCommit& operator=(const WaitingCommit&) = delete;

  const Commit& commit() const { return commit_; }
  std::size_t bytes() const { return bytes_; }
  void append_keys(std::vector<std::string_view>& words) const;
  void append_arguments(std::vector<std::string_view>& words) const;
  void answer(Result<Committed> result) { then_(std::move(result)); }

  std::chrono::steady_clock::time_point since;  ///< handed in

 private:
  void say(std::string_view word) { arguments_.push_back(word); }
  void say_made(std::string word);
  void lay_out();
  void lay_out_saga_operations();

  Commit commit_;
  Then<Committed> then_;
  std::vector<std::string> keys_;
  std::vector<std::string>
      made_;  // words that had to be made; room for all is there from the start
  std::vector<std::string_view> arguments_;
  std::size_t bytes_ = 0;
};

/// Commits of one shard under one token: one call of shard_commit.
struct CommitGroup {
  std::string token;
  std::vector<std::string> shard_keys;  ///< owner, outbox, timers, timer messages, sources
  std::vector<std::unique_ptr<WaitingCommit>> commits;

  CommitGroup() = default;
  CommitGroup(std::string_view cluster, const Commit& first);
  /// Fills `words` with keys and arguments; returns the number of keys.
  std::size_t lay_out(std::vector<std::string_view>& words) const;
};

/// Reads the answer for the commit at `place` in its group. `reply` is no error.
Result<Committed> committed_of(Reply reply, std::size_t place);

/// What waits for a trip: first in first out within a shard, shards in turn, so that a busy one
/// starves nobody.
class CommitQueue {
 public:
  static constexpr std::size_t most_entities = 32;  ///< a quarter of a millisecond of Redis
  static constexpr std::size_t most_bytes = 256 * 1024;

  explicit CommitQueue(std::string cluster) : cluster_(std::move(cluster)) {}
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void push(std::unique_ptr<WaitingCommit> commit);
  /// At most `batch` commits, in groups that share shard and token, hold no entity twice, and are
  /// within the bounds (a larger commit goes alone).
  std::vector<CommitGroup> take(std::size_t batch);
  /// Removes and returns all handed in before `before`.
  std::vector<std::unique_ptr<WaitingCommit>> take_older(
      std::chrono::steady_clock::time_point before);

 private:
  using Line = std::deque<std::unique_ptr<WaitingCommit>>;
  CommitGroup take_group(Line& line, std::size_t most);

  std::string cluster_;
  std::unordered_map<ShardId, Line>
      lines_;  // a shard with commits has a line and stands once in turn_
  std::deque<ShardId> turn_;
  std::size_t size_ = 0;
};

}  // namespace catga
