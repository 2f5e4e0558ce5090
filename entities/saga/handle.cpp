#include "catga/entities/saga/handle.hpp"

#include "catga/entities/ref.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <thread>

namespace catga {
namespace detail {
namespace {

using Clock = std::chrono::steady_clock;
using Ms = std::chrono::milliseconds;

constexpr Ms longest_ask{5000};  // one leg of a wait: the owner may change meanwhile
constexpr Ms between_tries{50};

std::optional<SagaStatus> status_of(std::string_view name) {
  for (const SagaStatus status :
       {SagaStatus::running, SagaStatus::compensating, SagaStatus::parked, SagaStatus::completed,
        SagaStatus::compensated, SagaStatus::aborted}) {
    if (name_of(status) == name) return status;
  }
  return std::nullopt;
}

Result<SagaLook> look_once(Messenger* messenger, const EntityId& saga, const LookAtSaga& what,
                           Ms timeout) {
  Ask ask;
  ask.entity = saga;
  ask.message = saga_call::look;
  ask.payload = encode(what);
  ask.query = true;
  ask.timeout = timeout;
  return reply_in<SagaLook>(ask_and_wait(messenger, std::move(ask)));
}

bool passes_by(Code code) {
  return code == Code::timeout || code == Code::unavailable || code == Code::unknown ||
         code == Code::overloaded;
}

std::chrono::system_clock::time_point time_of(std::int64_t ms) {
  return std::chrono::system_clock::time_point(Ms(ms));
}

}  // namespace

Result<bool> start_saga(Messenger* messenger, const SagaDefinition& definition, std::string id,
                        std::string input) {
  CATGA_TRY(check_saga_id(id));
  Ask ask;
  ask.entity = EntityId{definition.type, std::move(id)};
  ask.message = saga_call::start;
  ask.payload = CATGA_TRY(start_bytes(definition, std::move(input), "caller"));
  const SagaStarted started =
      CATGA_TRY(reply_in<SagaStarted>(ask_and_wait(messenger, std::move(ask))));
  return started.existed;
}

Result<SagaLook> look_at_saga(Messenger* messenger, const EntityId& saga, LookAtSaga what,
                              Ms patience) {
  if (!what.wait) return look_once(messenger, saga, what, Ms(0));
  const Clock::time_point end = Clock::now() + patience;
  Error last{Code::timeout, "saga '" + text_of(saga) + "' has not ended within " +
                                std::to_string(patience.count()) + " ms"};
  while (true) {
    const Ms left = std::chrono::duration_cast<Ms>(end - Clock::now());
    if (left.count() <= 0) return last;
    Result<SagaLook> look = look_once(messenger, saga, what, std::min(left, longest_ask));
    if (!look && !passes_by(look.error().code)) return look;
    if (look) {
      const std::optional<SagaStatus> status = status_of(look->status);
      if (status && has_ended(*status)) return look;
    } else {
      std::this_thread::sleep_for(std::min(left, between_tries));
    }
  }
}

Result<SagaReport> report_of(const Result<SagaLook>& look) {
  if (!look) return look.error();
  const std::optional<SagaStatus> status = status_of(look->status);
  if (!status) {
    return Error{Code::malformed, "a saga's status '" + look->status + "' is not known here"};
  }
  SagaReport report;
  report.status = *status;
  report.cause = look->cause;
  report.step = look->step;
  report.text = look->text;
  report.version = look->version;
  report.created = time_of(look->created_ms);
  report.updated = time_of(look->updated_ms);
  report.entries = look->entries;
  report.recoveries = look->recoveries;
  return report;
}

Status call_saga(Messenger* messenger, const EntityId& saga, std::string_view message,
                 std::string payload) {
  Ask ask;
  ask.entity = saga;
  ask.message = message;
  ask.payload = std::move(payload);
  const Result<std::string> answer = ask_and_wait(messenger, std::move(ask));
  if (!answer) return answer.error();
  return Done{};
}

}  // namespace detail
}  // namespace catga
