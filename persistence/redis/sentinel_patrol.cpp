// The patrol's thread.
#include "catga/persistence/redis/sentinel_patrol.hpp"

#include "catga/persistence/named_thread.hpp"
#include "catga/persistence/redis/connection.hpp"
#include "catga/persistence/redis/primary_watch.hpp"

#include <cassert>
#include <chrono>
#include <csignal>
#include <utility>

namespace catga {
namespace {

/// Bounds how long a deposed primary is written to. Far below the 10 s that a sentinel takes to
/// reach it, far above the millisecond that a question takes.
constexpr std::chrono::milliseconds interval{500};

}  // namespace

SentinelPatrol::SentinelPatrol(std::shared_ptr<const RedisOptions> options)
    : options_(std::move(options)), thread_(named_thread("catga.sentinel", [this] { run(); })) {
  assert(options_->primary != nullptr && !options_->sentinels.empty());
}

SentinelPatrol::~SentinelPatrol() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void SentinelPatrol::run() {
  // Its own way through the list: a silent sentinel must not lead connections astray, only one that
  // has led to a primary is remembered for them.
  std::size_t further = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, interval, [this] { return stopping_; })) return;
    }
    PrimaryWatch& primary = *options_->primary;
    const auto& sentinels = options_->sentinels;
    const RedisAddress& sentinel =
        sentinels[(primary.first_sentinel() + further) % sentinels.size()];
    const auto address = Connection(*options_).ask_sentinel(sentinel);
    if (address) {
      primary.named(*address);
    } else {
      ++further;
    }
  }
}

}  // namespace catga
