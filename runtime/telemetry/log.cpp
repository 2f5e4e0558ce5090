// Log lines: from record to final bytes here; spdlog only carries the bytes to standard output.
//
// A line is finished before it is queued, so that nothing the caller passed is read later, and
// so that escaping is ours: a pattern of spdlog does not escape, and a quote would break the JSON.
// The queue is bounded and overruns its oldest line: an entity must never wait for a log. Lines of
// level error go around the queue and are out when write() returns.
#include "catga/runtime/telemetry/log.hpp"

#include "catga/runtime/telemetry/json_text.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <forward_list>
#include <functional>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace catga {
namespace {

constexpr std::size_t queue_lines = 8192;
constexpr std::array<std::string_view, 5> severity_names{"TRACE", "DEBUG", "INFO", "WARN", "ERROR"};

std::string_view name_of(Severity severity) {
  return severity_names[static_cast<std::size_t>(severity)];
}

// ---- JSON ---------------------------------------------------------------------------------------

constexpr std::size_t trace_room = 128;  // kept for the ids of a span
constexpr std::string_view truncated_mark = R"(,"truncated":true})";

/// `,"name":` and the value. False, and nothing or a shorter text appended, if it does not fit.
bool append_field(std::string& out, const LogField& field, std::size_t limit) {
  const std::size_t before = out.size();
  out += ',';
  bool whole = append_json(out, field.name, limit);
  out += ':';
  if (const auto* text = std::get_if<std::string>(&field.value)) {
    if (out.size() + 2 <= limit) whole = append_json(out, *text, limit - out.size()) && whole;
  } else if (const auto* number = std::get_if<double>(&field.value)) {
    out += std::isfinite(*number) ? fmt::to_string(*number) : "null";  // JSON knows no infinity
  } else if (const auto* truth = std::get_if<bool>(&field.value)) {
    out += *truth ? "true" : "false";
  } else {
    out += fmt::to_string(std::get<std::int64_t>(field.value));
  }
  if (out.size() <= limit && out.back() != ':') return whole;
  out.resize(before);
  return false;
}

void append_time(std::string& out, std::int64_t unix_us, const char* date_format) {
  const auto seconds = static_cast<std::time_t>(unix_us / 1'000'000);
  fmt::format_to(std::back_inserter(out), fmt::runtime(date_format), fmt::gmtime(seconds));
}

// ---- Text ---------------------------------------------------------------------------------------

/// "catga.shard.id" → "shard", "catga.node.from" → "from", "duration_ms" as it is.
std::string_view short_name(std::string_view name) {
  if (!name.starts_with("catga.")) return name;
  if (name.ends_with(".id")) name.remove_suffix(3);
  return name.substr(name.rfind('.') + 1);
}

/// Control characters would let a message draw on the terminal.
void append_plain(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", c);
    else
      out += c;
  }
}

void append_value(std::string& out, const LogField& field) {
  if (const auto* text = std::get_if<std::string>(&field.value)) {
    if (text->find_first_of(" =\"") == text->npos && !text->empty())
      append_plain(out, *text);
    else
      append_json(out, *text, log_line_max);
    return;
  }
  std::visit(
      [&out](const auto& value) {
        if constexpr (!std::is_same_v<std::remove_cvref_t<decltype(value)>, std::string>)
          out += fmt::to_string(value);
      },
      field.value);
}

// ---- Carrying -----------------------------------------------------------------------------------

