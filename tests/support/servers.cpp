// Real servers for tests, implemented with fork and exec.
#include "servers.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

namespace catga::testing {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// A descriptor that closes itself.
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

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");  // NOLINT: nobody changes the environment here
  std::istringstream folders(std::string(path == nullptr ? "" : path) +
                             ":/usr/sbin:/usr/local/sbin:/usr/local/bin");
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

int free_port() {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(socket.number(), generic, size) != 0 ||
      ::getsockname(socket.number(), generic, &size) != 0)
    throw std::runtime_error("no free port on the loopback interface");
  return ntohs(address.sin_port);
}

// Connects, sends the greeting and gives back the first bytes of the answer; empty if there is
// none.
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

// In the child, between fork and exec: only calls that are safe in a copy of a threaded process.
[[noreturn]] void become(char* const* arguments, const char* log, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);  // the parent ended before we could ask to be told
  const int out = ::open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int in = ::open("/dev/null", O_RDONLY);
  ::dup2(in, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(out, STDERR_FILENO);
  ::close_range(3, ~0U, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv(arguments[0], arguments);
  ::_exit(127);
}

}  // namespace

bool servers_installed() {
  bool all = true;
  for (const char* name : {"redis-server", "nats-server"}) {
    if (!find_program(name).empty()) continue;
    std::fprintf(stderr, "SKIPPED: %s is not installed; tests that need it prove nothing here\n",
                 name);
    all = false;
  }
  return all;
}

Server::Server(std::string program, Arguments arguments, std::string greeting,
               std::function<bool(const std::string&)> ready)
    : program_(find_program(program)),
      arguments_(std::move(arguments)),
      greeting_(std::move(greeting)),
      ready_(std::move(ready)) {
  if (program_.empty()) throw std::runtime_error(program + " is not installed");
  folder_ = (std::filesystem::temp_directory_path() / "catga-test-XXXXXX").string();
  if (::mkdtemp(folder_.data()) == nullptr)
    throw std::runtime_error("cannot make a temporary folder");
  // Between choosing a port and the server's taking it somebody else may: then choose again.
  for (int attempt = 0; attempt < 5; ++attempt) {
    port_ = free_port();
    if (start()) return;
  }
  fail("does not start");
}

