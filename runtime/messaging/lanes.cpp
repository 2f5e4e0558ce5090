#include "catga/runtime/messaging/lanes.hpp"

#include "catga/persistence/named_thread.hpp"
#include "catga/runtime/late_wake.hpp"
#include "catga/runtime/messaging/nats.hpp"
#include "catga/runtime/standing.hpp"

#include <algorithm>

namespace catga {

namespace {
constexpr std::int64_t sent_kept_ms = 2000;  // "no responders" comes within milliseconds, or never
constexpr int yields_max = 4;                // while each brings something
thread_local const Lanes* gathers_for = nullptr;
constexpr std::size_t lanes_max =
    4096;  // callers come and go; empty lanes are forgotten beyond this
}  // namespace

Lanes::Lanes(std::string prefix, Incarnation process, LaneLimits limits, LaneCallbacks callbacks)
    : prefix_(std::move(prefix)),
      return_subject_(prefix_ + "x." + text_of(process) + "."),
      limits_(limits),
      callbacks_(std::move(callbacks)) {
  route_lane_.subject = prefix_ + "route";
}

Lanes::~Lanes() { stop(); }

void Lanes::start(NatsConnection& nats) {
  nats_ = &nats;
  thread_ = named_thread("catga.lanes", [this] { send_all(); });
}

void Lanes::stop() {
  {
    const std::lock_guard guard(lock_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Lanes::Gathering::Gathering(Lanes& lanes) : lanes_(lanes) { gathers_for = &lanes; }

Lanes::Gathering::~Gathering() {
  gathers_for = nullptr;
  bool wake = false;
  {
    const std::lock_guard guard(lanes_.lock_);
    wake = !lanes_.waiting_.empty() && lanes_.must_wake();
  }
  if (wake) lanes_.wake_.notify_one();
}

/// With the lock held: whether the caller has to wake the sending thread.
bool Lanes::must_wake() {
  if (sending_ || woken_ || (gathers_for == this && !urgent_)) return false;
  woken_ = true;
  return true;
}

Lanes::Lane& Lanes::lane_of(Incarnation to) {
  std::unique_ptr<Lane>& lane = lanes_[to];
  if (lane) return *lane;
  if (lanes_.size() > lanes_max) {
    std::erase_if(lanes_, [](const auto& entry) {
      return entry.second && entry.second->chunks.empty() && !entry.second->queued;
    });
  }
  std::unique_ptr<Lane>& fresh = lanes_[to];
  fresh = std::make_unique<Lane>();
  fresh->to = to;
  fresh->subject = prefix_ + "n." + text_of(to);
  return *fresh;
}

/// With the lock held. Whether the sending thread must be woken.
bool Lanes::append(Lane& lane, const wire::Record& record, std::uint64_t ask) {
  if (lane.chunks.empty() || lane.chunks.back().bytes.size() > limits_.batch_bytes) {
    lane.chunks.push_back({wire::header(callbacks_.self(), callbacks_.version()), {}, 0});
  }
  Chunk& chunk = lane.chunks.back();
  const std::size_t before = chunk.bytes.size();
  wire::append(chunk.bytes, record);
  lane.bytes += chunk.bytes.size() - before;
  if (ask != 0) chunk.asks.push_back(ask);
  ++appended_;
  ++chunk.records;
  urgent_ |= !std::holds_alternative<wire::Message>(record) &&
             !std::holds_alternative<wire::Reply>(record);
  if (!lane.queued) {
    lane.queued = true;
    waiting_.push_back(&lane);
  }
  return must_wake();
}

Status Lanes::push(Incarnation to, const wire::Record& record, std::uint64_t ask) {
  bool wake = false;
  {
    const std::lock_guard guard(lock_);
    if (stopping_) return Error{Code::unavailable, "this process is closing"};
    Lane& lane = lane_of(to);
    if (lane.bytes > limits_.lane_bytes) {
      return Error{Code::overloaded, "too much waits for node " + text_of(to),
                   std::chrono::milliseconds(50)};
    }
    wake = append(lane, record, ask);
  }
  if (wake) LateWake::notify(wake_);
  return Done{};
}

void Lanes::announce(const wire::Owns& owns) {
  bool wake = false;
  {
    const std::lock_guard guard(lock_);
    if (stopping_) return;
    wake = append(route_lane_, owns, 0);
  }
  if (wake) LateWake::notify(wake_);
}

void Lanes::send_all() {
  std::unique_lock guard(lock_);
  for (;;) {
    if (waiting_.empty()) {
      sending_ = false;
      idle_.notify_all();
      if (stopping_) return;
      wake_.wait(guard, [this] { return stopping_ || !waiting_.empty(); });
      continue;
    }
    sending_ = true;
    woken_ = false;
    // Whoever is ready to run may have more for the same nodes: on a busy machine batches grow, on an idle one this
    // returns at once. A shard that moves does not wait for that: nobody can run its messages meanwhile.
    std::uint64_t before = ~appended_;
    for (int i = 0; i < yields_max && before != appended_ && !urgent_; ++i) {
      before = appended_;
      guard.unlock();
      std::this_thread::yield();
      guard.lock();
    }
    urgent_ = false;
    const std::vector<Lane*> lanes = std::exchange(waiting_, {});
    for (Lane* lane : lanes) {
      std::deque<Chunk> chunks = std::exchange(lane->chunks, {});
      lane->bytes = 0;
      for (const Chunk& chunk : chunks) taken_ += chunk.records;
      guard.unlock();  // the lane itself stays: it is queued, so nobody forgets it
      for (Chunk& chunk : chunks) publish(*lane, std::move(chunk));
      guard.lock();
      lane->queued = !lane->chunks.empty();
      if (lane->queued) waiting_.push_back(lane);
    }
  }
}

void Lanes::publish(const Lane& lane, Chunk chunk) {
  if (callbacks_.batch) callbacks_.batch(chunk.records);
  std::string reply;
  if (lane.to) {
    const std::int64_t now = boot_ms();
    const std::lock_guard guard(sent_lock_);
    while (!sent_.empty() && now - sent_.front().at_ms > sent_kept_ms) sent_.pop_front();
    sent_.push_back({next_batch_, now, lane.to, chunk.asks});
    reply = return_subject_ + std::to_string(next_batch_++);
  }
  if (!nats_->publish(lane.subject, reply, chunk.bytes).ok() && !chunk.asks.empty()) {
    callbacks_.unsent(std::move(chunk.asks));
  }
}

void Lanes::no_responders(std::string_view subject) {
  if (!subject.starts_with(return_subject_)) return;
  const Result<std::uint64_t> batch = parse_number(subject.substr(return_subject_.size()));
  if (!batch.ok()) return;
  Sent found{};
  {
    const std::lock_guard guard(sent_lock_);
    const auto at = std::lower_bound(
        sent_.begin(), sent_.end(), *batch,
        [](const Sent& sent, std::uint64_t number) { return sent.batch < number; });
    if (at == sent_.end() || at->batch != *batch) return;
    found = *at;
    at->asks.clear();
  }
  callbacks_.undelivered(found.to, std::move(found.asks));
}

std::size_t Lanes::waiting() const {
  const std::lock_guard guard(lock_);
  return appended_ - taken_;
}

void Lanes::flush(std::chrono::milliseconds patience) {
  std::unique_lock guard(lock_);
  if (!thread_.joinable()) return;
  idle_.wait_for(guard, patience, [this] { return waiting_.empty() && !sending_; });
}

}  // namespace catga
