// A process that this one started: its output line by line, its end, and the way to end it.
#pragma once
#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace catga::tool {

class Child {
 public:
  /// Starts `command` in a process group of its own: Ctrl-C at the terminal does not reach it. It is killed if this
  /// process dies. `environment` is added to ours. `trouble` names what went wrong, then running() is false.
  Child(std::string name, const std::vector<std::string>& command,
        const std::map<std::string, std::string>& environment);
  ~Child();
  Child(Child&& other) noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  Child& operator=(Child&&) = delete;

  const std::string& name() const { return name_; }
  /// To poll for reading; -1: closed.
  int output() const { return output_; }
  /// Whole lines that have come since.
  std::vector<std::string> lines();
  /// False once it has ended; how() says how.
  bool running();
  /// "ended with code 78 (configuration wrong)", "was killed by signal 9 (Killed)".
  std::string how() const;
  int exit_code() const;
  void signal(int number) const;

 private:
  std::string name_;
  pid_t pid_ = -1;
  int output_ = -1;
  int status_ = 0;
  std::string unfinished_;
};

}  // namespace catga::tool
