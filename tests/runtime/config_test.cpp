// Settings: sources and their order, units, mistakes and what is said about them.
#include <catga/runtime/config.hpp>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using catga::Config;
using namespace std::chrono_literals;

namespace {

/// Sets variables for one test and puts the old ones back.
class Environment {
 public:
  Environment(std::initializer_list<std::pair<const char*, std::string>> variables) {
    for (const auto& [name, value] : variables) {
      const char* old = std::getenv(name);
      before_.emplace_back(name, old ? std::optional<std::string>(old) : std::nullopt);
      setenv(name, value.c_str(), 1);
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    for (const auto& [name, value] : before_)
      value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
  }

 private:
  std::vector<std::pair<std::string, std::optional<std::string>>> before_;
};

/// A file with this content, gone at the end of the test.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content) {
    const int file = mkstemp(path_.data());
    REQUIRE(file >= 0);
    close(file);
    std::ofstream(path_) << content;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = (std::filesystem::temp_directory_path() / "catga-test-XXXXXX").string();
};

struct Outcome {
  int exit_code = -1;
  std::string output;  // both streams
};

/// What `body` prints and how it leaves the process, in a process of its own.
template <class Body>
Outcome in_a_child(Body body) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  std::fflush(nullptr);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    close(ends[0]);
    body();
    std::fflush(nullptr);
    _exit(0);
  }
  close(ends[1]);
  Outcome outcome;
  std::array<char, 4096> chunk{};
  for (ssize_t n = 0; (n = read(ends[0], chunk.data(), chunk.size())) > 0;)
    outcome.output.append(chunk.data(), static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

Outcome from(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "program");
  return in_a_child(
      [&arguments] { (void)Config::from(static_cast<int>(arguments.size()), arguments.data()); });
}

std::string trouble_of(const std::vector<std::string>& arguments) {
  const auto config = Config::parse(arguments);
  return config.ok() ? "no trouble" : config.error().text;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

}  // namespace

TEST_CASE("without any source the settings are the documented defaults, and they are valid") {
  const auto config = Config::parse({});
  REQUIRE(config.ok());
  CHECK(config->cluster.name == "catga");
  CHECK(config->cluster.shards == 1024);
  CHECK(config->membership.heartbeat == 200ms);
  CHECK(config->nats.urls == std::vector<std::string>{"nats://127.0.0.1:4222"});
  CHECK(config->node.id == catga::host_name());
  CHECK(Config{}.validate().ok());
  CHECK(Config::embedded().validate().ok());
  CHECK(Config::embedded().embedded_mode);
}

TEST_CASE("a flag wins over a variable, a variable over the file, the file over the default") {
  const TemporaryFile file(R"({"cluster": {"shards": 32, "name": "from-file"},
                               "node.weight": 2, "ask.timeout": "7s"})");
  const Environment variables{{"CATGA_CLUSTER_SHARDS", "64"},
                              {"CATGA_CLUSTER_NAME", "from-variable"}};
  const auto config = Config::parse({"--config", file.path(), "--cluster-shards", "128"});
  REQUIRE(config.ok());
  CHECK(config->cluster.shards == 128);
  CHECK(config->cluster.name == "from-variable");
  CHECK(config->node.weight == 2);
  CHECK(config->ask.timeout == 7s);
  CHECK(config->commit.batch == 128);
}

TEST_CASE("the file may be named by CATGA_CONFIG, and --config wins over it") {
  const TemporaryFile one(R"({"node.id": "one"})");
  const TemporaryFile two(R"({"node.id": "two"})");
  const Environment variables{{"CATGA_CONFIG", one.path()}};
  CHECK(Config::parse({})->node.id == "one");
  CHECK(Config::parse({"--config=" + two.path()})->node.id == "two");
}

