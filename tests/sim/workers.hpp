// The worker threads of a simulated node. A handler may hold one of them for a while of simulated
// time; as soon as all are held, no actor of the node runs.
//
// In production a handler that does not return keeps its stack and its actor in the middle of a
// message, while the other workers, and the threads of membership, Redis and NATS, go on. Here all of
// that shares one thread, so each job runs on a stack of its own: a handler that stands still is left
// where it is, and gone on with when its time has come.
#pragma once
#include "world.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace catga::sim {

class Workers {
 public:
  explicit Workers(Machine& machine);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// So many from here on. None: jobs run on the caller's stack, and nobody stands still.
  void hire(unsigned count) { count_ = count; }
  bool all_held() const { return count_ != 0 && held_.size() >= count_; }
  std::size_t held() const { return held_.size(); }
  /// Until the job is done, or stands still.
  void run(std::function<void()> job);
  /// The process ends: handlers that stand still end now, by an exception.
  void kill();

 private:
  struct Worker;
  friend void stand_still(Moment wait);
  void go_on(Worker& worker);
  void wait_here(Moment wait);

  Machine& machine_;
  unsigned count_ = 0;
  std::vector<std::unique_ptr<Worker>> all_;
  std::vector<Worker*> idle_, held_;
  Worker* running_ = nullptr;
  bool killing_ = false;
};

/// For handlers: holds the worker that runs this one for so long. Does nothing where there are none.
void stand_still(Moment wait);

}  // namespace catga::sim
