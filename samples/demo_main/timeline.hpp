// What happens in the cluster, read from the nodes' own logs, and shown as it happens.
#pragma once
#include "ledger.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace demo {

/// A log line with an event name. Missing fields are empty or 0.
struct Event {
  std::int64_t unix_us = 0;
  std::string name;  ///< catga.node.joined, ...
  std::string node;  ///< who says it
  std::string peer;  ///< of whom
  std::string life;  ///< that one's incarnation
  std::string cause;
  std::string from, to, mode;  ///< of a moved shard
  std::string epoch;
  std::int64_t shard = -1;
  double unavailable_ms = 0;
};

/// The event of a JSON log line; none if the line has none or is not JSON.
std::optional<Event> event_in(std::string_view line);

/// The value below which `percent` of `values` lie (nearest rank); 0 without values.
double percentile(std::vector<double> values, double percent);

/// 120000 → "120,000".
std::string with_commas(std::uint64_t number);

/// Follows one log file. A line is read when its newline is there.
class LogTail {
 public:
  explicit LogTail(std::string path) : path_(std::move(path)) {}
  std::vector<Event> fresh();

 private:
  std::string path_;
  std::uint64_t offset_ = 0;
  std::string partial_;
};

/// Prints one line per thing that happens, shard moves in one line per pair of nodes, and a
/// progress bar below if standard output is a terminal. One thread.
class Timeline {
 public:
  explicit Timeline(bool terminal);

  void follow(const std::string& log) { tails_.emplace_back(log); }
  /// Reads what is new in the logs, prints it, and returns it; each thing once, though every node
  /// tells it.
  std::vector<Event> poll();
  /// Prints the moves still being collected.
  void flush_moves();
  void say(std::string_view text);
  void progress(std::size_t ended, std::size_t all, double per_second);
  /// Removes the bar.
  void clear();

 private:
  struct Group {               // moves of one kind, until none came for a moment
    std::vector<double> gaps;  // no number: it did not move
    Clock::time_point last;
  };
  bool first_time(const Event& event);
  void show(const Event& event);

  const bool terminal_;
  const Clock::time_point began_ = Clock::now();
  std::vector<LogTail> tails_;
  std::set<std::string> seen_;
  std::map<std::string, Group> moves_;
};

}  // namespace demo
