// How nodes left, as this one heard it from two sides: the view that no longer has them, and their own last word.
//
// A node that leaves by itself says at the very end whether all its shards had gone (catga.node.drained), mostly after the
// view has let it go. So its departure is counted and told when both are known, or when the word has not come for a while.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace catga {

/// A node's last word, as its cluster event has it.
struct DrainTold {
  std::string incarnation;
  bool complete = true;
};
/// `json`: of a catga.node.drained. None: it does not say who or how.
std::optional<DrainTold> drain_told_by(const std::string& json);

/// How the view lost it.
enum class Parting : std::uint8_t { by_itself, evicted, expired };

/// Thread-safe. Times are boot_ms().
class Departures {
 public:
  static constexpr std::int64_t patience_ms = 5000;

  /// The view is without this node.
  void left(const std::string& incarnation, Parting how, std::int64_t now);
  /// Its last word. `complete`: it had no shard any more.
  void drained(const std::string& incarnation, bool complete, std::int64_t now);

  struct Counts {
    std::uint64_t planned = 0, incomplete = 0, evicted = 0, expired = 0;
  };
  /// Counters: they never fall.
  Counts counts(std::int64_t now) const;
  /// Whose cause has become known since this was asked last, and the cause by its name.
  std::vector<std::pair<std::string, std::string_view>> news(std::int64_t now);

 private:
  struct Half {
    std::int64_t since = 0;
    bool left = false;     ///< the view is without it
    bool complete = true;  ///< said, if not `left`
  };
  void settle(std::int64_t now) const;
  void drained_and_left(const std::string& incarnation, bool complete) const;
  void over(const std::string& incarnation, std::uint64_t Counts::*count,
            std::string_view cause) const;

  mutable std::mutex lock_;
  mutable std::map<std::string, Half> halves_;  // one side is known
  mutable Counts counts_;
  mutable std::vector<std::pair<std::string, std::string_view>> news_;
};

}  // namespace catga
