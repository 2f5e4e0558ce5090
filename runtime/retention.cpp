#include "catga/runtime/retention.hpp"

namespace catga {

namespace {

constexpr std::chrono::milliseconds margin = std::chrono::hours{1};

std::string text_of(std::chrono::milliseconds time) {
  using std::chrono::duration_cast;
  if (time % std::chrono::hours{1} == time.zero())
    return std::to_string(duration_cast<std::chrono::hours>(time).count()) + "h";
  if (time % std::chrono::seconds{1} == time.zero())
    return std::to_string(duration_cast<std::chrono::seconds>(time).count()) + "s";
  return std::to_string(time.count()) + "ms";
}

}  // namespace

Status check_retention(std::chrono::milliseconds retention,
                       const std::vector<RetryWindow>& windows) {
  std::string mistakes;
  for (const RetryWindow& one : windows) {
    if (retention >= one.window + margin) continue;
    if (!mistakes.empty()) mistakes += '\n';
    mistakes += "idempotency.retention is " + text_of(retention) + ", but must exceed " +
                one.setting + " (" + text_of(one.window) +
                ") by an hour: a repeat that nobody remembers would run twice";
  }
  if (mistakes.empty()) return Done{};
  return Error{Code::malformed, std::move(mistakes)};
}

}  // namespace catga
