#include "catga/runtime/actors/surroundings.hpp"

namespace catga::actors {

bool Host::admits(const Envelope& envelope) {
  const auto& waits = envelope.kind == MessageClass::query ? queries_wait_ms : commands_wait_ms;
  const std::int64_t wait = waits.load(std::memory_order_relaxed);
  if (wait == 0 || envelope.kind == MessageClass::tell || !envelope.path.empty()) return true;
  router.answer(
      envelope,
      Error{Code::overloaded,
            "node " + node_id + " has more to do than it can: what comes now would wait " +
                std::to_string(wait) + " ms",
            Admission::retry_after},
      Epoch{});
  return false;
}

void Host::look_at_load(const Backlog& workers) {
  const StateStore::Waiting commits = stores.state().waiting();
  const Admission::Waits waits = admission.look(boot_ms(), workers, {commits.now, commits.sent});
  const auto say = [](std::atomic<std::int64_t>& where, std::chrono::milliseconds wait) {
    where.store(wait > Admission::too_long ? wait.count() : 0, std::memory_order_relaxed);
  };
  say(queries_wait_ms, waits.query);
  say(commands_wait_ms, waits.command);
}

}  // namespace catga::actors
