// Host, region and zone in one word.
#include "catga/runtime/cluster/place.hpp"

#include <cassert>

namespace catga {
namespace {

constexpr std::string_view region_mark = "region=", zone_mark = "zone=";

[[maybe_unused]] bool fits(std::string_view part) { return part.find_first_of(" ;") == part.npos; }

}  // namespace

std::string word_of(const Place& place) {
  assert(fits(place.host) && fits(place.region) && fits(place.zone));
  std::string word = place.host;
  if (!place.region.empty()) word.append(";").append(region_mark).append(place.region);
  if (!place.zone.empty()) word.append(";").append(zone_mark).append(place.zone);
  return word;
}

Place place_in(std::string_view word) {
  Place place;
  auto end = word.find(';');
  place.host = word.substr(0, end);
  while (end != word.npos) {
    word.remove_prefix(end + 1);
    end = word.find(';');
    const std::string_view part = word.substr(0, end);
    if (part.starts_with(region_mark)) place.region = part.substr(region_mark.size());
    if (part.starts_with(zone_mark)) place.zone = part.substr(zone_mark.size());
  }
  return place;
}

}  // namespace catga
