#include "catga/persistence/saga_store.hpp"

namespace catga {

namespace {
constexpr std::string_view saga_mark = "s|";
}

std::string_view find_field(const SagaFields& fields, std::string_view name) {
  for (const auto& [known, value] : fields) {
    if (known == name) return value;
  }
  return {};
}

std::string saga_timer_member(const EntityId& saga, std::string_view name) {
  std::string member{saga_mark};
  return member.append(saga.kind).append(1, '/').append(saga.key).append(1, '|').append(name);
}

std::optional<SagaTimer> parse_saga_timer(std::string_view member) {
  if (!member.starts_with(saga_mark)) return std::nullopt;
  member.remove_prefix(saga_mark.size());
  const auto bar = member.rfind('|');  // an id may have one, a name may not
  if (bar == member.npos) return std::nullopt;
  const auto slash = member.find('/');
  if (slash == 0 || slash >= bar) return std::nullopt;
  return SagaTimer{{std::string(member.substr(0, slash)),
                    std::string(member.substr(slash + 1, bar - slash - 1))},
                   std::string(member.substr(bar + 1))};
}

}  // namespace catga
