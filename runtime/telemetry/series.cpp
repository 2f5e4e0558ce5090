#include "catga/runtime/telemetry/series.hpp"

namespace catga {

namespace {

// As written by the metrics of kinds, of callers and of sagas; a test counts.
constexpr std::size_t of_node = 950;  // whatever is there without any kind, and `_other` of each
constexpr std::size_t of_kind = 290;  // and `_other` of its messages
constexpr std::size_t of_message = 110;
constexpr std::size_t of_saga = 160;  // and `_other` of its steps
constexpr std::size_t of_step = 60;

class Budget {
 public:
  explicit Budget(std::size_t all) : left_(all > of_node ? all - of_node : 0) {}
  bool pays(std::size_t cost) {
    if (cost > left_) return false;
    left_ -= cost;
    return true;
  }

 private:
  std::size_t left_;
};

}  // namespace

SeriesPlan plan_series(std::uint32_t max_series,
                       const std::map<std::string, Kind, std::less<>>& kinds,
                       const std::map<std::string, std::vector<std::string>>& sagas) {
  SeriesPlan plan;
  Budget budget(max_series);
  for (const auto& [name, kind] : kinds) {
    if (!budget.pays(of_kind)) {
      plan.left_out += 1 + kind.messages.size();
      continue;
    }
    std::size_t named = 0;
    while (named < kind.messages.size() && budget.pays(of_message)) named += 1;
    plan.left_out += kind.messages.size() - named;
    plan.kinds.emplace(name, kind).first->second.messages.resize(named);
  }
  for (const auto& [type, steps] : sagas) {
    if (!budget.pays(of_saga)) {
      plan.left_out += 1 + steps.size();
      continue;
    }
    std::size_t named = 0;
    while (named < steps.size() && budget.pays(of_step)) named += 1;
    plan.left_out += steps.size() - named;
    plan.sagas.emplace(type, steps).first->second.resize(named);
  }
  return plan;
}

}  // namespace catga
