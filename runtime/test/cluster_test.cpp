// The two servers as child processes, and nodes as objects.
#include "catga/runtime/test/cluster_test.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cassert>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace catga::test {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds server_patience{10}, node_patience{20};
constexpr std::chrono::milliseconds poll_every{10};
constexpr int attempts_for_a_port = 5;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

/// Its path; empty: it is not installed.
std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");  // NOLINT: nobody changes the environment here
  std::istringstream folders(std::string(path == nullptr ? "" : path) +
                             ":/usr/sbin:/usr/local/sbin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = folder + '/' + name;
    if (!folder.empty() && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// 0: there is none.
int free_port() {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const bool bound = ::bind(socket.number(), generic, size) == 0 &&
                     ::getsockname(socket.number(), generic, &size) == 0;
  return bound ? ntohs(address.sin_port) : 0;
}

/// Says `greeting` to whoever listens there; the first bytes of the answer, empty if there is none.
std::string first_answer(int port, const std::string& greeting) {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  if (::connect(socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return {};
  if (!greeting.empty() &&
      ::send(socket.number(), greeting.data(), greeting.size(), MSG_NOSIGNAL) < 0)
    return {};
  pollfd waiting{socket.number(), POLLIN, 0};
  if (::poll(&waiting, 1, 500) != 1) return {};
  std::string answer(64, '\0');
  const ssize_t got = ::recv(socket.number(), answer.data(), answer.size(), 0);
  answer.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return answer;
}

/// Between fork and exec: only calls that are safe in a copy of a threaded process.
[[noreturn]] void become(char* const* arguments, const char* log, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  const int out = ::open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int in = ::open("/dev/null", O_RDONLY);
  ::dup2(in, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(out, STDERR_FILENO);
  ::close_range(3, ~0U, 0);  // what the test has open is not the server's
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv(arguments[0], arguments);
  ::_exit(127);
}

/// A server on a port of its own, ended with this.
class Server {
 public:
  struct Manner {
    std::string program;
    std::string greeting;  ///< what to say to a server that may be ready
    std::string ready;     ///< how the answer of one that is begins
    std::function<std::vector<std::string>(int port, const std::string& folder)> arguments;
  };
  explicit Server(Manner manner) : manner_(std::move(manner)) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() { end(); }

  Status start(const std::string& folder) {
    const std::string file = find_program(manner_.program);
    if (file.empty()) return Error{Code::unavailable, manner_.program + " is not in the PATH"};
    log_ = folder + '/' + manner_.program + ".log";
    // Between choosing a port and the server's taking it somebody else may: then another one.
    for (int attempt = 0; attempt < attempts_for_a_port; ++attempt) {
      port_ = free_port();
      if (port_ != 0 && run(file, folder)) return Done{};
      end();
    }
    return Error{Code::unavailable, manner_.program + " does not start: " + last_words()};
  }
  int port() const { return port_; }

 private:
  bool run(const std::string& file, const std::string& folder) {
    std::vector<std::string> words{file};
    for (std::string& word : manner_.arguments(port_, folder)) words.push_back(std::move(word));
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) become(arguments.data(), log_.c_str(), parent);
    if (pid_ < 0) return false;
    const auto until = Clock::now() + server_patience;
    while (Clock::now() < until) {
      if (first_answer(port_, manner_.greeting).starts_with(manner_.ready)) return true;
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        return false;
      }
      std::this_thread::sleep_for(poll_every);
    }
    return false;
  }

  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  std::string last_words() const {
    std::ifstream in(log_);
    std::string line, last = "it said nothing";
    while (std::getline(in, line)) {
      if (!line.empty()) last = line;
    }
    return last;
  }

  Manner manner_;
  std::string log_;
  int port_ = 0;
  pid_t pid_ = -1;
};

Server::Manner redis_server() {
  return {"redis-server", "PING\r\n", "+PONG", [](int port, const std::string& folder) {
            return std::vector<std::string>{
                "--port", std::to_string(port), "--bind", "127.0.0.1", "--dir", folder, "--save",
                "",       "--appendonly",       "no"};
          }};
}

Server::Manner nats_server() {
  return {"nats-server", "", "INFO ", [](int port, const std::string& folder) {
            return std::vector<std::string>{
                "-a", "127.0.0.1", "-p", std::to_string(port), "-js", "-sd", folder + "/jetstream"};
          }};
}

}  // namespace

struct ClusterTest::Private {
  std::string folder;
  Server redis{redis_server()};
  Server nats{nats_server()};
  std::function<void(Config&)> change;
  std::function<void(Node&)> host;
  std::vector<std::unique_ptr<Node>> nodes;
  std::unique_ptr<Client> client;

  Status start_servers() {
    folder = (std::filesystem::temp_directory_path() / "catga-cluster-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr)
      return Error{Code::unavailable, "cannot make a temporary folder " + folder};
    CATGA_TRY(redis.start(folder));
    return nats.start(folder);
  }
};

ClusterTest::ClusterTest() : private_(std::make_unique<Private>()) {}

ClusterTest::~ClusterTest() {
  if (private_->client) private_->client->close();
  private_->client.reset();
  private_->nodes.clear();
  const std::string folder = private_->folder;
  private_.reset();
  std::error_code ignored;
  if (!folder.empty()) std::filesystem::remove_all(folder, ignored);
}

bool ClusterTest::servers_installed() {
  return !find_program("redis-server").empty() && !find_program("nats-server").empty();
}

void ClusterTest::configure(std::function<void(Config&)> change) {
  private_->change = std::move(change);
}

Config ClusterTest::config(const std::string& name) const {
  Config config;
  config.cluster.name = "test";
  config.cluster.shards = 32;
  config.node.id = name;
  config.runtime.workers = 2;
  config.membership.settle = std::chrono::milliseconds(200);
  config.drain.linger = std::chrono::milliseconds(100);
  config.start.patience = node_patience;
  config.nats.urls = {"nats://127.0.0.1:" + std::to_string(private_->nats.port())};
  config.redis.url = "redis://127.0.0.1:" + std::to_string(private_->redis.port());
  config.log.level = "off";
  if (private_->change) private_->change(config);
  return config;
}

Status ClusterTest::start(std::size_t nodes, std::function<void(Node&)> host) {
  assert(private_->folder.empty() && "a cluster starts once");
  private_->host = std::move(host);
  CATGA_TRY(private_->start_servers());
  // All at once, as clusters start: each waits until it is UP.
  std::vector<Status> started(nodes, Done{});
  std::vector<std::thread> starters;
  for (std::size_t i = 0; i < nodes; ++i) {
    private_->nodes.push_back(std::make_unique<Node>(config("node-" + std::to_string(i))));
    private_->host(*private_->nodes.back());
  }
  for (std::size_t i = 0; i < nodes; ++i) {
    starters.emplace_back([&started, i, this] { started[i] = private_->nodes[i]->start(); });
  }
  for (std::thread& starter : starters) starter.join();
  for (Status& one : started) {
    if (!one.ok()) return std::move(one);
  }
  return Done{};
}

Result<std::size_t> ClusterTest::add() {
  const std::size_t number = private_->nodes.size();
  auto node = std::make_unique<Node>(config("node-" + std::to_string(number)));
  private_->host(*node);
  CATGA_TRY(node->start());
  private_->nodes.push_back(std::move(node));
  return number;
}

Node& ClusterTest::node(std::size_t number) {
  assert(number < private_->nodes.size() && private_->nodes[number]);
  return *private_->nodes[number];
}

std::size_t ClusterTest::size() const { return private_->nodes.size(); }

Client& ClusterTest::client() {
  if (!private_->client) {
    auto client = std::make_unique<Client>(config("client"));
    if (const Status connected = client->connect(); !connected.ok())
      throw std::runtime_error("the client does not connect: " + connected.error().text);
    private_->client = std::move(client);
  }
  return *private_->client;
}

Status ClusterTest::stop(std::size_t number) {
  const std::unique_ptr<Node> node = std::exchange(private_->nodes.at(number), nullptr);
  assert(node);
  return node->stop();
}

void ClusterTest::kill(std::size_t number) { private_->nodes.at(number).reset(); }

}  // namespace catga::test
