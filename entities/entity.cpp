#include "catga/entities/entity.hpp"

#include <algorithm>

namespace catga::detail {

void settle(TurnScope& scope, const std::string_view* commands, std::size_t count,
            HandlerEnd& end) {
  if (end.kind == HandlerEnd::Kind::reply) {
    const auto stray =
        std::find_if(scope.timers.begin(), scope.timers.end(), [=](const TimerChange& timer) {
          return !timer.cancel &&
                 std::find(commands, commands + count, timer.message) == commands + count;
        });
    if (stray == scope.timers.end()) return;
    end = {HandlerEnd::Kind::failed, "a timer of " + text_of(scope.entity) + " carries " +
                                         stray->message + ", which " + scope.entity.kind +
                                         " does not handle as a command"};
  }
  scope.tells.clear();
  scope.events.clear();
  scope.timers.clear();
  scope.passivate = false;
  scope.erase = false;
}

}  // namespace catga::detail
