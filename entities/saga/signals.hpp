// The signals a saga got: kept from the moment they arrive until a step takes them.
#pragma once
#include "catga/entities/saga/journal.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

class SagaSignals {
 public:
  void add(std::string name, SignalNote note);
  bool has(std::string_view name, std::string_view id) const;
  /// How many nobody has taken yet.
  std::size_t waiting() const;
  /// The payload of the oldest one of that name that nobody took; `id` empty: whatever its id is.
  std::optional<std::string> find(std::string_view name, std::string_view id) const;
  /// Takes the one that `find` finds, if any.
  void take(std::string_view name, std::string_view id);

 private:
  struct Arrived {
    std::string name;
    SignalNote note;
    bool taken = false;
    bool fits(std::string_view wanted, std::string_view id) const;
  };
  std::vector<Arrived> arrived_;
};

}  // namespace catga
