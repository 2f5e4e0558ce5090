#include "catga/runtime/actors/shard_sagas.hpp"

#include "catga/runtime/actors/saga_supervisor.hpp"

#include <caf/send.hpp>

namespace catga::actors {

namespace {
constexpr std::int64_t minute = 60'000;
constexpr std::size_t deaths_most = 3;
constexpr std::chrono::milliseconds again_after{100};
}  // namespace

void ShardSagas::serve(const OwnerToken& token, const std::shared_ptr<ShardGate>& gate,
                       bool crashed) {
  if (host_.sagas.empty()) return;
  token_ = token;
  gate_ = gate;
  serving_ = true;
  if (ending_) return;  // another one follows when it is drained
  if (supervisor_) {
    caf::anon_send(supervisor_, SagasServe{});
  } else {
    spawn(crashed);
  }
}

void ShardSagas::spawn(bool crashed) {
  SagaSupervisorStart start;
  start.shard = id_;
  start.token = token_;
  start.shard_actor = shard_handle();
  start.gate = gate_;
  start.life = ++life_;
  start.after_crash = crashed;
  start.none = std::exchange(none_, false);
  supervisor_ = shard_.spawn<SagaSupervisor, caf::monitored>(std::ref(host_), std::move(start));
}

bool ShardSagas::take(Envelope& envelope) {
  if (!is_saga_call(envelope.message)) return false;
  if (host_.sagas.empty()) {
    host_.router.answer(envelope,
                        Error{Code::not_found, "node " + host_.node_id + " hosts no sagas"},
                        token_.epoch);
  } else if (!supervisor_ || ending_) {
    host_.router.answer(envelope,
                        Error{Code::unavailable, "the sagas of the shard are starting again"},
                        token_.epoch);
  } else {
    caf::anon_send(supervisor_, SagaArrived{std::make_shared<Envelope>(std::move(envelope))});
  }
  return true;
}

bool ShardSagas::fire(const TimerEntry& timer) {
  std::optional<SagaTimer> due = parse_saga_timer(timer.member);
  if (!due) return false;
  // Nobody here: it fires again at the next owner.
  if (supervisor_) caf::anon_send(supervisor_, SagaTimerDue{std::move(*due)});
  return true;
}

void ShardSagas::retoken(const OwnerToken& token) {
  token_ = token;
  if (supervisor_) caf::anon_send(supervisor_, SagasRetoken{token});
}

void ShardSagas::drain() {
  serving_ = false;
  if (!supervisor_ || ending_) return;
  ending_ = true;
  caf::anon_send(supervisor_, SagasDrain{});
}

std::vector<Envelope>* ShardSagas::drained(const SagasDrained& message) {
  if (!ending_ || message.life != life_) return nullptr;
  ending_ = false;
  supervisor_ = {};
  if (serving_) spawn(false);
  return message.rest.get();
}

void ShardSagas::drop() {
  serving_ = ending_ = false;
  if (supervisor_) caf::anon_send(supervisor_, SagasDrop{});
  supervisor_ = {};
}

ShardSagas::Death ShardSagas::died(const caf::down_msg& down) {
  if (!supervisor_ || supervisor_.address() != down.source) return Death::not_ours;
  supervisor_ = {};
  ending_ = false;  // what it had not handled is lost: asks are repeated by their callers
  const std::int64_t now = boot_ms();
  deaths_.push_back(now);
  while (deaths_.front() <= now - minute) deaths_.pop_front();
  host_.log.write(Severity::error, "saga", "",
                  "the saga supervisor of shard " + std::to_string(id_.value) + " ended",
                  {{"catga.shard.id", static_cast<std::int64_t>(id_.value)},
                   {"error", caf::to_string(down.reason)}});
  if (deaths_.size() >= deaths_most) {
    deaths_.clear();
    return Death::too_often;
  }
  caf::delayed_anon_send(shard_handle(), again_after, SagasAgain{life_});
  return Death::again;
}

void ShardSagas::replace(const SagasAgain& message) {
  if (serving_ && !supervisor_ && message.life == life_) spawn(true);
}

}  // namespace catga::actors
