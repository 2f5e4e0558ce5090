#include "catga/runtime/actors/surroundings.hpp"

namespace catga::actors {

bool Host::admits(const Envelope& envelope) {
  const auto& waits = envelope.kind == MessageClass::query ? queries_wait_ms : commands_wait_ms;
  const std::int64_t wait = waits.load(std::memory_order_relaxed);
  if (wait == 0 || envelope.kind == MessageClass::tell || !envelope.path.empty()) return true;
  refused.fetch_add(1, std::memory_order_relaxed);
  metrics.refused(Limit::admission);
  metrics.refused(envelope.entity.kind, envelope.message, Code::overloaded);
  router.answer(
      envelope,
      Error{Code::overloaded,
            "node " + node_id + " has more to do than it can: what comes now would wait " +
                std::to_string(wait) + " ms",
            Admission::retry_after},
      Epoch{});
  return false;
}

bool Host::look_at_load(const Backlog& workers) {
  const StateStore::Waiting commits = stores.state().waiting();
  const std::int64_t now = boot_ms();
  looked_ms.store(now, std::memory_order_relaxed);
  const Admission::Waits waits = admission.look(now, workers, {commits.now, commits.sent});
  const auto say = [](std::atomic<std::int64_t>& where, std::chrono::milliseconds wait) {
    where.store(wait > Admission::too_long ? wait.count() : 0, std::memory_order_relaxed);
  };
  say(queries_wait_ms, waits.query);
  say(commands_wait_ms, waits.command);
  tell_overload(std::max(waits.query, waits.command).count());
  return workers.waiting != 0 || commits.now != 0;
}

/// Overload begins with the first refusal and ends after ten seconds without one.
void Host::tell_overload(std::int64_t wait_ms) {
  constexpr std::int64_t quiet_ms = 10'000;
  const std::uint64_t total = refused.load(std::memory_order_relaxed);
  const std::int64_t now = boot_ms();
  if (total != refused_told) {
    refused_told = total;
    refused_at = now;
    if (overload_since != 0) return;
    overload_since = now;
    log.write(
        Severity::warn, "node", "catga.overload.started",
        "this node has more to do than it can: messages are refused, what comes now would wait " +
            std::to_string(wait_ms) + " ms",
        {{"limit", std::string("admission.wait_ms")},
         {"value", wait_ms},
         {"refused", static_cast<std::int64_t>(total - refused_before)}});
  } else if (overload_since != 0 && now - refused_at >= quiet_ms) {
    const std::int64_t lasted = refused_at - overload_since;
    log.write(Severity::info, "node", "catga.overload.ended",
              "the overload is over: " + std::to_string(total - refused_before) +
                  " messages were refused in " + std::to_string(lasted) + " ms",
              {{"limit", std::string("admission.wait_ms")},
               {"duration_ms", lasted},
               {"refused", static_cast<std::int64_t>(total - refused_before)}});
    overload_since = 0;
    refused_before = total;
  }
}

}  // namespace catga::actors
