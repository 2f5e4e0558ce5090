#include "catga/runtime/tool/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace catga::tool {

namespace {

constexpr int cannot_run = 127;

std::string meaning_of(int code) {
  switch (code) {
    case 2:
      return " (wrong usage)";
    case 69:
      return " (NATS or Redis not reachable)";
    case 70:
      return " (a defect)";
    case 75:
      return " (stopped before the drain was finished)";
    case 78:
      return " (configuration wrong)";
    case cannot_run:
      return " (it cannot be run)";
    default:
      return "";
  }
}

/// In the child, between fork and exec: nothing here may allocate or take a lock.
[[noreturn]] void become(char* const* arguments, char* const* environment, int output,
                         pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(cannot_run);  // it died before we asked to be told
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  execvpe(arguments[0], arguments, environment);
  const char* const why = strerror(errno);  // NOLINT(concurrency-mt-unsafe): the only thread
  for (const char* part : {"cannot run ", static_cast<const char*>(arguments[0]), ": ", why, "\n"})
    if (write(STDERR_FILENO, part, strlen(part)) < 0) break;
  _exit(cannot_run);
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Child::Child(std::string name, const std::vector<std::string>& command,
             const std::map<std::string, std::string>& environment)
    : name_(std::move(name)) {
  std::vector<std::string> arguments = command, variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string line = *entry;
    if (!environment.contains(line.substr(0, line.find('=')))) variables.push_back(line);
  }
  for (const auto& [variable, value] : environment) variables.push_back(variable + '=' + value);
  const auto argument_list = pointers_to(arguments), variable_list = pointers_to(variables);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return;
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) become(argument_list.data(), variable_list.data(), ends[1], parent);
  close(ends[1]);
  output_ = ends[0];
  fcntl(output_, F_SETFL, O_NONBLOCK);
}

Child::Child(Child&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      output_(std::exchange(other.output_, -1)),
      status_(other.status_),
      unfinished_(std::move(other.unfinished_)) {}

Child::~Child() {
  if (pid_ > 0) {
    signal(SIGKILL);
    waitpid(pid_, &status_, 0);
  }
  if (output_ >= 0) close(output_);
}

std::vector<std::string> Child::lines() {
  std::vector<std::string> lines;
  std::array<char, 16384> piece{};
  while (output_ >= 0) {
    const ssize_t count = read(output_, piece.data(), piece.size());
    if (count < 0) break;
    if (count == 0) {
      close(std::exchange(output_, -1));
      if (!unfinished_.empty()) lines.push_back(std::exchange(unfinished_, ""));
      break;
    }
    unfinished_.append(piece.data(), static_cast<std::size_t>(count));
    for (auto end = unfinished_.find('\n'); end != unfinished_.npos; end = unfinished_.find('\n')) {
      lines.push_back(unfinished_.substr(0, end));
      unfinished_.erase(0, end + 1);
    }
  }
  return lines;
}

bool Child::running() {
  if (pid_ <= 0) return false;
  if (waitpid(pid_, &status_, WNOHANG) != pid_) return true;
  pid_ = -1;
  return false;
}

int Child::exit_code() const {
  return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
}

std::string Child::how() const {
  if (WIFSIGNALED(status_))
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status_),
                       sigdescr_np(WTERMSIG(status_)));
  return fmt::format("ended with code {}{}", WEXITSTATUS(status_),
                     meaning_of(WEXITSTATUS(status_)));
}

void Child::signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

}  // namespace catga::tool
