#include "catga/entities/ref.hpp"

#include <future>

namespace catga::detail {
namespace {

/// What keeps an ask from being sent at all.
Status sendable(const Messenger* messenger, const Ask& ask) {
  if (!messenger) {
    return Error{Code::failed, "the reference to " + text_of(ask.entity) +
                                   " came from a turn and is only a name: send through the turn "
                                   "(turn.tell, co_await turn.ask)"};
  }
  if (ask.operation && ask.operation_ms <= 0 && !ask.keyed) {
    return Error{Code::malformed,
                 "asking " + text_of(ask.entity) +
                     " with an operation id of your own needs AskOptions::operation_time too, "
                     "the same at every repeat"};
  }
  return Done{};
}

}  // namespace

void send(Messenger* messenger, Ask ask, Answered answered) {
  Status fine = sendable(messenger, ask);
  if (!fine) return answered(std::move(fine).error());
  messenger->ask(std::move(ask), std::move(answered));
}

Status send_tell(Messenger* messenger, Ask tell) {
  Status fine = sendable(messenger, tell);
  if (!fine) return fine;
  return messenger->tell(std::move(tell));
}

Result<std::string> ask_and_wait(Messenger* messenger, Ask ask) {
  // Shared: the node's thread may still be inside set_value when this thread goes on and returns.
  const auto promise = std::make_shared<std::promise<Result<std::string>>>();
  std::future<Result<std::string>> answer = promise->get_future();
  send(messenger, std::move(ask),
       [promise](Result<std::string> result) { promise->set_value(std::move(result)); });
  return answer.get();
}

void OutsideAsk::await_suspend(std::coroutine_handle<> waiting) {
  // The answer may come on another thread before send() returns; then this object is gone already.
  send(messenger_, std::move(ask_), [this, waiting](Result<std::string> result) {
    answer_ = std::move(result);
    waiting.resume();
  });
}

}  // namespace catga::detail