TEST_CASE("times and sizes are read with their units") {
  const auto config = Config::parse({"--ask-timeout=1500ms", "--membership-settle=2s",
                                     "--entity-idle-timeout=5m", "--drain-timeout=1h",
                                     "--idempotency-retention=30d", "--entity-state-max=64KiB",
                                     "--buffer-node-bytes=1GiB", "--nats-batch-bytes=8192B"});
  REQUIRE(config.ok());
  CHECK(config->ask.timeout == 1500ms);
  CHECK(config->membership.settle == 2s);
  CHECK(config->entity.idle_timeout == 5min);
  CHECK(config->drain.timeout == 1h);
  CHECK(config->idempotency.retention == 24h * 30);
  CHECK(config->entity.state_max == 64u * 1024);
  CHECK(config->buffer.node_bytes == 1ull << 30);
  CHECK(config->nats.batch_bytes == 8192);
}

TEST_CASE("what is hot, how much is traced and how many series there are can be set") {
  const TemporaryFile file(R"({"hot": {"share": 0.5, "min_rate": 20, "window": "2s"},
                               "metrics.enabled": false, "trace.link_only": true})");
  const auto config = Config::parse({"--config", file.path(), "--metrics-max-series=1500",
                                     "--trace-roots-per-second=0", "--trace-rebalance-spans=7",
                                     "--trace-spans-per-second=50", "--telemetry-entity-keys=off"});
  REQUIRE(config.ok());
  CHECK(config->hot.share == 0.5);
  CHECK(config->hot.min_rate == 20);
  CHECK(config->hot.window == 2s);
  CHECK_FALSE(config->metrics.enabled);
  CHECK(config->metrics.max_series == 1500);
  CHECK(config->trace.link_only);
  CHECK(config->trace.roots_per_second == 0);
  CHECK(config->trace.rebalance_spans == 7);
  CHECK(config->trace.spans_per_second == 50);
  CHECK(config->telemetry.entity_keys == "off");
  CHECK(has(trouble_of({"--telemetry-entity-keys", "some"}), "must be hash, plain or off"));
  for (const char* const wrong : {"0", "1.5", "nan", "-1"}) {
    CAPTURE(wrong);
    CHECK(has(trouble_of({"--hot-share", wrong}), "must be between 0.01 and 1"));
  }
  for (const char* const wrong : {"half", "50%", "0,5"}) {
    CAPTURE(wrong);
    CHECK(has(trouble_of({"--hot-share", wrong}), "is not a number"));
  }
}

TEST_CASE("a number without a unit is a mistake where a unit exists") {
  CHECK(has(trouble_of({"--ask-timeout", "5"}), "\"5\" has no unit"));
  CHECK(has(trouble_of({"--entity-state-max", "4096"}), "\"4096\" has no unit"));
  CHECK(has(trouble_of({"--ask-timeout", "5 parsecs"}), "is not a time"));
  CHECK(has(trouble_of({"--ask-timeout", "-1s"}), "is not a time"));
  CHECK(has(trouble_of({"--ask-timeout", "99999999999999999d"}), "too large"));
  CHECK(has(trouble_of({"--cluster-shards", "64x"}), "not a whole number"));
  CHECK(has(trouble_of({"--cluster-shards", "4294967296"}), "too large"));
}

TEST_CASE("values out of bounds are named with their bounds and their source") {
  const auto trouble = trouble_of({"--cluster-shards=15", "--node-weight=17"});
  CHECK(has(trouble, "cluster.shards = 15 (flag --cluster-shards) must be between 16 and 65536"));
  CHECK(has(trouble, "node.weight = 17 (flag --node-weight) must be between 1 and 16"));
  CHECK(Config::parse({"--cluster-shards=16"}).ok());
  CHECK(Config::parse({"--cluster-shards=65536"}).ok());
  CHECK(has(trouble_of({"--cluster-name=Catga"}), "a-z"));
  CHECK(has(trouble_of({"--cluster-name=" + std::string(53, 'c')}), "1 to 52"));
  CHECK(Config::parse({"--cluster-name=" + std::string(52, 'c')}).ok());
  CHECK(has(trouble_of({"--node-id=a node"}), "1 to 63"));
  CHECK(has(trouble_of({"--log-level=loud"}), "\"loud\" is none of"));
  CHECK(Config::parse({"--log-level=info,handoff=debug"}).ok());
  CHECK(has(trouble_of({"--log-format=xml"}), "auto, json or text"));
  CHECK(has(trouble_of({"--redis-url=rediss://host"}), "TLS"));
  CHECK(has(trouble_of({"--nats-urls=http://host"}), "nats://"));
}

