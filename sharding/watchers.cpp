// Who watches whom, computed.
#include "catga/sharding/watchers.hpp"

#include "catga/sharding/hash.hpp"

#include <algorithm>
#include <utility>

namespace catga {
namespace {

constexpr std::uint64_t first_ring_domain = 16;

// Indices of the members in the order of ring `ring`.
std::vector<std::size_t> ring_order(const MembershipView& view, std::uint32_t ring) {
  std::vector<std::pair<std::uint64_t, std::size_t>> places;
  places.reserve(view.members.size());
  for (std::size_t i = 0; i < view.members.size(); ++i)
    places.emplace_back(hash64(first_ring_domain + ring, text_of(view.members[i].incarnation)), i);
  std::sort(places.begin(), places.end());
  std::vector<std::size_t> order;
  order.reserve(places.size());
  for (const auto& place : places) order.push_back(place.second);
  return order;
}

std::vector<std::vector<Incarnation>> all_watch_all(const MembershipView& view) {
  std::vector<std::vector<Incarnation>> table(view.members.size());
  for (std::size_t i = 0; i < table.size(); ++i)
    for (const Member& other : view.members)
      if (other.incarnation != view.members[i].incarnation) table[i].push_back(other.incarnation);
  return table;
}

bool contains(const std::vector<Incarnation>& list, Incarnation one) {
  return std::find(list.begin(), list.end(), one) != list.end();
}

// Gives each member the first one behind it on this ring that it does not watch yet.
void add_ring(const MembershipView& view, const std::vector<std::size_t>& order,
              std::vector<std::vector<Incarnation>>& table) {
  const std::size_t n = order.size();
  for (std::size_t at = 0; at < n; ++at) {
    auto& targets = table[order[at]];
    for (std::size_t step = 1; step < n; ++step) {
      const Incarnation next = view.members[order[(at + step) % n]].incarnation;
      if (contains(targets, next)) continue;
      targets.push_back(next);
      break;
    }
  }
}

}  // namespace

std::vector<std::vector<Incarnation>> watch_table(const MembershipView& view, std::uint32_t rings) {
  if (view.members.size() <= all_watch_all_up_to) return all_watch_all(view);
  std::vector<std::vector<Incarnation>> table(view.members.size());
  for (std::uint32_t ring = 0; ring < rings; ++ring) add_ring(view, ring_order(view, ring), table);
  for (auto& targets : table) std::sort(targets.begin(), targets.end());
  return table;
}

WatchDuty watch_duty(const MembershipView& view, Incarnation member, std::uint32_t rings) {
  WatchDuty duty;
  if (view.find(member) == nullptr) return duty;
  const auto table = watch_table(view, rings);
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (view.members[i].incarnation == member)
      duty.targets = table[i];
    else if (contains(table[i], member))
      duty.watchers.push_back(view.members[i].incarnation);
  }
  return duty;
}

}  // namespace catga
