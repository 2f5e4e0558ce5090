// What leaves a process, as its callers and its connections count it: asks with their repeats, tells, batches, trips.
//
// A caller knows kind and message by their names only. They are looked up once per ask, in a table of what this node
// hosts that is never written again, by their lengths and ends; the place found goes with the ask. What is hosted
// elsewhere is counted as `_other`: names come from outside, and series must not.
#pragma once
#include "catga/entities/kind.hpp"
#include "catga/runtime/telemetry/metrics.hpp"
#include "catga/sharding/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace catga {

/// What a message is for its sender. One that is committed with a turn travels as an ask and is a tell all the same.
enum class Pattern : std::uint8_t { ask, tell, event };

/// Thread-safe; what is counted per message takes no lock and allocates nothing.
class TrafficMetrics {
 public:
  explicit TrafficMetrics(const std::map<std::string, Kind, std::less<>>& kinds);

  /// Where a kind and a message are counted. Goes with the ask.
  struct Place {
    std::uint32_t kind = 0, message = 0;
  };
  Place place_of(std::string_view kind, std::string_view message) const noexcept;

  /// One envelope leaves, to this node (`local`) or another.
  void sent(Place place, Pattern pattern, bool local) noexcept {
    sheet_.add(place.kind + 2 * static_cast<std::size_t>(pattern) + (local ? 0 : 1));
  }
  /// An event of this kind came to a subscription of this node.
  void event_received(std::string_view kind) noexcept {
    sheet_.add(place_of(kind, {}).kind + received_events);
  }
  void repeated(Place place) noexcept { sheet_.add(place.kind + repeats); }
  /// An ask is over for its caller. `error`: none, or how it failed.
  void answered(Place place, const Error* error, std::int64_t ns) noexcept;

  void trip_to_redis(std::size_t commands) noexcept { trips_.record(commands); }
  void batch_to_nats(std::size_t records) noexcept { batches_.record(records); }

  void write(Exposition& to) const;

 private:
  static constexpr std::size_t patterns = 3, outcomes = 3;
  static constexpr std::size_t repeats = 2 * patterns, received_events = repeats + 1,
                               size_of_kind = received_events + 1;
  struct Entry {
    std::string kind, message;  ///< no message: whatever else of this kind
    Place place;
  };
  static std::size_t hash_of(std::string_view kind, std::string_view message) noexcept;
  const Entry* find(std::string_view kind, std::string_view message) const noexcept;

  std::vector<Entry> entries_;          // of each kind its messages, then the rest of it
  std::vector<const Entry*> by_names_;  // open addressing; null: free
  Sheet sheet_;
  Histogram trips_{Buckets::sizes}, batches_{Buckets::sizes};
};

}  // namespace catga
