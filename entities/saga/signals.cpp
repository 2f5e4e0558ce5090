#include "catga/entities/saga/signals.hpp"

#include <algorithm>
#include <utility>

namespace catga {

bool SagaSignals::Arrived::fits(std::string_view wanted, std::string_view id) const {
  return !taken && name == wanted && (id.empty() || note.id == id);
}

void SagaSignals::add(std::string name, SignalNote note) {
  arrived_.push_back({std::move(name), std::move(note), false});
}

bool SagaSignals::has(std::string_view name, std::string_view id) const {
  return std::ranges::any_of(arrived_, [name, id](const Arrived& arrived) {
    return arrived.name == name && arrived.note.id == id;
  });
}

std::size_t SagaSignals::waiting() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(arrived_, [](const Arrived& arrived) { return !arrived.taken; }));
}

std::optional<std::string> SagaSignals::find(std::string_view name, std::string_view id) const {
  for (const Arrived& arrived : arrived_) {
    if (arrived.fits(name, id)) return arrived.note.payload;
  }
  return std::nullopt;
}

void SagaSignals::take(std::string_view name, std::string_view id) {
  for (Arrived& arrived : arrived_) {
    if (!arrived.fits(name, id)) continue;
    arrived.taken = true;
    return;
  }
}

}  // namespace catga
