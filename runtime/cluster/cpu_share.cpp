// CPU quota and throttling, read from the control group.
#include "catga/runtime/cluster/cpu_share.hpp"

#include <charconv>
#include <fstream>
#include <string>

namespace catga {
namespace {

constexpr const char* group = "/sys/fs/cgroup/";
constexpr std::size_t content_max = 4096;

std::string content_of(const char* name) {
  std::ifstream in(std::string(group) + name);
  std::string content(content_max, '\0');
  in.read(content.data(), static_cast<std::streamsize>(content.size()));
  content.resize(static_cast<std::size_t>(in.gcount()));
  return content;
}

// The number that `text` begins with; none if it does not.
std::optional<std::int64_t> number_at(std::string_view text) {
  std::int64_t number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ec != std::errc{}) return std::nullopt;
  return number;
}

}  // namespace

double quota_cores_of(std::string_view cpu_max) {
  const auto space = cpu_max.find(' ');
  if (space == cpu_max.npos) return 0;
  const auto quota = number_at(cpu_max);
  const auto period = number_at(cpu_max.substr(space + 1));
  if (!quota || !period || *quota <= 0 || *period <= 0) return 0;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<std::int64_t> throttled_ms_of(std::string_view cpu_stat) {
  constexpr std::string_view key = "throttled_usec ";
  const auto at = cpu_stat.find(key);
  if (at == cpu_stat.npos) return std::nullopt;
  const auto microseconds = number_at(cpu_stat.substr(at + key.size()));
  if (!microseconds) return std::nullopt;
  return *microseconds / 1000;
}

double cpu_quota_cores() { return quota_cores_of(content_of("cpu.max")); }

std::optional<std::int64_t> cpu_throttled_ms() { return throttled_ms_of(content_of("cpu.stat")); }

}  // namespace catga
