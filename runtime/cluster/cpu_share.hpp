// How much CPU the system lets this process have, and whether it has just held it back.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace catga {

/// Cores in `cpu.max` of a control group ("150000 100000" is 1.5); 0: no quota, or not readable.
double quota_cores_of(std::string_view cpu_max);
/// ms that the group was throttled so far, of `cpu.stat`; none if it does not say.
std::optional<std::int64_t> throttled_ms_of(std::string_view cpu_stat);

/// The same of the group this process is in, if it is mounted where containers have it.
double cpu_quota_cores();
std::optional<std::int64_t> cpu_throttled_ms();

}  // namespace catga
