// Calls every lambda of a saga twice and compares what it gives: another node calls them again and must get the same.
#pragma once
#include "catga/entities/saga/definition.hpp"

#include <memory>
#include <string>

namespace catga::test {

/// What was found first; empty: nothing.
struct Impurity {
  std::string what;
};

/// The same saga, whose lambdas tell `found` when they are not pure. One thread.
std::shared_ptr<const SagaDefinition> run_twice(const SagaDefinition& saga,
                                                const std::shared_ptr<Impurity>& found);

}  // namespace catga::test
