// Calls user code of a saga: what it throws becomes an Error that names the step.
#pragma once
#include "catga/sharding/result.hpp"

#include <exception>
#include <string>
#include <string_view>

namespace catga::detail {

/// `call` returns a Result or Status. `part`: "the count", "on_reply", …
template <class Call>
auto guarded(std::string_view step, std::string_view part, Call call) -> decltype(call()) {
  std::string words = std::string(part).append(" of step '").append(step).append("'");
  try {
    auto result = call();
    if (!result) result.error().text.insert(0, words + ": ");
    return result;
  } catch (const std::exception& thrown) {
    return Error{Code::failed, words + " threw: " + thrown.what()};
  } catch (...) {
    return Error{Code::failed, words + " threw something that is no std::exception"};
  }
}

}  // namespace catga::detail