TEST_CASE("settings that depend on each other are checked together") {
  CHECK(has(trouble_of({"--membership-heartbeat=201ms"}), "three times"));
  CHECK(Config::parse({"--membership-heartbeat=200ms"}).ok());
  CHECK(has(trouble_of({"--membership-session-renew=1700ms"}), "three times"));
  CHECK(has(trouble_of({"--redis-command-timeout=5s"}), "must be shorter"));
  CHECK(has(trouble_of({"--idempotency-retention=24h"}), "idempotency.retention is 24h"));
  CHECK(has(trouble_of({"--idempotency-retention=26h", "--ask-timeout=26h"}), "ask.timeout (26h)"));
  CHECK(Config::parse({"--idempotency-retention=25h"}).ok());
  Config config;
  config.membership.suspect_after = 500ms;
  const auto status = config.validate();
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == catga::Code::malformed);
}

TEST_CASE("an unknown key in the file is a mistake and the nearest name is suggested") {
  const TemporaryFile file(R"({"cluster": {"shard": 64}})");
  const auto trouble = trouble_of({"--config", file.path()});
  CHECK(has(trouble, "unknown key \"cluster.shard\"; did you mean cluster.shards?"));
  CHECK(has(trouble, file.path()));
}

TEST_CASE("a file that is missing, is not JSON, or has a value of the wrong kind says so") {
  CHECK(has(trouble_of({"--config", "/nonexistent/catga.json"}), "cannot read"));
  const TemporaryFile broken("{\"cluster\": ");
  CHECK(has(trouble_of({"--config", broken.path()}), "is not JSON"));
  const TemporaryFile list("[1, 2]");
  CHECK(has(trouble_of({"--config", list.path()}), "is not a JSON object"));
  const TemporaryFile null(R"({"cluster.name": null})");
  CHECK(has(trouble_of({"--config", null.path()}), "wrong kind"));
}

TEST_CASE("a file of settings has at most 1 MiB, a secret at most 64 KiB, and neither is empty") {
  const std::string settings = R"({"node.id": "one"})";
  const auto padded = [&settings](std::size_t size) {
    return settings + std::string(size - settings.size(), ' ');
  };
  const TemporaryFile full(padded(1 << 20)), fuller(padded((1 << 20) + 1)), empty("");
  CHECK(Config::parse({"--config", full.path()})->node.id == "one");
  CHECK(has(trouble_of({"--config", fuller.path()}), "it has more than 1048576 bytes"));
  CHECK(has(trouble_of({"--config", empty.path()}), "it is empty"));
  CHECK(has(trouble_of({"--config", "/dev/zero"}), "it has more than 1048576 bytes"));
  CHECK(has(trouble_of({"--config", "/tmp"}), "cannot read"));

  const TemporaryFile secret(std::string(65536, 's')), longer(std::string(65537, 's'));
  CHECK(Config::parse({"--nats-password-file", secret.path()})->nats.password.size() == 65536);
  CHECK(has(trouble_of({"--nats-password-file", longer.path()}), "it has more than 65536 bytes"));
  CHECK(has(trouble_of({"--nats-password-file", empty.path()}), "it is empty"));
}