/// Writes each line to standard output with one system call, so that a reader sees whole lines at
/// once and two processes with one output do not mix theirs. Counts them for flush().
class StandardOutput final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  /// Waits until `lines` of the queue have been written or dropped, at most `patience`.
  template <class Dropped>
  void wait_for(std::uint64_t lines, Dropped dropped, std::chrono::milliseconds patience) {
    const auto until = std::chrono::steady_clock::now() + patience;
    std::unique_lock lock(counted_);
    while (written_ + dropped() < lines) {
      // Drops make no noise, hence the look every few milliseconds.
      more_.wait_for(lock, std::chrono::milliseconds(5));
      if (std::chrono::steady_clock::now() > until) return;
    }
  }

  /// A line to write before the next one of the queue, or nothing. Set before the first line.
  std::function<std::string()> first_say;

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const bool was_queued = message.level < spdlog::level::err;
    if (was_queued) put(first_say());
    put({message.payload.data(), message.payload.size()});
    if (!was_queued) return;
    const std::lock_guard lock(counted_);
    ++written_;
    more_.notify_all();
  }
  void flush_() override {}

 private:
  static void put(std::string_view rest) {
    while (!rest.empty()) {
      const ssize_t n = ::write(STDOUT_FILENO, rest.data(), rest.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;  // nobody reads: nothing to be done, and no place to say so
      rest.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  std::mutex counted_;
  std::condition_variable more_;
  std::uint64_t written_ = 0;
};

/// Reads "info,handoff=debug": a level for all, and levels for some loggers.
struct Levels {
  int common = static_cast<int>(Severity::info);
  std::map<std::string, int, std::less<>> own;

  explicit Levels(std::string_view text) {
    while (!text.empty()) {
      const auto part = text.substr(0, text.find(','));
      text.remove_prefix(std::min(part.size() + 1, text.size()));
      const auto equals = part.find('=');
      if (equals == part.npos)
        common = level_of(part);
      else
        own[std::string(part.substr(0, equals))] = level_of(part.substr(equals + 1));
    }
  }
  static int level_of(std::string_view name) {
    static constexpr std::array names{"trace", "debug", "info", "warn", "error", "off"};
    const auto found = std::ranges::find(names, name);
    return found == names.end() ? static_cast<int>(Severity::info)
                                : static_cast<int>(found - names.begin());
  }
  int of(std::string_view logger) const {
    const auto found = own.find(logger);
    return found == own.end() ? common : found->second;
  }
  int lowest() const {
    int level = common;
    for (const auto& [name, one] : own) level = std::min(level, one);
    return level;
  }
};

/// Levels that change while others read them. Old ones are kept: somebody may still be looking.
class LiveLevels {
 public:
  explicit LiveLevels(const std::string& text) : all_{Levels(text)}, newest_(&all_.front()) {}
  void set(const std::string& text) {
    const std::lock_guard guard(lock_);
    newest_ = &all_.emplace_front(text);
  }
  int of(std::string_view logger) const { return newest_.load()->of(logger); }
  int lowest() const { return newest_.load()->lowest(); }

 private:
  std::mutex lock_;
  std::forward_list<Levels> all_;
  std::atomic<const Levels*> newest_;
};

/// Ten lines a second of one place in the code, then one a second that says how many are missing. A place is known by
/// its logger and the words its lines begin with, up to the first digit or quote.
class Rates {
 public:
  struct Verdict {
    bool write = true;
    std::int64_t suppressed = 0;  ///< before this one
  };
  Verdict may_write(std::string_view logger, std::string_view message, std::int64_t unix_us) {
    std::string place(logger);
    place += '|';
    place += message.substr(0, std::min<std::size_t>(message.find_first_of("0123456789\"'/"), 48));
    const std::lock_guard guard(lock_);
    if (places_.size() >= places_most) places_.clear();
    Place& at = places_[place];
    const std::int64_t second = unix_us / 1'000'000;
    if (at.second != second) {
      at.flooded = at.second == second - 1 && at.suppressed != 0;
      at.second = second;
      at.written = 0;
    }
    if (at.written >= (at.flooded ? 1 : 10)) {
      at.suppressed += 1;
      return {false, 0};
    }
    at.written += 1;
    return {true, std::exchange(at.suppressed, 0)};
  }

 private:
  static constexpr std::size_t places_most = 2048;
  struct Place {
    std::int64_t second = 0, suppressed = 0;
    int written = 0;
    bool flooded = false;
  };
  std::mutex lock_;
  std::unordered_map<std::string, Place> places_;
};

std::int64_t unix_us_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

}  // namespace

std::string json_line(const LogRecord& record) {
  const std::size_t limit = log_line_max - truncated_mark.size();
  std::string out;
  out.reserve(256 + record.message.size());
  out += R"({"timestamp":")";
  append_time(out, record.unix_us, "{:%Y-%m-%dT%H:%M:%S}");
  fmt::format_to(std::back_inserter(out), R"(.{:06}Z","severity":"{}","message":)",
                 record.unix_us % 1'000'000, name_of(record.severity));
  bool whole = append_json(out, record.message, limit - 1024);  // the names behind it are short
  out += R"(,"logger":)";
  whole = append_json(out, record.logger, 128) && whole;
  if (!record.event.empty()) {
    out += R"(,"event.name":)";
    whole = append_json(out, record.event, 256) && whole;
    out += R"(,"catga.cluster.name":)";
    whole = append_json(out, record.cluster, 128) && whole;
  }
  out += R"(,"catga.node.id":)";
  whole = append_json(out, record.node, 128) && whole;
  const auto about_event = [&](std::string_view key, std::string_view value) {
    if (record.event.empty() || value.empty()) return;
    out += key;
    whole = append_json(out, value, 128) && whole;
  };
  about_event(R"(,"catga.node.incarnation":)", record.incarnation);
  about_event(R"(,"catga.event.id":)", record.event_id);
  about_event(R"(,"catga.view.version":)", record.view_version);
  for (const auto& field : record.fields)
    whole = append_field(out, field, limit - trace_room) && whole;
  if (record.context)
    fmt::format_to(std::back_inserter(out),
                   R"(,"trace_id":"{}","span_id":"{}","trace_flags":"{:02x}")",
                   record.context.trace_id(), record.context.span_id(), record.context.flags);
  out += whole ? std::string_view("}") : truncated_mark;
  return out;
}

