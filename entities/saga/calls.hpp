// What is said to a saga, and what it says: the messages between handles, participants' turns, parents, children and
// the owner of a saga's shard.
//
// A saga is addressed as an entity is: its type is the kind, its id the key. So it lives on the shard of that name, an
// ask finds it wherever it is, and a tell out of a turn is an entry of the outbox. The names begin with '$', which no
// message of a user can.
#pragma once
#include "catga/entities/message.hpp"
#include "catga/entities/saga/definition.hpp"
#include "catga/sharding/ids.hpp"
#include "catga/sharding/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

namespace saga_call {
constexpr std::string_view start = "$saga.start";      ///< StartSaga → SagaStarted
constexpr std::string_view signal = "$saga.signal";    ///< SignalSaga → Done
constexpr std::string_view cancel = "$saga.cancel";    ///< CancelSaga → Done
constexpr std::string_view operate = "$saga.operate";  ///< OperateSaga → Done
constexpr std::string_view look = "$saga.look";        ///< LookAtSaga → SagaLook; a query
constexpr std::string_view list = "$saga.list";  ///< ListSagas → SagaList; a query to a shard
}  // namespace saga_call

/// Is this message for a saga, or for those of a shard, and not for an entity?
constexpr bool is_saga_call(std::string_view message) { return message.starts_with("$saga."); }

/// Who waits for a child, and in which step.
struct SagaParent {
  std::string type, id, step;
  CATGA_FIELDS(type, id, step);
};

/// A repeat finds the saga that is there; with another input it is malformed.
struct StartSaga {
  std::uint32_t version = 0;  ///< 0: the newest one that the owner has (children)
  std::uint64_t fingerprint = 0;
  std::int64_t deadline_ms = -1;  ///< after the start; negative: none
  std::string input;              ///< encoded state
  std::string by;                 ///< who starts it, for the journal
  SagaParent parent;              ///< no type: nobody
  CATGA_FIELDS(version, fingerprint, deadline_ms, input, by, parent);
};
struct SagaStarted {
  bool existed = false;
  std::string status;
  CATGA_FIELDS(existed, status);
};
struct SignalSaga {
  std::string name, id, payload, by;
  CATGA_FIELDS(name, id, payload, by);
};
struct CancelSaga {
  std::string reason, by;
  CATGA_FIELDS(reason, by);
};
struct OperateSaga {
  std::string verb, reason, by, step, payload;  ///< as in requests.hpp
  CATGA_FIELDS(verb, reason, by, step, payload);
};
struct LookAtSaga {
  bool wait = false;     ///< answer when it has ended, or the deadline of the ask is near
  bool state = false;    ///< with the state
  bool journal = false;  ///< with all entries
  CATGA_FIELDS(wait, state, journal);
};
struct SagaLook {
  std::string status;       ///< name_of(SagaStatus)
  std::string cause, step;  ///< why it is parked, and at which step
  std::string text;         ///< why it is parked, goes back, or ended so; for people
  std::uint32_t version = 0;
  std::int64_t created_ms = 0, updated_ms = 0;
  std::uint64_t recoveries = 0, entries = 0;
  bool has_state = false;
  std::string state;
  std::vector<std::string> journal;  ///< encoded entries
  CATGA_FIELDS(status, cause, step, text, version, created_ms, updated_ms, recoveries, entries,
               has_state, state, journal);
};
struct ListSagas {
  std::string place;  ///< active, parked, ended
  std::string type, after;
  std::uint32_t limit = 500;
  CATGA_FIELDS(place, type, after, limit);
};
struct SagaListed {
  std::string type, id, status, cause;
  std::uint32_t version = 0;
  std::int64_t created_ms = 0, at_ms = 0;
  CATGA_FIELDS(type, id, status, cause, version, created_ms, at_ms);
};
struct SagaList {
  std::vector<SagaListed> sagas;
  std::string next;  ///< `after` of the next page; empty: the end
  CATGA_FIELDS(sagas, next);
};

/// The payload of a start. Errors: malformed, an input over the bound of an entry.
Result<std::string> start_bytes(const SagaDefinition& definition, std::string input,
                                std::string by);
/// Tells a repeated start from another one.
std::string input_hash(std::string_view input);
/// Ids are parts of keys and of timers' names: 1 to 512 bytes without '|'. Errors: malformed.
Status check_saga_id(std::string_view id);

}  // namespace catga
