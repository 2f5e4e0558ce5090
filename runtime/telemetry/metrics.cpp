#include "catga/runtime/telemetry/metrics.hpp"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdio>
#include <fstream>
#include <new>
#include <sstream>
#include <thread>

namespace catga {

namespace {

constexpr std::uint64_t us = 1000, ms = 1'000'000, s = 1'000'000'000;

constexpr auto quick_bounds = std::to_array<std::uint64_t>(
    {100 * us, 250 * us, 500 * us, 1 * ms, 2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms,
     250 * ms, 500 * ms, 1 * s, 2500 * ms, 5 * s, 10 * s});
constexpr auto quick_text = std::to_array<std::string_view>(
    {"0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",
     "0.25", "0.5", "1", "2.5", "5", "10"});
constexpr auto moves_bounds =
    std::to_array<std::uint64_t>({1 * ms, 2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms,
                                  250 * ms, 500 * ms, 1 * s, 2500 * ms, 5 * s, 10 * s, 30 * s});
constexpr auto moves_text =
    std::to_array<std::string_view>({"0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",
                                     "0.25", "0.5", "1", "2.5", "5", "10", "30"});
constexpr auto sizes_bounds = std::to_array<std::uint64_t>({1, 2, 4, 8, 16, 32, 64, 128, 256});
constexpr auto sizes_text =
    std::to_array<std::string_view>({"1", "2", "4", "8", "16", "32", "64", "128", "256"});
constexpr auto lives_bounds = std::to_array<std::uint64_t>(
    {10 * ms, 100 * ms, 1 * s, 10 * s, 60 * s, 600 * s, 3600 * s, 86400 * s});
constexpr auto lives_text =
    std::to_array<std::string_view>({"0.01", "0.1", "1", "10", "60", "600", "3600", "86400"});
static_assert(lives_bounds.size() == lives_text.size());
static_assert(quick_bounds.size() == quick_text.size());
static_assert(moves_bounds.size() == moves_text.size());
static_assert(sizes_bounds.size() == sizes_text.size());

/// By the number of its bits: the first bound that a value can lie below. The bounds are at least doubled from one to the
/// next or nearly so: from there it is a step or two, where a search in halves takes five that no processor guesses.
using Starts = std::array<std::uint8_t, 65>;
template <std::size_t count>
constexpr Starts starts_of(const std::array<std::uint64_t, count>& bounds) {
  Starts starts{};
  for (std::size_t bits = 1; bits < starts.size(); ++bits) {
    const std::uint64_t least = std::uint64_t{1} << (bits - 1);
    const auto first = std::lower_bound(bounds.begin(), bounds.end(), least);
    starts[bits] = static_cast<std::uint8_t>(first - bounds.begin());
  }
  return starts;
}
constexpr Starts quick_starts = starts_of(quick_bounds), moves_starts = starts_of(moves_bounds),
                 sizes_starts = starts_of(sizes_bounds), lives_starts = starts_of(lives_bounds);

const Starts& starts_of(Buckets buckets) {
  switch (buckets) {
    case Buckets::moves:
      return moves_starts;
    case Buckets::sizes:
      return sizes_starts;
    case Buckets::lives:
      return lives_starts;
    case Buckets::none:
    case Buckets::quick:
      break;
  }
  return quick_starts;
}

std::string_view type_text(MetricType type) {
  switch (type) {
    case MetricType::counter:
      return "counter";
    case MetricType::gauge:
      return "gauge";
    case MetricType::histogram:
      return "histogram";
  }
  return "untyped";
}

constexpr std::string_view total = "_total";  // every counter ends in it: a test sees to that

void append_escaped(std::string& to, std::string_view value) {
  for (const char c : value) {
    if (c == '\\' || c == '"') to += '\\';
    if (c == '\n')
      to += "\\n";
    else
      to += c;
  }
}

}  // namespace

std::span<const std::uint64_t> bounds_of(Buckets buckets) {
  switch (buckets) {
    case Buckets::none:
      return {};
    case Buckets::quick:
      return quick_bounds;
    case Buckets::moves:
      return moves_bounds;
    case Buckets::sizes:
      return sizes_bounds;
    case Buckets::lives:
      return lives_bounds;
  }
  return {};
}

std::span<const std::string_view> bounds_as_text(Buckets buckets) {
  switch (buckets) {
    case Buckets::none:
      return {};
    case Buckets::quick:
      return quick_text;
    case Buckets::moves:
      return moves_text;
    case Buckets::sizes:
      return sizes_text;
    case Buckets::lives:
      return lives_text;
  }
  return {};
}

// ---- instruments -------------------------------------------------------------------------------

unsigned Sheet::next_stripe() noexcept {
  static std::atomic<unsigned> next{0};  // of the process: a thread has one number for all sheets
  return next.fetch_add(1, std::memory_order_relaxed);
}

void Sheet::Lines::operator()(std::atomic<std::uint64_t>* cells) const {
  ::operator delete[](static_cast<void*>(cells), std::align_val_t{line});
}

Sheet::Sheet(std::size_t slots)
    : slots_(slots),
      stripes_(std::min<std::size_t>(64, std::bit_ceil(std::thread::hardware_concurrency() + 4U))),
      stride_((slots * sizeof(std::uint64_t) + line - 1) / line * (line / sizeof(std::uint64_t))) {
  const std::size_t cells = stripes_ * stride_;
  void* const memory =
      ::operator new[](cells * sizeof(std::atomic<std::uint64_t>), std::align_val_t{line});
  auto* const first = static_cast<std::atomic<std::uint64_t>*>(memory);
  std::uninitialized_value_construct_n(first, cells);
  cells_.reset(first);
}

std::uint64_t Sheet::sum(std::size_t slot) const {
  assert(slot < slots_);
  std::uint64_t all = 0;
  for (std::size_t stripe = 0; stripe < stripes_; ++stripe)
    all += cells_[stripe * stride_ + slot].load(std::memory_order_relaxed);
  return all;
}

void HistogramAt::record(Sheet::Stripe stripe, std::uint64_t value) const noexcept {
  const auto bounds = bounds_of(buckets);
  std::size_t bucket = starts_of(buckets)[static_cast<std::size_t>(std::bit_width(value))];
  while (bucket < bounds.size() && bounds[bucket] < value) ++bucket;
  stripe.add(first + bucket);
  stripe.add(first + bounds.size() + 1, value);
}

// ---- what is scraped ---------------------------------------------------------------------------

MetricsFormat metrics_format(std::string_view accept) {
  constexpr std::string_view name = "application/openmetrics-text";
  const auto at = accept.find(name);
  if (at == accept.npos) return MetricsFormat::prometheus;
  const std::string_view rest = accept.substr(at + name.size());
  const std::string_view said = rest.substr(0, rest.find(','));
  const auto version = said.find("version=");  // 0.0.1 was a draft
  const bool ours = version == said.npos || said.substr(version + 8).starts_with("1.0.0");
  return ours || metrics_format(rest) == MetricsFormat::open_metrics ? MetricsFormat::open_metrics
                                                                     : MetricsFormat::prometheus;
}

std::string_view content_type(MetricsFormat format) {
  return format == MetricsFormat::open_metrics
             ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
             : "text/plain; version=0.0.4; charset=utf-8";
}

Exposition::Exposition(std::string service, std::string instance)
    : service_(std::move(service)), instance_(std::move(instance)) {}

void Exposition::sample(Metric metric, std::string_view suffix, Labels labels,
                        std::string_view bound, std::string_view value) {
  std::string& out = samples_[metric.row];
  const MetricRow& row = *metric;
  out += row.name;
  out += suffix;
  std::string inside;
  const auto label = [&inside](std::string_view name, std::string_view text) {
    if (!inside.empty()) inside += ',';
    inside += name;
    inside += "=\"";
    append_escaped(inside, text);
    inside += '"';
  };
  if (row.name.starts_with("catga_")) {
    label("service", service_);
    if (!instance_.empty()) label("instance", instance_);
  }
  std::string_view names = row.labels;
  for (const std::string_view text : labels) {
    assert(!names.empty());
    const auto end = std::min(names.find(','), names.size());
    label(names.substr(0, end), text);
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  assert(names.empty());
  if (!bound.empty()) label("le", bound);
  if (!inside.empty()) {
    out += '{';
    out += inside;
    out += '}';
  }
  out += ' ';
  out += value;
  out += '\n';
}

void Exposition::add(Metric metric, Labels labels, std::uint64_t value) {
  sample(metric, "", labels, "", fmt::to_string(value));
}
void Exposition::add(Metric metric, Labels labels, std::int64_t value) {
  sample(metric, "", labels, "", fmt::to_string(value));
}
void Exposition::add(Metric metric, Labels labels, double value) {
  sample(metric, "", labels, "", fmt::format("{}", value));
}

void Exposition::add(Metric metric, Labels labels, const Sheet& sheet, HistogramAt histogram) {
  assert(metric->type == MetricType::histogram && metric->buckets == histogram.buckets);
  const auto bounds = bounds_as_text(histogram.buckets);
  std::uint64_t below = 0;
  for (std::size_t i = 0; i <= bounds.size(); ++i) {
    below += sheet.sum(histogram.first + i);
    sample(metric, "_bucket", labels, i < bounds.size() ? bounds[i] : "+Inf",
           fmt::to_string(below));
  }
  const std::uint64_t total = sheet.sum(histogram.first + bounds.size() + 1);
  const bool pieces = histogram.buckets == Buckets::sizes;
  sample(metric, "_sum", labels, "",
         pieces ? fmt::to_string(total) : fmt::format("{}", static_cast<double>(total) / 1e9));
  sample(metric, "_count", labels, "", fmt::to_string(below));
}

std::vector<std::string_view> Exposition::missing() const {
  std::vector<std::string_view> names;
  for (std::size_t row = 0; row < metric_table.size(); ++row)
    if (samples_[row].empty()) names.push_back(metric_table[row].name);
  return names;
}

std::string Exposition::text(MetricsFormat format) const {
  const bool open = format == MetricsFormat::open_metrics;
  std::string out;
  for (std::size_t row = 0; row < metric_table.size(); ++row) {
    if (samples_[row].empty()) continue;
    const MetricRow& what = metric_table[row];
    std::string_view name = what.name;  // a counter's family has no _total in OpenMetrics
    if (open && what.type == MetricType::counter) name.remove_suffix(total.size());
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, what.help, name, type_text(what.type));
    out += samples_[row];
  }
  if (open) out += "# EOF\n";
  return out;
}

// ---- the process -------------------------------------------------------------------------------

namespace {

/// Field `number` of /proc/self/stat, counted as in proc(5); the name of the program may hold spaces.
double stat_field(int number) {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const auto name_end = line.rfind(')');
  if (name_end == line.npos) return 0;
  std::istringstream rest(line.substr(name_end + 1));
  std::string word;
  for (int field = 3; field <= number; ++field) rest >> word;
  return std::strtod(word.c_str(), nullptr);
}

double boot_unix_seconds() {
  std::ifstream file("/proc/stat");
  std::string word;
  while (file >> word)
    if (word == "btime" && file >> word) return std::strtod(word.c_str(), nullptr);
  return 0;
}

std::uint64_t open_files() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/fd"), closedir);
  if (!folder) return 0;
  std::uint64_t count = 0;
  while (readdir(folder.get()) != nullptr) ++count;  // NOLINT: this stream is ours alone
  return count >= 3 ? count - 3 : 0;                 // ".", ".." and the folder itself
}

}  // namespace

void add_process(Exposition& to) {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  to.add(metric("process_cpu_seconds_total"), {}, seconds(used.ru_utime) + seconds(used.ru_stime));
  to.add(metric("process_resident_memory_bytes"), {},
         static_cast<std::uint64_t>(stat_field(24)) *
             static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
  to.add(metric("process_open_fds"), {}, open_files());
  to.add(metric("process_max_fds"), {}, static_cast<std::uint64_t>(files.rlim_cur));
  to.add(metric("process_start_time_seconds"), {}, boot_unix_seconds() + stat_field(22) / ticks);
}

}  // namespace catga
