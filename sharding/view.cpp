// Rows of the member table, and what changed between two views.
#include "catga/sharding/view.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <limits>
#include <optional>

namespace catga {
namespace {

constexpr std::array states{MemberState::warm, MemberState::shadow, MemberState::up,
                            MemberState::leaving};
constexpr std::size_t row_fields = 6;
constexpr std::uint64_t max_weight = 16;

[[maybe_unused]] bool one_word(std::string_view text) {
  return !text.empty() && text.find(' ') == std::string_view::npos;
}

/// The fields between single spaces; none if they are not exactly six words.
std::optional<std::array<std::string_view, row_fields>> split(std::string_view row) {
  std::array<std::string_view, row_fields> fields;
  for (std::size_t i = 0; i < row_fields; ++i) {
    const bool last = i + 1 == row_fields;
    const auto space = row.find(' ');
    if (last != (space == std::string_view::npos)) return std::nullopt;
    fields[i] = row.substr(0, space);
    if (fields[i].empty()) return std::nullopt;
    if (!last) row.remove_prefix(space + 1);
  }
  return fields;
}

std::optional<MemberState> state_named(std::string_view name) {
  const auto* found = std::find_if(states.begin(), states.end(),
                                   [&](MemberState state) { return name_of(state) == name; });
  if (found == states.end()) return std::nullopt;
  return *found;
}

Error bad_row(Incarnation incarnation, std::string_view why) {
  std::string text = "the row of member ";
  text += text_of(incarnation);
  text += " cannot be read: ";
  text += why;
  text += "; is another Catga version writing to this cluster?";
  return Error{Code::malformed, std::move(text)};
}

}  // namespace

std::string_view name_of(MemberState state) {
  switch (state) {
    case MemberState::warm:
      return "WARM";
    case MemberState::shadow:
      return "SHADOW";
    case MemberState::up:
      return "UP";
    case MemberState::leaving:
      return "LEAVING";
  }
  return "WARM";
}

std::string row_rest_of(const Member& member) {
  // An empty word would shift the fields behind it, so what is unknown is written as "-".
  const std::string version = member.app_version.empty() ? "-" : member.app_version;
  const std::string host = member.host.empty() ? "-" : member.host;
  assert(one_word(version) && one_word(host));
  assert(member.weight >= 1 && member.weight <= max_weight && member.joined_ms >= 0);
  return std::to_string(member.weight) + ' ' + version + ' ' + host + ' ' +
         std::to_string(member.joined_ms);
}

std::string row_of(const Member& member) {
  assert(one_word(member.name));
  return std::string(name_of(member.state)) + ' ' + member.name + ' ' + row_rest_of(member);
}

Result<Member> parse_row(Incarnation incarnation, std::string_view row) {
  const auto fields = split(row);
  if (!fields) return bad_row(incarnation, "it is not six words with one space between them");
  const auto& [state_text, name, weight_text, version, host, joined_text] = *fields;
  const auto state = state_named(state_text);
  if (!state) return bad_row(incarnation, "its state is not WARM, SHADOW, UP or LEAVING");
  const auto weight = parse_number(weight_text);
  if (!weight || *weight < 1 || *weight > max_weight) {
    return bad_row(incarnation, "its weight is not 1 to 16");
  }
  const auto joined = parse_number(joined_text);
  if (!joined || *joined > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return bad_row(incarnation, "its time of joining is not a number of milliseconds");
  }
  return Member{.incarnation = incarnation,
                .state = *state,
                .name = std::string(name),
                .weight = static_cast<std::uint32_t>(*weight),
                .app_version = std::string(version),
                .host = std::string(host),
                .joined_ms = static_cast<std::int64_t>(*joined)};
}

const Member* MembershipView::find(Incarnation incarnation) const {
  assert(std::ranges::is_sorted(members, {}, &Member::incarnation));
  const auto found = std::ranges::lower_bound(members, incarnation, {}, &Member::incarnation);
  return found != members.end() && found->incarnation == incarnation ? &*found : nullptr;
}

ViewChange changes(const MembershipView& before, const MembershipView& after) {
  ViewChange change;
  for (const Member& member : after.members) {
    const Member* old = before.find(member.incarnation);
    if (old != nullptr && old->state == member.state) continue;
    if (member.state == MemberState::up) change.joined.push_back(member);
    if (member.state == MemberState::leaving) change.leaving.push_back(member);
  }
  for (const Member& member : before.members) {
    if (after.find(member.incarnation) == nullptr) change.ended.push_back(member);
  }
  return change;
}

}  // namespace catga