std::string text_line(const LogRecord& record, bool colour) {
  static constexpr std::array<std::string_view, 5> colours{"\x1b[90m", "\x1b[90m", "", "\x1b[33m",
                                                           "\x1b[31m"};
  const auto paint = colour ? colours[static_cast<std::size_t>(record.severity)] : "";
  std::string out;
  append_time(out, record.unix_us, "{:%H:%M:%S}");
  fmt::format_to(std::back_inserter(out), ".{:03} {}{:<5}{} {:<8} ", record.unix_us / 1000 % 1000,
                 paint, name_of(record.severity), paint.empty() ? "" : "\x1b[0m", record.logger);
  append_plain(out, record.message);
  out += record.fields.empty() ? "" : " ";
  for (const auto& field : record.fields) {
    fmt::format_to(std::back_inserter(out), " {}=", short_name(field.name));
    append_value(out, field);
  }
  if (record.context)
    fmt::format_to(std::back_inserter(out), " trace={}", record.context.trace_id());
  if (out.size() <= log_line_max) return out;
  constexpr std::string_view mark = " truncated=true";
  out.resize(log_line_max - mark.size());
  while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80) out.pop_back();
  if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0) out.pop_back();
  return out.append(mark);
}

namespace {

/// The thread is there before a node blocks SIGTERM for itself and its threads; it must not be the one that gets it.
std::shared_ptr<spdlog::details::thread_pool> writing_thread() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto pool = std::make_shared<spdlog::details::thread_pool>(queue_lines, 1);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return pool;
}

}  // namespace

struct Log::Private {
  LiveLevels levels;
  bool json;
  bool colour;
  std::string node;
  std::string cluster;
  std::shared_ptr<StandardOutput> output = std::make_shared<StandardOutput>();
  // Our own thread and logger: spdlog's registry belongs to the application.
  std::shared_ptr<spdlog::details::thread_pool> pool = writing_thread();
  spdlog::details::thread_pool* const waiting = pool.get();  // asked while pool ends, too
  std::shared_ptr<spdlog::async_logger> logger = std::make_shared<spdlog::async_logger>(
      "catga", output, pool, spdlog::async_overflow_policy::overrun_oldest);
  std::atomic<std::uint64_t> queued{0};
  std::string incarnation;
  std::atomic<std::uint64_t> events{0};
  std::atomic<std::uint64_t> view_version{0};
  std::vector<LogTap*> taps;
  Rates rates;
  std::uint64_t dropped_told = 0;  // the writing thread's

