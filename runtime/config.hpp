// Settings of a node or a calling program: unit, default, reason. Flag > environment > file > default.
#pragma once
#include "catga/sharding/result.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace catga {

/// The name of this machine, made fit for `node.id`; "node" if it has none.
std::string host_name();

/// Every limit and wait of a node. Fill it by hand, with parse() or, in main, with from(). Copyable, no threads.
/// The key of `nats.urls` in a file is CATGA_NATS_URLS in the environment and --nats-urls as a flag; all names
/// are derived like this.
struct Config {
  using ms = std::chrono::milliseconds;

  struct Cluster {
    std::string name = "catga";  ///< [a-z0-9-]{1,52}: prefix of every subject and key
    std::uint32_t shards =
        1024;  ///< 16–65536, fixed at first start; another value at join is refused
    std::uint32_t min_members = 1;  ///< first boot: claims wait for so many, or 10 s
    bool create = true;             ///< may start an empty cluster; off: refuses an empty Redis
  } cluster;
  struct NodeSettings {
    std::string id = host_name();  ///< [A-Za-z0-9._-]{1,63}. Stable across restarts
    std::uint32_t weight = 1;      ///< 1–16; 128 ring points each
    bool shadow = false;       ///< stands behind a running node of this name until that one leaves
    std::string region, zone;  ///< [A-Za-z0-9._-]{0,63}: where it runs, for people; places nothing
  } node;
  struct Runtime {
    std::uint32_t workers = 0;  ///< CAF threads; 0: cores, within the CPU quota
  } runtime;
  struct Membership {
    ms heartbeat{200};      ///< to each watcher
    ms suspect_after{600};  ///< silence after which a vote may be cast
    ms settle{1000};        ///< after the last UP, before shards of the living are moved
    ms session_ttl{5000};   ///< Redis forgets the node after this
    ms session_renew{
        1000};  ///< extended this often; handlers run only ttl − renew after the last answer
    std::uint32_t watchers = 5;
    std::string profile = "auto";  ///< fast, normal, cloud: suspect_after as it is, x 2.5, x 5.
                                   ///< auto: normal below two cores of CPU quota, else fast
  } membership;
  struct Rebalance {
    std::uint32_t batch = 128;      ///< shards per offer
    std::uint32_t in_flight = 256;  ///< shards moving at once per node, out and in each
    ms drain_timeout{5000};         ///< a handler slower than this aborts the move
    ms forward_for{30000};          ///< late messages are sent on
  } rebalance;
  struct Entity {
    ms idle_timeout{120000};            ///< passivation; 0: never
    ms turn_warn{100};                  ///< a handler running longer is named in the log
    std::uint32_t max_active = 500000;  ///< per node; the longest idle leave first
    std::uint32_t mailbox = 1000;       ///< messages; beyond: overloaded
    std::uint64_t state_max = 1 << 20;  ///< bytes; beyond: failed
  } entity;
  struct Ask {
    ms timeout{5000};                        ///< when the caller gives none
    std::uint64_t payload_max = 512 * 1024;  ///< bytes of one message; beyond: malformed
    std::uint32_t pending = 100000;  ///< asks of this process without an answer; beyond: overloaded
  } ask;
  struct Buffer {
    std::uint32_t shard_messages = 1000;  ///< held while a shard moves; beyond: overloaded
    std::uint64_t node_bytes = 64ull << 20;
  } buffer;
  struct CommitSettings {
    std::uint32_t batch = 128;      ///< commits per trip
    std::uint32_t pending = 10000;  ///< waiting for Redis; beyond: overloaded
  } commit;
  struct Idempotency {
    std::uint32_t per_entity = 1024;
    std::uint64_t per_entity_bytes = 8ull << 20;
    ms retention{7ull * 24 * 3600 * 1000};
  } idempotency;
  struct SagaSettings {
    std::uint32_t max_active = 100000;  ///< in memory, per node; beyond, starts are overloaded
    std::uint32_t compensation_attempts = 10;  ///< of an undo; beyond, the saga is parked
    ms compensation_window{15 * 60 * 1000};    ///< or when they took so long
    ms keep_finished{24 * 3600 * 1000};        ///< the journal after the end, for `catga saga show`
  } saga;
  struct Nats {
    std::vector<std::string> urls{"nats://127.0.0.1:4222"};
    std::string user, password, token;
    std::string certificate_file,
        key_file;  ///< PEM: by which servers know this client; tls:// only
    ms connect_timeout{2000};
    ms reconnect_wait{100};
    ms lost_grace{
        2000};  ///< after so long without NATS the node gives its shards away through Redis
    std::uint64_t batch_bytes =
        256 * 1024;                         ///< of one NATS message; below the server's max_payload
    std::uint64_t lane_bytes = 8ull << 20;  ///< waiting for one node; beyond: overloaded
    std::uint64_t pending_bytes = 256ull << 20;
  } nats;
  struct Redis {
    std::string url = "redis://127.0.0.1:6379/0";  ///< with sentinels: only database and login
    std::string user, password;
    std::vector<std::string> sentinels;     ///< host:port; asked at every connect for the primary
    std::string sentinel_master = "catga";  ///< the name by which they know it
    std::string sentinel_password;          ///< at the sentinels, not at Redis
    ms connect_timeout{1000};
    ms command_timeout{2000};
    ms wait_timeout{100};
    std::uint32_t connections = 2;    ///< pipelines; a shard keeps to one
    std::uint32_t wait_replicas = 0;  ///< WAIT per trip
    bool check_policy = true;  ///< refuse an eviction policy other than noeviction, and Redis < 7.0
  } redis;
  struct Events {                ///< used only when an entity publishes or somebody subscribes
    std::string stream;          ///< of JetStream; empty: catga-<cluster>. Made if it is missing
    std::uint32_t replicas = 1;  ///< of the stream, when it is made: 1–5, at most the NATS servers
    std::string storage = "file";         ///< or memory; when it is made
    ms max_age{7ull * 24 * 3600 * 1000};  ///< older events go; 0: never. When it is made
    std::uint64_t max_bytes = 0;          ///< then the oldest go; 0: no bound. When it is made
    std::uint32_t attempts = 10;          ///< of a handler at one event, then it is a dead letter
    std::uint32_t unacknowledged = 256;   ///< events a reader has in hand at once
    ms ack_wait{30000};                   ///< queue groups: then another node gets the event
    std::uint32_t handlers = 4;           ///< threads that run subscribers' handlers
    std::uint32_t parked_max =
        1024;  ///< dead letters of one source entity, then its part stands still
  } events;
  struct Log {
    std::string level = "info";   ///< trace, debug, info, warn, error, off
    std::string format = "auto";  ///< text, json; auto: text on a terminal
  } log;
  struct Health {  ///< probes and /metrics: open to all who reach it
    /// address:port, or off. Config::from() makes it 127.0.0.1:8081; programs that fill a Config by hand open nothing.
    std::string listen = "off";
  } health;
  struct Admin {                  ///< dashboard and API
    std::string listen = "off";   ///< as health.listen; Config::from() makes it 127.0.0.1:8080
    std::string token_file;       ///< who asks must know the token in it; needed beyond loopback
    bool read_only = true;        ///< off: with the token things can be changed
    bool allow_insecure = false;  ///< beyond loopback without a token all the same
    bool show_state = false;      ///< the state of entities may be shown
    bool dashboard = true;        ///< /ui
    std::vector<std::string> allowed_hosts;  ///< further names by which browsers may address it
    std::uint32_t threads = 32;
    std::uint32_t stream_clients = 16;  ///< streams of events, each holds a thread
    std::uint32_t event_buffer = 4096;  ///< events kept for readers that come back
  } admin;
  struct Telemetry {
    std::string service_name = "catga";  ///< label `service` of all metrics
    std::string entity_keys = "hash";    ///< in events, the log and traces: hash, plain or off
  } telemetry;
  struct MetricsSettings {
    bool enabled = true;          ///< /metrics
    bool instance_label = false;  ///< `instance` on every series; else the scrape says who it was
    std::uint32_t max_series =
        20000;  ///< messages, kinds and sagas beyond it have no name of their own: `_other`
  } metrics;
  struct Hot {                      ///< a shard or an entity is hot, and told, that takes
    double share = 0.25;            ///< more than so much of its node's messages, 0.01–1, and
    std::uint32_t min_rate = 1000;  ///< more than so many a second,
    ms window{10000};               ///< for so long
  } hot;
  struct Trace {                            ///< OTEL_* variables say whether, where to, how many
    std::uint32_t roots_per_second = 100;   ///< new sampled traces at most, of a node; 0: no limit
    std::uint32_t spans_per_second = 1000;  ///< of asks and turns, of a node; 0: no limit
    std::uint32_t rebalance_spans = 2000;   ///< moves in one trace, per node; slow ones always
    bool link_only = false;  ///< who takes a tell or an event begins a trace linked to the sender's
  } trace;
  struct Drain {
    ms timeout{60000};  ///< what is not handed over by then is released
    ms linger{2000};    ///< late messages are forwarded at most so long before exit
  } drain;
  struct Start {
    ms patience{60000};  ///< NATS and Redis are tried for so long, then exit 69
  } start;
  bool embedded_mode = false;  ///< one node, stores in memory, no servers
  std::map<std::string, std::string, std::less<>>
      sources;  ///< of parse() and from(): where each setting was set that was, by key

  /// Of parse() and from(): reads the same sources again. Empty: filled in by hand, and nothing to read.
  std::function<Result<Config>()> again;

  /// One node in this process with the same semantics and nothing to install: the first five minutes, unit tests.
  static Config embedded();

  /// For main: reads flags, CATGA_* variables and the file named by --config or CATGA_CONFIG; prints every
  /// mistake on a line and leaves the process with 2 (usage) or 78 (a value is wrong); --help and --version too.
  static Config from(int argc, const char* const* argv);

  /// The same for programs that must not exit. `arguments` without the program's name. Unknown flags are
  /// mistakes, unless `rest` is given: then they are collected there, for a program with flags of its own.
  static Result<Config> parse(const std::vector<std::string>& arguments,
                              std::vector<std::string>* rest = nullptr);

  /// Checks single values and those that depend on each other. Errors: malformed, one line per mistake.
  Status validate() const;
};

}  // namespace catga
