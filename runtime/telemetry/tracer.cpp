#include "catga/runtime/telemetry/tracer.hpp"

#include "catga/entities/operation.hpp"
#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <chrono>
#include <random>

namespace catga {

namespace {
constexpr std::uint64_t rebalance_domain = 51;
constexpr std::size_t watched_most = 64;

std::uint64_t random_span() {
  thread_local std::mt19937_64 source{new_operation_id().low};
  const std::uint64_t id = source();
  return id == 0 ? 1 : id;
}

/// At most `per_second`, a second's worth at once. `next`: of these tokens.
bool take_token(std::atomic<std::int64_t>& next, std::uint32_t per_second, std::int64_t now) {
  const std::int64_t each = 1'000'000'000 / per_second;
  std::int64_t known = next.load(std::memory_order_relaxed);
  for (;;) {
    const std::int64_t from = std::max(known, now - 1'000'000'000);
    if (from > now) return false;
    if (next.compare_exchange_weak(known, from + each, std::memory_order_relaxed)) return true;
  }
}
}  // namespace

Tracer::Tracer(SamplerSettings sampler, Sink sink, Room room)
    : sampler_(sampler), sink_(std::move(sink)), room_(std::move(room)) {}

std::int64_t Tracer::now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

TraceContext Tracer::inside(const TraceContext& of) {
  TraceContext context = of;
  context.span = random_span();
  context.flags = static_cast<std::uint8_t>(context.flags & ~trace_of_tell);
  return context;
}

TraceContext Tracer::unsampled() {
  const OperationId random = new_operation_id();  // 128 random bits, made without a system call
  return {random.high, random.low, random_span(), 2};
}

TraceContext Tracer::root() {
  TraceContext context = unsampled();
  if (!sampled_root(context.trace_low)) return context;
  // Without this bound "always on" would fill the queue and tear traces apart.
  const std::uint32_t most = sampler_.roots_per_second;
  if (most == 0 || take_token(next_root_, most, now_ns())) context.flags |= 1;
  return context;
}

TraceContext Tracer::child(const TraceContext& parent) {
  if (!parent) return root();
  TraceContext context = inside(parent);
  if (!sampler_.parent_based) {
    context.flags = static_cast<std::uint8_t>(context.flags & ~1U);
    if (sampled_root(context.trace_low)) context.flags |= 1;
  }
  if (context.sampled() && !fits(context))
    context.flags = static_cast<std::uint8_t>(context.flags & ~1U);
  return context;
}

bool Tracer::sampled_root(std::uint64_t trace_low) {
  constexpr std::uint64_t low_56 = (std::uint64_t{1} << 56) - 1;
  return static_cast<double>(trace_low & low_56) < sampler_.ratio * static_cast<double>(low_56) ||
         sampler_.ratio >= 1;
}

/// One trace may have thousands of asks, so bounding new traces alone bounds nothing. None may have more than a quarter, so
/// that one endless turn does not use up what the others need. A branch that is left out costs no more than a trace that
/// nobody looks at; and no span that is sent has a parent that was left out here.
bool Tracer::fits(const TraceContext& context) {
  bool fits = !room_ || room_();
  if (fits && sampler_.spans_per_second != 0) {
    const std::uint32_t each = std::max(sampler_.spans_per_second / 4, 1U);
    const std::int64_t now = now_ns();
    fits = take_token(next_of_trace_[context.trace_low % next_of_trace_.size()], each, now) &&
           take_token(next_span_, sampler_.spans_per_second, now);
  }
  if (!fits) left_out_.fetch_add(1, std::memory_order_relaxed);
  return fits;
}

void Tracer::watch(const EntityId& entity, std::int64_t until_ns) {
  const std::lock_guard guard(watch_lock_);
  watched_[text_of(entity)] = until_ns;
  if (watched_.size() > watched_most)
    watched_.erase(
        std::min_element(watched_.begin(), watched_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; }));
  watching_ = true;
}

bool Tracer::is_watched(const EntityId& entity) {
  const std::lock_guard guard(watch_lock_);
  std::erase_if(watched_, [now = now_ns()](const auto& one) { return one.second <= now; });
  watching_ = !watched_.empty();
  return watched_.contains(text_of(entity));
}

namespace rebalance_trace {

TraceContext root(std::string_view cluster, std::uint64_t rebalance) {
  const std::string name =
      "catga.rebalance " + std::string(cluster) + ' ' + std::to_string(rebalance);
  const OperationId trace = hash128(rebalance_domain, name);
  const std::uint64_t span = hash64(rebalance_domain, name + " root");
  return {trace.high, trace.low == 0 ? 1 : trace.low, span == 0 ? 1 : span, 1};
}

TraceContext handoff(std::string_view cluster, std::uint64_t rebalance, std::int64_t shard,
                     std::string_view to, std::string_view epoch) {
  TraceContext context = root(cluster, rebalance);
  const std::string name = context.trace_id() + ' ' + std::to_string(shard) + ' ' +
                           std::string(to) + ' ' + std::string(epoch);
  const std::uint64_t span = hash64(rebalance_domain, name);
  context.span = span == 0 ? 1 : span;
  return context;
}

}  // namespace rebalance_trace

}  // namespace catga
