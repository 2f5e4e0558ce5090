// catga-demo: a cluster under load, a join, a leave and a kill -9, and then every cent is counted.
//
// The main thread tells the story below from top to bottom: start, replay with three faults one
// after the other, wait until quiet, read back, audit, stop. The callers are threads of Replay.
#include <catga/catga.hpp>

#include "audit.hpp"
#include "cluster.hpp"
#include "ledger.hpp"
#include "processes.hpp"
#include "questions.hpp"
#include "replay.hpp"
#include "report.hpp"
#include "timeline.hpp"
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace demo {
namespace {

using catga::Code;
using catga::Done;
using catga::Error;
using catga::Status;
using namespace std::chrono_literals;

constexpr std::uint32_t callers = 64;
constexpr auto patience = 30s;  // with each thing the cluster is expected to do

constexpr const char* usage =
    "usage: samples/demo [--nodes N] [--shards S] [--json FILE] [--ledger FILE] [--lines N]\n"
    "  --nodes N      node processes at the start, 2 to 16 (default 3); one more joins\n"
    "  --shards S     16 to 65536 (default 1024)\n"
    "  --json FILE    writes the figures there\n"
    "  --ledger FILE  another ledger than samples/account/ledger.csv\n"
    "  --lines N      only the first N lines of it, for a short look\n";

struct Options {
  std::uint32_t nodes = 3;
  std::uint32_t shards = 1024;
  std::string json;
  std::string ledger = "samples/account/ledger.csv";
  std::size_t lines = static_cast<std::size_t>(-1);
  bool help = false;
};

template <class Number>
Status read_number(std::string_view flag, std::string_view text, std::uint64_t low,
                   std::uint64_t high, Number& into) {
  std::uint64_t number = 0;
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (trouble != std::errc{} || end != text.data() + text.size() || number < low || number > high)
    return Error{Code::malformed,
                 fmt::format("{} must be a number from {} to {}", flag, low, high)};
  into = static_cast<Number>(number);
  return Done{};
}

catga::Result<Options> options_in(const std::vector<std::string>& words) {
  Options options;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string flag = words[i];
    if (flag == "--help" || flag == "-h") {
      options.help = true;
      return options;
    }
    std::string value;
    if (const auto equals = flag.find('='); equals != flag.npos) {
      value = flag.substr(equals + 1);
      flag.resize(equals);
    } else if (i + 1 < words.size()) {
      value = words[++i];
    }
    if (value.empty()) return Error{Code::malformed, flag + " needs a value"};
    if (flag == "--nodes") {
      CATGA_TRY(read_number(flag, value, 2, 16, options.nodes));
    } else if (flag == "--shards") {
      CATGA_TRY(read_number(flag, value, 16, 65536, options.shards));
    } else if (flag == "--lines") {
      CATGA_TRY(read_number(flag, value, 1000, 1ull << 40, options.lines));
    } else if (flag == "--json") {
      options.json = value;
    } else if (flag == "--ledger") {
      options.ledger = value;
    } else {
      return Error{Code::malformed, "unknown flag " + flag};
    }
  }
  return options;
}

/// Set by Ctrl-C and SIGTERM: the story ends where it is, and everything started is stopped.
std::atomic<bool> interrupted{false};  // a signal handler can reach nothing else
static_assert(std::atomic<bool>::is_always_lock_free);

catga::Config client_config(const Options& options, const Cluster& cluster) {
  catga::Config config;
  config.cluster.name = "demo";
  config.cluster.shards = options.shards;
  config.node.id = "demo-client";
  config.nats.urls = {cluster.nats_url()};
  config.redis.url = cluster.redis_url();
  config.log.level = "error";
  return config;
}

double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

class Story {
 public:
  Story(const Options& options, const Ledger& ledger, Timeline& timeline, Cluster& cluster)
      : options_(options), ledger_(ledger), timeline_(timeline), cluster_(cluster) {}

  /// From the first server to the audit. Errors: what did not happen in time.
  Status tell(catga::Client& client);
  Status start();
  const std::optional<Report>& report() const { return report_; }
  /// The first failures of the callers, in words.
  std::vector<std::string> troubles() {
    return replay_ ? replay_->troubles() : std::vector<std::string>{};
  }

 private:
  Status tick();
  template <class Happened>
  Status until(const std::string& what, std::chrono::milliseconds at_most, Happened happened);
  Status reach(std::size_t line);
  Status serve_every_shard();
  Status join(const std::string& name);
  Status leave(const std::string& name);
  Status kill(const std::string& name);
  Status check(catga::Client& client);
  void show_speed();

  const Options& options_;
  const Ledger& ledger_;
  Timeline& timeline_;
  Cluster& cluster_;
  Run run_;
  std::int64_t replay_began_us_ = 0;
  std::optional<ShardProbe> probe_;
  std::optional<Replay> replay_;
  std::optional<Report> report_;
  Clock::time_point shown_at_;
  std::size_t shown_ended_ = 0;
};

Status Story::tick() {
  cluster_.poll();
  if (interrupted) return Error{Code::failed, "interrupted"};
  if (auto broken = cluster_.broken(); !broken.empty()) return Error{Code::failed, broken};
  if (replay_ && !replay_->done()) show_speed();
  std::this_thread::sleep_for(5ms);
  return Done{};
}

void Story::show_speed() {
  const auto now = Clock::now();
  if (now - shown_at_ < 1s) return;
  const auto ended = replay_->ended();
  const double time = ms_between(shown_at_, now) / 1000;
  timeline_.progress(ended, ledger_.lines.size(), static_cast<double>(ended - shown_ended_) / time);
  shown_at_ = now;
  shown_ended_ = ended;
}

template <class Happened>
Status Story::until(const std::string& what, std::chrono::milliseconds at_most, Happened happened) {
  const auto give_up = Clock::now() + at_most;
  while (!happened()) {
    CATGA_TRY(tick());
    if (Clock::now() > give_up) return Error{Code::timeout, "waited in vain until " + what};
  }
  return Done{};
}

Status Story::start() {
  timeline_.say("starting nats-server and redis-server (AOF on)");
  CATGA_TRY(cluster_.start_servers());
  timeline_.say(fmt::format("starting {} nodes, {} shards", options_.nodes, options_.shards));
  for (std::uint32_t i = 1; i <= options_.nodes; ++i)
    CATGA_TRY(cluster_.start_node("n" + std::to_string(i)));
  for (std::uint32_t i = 1; i <= options_.nodes; ++i) {
    const auto name = "n" + std::to_string(i);
    CATGA_TRY(until(name + " has joined", patience, [&] { return cluster_.joined(name); }));
  }
  return Done{};
}

Status Story::serve_every_shard() {
  probe_->start();
  return until("every shard answers", patience, [this] { return probe_->poll(); });
}

Status Story::reach(std::size_t line) {
  return until(fmt::format("{} lines are through", with_commas(line)), 10min,
               [&] { return replay_->ended() >= line || replay_->done(); });
}

Status Story::tell(catga::Client& client) {
  probe_.emplace(client, options_.shards);
  CATGA_TRY(serve_every_shard());
  timeline_.flush_moves();
  const std::size_t lines = ledger_.lines.size();
  timeline_.say(fmt::format("every shard answers; {} lines from {} callers begin",
                            with_commas(lines), callers));
  const auto last = "n" + std::to_string(options_.nodes);
  const auto joining = "n" + std::to_string(options_.nodes + 1);

  replay_.emplace(ledger_, client, callers);
  replay_began_us_ = unix_us_now();
  run_.began = shown_at_ = Clock::now();
  replay_->start();
  CATGA_TRY(reach(lines / 4));
  replay_->stretch(lines / 2);
  CATGA_TRY(join(joining));
  replay_->full_speed();
  CATGA_TRY(reach(lines / 2));
  replay_->stretch(lines / 4 * 3);
  CATGA_TRY(leave("n1"));
  replay_->full_speed();
  CATGA_TRY(reach(lines / 4 * 3));
  replay_->stretch(lines);
  CATGA_TRY(kill(last));
  replay_->full_speed();
  CATGA_TRY(until("the replay is over", 10min, [this] { return replay_->done(); }));
  replay_->stop();
  run_.ended = run_.began;
  for (const auto& outcome : replay_->outcomes()) run_.ended = std::max(run_.ended, outcome.ended);
  timeline_.clear();
  return check(client);
}

Status Story::join(const std::string& name) {
  const auto since = unix_us_now();
  run_.join.from = Clock::now();
  timeline_.say("starting one more node: " + name);
  CATGA_TRY(cluster_.start_node(name));
  CATGA_TRY(until(name + " has joined", patience, [&] { return cluster_.joined(name, since); }));
  CATGA_TRY(until("shards have moved to " + name, patience,
                  [&] { return cluster_.settled_on(name, since); }));
  run_.join.to = Clock::now();
  return Done{};
}

Status Story::leave(const std::string& name) {
  run_.leave.from = Clock::now();
  timeline_.say("SIGTERM to " + name);
  cluster_.expect_end(name);
  auto& process = cluster_.node(name);
  process.signal(SIGTERM);
  CATGA_TRY(until(name + " has ended", 90s, [&process] { return !process.running(); }));
  run_.leave.to = Clock::now();
  timeline_.say(fmt::format("{} has ended with code {}", name, *process.exit_code()));
  if (*process.exit_code() != 0)
    return Error{Code::failed, name + " did not leave cleanly after SIGTERM"};
  return Done{};
}

Status Story::kill(const std::string& name) {
  timeline_.say("kill -9 " + name);
  cluster_.expect_end(name);
  auto& process = cluster_.node(name);
  run_.kill.from = Clock::now();
  const auto killed_us = unix_us_now();
  process.signal(SIGKILL);
  // One question to every shard, begun after the kill: shards of the living answer at once, the
  // dead node's when they are served again. What a caller sees, and no log is believed.
  probe_->start();
  CATGA_TRY(until("every shard answers again", patience, [this] { return probe_->poll(); }));
  run_.kill_recovered_ms = ms_between(run_.kill.from, probe_->last_answer());
  CATGA_TRY(until("somebody logs that " + name + " is gone", patience,
                  [&] { return cluster_.gone_us(name, killed_us) != 0; }));
  run_.kill_detect_ms = static_cast<double>(cluster_.gone_us(name, killed_us) - killed_us) / 1000;
  timeline_.flush_moves();
  timeline_.say(
      fmt::format("every shard answers again, {:.0f} ms after the kill", run_.kill_recovered_ms));

  const auto since = unix_us_now();
  timeline_.say("starting " + name + " again");
  CATGA_TRY(cluster_.start_node(name));
  CATGA_TRY(until(name + " is back", patience, [&] { return cluster_.joined(name, since); }));
  CATGA_TRY(until(name + " has its shards again", patience,
                  [&] { return cluster_.settled_on(name, since); }));
  run_.kill.to = Clock::now();
  return Done{};
}

Status Story::check(catga::Client& client) {
  timeline_.say("the replay is over; waiting until transfers under way have arrived");
  const auto money = money_in(ledger_, replay_->outcomes());
  std::vector<Found> found;
  for (const auto give_up = Clock::now() + 20s; Clock::now() < give_up;) {
    found = CATGA_TRY(read_balances(client, ledger_.accounts, 10s));
    std::int64_t total = 0;
    for (const auto& account : found) total += account.cents;
    if (total == money) break;
    CATGA_TRY(tick());
  }
  // Read once more, so that what is judged was read when nothing was under way any more; and
  // late effects of a repeated command, if there were any, have had a moment to show.
  for (const auto later = Clock::now() + 500ms; Clock::now() < later;) CATGA_TRY(tick());
  found = CATGA_TRY(read_balances(client, ledger_.accounts, 10s));
  timeline_.say(fmt::format("{} balances read back", with_commas(found.size())));

  for (const auto& move : cluster_.moves()) {
    if (move.unix_us < replay_began_us_) continue;
    ++run_.shards_moved;
    if (move.mode == "planned") run_.planned_gaps_ms.push_back(move.unavailable_ms);
  }
  report_ = report_of(run_, replay_->outcomes(), audit(ledger_, replay_->outcomes(), found));
  for (const auto& example : report_->audit.examples) fmt::print("found: {}\n", example);
  return Done{};
}

std::string node_program() {
  std::error_code trouble;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", trouble);
  return (self.parent_path() / "catga-account-node").string();
}

int run(const Options& options, const Ledger& ledger) {
  TemporaryFolder folder;
  if (folder.path().empty()) {
    fmt::print(stderr, "cannot make a temporary folder\n");
    return 1;
  }
  Timeline timeline(isatty(STDOUT_FILENO) == 1);
  Cluster cluster(folder.path(), node_program(), options.nodes, options.shards, timeline);
  std::vector<std::string> faults;
  {
    std::optional<catga::Client> client;
    Story story(options, ledger, timeline, cluster);  // its callers end before their client does
    const auto told = [&]() -> Status {
      CATGA_TRY(story.start());
      client.emplace(client_config(options, cluster));
      CATGA_TRY(client->connect());
      return story.tell(*client);
    }();
    timeline.clear();
    for (const auto& trouble : story.troubles()) fmt::print("failed: {}\n", trouble);
    if (!told.ok()) faults.push_back(told.error().text);
    if (story.report()) {
      print_table(*story.report());
      for (auto& fault : faults_of(*story.report())) faults.push_back(std::move(fault));
      if (!options.json.empty() && !write_json(*story.report(), options.json))
        faults.push_back("cannot write " + options.json);
    }
  }
  timeline.say("stopping what was started");
  for (auto& fault : cluster.stop()) faults.push_back(std::move(fault));

  for (const auto& fault : faults) fmt::print("WRONG: {}\n", fault);
  if (faults.empty()) {
    fmt::print("Every cent is where the ledger says. Nothing was lost, nothing happened twice.\n");
    return 0;
  }
  folder.keep();
  fmt::print("Logs are kept in {}\n", folder.path());
  return 1;
}

}  // namespace
}  // namespace demo

int main(int argc, char** argv) {
  const auto options = demo::options_in({argv + 1, argv + argc});
  if (!options.ok() || options->help) {
    if (!options.ok()) fmt::print(stderr, "{}\n", options.error().text);
    fmt::print(options.ok() ? stdout : stderr, "{}", demo::usage);
    return options.ok() ? 0 : 2;
  }
  const auto ledger = demo::read_ledger(options->ledger, options->lines);
  if (!ledger.ok()) {
    fmt::print(stderr, "{}\n", ledger.error().text);
    return 2;
  }
  for (const int number : {SIGINT, SIGTERM, SIGHUP})
    signal(number, [](int) { demo::interrupted = true; });
  signal(SIGPIPE, SIG_IGN);
  return demo::run(*options, *ledger);
}
