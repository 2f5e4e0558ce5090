#include "catga/entities/saga/builder.hpp"

namespace catga::detail {

void Draft::open() {
  if (side_by_side) {
    definition.mistakes.emplace_back("parallel() inside parallel(): write join() first");
    return;
  }
  side_by_side = true;
  definition.stages.emplace_back();  // filled until join()
}

void Draft::join() {
  if (!side_by_side) {
    definition.mistakes.emplace_back("join() without parallel()");
    return;
  }
  side_by_side = false;
  if (definition.stages.back().empty()) {
    definition.mistakes.emplace_back("nothing between parallel() and join()");
    definition.stages.pop_back();
  }
}

void Draft::close() {
  if (!side_by_side) return;
  join();
  definition.mistakes.emplace_back("parallel() without join()");
}

}  // namespace catga::detail
