// What a call gives back: a value, or why there is none and what the caller does next.
#pragma once
#include <cassert>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace catga {

/// Why there is no value. The first two say that nothing was done; the next three that the outcome
/// is not known to the caller and that a repeat with the same operation id is safe.
enum class Code : std::uint8_t {
  unavailable,  ///< Not applied: no owner, NATS or Redis within reach. Ask again shortly.
  overloaded,   ///< Not applied: refused at the door. Ask again after `retry_after`.
  timeout,      ///< Unknown: no answer before the deadline. Ask again with the same operation id.
  unknown,      ///< Unknown: the commit was fenced or unanswered. As for `timeout`.
  expired,      ///< Unknown: the operation id is older than the entity's memory. Look with a query.
  rejected,     ///< The handler said no. Asking again is of no use.
  failed,       ///< The handler broke; this attempt changed nothing. Read the text, then the log.
  malformed,    ///< The bytes are not what they claim. Versions differ, or a bug.
  not_found,    ///< No node hosts this kind, or the kind has no such message.
};

/// The name of a code as logs, JSON and metrics print it: "unavailable", ...
constexpr std::string_view name_of(Code code) {
  switch (code) {
    case Code::unavailable:
      return "unavailable";
    case Code::overloaded:
      return "overloaded";
    case Code::timeout:
      return "timeout";
    case Code::unknown:
      return "unknown";
    case Code::expired:
      return "expired";
    case Code::rejected:
      return "rejected";
    case Code::failed:
      return "failed";
    case Code::malformed:
      return "malformed";
    case Code::not_found:
      return "not_found";
  }
  return "failed";
}

/// What happened, to what, and what to do. `retry_after` is set with `overloaded` only.
struct Error {
  Code code = Code::failed;
  std::string text;
  std::chrono::milliseconds retry_after{0};
  friend bool operator==(const Error&, const Error&) = default;
};

/// The value of an operation that has none.
struct Done {
  friend bool operator==(Done, Done) = default;
};

/// A value or an Error. Reading the side that is not there is a bug of the caller (assert).
template <class Value>
class [[nodiscard]] Result {
 public:
  Result(Value value)
      : held_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error)
      : held_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design
  /// From anything that makes a Value, so that `return {cents};` and `return state;` read well.
  template <class Other>
  requires(std::is_convertible_v<Other&&, Value> &&
           !std::is_same_v<std::remove_cvref_t<Other>, Result> &&
           !std::is_same_v<std::remove_cvref_t<Other>, Value> &&
           !std::is_same_v<std::remove_cvref_t<Other>, Error>) Result(Other&& other)
      : held_(std::in_place_index<0>, std::forward<Other>(other)) {}  // NOLINT

  bool ok() const { return held_.index() == 0; }
  explicit operator bool() const { return ok(); }

  Value& value() & {
    assert(ok());
    return *std::get_if<0>(&held_);
  }
  const Value& value() const& {
    assert(ok());
    return *std::get_if<0>(&held_);
  }
  Value&& value() && {
    assert(ok());
    return std::move(*std::get_if<0>(&held_));
  }
  Value& operator*() & { return value(); }
  const Value& operator*() const& { return value(); }
  Value&& operator*() && { return std::move(*this).value(); }
  Value* operator->() { return &value(); }
  const Value* operator->() const { return &value(); }

  Error& error() & {
    assert(!ok());
    return *std::get_if<1>(&held_);
  }
  const Error& error() const& {
    assert(!ok());
    return *std::get_if<1>(&held_);
  }
  Error&& error() && {
    assert(!ok());
    return std::move(*std::get_if<1>(&held_));
  }

 private:
  std::variant<Value, Error> held_;
};

/// The result of something that either worked or did not.
using Status = Result<Done>;

/// Makes the Error of a handler that says no: `return catga::reject("insufficient funds");`
inline Error reject(std::string why) { return Error{Code::rejected, std::move(why)}; }

}  // namespace catga

/// The value of a Result, or leaves the function with its Error. One per line; nesting trips -Wshadow.
#define CATGA_TRY(expression)                                       \
  __extension__({                                                   \
    auto&& catga_tried_ = (expression);                             \
    if (!catga_tried_.ok()) return std::move(catga_tried_).error(); \
    std::move(catga_tried_).value();                                \
  })