TEST_CASE("objects in a file are nested at most eight levels deep") {
  const auto nested = [](int levels) {
    std::string text;
    for (int i = 0; i < levels; ++i) text += R"({"a":)";
    return text + "1" + std::string(static_cast<std::size_t>(levels), '}');
  };
  const TemporaryFile eight(nested(8)), nine(nested(9)), very(nested(100'000));
  CHECK(has(trouble_of({"--config", eight.path()}), "unknown key \"a.a.a.a.a.a.a.a\""));
  CHECK(has(trouble_of({"--config", nine.path()}), "\"a.a.a.a.a.a.a.a\" is nested deeper than 8"));
  CHECK(has(trouble_of({"--config", very.path()}), "is nested deeper than 8"));
}

TEST_CASE("times beyond any bound are refused by their own bound, without an overflow") {
  const auto trouble = trouble_of(
      {"--membership-heartbeat=53375995583d", "--membership-session-renew=53375995583d"});
  CHECK(has(trouble,
            "membership.heartbeat = 53375995583d (flag --membership-heartbeat) must be "
            "between 10ms and 1m"));
  CHECK(has(trouble, "three times"));
}

TEST_CASE("a list is written with commas, or as a list in the file") {
  const TemporaryFile file(R"({"nats": {"urls": ["nats://a:1", "nats://b:2"]}})");
  const std::vector<std::string> both{"nats://a:1", "nats://b:2"};
  CHECK(Config::parse({"--config", file.path()})->nats.urls == both);
  CHECK(Config::parse({"--nats-urls", "nats://a:1, nats://b:2"})->nats.urls == both);
}

TEST_CASE("NATS_URL is read below CATGA_NATS_URLS") {
  const Environment common{{"NATS_URL", "nats://common:4222"}};
  CHECK(Config::parse({})->nats.urls.front() == "nats://common:4222");
  const Environment ours{{"CATGA_NATS_URLS", "nats://ours:4222"}};
  CHECK(Config::parse({})->nats.urls.front() == "nats://ours:4222");
}

TEST_CASE("an empty variable counts as unset") {
  const Environment variables{{"CATGA_CLUSTER_SHARDS", ""}};
  CHECK(Config::parse({})->cluster.shards == 1024);
}

TEST_CASE(
    "an unknown flag is a mistake with a suggestion, unless the program has flags of its own") {
  CHECK(has(trouble_of({"--cluster-shard", "64"}), "did you mean --cluster-shards?"));
  CHECK(has(trouble_of({"stray"}), "unknown argument \"stray\""));
  CHECK_FALSE(Config::parse({"--cluster-shards"}).ok());
  std::vector<std::string> rest;
  const auto config = Config::parse({"deposit", "--cluster-shards", "64", "alice", "500"}, &rest);
  REQUIRE(config.ok());
  CHECK(config->cluster.shards == 64);
  CHECK(rest == std::vector<std::string>{"deposit", "alice", "500"});
}

TEST_CASE("secrets have no flag, may stand in a file of their own, and not in both places") {
  CHECK(has(trouble_of({"--redis-password", "secret"}), "unknown flag"));
  const TemporaryFile secret("sesame\n");
  {
    const Environment variables{{"CATGA_REDIS_PASSWORD_FILE", secret.path()}};
    CHECK(Config::parse({})->redis.password == "sesame");
    const Environment too{{"CATGA_REDIS_PASSWORD", "other"}};
    CHECK(has(trouble_of({}), "both set"));
  }
  CHECK(Config::parse({"--nats-password-file", secret.path()})->nats.password == "sesame");
  CHECK(has(trouble_of({"--nats-token-file", "/nonexistent"}), "cannot read"));
  const Environment both{{"CATGA_NATS_TOKEN", "t"}, {"CATGA_NATS_USER", "u"}};
  CHECK(has(trouble_of({}), "use one method"));
}

TEST_CASE("a client certificate goes with its key and with tls:// servers only") {
  const std::string pem = "--nats-certificate-file=c", key = "--nats-key-file=k";
  CHECK(has(trouble_of({pem}), "go together"));
  CHECK(has(trouble_of({key}), "go together"));
  CHECK(has(trouble_of({pem, key, "--nats-urls=tls://a:1,nats://b:1"}),
            "would not be shown to nats://b:1"));
  CHECK(Config::parse({pem, key, "--nats-urls=tls://a:1"}).ok());
}

TEST_CASE("region and zone are words that fit into the table of members") {
  CHECK(Config::parse({"--node-region=eu-west-1", "--node-zone=eu-west-1a"}).ok());
  const Environment unknown{{"CATGA_NODE_REGION", ""}, {"CATGA_NODE_ZONE", ""}};  // as a label that
  CHECK(Config::parse({}).ok());                                                  // is not there
  CHECK(has(trouble_of({"--node-zone=a b"}), "node.zone"));
  CHECK(has(trouble_of({"--node-region=a;b"}), "node.region"));
}

TEST_CASE("several mistakes are reported at once, one line each") {
  const auto trouble = trouble_of({"--ask-timeout=5", "--node-weight=x", "--drain-timeout=soon"});
  CHECK(std::ranges::count(trouble, '\n') == 2);
}

TEST_CASE("main is left with 2 for wrong usage and 78 for a wrong value") {
  CHECK(from({"--no-such-flag"}).exit_code == 2);
  const auto wrong = from({"--cluster-shards=1"});
  CHECK(wrong.exit_code == 78);
  CHECK(has(wrong.output, "cluster.shards = 1"));
}

TEST_CASE("--check-config prints every setting with its source and no secret") {
  const Environment variables{{"CATGA_NATS_URLS", "nats://user:sesame@host:4222"},
                              {"CATGA_REDIS_PASSWORD", "sesame"},
                              {"CATGA_CLUSTER_SHARDS", "64"}};
  const auto outcome = from({"--check-config", "--node-id", "n1"});
  CHECK(outcome.exit_code == 0);
  CHECK(has(outcome.output, "env CATGA_CLUSTER_SHARDS"));
  CHECK(has(outcome.output, "flag --node-id"));
  CHECK(has(outcome.output, "nats://***@host:4222"));
  CHECK_FALSE(has(outcome.output, "sesame"));
  CHECK(from({"--check-config", "--node-weight=99"}).exit_code == 78);
}

TEST_CASE("--help lists every setting and --version the version; both leave with 0") {
  const auto help = from({"--help"});
  CHECK(help.exit_code == 0);
  CHECK(has(help.output, "--membership-suspect-after"));
  CHECK(has(help.output, "CATGA_REDIS_PASSWORD"));
  const auto version = from({"--version"});
  CHECK(version.exit_code == 0);
  CHECK(has(version.output, "catga "));
}

TEST_CASE("an unknown CATGA_ variable is warned about, but not what Kubernetes makes") {
  const Environment variables{{"CATGA_CLUSTER_SHARD", "64"},
                              {"CATGA_ADMIN_SERVICE_HOST", "10.0.0.1"},
                              {"CATGA_ADMIN_SERVICE_PORT_HTTP", "80"},
                              {"CATGA_ADMIN_PORT", "tcp://10.0.0.1:80"},
                              {"CATGA_ADMIN_PORT_80_TCP_ADDR", "10.0.0.1"}};
  const auto outcome = from({});
  CHECK(outcome.exit_code == 0);
  CHECK(has(outcome.output,
            "unknown variable CATGA_CLUSTER_SHARD; did you mean CATGA_CLUSTER_SHARDS?"));
  CHECK_FALSE(has(outcome.output, "CATGA_ADMIN"));
}

TEST_CASE("every flag that --help lists can be set, and --check-config shows it as set") {
  const auto help = from({"--help"}).output;
  const auto defaults = from({"--check-config"}).output;
  int tried = 0;
  for (std::size_t at = help.find("\n  --"); at != help.npos; at = help.find("\n  --", at + 1)) {
    const auto flag = help.substr(at + 3, help.find(' ', at + 3) - at - 3);
    const auto open = help.find(" [", at);
    if (open == help.npos || open > help.find('\n', at + 1)) continue;  // no default to repeat
    const auto value = help.substr(open + 2, help.find("]\n", open) - open - 2);
    const auto outcome = from({"--check-config", flag.c_str(), value.c_str()});
    CHECK_MESSAGE(outcome.exit_code == 0, flag);
    CHECK_MESSAGE(has(outcome.output, "flag " + flag + "\n"), flag);
    ++tried;
  }
  CHECK(tried > 40);
  CHECK(has(defaults, "cluster.shards"));
}

TEST_CASE("sentinels are a list of host:port, none by default, and the master has a name") {
  CHECK(Config{}.redis.sentinels.empty());
  CHECK(Config{}.redis.sentinel_master == "catga");
  const std::vector<std::string> both{"sentinel-0:26379", "[::1]:26380"};
  const auto flags = Config::parse(
      {"--redis-sentinels", "sentinel-0:26379, [::1]:26380", "--redis-sentinel-master", "my.bank"});
  REQUIRE(flags.ok());
  CHECK(flags->redis.sentinels == both);
  CHECK(flags->redis.sentinel_master == "my.bank");
  const TemporaryFile file(R"({"redis": {"sentinels": ["sentinel-0:26379", "[::1]:26380"],
                                         "sentinel_master": "my.bank"}})");
  CHECK(Config::parse({"--config", file.path()})->redis.sentinels == both);
  const Environment variables{{"CATGA_REDIS_SENTINELS", "one,two:1"},
                              {"CATGA_REDIS_SENTINEL_MASTER", "other"},
                              {"CATGA_REDIS_SENTINEL_PASSWORD", "sesame"}};
  const auto from_variables = Config::parse({"--config", file.path()});
  REQUIRE(from_variables.ok());
  CHECK(from_variables->redis.sentinels == std::vector<std::string>{"one", "two:1"});
  CHECK(from_variables->redis.sentinel_master == "other");
  CHECK(from_variables->redis.sentinel_password == "sesame");
  const auto shown = from({"--check-config"});
  CHECK(shown.exit_code == 0);
  CHECK(has(shown.output, "one,two:1"));
  CHECK_FALSE(has(shown.output, "sesame"));
}

TEST_CASE("a wrong sentinel is named with its mistake, and a password in it is not shown") {
  CHECK(has(trouble_of({"--redis-sentinels", "good:1,bad:0"}),
            "the sentinel \"bad:0\" has a port that is not a number from 1 to 65535"));
  const auto url = trouble_of({"--redis-sentinels", "redis://me:sesame@host:1"});
  CHECK(has(url, "is not just a host and a port"));
  CHECK_FALSE(has(url, "sesame"));
  CHECK_FALSE(has(trouble_of({"--redis-sentinels", "me:sesame@host:1"}), "sesame"));
  CHECK(has(trouble_of({"--redis-sentinel-master", "two words"}), "redis.sentinel_master"));
  CHECK(has(trouble_of({"--redis-sentinel-password", "sesame"}), "unknown flag"));
}

TEST_CASE(
    "a program that runs with Config::from listens on loopback, a Config made by hand does not") {
  const auto shown = from({"--check-config"}).output;
  CHECK(has(shown, "127.0.0.1:8081"));
  CHECK(has(shown, "127.0.0.1:8080"));
  CHECK(Config{}.health.listen == "off");
  CHECK(Config::parse({})->admin.listen == "off");
  CHECK(Config::parse({"--health-listen=[::1]:0"})->health.listen == "[::1]:0");
  CHECK(has(trouble_of({"--health-listen=8081"}), "127.0.0.1:8081"));
  CHECK(has(trouble_of({"--health-listen=localhost:99999"}), "port"));
  CHECK(has(trouble_of({"--admin-listen=0.0.0.0:8080"}), "admin.token_file"));
  CHECK(Config::parse({"--admin-listen=0.0.0.0:8080", "--admin-allow-insecure=true"}).ok());
  CHECK(has(trouble_of({"--admin-stream-clients=32"}), "admin.threads"));
}
