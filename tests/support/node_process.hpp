// A node as a process of its own, for tests that kill, freeze and drain: its log goes to a file
// that the test can read, and it is gone with the object.
#pragma once
#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace catga::testing {

/// A program that stands in the same folder as the running test program.
std::string beside_this_program(const std::string& name);

/// Not thread-safe. The kernel kills the process when the *thread* that started it ends.
class NodeProcess {
 public:
  using Environment = std::vector<std::pair<std::string, std::string>>;
  /// Starts `program` at once. Its output is appended to the file `log`. Throws
  /// std::runtime_error if it cannot be forked.
  NodeProcess(const std::string& program, std::vector<std::string> arguments, std::string log,
              const Environment& environment = {});
  ~NodeProcess();
  NodeProcess(const NodeProcess&) = delete;
  NodeProcess& operator=(const NodeProcess&) = delete;

  void kill9();             ///< SIGKILL; returns when it is gone
  void pause();             ///< SIGSTOP; returns when it stands still
  void resume();            ///< SIGCONT
  void signal(int number);  ///< and returns at once
  bool running();
  /// What main() returned, or 128 + the signal; none if it still runs when `patience` is over.
  std::optional<int> exit_code(std::chrono::milliseconds patience);
  /// All it has written so far (of earlier processes with the same file too).
  std::string log() const;
  /// Whether this process has written `text`, now or within `patience`. Ends early if it ended.
  bool says(const std::string& text, std::chrono::milliseconds patience);
  bool has_said(const std::string& text) const { return times_said(text) > 0; }
  std::size_t times_said(const std::string& text) const;

 private:
  pid_t pid_ = -1;
  int status_ = 0;
  std::string log_;
  std::size_t log_begins_ = 0;
};

}  // namespace catga::testing