  Private(const Config::Log& settings, std::string of_cluster, std::string of_node)
      : levels(settings.level),
        json(settings.format == "json" || (settings.format == "auto" && !isatty(STDOUT_FILENO))),
        colour(!json && isatty(STDOUT_FILENO) && std::getenv("NO_COLOR") == nullptr),  // NOLINT
        node(std::move(of_node)),
        cluster(std::move(of_cluster)) {
    logger->set_level(spdlog::level::trace);  // what is wanted was decided before
    output->first_say = [this] { return missing_lines(); };
  }
  ~Private() {
    logger.reset();
    pool.reset();  // writes what still waits, with the help of the other members
  }
  Private(const Private&) = delete;
  Private& operator=(const Private&) = delete;

  std::string line_of(const LogRecord& record) const {
    return (json ? json_line(record) : text_line(record, colour)) + '\n';
  }

  void carry(Severity severity, const std::string& line) {
    if (severity == Severity::error) {
      output->log({"catga", spdlog::level::err, spdlog::string_view_t(line.data(), line.size())});
      return;
    }
    queued.fetch_add(1, std::memory_order_relaxed);
    logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  }

  /// Once per overrun: how many lines are missing. Said by the thread that writes and never queued,
  /// where it could be dropped itself.
  std::string missing_lines() {
    const std::uint64_t dropped = waiting->overrun_counter();
    if (dropped == dropped_told || waiting->queue_size() > queue_lines / 2) return {};
    const std::array fields{LogField{
        "dropped", static_cast<std::int64_t>(dropped - std::exchange(dropped_told, dropped))}};
    return line_of({.unix_us = unix_us_now(),
                    .severity = Severity::warn,
                    .logger = "telemetry",
                    .event = {},
                    .message = "log lines were dropped: written faster than read",
                    .cluster = cluster,
                    .node = node,
                    .fields = fields});
  }
};

Log::Log(const Config::Log& settings, std::string cluster, std::string node)
    : private_(std::make_unique<Private>(settings, std::move(cluster), std::move(node))) {}

Log::~Log() { flush(); }

bool Log::wants(Severity severity) const {
  return static_cast<int>(severity) >= private_->levels.lowest();
}

void Log::set_levels(const std::string& levels) { private_->levels.set(levels); }

void Log::identify(std::string incarnation) { private_->incarnation = std::move(incarnation); }

void Log::in_view(std::uint64_t version) {
  private_->view_version.store(version, std::memory_order_relaxed);
}

void Log::add(LogTap& tap) { private_->taps.push_back(&tap); }

void Log::write(Severity severity, std::string_view logger, EventName event,
                std::string_view message, std::span<const LogField> fields) {
  Private& self = *private_;
  const bool in_log = static_cast<int>(severity) >= self.levels.of(logger);
  const bool for_others = !self.taps.empty() && (event || severity >= Severity::warn);
  if (!in_log && !for_others) return;
  const std::int64_t now = unix_us_now();
  std::vector<LogField> with_count;
  if (!event && logger != "app") {
    const Rates::Verdict verdict = self.rates.may_write(logger, message, now);
    if (!verdict.write) return;
    if (verdict.suppressed != 0) {
      with_count.assign(fields.begin(), fields.end());
      with_count.push_back({"suppressed", verdict.suppressed});
      fields = with_count;
    }
  }
  std::string event_id, view;
  if (event && !self.incarnation.empty()) {
    event_id = fmt::format("{}-{}", self.incarnation, self.events.fetch_add(1) + 1);
    if (const auto version = self.view_version.load(std::memory_order_relaxed); version != 0)
      view = fmt::to_string(version);
  }
  const LogRecord record{.unix_us = now,
                         .severity = severity,
                         .logger = logger,
                         .event = event.text(),
                         .message = message,
                         .cluster = self.cluster,
                         .node = self.node,
                         .fields = fields,
                         .incarnation = self.incarnation,
                         .event_id = event_id,
                         .view_version = view,
                         .streamed = event.streamed(),
                         .context = current_trace()};
  if (in_log) self.carry(severity, self.line_of(record));
  if (for_others)
    for (LogTap* const tap : self.taps) tap->take(record);
}

void Log::flush() {
  private_->output->wait_for(
      private_->queued.load(), [pool = private_->pool] { return pool->overrun_counter(); },
      std::chrono::seconds(2));
}

}  // namespace catga
