// What a shard, its saga supervisor and the actors of its sagas say to each other.
//
//      shard_actor
//         | watches; three deaths in a minute: the shard is taken anew
//      saga_supervisor        one per shard that serves sagas: recovers, restarts, keeps the register
//         | monitors, restarts with back-off
//      saga_actor  x active   one saga in memory: carries out what its machine (saga_machine.hpp) says
//
// Nothing here leaves the process.
#pragma once
#include "catga/persistence/saga_store.hpp"
#include "catga/runtime/actors/surroundings.hpp"
#include "catga/runtime/envelope.hpp"
#include "catga/runtime/saga_machine.hpp"

#include <caf/allowed_unsafe_message_type.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace catga::actors {

/// What was thrown, for the log.
inline std::string words_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& trouble) {
    return trouble.what();
  } catch (...) {
    return "something that is no std::exception";
  }
}

// ---- to a supervisor; the shard is in charge of it from the first of these to the last ----
struct SagasServe {};  ///< the shard is served again after a pause
struct SagaArrived {   ///< to a saga too
  std::shared_ptr<Envelope> envelope;
};
struct SagaTimerDue {  ///< to a saga too
  SagaTimer timer;
};
struct SagasRetoken {  ///< to a saga too
  OwnerToken token;
};
struct SagasDrain {};  ///< to a saga too: stop between commits, give back what has not been handled
struct SagasDrop {};   ///< to a saga too: the shard is lost
struct SagaPageRead {
  OwnerToken token;
  std::shared_ptr<Result<SagaPage>> page;
};
struct SagasListed {
  std::shared_ptr<Envelope> asked;
  std::shared_ptr<Result<SagaPage>> page;
};
struct SagaReadAgain {};
struct SagaStands {
  EntityId saga;
  std::uint64_t serial = 0;
  std::optional<SagaStanding> standing;  ///< none: there is no such saga
};
struct SagaMayLeave {
  EntityId saga;
  std::uint64_t serial = 0;
  std::uint64_t seen = 0;  ///< idle after so many messages
};
struct SagaEmptied {
  EntityId saga;
  std::uint64_t serial = 0;
  std::shared_ptr<std::vector<Envelope>> rest;
};
struct SagaRestart {
  EntityId saga;
  std::uint64_t serial = 0;  ///< of the one that died
};

// ---- to a saga ----
struct SagaRecover {};
struct SagaCreateAnswered {
  std::shared_ptr<Result<SagaCreated>> answer;
};
struct SagaLoadAnswered {
  std::shared_ptr<Result<SagaLoaded>> answer;
};
struct SagaWriteAnswered {
  std::shared_ptr<Result<SagaCommitted>> answer;
};
struct SagaStepAnswered {
  SagaTask task;
  std::uint32_t attempt = 0;
  std::shared_ptr<Result<StepReply>> reply;
  std::int64_t took_ns = 0;
};
struct SagaForgot {
  bool done = false;
};
struct SagaTick {
  std::int64_t at_ms = 0;  ///< the alarm in force has this time; others are stale
};
struct SagaLeave {};

// ---- to the shard ----
struct SagasDrained {
  std::uint64_t life = 0;  ///< of the supervisor
  std::shared_ptr<std::vector<Envelope>> rest;
};
struct SagasAgain {
  std::uint64_t life = 0;  ///< of the supervisor that died
};

}  // namespace catga::actors

#define CATGA_LOCAL_MESSAGE(Type) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(catga::actors::Type)
CATGA_LOCAL_MESSAGE(SagasServe)
CATGA_LOCAL_MESSAGE(SagaArrived)
CATGA_LOCAL_MESSAGE(SagaTimerDue)
CATGA_LOCAL_MESSAGE(SagasRetoken)
CATGA_LOCAL_MESSAGE(SagasDrain)
CATGA_LOCAL_MESSAGE(SagasDrop)
CATGA_LOCAL_MESSAGE(SagaPageRead)
CATGA_LOCAL_MESSAGE(SagasListed)
CATGA_LOCAL_MESSAGE(SagaReadAgain)
CATGA_LOCAL_MESSAGE(SagaStands)
CATGA_LOCAL_MESSAGE(SagaMayLeave)
CATGA_LOCAL_MESSAGE(SagaEmptied)
CATGA_LOCAL_MESSAGE(SagaRestart)
CATGA_LOCAL_MESSAGE(SagaRecover)
CATGA_LOCAL_MESSAGE(SagaCreateAnswered)
CATGA_LOCAL_MESSAGE(SagaLoadAnswered)
CATGA_LOCAL_MESSAGE(SagaWriteAnswered)
CATGA_LOCAL_MESSAGE(SagaStepAnswered)
CATGA_LOCAL_MESSAGE(SagaForgot)
CATGA_LOCAL_MESSAGE(SagaTick)
CATGA_LOCAL_MESSAGE(SagaLeave)
CATGA_LOCAL_MESSAGE(SagasDrained)
CATGA_LOCAL_MESSAGE(SagasAgain)
#undef CATGA_LOCAL_MESSAGE
