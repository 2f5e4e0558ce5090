// Which names get series of their own, so that a scrape stays within metrics.max_series.
//
// Every kind costs series, every message of it and every step of a saga. They are given out in the order of their
// names, kinds first; whatever does not fit is counted as `_other`. That is settled at the start and for good: a
// series that came and went would look like a service that stopped.
#pragma once
#include "catga/entities/kind.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace catga {

struct SeriesPlan {
  std::map<std::string, Kind, std::less<>> kinds;         ///< with the messages that are named
  std::map<std::string, std::vector<std::string>> sagas;  ///< by type, the steps that are named
  std::size_t left_out = 0;                               ///< names that are not
};

/// `sagas`: their steps by type; they change nothing about the kinds.
SeriesPlan plan_series(std::uint32_t max_series,
                       const std::map<std::string, Kind, std::less<>>& kinds,
                       const std::map<std::string, std::vector<std::string>>& sagas = {});

}  // namespace catga
