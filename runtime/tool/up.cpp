// catga up: a cluster on this machine, gone at Ctrl-C.
//
// One thread does it all: it polls the pipes of its children, prints their lines, and looks twenty times a second who
// has ended. First NATS and Redis, then the nodes; at the end the nodes get SIGTERM and drain, then the servers follow.
#include "catga/runtime/settings.hpp"
#include "catga/runtime/tool/child.hpp"
#include "catga/runtime/tool/context.hpp"

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <deque>
#include <filesystem>
#include <memory>

namespace catga::tool {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds servers_patience{20}, ready_patience{60};

struct Wanted {
  std::uint32_t nodes = 3;
  std::string folder;
  std::vector<std::string> program;
};

volatile std::sig_atomic_t interrupts = 0;

/// Ports that were free a moment ago, all different: each is held until all are chosen.
std::vector<std::uint16_t> free_ports(std::size_t count) {
  std::vector<int> sockets;
  std::vector<std::uint16_t> ports;
  for (std::size_t i = 0; i < count; ++i) {
    const int one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (one < 0 || bind(one, any, size) != 0 || getsockname(one, any, &size) != 0)
      throw Ended{failed, "no free port on 127.0.0.1"};
    sockets.push_back(one);
    ports.push_back(ntohs(address.sin_port));
  }
  for (const int one : sockets) close(one);
  return ports;
}

bool somebody_listens(std::uint16_t port) {
  const int one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool heard = connect(one, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(one);
  return heard;
}

/// A folder that goes with the cluster, unless one was named.
class Folder {
 public:
  explicit Folder(const std::string& named) : path_(named), kept_(!named.empty()) {
    if (kept_) {
      std::error_code trouble;
      std::filesystem::create_directories(path_, trouble);
      if (trouble)
        throw Ended{failed, "cannot make the folder " + named + ": " + trouble.message()};
      path_ = std::filesystem::absolute(path_);
      return;
    }
    std::string name = (std::filesystem::temp_directory_path() / "catga-up-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw Ended{failed, "cannot make a folder in " + name};
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    if (!kept_) std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  bool kept() const { return kept_; }

 private:
  std::filesystem::path path_;
  bool kept_;
};

class LocalCluster {
 public:
  LocalCluster(Context& context, const Wanted& wanted)
      : context_(context),
        wanted_(wanted),
        folder_(wanted.folder),
        ports_(free_ports(2 + 2 * wanted.nodes)) {}

  int run() {
    start_servers();
    start_nodes();
    say_where();
    while (interrupts == 0 && look() > 0) say_when_ready();
    if (interrupts == 0) {
      say("all nodes have ended");
      return take_down(failed);
    }
    say("taking it down; Ctrl-C again does it at once");
    return take_down(done);
  }

 private:
  std::string nats_url() const { return fmt::format("nats://127.0.0.1:{}", ports_[0]); }
  std::string cluster() const {
    return context_.options.cluster.empty() ? "catga" : context_.options.cluster;
  }

  void say(const std::string& text) { print("catga", Tint::bold, text); }

  void print(const std::string& name, Tint tint, const std::string& line) {
    const bool colours = context_.colours();
    fmt::print("{} {}\n", tinted(fmt::format("{:<7}|", name), tint, colours), line);
    std::fflush(stdout);
  }

  void start_servers() {
    const std::string nats_folder = folder_.path() / "nats",
                      redis_folder = folder_.path() / "redis";
    std::filesystem::create_directories(redis_folder);
    servers_.emplace_back("nats",
                          std::vector<std::string>{"nats-server", "--addr", "127.0.0.1", "--port",
                                                   std::to_string(ports_[0]), "--jetstream",
                                                   "--store_dir", nats_folder},
                          std::map<std::string, std::string>{});
    const std::string keep = folder_.kept() ? "yes" : "no";
    servers_.emplace_back("redis",
                          std::vector<std::string>{"redis-server", "--bind", "127.0.0.1", "--port",
                                                   std::to_string(ports_[1]), "--dir", redis_folder,
                                                   "--appendonly", keep, "--save", ""},
                          std::map<std::string, std::string>{});
    const auto until = Clock::now() + servers_patience;
    while (!somebody_listens(ports_[0]) || !somebody_listens(ports_[1])) {
      read_outputs(50);
      for (Child& server : servers_) {
        if (server.running()) continue;
        read_outputs(0);
        for (const std::string& line : last_words_) print(server.name(), Tint::red, line);
        throw Ended{failed, server.name() + " " + server.how() +
                                "; are nats-server and redis-server installed?"};
      }
      if (Clock::now() > until)
        throw Ended{failed, "nats-server or redis-server does not listen in time"};
      if (interrupts != 0) throw Ended{failed, "interrupted"};
    }
  }

  void start_nodes() {
    std::map<std::string, std::string> known;
    for (const SettingLine& line : settings_of(Config())) known[line.key] = line.variable;
    for (std::uint32_t i = 0; i < wanted_.nodes; ++i) {
      std::map<std::string, std::string> environment{
          {"CATGA_NATS_URLS", nats_url()},
          {"CATGA_REDIS_URL", fmt::format("redis://127.0.0.1:{}/0", ports_[1])},
          {"CATGA_CLUSTER_NAME", cluster()},
          {"CATGA_NODE_ID", fmt::format("node-{}", i + 1)}};
      const auto listen = [&](const char* key, std::size_t port) {
        if (known.contains(key))
          environment[known[key]] = fmt::format("127.0.0.1:{}", ports_[port]);
        return known.contains(key);
      };
      listen("health.listen", 2 + 2 * i);
      dashboards_ = listen("admin.listen", 3 + 2 * i);
      if (std::getenv("CATGA_LOG_FORMAT") == nullptr)
        environment["CATGA_LOG_FORMAT"] = "text";  // NOLINT
      nodes_.emplace_back(fmt::format("node-{}", i + 1), wanted_.program, environment);
      ended_.push_back(false);
    }
  }

  void say_where() {
    say(fmt::format("NATS at {}, Redis at 127.0.0.1:{}, data in {}{}", nats_url(), ports_[1],
                    folder_.path().string(), folder_.kept() ? "" : " (goes with the cluster)"));
    if (dashboards_) say(fmt::format("dashboard at http://127.0.0.1:{}/ui", ports_[3]));
    say(fmt::format("in another terminal: export CATGA_NATS_URLS={}{}; catga top", nats_url(),
                    cluster() == "catga" ? "" : " CATGA_CLUSTER_NAME=" + cluster()));
    looked_at_ = Clock::now();
  }

  /// Asks the cluster itself, now and then, until all nodes are up and every shard is served.
  void say_when_ready() {
    if (ready_ || Clock::now() - looked_at_ < std::chrono::milliseconds(300)) return;
    looked_at_ = Clock::now();
    try {
      if (!asking_) {
        asking_ = std::make_unique<Context>();
        asking_->options.nats = nats_url();
        asking_->options.cluster = cluster();
        asking_->options.timeout_s = 0.6;
      }
      const json now = asking_->get("cluster");
      ready_ = now["settled"].get<bool>() && now["nodes_up"].get<std::uint32_t>() == wanted_.nodes;
    } catch (const Ended&) {
      return;  // no node answers yet
    }
    if (ready_) say(fmt::format("ready: {} nodes up, all shards served", wanted_.nodes));
  }

  /// How many nodes run. Says who has ended since.
  std::size_t look() {
    read_outputs(50);
    std::size_t running = 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].running()) {
        running += 1;
      } else if (!ended_[i]) {
        ended_[i] = true;
        show(nodes_[i], i);  // its last words come first
        const bool well = interrupts != 0 && nodes_[i].exit_code() == 0;
        print("catga", well ? Tint::bold : Tint::red, nodes_[i].name() + " " + nodes_[i].how());
      }
    }
    for (Child& server : servers_)
      if (!server.running() && interrupts == 0)
        throw Ended{failed, server.name() + " " + server.how()};
    return running;
  }

  void show(Child& node, std::size_t number) {
    static constexpr std::array tints{Tint::cyan, Tint::green, Tint::yellow};
    for (const std::string& line : node.lines())
      print(node.name(), tints[number % tints.size()], line);
  }

  void read_outputs(int wait_ms) {
    std::vector<pollfd> polled;
    for (const auto* children : {&servers_, &nodes_})
      for (const Child& child : *children)
        if (child.output() >= 0) polled.push_back({child.output(), POLLIN, 0});
    if (poll(polled.data(), polled.size(), wait_ms) <= 0) return;
    for (Child& server : servers_)  // kept for when they do not start
      for (std::string& line : server.lines()) {
        last_words_.push_back(std::move(line));
        if (last_words_.size() > 20) last_words_.pop_front();
      }
    for (std::size_t i = 0; i < nodes_.size(); ++i) show(nodes_[i], i);
  }

  int take_down(int code) {
    if (interrupts == 0) interrupts = 1;
    const auto asked = interrupts;
    asking_.reset();
    for (const Child& node : nodes_) node.signal(SIGTERM);
    while (look() > 0) {
      if (interrupts == asked) continue;
      for (const Child& node : nodes_) node.signal(SIGKILL);
      code = failed;
    }
    for (const Child& server : servers_) server.signal(SIGTERM);
    const auto until = Clock::now() + std::chrono::seconds(5);
    for (Child& server : servers_)
      while (server.running() && Clock::now() < until) read_outputs(20);  // then ~Child kills it
    say("everything is down");
    return code;
  }

  Context& context_;
  const Wanted wanted_;
  Folder folder_;                           // outlives the servers that write there
  const std::vector<std::uint16_t> ports_;  // NATS, Redis; then of each node: health, admin
  std::vector<Child> servers_, nodes_;
  std::vector<bool> ended_;
  std::deque<std::string> last_words_;
  bool dashboards_ = false, ready_ = false;
  Clock::time_point looked_at_;
  std::unique_ptr<Context> asking_;
};

}  // namespace

void add_up(CLI::App& app, Context& context) {
  CLI::App* const command = app.add_subcommand(
      "up", "a cluster on this machine, until Ctrl-C: catga up --nodes 3 -- ./my_node --flags");
  const auto wanted = std::make_shared<Wanted>();
  command->add_option("--nodes", wanted->nodes, "so many [3]")->check(CLI::Range(1, 64));
  command->add_option("--folder", wanted->folder,
                      "keep the servers' data here; else it goes at the end");
  command->add_option("PROGRAM", wanted->program, "the node program and its arguments, behind --")
      ->required();
  command->callback([&context, wanted] {
    for (const int number : {SIGINT, SIGTERM, SIGHUP})
      std::signal(number, [](int) { interrupts = interrupts + 1; });
    std::signal(SIGPIPE, [](int) {});  // who reads our lines may end first
    // Debian has nats-server where only root looks.
    const char* const path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): the only thread
    setenv("PATH",
           (std::string(path == nullptr ? "/usr/bin:/bin" : path) + ":/usr/sbin:/usr/local/sbin")
               .c_str(),
           1);
    context.code = LocalCluster(context, *wanted).run();
  });
}

}  // namespace catga::tool
