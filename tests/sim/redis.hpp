// Redis as the nodes see it: one history, requests that run late or never, failovers that cut off
// its end. What the scripts do is done by their twins in persistence/memory.
#pragma once
#include <catga/persistence/memory/memory_stores.hpp>
#include <catga/persistence/stores.hpp>

#include "breaks.hpp"
#include "oracle.hpp"
#include "world.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace catga::sim {

struct RedisManners {
  Moment least = 100, most = 2 * ms;          ///< of one way
  std::int64_t command_timeout = 2000;        ///< ms, as redis.command_timeout
  std::int64_t connect_timeout = 1000;        ///< ms
  std::size_t pending = 10'000, batch = 128;  ///< as commit.pending, commit.batch
  unsigned connections = 2;
  bool failovers = false;      ///< keep a replica
  Moment lag = 100 * ms;       ///< of the replica, at most
  bool wait = false;           ///< answers to writes wait for it
  double silent_loss = 0.001;  ///< of a connection, per trip
};

/// One request. Runs on any copy of the data; what it gives back answers the caller.
struct Request {
  /// `observed`: on the primary; the oracle looks on.
  std::function<Happening(MemoryStores& data, bool observed)> run;
  std::function<void(const Error&)> refuse;
  bool changes = false;  ///< goes to the replica
  bool waits = false;    ///< wants WAIT
  bool commit = false;   ///< refused when memory is full
};
using RequestHandle = std::shared_ptr<Request>;

/// How a trip of requests travels.
struct Manner {
  bool by_text = false;     ///< whole scripts, not their names: no NOSCRIPT
  bool behind = false;      ///< to the primary that was deposed and does not know
  bool hold_reads = false;  ///< an earlier write of this pipeline waits for replicas
};

class Pipe;

class Redis final : public StoreEyes {
 public:
  Redis(World& world, Oracle& oracle, RedisManners manners, Break planted);

  // ---- faults ----
  void stop();               ///< connections break, new ones are refused
  void stall(Moment until);  ///< nothing is answered; what came runs afterwards
  void start();
  void failover();
  /// As failover(), but these machines stay with the old primary, which goes on taking writes, until
  /// they move over one by one, or all at end_split(). What is written there meanwhile is lost.
  void split(std::set<std::string> behind);
  void move_over(const Machine& machine);
  void end_split();
  bool is_split() const { return !old_run_id_.empty(); }
  bool is_behind(const Machine& machine) const { return behind_.contains(machine.name); }
  /// SCRIPT FLUSH, once so many more requests have run: in the middle of a trip, perhaps.
  void flush_scripts(std::uint64_t after) { flush_after_ = after; }
  void jump_clock(std::int64_t ms_more) { clock_jump_ += ms_more; }
  void cut_off(const Machine& machine, bool off);
  void break_connections(const Machine& machine);
  void memory_full(bool full) { full_ = full; }
  void disk_full(bool full) { misconf_ = full; }
  void heal();
  void clear();  ///< at the end of the run: forgets all requests

  bool reachable(const Machine& machine) const {
    return up_ && !unreachable_.contains(machine.name);
  }
  bool well() const { return up_ && !misconf_ && stalled_until_ <= world.now(); }
  std::size_t longest_queue() const;  ///< of all pipelines
  std::int64_t time_ms() const;
  /// Of the primary that this machine is led to.
  const std::string& run_id(const Machine& machine) const {
    return is_behind(machine) ? old_run_id_ : run_id_;
  }
  const std::string& new_run_id() const { return run_id_; }
  MemoryStores& data() { return primary_; }
  /// What runs just now runs on the old primary, which does not know that it was deposed.
  bool runs_behind() const { return runs_behind_; }

  // ---- StoreEyes ----
  std::string state_of(ShardId shard, const EntityId& entity) const override;
  bool is_member(Incarnation node) const override;

  World& world;
  Oracle& oracle;
  const RedisManners manners;
  const Break planted;

