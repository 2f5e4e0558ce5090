// Processes of the demo: started in a temporary folder on free loopback ports, ended by their id.
#pragma once
#include <catga/sharding/result.hpp>

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace demo {

/// A folder that is gone when this is, unless keep() was called.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  const std::string& path() const { return path_; }
  void keep() { keep_ = true; }

 private:
  std::string path_;
  bool keep_ = false;
};

/// A child process in a group of its own, so that Ctrl-C reaches only the demo, which then ends
/// its children in order. Killed with the demo, whatever kills that. Not thread-safe.
class Process {
 public:
  /// Starts `command` with standard output appended to `output` and errors to `output`.err.
  /// CATGA_* variables and NATS_URL of the caller's environment are not passed on.
  /// To be called from the thread that lives longest: the kernel ties the child to its thread.
  static catga::Result<Process> start(const std::vector<std::string>& command,
                                      const std::string& output);
  Process() = default;
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();  ///< kill -9, if it still runs

  void signal(int number);
  bool running();
  /// Its exit code once it ended (128 + signal if it was killed), or none while it runs.
  std::optional<int> exit_code();
  std::optional<int> wait(std::chrono::milliseconds patience);

 private:
  pid_t pid_ = -1;
  std::optional<int> exit_code_;
};

/// NATS and Redis, both on loopback. Redis writes its append-only file every second.
struct Servers {
  Process nats;
  Process redis;
  std::string nats_url;
  std::string redis_url;
};

/// Starts both and waits until they answer. Errors: not_found (not installed), unavailable.
catga::Result<Servers> start_servers(const std::string& folder);

}  // namespace demo
