// fork, exec, ports and waiting.
#include "processes.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <thread>
#include <utility>

namespace demo {
namespace {

using catga::Code;
using catga::Error;
using catga::Result;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// A file descriptor that is closed with this.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// A port nobody uses now. Somebody may take it before the server does: then the start is repeated.
std::uint16_t free_port() {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto address = loopback(0);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(socket.number(), generic, size) != 0) return 0;
  if (getsockname(socket.number(), generic, &size) != 0) return 0;
  return ntohs(address.sin_port);
}

/// Whether a server at `port` answers `question` with something that begins like `answer`.
bool answers(std::uint16_t port, std::string_view question, std::string_view answer) {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = loopback(port);
  if (connect(socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return false;
  if (!question.empty() &&
      send(socket.number(), question.data(), question.size(), MSG_NOSIGNAL) < 0)
    return false;
  pollfd readable{.fd = socket.number(), .events = POLLIN, .revents = 0};
  std::array<char, 64> bytes{};
  if (poll(&readable, 1, 500) <= 0) return false;
  const ssize_t n = recv(socket.number(), bytes.data(), bytes.size(), 0);
  return n > 0 && std::string_view(bytes.data(), static_cast<std::size_t>(n)).starts_with(answer);
}

std::vector<std::string> environment_for_children() {
  std::vector<std::string> kept;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view line = *entry;
    if (!line.starts_with("CATGA_") && !line.starts_with("NATS_URL=")) kept.emplace_back(line);
  }
  return kept;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (auto& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string found_in_path(const std::string& program) {
  if (program.find('/') != program.npos) return program;
  const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  std::string folders = std::string(path ? path : "") + ":/usr/sbin:/usr/bin:/usr/local/bin";
  for (std::size_t at = 0; at < folders.size();) {
    const auto end = std::min(folders.find(':', at), folders.size());
    const auto candidate = folders.substr(at, end - at) + '/' + program;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
    at = end + 1;
  }
  return {};
}

/// Starts a server at a free port until it answers there; another program may take the port first.
Result<std::pair<Process, std::uint16_t>> start_server(
    const std::string& output, std::string_view question, std::string_view answer,
    std::vector<std::string> (*command_for)(std::uint16_t port, const std::string& folder),
    const std::string& folder) {
  std::string program;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const auto port = free_port();
    const auto command = command_for(port, folder);
    program = command.front();
    auto process = Process::start(command, output);
    if (!process.ok()) return process.error();
    for (const auto until = Clock::now() + 10s; process->running() && Clock::now() < until;) {
      if (answers(port, question, answer)) return std::pair{std::move(*process), port};
      std::this_thread::sleep_for(10ms);
    }
  }
  return Error{Code::unavailable, program + " does not answer; see " + output};
}

std::vector<std::string> nats_command(std::uint16_t port, const std::string& folder) {
  return {"nats-server", "-a", "127.0.0.1", "-p", std::to_string(port), "-l", folder + "/nats.log"};
}

std::vector<std::string> redis_command(std::uint16_t port, const std::string& folder) {
  return {"redis-server",
          "--port",
          std::to_string(port),
          "--bind",
          "127.0.0.1",
          "--dir",
          folder,
          "--appendonly",
          "yes",
          "--appendfsync",
          "everysec",
          "--maxmemory-policy",
          "noeviction",
          "--save",
          "",
          "--daemonize",
          "no"};
}

}  // namespace

TemporaryFolder::TemporaryFolder()
    : path_((std::filesystem::temp_directory_path() / "catga-demo-XXXXXX").string()) {
  if (mkdtemp(path_.data()) == nullptr) path_.clear();
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!keep_ && !path_.empty()) std::filesystem::remove_all(path_, ignored);
}

Result<Process> Process::start(const std::vector<std::string>& command, const std::string& output) {
  // All memory is prepared here: between fork and exec a program with threads must not allocate.
  std::vector<std::string> words = command;
  const std::string program = found_in_path(words.front());
  if (program.empty())
    return Error{Code::not_found,
                 words.front() + " is not installed (Debian package of that name)"};
  std::vector<std::string> variables = environment_for_children();
  const auto arguments = pointers_to(words);
  const auto environment = pointers_to(variables);
  const std::string errors = output + ".err";
  const pid_t parent = getpid();

  Process process;
  process.pid_ = fork();
  if (process.pid_ < 0)
    return Error{Code::unavailable, std::string("cannot start a process: ") + strerror(errno)};
  if (process.pid_ > 0) return process;

  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int flags = O_WRONLY | O_CREAT | O_APPEND;
  dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
  dup2(open(output.c_str(), flags, 0600), STDOUT_FILENO);
  dup2(open(errors.c_str(), flags, 0600), STDERR_FILENO);
  execve(program.c_str(), arguments.data(), environment.data());
  _exit(127);
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), exit_code_(std::exchange(other.exit_code_, {})) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(exit_code_, other.exit_code_);
  return *this;
}

Process::~Process() {
  if (!running()) return;
  signal(SIGKILL);
  (void)wait(5s);
}

void Process::signal(int number) {
  if (running()) kill(pid_, number);
}

bool Process::running() { return pid_ > 0 && !exit_code(); }

std::optional<int> Process::exit_code() {
  if (exit_code_ || pid_ <= 0) return exit_code_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return exit_code_;
}

std::optional<int> Process::wait(std::chrono::milliseconds patience) {
  for (const auto until = Clock::now() + patience; running() && Clock::now() < until;)
    std::this_thread::sleep_for(5ms);
  return exit_code();
}

Result<Servers> start_servers(const std::string& folder) {
  Servers servers;
  auto nats = start_server(folder + "/nats.out", "", "INFO ", nats_command, folder);
  if (!nats.ok()) return nats.error();
  auto redis = start_server(folder + "/redis.log", "PING\r\n", "+PONG", redis_command, folder);
  if (!redis.ok()) return redis.error();
  servers.nats_url = "nats://127.0.0.1:" + std::to_string(nats->second);
  servers.redis_url = "redis://127.0.0.1:" + std::to_string(redis->second) + "/0";
  servers.nats = std::move(nats->first);
  servers.redis = std::move(redis->first);
  return servers;
}

}  // namespace demo
