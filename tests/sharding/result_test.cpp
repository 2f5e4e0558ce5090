// Result, Status and CATGA_TRY: a value, or why there is none.
#include <catga/sharding/result.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

using namespace catga;

namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return Error{Code::rejected, "odd"};
  return number / 2;
}

Result<std::string> quarter_text(int number) {
  const int once = CATGA_TRY(half(number));
  const int twice = CATGA_TRY(half(once));
  return std::to_string(twice);
}

Result<std::unique_ptr<int>> boxed(int number) {
  auto value = std::make_unique<int>(CATGA_TRY(half(number)));
  return value;
}

Result<int> unboxed(int number) {
  const std::unique_ptr<int> box = CATGA_TRY(boxed(number));
  return *box;
}

struct Balance {
  std::int64_t cents = 0;
};

}  // namespace

TEST_CASE("a result holds a value or an error, and says which") {
  const Result<int> good = half(8);
  CHECK(good.ok());
  CHECK(static_cast<bool>(good));
  CHECK(*good == 4);
  CHECK(good.value() == 4);

  const Result<int> bad = half(7);
  CHECK_FALSE(bad.ok());
  CHECK_FALSE(static_cast<bool>(bad));
  CHECK(bad.error() == Error{Code::rejected, "odd"});
}

TEST_CASE("CATGA_TRY gives the value, or leaves the function with the first error") {
  CHECK(*quarter_text(12) == "3");
  CHECK(quarter_text(7).error().text == "odd");
  CHECK(quarter_text(6).error().text == "odd");
}

TEST_CASE("a value that can only be moved passes through a result and CATGA_TRY") {
  CHECK(*unboxed(10) == 5);
  CHECK(unboxed(3).error().code == Code::rejected);
  std::unique_ptr<int> taken = boxed(10).value();
  CHECK(*taken == 5);
}

TEST_CASE("the value of a result can be changed in place and reached by an arrow") {
  Result<Balance> balance = Balance{500};
  balance->cents += 1;
  CHECK((*balance).cents == 501);
  CHECK(std::as_const(balance)->cents == 501);
}

TEST_CASE("what converts to the value makes a result of it, what does not is refused") {
  const Result<std::string> text = "enough";
  CHECK(*text == "enough");
  static_assert(std::is_constructible_v<Result<std::string>, const char*>);
  static_assert(!std::is_constructible_v<Result<std::string>, std::nullptr_t*>);
  static_assert(!std::is_convertible_v<Result<int>, Result<std::string>>);
}

TEST_CASE("a status without an error is done") {
  const Status status = Done{};
  CHECK(status.ok());
  CHECK(*status == Done{});
  const Status refused = reject("insufficient funds");
  CHECK(refused.error() == Error{Code::rejected, "insufficient funds"});
}

TEST_CASE("errors are equal when code, text and retry time are") {
  using namespace std::chrono_literals;
  CHECK(Error{Code::overloaded, "full", 5ms} == Error{Code::overloaded, "full", 5ms});
  CHECK_FALSE(Error{Code::overloaded, "full", 5ms} == Error{Code::overloaded, "full", 6ms});
  CHECK_FALSE(Error{Code::unknown, "full"} == Error{Code::timeout, "full"});
}

TEST_CASE("every code has a name of its own") {
  constexpr std::array codes{Code::unavailable, Code::overloaded, Code::timeout,
                             Code::unknown,     Code::expired,    Code::rejected,
                             Code::failed,      Code::malformed,  Code::not_found};
  std::set<std::string_view> names;
  for (const Code code : codes) names.insert(name_of(code));
  CHECK(names.size() == codes.size());
  CHECK(name_of(Code::unavailable) == "unavailable");
  CHECK(name_of(Code::not_found) == "not_found");
}
