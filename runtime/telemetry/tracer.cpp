#include "catga/runtime/telemetry/tracer.hpp"

#include "catga/entities/operation.hpp"
#include "catga/sharding/hash.hpp"

#include <chrono>
#include <random>

namespace catga {

namespace {
constexpr std::uint64_t rebalance_domain = 51;

std::uint64_t random_span() {
  thread_local std::mt19937_64 source{new_operation_id().low};
  const std::uint64_t id = source();
  return id == 0 ? 1 : id;
}
}  // namespace

Tracer::Tracer(SamplerSettings sampler, Sink sink) : sampler_(sampler), sink_(std::move(sink)) {}

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
  if (sampled_root(context.trace_low) && has_token()) context.flags |= 1;
  return context;
}

TraceContext Tracer::child(const TraceContext& parent) {
  if (!parent) return root();
  TraceContext context = inside(parent);
  if (!sampler_.parent_based) {
    context.flags = static_cast<std::uint8_t>(context.flags & ~1U);
    if (sampled_root(context.trace_low)) context.flags |= 1;
  }
  return context;
}

bool Tracer::sampled_root(std::uint64_t trace_low) {
  constexpr std::uint64_t low_56 = (std::uint64_t{1} << 56) - 1;
  return static_cast<double>(trace_low & low_56) < sampler_.ratio * static_cast<double>(low_56) ||
         sampler_.ratio >= 1;
}

/// New sampled roots are at most so many a second, a second's worth at once.
/// Without it "always on" would fill the queue and tear traces apart.
bool Tracer::has_token() {
  if (sampler_.roots_per_second == 0) return true;
  const std::int64_t each = 1'000'000'000 / sampler_.roots_per_second;
  const std::int64_t now = now_ns();
  std::int64_t next = next_root_ns_.load(std::memory_order_relaxed);
  for (;;) {
    const std::int64_t from = next < now - 1'000'000'000 ? now - 1'000'000'000 : next;
    if (from > now) return false;
    if (next_root_ns_.compare_exchange_weak(next, from + each, std::memory_order_relaxed))
      return true;
  }
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
