// What takes an unfair share of a node's messages, for long enough that it is no burst. Decides only; looks once a second.
#pragma once
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace catga {

/// Hot is what takes more than `share` of all messages, and more than `rate_least` a second, in each look for `window_ms`.
struct HeatLimits {
  double share = 0.25;
  double rate_least = 1000;
  std::int64_t window_ms = 10'000;
  std::int64_t told_again_ms = 60'000;  ///< no sooner is the same one told again
};

/// How long a message waits that comes now, estimated: those before it, at the rate at which the last ones went.
/// `waiting`, `before`: how many wait now, and `passed_ms` ago; `rate`: how many came per second between the two.
/// If none went in that time, they have waited for all of it.
inline std::int64_t wait_ms(std::uint64_t waiting, std::uint64_t before, double rate,
                            std::int64_t passed_ms) {
  if (waiting == 0) return 0;
  const auto passed = static_cast<double>(passed_ms);
  const double came = rate * passed / 1000;
  const double went = came + static_cast<double>(before) - static_cast<double>(waiting);
  if (went < 1) return passed_ms;
  return static_cast<std::int64_t>(static_cast<double>(waiting) * passed / went);
}

/// One thread. Times are boot_ms().
template <class Key>
class Heat {
 public:
  struct Hot {
    Key key;
    double share = 0, rate = 0;  ///< of 1; messages per second
  };
  using Counts = std::vector<std::pair<Key, std::uint64_t>>;

  explicit Heat(HeatLimits limits = {}) : limits_(limits) {}

  void limit(HeatLimits limits) { limits_ = limits; }

  /// `counts`: what each has had since ever; what is not in it, or began anew, is cold. `all_per_s`: what the node does in
  /// all. Returns what is to be told: it has just become hot, or is hot for another minute.
  std::vector<Hot> look(std::int64_t now, const Counts& counts, double all_per_s) {
    const std::int64_t passed = now - looked_at_;
    const bool first = looked_at_ == 0 || passed <= 0;
    looked_at_ = now;
    above_.clear();
    hot_.clear();
    std::vector<Hot> news;
    std::map<Key, Seen> seen;
    for (const auto& [key, count] : counts) {
      Seen one{count, 0, 0};
      const auto before = seen_.find(key);
      if (!first && before != seen_.end() && count >= before->second.count) {
        const double rate =
            static_cast<double>(count - before->second.count) * 1000 / static_cast<double>(passed);
        judge(now, passed, {key, all_per_s > 0 ? rate / all_per_s : 0, rate}, before->second, one,
              news);
      }
      seen.emplace(key, one);
    }
    seen_ = std::move(seen);
    return news;
  }
  /// Above the limits in the last look, for however long.
  const std::vector<Key>& above() const { return above_; }
  /// Hot as of the last look.
  const std::vector<Hot>& hot() const { return hot_; }

 private:
  struct Seen {
    std::uint64_t count = 0;
    std::int64_t above_since = 0, told_at = 0;
  };
  void judge(std::int64_t now, std::int64_t passed, Hot hot, const Seen& before, Seen& one,
             std::vector<Hot>& news) {
    one.told_at = before.told_at;
    if (hot.share <= limits_.share || hot.rate <= limits_.rate_least) return;
    above_.push_back(hot.key);
    one.above_since = before.above_since != 0 ? before.above_since : now - passed;
    if (now - one.above_since < limits_.window_ms) return;
    if (one.told_at == 0 || now - one.told_at >= limits_.told_again_ms) {
      one.told_at = now;
      news.push_back(hot);
    }
    hot_.push_back(std::move(hot));
  }

  HeatLimits limits_;
  std::int64_t looked_at_ = 0;
  std::map<Key, Seen> seen_;
  std::vector<Key> above_;
  std::vector<Hot> hot_;
};

}  // namespace catga
