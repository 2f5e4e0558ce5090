// One line is one record, to standard output: text on a terminal, JSON otherwise. Events have names
// and fields.
#pragma once
#include "catga/entities/trace.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/telemetry/cluster_events.hpp"

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace catga {

/// One attribute of a record: `{"catga.shard.id", 17}`. 64-bit ids (versions, epochs) go in as
/// text.
struct LogField {
  std::string_view name;
  std::variant<std::int64_t, double, bool, std::string> value;
};

/// One line before it has a form.
struct LogRecord {
  std::int64_t unix_us = 0;
  Severity severity = Severity::info;
  std::string_view logger, event, message;
  std::string_view cluster, node;
  std::span<const LogField> fields;
  std::string_view incarnation{}, event_id{}, view_version{};  ///< of events
  bool streamed = false;   ///< an event that the stream shows as well
  TraceContext context{};  ///< of the span it was made in
};

/// Somebody who gets records as well: all events, whatever their severity, and all lines from WARN on. Called by the thread
/// that writes the line, which must not wait.
class LogTap {
 public:
  virtual ~LogTap() = default;
  virtual void take(const LogRecord& record) = 0;
};

/// The longest line, without its newline. What does not fit is cut, and `truncated` says so.
constexpr std::size_t log_line_max = 16 * 1024;

/// The record as one line of JSON, without newline: always valid JSON and UTF-8.
std::string json_line(const LogRecord& record);
/// The record for people. May change; programs read JSON.
std::string text_line(const LogRecord& record, bool colour);

/// The log of one node. Thread-safe; never blocks the caller (the oldest waiting line is dropped
/// and counted), except at error, which is written through.
class Log {
 public:
  Log(const Config::Log& settings, std::string cluster, std::string node);
  ~Log();
  /// Whether a line of this severity would be written: ask before building an expensive message.
  bool wants(Severity severity) const;
  /// Replaces log.level while it runs; checked by the caller.
  void set_levels(const std::string& levels);
  /// `logger`: node, membership, ring, handoff, entity, store, nats, gateway, app. `event`: a name
  /// of event_table, then it goes to the stream of events too, whatever the level; or "".
  void write(Severity severity, std::string_view logger, EventName event, std::string_view message,
             std::initializer_list<LogField> fields = {}) {
    write(severity, logger, event, message, std::span(fields.begin(), fields.size()));
  }
  void write(Severity severity, std::string_view logger, EventName event, std::string_view message,
             std::span<const LogField> fields);
  /// Before the first event: the incarnation in their ids.
  void identify(std::string incarnation);
  /// The view that events are told in from now on. Any thread.
  void in_view(std::uint64_t version);
  /// Before others write. `tap` outlives the log or its last line.
  void add(LogTap& tap);
  void flush();

 private:
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga
