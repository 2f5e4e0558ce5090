// SagaHandle: the name of a saga, and from outside the way to it.
#pragma once
#include "catga/entities/codec.hpp"
#include "catga/entities/messenger.hpp"
#include "catga/entities/saga/builder.hpp"
#include "catga/entities/saga/calls.hpp"
#include "catga/entities/saga/progress.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace catga {

/// How far a saga is.
struct SagaReport {
  SagaStatus status = SagaStatus::running;
  std::string cause;  ///< of a parked one: name_of(ParkCause)
  std::string step;   ///< of a parked one: where
  std::string text;   ///< why it is parked, goes back or ended so; for people
  std::uint32_t version = 0;
  std::chrono::system_clock::time_point created, updated;
  std::size_t entries = 0;     ///< of its journal
  std::size_t recoveries = 0;  ///< after crashes, since its last commit
};

namespace detail {

/// Blocking; any thread but the node's own.
Result<bool> start_saga(Messenger* messenger, const SagaDefinition& definition, std::string id,
                        std::string input);
/// Waits at most so long for the end; 0: does not wait.
Result<SagaLook> look_at_saga(Messenger* messenger, const EntityId& saga, LookAtSaga what,
                              std::chrono::milliseconds patience = {});
Result<SagaReport> report_of(const Result<SagaLook>& look);
Status call_saga(Messenger* messenger, const EntityId& saga, std::string_view message,
                 std::string payload);

}  // namespace detail

/// Get one from a node or a client: `node.saga(order_saga, "17")`. All calls block until they are answered, so never in
/// a handler or a callback of Catga; inside a turn use turn.start. All are safe to repeat. Cheap to copy; must not be
/// used after the node it came from.
template <class State>
class SagaHandle {
 public:
  SagaHandle(Messenger* messenger, const Saga<State>& saga, std::string id)
      : messenger_(messenger), saga_{saga.definition().type, std::move(id)} {}

  const std::string& id() const { return saga_.key; }

  /// Errors: not_found (never started, or forgotten after the retention), and those of an ask.
  Result<SagaReport> status() const {
    return detail::report_of(detail::look_at_saga(messenger_, saga_, LookAtSaga{}));
  }

  /// What its steps have filled in so far, and are committed. Errors: as status(); not_found also when the journal of
  /// an ended saga is gone (saga.keep_finished); failed, if no node that owns it knows its definition.
  Result<State> state() const {
    const Result<SagaLook> look =
        detail::look_at_saga(messenger_, saga_, LookAtSaga{.state = true});
    if (!look) return look.error();
    if (!look->has_state) {
      return Error{Code::not_found, "the state of saga '" + text_of(saga_) +
                                        "' is not there any more, or cannot be read: it is " +
                                        look->status};
    }
    return decode<State>(look->state);
  }

  /// Journaled, then acknowledged: it counts even if the step that awaits it comes much later. `signal_id` is the
  /// sender's name for it: the same again is acknowledged and ignored. Errors: not_found (no such saga, or ended),
  /// overloaded (256 wait already), malformed (not what the step awaits).
  template <class Payload>
  Status signal(std::string name, std::string signal_id, const Payload& payload) const {
    static_assert(detail::Encodable<Payload>,
                  "catga: what a signal carries needs CATGA_FIELDS(...) or CATGA_MESSAGE(...)");
    SignalSaga said{std::move(name), std::move(signal_id), encode(payload), "caller"};
    return detail::call_saga(messenger_, saga_, saga_call::signal, encode(said));
  }

  /// Makes it go back. Errors: rejected (too late: behind the pivot, or ended), not_found.
  Status cancel(std::string reason) const {
    return detail::call_saga(messenger_, saga_, saga_call::cancel,
                             encode(CancelSaga{std::move(reason), "caller"}));
  }

  /// Returns when the saga has ended, completed or not. A parked one has not ended. Errors: timeout (not ended within
  /// `patience`; it goes on), not_found.
  Result<SagaReport> wait(std::chrono::milliseconds patience) const {
    return detail::report_of(
        detail::look_at_saga(messenger_, saga_, LookAtSaga{.wait = true}, patience));
  }

 private:
  Messenger* messenger_;
  EntityId saga_;
};

}  // namespace catga
