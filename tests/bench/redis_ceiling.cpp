// The ceiling of everything that is committed: the script shard_commit, one entity a call, the same
// bytes that a node sends for one `Add`, through hiredis in a pipeline that is never empty.
//
//   catga-bench-redis-ceiling HOST PORT
//     prepare CELLS     owner records, and a first commit of each cell
//     commit N CELLS    N commits over the cells          {per_second}
//     trip N            the same, one after the other     {p50_us, p99_us}
//     ping N            PING, one after the other         {p50_us, p99_us}
#include <catga/entities/codec.hpp>
#include <catga/entities/operation.hpp>
#include <catga/persistence/keys.hpp>
#include <catga/persistence/redis/commit_call.hpp>
#include <catga/persistence/redis/scripts.hpp>
#include <catga/persistence/stores.hpp>
#include <catga/runtime/bookkeeping.hpp>
#include <catga/sharding/hash.hpp>

#include "conversation.hpp"
#include "spread.hpp"
#include <hiredis/hiredis.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bench {
namespace {

constexpr std::string_view cluster = "ceiling";
constexpr std::uint32_t shards = 1024;
constexpr std::uint64_t depth = 256;  // sent before the first answer is read: two trips of a node
constexpr std::uint64_t chunk = 128;  // read, then sent again: commit.batch of a node

struct FreeReply {
  void operator()(void* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;
struct CloseContext {
  void operator()(redisContext* context) const { redisFree(context); }
};

class Redis {
 public:
  Redis(const char* host, int port) : context_(redisConnect(host, port)) {
    if (!context_ || context_->err != 0) throw std::runtime_error("Redis cannot be reached");
  }
  void append(std::span<const std::string_view> words) {
    pointers_.clear();
    lengths_.clear();
    for (const std::string_view word : words) {
      pointers_.push_back(word.data());
      lengths_.push_back(word.size());
    }
    redisAppendCommandArgv(context_.get(), static_cast<int>(words.size()), pointers_.data(),
                           lengths_.data());
  }
  void send() {
    for (int done = 0; done == 0;)
      if (redisBufferWrite(context_.get(), &done) != REDIS_OK) fail();
  }
  Reply read() {
    void* reply = nullptr;
    if (redisGetReply(context_.get(), &reply) != REDIS_OK) fail();
    Reply owner(static_cast<redisReply*>(reply));
    if (owner->type == REDIS_REPLY_ERROR)
      throw std::runtime_error("Redis says: " + std::string(owner->str, owner->len));
    return owner;
  }
  Reply ask(std::span<const std::string_view> words) {
    append(words);
    return read();
  }

 private:
  [[noreturn]] void fail() { throw std::runtime_error("Redis: " + std::string(context_->errstr)); }

  std::unique_ptr<redisContext, CloseContext> context_;
  std::vector<const char*> pointers_;
  std::vector<std::size_t> lengths_;
};

/// Of a cell (cell.hpp, which cannot be included beside the store's own Reply).
constexpr std::string_view kind = "cell";
struct State {
  std::int64_t value = 0;
  CATGA_FIELDS(value);
};

/// Where one cell stands: what the next commit expects.
struct Stand {
  catga::EntityId entity;
  catga::ShardId shard;
  std::uint64_t count = 0;
  std::string version;
};

class Ceiling {
 public:
  Ceiling(const char* host, int port) : redis_(host, port) {
    const std::string text = catga::text_of(catga::Script::shard_commit);
    const Reply loaded = redis_.ask(std::vector<std::string_view>{"SCRIPT", "LOAD", text});
    sha_.assign(loaded->str, loaded->len);
    token_ = {catga::Epoch{1'700'000'000'000 * 1024}, catga::Incarnation{1, 2}};
  }

  Figures prepare(const Numbers& request) {
    const std::string token = catga::text_of(token_);
    for (std::uint32_t shard = 0; shard < shards; ++shard) {
      const std::string key = catga::ShardKeys(cluster, catga::ShardId{shard}).owner();
      redis_.ask(std::vector<std::string_view>{"HSET", key, "tok", token});
    }
    for (std::uint64_t i = cells_.size(); i < request.at(0); ++i) {
      const std::string key = key_of(i);
      cells_.push_back({{std::string(kind), key}, catga::shard_of(kind, key, shards), 0, {}});
    }
    return commit({cells_.size(), cells_.size()});
  }

  Figures commit(const Numbers& request) {
    const std::uint64_t total = request.at(0);
    const std::uint64_t cells = std::min<std::uint64_t>(request.at(1), cells_.size());
    std::uint64_t sent = 0;
    const auto began = Clock::now();
    const auto send_up_to = [&](std::uint64_t until) {
      for (; sent < until; ++sent) append(cells_[spread(sent, cells)]);
      redis_.send();
    };
    send_up_to(std::min(depth, total));
    for (std::uint64_t answered = 0; answered < total;) {
      const std::uint64_t some = std::min(chunk, total - answered);
      for (std::uint64_t i = 0; i < some; ++i) check(*redis_.read());
      answered += some;
      send_up_to(std::min(answered + depth, total));
    }
    const double took = seconds_since(began);
    return {{"per_second", static_cast<double>(total) / took}, {"seconds", took}};
  }

  Figures trip(const Numbers& request) {
    return one_by_one(request.at(0), [this](std::uint64_t i) {
      append(cells_[spread(i, cells_.size())]);
      check(*redis_.read());
    });
  }

  Figures ping(const Numbers& request) {
    return one_by_one(request.at(0),
                      [this](std::uint64_t) { redis_.ask(std::vector<std::string_view>{"PING"}); });
  }

 private:
  template <class Once>
  static Figures one_by_one(std::uint64_t times, Once once) {
    std::vector<double> took_us;
    for (std::uint64_t i = 0; i < times; ++i) {
      const auto began = Clock::now();
      once(i);
      took_us.push_back(seconds_since(began) * 1e6);
    }
    std::ranges::sort(took_us);
    return {{"p50_us", took_us[took_us.size() / 2]},
            {"p99_us", took_us[took_us.size() * 99 / 100]}};
  }

  /// What runtime/activation makes of one `Add` to an entity in memory.
  catga::Commit commit_of(Stand& cell) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const std::int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
    State state;
    state.value = static_cast<std::int64_t>(++cell.count);
    catga::Generations generations;
    generations.newer_created = generations.newer_newest = now_ms;
    generations.newer_count = cell.count;
    catga::Commit commit;
    commit.shard = cell.shard;
    commit.token = token_;
    commit.entity = cell.entity;
    commit.expected = cell.version;
    commit.next = cell.version = std::to_string(cell.count) + '.' + std::to_string(random_());
    commit.state = catga::encode(state);
    commit.bookkeeping = catga::bytes_of(generations);
    if (cell.count == 1) commit.operations_ttl = std::chrono::hours(24 * 14);
    commit.operations.emplace_back(
        catga::OperationId{random_(), random_() | 1},
        catga::OperationRecord{
            .request_hash = random_(), .time_ms = now_ms, .reply = catga::encode(state.value)});
    return commit;
  }

  void append(Stand& cell) {
    auto waiting = std::make_unique<catga::WaitingCommit>(cluster, commit_of(cell), nullptr);
    catga::CommitGroup group(cluster, waiting->commit());
    group.commits.push_back(std::move(waiting));
    const std::size_t keys = group.lay_out(words_);
    const std::string count = std::to_string(keys);
    const std::string_view head[] = {"EVALSHA", sha_, count};
    words_.insert(words_.begin(), std::begin(head), std::end(head));
    redis_.append(words_);
  }

  static void check(const redisReply& reply) {
    const bool ok = reply.type == REDIS_REPLY_ARRAY && reply.elements == 1 &&
                    reply.element[0]->elements >= 1 &&
                    std::string_view(reply.element[0]->element[0]->str) == "OK";
    if (!ok) throw std::runtime_error("a commit of the ceiling was refused");
  }

  Redis redis_;
  std::string sha_;
  catga::OwnerToken token_;
  std::vector<Stand> cells_;
  std::vector<std::string_view> words_;
  std::mt19937_64 random_{20'261'121};
};

int run(const char* host, int port) {
  Ceiling ceiling(host, port);
  const Verbs verbs{
      {"prepare", [&](const Numbers& numbers) { return ceiling.prepare(numbers); }},
      {"commit", [&](const Numbers& numbers) { return ceiling.commit(numbers); }},
      {"trip", [&](const Numbers& numbers) { return ceiling.trip(numbers); }},
      {"ping", [&](const Numbers& numbers) { return ceiling.ping(numbers); }},
  };
  return converse(verbs);
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: catga-bench-redis-ceiling HOST PORT\n");
    return 2;
  }
  try {
    return bench::run(argv[1], std::atoi(argv[2]));
  } catch (const std::exception& trouble) {
    std::fprintf(stderr, "catga-bench-redis-ceiling: %s\n", trouble.what());
    return 1;
  }
}
