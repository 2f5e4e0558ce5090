// Nodes as processes, with fork and exec.
#include "node_process.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace catga::testing {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// In the child, between fork and exec: only calls that are safe in a copy of a threaded process.
[[noreturn]] void become(char* const* arguments, char* const* environment, const char* log,
                         pid_t parent) {
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
  ::execve(arguments[0], arguments, environment);
  ::_exit(127);
}

std::string content_of(const std::string& file, std::size_t from) {
  std::ifstream in(file, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(from));
  std::ostringstream out;
  if (in.good()) out << in.rdbuf();
  return std::move(out).str();
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// Nothing of CATGA_* from outside: a test is the same wherever it runs.
std::vector<std::string> variables(const NodeProcess::Environment& more) {
  std::vector<std::string> out;
  for (char** one = environ; *one != nullptr; ++one) {
    const std::string text = *one;
    if (!text.starts_with("CATGA_") && !text.starts_with("NATS_")) out.push_back(text);
  }
  for (const auto& [name, value] : more) out.push_back(name + '=' + value);
  return out;
}

}  // namespace

std::string beside_this_program(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").replace_filename(name).string();
}

NodeProcess::NodeProcess(const std::string& program, std::vector<std::string> arguments,
                         std::string log, const Environment& environment)
    : log_(std::move(log)) {
  std::error_code none;
  const auto before = std::filesystem::file_size(log_, none);
  log_begins_ = none ? 0 : before;
  arguments.insert(arguments.begin(), program);
  std::vector<std::string> settings = variables(environment);
  const std::vector<char*> argv = pointers_to(arguments);
  const std::vector<char*> envp = pointers_to(settings);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become(argv.data(), envp.data(), log_.c_str(), parent);
  if (pid_ < 0) throw std::runtime_error("a node cannot be forked");
}

NodeProcess::~NodeProcess() { kill9(); }

bool NodeProcess::running() {
  if (pid_ <= 0) return false;
  if (::waitpid(pid_, &status_, WNOHANG) == 0) return true;
  pid_ = -1;
  return false;
}

void NodeProcess::signal(int number) {
  if (running()) ::kill(pid_, number);
}

void NodeProcess::kill9() {
  if (!running()) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, &status_, 0);
  pid_ = -1;
}

void NodeProcess::pause() {
  if (!running()) throw std::runtime_error("a node that ended cannot be paused");
  ::kill(pid_, SIGSTOP);
  int status = 0;
  ::waitpid(pid_, &status, WUNTRACED);
}

void NodeProcess::resume() { signal(SIGCONT); }

std::optional<int> NodeProcess::exit_code(std::chrono::milliseconds patience) {
  for (const auto end = Clock::now() + patience; running();) {
    if (Clock::now() >= end) return std::nullopt;
    std::this_thread::sleep_for(2ms);  // between two looks
  }
  return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
}

std::string NodeProcess::log() const { return content_of(log_, 0); }

std::size_t NodeProcess::times_said(const std::string& text) const {
  const std::string all = content_of(log_, log_begins_);
  std::size_t count = 0;
  for (auto at = all.find(text); at != all.npos; at = all.find(text, at + 1)) ++count;
  return count;
}

bool NodeProcess::says(const std::string& text, std::chrono::milliseconds patience) {
  for (const auto end = Clock::now() + patience; Clock::now() < end;) {
    const bool alive = running();
    if (has_said(text)) return true;
    if (!alive) return false;
    std::this_thread::sleep_for(5ms);  // between two looks
  }
  return has_said(text);
}

}  // namespace catga::testing