Server::~Server() {
  stop();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

bool Server::start() {
  std::vector<std::string> texts = arguments_(port_, folder_);
  texts.insert(texts.begin(), program_);
  std::vector<char*> arguments;
  for (std::string& text : texts) arguments.push_back(text.data());
  arguments.push_back(nullptr);
  const std::string log = folder_ + "/output.log";
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become(arguments.data(), log.c_str(), parent);
  if (pid_ < 0) fail("cannot be forked");
  return wait_until_ready();
}

bool Server::wait_until_ready() {
  for (const auto deadline = Clock::now() + 20s; Clock::now() < deadline;) {
    if (!running()) return false;
    if (ready_(first_answer(port_, greeting_))) return true;
    std::this_thread::sleep_for(2ms);  // between two questions; the answer decides
  }
  kill9();
  return false;
}

bool Server::running() {
  if (pid_ <= 0) return false;
  if (::waitpid(pid_, nullptr, WNOHANG) == 0) return true;
  pid_ = -1;
  return false;
}

void Server::stop() {
  if (!running()) return;
  ::kill(pid_, SIGTERM);
  ::kill(pid_, SIGCONT);
  for (const auto deadline = Clock::now() + 5s; Clock::now() < deadline;) {
    if (!running()) return;
    std::this_thread::sleep_for(2ms);
  }
  kill9();
}

void Server::kill9() {
  if (!running()) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void Server::pause() {
  if (!running()) fail("cannot be paused: it does not run");
  ::kill(pid_, SIGSTOP);
  ::waitpid(pid_, nullptr, WUNTRACED);
}

void Server::resume() {
  if (!running()) fail("cannot go on: it does not run");
  ::kill(pid_, SIGCONT);
}

void Server::restart() {
  stop();
  if (!start()) fail("does not start again on its old port");
}

void Server::fail(const std::string& why) const {
  std::ifstream log(folder_ + "/output.log");
  std::ostringstream words;
  words << log.rdbuf();
  throw std::runtime_error(program_ + ' ' + why + ":\n" + words.str());
}

RedisServer::RedisServer() : RedisServer(Options{}) {}

RedisServer::RedisServer(Options options)
    : Server(
          "redis-server",
          [options](int port, const std::string& folder) {
            std::vector<std::string> out{"--port",       std::to_string(port),
                                         "--bind",       "127.0.0.1",
                                         "--dir",        folder,
                                         "--save",       "",
                                         "--appendonly", options.append_only ? "yes" : "no"};
            if (!options.password.empty())
              out.insert(out.end(), {"--requirepass", options.password});
            out.insert(out.end(), options.more.begin(), options.more.end());
            return out;
          },
          "PING\r\n",
          // While it loads its file Redis says -LOADING.
          [](const std::string& answer) {
            return answer.starts_with("+PONG") || answer.starts_with("-NOAUTH");
          }),
      password_(options.password) {}

std::string RedisServer::url() const {
  const std::string login = password_.empty() ? "" : "default:" + password_ + '@';
  return "redis://" + login + "127.0.0.1:" + std::to_string(port()) + "/0";
}

namespace {

/// A sentinel keeps what it learns in its configuration file, so the file is written once only.
std::string sentinel_file(const RedisSentinel::Options& options, int port,
                          const std::string& folder) {
  const std::string file = folder + "/sentinel-" + std::to_string(port) + ".conf";
  if (std::filesystem::exists(file)) return file;
  const std::string& master = options.master;
  std::ofstream out(file);
  out << "port " << port << "\nbind 127.0.0.1\ndir " << folder << "\nsentinel monitor " << master
      << " 127.0.0.1 " << options.primary_port << ' ' << options.quorum
      << "\nsentinel down-after-milliseconds " << master << ' ' << options.down_after_ms
      << "\nsentinel failover-timeout " << master << " 2000\n";
  if (!options.password.empty()) out << "requirepass " << options.password << '\n';
  if (!options.primary_password.empty())
    out << "sentinel auth-pass " << master << ' ' << options.primary_password << '\n';
  return file;
}

std::string sentinel_greeting(const RedisSentinel::Options& options) {
  const std::string login = options.password.empty() ? "" : "AUTH " + options.password + "\r\n";
  return login + "SENTINEL REPLICAS " + options.master + "\r\n";
}

}  // namespace

RedisSentinel::RedisSentinel(Options options)
    : Server(
          "redis-server",
          [options](int port, const std::string& folder) {
            return std::vector<std::string>{sentinel_file(options, port, folder), "--sentinel"};
          },
          sentinel_greeting(options),
          [known = '*' + std::to_string(options.replicas) + "\r\n"](const std::string& answer) {
            return answer.starts_with(known) || answer.starts_with("+OK\r\n" + known);
          }) {}

RedisGroup::RedisGroup() : RedisGroup(Options{}) {}

RedisGroup::RedisGroup(Options options) {
  RedisServer::Options server{.append_only = options.append_only,
                              .password = options.password,
                              .more = {"--repl-diskless-sync-delay", "0"}};
  if (!options.password.empty())
    server.more.insert(server.more.end(), {"--masterauth", options.password});
  servers_.push_back(std::make_unique<RedisServer>(server));
  const int primary = servers_.front()->port();
  server.more.insert(server.more.end(), {"--replicaof", "127.0.0.1", std::to_string(primary)});
  for (unsigned i = 0; i < options.replicas; ++i)
    servers_.push_back(std::make_unique<RedisServer>(server));
  for (unsigned i = 0; i < options.sentinels; ++i) {
    sentinels_.push_back(std::make_unique<RedisSentinel>(
        RedisSentinel::Options{.primary_port = primary,
                               .replicas = options.replicas,
                               .quorum = options.quorum,
                               .password = options.sentinel_password,
                               .primary_password = options.password}));
  }
  const auto until_it_says = [](int port, const std::string& password, const std::string& question,
                                const std::string& answer) {
    const std::string login = password.empty() ? "" : "AUTH " + password + "\r\n";
    const auto deadline = Clock::now() + 20s;
    while (first_answer(port, login + question + "\r\n").find(answer) == std::string::npos) {
      if (Clock::now() > deadline) throw std::runtime_error("never the right answer: " + question);
      std::this_thread::sleep_for(10ms);  // between two questions; the answer decides
    }
  };
  const std::string replicas = std::to_string(options.replicas);
  // WAIT proves nothing as the first command of a connection.
  until_it_says(primary, options.password, "PING\r\nWAIT " + replicas + " 100",
                ':' + replicas + "\r\n");
  // Sentinels find each other through the primary, every two seconds.
  const std::string others = '*' + std::to_string(options.sentinels - 1) + "\r\n";
  for (const auto& sentinel : sentinels_)
    until_it_says(sentinel->port(), options.sentinel_password, "SENTINEL SENTINELS catga", others);
}

std::string RedisGroup::sentinels() const {
  std::string all;
  for (const auto& sentinel : sentinels_) all += (all.empty() ? "" : ",") + sentinel->address();
  return all;
}

int RedisGroup::named_port(std::size_t sentinel) const {
  const std::string answer =
      first_answer(sentinels_.at(sentinel)->port(), "SENTINEL GET-MASTER-ADDR-BY-NAME catga\r\n");
  // *2 $9 127.0.0.1 $5 <port>, each on a line
  std::istringstream lines(answer);
  std::string line;
  for (int i = 0; i < 5; ++i) std::getline(lines, line);
  return std::atoi(line.c_str());
}

NatsServer::NatsServer() : NatsServer(Options{}) {}

NatsServer::NatsServer(Options options)
    : Server(
          "nats-server",
          [options](int port, const std::string& folder) {
            std::vector<std::string> out{"--addr", "127.0.0.1", "--port", std::to_string(port)};
            if (options.jetstream) out.insert(out.end(), {"-js", "--store_dir", folder});
            if (!options.user.empty())
              out.insert(out.end(), {"--user", options.user, "--pass", options.password});
            return out;
          },
          "", [](const std::string& answer) { return answer.starts_with("INFO "); }) {}

std::string NatsServer::url() const { return "nats://127.0.0.1:" + std::to_string(port()); }

}  // namespace catga::testing