 private:
  friend class Pipe;
  /// A trip of requests arrives; `answer` gets the answers, in order, each when it may leave.
  /// Connections break; of one machine, or of all.
  void break_all(const Machine* of);
  /// An empty answer: NOSCRIPT.
  void arrive(std::vector<RequestHandle> trip, Manner manner,
              std::function<void(std::vector<Happening>)> answer);
  bool has_script(const Manner& manner);
  Happening run_behind(const RequestHandle& request, bool hold_reads);
  void promote();
  void keep_for_replica(const RequestHandle& request);
  void replicate();
  void replicate_one();

  std::int64_t run_at_ = 0;  // what the twins see as TIME
  MemoryStores primary_, replica_, old_;
  struct Logged {
    std::int64_t time_ms;
    Moment replicated;
    RequestHandle request;
  };
  std::deque<Logged> log_;  // not yet on the replica
  Moment last_replicated_ = 0;
  bool up_ = true, full_ = false, misconf_ = false;
  Moment stalled_until_ = 0;
  std::vector<Happening> stalled_;
  std::int64_t clock_jump_ = 0;
  std::set<std::string> unreachable_;
  std::vector<Pipe*> pipes_;
  std::string run_id_ = "1";
  std::string old_run_id_;        // "": there is one primary
  std::set<std::string> behind_;  // machines that are led to the old one
  bool runs_behind_ = false;
  bool scripts_there_ = true;  // of both servers: it matters to nobody which one
  std::optional<std::uint64_t> flush_after_;
};

/// One pipeline of one process, as persistence/redis/pipeline: one trip under way, the rest waits.
class Pipe {
 public:
  Pipe(Redis& redis, Machine& machine);
  ~Pipe();
  void submit(RequestHandle request);

  /// Connected to the primary of this name; before anything is sent there.
  std::function<void(const std::string& run_id)> on_primary;

 private:
  friend class Redis;
  struct Waiting {
    RequestHandle request;
    std::int64_t since_ms;
  };
  void depart();
  void travel();
  void answered(const std::vector<Happening>& answers);
  void load_scripts();
  Moment latency();
  void lost(const Error& why);
  void connect();
  void attempt();
  void expire();

  bool alive() const { return machine_.life() == life_; }

  Redis& redis_;
  Machine& machine_;
  const std::uint64_t life_;
  std::deque<Waiting> waiting_;
  std::vector<RequestHandle> under_way_;
  bool departing_ = false;
  bool connected_ = false, connecting_ = false;
  unsigned failures_ = 0;
  std::int64_t lost_at_ = 0;
  std::uint64_t generation_ = 0;  // of the connection
  std::uint64_t trip_ = 0;
  int pass_ = 1;              // of this trip
  bool behind_ = false;       // connected to the old primary
  bool unconfirmed_ = false;  // as in the pipeline
};

/// The stores of one process: what RedisStores is to a node.
class SimStores final : public Stores {
 public:
  SimStores(Redis& redis, Machine& machine);
  ~SimStores() override;
  OwnerStore& owners() override;
  MemberStore& members() override;
  StateStore& state() override;
  SagaStore& sagas() override;

  void watch_primary(const std::function<void(const std::string& run_id)>& on_primary);

  /// A shard's compare-and-set. Copies of one request share its nonce, and the first definite answer
  /// is that of all: what a later copy finds in the record is not what it expects.
  class ExchangeOfShard {
   public:
    void asked(const std::string& nonce) { asked_ = nonce; }
    void answered(const std::string& nonce) { answered_ = nonce; }
    bool open() const { return asked_ != answered_; }

   private:
    std::string asked_, answered_;
  };
  std::map<ShardId, ExchangeOfShard> exchanges;
  /// All incarnations this process had: its transfers are its own.
  std::set<Incarnation> lives;
  /// Shards this process was ever named the owner of, as far as it heard.
  std::set<ShardId> ever_named;

 private:
  struct Owners;
  struct Members;
  struct State;
  struct Sagas;
  std::unique_ptr<Owners> owners_;
  std::unique_ptr<Members> members_;
  std::unique_ptr<State> state_;
  std::unique_ptr<Sagas> sagas_;
};

}  // namespace catga::sim
