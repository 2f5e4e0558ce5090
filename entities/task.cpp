#include "catga/entities/task.hpp"

#include <exception>

namespace catga::detail {

Error error_of_current_exception() {
  try {
    throw;
  } catch (const std::exception& thrown) {
    return Error{Code::failed, std::string("the handler threw: ") + thrown.what()};
  } catch (...) {
    return Error{Code::failed, "the handler threw something that is not a std::exception"};
  }
}

}  // namespace catga::detail
